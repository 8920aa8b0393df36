//! Sequences of operations on a connection.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| blaster_core::sim::fuzz::fuzz_connection(data));
