//! What one shard of a node saw in one interval, on its way to the leader: counters, and the buckets of its histograms.
//!
//! All histograms have the same bounds everywhere, so their buckets are all there is to say, and merging them is exact.

use blaster_core::load::engine::ConnectFailure;
use blaster_core::load::recorder::{ClassRecord, Failure, Recorder, STATUS_CODES, Series, TIME_NS_MAX};
use blaster_core::time::Nanos;
use serde::{Deserialize, Serialize};

/// A recorder in transit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Which of the node's shards.
    pub shard: u32,
    /// Which interval; none for the warm-up.
    pub interval: Option<u32>,
    classes: Vec<Class>,
    /// On time, blocked whole, blocked own.
    lateness: [Buckets; 3],
    connect_time: Buckets,
    first_service: Buckets,
    turn_time: Buckets,
    /// Before, on and after the wire.
    wire: [Buckets; 3],
    opened: u64,
    reopened: u64,
    connect_failures: Vec<u64>,
    connections_open: u32,
    backlog_end: u64,
    in_flight_end: u64,
    in_flight_ns: u64,
    answers_before_close: Option<u64>,
    bytes_sent: u64,
    bytes_received: u64,
    sends: u64,
    turns: u64,
}

/// A class's record in transit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Class {
    scheduled: u64,
    sent: u64,
    events_sent: u64,
    unsent_backlog: u64,
    unsent_stopped: u64,
    ok: u64,
    events_acknowledged: u64,
    events_by_status: u64,
    unexpected_status: u64,
    errors: Vec<u64>,
    /// Codes that came, each with its count.
    status: Vec<(u16, u64)>,
    response_ok: Buckets,
    response_rest: Buckets,
    service: Buckets,
}

/// A histogram in transit: of each bucket the distance of its time from the one before, and its count. An interval has thousands of them,
/// and a leader thousands of intervals: they are read where they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Buckets {
    #[serde(with = "bytes")]
    steps: Vec<u8>,
    clipped: u64,
}

/// Why a delta cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeltaError {
    /// Another number of classes, kinds of error, or a status that is none.
    #[error("it has other counters than this run")]
    Shape,
    /// Times no histogram of ours can hold.
    #[error("its histograms have other bounds than 1-{TIME_NS_MAX} ns: merging would not be exact")]
    Bounds,
    /// More than any node can have seen.
    #[error("it counts more than a node can have seen")]
    Count,
}

/// No counter of an interval can be above it; sums of thousands still fit.
const COUNT_MAX: u64 = 1 << 50;

impl Delta {
    /// What is in a recorder, which must be settled.
    pub fn of(shard: u32, recorder: &Recorder) -> Self {
        let lateness = &recorder.lateness;
        let wire = &recorder.wire;
        Self {
            shard,
            interval: recorder.interval,
            classes: recorder.classes.iter().map(Class::of).collect(),
            lateness: [&lateness.on_time, &lateness.blocked_whole, &lateness.blocked_own].map(Buckets::of),
            connect_time: Buckets::of(&recorder.connect_time),
            first_service: Buckets::of(&recorder.first_service),
            turn_time: Buckets::of(&recorder.turn_time),
            wire: [&wire.before, &wire.between, &wire.after].map(Buckets::of),
            opened: recorder.opened,
            reopened: recorder.reopened,
            connect_failures: recorder.connect_failures.to_vec(),
            connections_open: recorder.connections_open,
            backlog_end: recorder.backlog_end,
            in_flight_end: recorder.in_flight_end,
            in_flight_ns: recorder.in_flight_ns,
            answers_before_close: recorder.answers_before_close,
            bytes_sent: recorder.bytes_sent,
            bytes_received: recorder.bytes_received,
            sends: recorder.sends,
            turns: recorder.turns,
        }
    }

