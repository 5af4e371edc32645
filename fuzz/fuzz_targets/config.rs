//! What a control plane may send, damaged: `core/tests/hostile/config.rs`.

#![no_main]

#[path = "../../core/tests/hostile/draw.rs"]
mod draw;
#[path = "../../core/tests/hostile/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    config::check(bytes);
});
