//! An overload on purpose, and whether a target comes back from it.
//!
//! All in one run without a pause: a target that is left alone for a moment may lose its queue, and with it what keeps it down. Load goes
//! up to a multiple of the limit and then down to what the target held with ease before. If that does not bring it back, it goes down
//! further, step by step.
//!
//! Slow is not stuck. A target is stuck (a metastable failure: Bronson et al., HotOS 2021) only if three things are seen: it was well
//! before, at less load; it does not come back, and what waits for it does not get less; and, once relieved, it holds the very load that
//! it did not come back at. Without the last, its limit may have been overestimated, or have moved. What is not seen is said to be
//! unknown, and why.

use serde::{Deserialize, Serialize};

use super::search::Said;
use crate::plan::rate::{Stage, Stages};
use crate::report::collector::IntervalRow;
use crate::time::Nanos;

/// A load that is a multiple of a limit, for a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overload {
    /// Requests per second that were found to hold.
    pub limit_rps: f64,
    /// In multiples of it.
    pub factor: f64,
}

/// What happened after an overload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// In multiples of the limit.
    pub overload: f64,
    /// Until it was back; none if it never was.
    pub seconds: Option<f64>,
    /// Stuck at a load that it held before; none if that is not known.
    pub metastable: Option<bool>,
    /// Why it is not known.
    #[serde(default)]
    pub unknown: Option<Unknown>,
    /// The load at which one that did not come back at 70 % of the limit did, in requests per second.
    pub released_at_rps: Option<f64>,
}

/// Why nobody knows whether a target is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It was not well before the overload, at half of the limit.
    NotWell,
    /// It ended before that could be told.
    CutShort,
    /// Once relieved, it does not hold what it held before the overload either.
    HoldsLess,
}

/// A second of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Second {
    /// When it began.
    pub t_s: f64,
    /// All objectives held in it.
    pub is_good: bool,
    /// Requests that waited for their answers, or to be sent, when it ended.
    pub waiting: u64,
}

/// Multiples of the limit and seconds: before the overload, and of it.
const BEFORE: (f64, u64) = (0.5, 5);
const DURING_S: u64 = 10;

/// Then this. What piled up is worked off by the rest of the capacity: after twice the limit, in 34 s; in 88 s if the limit was found a
/// fifth too high.
const AFTER: (f64, u64) = (0.7, 100);

/// And then, if that was not enough, less and less.
const LESS: [f64; 6] = [0.5, 0.35, 0.25, 0.18, 0.1, 0.05];
const LESS_S: u64 = 15;

/// A target is well while most of so many seconds are good, the first of them too: one that pauses now and then, and may, is well.
const WELL_S: usize = 5;

/// What waits gets less if in the second half of [`AFTER`] it fell by such a share, and by what the target does in so many seconds at its limit.
const FALLS: f64 = 0.05;
const FALLS_S: f64 = 0.5;

const OVER_S: f64 = (BEFORE.1 + DURING_S) as f64;
const AFTER_S: f64 = OVER_S + AFTER.1 as f64;

impl Overload {
    /// At most how long it takes.
    pub fn length_s(&self) -> u64 {
        BEFORE.1 + DURING_S + AFTER.1 + LESS.len() as u64 * LESS_S
    }

    /// The load to try.
    pub fn stages(&self) -> Stages {
        let stage = |multiple: f64, seconds| Stage {
            length: Nanos::from_secs(seconds),
            to: self.limit_rps * multiple,
            jump: true,
        };
        let first = [stage(BEFORE.0, BEFORE.1), stage(self.factor, DURING_S), stage(AFTER.0, AFTER.1)];
        Stages(first.into_iter().chain(LESS.map(|multiple| stage(multiple, LESS_S))).collect())
    }

    /// The one that these stages are of; none if they are of none.
    pub fn of_stages(Stages(stages): &Stages) -> Option<Self> {
        let limit_rps = stages.first()?.to / BEFORE.0;
        let factor = stages.get(1)?.to / limit_rps;
        // Products of decimals are off by a hair.
        Some(Self { limit_rps, factor: (factor * 1e6).round() / 1e6 })
    }

