//! Requests as the client's schedule and the sink's record know them together.

use anyhow::{Result, anyhow, ensure};
use benches::truth::sample::quantile;
use blaster_core::load::schedule::Schedule;
use blaster_core::plan::Arrivals;
use blaster_core::plan::lanes::Lanes;
use blaster_core::plan::rate::{Curve, Rate};
use blaster_core::time::Nanos;

use crate::sink::Seen;

/// A request, in nanoseconds of the sink's clock.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// When it would have been there, had it been sent when it was intended and had the way taken its shortest time. A sink that
    /// is held up sees it later; this says when it began to wait.
    pub there: u64,
    /// Its answer was handed over.
    pub answered: u64,
}

/// Pairs the requests of a schedule, given by their seconds from its start, with those that came: they come in the order in
/// which they are intended, and the one that came soonest after its time tells how the two clocks stand to each other.
pub fn pair(seen: &[Seen], intended: &[f64]) -> Result<Vec<Pair>> {
    let (came, wanted) = (seen.len(), intended.len());
    ensure!(came == wanted, "{came} requests came of {wanted}");
    let intended = |n: usize| (intended[n] * 1e9) as i128;
    let offsets = seen.iter().enumerate().map(|(n, seen)| i128::from(seen.arrival) - intended(n));
    let offset = offsets.min().ok_or_else(|| anyhow!("the sink recorded nothing"))?;
    let pair = |(n, seen): (usize, &Seen)| Pair {
        there: (intended(n) + offset).max(0) as u64,
        answered: seen.answered,
    };
    Ok(seen.iter().enumerate().map(pair).collect())
}

/// How long each took until its answer was handed over, sorted, in nanoseconds.
pub fn times(pairs: &[Pair]) -> Vec<f64> {
    let mut times: Vec<f64> = pairs.iter().map(Pair::ns).collect();
    times.sort_unstable_by(f64::total_cmp);
    times
}

/// What the client's median adds to that of the pairs: the way there and back.
pub fn floor(p50: Option<u64>, pairs: &[Pair]) -> Result<f64> {
    let p50 = p50.ok_or_else(|| anyhow!("no answer to measure the way there and back by"))?;
    Ok(p50 as f64 - quantile(&times(pairs), 0.5))
}

/// The intended times of a run, in seconds from its start.
pub fn intended(arrivals: Arrivals, rate: f64, seconds: f64, seed: u64) -> Result<Vec<f64>> {
    let curve = Curve::constant(Rate::new(rate)?, Nanos::from_secs_f64(seconds));
    let mut schedule = Schedule::new(&curve, arrivals, &Lanes::whole(), seed);
    schedule.advance(Nanos::MAX);
    Ok(std::iter::from_fn(|| schedule.take()).map(Nanos::as_secs_f64).collect())
}

impl Pair {
    /// How long it took until its answer was handed over.
    pub fn ns(&self) -> f64 {
        self.answered.saturating_sub(self.there) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_held_up_sink_sees_late_waited_from_when_it_was_intended() {
        let seen = |arrival, answered| Seen { arrival, answered };
        let seen = [seen(1_010, 1_020), seen(9_000, 9_010), seen(9_000, 9_020)];
        let pairs = pair(&seen, &[0.0, 1e-6, 2e-6]).unwrap();
        assert_eq!(pairs.iter().map(Pair::ns).collect::<Vec<_>>(), [10.0, 7_000.0, 6_010.0]);
        assert_eq!(floor(Some(6_040), &pairs).unwrap(), 30.0);
        assert!(pair(&seen, &[0.0]).is_err());
    }
}
