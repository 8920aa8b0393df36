//! The blaster as a library: what was typed ([`cli`]) becomes [`settings`], a [`run`] carries them out, [`output`] shows
//! the report and [`results`] keeps it.

pub mod calibrate;
mod cgroup;
pub mod cli;
pub mod console;
pub mod doctor;
mod environment;
pub mod exit;
pub mod files;
pub mod limits;
mod link;
mod machine;
pub mod metrics;
pub mod output;
mod payload;
pub mod payloads_command;
pub mod progress;
mod resolve;
pub mod results;
pub mod run;
pub mod settings;
mod shards;
pub mod sink_command;
pub mod sources;
pub mod sweep;
mod tape;
pub mod tuning;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A seed that differs from run to run; the report says which it was.
pub fn random_seed() -> u64 {
    // 53 bits, so that it survives every JSON reader.
    RandomState::new().build_hasher().finish() >> 11
}
