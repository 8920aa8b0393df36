//! What a server sends, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| blaster_core::load::http1::fuzz::fuzz_response_reader(data));
