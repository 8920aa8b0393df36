//! The measured time in a few batches, to see how much times cling together.
//!
//! What says how sure a percentile is assumes that requests are independent; a pause of the target slows thousands at once. So the
//! share beyond a percentile is compared between batches of time ([`super::confidence`]). Batches are as many intervals
//! long as it takes to need no more than [`BATCHES_MAX`]: the memory is the same however long the run, and the longer it is, the
//! longer are the bursts that batches tell apart.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::confidence::{Share, design_effect};
use crate::load::recorder::{Failure, Recorder, Series};

/// Most batches of a run; when they do not suffice, neighbours are merged.
pub const BATCHES_MAX: usize = 64;

/// Which times of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Response,
    Ok,
    Service,
    Lateness,
}

impl Kind {
    /// The kinds that classes have.
    pub(super) const TIMES: [Self; 3] = [Self::Response, Self::Ok, Self::Service];
}

/// The times of a run by batch.
pub(super) struct Batches {
    classes: usize,
    /// Length of a batch.
    intervals_each: u32,
    batches: Vec<Batch>,
}

/// By class and [`Kind`]; the lateness of all classes stands in the first.
struct Batch(Vec<[Times; 4]>);

/// Finite times by the upper end of their bucket, and endless ones. A batch has a few hundred buckets, a whole
/// histogram has tens of thousands.
#[derive(Default)]
struct Times {
    finite: BTreeMap<u64, u64>,
    endless: u64,
}

/// The times of one kind, by batch: of one class, or of all.
#[derive(Clone, Copy)]
pub(super) struct Batched<'a> {
    batches: &'a [Batch],
    kind: Kind,
    class: Option<usize>,
}

impl Batches {
    pub(super) fn new(classes: usize) -> Self {
        Self { classes, intervals_each: 1, batches: Vec::new() }
    }

    /// Adds what a shard saw in an interval, once it is settled.
    pub(super) fn add(&mut self, recorder: &Recorder) {
        let interval = recorder.interval.unwrap_or(0);
        while (interval / self.intervals_each) as usize >= BATCHES_MAX {
            self.halve();
        }
        let number = (interval / self.intervals_each) as usize;
        let classes = self.classes;
        if self.batches.len() <= number {
            self.batches.resize_with(number + 1, || Batch::new(classes));
        }
        let batch = &mut self.batches[number];
        let mut unsent = 0;
        for (times, class) in batch.0.iter_mut().zip(recorder.main_classes()) {
            let timeouts = class.errors[Failure::Timeout as usize];
            unsent += class.unsent_backlog;
            times[Kind::Response as usize].add(&class.response_ok, timeouts + class.unsent_backlog);
            times[Kind::Response as usize].add(&class.response_rest, 0);
            times[Kind::Ok as usize].add(&class.response_ok, 0);
            times[Kind::Service as usize].add(&class.service, timeouts);
        }
        if let Some(times) = batch.0.first_mut() {
            times[Kind::Lateness as usize].add(&recorder.lateness.on_time, unsent);
            times[Kind::Lateness as usize].add(&recorder.lateness.blocked_whole, 0);
        }
    }

    /// Those of one class, or of all.
    pub(super) fn of(&self, kind: Kind, class: Option<usize>) -> Batched<'_> {
        Batched { batches: &self.batches, kind, class }
    }

    fn halve(&mut self) {
        self.intervals_each *= 2;
        let mut merged: Vec<Batch> = Vec::with_capacity(BATCHES_MAX);
        for (index, batch) in self.batches.drain(..).enumerate() {
            match merged.get_mut(index / 2) {
                Some(sum) => sum.merge(batch),
                None => merged.push(batch),
            }
        }
        self.batches = merged;
    }
}

impl Batch {
    fn new(classes: usize) -> Self {
        Self((0..classes).map(|_| Default::default()).collect())
    }

    fn merge(&mut self, other: Self) {
        for (sum, add) in self.0.iter_mut().flatten().zip(other.0.into_iter().flatten()) {
            sum.endless += add.endless;
            for (value, count) in add.finite {
                *sum.finite.entry(value).or_default() += count;
            }
        }
    }
}

impl Times {
    fn add(&mut self, series: &Series, endless: u64) {
        self.endless += endless;
        if series.histogram().is_empty() {
            return;
        }
        for step in series.histogram().iter_recorded() {
            *self.finite.entry(step.value_iterated_to()).or_default() += step.count_at_value();
        }
    }

    /// Of all times those that are at least `from`, which may be endless.
    fn share(&self, from: Option<u64>) -> Share {
        let finite: u64 = self.finite.values().sum();
        let beyond: u64 = from.map_or(0, |from| self.finite.range(from..).map(|(_, count)| count).sum());
        Share { total: finite + self.endless, beyond: beyond + self.endless }
    }
}

impl Batched<'_> {
    /// Of nothing: times are taken for independent.
    pub(super) const NONE: Batched<'static> = Batched { batches: &[], kind: Kind::Response, class: None };

    /// The design effect of the share at or beyond a percentile, `at`; none if it is endless. At it, because of the longest
    /// time nothing lies beyond.
    pub(super) fn design_effect(&self, histogram: &Histogram<u64>, at: Option<u64>) -> f64 {
        let from = at.map(|value| histogram.lowest_equivalent(value));
        let share = |batch: &Batch| {
            let classes = batch
                .0
                .iter()
                .enumerate()
                .filter(|(index, _)| self.class.is_none_or(|class| class == *index));
            classes.map(|(_, times)| times[self.kind as usize].share(from)).sum()
        };
        design_effect(&self.batches.iter().map(share).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Nanos;

    fn recorder(interval: u32, times: &[u64], timeouts: u64) -> Recorder {
        let mut recorder = Recorder::new(2);
        recorder.interval = Some(interval);
        times.iter().for_each(|time| recorder.classes[1].response_ok.record(Nanos(*time)));
        recorder.classes[1].errors[Failure::Timeout as usize] = timeouts;
        recorder.settle();
        recorder
    }

    #[test]
    fn a_longer_run_has_longer_batches_and_loses_nothing() {
        let mut batches = Batches::new(2);
        for interval in 0..1_000 {
            batches.add(&recorder(interval, &[5, 500, 50_000], 1));
        }
        assert!((BATCHES_MAX / 2..=BATCHES_MAX).contains(&batches.batches.len()));
        let sum: Share =
            batches.batches.iter().map(|batch| batch.0[1][Kind::Response as usize].share(Some(500))).sum();
        assert_eq!((sum.total, sum.beyond), (4_000, 3_000));
    }

    #[test]
    fn classes_and_kinds_are_told_apart() {
        let mut batches = Batches::new(2);
        // The same interval twice: two shards.
        for _ in 0..2 {
            batches.add(&recorder(3, &[5, 500], 1));
        }
        let share = |kind, class: usize| batches.batches[3].0[class][kind as usize].share(None);
        assert_eq!((share(Kind::Response, 1).total, share(Kind::Response, 1).beyond), (6, 2));
        assert_eq!((share(Kind::Ok, 1).total, share(Kind::Ok, 1).beyond), (4, 0));
        assert_eq!(share(Kind::Response, 0).total, 0);
    }
}