    /// The load before it.
    pub fn before_rps(&self) -> f64 {
        self.limit_rps * BEFORE.0
    }

    /// The load that it is to come back at, and, once relieved, to hold again.
    pub fn after_rps(&self) -> f64 {
        self.limit_rps * AFTER.0
    }

    /// Answered as wanted a second while it lasted, its first half left out, as a share of the limit.
    pub fn kept(&self, rows: &[IntervalRow]) -> Option<f64> {
        let during = (OVER_S - DURING_S as f64 / 2.0)..OVER_S;
        let rows = rows.iter().filter(|row| during.contains(&row.t_s));
        let (count, ok) = rows.fold((0, 0), |(count, ok), row| (count + 1, ok + row.ok));
        (count > 0).then(|| ok as f64 / f64::from(count) / self.limit_rps)
    }
}

impl Second {
    /// That of a row, if the first `objectives` of its run are what must hold.
    pub fn of(row: &IntervalRow, objectives: usize) -> Self {
        let is_good =
            row.slo.get(..objectives).is_some_and(|kept| kept.iter().all(|kept| *kept == Some(true)));
        Self { t_s: row.t_s, is_good, waiting: row.backlog_end + row.in_flight_end }
    }
}

/// What is seen of a target, second by second.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Good seconds before the overload, less those that were not.
    well_before: i32,
    /// Whether the last seconds were good, after the overload.
    lately: [bool; WELL_S],
    back_s: Option<f64>,
    /// What waited in the middle of [`AFTER`], and at its end.
    waiting: [u64; 2],
    /// How far it was seen.
    seen_s: f64,
}

impl Course {
    /// All that was seen of it.
    pub fn of(seconds: impl IntoIterator<Item = Second>) -> Self {
        let mut course = Self::default();
        seconds.into_iter().for_each(|second| course.learn(second));
        course
    }

    /// Takes the next second in.
    pub fn learn(&mut self, second: Second) {
        let Second { t_s, is_good, waiting } = second;
        self.seen_s = t_s + 1.0;
        if t_s < BEFORE.1 as f64 {
            self.well_before += if is_good { 1 } else { -1 };
        }
        if t_s < OVER_S || self.is_back() {
            return;
        }
        if t_s < AFTER_S {
            self.waiting[usize::from(t_s >= OVER_S + AFTER.1 as f64 / 2.0)] = waiting;
        }
        self.lately.rotate_left(1);
        self.lately[WELL_S - 1] = is_good;
        let good = self.lately.iter().filter(|is_good| **is_good).count();
        self.back_s = (self.lately[0] && good > WELL_S / 2).then_some(t_s + 1.0 - WELL_S as f64);
    }

    /// The target is back: there is no more to be seen.
    pub fn is_back(&self) -> bool {
        self.back_s.is_some()
    }

    /// Whether it did not come back, so that it shall be tried whether it holds [`Overload::after_rps`] once relieved.
    pub fn seems_stuck(&self, overload: &Overload) -> bool {
        self.well_before > 0
            && self.seen_s >= AFTER_S
            && !self.is_back_in_time()
            && !self.is_working_it_off(overload)
    }

    /// What it came to, given what that trial said, if there was one.
    pub fn recovery(&self, overload: &Overload, relieved: Option<Said>) -> Recovery {
        let (metastable, unknown) = if self.well_before <= 0 {
            (None, Some(Unknown::NotWell))
        } else if self.is_back_in_time() {
            (Some(false), None)
        } else if self.seen_s < AFTER_S {
            (None, Some(Unknown::CutShort))
        } else if self.is_working_it_off(overload) {
            (Some(false), None)
        } else {
            match relieved {
                Some(Said::Good) => (Some(true), None),
                Some(Said::Bad) => (None, Some(Unknown::HoldsLess)),
                Some(Said::Spoiled) | None => (None, Some(Unknown::CutShort)),
            }
        };
        Recovery {
            overload: overload.factor,
            seconds: self.back_s.map(|t_s| t_s - OVER_S),
            metastable,
            unknown,
            released_at_rps: self.back_s.filter(|&t_s| t_s >= AFTER_S).map(|t_s| {
                let step = ((t_s - AFTER_S) / LESS_S as f64) as usize;
                LESS[step.min(LESS.len() - 1)] * overload.limit_rps
            }),
        }
    }

