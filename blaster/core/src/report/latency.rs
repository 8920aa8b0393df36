//! A distribution of times in numbers: percentiles that rank what was never answered last.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::batches::Batched;
use super::confidence::{Intervals, is_supported};
use crate::plan::slo::Metric;

/// Times in nanoseconds. A percentile that lands among the unanswered is none: endless.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Finite times.
    pub count: u64,
    /// Endless ones; they rank behind all others.
    pub unanswered: u64,
    /// Shortest.
    pub min: Option<u64>,
    /// Mean of the finite times.
    pub mean: Option<u64>,
    /// Standard deviation of the finite times.
    pub stddev: Option<u64>,
    /// Median.
    pub p50: Option<u64>,
    /// 75th percentile.
    pub p75: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 95th percentile.
    pub p95: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    pub p99_9: Option<u64>,
    /// 99.99th percentile.
    pub p99_99: Option<u64>,
    /// Longest; none if anything was left unanswered.
    pub max: Option<u64>,
    /// How sure the percentiles are.
    #[serde(default)]
    pub interval_95: Intervals,
    /// Keys of the percentiles that too few samples lie beyond to say something of; their values are those of the ranks all the
    /// same.
    #[serde(default)]
    pub undersampled: Vec<String>,
}

impl Latency {
    /// Sums up a histogram and `unanswered` endless times, taken for independent.
    pub fn of(histogram: &Histogram<u64>, unanswered: u64) -> Self {
        Self::of_batches(histogram, unanswered, Batched::NONE)
    }

    /// The same of times that came in these batches.
    pub(super) fn of_batches(histogram: &Histogram<u64>, unanswered: u64, batched: Batched<'_>) -> Self {
        let count = histogram.len();
        let some = |value: f64| (count > 0).then_some(value.round() as u64);
        let [p50, p75, p90, p95, p99, p99_9, p99_99] =
            percentiles(histogram, unanswered, PERCENTILES.map(|(_, percent)| percent));
        let total = count + unanswered;
        let unsupported =
            PERCENTILES.iter().filter(|(_, percent)| total > 0 && !is_supported(total, *percent));
        Self {
            count,
            unanswered,
            min: (count > 0).then(|| histogram.min()),
            mean: some(histogram.mean()),
            stddev: some(histogram.stdev()),
            p50,
            p75,
            p90,
            p95,
            p99,
            p99_9,
            p99_99,
            max: longest(histogram, unanswered),
            interval_95: Intervals::of(histogram, unanswered, batched),
            undersampled: unsupported.map(|(key, _)| (*key).to_owned()).collect(),
        }
    }

    /// Whether there are samples enough to say something of that percentile.
    pub fn supports(&self, percent: f64) -> bool {
        is_supported(self.count + self.unanswered, percent)
    }
}

/// Those of every [`Latency`], by their keys.
pub const PERCENTILES: [(&str, f64); 7] = [
    ("p50", 50.0),
    ("p75", 75.0),
    ("p90", 90.0),
    ("p95", 95.0),
    ("p99", 99.0),
    ("p99_9", 99.9),
    ("p99_99", 99.99),
];

/// The longest time; none if there is no time or an endless one.
pub fn longest(histogram: &Histogram<u64>, unanswered: u64) -> Option<u64> {
    (!histogram.is_empty() && unanswered == 0).then(|| histogram.max())
}

/// What an objective is about, of response times of which so many are endless, and these shares; in nanoseconds, or as a fraction. None if
/// it is not known or endless: an endless wait makes maximum and mean endless too.
pub fn observed(
    metric: Metric,
    histogram: &Histogram<u64>,
    unanswered: u64,
    error_rate: Option<f64>,
    achieved: Option<f64>,
) -> Option<f64> {
    match metric {
        Metric::Percentile(percent) => percentiles(histogram, unanswered, [percent])[0].map(|ns| ns as f64),
        Metric::Max => longest(histogram, unanswered).map(|ns| ns as f64),
        Metric::Mean => (!histogram.is_empty() && unanswered == 0).then(|| histogram.mean()),
        Metric::Errors => error_rate,
        Metric::Achieved => achieved,
    }
}

