//! The cache file of the sidecar: `proxy/src/control/cache/hostile.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| laneway_proxy::control::hostile_cache::check(bytes));
