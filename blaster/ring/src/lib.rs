//! The io_uring engine: every system call of the hot path, and the only unsafe code of the project.
//!
//! A [`UringEngine`] belongs to one thread and one worker. Inside: [`ring`] (set-up and the enter call), `buffers`
//! (the ring of receive buffers shared by all connections), `slots` and `staging` (what the kernel holds for each
//! connection, and where bytes off the tape are written), `wire` (the kernel's times of single requests), [`engine`] (the turn). Around it: [`clock`], [`socket`], [`mod@probe`] (what this kernel allows),
//! [`system`] (CPUs, limits, times of this process).

mod buffers;
pub mod clock;
pub mod engine;
mod mapping;
pub mod probe;
pub mod ring;
mod slots;
pub mod socket;
mod staging;
pub mod system;
mod wire;

pub use clock::Clock;
pub use engine::{EngineConfig, UringEngine};
pub use probe::{ProbeError, probe};
