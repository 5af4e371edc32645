//! Documents and requests: `core/tests/hostile/rules.rs`.

#![no_main]

#[path = "../../core/tests/hostile/draw.rs"]
mod draw;
#[path = "../../core/tests/hostile/rules.rs"]
mod rules;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    rules::check(bytes);
});
