//! How much of a machine's CPUs an agent takes.

use blaster_core::time::Nanos;

/// CPU time that an agent uses, from what it had used at two moments of its own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    since: Option<(Nanos, Nanos)>,
    cpus: Option<f64>,
}

impl Usage {
    /// Over less than this it says little.
    const OVER_MIN: Nanos = Nanos::from_millis(500);

    /// At that moment it had used so much.
    pub fn note(&mut self, at: Nanos, used: Nanos) {
        let Some((from, before)) = self.since.filter(|&(from, before)| from <= at && before <= used) else {
            // The first, or of an agent that was started anew.
            (self.since, self.cpus) = (Some((at, used)), None);
            return;
        };
        if at - from >= Self::OVER_MIN {
            self.cpus = Some((used - before).as_secs_f64() / (at - from).as_secs_f64());
            self.since = Some((at, used));
        }
    }

    /// CPUs' worth of time between the latest two moments; none before the second.
    pub fn cpus(&self) -> Option<f64> {
        self.cpus
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_moments_far_enough_apart_say_how_much() {
        let mut usage = Usage::default();
        let ms = Nanos::from_millis;
        usage.note(ms(1_000), ms(300));
        assert_eq!(usage.cpus(), None);
        // The pings of a burst.
        usage.note(ms(1_001), ms(301));
        usage.note(ms(2_000), ms(1_800));
        assert_eq!(usage.cpus(), Some(1.5));
        // Started anew.
        usage.note(ms(3_000), ms(10));
        assert_eq!(usage.cpus(), None);
        usage.note(ms(4_000), ms(260));
        assert_eq!(usage.cpus(), Some(0.25));
    }
}
