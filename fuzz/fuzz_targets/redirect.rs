//! Flags of the redirect: `iptables/tests/hostile/redirect.rs`.

#![no_main]

#[path = "../../core/tests/hostile/draw.rs"]
mod draw;
#[path = "../../iptables/tests/hostile/redirect.rs"]
mod redirect;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    redirect::check(bytes);
});
