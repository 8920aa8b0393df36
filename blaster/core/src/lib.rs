//! The pure heart of blaster: no sockets, no clock, no threads.
//!
//! Rooms, in the order their arrows point: [`time`] <- [`plan`] (what to do) <- [`load`] (doing it) <-
//! [`report`] (what happened), and `sim` (feature `sim`), which runs the same worker in virtual time.
#![forbid(unsafe_code)]

pub mod load;
pub mod plan;
pub mod report;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod time;
