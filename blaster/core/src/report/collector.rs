//! Merges the recorders of all shards: into the whole run, its classes, its warm-up, and the row of their interval.
//!
//! The whole run costs the same memory however long it is. Of an interval only its row of numbers is kept:
//! its histogram is handed out once all shards have delivered it, to the interval log and the live line.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::batches::Batches;
use super::latency::{longest, observed, percentiles};
use super::verdict::{Status, interval_status};
use crate::load::engine::ConnectFailure;
use crate::load::http1::Malformed;
use crate::load::recorder::{ClassRecord, Failure, LatenessRecord, Recorder, Series, WireRecord, histogram};
use crate::plan::slo::Slo;
use crate::time::Nanos;

/// Merges what shards deliver.
pub struct Collector {
    pub(super) classes: Vec<(String, ClassRecord)>,
    pub(super) warmup: ClassRecord,
    /// Bytes sent and received while the warm-up's recorders were in use.
    pub(super) warmup_bytes: [u64; 2],
    pub(super) lateness: LatenessRecord,
    pub(super) connect_time: Series,
    pub(super) opened: u64,
    pub(super) reopened: u64,
    pub(super) connect_failures: [u64; ConnectFailure::ALL.len()],
    pub(super) connections_peak: u64,
    pub(super) answers_before_close: Option<u64>,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) sends: u64,
    pub(super) malformed: Option<Malformed>,
    pub(super) wire: WireRecord,
    /// Service times of the earliest interval that has any.
    pub(super) service_at_start: Series,
    /// Those of each shard's first answers.
    pub(super) first_service: Series,
    start_interval: u32,
    /// What percentiles' intervals are widened by.
    pub(super) batches: Batches,
    pub(super) shards: Vec<Shard>,
    pub(super) rows: Vec<IntervalRow>,
    /// Time in flight, and service times, of all finished rows.
    in_flight_ns: u64,
    service_sum_ns: u64,
    /// The most that service times were ahead of the time in flight, as a share of it.
    pub(super) littles_law_excess: f64,
    interval: Nanos,
    /// What each interval is judged by.
    slos: Vec<Slo>,
    /// Intervals that not every shard has delivered; the first is number `rows.len()`.
    pending: VecDeque<Pending>,
    finished: Vec<FinishedInterval>,
}

/// What is kept of one shard.
pub(super) struct Shard {
    pub(super) turns: u64,
    pub(super) turn_time: Series,
    /// The first interval it has not delivered.
    next: u32,
    ended: bool,
    /// When its latest finished interval ended.
    gauges: Gauges,
}

/// One interval in numbers. `backlog_start + scheduled = sent + unsent + backlog_end`, and
/// `in_flight_start + sent = ok + unexpected_status + errors + in_flight_end`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntervalRow {
    /// When it began, in seconds from the end of the warm-up.
    pub t_s: f64,
    /// Requests whose intended time came.
    pub scheduled: u64,
    /// Requests handed to a connection.
    pub sent: u64,
    /// Requests that were given up because the run ended.
    pub unsent: u64,
    /// Answers.
    pub completed: u64,
    /// Answers with an expected status.
    pub ok: u64,
    /// Answers with another.
    pub unexpected_status: u64,
    /// Requests sent that failed without an answer.
    pub errors: u64,
    /// Median response time; none if nothing ended or the median request was never answered.
    pub p50_ns: Option<u64>,
    /// 99th percentile, likewise.
    pub p99_ns: Option<u64>,
    /// Longest response time, likewise.
    pub max_ns: Option<u64>,
    /// Due requests without room when it began.
    pub backlog_start: u64,
    /// And when it ended.
    pub backlog_end: u64,
    /// Requests in flight when it began.
    pub in_flight_start: u64,
    /// And when it ended.
    pub in_flight_end: u64,
    /// Connections open when it ended.
    pub connections: u64,
    /// Requests in flight, summed over the nanoseconds of the interval.
    #[serde(default)]
    pub in_flight_ns: u64,
    /// Service times of what ended in it, timeouts left out. Little's law: over any time, what was in flight is the sum of service
    /// times, but for what is in flight at its ends.
    #[serde(default)]
    pub service_sum_ns: u64,
    /// 99th percentile of the generator's own lateness; none if nothing was sent, and in closed loop.
    #[serde(default)]
    pub own_p99_ns: Option<u64>,
    /// What the interval's numbers are worth, judged by the generator alone.
    #[serde(default)]
    pub status: Status,
    /// The share of the run that was missing in it, with nodes that were lost.
    #[serde(default, skip_serializing_if = "is_none_missing")]
    pub missing: f64,
    /// Requests that came due in it and stand in a later row: a node that was cut off told of them when it was no longer waited for.
    #[serde(default, skip_serializing_if = "is_none")]
    pub told_late: u64,
    /// So many of those that stand here as due came due in earlier seconds, likewise.
    #[serde(default, skip_serializing_if = "is_none")]
    pub of_earlier: u64,
    /// Whether it kept each objective of the run by itself, in the order of the report's `slo`; none where nothing ended in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slo: Vec<Option<bool>>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