    /// Whether it can be merged into recorders of so many classes.
    pub fn check(&self, classes: usize) -> Result<(), DeltaError> {
        // The warm-up has a record as well.
        let is_of_shape =
            self.classes.len() == classes + 1 && self.connect_failures.len() == ConnectFailure::ALL.len();
        if !is_of_shape {
            return Err(DeltaError::Shape);
        }
        self.classes.iter().try_for_each(Class::check)?;
        let series = [&self.connect_time, &self.first_service, &self.turn_time];
        series.into_iter().chain(&self.lateness).chain(&self.wire).try_for_each(Buckets::check)?;
        possible(&self.connect_failures)?;
        possible(&[
            self.opened,
            self.reopened,
            self.backlog_end,
            self.in_flight_end,
            self.bytes_sent,
            self.bytes_received,
            self.sends,
            self.turns,
        ])
    }

    /// Adds all of it to what others saw, in `recorder`: gauges too, which are sums then. To be checked before.
    pub fn add_to(&self, recorder: &mut Recorder) {
        self.add_counts_to(recorder);
        for (class, record) in self.classes.iter().zip(&mut recorder.classes) {
            class.response_ok.add_to(&mut record.response_ok);
            class.response_rest.add_to(&mut record.response_rest);
            class.service.add_to(&mut record.service);
        }
        let lateness = &mut recorder.lateness;
        let series = [&mut lateness.on_time, &mut lateness.blocked_whole, &mut lateness.blocked_own];
        self.lateness.iter().zip(series).for_each(|(buckets, series)| buckets.add_to(series));
        self.connect_time.add_to(&mut recorder.connect_time);
        self.first_service.add_to(&mut recorder.first_service);
        self.turn_time.add_to(&mut recorder.turn_time);
        let wire = &mut recorder.wire;
        let series = [&mut wire.before, &mut wire.between, &mut wire.after];
        self.wire.iter().zip(series).for_each(|(buckets, series)| buckets.add_to(series));
    }

    /// Adds its counts alone, without histograms.
    pub fn add_counts_to(&self, recorder: &mut Recorder) {
        for (class, record) in self.classes.iter().zip(&mut recorder.classes) {
            class.add_counts_to(record);
        }
        for (sum, add) in recorder.connect_failures.iter_mut().zip(&self.connect_failures) {
            *sum += add;
        }
        recorder.answers_before_close =
            [recorder.answers_before_close, self.answers_before_close].into_iter().flatten().min();
        recorder.connections_open = recorder.connections_open.saturating_add(self.connections_open);
        // A sum over time: nanoseconds of an interval times requests in flight.
        recorder.in_flight_ns = recorder.in_flight_ns.saturating_add(self.in_flight_ns);
        for (sum, add) in [
            (&mut recorder.opened, self.opened),
            (&mut recorder.reopened, self.reopened),
            (&mut recorder.backlog_end, self.backlog_end),
            (&mut recorder.in_flight_end, self.in_flight_end),
            (&mut recorder.bytes_sent, self.bytes_sent),
            (&mut recorder.bytes_received, self.bytes_received),
            (&mut recorder.sends, self.sends),
            (&mut recorder.turns, self.turns),
        ] {
            *sum += add;
        }
    }

    /// What was waiting to be sent, in flight, and open when its interval ended.
    pub fn gauges(&self) -> (u64, u64, u32) {
        (self.backlog_end, self.in_flight_end, self.connections_open)
    }

    /// Response times that ended in it and have an end, and those that have none (timeouts, and what was given up unsent), warm-up aside.
    pub fn answered(&self) -> (u64, u64) {
        let measured = &self.classes[..self.classes.len().saturating_sub(1)];
        measured.iter().fold((0, 0), |(finite, endless): (u64, u64), class| {
            let timeouts = class.errors.get(Failure::Timeout as usize).copied().unwrap_or(0);
            let answers = class.ok.saturating_add(class.unexpected_status);
            let ended = class.errors.iter().fold(answers, |sum, &errors| sum.saturating_add(errors));
            (
                finite.saturating_add(ended.saturating_sub(timeouts)),
                endless.saturating_add(timeouts).saturating_add(class.unsent_backlog),
            )
        })
    }

