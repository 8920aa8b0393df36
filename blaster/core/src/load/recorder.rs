//! What happened during one interval on one shard: counters and histograms, swapped whole.
//!
//! The worker writes into one recorder at a time; once an interval it is exchanged for a prepared empty one
//! and travels to the reporting thread, which merges it and sends it back cleared.

use hdrhistogram::Histogram;

use super::engine::{ConnectFailure, WireTimes};
use super::http1::Malformed;
use crate::time::Nanos;

/// Everything one shard saw in one interval.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// Which interval, counted from the end of the warm-up; none for the warm-up itself.
    pub interval: Option<u32>,
    /// A record a class, then one for all requests intended in the warm-up.
    pub classes: Vec<ClassRecord>,
    /// Lateness of all classes.
    pub lateness: LatenessRecord,
    /// Time to open a connection.
    pub connect_time: Series,
    /// Connections opened for the first time.
    pub opened: u64,
    /// Connections opened again after they had ended.
    pub reopened: u64,
    /// Attempts that failed, by [`ConnectFailure`].
    pub connect_failures: [u64; ConnectFailure::ALL.len()],
    /// Connections open when the interval ended.
    pub connections_open: u32,
    /// Requests (not of the warm-up) that were due and found no room, when the interval ended.
    pub backlog_end: u64,
    /// Requests (not of the warm-up) in flight when the interval ended.
    pub in_flight_end: u64,
    /// Service times of the shard's first answers, before queues grew.
    pub first_service: Series,
    /// Requests (not of the warm-up) in flight, summed over the nanoseconds of the interval: by Little's law the sum of their
    /// service times.
    pub in_flight_ns: u64,
    /// Answers after which the server closes a connection, if it has that habit.
    pub answers_before_close: Option<u64>,
    /// Bytes handed to connections.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Sends; `sent / sends` is how densely requests were packed.
    pub sends: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Length of turns that did not wait.
    pub turn_time: Series,
    /// Why the first answer that was not understood was not.
    pub malformed: Option<Malformed>,
    /// Times of single requests, as the kernel saw them.
    pub wire: WireRecord,
}

/// Requests of one class.
#[derive(Clone, Debug)]
pub struct ClassRecord {
    /// Requests whose intended time came.
    pub scheduled: u64,
    /// Requests handed to a connection.
    pub sent: u64,
    /// Events they carried.
    pub events_sent: u64,
    /// Scheduled, and still without room when the run ended.
    pub unsent_backlog: u64,
    /// Scheduled, and unsent only because the run was stopped.
    pub unsent_stopped: u64,
    /// Answers with an expected status.
    pub ok: u64,
    /// Events that these answers acknowledge.
    pub events_acknowledged: u64,
    /// Those of them that no count in the answer says: its status alone does.
    pub events_by_status: u64,
    /// Answers with another status.
    pub unexpected_status: u64,
    /// Requests without an answer, by [`Failure`].
    pub errors: [u64; Failure::ALL.len()],
    /// Answers by status code.
    pub status: Box<[u64; STATUS_CODES]>,
    /// Response time of ok answers.
    pub response_ok: Series,
    /// Response time of other answers and of known failures.
    pub response_rest: Series,
    /// Service time of all of these.
    pub service: Series,
}

/// Lateness, each request in `on_time` or in both of the others.
#[derive(Clone, Debug)]
pub struct LatenessRecord {
    /// Of requests that never waited for a connection: all of it is the generator's own.
    pub on_time: Series,
    /// Of requests that did: the whole.
    pub blocked_whole: Series,
    /// Of the same requests: the generator's own share.
    pub blocked_own: Series,
}

/// The time from a request's send to its answer in three parts, told apart by the kernel's times.
#[derive(Clone, Debug, Default)]
pub struct WireRecord {
    /// From the send to the device.
    pub before: Series,
    /// From there until the answer came from the device: network and target.
    pub between: Series,
    /// From there until the answer was in the generator's hands.
    pub after: Series,
}

