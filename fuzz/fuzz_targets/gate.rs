//! The gate of HTTP/2 requests: `proxy/src/datapath/gate/hostile.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    laneway_proxy::datapath::hostile_gate::check(bytes);
});
