#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rbx_fuzz::run("editor", data));