fn is_none_missing(share: &f64) -> bool {
    *share == 0.0
}

impl IntervalRow {
    /// Whether it has all of its second, and nothing else.
    pub fn is_whole(&self) -> bool {
        self.missing == 0.0 && self.told_late == 0 && self.of_earlier == 0
    }

    /// Nothing came due, was sent, or ended in it.
    fn is_empty(&self) -> bool {
        self.scheduled + self.sent + self.unsent + self.completed + self.errors == 0
    }
}

/// An interval that all shards have delivered.
#[derive(Clone, Debug)]
pub struct FinishedInterval {
    /// Its numbers, as they stand in the report.
    pub row: IntervalRow,
    /// Finite response times of what ended in it.
    pub response_time: Histogram<u64>,
}

#[derive(Clone, Copy, Default)]
struct Gauges {
    backlog: u64,
    in_flight: u64,
    connections: u64,
}

struct Pending {
    row: IntervalRow,
    response_time: Histogram<u64>,
    /// Timeouts and unsent backlog: endless response times.
    unanswered: u64,
    /// The generator's own lateness.
    own: Histogram<u64>,
    /// By shard; none until it has delivered.
    gauges: Vec<Option<Gauges>>,
}

impl Collector {
    /// For recorders of these classes, from that many shards, swapped once an `interval`.
    pub fn new(classes: impl IntoIterator<Item = String>, shards: usize, interval: Nanos) -> Self {
        let classes: Vec<_> = classes.into_iter().map(|name| (name, ClassRecord::new())).collect();
        Self {
            batches: Batches::new(classes.len()),
            classes,
            warmup: ClassRecord::new(),
            warmup_bytes: [0; 2],
            lateness: LatenessRecord {
                on_time: Series::new(),
                blocked_whole: Series::new(),
                blocked_own: Series::new(),
            },
            connect_time: Series::new(),
            opened: 0,
            reopened: 0,
            connect_failures: [0; ConnectFailure::ALL.len()],
            connections_peak: 0,
            answers_before_close: None,
            bytes_sent: 0,
            bytes_received: 0,
            sends: 0,
            malformed: None,
            wire: WireRecord::default(),
            service_at_start: Series::new(),
            first_service: Series::new(),
            start_interval: u32::MAX,
            shards: (0..shards).map(|_| Shard::new()).collect(),
            rows: Vec::new(),
            in_flight_ns: 0,
            service_sum_ns: 0,
            littles_law_excess: 0.0,
            interval,
            slos: Vec::new(),
            pending: VecDeque::new(),
            finished: Vec::new(),
        }
    }

    /// Judges every interval by these as well.
    #[must_use]
    pub fn judging(self, slos: Vec<Slo>) -> Self {
        Self { slos, ..self }
    }

