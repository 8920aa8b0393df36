//! Thousands of runs that nobody thought of: the accounts must balance in each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::scenario::{Outcome, Scenario};
use crate::load::engine::ConnectFailure;
use crate::load::recorder::Failure;

/// Run one with `SIM_SEED=n cargo test -p blaster-core sim::tests_random`.
const SEEDS: u64 = 2_000;

#[test]
fn every_random_run_balances_its_accounts() {
    let only = std::env::var("SIM_SEED").ok().map(|text| text.parse::<u64>().expect("SIM_SEED is a number"));
    let count =
        std::env::var("SIM_SEEDS").ok().map_or(SEEDS, |text| text.parse().expect("SIM_SEEDS is a number"));
    let seeds = only.map_or(0..count, |seed| seed..seed + 1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let failing = Mutex::new(Vec::new());
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) || failing.lock().is_ok_and(|failing| failing.len() > 4) {
                        return;
                    }
                    let run = || {
                        let scenario = Scenario::random(seed);
                        let outcome = scenario.run();
                        scenario.assert_accounts(&outcome);
                        seen.lock().expect("nobody panics while holding it").note(&outcome);
                    };
                    if catch_unwind(AssertUnwindSafe(run)).is_err() {
                        eprintln!("repeat with SIM_SEED={seed}");
                        failing.lock().expect("nobody panics while holding it").push(seed);
                    }
                }
            });
        }
    });
    let failing = failing.into_inner().expect("nobody panics while holding it");
    assert!(failing.is_empty(), "repeat with SIM_SEED= one of {failing:?}");
    if only.is_none() {
        seen.into_inner().expect("nobody panics while holding it").assert_everything();
    }
}

/// What happened in any of the runs: accounts that balance because nothing was in them prove nothing.
#[derive(Default)]
struct Seen {
    errors: [u64; Failure::ALL.len()],
    connect_failures: [u64; ConnectFailure::ALL.len()],
    ok: u64,
    unexpected_status: u64,
    warmup: u64,
    unsent_backlog: u64,
    unsent_stopped: u64,
    in_flight_at_end: u64,
    blocked: u64,
    on_time: u64,
    reopened: u64,
    learnt: u64,
    answered_early: u64,
}

impl Seen {
    fn note(&mut self, outcome: &Outcome) {
        for recorder in &outcome.recorders {
            for class in &recorder.classes {
                for (sum, count) in self.errors.iter_mut().zip(class.errors) {
                    *sum += count;
                }
                self.ok += class.ok;
                self.unexpected_status += class.unexpected_status;
                self.unsent_backlog += class.unsent_backlog;
                self.unsent_stopped += class.unsent_stopped;
            }
            for (sum, count) in self.connect_failures.iter_mut().zip(recorder.connect_failures) {
                *sum += count;
            }
            self.warmup += recorder.warmup().ok;
            self.blocked += recorder.lateness.blocked_whole.histogram().len();
            self.on_time += recorder.lateness.on_time.histogram().len();
            self.reopened += recorder.reopened;
            self.learnt += u64::from(recorder.answers_before_close.is_some());
        }
        self.in_flight_at_end += outcome.recorders.last().map_or(0, |last| last.in_flight_end);
        self.answered_early += outcome.counts.unearned;
    }

    fn assert_everything(&self) {
        for (failure, count) in Failure::ALL.iter().zip(self.errors) {
            assert!(count > 50, "{failure:?} happened {count} times");
        }
        for (failure, count) in ConnectFailure::ALL.iter().zip(self.connect_failures) {
            assert!(count > 50, "{failure:?} happened {count} times");
        }
        for (what, count) in [
            ("ok", self.ok),
            ("an unexpected status", self.unexpected_status),
            ("an answer in the warm-up", self.warmup),
            ("unsent backlog", self.unsent_backlog),
            ("unsent for the stop", self.unsent_stopped),
            ("in flight at the end", self.in_flight_at_end),
            ("blocked", self.blocked),
            ("on time", self.on_time),
            ("reopened", self.reopened),
            ("a limit learnt", self.learnt),
            ("answered early", self.answered_early),
        ] {
            assert!(count > 50, "{what}: {count} times");
        }
    }
}
