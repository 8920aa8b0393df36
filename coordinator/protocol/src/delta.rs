//! What one shard of a node saw in one interval, on its way to the leader: counters, and the buckets of its histograms.
//!
//! All histograms have the same bounds everywhere, so their buckets are all there is to say, and merging them is exact.

use blaster_core::load::recorder::{ClassRecord, Recorder, Series, TIME_NS_MAX};
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

/// A histogram in transit: the distance of each bucket's time from the one before, and its count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Buckets {
    steps: Vec<(u64, u64)>,
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

    /// Writes it into `recorder`, which must be cleared, and is good for nothing after an error.
    pub fn restore(&self, recorder: &mut Recorder) -> Result<(), DeltaError> {
        if self.classes.len() != recorder.classes.len() {
            return Err(DeltaError::Shape);
        }
        recorder.interval = self.interval;
        for (class, record) in self.classes.iter().zip(&mut recorder.classes) {
            class.restore(record)?;
        }
        let lateness = &mut recorder.lateness;
        let series = [&mut lateness.on_time, &mut lateness.blocked_whole, &mut lateness.blocked_own];
        self.lateness.iter().zip(series).try_for_each(|(buckets, series)| buckets.restore(series))?;
        self.connect_time.restore(&mut recorder.connect_time)?;
        self.first_service.restore(&mut recorder.first_service)?;
        self.turn_time.restore(&mut recorder.turn_time)?;
        let wire = &mut recorder.wire;
        let series = [&mut wire.before, &mut wire.between, &mut wire.after];
        self.wire.iter().zip(series).try_for_each(|(buckets, series)| buckets.restore(series))?;
        restore_counts(&self.connect_failures, &mut recorder.connect_failures)?;
        recorder.connections_open = self.connections_open;
        recorder.answers_before_close = self.answers_before_close;
        // A sum over time: nanoseconds of an interval times requests in flight.
        recorder.in_flight_ns = self.in_flight_ns;
        for (count, into) in [
            (self.opened, &mut recorder.opened),
            (self.reopened, &mut recorder.reopened),
            (self.backlog_end, &mut recorder.backlog_end),
            (self.in_flight_end, &mut recorder.in_flight_end),
            (self.bytes_sent, &mut recorder.bytes_sent),
            (self.bytes_received, &mut recorder.bytes_received),
            (self.sends, &mut recorder.sends),
            (self.turns, &mut recorder.turns),
        ] {
            *into = possible(count)?;
        }
        Ok(())
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

    fn restore(&self, record: &mut ClassRecord) -> Result<(), DeltaError> {
        restore_counts(&self.errors, &mut record.errors)?;
        for &(code, count) in &self.status {
            *record.status.get_mut(usize::from(code)).ok_or(DeltaError::Shape)? = possible(count)?;
        }
        self.response_ok.restore(&mut record.response_ok)?;
        self.response_rest.restore(&mut record.response_rest)?;
        self.service.restore(&mut record.service)?;
        for (count, into) in [
            (self.scheduled, &mut record.scheduled),
            (self.sent, &mut record.sent),
            (self.events_sent, &mut record.events_sent),
            (self.unsent_backlog, &mut record.unsent_backlog),
            (self.unsent_stopped, &mut record.unsent_stopped),
            (self.ok, &mut record.ok),
            (self.events_acknowledged, &mut record.events_acknowledged),
            (self.events_by_status, &mut record.events_by_status),
            (self.unexpected_status, &mut record.unexpected_status),
        ] {
            *into = possible(count)?;
        }
        Ok(())
    }
}

impl Buckets {
    fn of(series: &Series) -> Self {
        let mut before = 0;
        let steps = series.buckets().map(|(time, count)| {
            let step = time.0 - before;
            before = time.0;
            (step, count)
        });
        Self { steps: steps.collect(), clipped: series.clipped() }
    }

    fn restore(&self, series: &mut Series) -> Result<(), DeltaError> {
        let mut time = 0_u64;
        for &(step, count) in &self.steps {
            time = time.checked_add(step).filter(|&time| time <= BUCKET_NS_MAX).ok_or(DeltaError::Bounds)?;
            series.add_buckets([(Nanos(time), possible(count)?)], 0);
        }
        series.add_buckets([], possible(self.clipped)?);
        Ok(())
    }
}

/// Buckets go on up to the next power of two, and the last holds whatever is longer.
const BUCKET_NS_MAX: u64 = TIME_NS_MAX.next_power_of_two();

fn possible(count: u64) -> Result<u64, DeltaError> {
    if count <= COUNT_MAX { Ok(count) } else { Err(DeltaError::Count) }
}

fn restore_counts(counts: &[u64], into: &mut [u64]) -> Result<(), DeltaError> {
    if counts.len() != into.len() {
        return Err(DeltaError::Shape);
    }
    for (&count, into) in counts.iter().zip(into) {
        *into = possible(count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use blaster_core::load::engine::WireTimes;
    use blaster_core::load::recorder::Failure;
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
            received.restore(&mut again).unwrap();
            // Whatever is in a recorder is in its delta.
            prop_assert_eq!(&Delta::of(3, &again), &delta);
            for (one, other) in recorder.classes.iter().zip(&again.classes) {
                prop_assert_eq!(one.response_ok.histogram(), other.response_ok.histogram());
                prop_assert_eq!(one.response_ok.clipped(), other.response_ok.clipped());
                prop_assert_eq!((one.scheduled, one.sent, &one.status[..]), (other.scheduled, other.sent, &other.status[..]));
            }
        }
    }

    #[test]
    fn what_cannot_be_merged_exactly_is_refused() {
        let delta = Delta::of(0, &full(&[5]));
        assert_eq!(delta.restore(&mut Recorder::new(3)), Err(DeltaError::Shape));
        let mut wide = delta.clone();
        wide.connect_time.steps = vec![(TIME_NS_MAX, 1), (TIME_NS_MAX, 1)];
        assert_eq!(wide.restore(&mut Recorder::new(2)), Err(DeltaError::Bounds));
        let mut lying = delta.clone();
        lying.classes[0].sent = u64::MAX;
        assert_eq!(lying.restore(&mut Recorder::new(2)), Err(DeltaError::Count));
        let mut strange = delta;
        strange.classes[0].status = vec![(1000, 1)];
        assert_eq!(strange.restore(&mut Recorder::new(2)), Err(DeltaError::Shape));
    }
}