/// How a request that was sent can fail. The order is that of the report's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was reset.
    Reset,
    /// The server closed the connection.
    Closed,
    /// No answer in time.
    Timeout,
    /// The answer was not understood.
    Malformed,
    /// Lost with its connection, for the fault of another request.
    Aborted,
}

impl Failure {
    /// Every kind, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Reset, Self::Closed, Self::Timeout, Self::Malformed, Self::Aborted];

    /// The report's key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Aborted => "aborted",
        }
    }
}

/// Status codes run from 0 to 999: three digits on the wire.
pub const STATUS_CODES: usize = 1000;

/// Upper bound of every histogram; above it a value is clipped and counted.
pub const TIME_NS_MAX: u64 = 3_600_000_000_000;

/// Significant decimal digits of every histogram.
pub const DIGITS: u8 = 3;

/// A histogram with the bounds that are the same everywhere, so that merging is exact.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_NS_MAX, DIGITS).expect("constant bounds are valid")
}

impl Recorder {
    /// An empty recorder for `classes` classes, and the warm-up.
    pub fn new(classes: usize) -> Self {
        Self {
            interval: None,
            classes: (0..=classes).map(|_| ClassRecord::new()).collect(),
            lateness: LatenessRecord {
                on_time: Series::new(),
                blocked_whole: Series::new(),
                blocked_own: Series::new(),
            },
            connect_time: Series::new(),
            opened: 0,
            reopened: 0,
            connect_failures: [0; ConnectFailure::ALL.len()],
            connections_open: 0,
            backlog_end: 0,
            in_flight_end: 0,
            first_service: Series::new(),
            in_flight_ns: 0,
            answers_before_close: None,
            bytes_sent: 0,
            bytes_received: 0,
            sends: 0,
            turns: 0,
            turn_time: Series::new(),
            malformed: None,
            wire: WireRecord::default(),
        }
    }

    /// The record of the requests intended in the warm-up; it stands behind the classes.
    pub fn warmup(&self) -> &ClassRecord {
        self.classes.last().expect("the warm-up's record is always there")
    }

    /// The classes, without the warm-up.
    pub fn main_classes(&self) -> &[ClassRecord] {
        &self.classes[..self.classes.len() - 1]
    }

    /// Empties it for the next use; allocates nothing.
    pub fn clear(&mut self) {
        self.interval = None;
        self.classes.iter_mut().for_each(ClassRecord::clear);
        self.lateness.each_mut().for_each(Series::clear);
        self.connect_time.clear();
        self.first_service.clear();
        self.turn_time.clear();
        self.wire.each_mut().for_each(Series::clear);
        self.connect_failures = [0; ConnectFailure::ALL.len()];
        self.answers_before_close = None;
        self.malformed = None;
        for counter in [
            &mut self.opened,
            &mut self.reopened,
            &mut self.backlog_end,
            &mut self.in_flight_end,
            &mut self.in_flight_ns,
            &mut self.bytes_sent,
            &mut self.bytes_received,
            &mut self.sends,
            &mut self.turns,
        ] {
            *counter = 0;
        }
        self.connections_open = 0;
    }

    /// Brings every series' pending value into its histogram; to be called before reading them.
    pub fn settle(&mut self) {
        for class in &mut self.classes {
            class.each_mut().for_each(Series::settle);
        }
        self.lateness.each_mut().for_each(Series::settle);
        self.connect_time.settle();
        self.first_service.settle();
        self.turn_time.settle();
        self.wire.each_mut().for_each(Series::settle);
    }
}

impl ClassRecord {
    /// An empty record.
    pub fn new() -> Self {
        Self {
            scheduled: 0,
            sent: 0,
            events_sent: 0,
            unsent_backlog: 0,
            unsent_stopped: 0,
            ok: 0,
            events_acknowledged: 0,
            events_by_status: 0,
            unexpected_status: 0,
            errors: [0; Failure::ALL.len()],
            status: Box::new([0; STATUS_CODES]),
            response_ok: Series::new(),
            response_rest: Series::new(),
            service: Series::new(),
        }
    }

    /// Requests that came to an end: answered or failed.
    pub fn finished(&self) -> u64 {
        self.ok + self.unexpected_status + self.errors.iter().sum::<u64>()
    }

