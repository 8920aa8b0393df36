//! The clock of a run: monotonic nanoseconds since an epoch that all its threads share.

use blaster_core::time::Nanos;

use crate::system;

/// Tells the time since the run's epoch; copied to every shard.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What `CLOCK_MONOTONIC` showed at the epoch.
    epoch: Nanos,
}

impl Clock {
    /// A clock whose epoch is now.
    pub fn start() -> Self {
        Self { epoch: system::monotonic() }
    }

    /// Time since the epoch.
    #[inline]
    pub fn now(&self) -> Nanos {
        self.of_monotonic(system::monotonic())
    }

    /// The moment at which `CLOCK_MONOTONIC` shows `monotonic`; the epoch, if that was before it.
    #[inline]
    pub fn of_monotonic(&self, monotonic: Nanos) -> Nanos {
        monotonic.saturating_sub(self.epoch)
    }

    /// What `CLOCK_MONOTONIC` shows at the moment `now` of this clock.
    pub fn to_monotonic(&self, now: Nanos) -> Nanos {
        Nanos(now.0.saturating_add(self.epoch.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_clock_and_the_machines_are_a_constant_apart() {
        let before = system::monotonic();
        let clock = Clock::start();
        let now = clock.now();
        assert!(before <= clock.to_monotonic(Nanos::ZERO) && clock.to_monotonic(now) <= system::monotonic());
        assert_eq!(clock.of_monotonic(clock.to_monotonic(now)), now);
        assert_eq!(clock.to_monotonic(Nanos::MAX), Nanos::MAX);
    }
}