    /// Merges what a shard saw in one interval, after settling it. Recorders of one shard come in the order of their
    /// intervals; numbers may be left out, if one recorder had to serve for several intervals.
    ///
    /// # Panics
    /// When there is no such shard, or the recorder has another number of classes.
    pub fn add(&mut self, shard: usize, recorder: &mut Recorder) {
        recorder.settle();
        let recorder = &*recorder;
        assert_eq!(
            recorder.main_classes().len(),
            self.classes.len(),
            "recorders have the collector's classes"
        );
        for ((_, sum), class) in self.classes.iter_mut().zip(recorder.main_classes()) {
            sum.merge(class);
        }
        self.warmup.merge(recorder.warmup());
        self.lateness.merge(&recorder.lateness);
        self.wire.merge(&recorder.wire);
        self.add_connections(recorder);
        self.sends += recorder.sends;
        match recorder.interval {
            Some(_) => {
                self.bytes_sent += recorder.bytes_sent;
                self.bytes_received += recorder.bytes_received;
            }
            None => {
                self.warmup_bytes[0] += recorder.bytes_sent;
                self.warmup_bytes[1] += recorder.bytes_received;
            }
        }
        self.shards[shard].turns += recorder.turns;
        self.shards[shard].turn_time.merge(&recorder.turn_time);
        self.note_service_at_start(recorder);
        self.first_service.merge(&recorder.first_service);
        self.batches.add(recorder);
        self.add_to_row(shard, recorder);
        self.finish_complete_rows();
    }

    /// Says that a shard will deliver no more: its intervals are not waited for any longer.
    pub fn shard_ended(&mut self, shard: usize) {
        self.shards[shard].ended = true;
        self.finish_complete_rows();
    }

    /// Ends all shards, so that the last intervals are finished. [`super::Report::build`] does it too.
    pub fn finish(&mut self) {
        for shard in &mut self.shards {
            shard.ended = true;
        }
        self.finish_complete_rows();
    }

    /// The intervals finished since the last call, in order. To be taken after every [`Self::add`]: what is
    /// left here stays in memory, a quarter of a megabyte each.
    pub fn take_finished_intervals(&mut self) -> Vec<FinishedInterval> {
        std::mem::take(&mut self.finished)
    }

    /// Length of an interval.
    pub fn interval(&self) -> Nanos {
        self.interval
    }

    fn add_connections(&mut self, recorder: &Recorder) {
        self.connect_time.merge(&recorder.connect_time);
        self.opened += recorder.opened;
        self.reopened += recorder.reopened;
        for (sum, add) in self.connect_failures.iter_mut().zip(recorder.connect_failures) {
            *sum += add;
        }
        self.answers_before_close = match (self.answers_before_close, recorder.answers_before_close) {
            (Some(known), Some(other)) => Some(known.min(other)),
            (known, other) => known.or(other),
        };
        if self.malformed.is_none() {
            self.malformed.clone_from(&recorder.malformed);
        }
    }

    /// What the target takes before queues grow: the mean of the first answers, or, where these were slow because everything was
    /// new to it, the median of the first interval.
    pub(super) fn unloaded_service_ns(&self) -> Option<u64> {
        let first = self.first_service.histogram();
        let first = (!first.is_empty()).then(|| first.mean() as u64);
        let median = percentiles(self.service_at_start.histogram(), 0, [50.0])[0];
        [first, median].into_iter().flatten().min()
    }

    fn note_service_at_start(&mut self, recorder: &Recorder) {
        let interval = recorder.interval.unwrap_or(0);
        let has_samples = recorder.main_classes().iter().any(|class| !class.service.histogram().is_empty());
        if interval > self.start_interval || !has_samples {
            return;
        }
        if interval < self.start_interval {
            self.start_interval = interval;
            self.service_at_start.clear();
        }
        for class in recorder.main_classes() {
            self.service_at_start.merge(&class.service);
        }
    }

    fn add_to_row(&mut self, shard: usize, recorder: &Recorder) {
        let gauges = Gauges {
            backlog: recorder.backlog_end,
            in_flight: recorder.in_flight_end,
            connections: recorder.connections_open.into(),
        };
        // A run cut short in its warm-up leaves no row; what belongs to no class is no part of one.
        let is_idle = |class: &ClassRecord| class.scheduled + class.sent + class.finished() == 0;
        if recorder.interval.is_none() && recorder.main_classes().iter().all(is_idle) {
            return;
        }
        let done = self.rows.len() as u32;
        let number = recorder.interval.unwrap_or(0).max(done);
        if recorder.interval.is_some() {
            self.shards[shard].next = number + 1;
        }
        while self.pending.len() <= (number - done) as usize {
            self.pending.push_back(Pending::new(self.shards.len()));
        }
        let pending = &mut self.pending[(number - done) as usize];
        pending.gauges[shard] = Some(gauges);
        pending.row.in_flight_ns += recorder.in_flight_ns;
        for series in [&recorder.lateness.on_time, &recorder.lateness.blocked_own] {
            add(&mut pending.own, series);
        }
        for class in recorder.main_classes() {
            pending.add(class);
        }
    }