/// For each of the ascending `percents` (0 to 100) the smallest time with at least `ceil(percent / 100 * total)`
/// times at or below it, where `total` includes the `unanswered`, which are longer than any other.
pub fn percentiles<const N: usize>(
    histogram: &Histogram<u64>,
    unanswered: u64,
    percents: [f64; N],
) -> [Option<u64>; N] {
    debug_assert!(percents.is_sorted());
    let total = histogram.len() + unanswered;
    let mut found = [None; N];
    if total == 0 {
        return found;
    }
    let mut seen = 0;
    let mut wanted = percents.iter().map(|&percent| rank(percent, total)).zip(&mut found).peekable();
    for step in histogram.iter_recorded() {
        seen += step.count_since_last_iteration();
        while let Some((_, slot)) = wanted.next_if(|(rank, _)| *rank <= seen) {
            *slot = Some(histogram.highest_equivalent(step.value_iterated_to()).min(histogram.max()));
        }
        if wanted.peek().is_none() {
            break;
        }
    }
    drop(wanted);
    found
}

/// `ceil(percent / 100 * total)`, at least 1. A product that is a whole number but for the error of the
/// floating point (99.9 % of 1000) counts as that number.
fn rank(percent: f64, total: u64) -> u64 {
    let exact = percent / 100.0 * total as f64;
    let nearest = exact.round();
    let rank = if (exact - nearest).abs() <= exact * ROUNDING_ERROR { nearest } else { exact.ceil() };
    (rank as u64).clamp(1, total)
}

/// Relative; some thousand times that of two operations on doubles.
const ROUNDING_ERROR: f64 = 1e-12;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::recorder::histogram;

    /// A histogram of these.
    pub(in crate::report) fn of(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut all = histogram();
        values.into_iter().for_each(|value| all.record(value).unwrap());
        all
    }

    #[test]
    fn a_percentile_is_the_smallest_value_with_that_share_at_or_below() {
        let all = of(1..=1000);
        assert_eq!(
            percentiles(&all, 0, [0.1, 50.0, 99.0, 99.9, 99.91]),
            [Some(1), Some(500), Some(990), Some(999), Some(1000)]
        );
    }

    #[test]
    fn unanswered_requests_rank_behind_all_answers() {
        let all = of(1..=98);
        assert_eq!(percentiles(&all, 2, [50.0, 98.0, 98.5, 99.0]), [Some(50), Some(98), None, None]);
        let latency = Latency::of(&all, 2);
        assert_eq!((latency.p95, latency.p99, latency.max), (Some(95), None, None));
        assert_eq!((latency.count, latency.unanswered), (98, 2));
        assert!(latency.mean.is_some(), "the finite times have a mean");
    }

    #[test]
    fn without_any_time_there_are_no_percentiles() {
        let latency = Latency::of(&histogram(), 0);
        assert_eq!(latency, Latency::default());
        let endless = Latency::of(&histogram(), 3);
        let (interval_95, undersampled) = (endless.interval_95.clone(), endless.undersampled.clone());
        assert_eq!(undersampled.len(), PERCENTILES.len());
        assert_eq!(endless, Latency { unanswered: 3, interval_95, undersampled, ..Latency::default() });
    }

    #[test]
    fn percentiles_of_too_few_samples_are_named_and_keep_their_values() {
        let latency = Latency::of(&of(1..=1_000), 0);
        assert_eq!(latency.undersampled, ["p99_9", "p99_99"]);
        assert_eq!(latency.p99_9, Some(999));
        assert_eq!(
            Latency::of(&of(1..=1_000), 40_000).undersampled,
            [""; 0],
            "unanswered requests are samples"
        );
    }

    #[test]
    fn ranks_are_whole_where_the_product_is() {
        for (percent, total, expected) in
            [(99.9, 1000, 999), (99.99, 10_000, 9999), (50.0, 3, 2), (0.0001, 5, 1)]
        {
            assert_eq!(rank(percent, total), expected, "{percent} of {total}");
        }
        assert_eq!(rank(99.9, 10_000_000_000), 9_990_000_000);
        assert_eq!(rank(99.9, 10_000_000_001), 9_990_000_001);
    }

    #[test]
    fn one_time_is_every_percentile() {
        let latency = Latency::of(&of([1_234_567]), 0);
        assert_eq!((latency.p50, latency.p99_99), (latency.max, latency.max));
        assert!(latency.min <= Some(1_234_567) && latency.max >= Some(1_234_567));
    }
}