    fn is_back_in_time(&self) -> bool {
        self.back_s.is_some_and(|t_s| t_s < AFTER_S)
    }

    fn is_working_it_off(&self, overload: &Overload) -> bool {
        let [middle, end] = self.waiting.map(|waiting| waiting as f64);
        let fell = middle - end;
        fell >= FALLS * middle && fell >= FALLS_S * overload.limit_rps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLOAD: Overload = Overload { limit_rps: 1_000.0, factor: 1.5 };

    /// Of a target whose seconds are good but for those from `bad`, with so much waiting at each of them.
    fn course(bad: std::ops::Range<u64>, until: u64, waiting: impl Fn(u64) -> u64) -> Course {
        let second = |t| Second { t_s: t as f64, is_good: !bad.contains(&t), waiting: waiting(t) };
        Course::of((0..until).map(second))
    }

    fn told(course: &Course, relieved: Option<Said>) -> (Option<bool>, Option<f64>, Option<f64>) {
        let recovery = course.recovery(&OVERLOAD, relieved);
        assert_eq!(recovery.metastable.is_none(), recovery.unknown.is_some());
        (recovery.metastable, recovery.seconds, recovery.released_at_rps)
    }

    #[test]
    fn a_target_is_back_from_the_first_of_five_seconds_that_are_well() {
        assert_eq!(told(&course(5..15, 20, |_| 0), None), (Some(false), Some(0.0), None));
        assert_eq!(told(&course(5..40, 45, |_| 0), None), (Some(false), Some(25.0), None));
        assert!(!course(5..40, 44, |_| 0).is_back(), "four are not enough");
    }

    #[test]
    fn what_is_stuck_holds_that_load_again_once_relieved() {
        let stuck = course(5..140, 145, |_| 300);
        assert!(stuck.seems_stuck(&OVERLOAD));
        assert_eq!(told(&stuck, Some(Said::Good)), (Some(true), Some(125.0), Some(350.0)));
        assert_eq!(stuck.recovery(&OVERLOAD, Some(Said::Bad)).unknown, Some(Unknown::HoldsLess));
        assert_eq!(stuck.recovery(&OVERLOAD, None).unknown, Some(Unknown::CutShort));
        let down = course(5..999, 205, |t| t);
        assert_eq!(told(&down, Some(Said::Good)), (Some(true), None, None), "not even at the least load");
    }

    #[test]
    fn what_waits_less_and_less_is_slow_and_not_stuck() {
        let slow = course(5..120, 125, |t| 20_000 - 100 * t);
        assert!(!slow.seems_stuck(&OVERLOAD));
        assert_eq!(told(&slow, None), (Some(false), Some(105.0), Some(500.0)));
    }

    #[test]
    fn what_was_not_seen_is_not_known() {
        let not_well = course(0..15, 20, |_| 0);
        assert_eq!(not_well.recovery(&OVERLOAD, None).unknown, Some(Unknown::NotWell));
        let cut_short = course(5..999, 114, |_| 300);
        assert!(!cut_short.seems_stuck(&OVERLOAD));
        assert_eq!(cut_short.recovery(&OVERLOAD, None).unknown, Some(Unknown::CutShort));
    }

    #[test]
    fn the_load_goes_up_and_comes_down_without_a_pause_and_is_known_by_its_stages() {
        let overload = Overload { limit_rps: 1_234.567, factor: 1.5 };
        let Stages(stages) = overload.stages();
        assert!(stages.iter().all(|stage| stage.jump && stage.to > 0.0));
        assert_eq!(
            stages.iter().map(|stage| stage.length.0 / 1_000_000_000).sum::<u64>(),
            overload.length_s()
        );
        assert!(stages[1].to > stages[0].to && stages[2..].windows(2).all(|pair| pair[1].to < pair[0].to));
        let read = Overload::of_stages(&overload.stages().to_string().parse().unwrap()).unwrap();
        assert!((read.limit_rps / overload.limit_rps - 1.0).abs() < 1e-12 && read.factor == 1.5);
    }
}