    fn finish_complete_rows(&mut self) {
        while !self.pending.is_empty() {
            let number = self.rows.len() as u32;
            if !self.shards.iter().all(|shard| shard.ended || shard.next > number) {
                return;
            }
            let pending = self.pending.pop_front().expect("not empty");
            let is_last = self.pending.is_empty() && self.shards.iter().all(|shard| shard.ended);
            let finished = self.finish_row(pending);
            if is_last && finished.row.is_empty() {
                // The moment between the last full interval and the end: no interval of the run.
                return;
            }
            self.connections_peak = self.connections_peak.max(finished.row.connections);
            self.rows.push(finished.row.clone());
            self.finished.push(finished);
        }
    }

    fn finish_row(&mut self, pending: Pending) -> FinishedInterval {
        let before = self.gauges();
        for (shard, gauges) in self.shards.iter_mut().zip(&pending.gauges) {
            // A shard that left the interval out had no end of it: its next recorder covers both.
            shard.gauges = gauges.unwrap_or(shard.gauges);
        }
        let after = self.gauges();
        let mut row = pending.row;
        row.t_s = self.rows.len() as f64 * self.interval.as_secs_f64();
        row.completed = row.ok + row.unexpected_status;
        (row.backlog_start, row.backlog_end) = (before.backlog, after.backlog);
        (row.in_flight_start, row.in_flight_end) = (before.in_flight, after.in_flight);
        row.connections = after.connections;
        [row.p50_ns, row.p99_ns] = percentiles(&pending.response_time, pending.unanswered, [50.0, 99.0]);
        row.max_ns = longest(&pending.response_time, pending.unanswered);
        let [own_p50, own_p99] = percentiles(&pending.own, 0, [50.0, 99.0]);
        row.own_p99_ns = own_p99;
        row.status = interval_status(own_p50, own_p99, pending.own.len());
        row.slo =
            self.slos.iter().map(|slo| kept(slo, &row, &pending.response_time, pending.unanswered)).collect();
        self.check_littles_law(&row);
        FinishedInterval { row, response_time: pending.response_time }
    }

    /// However requests overlap the ends of intervals: what has ended was in flight for its service time before.
    fn check_littles_law(&mut self, row: &IntervalRow) {
        self.in_flight_ns += row.in_flight_ns;
        self.service_sum_ns += row.service_sum_ns;
        if self.in_flight_ns > 0 {
            let excess = self.service_sum_ns as f64 / self.in_flight_ns as f64 - 1.0;
            self.littles_law_excess = self.littles_law_excess.max(excess);
        }
    }

    /// The sum over all shards.
    fn gauges(&self) -> Gauges {
        self.shards.iter().fold(Gauges::default(), |sum, shard| Gauges {
            backlog: sum.backlog + shard.gauges.backlog,
            in_flight: sum.in_flight + shard.gauges.in_flight,
            connections: sum.connections + shard.gauges.connections,
        })
    }
}

impl Shard {
    fn new() -> Self {
        Self { turns: 0, turn_time: Series::new(), next: 0, ended: false, gauges: Gauges::default() }
    }
}

impl Pending {
    fn new(shards: usize) -> Self {
        Self {
            row: IntervalRow::default(),
            response_time: histogram(),
            unanswered: 0,
            own: histogram(),
            gauges: vec![None; shards],
        }
    }

    fn add(&mut self, class: &ClassRecord) {
        self.row.scheduled += class.scheduled;
        self.row.sent += class.sent;
        self.row.unsent += class.unsent_backlog + class.unsent_stopped;
        self.row.ok += class.ok;
        self.row.unexpected_status += class.unexpected_status;
        self.row.errors += class.errors.iter().sum::<u64>();
        self.unanswered += class.errors[Failure::Timeout as usize] + class.unsent_backlog;
        self.row.service_sum_ns += sum_ns(class.service.histogram());
        for series in [&class.response_ok, &class.response_rest] {
            add(&mut self.response_time, series);
        }
    }
}

