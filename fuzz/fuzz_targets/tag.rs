//! Carriers of a tag: `core/tests/hostile/tag.rs`.

#![no_main]

#[path = "../../core/tests/hostile/draw.rs"]
mod draw;
#[path = "../../core/tests/hostile/tag.rs"]
mod tag;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tag::check(bytes);
});
