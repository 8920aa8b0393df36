//! Bytes that come.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| coordinator_protocol::fuzz::fuzz_codec(data));