    /// The longest of its classes' 99th percentiles of response times, warm-up aside; none without any.
    pub fn p99_ns(&self) -> Option<u64> {
        let measured = &self.classes[..self.classes.len().saturating_sub(1)];
        measured
            .iter()
            .flat_map(|class| [&class.response_ok, &class.response_rest])
            .filter_map(Buckets::p99_ns)
            .max()
    }
}

impl Class {
    fn of(record: &ClassRecord) -> Self {
        let status = (0..).zip(record.status.iter().copied()).filter(|(_, count)| *count > 0);
        Self {
            scheduled: record.scheduled,
            sent: record.sent,
            events_sent: record.events_sent,
            unsent_backlog: record.unsent_backlog,
            unsent_stopped: record.unsent_stopped,
            ok: record.ok,
            events_acknowledged: record.events_acknowledged,
            events_by_status: record.events_by_status,
            unexpected_status: record.unexpected_status,
            errors: record.errors.to_vec(),
            status: status.collect(),
            response_ok: Buckets::of(&record.response_ok),
            response_rest: Buckets::of(&record.response_rest),
            service: Buckets::of(&record.service),
        }
    }

    fn check(&self) -> Result<(), DeltaError> {
        let codes_exist = self.status.iter().all(|(code, _)| usize::from(*code) < STATUS_CODES);
        if self.errors.len() != Failure::ALL.len() || !codes_exist {
            return Err(DeltaError::Shape);
        }
        possible(&self.errors)?;
        self.status.iter().try_for_each(|&(_, count)| possible(&[count]))?;
        [&self.response_ok, &self.response_rest, &self.service].into_iter().try_for_each(Buckets::check)?;
        possible(&[
            self.scheduled,
            self.sent,
            self.events_sent,
            self.unsent_backlog,
            self.unsent_stopped,
            self.ok,
            self.events_acknowledged,
            self.events_by_status,
            self.unexpected_status,
        ])
    }

    fn add_counts_to(&self, record: &mut ClassRecord) {
        for (sum, add) in record.errors.iter_mut().zip(&self.errors) {
            *sum += add;
        }
        for &(code, count) in &self.status {
            record.status[usize::from(code)] += count;
        }
        for (sum, add) in [
            (&mut record.scheduled, self.scheduled),
            (&mut record.sent, self.sent),
            (&mut record.events_sent, self.events_sent),
            (&mut record.unsent_backlog, self.unsent_backlog),
            (&mut record.unsent_stopped, self.unsent_stopped),
            (&mut record.ok, self.ok),
            (&mut record.events_acknowledged, self.events_acknowledged),
            (&mut record.events_by_status, self.events_by_status),
            (&mut record.unexpected_status, self.unexpected_status),
        ] {
            *sum += add;
        }
    }
}

impl Buckets {
    fn of(series: &Series) -> Self {
        let mut before = 0;
        let mut steps = Vec::new();
        // To see that a histogram is empty takes a walk through all of it, and most are.
        let buckets = (!series.histogram().is_empty()).then(|| series.buckets());
        for (time, count) in buckets.into_iter().flatten() {
            put(&mut steps, time.0 - before);
            put(&mut steps, count);
            before = time.0;
        }
        Self { steps, clipped: series.clipped() }
    }

    fn check(&self) -> Result<(), DeltaError> {
        let (mut rest, mut time) = (&self.steps[..], 0_u64);
        while !rest.is_empty() {
            let step = take(&mut rest).ok_or(DeltaError::Shape)?;
            time = time.checked_add(step).filter(|&time| time <= BUCKET_NS_MAX).ok_or(DeltaError::Bounds)?;
            possible(&[take(&mut rest).ok_or(DeltaError::Shape)?])?;
        }
        possible(&[self.clipped])
    }

    /// Its buckets' times, each with its count; up to what is none, which a checked one has not.
    fn times(&self) -> impl Iterator<Item = (Nanos, u64)> {
        let (mut rest, mut time) = (&self.steps[..], 0_u64);
        std::iter::from_fn(move || {
            time = time.saturating_add(take(&mut rest)?);
            Some((Nanos(time), take(&mut rest)?))
        })
    }

