//! The blaster as a library: what was typed ([`cli`]) becomes [`settings`], a [`run`] carries them out, [`output`] shows
//! the report and [`results`] keeps it.

mod cgroup;
pub mod cli;
pub mod console;
mod environment;
pub mod exit;
pub mod files;
mod limits;
mod link;
mod machine;
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
mod tape;
