//! A leader that is told anything.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| coordinator_protocol::fuzz::fuzz_leader(data));