    fn add_to(&self, series: &mut Series) {
        series.add_buckets(self.times(), self.clipped);
    }

    /// The upper end of the bucket that the 99th percentile lies in.
    fn p99_ns(&self) -> Option<u64> {
        // Whoever lies may say as much as it likes.
        let total = self.times().map(|(_, count)| count).fold(0, u64::saturating_add);
        // Ninety-nine hundredths, rounded up.
        let rank = total - total / 100;
        let mut below = 0_u64;
        let reached = self.times().find(|(_, count)| {
            below = below.saturating_add(*count);
            below >= rank
        });
        reached.map(|(time, _)| time.0)
    }
}

/// Writes a number, seven bits a byte, the low ones first; all bytes but the last have their high bit set (LEB128).
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads a number off the front; none if there is no whole one.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
        shift += 7;
    }
}

/// Bytes as they are; a sequence of numbers would be read one by one.
mod bytes {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }

        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Buckets go on up to the next power of two, and the last holds whatever is longer.
const BUCKET_NS_MAX: u64 = TIME_NS_MAX.next_power_of_two();

fn possible(counts: &[u64]) -> Result<(), DeltaError> {
    if counts.iter().all(|&count| count <= COUNT_MAX) { Ok(()) } else { Err(DeltaError::Count) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use blaster_core::load::engine::WireTimes;
    use hdrhistogram::serialization::{Serializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    /// A recorder with something in every field.
    fn full(times: &[u64]) -> Recorder {
        let mut recorder = Recorder::new(2);
        recorder.interval = Some(7);
        for (index, class) in recorder.classes.iter_mut().enumerate() {
            class.scheduled = times.len() as u64 + index as u64;
            class.sent = times.len() as u64;
            (class.unsent_backlog, class.events_sent, class.events_by_status) = (index as u64, 3, 1);
            class.errors[Failure::Closed as usize] = 2;
            class.status[202] = 5;
            class.status[999] = 1;
            for &time in times {
                class.response_ok.record(Nanos(time));
                class.service.record(Nanos(time / 2));
            }
        }
        times.iter().for_each(|&time| recorder.lateness.blocked_own.record(Nanos(time)));
        recorder.turn_time.record(Nanos(4_000));
        recorder.wire.record(Nanos(1), WireTimes { left: Nanos(2), arrived: Nanos(500) }, Nanos(700));
        (recorder.opened, recorder.backlog_end, recorder.in_flight_end, recorder.turns) = (1, 2, 3, 4);
        (recorder.connections_open, recorder.in_flight_ns, recorder.bytes_sent) = (5, 6, 7);
        recorder.answers_before_close = Some(100);
        recorder.connect_failures[1] = 9;
        recorder.settle();
        recorder
    }

    proptest! {
        #[test]
        fn a_recorder_survives_the_way_to_the_last_bucket(times in prop::collection::vec(0_u64..TIME_NS_MAX * 2, 0..50)) {
            let recorder = full(&times);
            let delta = Delta::of(3, &recorder);
            let bytes = postcard::to_stdvec(&delta).unwrap();
            let received: Delta = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&received, &delta);
            let mut again = Recorder::new(2);
            received.check(2).unwrap();
            received.add_to(&mut again);
            again.interval = received.interval;
            // Whatever is in a recorder is in its delta.
            prop_assert_eq!(&Delta::of(3, &again), &delta);
            for (one, other) in recorder.classes.iter().zip(&again.classes) {
                prop_assert_eq!(one.response_ok.histogram(), other.response_ok.histogram());
                prop_assert_eq!(one.response_ok.clipped(), other.response_ok.clipped());
                prop_assert_eq!((one.scheduled, one.sent, &one.status[..]), (other.scheduled, other.sent, &other.status[..]));
            }
        }
    }

    /// What happened once: where, and what a recorder makes of it.
    #[derive(Clone, Copy, Debug)]
    struct Sample {
        node: usize,
        shard: u32,
        interval: u32,
        class: usize,
        time: u64,
        outcome: usize,
    }

    fn samples(nodes: usize) -> impl Strategy<Value = Vec<Sample>> {
        // Times of all sizes, up to those that no histogram holds.
        let time = (0..43_u32, any::<u64>()).prop_map(|(bits, noise)| noise & ((1 << bits) - 1));
        let sample = (0..nodes, 0..3_u32, 0..2_u32, 0..CLASSES + 1, time, 0..8_usize);
        let sample = sample.prop_map(|(node, shard, interval, class, time, outcome)| Sample {
            node,
            shard,
            interval,
            class,
            time,
            outcome,
        });
        prop::collection::vec(sample, 0..300)
    }

    const CLASSES: usize = 2;

    fn record(recorder: &mut Recorder, sample: &Sample) {
        let &Sample { class, time, outcome, .. } = sample;
        let class = &mut recorder.classes[class];
        (class.scheduled, class.sent) = (class.scheduled + 1, class.sent + 1);
        (class.events_sent, class.events_by_status) =
            (class.events_sent + time % 7, class.events_by_status + 1);
        (class.unsent_backlog, class.unsent_stopped) =
            (class.unsent_backlog + time % 2, class.unsent_stopped + time % 3);
        match outcome {
            0..3 => {
                class.status[200 + outcome] += 1;
                class.ok += 1;
                class.events_acknowledged += time % 5;
                class.response_ok.record(Nanos(time));
            }
            3..5 => {
                class.status[500 + outcome] += 1;
                class.unexpected_status += 1;
                class.response_rest.record(Nanos(time));
            }
            _ => class.errors[outcome % Failure::ALL.len()] += 1,
        }
        class.service.record(Nanos(time / 2));
        match outcome % 3 {
            0 => recorder.lateness.on_time.record(Nanos(time / 9)),
            1 => recorder.lateness.blocked_whole.record(Nanos(time)),
            _ => recorder.lateness.blocked_own.record(Nanos(time / 5)),
        }
        recorder.connect_time.record(Nanos(time / 3));
        recorder.first_service.record(Nanos(time / 4));
        recorder.turn_time.record(Nanos(time / 6));
        recorder.wire.record(
            Nanos(5),
            WireTimes { left: Nanos(9), arrived: Nanos(9 + time) },
            Nanos(11 + 2 * time),
        );
        recorder.connect_failures[outcome % ConnectFailure::ALL.len()] += 1;
        recorder.answers_before_close = recorder.answers_before_close.into_iter().chain([time]).min();
        recorder.connections_open += 1;
        recorder.in_flight_ns += time;
        for counter in [
            &mut recorder.opened,
            &mut recorder.reopened,
            &mut recorder.backlog_end,
            &mut recorder.in_flight_end,
            &mut recorder.bytes_sent,
            &mut recorder.bytes_received,
            &mut recorder.sends,
            &mut recorder.turns,
        ] {
            *counter += time % 1_000;
        }
    }

    /// The bytes of every histogram of a recorder.
    fn histograms(recorder: &Recorder) -> Vec<Vec<u8>> {
        let of_class =
            |class: &'_ ClassRecord| [&class.response_ok, &class.response_rest, &class.service].map(bytes_of);
        let (lateness, wire) = (&recorder.lateness, &recorder.wire);
        let whole = [
            &recorder.connect_time,
            &recorder.first_service,
            &recorder.turn_time,
            &lateness.on_time,
            &lateness.blocked_whole,
            &lateness.blocked_own,
            &wire.before,
            &wire.between,
            &wire.after,
        ];
        recorder.classes.iter().flat_map(of_class).chain(whole.map(bytes_of)).collect()
    }

    fn bytes_of(series: &Series) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(series.histogram(), &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn what_all_nodes_saw_is_bit_for_bit_what_one_recorder_of_all_of_it_holds(
            samples in (1..=64_usize).prop_flat_map(samples),
            backwards in any::<bool>(),
        ) {
            let mut of_shards: BTreeMap<_, Vec<Sample>> = BTreeMap::new();
            for sample in &samples {
                of_shards.entry((sample.interval, sample.node, sample.shard)).or_default().push(*sample);
            }
            let mut scratch = Recorder::new(CLASSES);
            let mut sent: Vec<Vec<u8>> = of_shards.iter().map(|(&(interval, _, shard), samples)| {
                scratch.clear();
                scratch.interval = Some(interval);
                samples.iter().for_each(|sample| record(&mut scratch, sample));
                scratch.settle();
                postcard::to_stdvec(&Delta::of(shard, &scratch)).unwrap()
            }).collect();
            if backwards {
                sent.reverse();
            }
            for interval in 0..2 {
                let (mut merged, mut whole) = (Recorder::new(CLASSES), Recorder::new(CLASSES));
                for bytes in &sent {
                    let delta: Delta = postcard::from_bytes(bytes).unwrap();
                    delta.check(CLASSES).unwrap();
                    if delta.interval == Some(interval) {
                        delta.add_to(&mut merged);
                    }
                }
                let of_interval = samples.iter().filter(|sample| sample.interval == interval);
                of_interval.for_each(|sample| record(&mut whole, sample));
                whole.settle();
                // Every counter and every bucket; then the histograms as others read them.
                prop_assert_eq!(Delta::of(0, &merged), Delta::of(0, &whole));
                prop_assert!(histograms(&merged) == histograms(&whole));
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_written_and_noise_does_no_harm(numbers in prop::collection::vec(any::<u64>(), 0..20), noise in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|&number| put(&mut bytes, number));
            let mut rest = &bytes[..];
            let read: Vec<u64> = std::iter::from_fn(|| take(&mut rest)).collect();
            prop_assert_eq!(read, numbers);
            let buckets = Buckets { steps: noise, clipped: 0 };
            if buckets.check().is_ok() {
                buckets.add_to(&mut Series::new());
            }
        }
    }

    #[test]
    fn a_delta_knows_its_percentile_as_the_histogram_does() {
        let times: Vec<u64> = (1..=1_000).map(|n| n * n * 37).collect();
        let recorder = full(&times);
        let wanted = recorder.classes[0].response_ok.histogram().value_at_quantile(0.99);
        assert_eq!(Delta::of(0, &recorder).p99_ns(), Some(wanted));
        assert_eq!(Delta::of(0, &Recorder::new(2)).p99_ns(), None);
    }

    #[test]
    fn a_percentile_of_more_than_can_be_counted_is_one_of_its_times() {
        let mut delta = Delta::of(0, &full(&[5]));
        for _ in 0..20_000 {
            put(&mut delta.classes[0].response_ok.steps, 1);
            put(&mut delta.classes[0].response_ok.steps, COUNT_MAX);
        }
        delta.check(2).unwrap();
        assert!(delta.p99_ns().is_some_and(|p99| p99 <= 20_005), "{:?}", delta.p99_ns());
    }

    #[test]
    fn what_cannot_be_merged_exactly_is_refused() {
        let delta = Delta::of(0, &full(&[5]));
        assert_eq!((delta.check(2), delta.check(3)), (Ok(()), Err(DeltaError::Shape)));
        let mut wide = delta.clone();
        for number in [TIME_NS_MAX, 1, TIME_NS_MAX, 1] {
            put(&mut wide.connect_time.steps, number);
        }
        let mut cut = delta.clone();
        cut.turn_time.steps.pop();
        assert_eq!(cut.check(2), Err(DeltaError::Shape));
        assert_eq!(wide.check(2), Err(DeltaError::Bounds));
        let mut lying = delta.clone();
        lying.classes[0].sent = u64::MAX;
        assert_eq!(lying.check(2), Err(DeltaError::Count));
        let mut strange = delta;
        strange.classes[0].status = vec![(1000, 1)];
        assert_eq!(strange.check(2), Err(DeltaError::Shape));
    }
}
