#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gitd::fuzz::pack(bytes));
