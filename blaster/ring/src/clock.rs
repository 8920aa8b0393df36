//! The clock of a run: monotonic nanoseconds since an epoch that all its threads share.

use std::time::Instant;

use blaster_core::time::Nanos;

/// Tells the time since the run's epoch; copied to every shard.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    /// Time since the epoch.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos(self.epoch.elapsed().as_nanos() as u64)
    }
}
