//! Times small pieces of code.
//!
//! A statistics package would bring twenty crates to say what the median and the spread of some samples already say:
//! this machine's noise is one-sided, so the fastest sample is what the code costs, and the median what it cost here.

use std::time::{Duration, Instant};

/// Samples taken of each piece.
const SAMPLES: usize = 60;

/// How long a sample is at least, so that reading the clock costs nothing next to it.
const SAMPLE_MIN: Duration = Duration::from_millis(4);

/// Measures what its arguments ask for, and prints a line for each.
pub struct Stopwatch {
    /// Runs everything once: a test that it still works.
    once: bool,
    /// Parts of names; none: everything.
    filters: Vec<String>,
}

impl Stopwatch {
    /// From the command line: `--test`, and parts of the names to measure. What else `cargo bench` passes is ignored.
    pub fn from_args() -> Self {
        let (flags, filters): (Vec<_>, Vec<_>) =
            std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
        let once = flags.iter().any(|flag| flag == "--test");
        if !once {
            println!("{:<44} {:>10} {:>10} {:>10}", "ns per operation", "fastest", "median", "p90");
        }
        Self { once, filters }
    }

    /// Times `round`, which does `operations` of what `name` says.
    pub fn measure(&self, name: &str, operations: u64, mut round: impl FnMut()) {
        if !self.filters.is_empty() && !self.filters.iter().any(|filter| name.contains(filter)) {
            return;
        }
        if self.once {
            round();
            println!("{name}: ok");
            return;
        }
        let rounds = calibrated(&mut round);
        let mut samples: Vec<f64> = (0..SAMPLES)
            .map(|_| timed(&mut round, rounds).as_nanos() as f64 / (rounds * operations) as f64)
            .collect();
        samples.sort_by(f64::total_cmp);
        let [fastest, median, p90] = [0, SAMPLES / 2, SAMPLES * 9 / 10].map(|rank| samples[rank]);
        println!("{name:<44} {fastest:>10.2} {median:>10.2} {p90:>10.2}");
    }
}

/// How many rounds make a sample; caches and branch predictors are warm afterwards.
fn calibrated(round: &mut impl FnMut()) -> u64 {
    let mut rounds = 1;
    while timed(round, rounds) < SAMPLE_MIN {
        rounds *= 2;
    }
    rounds
}

fn timed(round: &mut impl FnMut(), rounds: u64) -> Duration {
    let begin = Instant::now();
    for _ in 0..rounds {
        round();
    }
    begin.elapsed()
}
