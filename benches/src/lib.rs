//! What the micro-benchmarks and the scripts beside them share: the tape they send, and a stopwatch.

pub mod stopwatch;
pub mod tape;