/// Whether an interval kept an objective. Of its requests, those that ended in it; of what was to be sent in it, what was.
fn kept(slo: &Slo, row: &IntervalRow, times: &Histogram<u64>, unanswered: u64) -> Option<bool> {
    let ended = row.completed + row.errors + row.unsent;
    let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
    let (errors, achieved) =
        (share(ended - row.ok, ended), share(row.sent.min(row.scheduled), row.scheduled));
    (ended > 0).then(|| slo.judge(observed(slo.metric, times, unanswered, errors, achieved)))
}

fn add(sum: &mut Histogram<u64>, series: &Series) {
    if !series.histogram().is_empty() {
        sum.add(series.histogram()).expect("all histograms have the same bounds");
    }
}

/// The sum of all times, to the histogram's three digits.
fn sum_ns(histogram: &Histogram<u64>) -> u64 {
    (histogram.mean() * histogram.len() as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(shards: usize) -> Collector {
        Collector::new(["all".to_owned()], shards, Nanos::from_secs(1))
    }

    /// A shard's interval: scheduled, sent, ok, and the gauges at its end.
    fn recorder(interval: u32, scheduled: u64, sent: u64, ok: u64, backlog: u64, in_flight: u64) -> Recorder {
        let mut recorder = Recorder::new(1);
        recorder.interval = Some(interval);
        recorder.backlog_end = backlog;
        recorder.in_flight_end = in_flight;
        recorder.connections_open = 4;
        let class = &mut recorder.classes[0];
        (class.scheduled, class.sent, class.ok) = (scheduled, sent, ok);
        for index in 0..ok {
            class.response_ok.record(Nanos(1000 + index));
            class.service.record(Nanos(900 + u64::from(interval)));
        }
        recorder
    }

    fn assert_identities(rows: &[IntervalRow]) {
        let mut before = (0, 0);
        for row in rows {
            assert_eq!((row.backlog_start, row.in_flight_start), before, "{row:?}");
            assert_eq!(row.backlog_start + row.scheduled, row.sent + row.unsent + row.backlog_end, "{row:?}");
            assert_eq!(
                row.in_flight_start + row.sent,
                row.ok + row.unexpected_status + row.errors + row.in_flight_end,
                "{row:?}"
            );
            before = (row.backlog_end, row.in_flight_end);
        }
    }

    #[test]
    fn an_interval_is_finished_when_all_shards_have_delivered_it() {
        let mut collector = collector(2);
        collector.add(0, &mut recorder(0, 10, 10, 8, 0, 2));
        collector.add(0, &mut recorder(1, 10, 10, 12, 0, 0));
        assert!(collector.take_finished_intervals().is_empty());
        collector.add(1, &mut recorder(0, 9, 7, 7, 2, 0));
        let finished = collector.take_finished_intervals();
        assert_eq!(finished.len(), 1);
        let row = &finished[0].row;
        assert_eq!((row.scheduled, row.sent, row.ok, row.backlog_end, row.in_flight_end), (19, 17, 15, 2, 2));
        assert_eq!((row.connections, finished[0].response_time.len()), (8, 15));
        collector.add(1, &mut recorder(1, 9, 11, 11, 0, 0));
        assert_eq!(collector.take_finished_intervals()[0].row.t_s, 1.0);
        assert_identities(&collector.rows);
    }

    #[test]
    fn a_shard_that_left_an_interval_out_brings_it_with_the_next() {
        let mut collector = collector(2);
        for interval in 0..3 {
            collector.add(0, &mut recorder(interval, 10, 10, 10, 0, 0));
        }
        collector.add(1, &mut recorder(0, 10, 10, 7, 0, 3));
        collector.add(1, &mut recorder(2, 20, 20, 23, 0, 0));
        collector.finish();
        assert_eq!(collector.rows.iter().map(|row| row.sent).collect::<Vec<_>>(), [20, 10, 30]);
        assert_eq!(collector.rows[1].in_flight_end, 3);
        assert_identities(&collector.rows);
    }

    #[test]
    fn shards_may_end_at_different_intervals() {
        let mut collector = collector(2);
        collector.add(0, &mut recorder(0, 5, 5, 5, 0, 0));
        collector.shard_ended(0);
        for interval in 0..3 {
            collector.add(1, &mut recorder(interval, 5, 5, 5, 0, 0));
            assert_eq!(collector.take_finished_intervals().len(), 1);
        }
        assert_identities(&collector.rows);
    }

    #[test]
    fn the_end_flushes_what_some_shards_have_delivered() {
        let mut collector = collector(2);
        collector.add(0, &mut recorder(0, 5, 5, 4, 0, 1));
        collector.add(0, &mut recorder(1, 5, 5, 6, 0, 0));
        collector.finish();
        assert_eq!(collector.take_finished_intervals().len(), 2);
        assert_identities(&collector.rows);
    }

    #[test]
    fn the_warm_up_is_no_row() {
        let mut collector = collector(1);
        let mut warmup = Recorder::new(1);
        warmup.classes[1].scheduled = 10;
        warmup.classes[1].sent = 10;
        warmup.bytes_sent = 1000;
        collector.add(0, &mut warmup);
        assert!(collector.take_finished_intervals().is_empty());
        // The answers of the warm-up may come later, and stay its own.
        let mut first = recorder(0, 3, 3, 3, 0, 0);
        first.classes[1].ok = 10;
        collector.add(0, &mut first);
        let row = &collector.take_finished_intervals()[0].row;
        assert_eq!((row.scheduled, row.ok), (3, 3));
        assert_eq!((collector.warmup.sent, collector.warmup.ok, collector.warmup_bytes[0]), (10, 10, 1000));
    }

    #[test]
    fn measured_requests_in_a_late_warm_up_recorder_count_in_the_first_row() {
        let mut collector = collector(1);
        let mut warmup = recorder(0, 2, 2, 1, 0, 1);
        warmup.interval = None;
        collector.add(0, &mut warmup);
        collector.add(0, &mut recorder(0, 5, 5, 6, 0, 0));
        assert_eq!(collector.rows[0].sent, 7);
        assert_identities(&collector.rows);
    }

    #[test]
    fn a_timeout_makes_the_longest_response_of_its_interval_endless() {
        let mut collector = collector(1);
        let mut late = recorder(0, 100, 100, 98, 0, 0);
        late.classes[0].errors[Failure::Timeout as usize] = 2;
        collector.add(0, &mut late);
        let row = &collector.rows[0];
        assert_eq!((row.errors, row.p99_ns, row.max_ns), (2, None, None));
        assert!(row.p50_ns.is_some());
    }

    #[test]
    fn an_interval_is_judged_by_all_that_ended_in_it() {
        let slos = ["p90<900ns", "p90<1100ns", "mean<1050ns", "errors<1%", "achieved>=50%"];
        let mut collector = collector(1).judging(slos.map(|slo| slo.parse().unwrap()).into());
        collector.add(0, &mut recorder(0, 100, 100, 100, 0, 0));
        let mut failed = recorder(1, 100, 40, 30, 60, 0);
        failed.classes[0].errors[Failure::Timeout as usize] = 10;
        collector.add(0, &mut failed);
        collector.add(0, &mut recorder(2, 0, 0, 0, 60, 0));
        let judged: Vec<_> = collector.rows.iter().map(|row| row.slo.clone()).collect();
        assert_eq!(judged[0], [false, true, true, true, true].map(Some));
        assert_eq!(judged[1], [false; 5].map(Some), "a quarter of its requests was never answered");
        assert_eq!(judged[2], [None; 5], "nothing ended");
    }

    #[test]
    fn the_service_time_at_the_start_is_of_the_first_interval_with_answers() {
        let mut collector = collector(2);
        collector.add(0, &mut recorder(0, 5, 5, 0, 0, 5));
        collector.add(0, &mut recorder(2, 5, 5, 10, 0, 0));
        collector.add(1, &mut recorder(1, 5, 5, 5, 0, 0));
        collector.add(1, &mut recorder(2, 5, 5, 5, 0, 0));
        assert_eq!(collector.service_at_start.histogram().max(), 901);
        assert_eq!(collector.service_at_start.histogram().len(), 5);
    }
}
