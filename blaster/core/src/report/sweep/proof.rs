//! A thousand response curves by seed, and what the search says of them.
//!
//! The truth of each is the rate at which a trial holds with probability one half, its bad luck aside; of one that drifts, the rate at
//! the end of the search.

use super::search::{Bounds, End, Finding, Next, Said, Search, Trial};
use crate::sim::Random;

const BOUNDS: Bounds = Bounds { from: 100.0, to: 1e8, precision: 0.02 };

/// A budget of ten minutes is about as many.
const TRIALS_MAX: usize = 100;

/// How a target answers to a load.
#[derive(Clone, Copy, Debug)]
enum Curve {
    /// It holds up to its capacity, and not beyond.
    Cliff,
    /// Waiting grows as in a queue, `idle` of the objective at no load; what a trial measures of it scatters.
    Knee { idle: f64, scatter: f64 },
    /// Its capacity scatters.
    Noise { scatter: f64 },
    /// It has a bad mode, with less capacity, in a share of all trials.
    Bimodal { share: f64, capacity: f64 },
    /// Its capacity moves by so much a trial.
    Drift { by: f64 },
}

struct Target {
    curve: Curve,
    capacity: f64,
    /// The share of trials that fail for no reason.
    luck: f64,
    random: Random,
    trials: usize,
}

fn uniform(random: &mut Random, low: f64, high: f64) -> f64 {
    low + (high - low) * (random.word() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Box and Muller's.
fn normal(random: &mut Random) -> f64 {
    let (u, v) = (uniform(random, 0.0, 1.0), uniform(random, 0.0, 1.0));
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl Target {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let log = |random: &mut Random, low: f64, high: f64| uniform(random, low.ln(), high.ln()).exp();
        let capacity = log(&mut random, 500.0, 500_000.0);
        let luck = uniform(&mut random, 0.0, 0.02);
        let curve = match seed % 5 {
            0 => Curve::Cliff,
            1 => Curve::Knee {
                idle: uniform(&mut random, 0.02, 0.3),
                scatter: uniform(&mut random, 0.02, 0.2),
            },
            2 => Curve::Noise { scatter: log(&mut random, 0.002, 0.03) },
            3 => Curve::Bimodal {
                share: uniform(&mut random, 0.05, 0.35),
                capacity: uniform(&mut random, 0.4, 0.9),
            },
            _ => {
                let sign = if random.chance(500) { 1.0 } else { -1.0 };
                Curve::Drift { by: sign * log(&mut random, 0.0002, 0.002) }
            }
        };
        Self { curve, capacity, luck, random, trials: 0 }
    }

    fn truth(&self) -> f64 {
        match self.curve {
            Curve::Knee { idle, .. } => self.capacity * (1.0 - idle),
            Curve::Drift { by } => self.capacity * (by * self.trials.saturating_sub(1) as f64).exp(),
            _ => self.capacity,
        }
    }

    fn trial(&mut self, rate: f64) -> Said {
        self.trials += 1;
        let holds = match self.curve {
            Curve::Cliff | Curve::Drift { .. } => rate <= self.truth(),
            Curve::Knee { idle, scatter } => {
                let load = rate / self.capacity;
                load < 1.0 && idle / (1.0 - load) * (scatter * normal(&mut self.random)).exp() <= 1.0
            }
            Curve::Noise { scatter } => rate <= self.capacity * (scatter * normal(&mut self.random)).exp(),
            Curve::Bimodal { share, capacity } => {
                let is_bad = uniform(&mut self.random, 0.0, 1.0) < share;
                rate <= self.capacity * if is_bad { capacity } else { 1.0 }
            }
        };
        if holds && uniform(&mut self.random, 0.0, 1.0) >= self.luck { Said::Good } else { Said::Bad }
    }
}

/// What came of a search.
struct Outcome {
    finding: Finding,
    end: Option<End>,
    truth: f64,
    trials: usize,
    curve: Curve,
}

fn search(seed: u64) -> Outcome {
    let mut target = Target::new(seed);
    let mut search = Search::new(BOUNDS);
    let mut end = None;
    for _ in 0..TRIALS_MAX {
        let (rate, is_long) = match search.next() {
            Next::Double(rate) | Next::Close(rate) => (rate, false),
            Next::CloseLong(rate) | Next::Confirm(rate) => (rate, true),
            Next::Done(why) => {
                end = Some(why);
                break;
            }
        };
        search.learn(Trial { rate, said: target.trial(rate), is_long });
    }
    Outcome {
        finding: search.finding(),
        end,
        truth: target.truth(),
        trials: target.trials,
        curve: target.curve,
    }
}

impl Outcome {
    fn contains(&self) -> bool {
        let [low, high] = self.finding.interval;
        low.is_none_or(|low| low <= self.truth) && high.is_none_or(|high| self.truth <= high)
    }

    fn is_marked(&self) -> bool {
        self.finding.drifts || self.finding.unsteady || self.end != Some(End::Known)
    }

    /// How far the truth is from the interval.
    fn off(&self) -> f64 {
        let [low, high] = self.finding.interval;
        (low.unwrap_or(0.0) / self.truth).max(self.truth / high.unwrap_or(f64::INFINITY)) - 1.0
    }
}

/// Of a thousand, by two threads.
fn thousand(from: u64) -> Vec<Outcome> {
    let half = |from: u64| move || (from..from + 500).map(search).collect::<Vec<_>>();
    let other = std::thread::spawn(half(from + 500));
    let mut all = half(from)();
    all.extend(other.join().expect("it ends"));
    all
}

#[test]
fn the_interval_holds_the_truth_as_often_as_it_says() {
    let mut all = thousand(100_000);
    let inside = all.iter().filter(|outcome| outcome.contains()).count();
    assert!((930..=970).contains(&inside), "{inside} of 1,000");
    let unmarked: Vec<_> = all.iter().filter(|outcome| !outcome.is_marked()).collect();
    let held = unmarked.iter().filter(|outcome| outcome.contains()).count() as f64 / unmarked.len() as f64;
    assert!((0.93..=0.97).contains(&held), "{held} of {} without a doubt", unmarked.len());
    // What is wrong by more than the interval's own width and then some has to say so.
    let wrong = unmarked.iter().find(|outcome| outcome.off() > 2.0 * BOUNDS.precision);
    assert!(wrong.is_none(), "{:?}", wrong.map(|outcome| (outcome.curve, outcome.finding, outcome.truth)));
    all.sort_by_key(|outcome| outcome.trials);
    assert!(all[500].trials < 40, "median of {} trials", all[500].trials);
}

#[test]
fn a_cliff_is_found_within_the_precision_and_without_a_doubt() {
    for seed in (0..500).step_by(5) {
        let outcome = search(seed);
        let holds = outcome.finding.holds.unwrap();
        assert!(outcome.contains() && outcome.end == Some(End::Known), "{:?}", outcome.finding);
        assert!((holds / outcome.truth - 1.0).abs() < BOUNDS.precision, "{holds} of {}", outcome.truth);
    }
}