    /// Adds all of `other`; exact, as the histograms share their bounds.
    pub fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.events_sent += other.events_sent;
        self.unsent_backlog += other.unsent_backlog;
        self.unsent_stopped += other.unsent_stopped;
        self.ok += other.ok;
        self.events_acknowledged += other.events_acknowledged;
        self.events_by_status += other.events_by_status;
        self.unexpected_status += other.unexpected_status;
        for (sum, add) in self.errors.iter_mut().zip(other.errors) {
            *sum += add;
        }
        for (sum, add) in self.status.iter_mut().zip(other.status.iter()) {
            *sum += add;
        }
        self.response_ok.merge(&other.response_ok);
        self.response_rest.merge(&other.response_rest);
        self.service.merge(&other.service);
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        [&mut self.response_ok, &mut self.response_rest, &mut self.service].into_iter()
    }

    fn clear(&mut self) {
        self.each_mut().for_each(Series::clear);
        self.status.fill(0);
        self.errors = [0; Failure::ALL.len()];
        for counter in [
            &mut self.scheduled,
            &mut self.sent,
            &mut self.events_sent,
            &mut self.unsent_backlog,
            &mut self.unsent_stopped,
            &mut self.ok,
            &mut self.events_acknowledged,
            &mut self.events_by_status,
            &mut self.unexpected_status,
        ] {
            *counter = 0;
        }
    }
}

impl Default for ClassRecord {
    fn default() -> Self {
        Self::new()
    }
}

impl LatenessRecord {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.on_time.merge(&other.on_time);
        self.blocked_whole.merge(&other.blocked_whole);
        self.blocked_own.merge(&other.blocked_own);
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        [&mut self.on_time, &mut self.blocked_whole, &mut self.blocked_own].into_iter()
    }
}

impl WireRecord {
    /// Records a request, unless its times are in no possible order, as after the wall clock was set.
    pub fn record(&mut self, sent: Nanos, times: WireTimes, reaped: Nanos) {
        let WireTimes { left, arrived } = times;
        if sent <= left && left <= arrived && arrived <= reaped {
            self.before.record(left - sent);
            self.between.record(arrived - left);
            self.after.record(reaped - arrived);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.before.merge(&other.before);
        self.between.merge(&other.between);
        self.after.merge(&other.after);
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Series> {
        [&mut self.before, &mut self.between, &mut self.after].into_iter()
    }
}

/// A histogram of times that gathers runs of equal values before it touches its buckets: the answers of a
/// pipelined batch share their service time, and in closed loop their response time too.
#[derive(Clone, Debug)]
pub struct Series {
    histogram: Histogram<u64>,
    /// Values above [`TIME_NS_MAX`], recorded as that.
    clipped: u64,
    pending_value: u64,
    pending_count: u64,
}

impl Series {
    /// An empty series.
    pub fn new() -> Self {
        Self { histogram: histogram(), clipped: 0, pending_value: 0, pending_count: 0 }
    }

    /// Records one time.
    #[inline]
    pub fn record(&mut self, time: Nanos) {
        if time.0 != self.pending_value {
            self.settle();
            self.pending_value = time.0;
        }
        self.pending_count += 1;
    }

    /// Brings the pending value into the histogram.
    #[inline]
    pub fn settle(&mut self) {
        if self.pending_count == 0 {
            return;
        }
        if self.pending_value > TIME_NS_MAX {
            self.clipped += self.pending_count;
        }
        self.histogram.saturating_record_n(self.pending_value, self.pending_count);
        self.pending_count = 0;
    }

    /// The histogram; complete only after [`Self::settle`].
    pub fn histogram(&self) -> &Histogram<u64> {
        debug_assert_eq!(self.pending_count, 0, "settle before reading");
        &self.histogram
    }

    /// How many values were above the upper bound.
    pub fn clipped(&self) -> u64 {
        self.clipped
    }

    /// What is in its histogram, from the lowest bucket on: a time of the bucket, and how many. All that another series with
    /// [`Self::add_buckets`] needs to be equal to it; complete only after [`Self::settle`].
    pub fn buckets(&self) -> impl Iterator<Item = (Nanos, u64)> {
        self.histogram().iter_recorded().map(|step| (Nanos(step.value_iterated_to()), step.count_at_value()))
    }

    /// Adds buckets of another series, and how many times of it were clipped.
    pub fn add_buckets(&mut self, buckets: impl IntoIterator<Item = (Nanos, u64)>, clipped: u64) {
        for (time, count) in buckets {
            self.histogram.saturating_record_n(time.0, count);
        }
        self.clipped += clipped;
    }

    /// Adds all of `other`, which must be settled.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(other.pending_count, 0, "settle before merging");
        self.clipped += other.clipped;
        if !other.histogram.is_empty() {
            self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
        }
    }

    /// Empties it; touches its memory only if there was something in it.
    pub fn clear(&mut self) {
        self.settle();
        if !self.histogram.is_empty() {
            self.histogram.reset();
        }
        self.clipped = 0;
    }
}

impl Default for Series {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathered_values_equal_values_recorded_one_by_one() {
        let (mut series, mut plain) = (Series::new(), histogram());
        for value in [5, 5, 5, 7, 5, 0, 0, 1_000_000, 1_000_000, 3] {
            series.record(Nanos(value));
            plain.record(value).unwrap();
        }
        series.settle();
        assert_eq!(series.histogram(), &plain);
    }

