#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| moorline_lpeg::invariants::matches(data));
