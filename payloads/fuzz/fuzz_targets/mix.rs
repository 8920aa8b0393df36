//! A mixture of sizes, and shares of types.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| payloads::fuzz::fuzz_mix(data));
