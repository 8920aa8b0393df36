//! A thread's pace: decides what becomes of a request and when, and knows which connection is to be answered next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use blaster_core::load::engine::ConnectionId;
use blaster_core::time::Nanos;
use payloads_fresh::Rng;

use crate::Record;
use crate::held::{End, Entry};
use crate::pace::{Fate, Pace};
use crate::queue::{Bucket, Queue};

/// Most requests that are recorded: 480 MB of memory.
pub(crate) const RECORDS_MAX: usize = 20_000_000;

/// How long a worker spins when it has nothing to do.
const SPIN_AFTER: Nanos = Nanos::from_millis(100);

/// Most memory that a leak takes.
const LEAK_BYTES_MAX: usize = 4 << 30;

pub(crate) struct Pacer {
    pace: Pace,
    random: Rng,
    queue: Option<Queue>,
    retries: u64,
    bucket: Option<Bucket>,
    /// When something is due on a connection, in the life that it was promised in.
    timers: BinaryHeap<Reverse<(Nanos, ConnectionId, u32)>>,
    leaked: Vec<Box<[u8]>>,
    leaked_bytes: usize,
    /// None if nobody wants them.
    records: Option<Vec<Record>>,
}

impl Pacer {
    /// One for each thread; `records` says whether every request is to be recorded.
    pub(crate) fn new(pace: &Pace, seed: u64, records: bool) -> Self {
        Self {
            pace: pace.clone(),
            random: Rng::new(seed),
            queue: pace.service.map(|service| Queue::new(service, pace.retries)),
            retries: 0,
            bucket: pace.capacity.map(Bucket::new),
            timers: BinaryHeap::new(),
            leaked: Vec::new(),
            leaked_bytes: 0,
            records: records.then(|| Vec::with_capacity(RECORDS_MAX)),
        }
    }

    /// What becomes of a request that came just now.
    pub(crate) fn fate(&mut self, arrival: Nanos) -> End {
        if self.bucket.as_mut().is_some_and(|bucket| !bucket.take(arrival)) {
            return End::Overload;
        }
        if self.queue.as_ref().is_some_and(|queue| queue.is_full(arrival)) {
            return End::Overload;
        }
        self.leak();
        match self.pace.faults.draw(&mut self.random) {
            Fate::Answer => End::Answer,
            Fate::Error => End::Error,
            Fate::Fault(fault) => End::Fault(fault),
        }
    }

    /// When it is to be answered; what is refused is refused at once.
    pub(crate) fn entry(&mut self, arrival: Nanos, end: End) -> Entry {
        let mut entry = Entry { due: arrival, arrival, service: Nanos::ZERO, len: 0, end };
        if end == End::Overload {
            return entry;
        }
        if let Some(queue) = &mut self.queue {
            let served = queue.take(arrival);
            (entry.due, entry.service) = (served.done, served.service);
            self.retries += u64::from(served.retried);
        }
        if let Some(latency) = self.pace.latency {
            entry.due += latency.draw(&mut self.random);
        }
        entry
    }

    pub(crate) fn promise(&mut self, due: Nanos, id: ConnectionId, life: u32) {
        self.timers.push(Reverse((due, id, life)));
    }

    /// The next connection whose time has come.
    pub(crate) fn next_due(&mut self, now: Nanos) -> Option<(ConnectionId, u32)> {
        let Reverse((_, id, life)) = *self.timers.peek().filter(|Reverse((due, ..))| *due <= now)?;
        self.timers.pop();
        Some((id, life))
    }

    /// Until when nothing is to be done. A worker spins while it is busy, and some time after: what comes next is seen when
    /// it comes, not when a sleeping CPU has woken up.
    pub(crate) fn idle_until(&self, now: Nanos) -> Nanos {
        if self.queue.as_ref().is_some_and(|queue| queue.is_busy(now.saturating_sub(SPIN_AFTER))) {
            return now;
        }
        self.timers.peek().map_or(Nanos::MAX, |Reverse((due, ..))| *due)
    }

    pub(crate) fn record(&mut self, entry: &Entry, answered: Nanos) {
        if let Some(records) = self.records.as_mut().filter(|records| records.len() < RECORDS_MAX) {
            records.push(Record { arrival: entry.arrival, service: entry.service, answered });
        }
    }

    /// Requests that are taken and not done.
    pub(crate) fn waiting(&self, now: Nanos) -> u64 {
        let in_queue = self.queue.as_ref().map_or(0, |queue| queue.waiting(now));
        in_queue + self.bucket.as_ref().map_or(0, |bucket| bucket.held(now))
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries
    }

    pub(crate) fn leaked_bytes(&self) -> u64 {
        self.leaked_bytes as u64
    }

    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        self.records.take().unwrap_or_default()
    }

    fn leak(&mut self) {
        let bytes = self.pace.leak_bytes;
        if bytes > 0 && self.leaked_bytes + bytes <= LEAK_BYTES_MAX {
            // Not zeros: those would be a promise of memory, not memory.
            self.leaked.push(vec![1; bytes].into());
            self.leaked_bytes += bytes;
        }
    }
}
