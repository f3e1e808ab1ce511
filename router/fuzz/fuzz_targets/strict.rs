#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| router::trials::strict(data));
