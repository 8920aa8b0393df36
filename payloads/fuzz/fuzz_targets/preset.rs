//! A preset's file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| payloads::fuzz::fuzz_preset(data));
