//! What leader and agents say to each other, and what each makes of it: no sockets, no clock, no threads.
//!
//! [`message`] is what is said, [`delta`] what an interval came to, [`clock`] what the other's clock shows; [`leader`] and [`agent`] are the
//! two state machines. They take what was heard, and the time of their machine's monotonic clock, with `handle_*`, and give what is
//! to be done with `poll`.
#![forbid(unsafe_code)]

pub mod agent;
pub mod clock;
pub mod delta;
#[doc(hidden)]
pub mod fuzz;
pub mod leader;
pub mod message;
pub mod shares;
pub mod usage;
