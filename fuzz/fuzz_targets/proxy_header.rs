#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_gateway::proxy_invariants::header(data));
