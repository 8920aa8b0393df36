//! How sure a percentile is: distribution-free 95 % intervals from order statistics.
//!
//! Of n independent samples the number beyond the true p-quantile is Bin(n, 1 − p), whatever the distribution; so two ranks
//! enclose the quantile with a known chance (David and Nagaraja, *Order Statistics*, 3rd ed., section 7.1). Requests that are never
//! answered are samples too, the longest. Where times come in bursts they are not independent, and the truth lies outside more
//! often: compare the intervals of the report then, or runs.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Chance that the true value lies beyond one end of the interval, at most.
const TAIL: f64 = 0.025;

/// The standard normal's quantile for [`TAIL`].
const Z: f64 = 1.959_963_984_540_054;

/// From this variance of the rank on the normal distribution stands for the binomial.
const VARIANCE_MIN: f64 = 100.0;

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
    /// Those of a histogram and `unanswered` endless times behind it.
    pub fn of(histogram: &Histogram<u64>, unanswered: u64) -> Self {
        let [p50, p75, p90, p95, p99, p99_9, p99_99] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99]
            .map(|percent| interval(histogram, unanswered, percent));
        Self { p50, p75, p90, p95, p99, p99_9, p99_99 }
    }
}

/// The 95 % interval of a percentile (0 to 100), to the histogram's resolution outwards.
pub fn interval(histogram: &Histogram<u64>, unanswered: u64, percent: f64) -> Ends {
    let total = histogram.len() + unanswered;
    if total == 0 {
        return [None, None];
    }
    let [low, high] = ranks(total, percent);
    let lowest = |rank| at_rank(histogram, rank).map(|value| histogram.lowest_equivalent(value));
    [
        low.map_or(Some(0), lowest),
        high.and_then(|rank| at_rank(histogram, rank))
            .map(|value| histogram.highest_equivalent(value).min(histogram.max())),
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
    use crate::load::recorder::histogram;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut all = histogram();
        values.into_iter().for_each(|value| all.record(value).unwrap());
        all
    }

    /// How often the interval holds the truth, in 1,000 simulated runs.
    fn coverage(samples: u64, percent: f64, draw: fn(f64) -> f64) -> f64 {
        const RUNS: u64 = 1_000;
        let truth = draw(percent / 100.0);
        let mut random = Rng::new(0x5eed ^ samples ^ percent.to_bits());
        let mut held = 0;
        let mut all = histogram();
        for _ in 0..RUNS {
            all.reset();
            for _ in 0..samples {
                // Open at both ends, so that no draw is endless.
                let share = ((random.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
                all.record(draw(share) as u64).unwrap();
            }
            let [low, high] = interval(&all, 0, percent);
            held += u64::from(
                low.is_none_or(|low| low as f64 <= truth) && high.is_none_or(|high| truth <= high as f64),
            );
        }
        held as f64 / RUNS as f64
    }

    #[test]
    fn nineteen_of_twenty_intervals_hold_the_truth() {
        let exponential = |share: f64| -(1.0 - share).ln() * 1e6;
        // Two distributions that share no shape; the intervals must not know.
        let heavy = |share: f64| 1e5 / (1.0 - share).powf(0.7);
        for (samples, percent) in [(100, 50.0), (500, 50.0), (500, 90.0), (1_000, 99.0)] {
            for draw in [exponential, heavy] {
                let coverage = coverage(samples, percent, draw);
                // Ranks are whole, so the chance is 95 % or somewhat more; 2 standard errors of 1,000 runs are 1.4 %.
                assert!((0.935..=0.985).contains(&coverage), "p{percent} of {samples}: {coverage}");
            }
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
        assert_eq!(interval(&of(1..=100), 0, 99.0)[1], None);
        assert_eq!(interval(&of(7..=8), 0, 50.0), [Some(0), None]);
        assert_eq!(interval(&histogram(), 0, 50.0), [None, None]);
    }

    #[test]
    fn unanswered_requests_are_the_longest_samples() {
        let all = of(1..=1_000);
        let [low, high] = interval(&all, 0, 90.0);
        assert!(low < Some(900) && Some(900) < high, "{low:?} {high:?}");
        let [low, high] = interval(&all, 111, 90.0);
        assert!(low.is_some() && high.is_none(), "{low:?} {high:?}");
        assert_eq!(interval(&all, 1_000, 90.0), [None, None]);
    }
}
