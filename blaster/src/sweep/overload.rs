//! An overload on purpose, and what comes after it, in one run without a pause: a target that is left alone for a moment may lose its
//! queue, and with it what keeps it down.

use blaster_core::plan::rate::{Stage, Stages};
use blaster_core::plan::slo::{Metric, Slo};
use blaster_core::report::Report;
use blaster_core::report::collector::IntervalRow;
use blaster_core::time::Nanos;

use super::found::Recovery;
use super::live::Enough;
use super::trial::Load;

/// A load that is a multiple of a limit, for a time.
#[derive(Clone, Debug)]
pub struct Overload {
    /// Requests per second that were found to hold.
    pub limit_rps: f64,
    /// In multiples of it.
    pub factor: f64,
    /// What must hold.
    pub slos: Vec<Slo>,
}

/// Multiples of the limit and seconds: before the overload, and of it.
const BEFORE: (f64, u64) = (0.5, 5);
const DURING_S: u64 = 10;

/// Then this. What piled up, here too, is worked off at the rest of the capacity: after twice the limit, in 34 s.
const AFTER: (f64, u64) = (0.7, 100);

/// And then, if that was not enough, less and less.
const LESS: [f64; 6] = [0.5, 0.35, 0.25, 0.18, 0.1, 0.05];
const LESS_S: u64 = 15;

/// A target is back once so many seconds in a row were good.
const GOOD_S: usize = 5;

impl Overload {
    /// At most how long it takes.
    pub fn length_s(&self) -> u64 {
        BEFORE.1 + DURING_S + AFTER.1 + LESS.len() as u64 * LESS_S
    }

    /// The load to try.
    pub fn load(&self) -> Load {
        let stage = |multiple: f64, seconds| Stage {
            length: Nanos::from_secs(seconds),
            to: self.limit_rps * multiple,
            jump: true,
        };
        let first = [stage(BEFORE.0, BEFORE.1), stage(self.factor, DURING_S), stage(AFTER.0, AFTER.1)];
        let stages = first.into_iter().chain(LESS.map(|multiple| stage(multiple, LESS_S))).collect();
        Load {
            rate: self.limit_rps * BEFORE.0,
            stages: Some(Stages(stages)),
            warmup: Nanos::ZERO,
            length: Nanos::from_secs(self.length_s()),
            connections: None,
        }
    }

    /// Ends the trial as soon as the target is back.
    pub fn enough(&self) -> Enough {
        let this = self.clone();
        let mut streak = Streak::default();
        Box::new(move |interval| streak.see(&this, &interval.row).is_some())
    }

    /// What came of it.
    pub fn judge(&self, report: &Report) -> Recovery {
        let mut streak = Streak::default();
        let back_s = report.intervals.iter().find_map(|row| streak.see(self, row));
        let over_s = (BEFORE.1 + DURING_S) as f64;
        let after_s = over_s + AFTER.1 as f64;
        let less = |t_s: f64| LESS[(((t_s - after_s) / LESS_S as f64) as usize).min(LESS.len() - 1)];
        Recovery {
            overload: self.factor,
            seconds: back_s.map(|t_s| t_s - over_s),
            // One that was cut short before that is not known.
            metastable: match (back_s, report.intervals.last()) {
                (Some(t_s), _) => Some(t_s >= after_s),
                (None, Some(last)) if last.t_s >= after_s => Some(true),
                _ => None,
            },
            released_at_rps: back_s.filter(|t_s| *t_s >= after_s).map(|t_s| less(t_s) * self.limit_rps),
        }
    }

    /// Answered as wanted a second while it lasted, its first half left out, as a share of the limit.
    pub fn kept(&self, report: &Report) -> Option<f64> {
        let (from_s, to_s) = (BEFORE.1 as f64 + DURING_S as f64 / 2.0, (BEFORE.1 + DURING_S) as f64);
        let rows = report.intervals.iter().filter(|row| (from_s..to_s).contains(&row.t_s));
        let (count, ok) = rows.fold((0, 0), |(count, ok), row| (count + 1, ok + row.ok));
        (count > 0).then(|| ok as f64 / f64::from(count) / self.limit_rps)
    }
}

/// Good seconds in a row.
#[derive(Default)]
struct Streak {
    began_s: f64,
    length: usize,
}

impl Streak {
    /// When the target was back, once it is known to be.
    fn see(&mut self, overload: &Overload, row: &IntervalRow) -> Option<f64> {
        if row.t_s < (BEFORE.1 + DURING_S) as f64 || !is_good(&overload.slos, row) {
            self.length = 0;
            return None;
        }
        if self.length == 0 {
            self.began_s = row.t_s;
        }
        self.length += 1;
        (self.length >= GOOD_S).then_some(self.began_s)
    }
}

/// Whether all held in a second. Of percentiles a row has but three; the next stricter one stands for others.
fn is_good(slos: &[Slo], row: &IntervalRow) -> bool {
    let ended = row.completed + row.errors + row.unsent;
    let share = |count: u64| Some(count as f64 / ended.max(1) as f64);
    let time = |ns: Option<u64>| ns.map(|ns| ns as f64);
    ended > 0
        && slos.iter().all(|slo| {
            slo.judge(match slo.metric {
                Metric::Errors => share(ended - row.ok),
                Metric::Achieved => share(ended - row.unsent),
                Metric::Percentile(percent) if percent <= 50.0 => time(row.p50_ns),
                Metric::Percentile(percent) if percent <= 99.0 => time(row.p99_ns),
                Metric::Mean => time(row.p50_ns),
                Metric::Percentile(_) | Metric::Max => time(row.max_ns),
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overload() -> Overload {
        let slos = vec!["p99<500ms".parse().unwrap(), "errors<1%".parse().unwrap()];
        Overload { limit_rps: 1_000.0, factor: 1.5, slos }
    }

    /// When a target is found to be back whose seconds are good from then on.
    fn back(good_from_s: u64) -> Option<f64> {
        let mut streak = Streak::default();
        (0..overload().length_s()).find_map(|t| {
            let ok = if t >= good_from_s { 700 } else { 250 };
            let row = IntervalRow {
                t_s: t as f64,
                completed: 700,
                ok,
                p99_ns: Some(1_000_000),
                ..IntervalRow::default()
            };
            streak.see(&overload(), &row)
        })
    }

    #[test]
    fn a_target_is_back_from_the_first_of_five_good_seconds() {
        assert_eq!(back(0), Some(15.0), "what was good before the overload does not count");
        assert_eq!(back(20), Some(20.0));
        assert_eq!(back(u64::MAX), None);
    }

    #[test]
    fn a_second_in_which_nothing_ends_is_not_good() {
        assert!(!is_good(&overload().slos, &IntervalRow::default()));
    }

    #[test]
    fn the_load_goes_up_and_comes_down_without_a_pause() {
        let stages = overload().load().stages.unwrap().0;
        assert!(stages.iter().all(|stage| stage.jump && stage.to > 0.0));
        assert_eq!(
            stages.iter().map(|stage| stage.length.0 / 1_000_000_000).sum::<u64>(),
            overload().length_s()
        );
        assert!(stages[1].to > stages[0].to && stages[2..].windows(2).all(|pair| pair[1].to < pair[0].to));
    }
}
