//! The theory that `truth` holds measurements against: pure functions of numbers, without a clock or a socket.

pub mod queue;
pub mod sample;
