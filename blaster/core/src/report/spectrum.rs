//! HdrHistogram's percentile text, as its plotters read it: times in milliseconds, like wrk2's.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps for every halving of the distance to 100 %, as HdrHistogram's own tools have it.
const STEPS_PER_HALVING: f64 = 5.0;

const NS_PER_MS: f64 = 1e6;

/// The percentile text of times in nanoseconds. Percentiles count the `unanswered`, which rank last; so with any of them the table
/// ends before 1.0.
pub fn render(histogram: &Histogram<u64>, unanswered: u64) -> String {
    let total = histogram.len() + unanswered;
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut seen = 0;
    let mut level = 0.0_f64;
    for step in histogram.iter_recorded() {
        seen += step.count_since_last_iteration();
        let value = histogram.highest_equivalent(step.value_iterated_to()) as f64 / NS_PER_MS;
        let share = seen as f64 / total as f64;
        if seen == histogram.len() {
            if level < share {
                row(&mut text, value, level, seen);
            }
            row(&mut text, value, share, seen);
            break;
        }
        while level <= share {
            row(&mut text, value, level, seen);
            level = next_level(level);
        }
    }
    let mean = if histogram.is_empty() { 0.0 } else { histogram.mean() / NS_PER_MS };
    let stddev = if histogram.is_empty() { 0.0 } else { histogram.stdev() / NS_PER_MS };
    let max = histogram.max() as f64 / NS_PER_MS;
    let sub_buckets = 2 * 10_u64.pow(histogram.sigfig().into());
    let sub_buckets = sub_buckets.next_power_of_two();
    let buckets = 1 + (histogram.high() / sub_buckets).ilog2() + 1;
    write!(
        text,
        "#[Mean    = {mean:12.3}, StdDeviation   = {stddev:12.3}]\n\
         #[Max     = {max:12.3}, Total count    = {:12}]\n\
         #[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]\n",
        histogram.len(),
    )
    .expect("a string takes all");
    text
}

fn row(text: &mut String, value_ms: f64, level: f64, seen: u64) {
    let row = format!("{value_ms:12.3} {level:2.12} {seen:10}");
    let inverse = 1.0 / (1.0 - level);
    // All of them are as far from the rest as can be: HdrHistogram leaves the infinite cell empty.
    let line = if inverse.is_finite() { format!("{row} {inverse:14.2}") } else { row };
    writeln!(text, "{line}").expect("a string takes all");
}

/// The level after one: a fifth of the way that halves the distance to 1.
fn next_level(level: f64) -> f64 {
    let halvings = (1.0 / (1.0 - level)).log2().floor() + 1.0;
    level + 1.0 / (STEPS_PER_HALVING * halvings.exp2())
}
