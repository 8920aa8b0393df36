//! What the micro-benchmarks and the scripts beside them share: the tape they send, a stopwatch, and the theory that
//! measurements are held against.

pub mod stopwatch;
pub mod tape;
pub mod truth;
