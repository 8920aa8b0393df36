//! How sure a percentile is: distribution-free 95 % intervals from order statistics.
//!
//! Of n independent samples the number beyond the true p-quantile is Bin(n, 1 − p), whatever the distribution; so two ranks
//! enclose the quantile with a known chance (David and Nagaraja, *Order Statistics*, 3rd ed., section 7.1). Requests that are never
//! answered are samples too, the longest.
//!
//! Where times come in bursts they are not independent. Then n samples are worth n / d of independent ones, d the design effect:
//! how much more the share beyond the percentile varies between batches of the run's time than chance would have it (Kish,
//! *Survey Sampling*, 1965; the interval is Woodruff's, JASA 47, 1952). It is 1 at least, and 1 for a run of too few
//! batches. Bursts longer than a batch stay unseen.

use std::iter::Sum;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::batches::Batched;
use super::latency::{PERCENTILES, percentiles};

/// Chance that the true value lies beyond one end of the interval, at most.
const TAIL: f64 = 0.025;

/// The standard normal's quantile for [`TAIL`].
const Z: f64 = 1.959_963_984_540_054;

/// From this variance of the rank on the normal distribution stands for the binomial.
const VARIANCE_MIN: f64 = 100.0;

/// Fewer batches say nothing of bursts.
const BATCHES_MIN: usize = 5;

/// Both ends of an interval in nanoseconds. A lower end that no sample bounds is 0, for no time is less; none is an
/// endless time, or an upper end that no sample bounds.
pub type Ends = [Option<u64>; 2];

/// The 95 % intervals of a distribution's percentiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals {
    /// Of the median.
    pub p50: Ends,
    /// Of the 75th percentile.
    pub p75: Ends,
    /// Of the 90th percentile.
    pub p90: Ends,
    /// Of the 95th percentile.
    pub p95: Ends,
    /// Of the 99th percentile.
    pub p99: Ends,
    /// Of the 99.9th percentile.
    pub p99_9: Ends,
    /// Of the 99.99th percentile.
    pub p99_99: Ends,
}

impl Intervals {
    /// Those of a histogram and `unanswered` endless times behind it, which came in these batches.
    pub(super) fn of(histogram: &Histogram<u64>, unanswered: u64, batched: Batched<'_>) -> Self {
        let [p50, p75, p90, p95, p99, p99_9, p99_99] =
            PERCENTILES.map(|(_, percent)| interval(histogram, unanswered, percent, batched));
        Self { p50, p75, p90, p95, p99, p99_9, p99_99 }
    }
}

/// The 95 % interval of a percentile (0 to 100), to the histogram's resolution outwards.
pub(super) fn interval(
    histogram: &Histogram<u64>,
    unanswered: u64,
    percent: f64,
    batched: Batched<'_>,
) -> Ends {
    let total = histogram.len() + unanswered;
    if total == 0 {
        return [None, None];
    }
    let [at] = percentiles(histogram, unanswered, [percent]);
    let [low, high] = clustered_ranks(total, percent, batched.design_effect(histogram, at));
    let lowest = |rank| at_rank(histogram, rank).map(|value| histogram.lowest_equivalent(value));
    [
        low.map_or(Some(0), lowest),
        high.and_then(|rank| at_rank(histogram, rank))
            .map(|value| histogram.highest_equivalent(value).min(histogram.max())),
    ]
}

/// Of the times of a batch, those at or beyond a percentile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) total: u64,
    pub(super) beyond: u64,
}

impl Sum for Share {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        shares.fold(Self::default(), |sum, share| Self {
            total: sum.total + share.total,
            beyond: sum.beyond + share.beyond,
        })
    }
}