    #[test]
    fn a_value_beyond_the_bound_is_clipped_and_counted() {
        let mut series = Series::new();
        series.record(Nanos(TIME_NS_MAX + 1));
        series.record(Nanos(TIME_NS_MAX));
        series.settle();
        assert_eq!((series.clipped(), series.histogram().len()), (1, 2));
    }

    #[test]
    fn the_buckets_of_a_series_make_one_that_is_equal() {
        let mut series = Series::new();
        for exponent in 0..64 {
            series.record(Nanos((1_u64 << exponent) + exponent));
            series.record(Nanos(1_u64 << exponent));
        }
        series.settle();
        let mut again = Series::new();
        again.add_buckets(series.buckets(), series.clipped());
        assert_eq!((again.histogram(), again.clipped()), (series.histogram(), series.clipped()));
        assert_eq!(again.histogram().max(), series.histogram().max());
        assert_eq!(again.histogram().min(), series.histogram().min());
    }

    #[test]
    fn the_parts_of_a_timed_request_add_up_to_the_whole() {
        let mut wire = WireRecord::default();
        wire.record(Nanos(100), WireTimes { left: Nanos(130), arrived: Nanos(600) }, Nanos(1_000));
        wire.each_mut().for_each(Series::settle);
        let parts = [&wire.before, &wire.between, &wire.after].map(|series| series.histogram().max());
        assert_eq!(parts, [30, 470, 400]);
        assert_eq!(parts.iter().sum::<u64>(), 1_000 - 100);
    }

    #[test]
    fn times_in_no_possible_order_are_left_out() {
        let mut wire = WireRecord::default();
        for (left, arrived) in [(99, 600), (600, 130), (130, 1_001)] {
            wire.record(Nanos(100), WireTimes { left: Nanos(left), arrived: Nanos(arrived) }, Nanos(1_000));
        }
        wire.each_mut().for_each(Series::settle);
        assert!(wire.each_mut().all(|series| series.histogram().is_empty()));
    }

    #[test]
    fn a_cleared_recorder_equals_a_new_one() {
        let mut recorder = Recorder::new(2);
        recorder.classes[1].ok = 3;
        recorder.classes[1].response_ok.record(Nanos(9));
        recorder.lateness.on_time.record(Nanos(4));
        recorder.opened = 2;
        recorder.settle();
        recorder.clear();
        let mut new = Recorder::new(2);
        new.clear();
        assert_eq!(recorder.classes[1].response_ok.histogram(), new.classes[1].response_ok.histogram());
        assert_eq!((recorder.classes[1].ok, recorder.opened), (0, 0));
        assert_eq!(recorder.lateness.on_time.histogram().len(), 0);
    }
}
