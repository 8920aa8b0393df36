//! Doing it: the schedule says when, the tape says what, a worker gives both to connections, and an
//! [`engine::Engine`] moves the bytes.
//!
//! "What to send next" ([`schedule`], [`tape`]) knows nothing of "how a connection sends and reads"
//! ([`connection`], [`http1`]); only [`worker`] knows both.

pub mod acknowledged;
pub mod connection;
pub mod engine;
pub mod http1;
mod lifetime;
pub mod recorder;
mod rotation;
pub mod schedule;
pub mod tape;
pub mod worker;