/// The variance of the whole share, estimated from how it differs between batches (a ratio estimate, as batches differ in size),
/// over that of as many independent samples. So few batches do not know it well: as if by Student's distribution
/// instead of the normal one.
pub(super) fn design_effect(batches: &[Share]) -> f64 {
    let batches: Vec<_> = batches.iter().filter(|batch| batch.total > 0).collect();
    let whole: Share = batches.iter().copied().copied().sum();
    let (n, share) = (whole.total as f64, whole.beyond as f64 / whole.total.max(1) as f64);
    let variance = n * share * (1.0 - share);
    if batches.len() < BATCHES_MIN || variance <= 0.0 {
        return 1.0;
    }
    let squares: f64 =
        batches.iter().map(|batch| (batch.beyond as f64 - share * batch.total as f64).powi(2)).sum();
    let freedom = (batches.len() - 1) as f64;
    let effect = squares * batches.len() as f64 / freedom / variance;
    (effect * (student(freedom) / Z).powi(2)).max(1.0)
}

/// The quantile of Student's distribution for [`TAIL`] (Abramowitz and Stegun, 26.7.5), to 1 % from 4 degrees of freedom on.
fn student(freedom: f64) -> f64 {
    let terms = [
        (Z.powi(3) + Z) / 4.0,
        (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0,
        (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / 384.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| (sum + term) / freedom) + Z
}

/// The ranks of as many independent samples as these are worth, stretched to all of them.
fn clustered_ranks(total: u64, percent: f64, design_effect: f64) -> [Option<u64>; 2] {
    let worth = ((total as f64 / design_effect) as u64).clamp(1, total);
    let [low, high] = ranks(worth, percent);
    let stretched = |rank: u64| u128::from(rank) * u128::from(total);
    let worth = u128::from(worth);
    [
        low.map(|rank| (stretched(rank) / worth).max(1) as u64),
        high.map(|rank| stretched(rank).div_ceil(worth) as u64),
    ]
}

/// Whether so many samples say something of a percentile: whether its interval has an upper end, be it an endless time.
pub fn is_supported(total: u64, percent: f64) -> bool {
    ranks(total, percent)[1].is_some()
}

/// The fewest samples that do.
pub fn samples_wanted(percent: f64) -> u64 {
    (TAIL.ln() / (percent / 100.0).ln()).ceil().max(1.0) as u64
}

/// Ranks from 1 to `total` that enclose the percentile; none for an end that no sample is.
fn ranks(total: u64, percent: f64) -> [Option<u64>; 2] {
    let n = total as f64;
    let beyond = 1.0 - percent / 100.0;
    let variance = n * beyond * (1.0 - beyond);
    // Of the samples counted from the longest: the upper end leaves `few` behind it, the lower one has `many` from it on.
    let (few, many) = if variance >= VARIANCE_MIN {
        let spread = Z * variance.sqrt();
        // Half a rank for continuity, and another where the binomial is the more skewed.
        (Some((n * beyond - 0.5 - spread).floor() as u64), (n * beyond + spread).ceil() as u64 + 1)
    } else {
        binomial(total, beyond)
    };
    let low = (many <= total).then(|| total - many + 1);
    let high = few.filter(|few| *few < total).map(|few| total - few);
    [low, high]
}

/// The largest k with P(C ≤ k) ≤ [`TAIL`], if any, and the smallest m with P(C ≥ m) ≤ [`TAIL`], for C ~ Bin(n, q).
fn binomial(n: u64, q: f64) -> (Option<u64>, u64) {
    let odds = (q / (1.0 - q)).ln();
    let mut log_probability = n as f64 * (1.0 - q).ln();
    let (mut few, mut sum) = (None, 0.0);
    for k in 0..=n {
        sum += log_probability.exp();
        if sum <= TAIL {
            few = Some(k);
        }
        if sum >= 1.0 - TAIL {
            return (few, k + 1);
        }
        log_probability += ((n - k) as f64 / (k + 1) as f64).ln() + odds;
    }
    (few, n + 1)
}

fn at_rank(histogram: &Histogram<u64>, rank: u64) -> Option<u64> {
    let mut seen = 0;
    histogram.iter_recorded().find_map(|step| {
        seen += step.count_since_last_iteration();
        (seen >= rank).then(|| step.value_iterated_to())
    })
}

#[cfg(test)]
mod tests {
    use payloads_fresh::Rng;

    use super::*;
    use crate::load::recorder::{DIGITS, Recorder, histogram};
    use crate::report::batches::{Batches, Kind};
    use crate::report::latency::tests::of;
    use crate::time::Nanos;

    /// How often the interval holds the truth, in 1,000 simulated runs.
    fn coverage(samples: u64, percent: f64, draw: fn(f64) -> f64) -> f64 {
        const RUNS: u64 = 1_000;
        let truth = draw(percent / 100.0);
        let mut random = Rng::new(0x5eed ^ samples ^ percent.to_bits());
        let mut held = 0;
        // A low bound: fewer buckets to clear.
        let mut all = Histogram::new_with_bounds(1, 1_000_000, DIGITS).unwrap();
        for _ in 0..RUNS {
            all.reset();
            for _ in 0..samples {
                // Open at both ends, so that no draw is endless.
                let share = ((random.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
                all.saturating_record(draw(share) as u64);
            }
            let [low, high] = interval(&all, 0, percent, Batched::NONE);
            held += u64::from(
                low.is_none_or(|low| low as f64 <= truth) && high.is_none_or(|high| truth <= high as f64),
            );
        }
        held as f64 / RUNS as f64
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        let exponential = |share: f64| -(1.0 - share).ln() * 1e4;
        // Two distributions that share no shape; the intervals must not know.
        let heavy = |share: f64| 2e3 / (1.0 - share).powf(0.7);
        for (samples, percent) in [(100, 50.0), (500, 90.0), (2_000, 99.0)] {
            for draw in [exponential, heavy] {
                let coverage = coverage(samples, percent, draw);
                // Ranks are whole, so the chances are 96.5, 96.3 and 95.8 %; 2 standard errors of 1,000 runs are 1.3 %.
                assert!((0.945..=0.978).contains(&coverage), "p{percent} of {samples}: {coverage}");
            }
        }
    }

    /// Requests of batches that are slow as a whole, each with a chance of one in five: how often the interval of the p90 holds
    /// the truth, with and without a look at the batches.
    #[test]
    fn bursts_widen_the_interval_until_it_holds_the_truth() {
        const RUNS: u64 = 150;
        const BATCHES: u32 = 30;
        // 0.8 exp(-x) + 0.2 exp(-x / 5) = 0.1, times 1,000.
        let truth = (0..60).fold([0.0, 50.0], |[low, high], _| {
            let x: f64 = f64::midpoint(low, high);
            if 0.8 * (-x).exp() + 0.2 * (-x / 5.0).exp() > 0.1 { [x, high] } else { [low, x] }
        })[0]
            * 1e3;
        let mut random = Rng::new(0xb0057);
        let mut share = || ((random.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
        let mut held = [0; 2];
        let (mut all, mut recorder) = (histogram(), Recorder::new(1));
        for _ in 0..RUNS {
            all.reset();
            let mut batches = Batches::new(1);
            for interval in 0..BATCHES {
                let mean = if share() < 0.2 { 5e3 } else { 1e3 };
                recorder.clear();
                recorder.interval = Some(interval);
                for _ in 0..100 {
                    let time = (-share().ln() * mean) as u64;
                    recorder.classes[0].response_ok.record(Nanos(time));
                    all.record(time).unwrap();
                }
                recorder.settle();
                batches.add(&recorder);
            }
            for (held, batched) in held.iter_mut().zip([Batched::NONE, batches.of(Kind::Response, None)]) {
                let [low, high] = interval(&all, 0, 90.0, batched);
                *held += u64::from(
                    low.is_none_or(|low| low as f64 <= truth) && high.is_none_or(|high| truth <= high as f64),
                );
            }
        }
        let [blind, seeing] = held.map(|held| held as f64 / RUNS as f64);
        assert!(blind < 0.75, "{blind}");
        // 2 standard errors of 150 runs are 3.6 %.
        assert!((0.914..=0.99).contains(&seeing), "{seeing}");
    }

    #[test]
    fn batches_that_differ_as_by_chance_widen_nothing_much() {
        let even = [Share { total: 100, beyond: 10 }; 30];
        assert_eq!(design_effect(&even), 1.0);
        assert_eq!(design_effect(&[Share { total: 100, beyond: 100 }; 30]), 1.0, "no share to vary");
        let mut burst = [Share { total: 100, beyond: 0 }; 30];
        assert_eq!(design_effect(&burst[..4]), 1.0, "too few batches");
        burst[7].beyond = 100;
        let effect = design_effect(&burst);
        assert!((90.0..130.0).contains(&effect), "100 that come as one are worth one: {effect}");
        for (freedom, quantile) in [(4.0, 2.776), (9.0, 2.262), (30.0, 2.042)] {
            assert!((student(freedom) / quantile - 1.0).abs() < 0.01, "{freedom}");
        }
    }

    #[test]
    fn the_ends_of_small_samples_are_those_of_the_tables() {
        // Median of 10: X(2) and X(9), 97.9 %; of 6: X(1) and X(6), 96.9 %; of 5 no two ranks reach 95 %.
        assert_eq!(ranks(10, 50.0), [Some(2), Some(9)]);
        assert_eq!(ranks(6, 50.0), [Some(1), Some(6)]);
        assert_eq!(ranks(5, 50.0), [None, None]);
    }

    #[test]
    fn both_ways_to_the_ranks_agree_where_they_meet() {
        for percent in [50.0, 90.0, 99.0, 99.9] {
            let share = 1.0 - percent / 100.0;
            let total = (VARIANCE_MIN / (share * (1.0 - share))).ceil() as u64 + 1;
            let [low, high] = ranks(total, percent).map(Option::unwrap);
            let (few, many) = binomial(total, share);
            assert!(
                low.abs_diff(total - many + 1) <= 1 && high.abs_diff(total - few.unwrap()) <= 1,
                "p{percent}"
            );
        }
    }

    #[test]
    fn no_end_is_exceeded_more_often_than_said_by_either_way() {
        for percent in [50.0, 90.0, 99.0, 99.9] {
            let share = 1.0 - percent / 100.0;
            for variance in [30.0, 90.0, 100.0, 137.0, 400.0, 650.0] {
                let total = (variance / (share * (1.0 - share))) as u64;
                let [low, high] = ranks(total, percent).map(Option::unwrap);
                let (few, many) = binomial(total, share);
                assert!(
                    total - high <= few.unwrap() && total - low + 1 >= many,
                    "p{percent} of {total}: ranks {low} and {high}"
                );
            }
        }
    }

    #[test]
    fn a_percentile_wants_samples_beyond_it() {
        for (percent, wanted) in [(50.0, 6), (99.0, 368), (99.9, 3_688), (99.99, 36_887)] {
            assert_eq!(samples_wanted(percent), wanted);
            assert!(is_supported(wanted, percent) && !is_supported(wanted - 1, percent), "p{percent}");
        }
        assert_eq!(interval(&of(1..=100), 0, 99.0, Batched::NONE)[1], None);
        assert_eq!(interval(&of(7..=8), 0, 50.0, Batched::NONE), [Some(0), None]);
        assert_eq!(interval(&histogram(), 0, 50.0, Batched::NONE), [None, None]);
    }

    #[test]
    fn unanswered_requests_are_the_longest_samples() {
        let all = of(1..=1_000);
        let [low, high] = interval(&all, 0, 90.0, Batched::NONE);
        assert!(low < Some(900) && Some(900) < high, "{low:?} {high:?}");
        let [low, high] = interval(&all, 111, 90.0, Batched::NONE);
        assert!(low.is_some() && high.is_none(), "{low:?} {high:?}");
        assert_eq!(interval(&all, 1_000, 90.0, Batched::NONE), [None, None]);
    }
}
