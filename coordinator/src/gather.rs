//! The leader's numbers: what all shards of all nodes saw, merged as one machine's would be, and what each node's come to.

use blaster_core::load::recorder::Recorder;
use blaster_core::load::worker::INTERVAL;
use blaster_core::report::collector::{Collector, FinishedInterval};
use blaster_core::report::latency::percentiles;
use blaster_core::report::{Events, Requests};
use coordinator_protocol::delta::{Delta, DeltaError};

/// Merges deltas.
pub struct Gatherer {
    collector: Collector,
    scratch: Recorder,
    nodes: Vec<Tally>,
    /// So many a run has at most, with its draining.
    intervals_max: u32,
}

/// What one node's deltas come to.
#[derive(Debug)]
pub struct Tally {
    /// The first of its shards among all.
    first_shard: usize,
    shards: Vec<Shard>,
    /// Counts of the measured part.
    pub requests: Requests,
    /// Their events.
    pub events: Events,
    /// Its latest interval that all its shards have said something of.
    pub latest: Latest,
    /// It is waited for no longer.
    given_up: bool,
}

/// One interval of a node, as far as its shards have said.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// Which.
    pub interval: u32,
    /// Requests whose time came.
    pub scheduled: u64,
    /// Requests sent.
    pub sent: u64,
    /// The longest of the shards' 99th percentiles of response times.
    pub p99_ns: Option<u64>,
}

#[derive(Debug)]
struct Shard {
    /// By class, the warm-up last.
    classes: Vec<Requests>,
    /// The first interval it has not said.
    next: Option<u32>,
    in_flight: u64,
}

/// Why a node's delta is refused.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Its numbers are none of this run.
    #[error("what it says it saw cannot be merged: {0}")]
    Delta(#[from] DeltaError),
    /// A shard it does not have.
    #[error("what it says it saw is of shard {0}, which it does not have")]
    Shard(u32),
    /// An interval that was before, or that the run never comes to.
    #[error("what it says it saw is of second {0}, which is not next")]
    Interval(u32),
}

impl Gatherer {
    /// For nodes with so many shards each, and a run that is over after so many intervals at the latest.
    pub fn new(classes: Vec<String>, shards: &[u32], intervals_max: u32) -> Self {
        let count = classes.len();
        let mut first_shard = 0;
        let nodes = shards.iter().map(|&shards| {
            let tally = Tally::new(first_shard, shards, count);
            first_shard += shards as usize;
            tally
        });
        let nodes: Vec<Tally> = nodes.collect();
        Self {
            collector: Collector::new(classes, first_shard, INTERVAL),
            scratch: Recorder::new(count),
            nodes,
            intervals_max,
        }
    }

    /// Takes in what a shard of a node saw.
    pub fn merge(&mut self, node: usize, delta: &Delta) -> Result<(), GatherError> {
        self.scratch.clear();
        delta.restore(&mut self.scratch)?;
        let tally = &mut self.nodes[node];
        let shard = tally.shards.get_mut(delta.shard as usize).ok_or(GatherError::Shard(delta.shard))?;
        if let Some(interval) = delta.interval
            && (interval >= self.intervals_max || shard.next.is_some_and(|next| interval < next))
        {
            return Err(GatherError::Interval(interval));
        }
        let recorder = &mut self.scratch;
        for (sum, class) in shard.classes.iter_mut().zip(&recorder.classes) {
            sum.merge(&Requests::of(class));
        }
        shard.in_flight = recorder.in_flight_end;
        if let Some(interval) = recorder.interval {
            shard.next = Some(interval + 1);
        }
        for class in recorder.main_classes() {
            tally.requests.merge(&Requests::of(class));
            tally.events.merge(&Events::of(class));
        }
        tally.latest.note(recorder);
        self.collector.add(tally.first_shard + delta.shard as usize, recorder);
        Ok(())
    }

    /// A node says no more: its intervals are not waited for, and what waited on it to be sent will not be.
    pub fn end(&mut self, node: usize) {
        let tally = &mut self.nodes[node];
        for (index, shard) in tally.shards.iter_mut().enumerate() {
            let recorder = &mut self.scratch;
            recorder.clear();
            recorder.interval = shard.next;
            recorder.in_flight_end = shard.in_flight;
            for (class, record) in shard.classes.iter_mut().zip(&mut recorder.classes) {
                record.unsent_stopped = class.waiting();
                class.merge(&Requests::of(record));
            }
            if recorder.classes.iter().any(|class| class.unsent_stopped > 0) {
                for class in recorder.main_classes() {
                    tally.requests.merge(&Requests::of(class));
                }
                self.collector.add(tally.first_shard + index, recorder);
            }
            self.collector.shard_ended(tally.first_shard + index);
        }
    }

    /// Does not wait for a lost node's intervals any longer; what comes later counts all the same.
    pub fn give_up(&mut self, node: usize) {
        let tally = &mut self.nodes[node];
        if std::mem::replace(&mut tally.given_up, true) {
            return;
        }
        let shards = tally.first_shard..tally.first_shard + tally.shards.len();
        shards.for_each(|shard| self.collector.shard_ended(shard));
    }

    /// Intervals that all nodes have said, since the last call.
    pub fn take_finished_intervals(&mut self) -> Vec<FinishedInterval> {
        self.collector.take_finished_intervals()
    }

    /// What a node's deltas come to.
    pub fn tally(&self, node: usize) -> &Tally {
        &self.nodes[node]
    }

    /// All there is, to make a report of.
    pub fn into_collector(self) -> Collector {
        self.collector
    }
}

impl Tally {
    fn new(first_shard: usize, shards: u32, classes: usize) -> Self {
        let shard = || Shard { classes: vec![Requests::default(); classes + 1], next: None, in_flight: 0 };
        Self {
            first_shard,
            shards: (0..shards).map(|_| shard()).collect(),
            requests: Requests::default(),
            events: Events::default(),
            latest: Latest::default(),
            given_up: false,
        }
    }

    /// Intervals of which every shard has said something; of a node that stopped, the last is the one it stopped in.
    pub fn intervals(&self) -> u32 {
        self.shards.iter().map(|shard| shard.next.unwrap_or(0)).min().unwrap_or(0)
    }
}

impl Latest {
    fn note(&mut self, recorder: &Recorder) {
        let Some(interval) = recorder.interval else { return };
        if interval > self.interval {
            *self = Self { interval, ..Self::default() };
        }
        for class in recorder.main_classes() {
            self.scheduled += class.scheduled;
            self.sent += class.sent;
            for series in [&class.response_ok, &class.response_rest] {
                let p99 = percentiles(series.histogram(), 0, [99.0])[0];
                self.p99_ns = self.p99_ns.max(p99);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use blaster_core::time::Nanos;
    use proptest::prelude::*;

    use super::*;

    fn recorder(interval: u32, times: &[u64]) -> Recorder {
        let mut recorder = Recorder::new(1);
        recorder.interval = Some(interval);
        let class = &mut recorder.classes[0];
        (class.scheduled, class.sent, class.ok) =
            (times.len() as u64, times.len() as u64, times.len() as u64);
        class.status[200] = times.len() as u64;
        for &time in times {
            class.response_ok.record(Nanos(time));
            class.service.record(Nanos(time));
        }
        recorder.settle();
        recorder
    }

    fn class() -> Vec<String> {
        vec!["events".to_owned()]
    }

    proptest! {
        // Each makes up to 64 nodes' histograms.
        #![proptest_config(ProptestConfig::with_cases(6))]

        /// What 1 to 64 nodes say is what one recorder of all their samples would hold.
        #[test]
        fn merging_is_exact_to_the_last_bucket(nodes in prop::collection::vec(prop::collection::vec(0_u64..10_000_000_000, 0..30), 1..65)) {
            let mut gatherer = Gatherer::new(class(), &vec![1; nodes.len()], 100);
            let mut alone = Collector::new(class(), 1, INTERVAL);
            for (node, times) in nodes.iter().enumerate() {
                gatherer.merge(node, &Delta::of(0, &recorder(0, times))).unwrap();
                prop_assert_eq!(gatherer.tally(node).requests.sent, times.len() as u64);
                gatherer.end(node);
            }
            alone.add(0, &mut recorder(0, &nodes.concat()));
            alone.finish();
            let (mut merged, mut one) = (gatherer.take_finished_intervals(), alone.take_finished_intervals());
            prop_assert_eq!(merged.len(), one.len());
            if let (Some(merged), Some(one)) = (merged.pop(), one.pop()) {
                prop_assert_eq!(merged.response_time, one.response_time);
                prop_assert_eq!((merged.row.sent, merged.row.ok, merged.row.p99_ns), (one.row.sent, one.row.ok, one.row.p99_ns));
            }
        }
    }

    #[test]
    fn what_a_lost_node_left_waiting_is_unsent_and_what_it_had_in_flight_stays_so() {
        let mut gatherer = Gatherer::new(class(), &[1, 1], 100);
        let mut cut_off = recorder(0, &[5, 6, 7]);
        (cut_off.classes[0].scheduled, cut_off.classes[0].sent) = (10, 8);
        (cut_off.backlog_end, cut_off.in_flight_end) = (2, 5);
        gatherer.merge(0, &Delta::of(0, &cut_off)).unwrap();
        gatherer.merge(1, &Delta::of(0, &recorder(0, &[5]))).unwrap();
        gatherer.merge(1, &Delta::of(0, &recorder(1, &[5]))).unwrap();
        gatherer.end(0);
        gatherer.end(1);
        let requests = &gatherer.tally(0).requests;
        assert_eq!((requests.scheduled, requests.sent, requests.unsent.stopped), (10, 8, 2));
        assert_eq!((requests.completed, requests.in_flight_at_end), (3, 5));
        let rows: Vec<_> =
            gatherer.take_finished_intervals().into_iter().map(|interval| interval.row).collect();
        assert_eq!((rows[0].backlog_end, rows[0].in_flight_end), (2, 5));
        assert_eq!((rows[1].unsent, rows[1].backlog_end, rows[1].in_flight_end), (2, 0, 5));
    }

    #[test]
    fn what_is_of_no_shard_of_the_node_is_refused() {
        let mut gatherer = Gatherer::new(class(), &[1], 100);
        let error = gatherer.merge(0, &Delta::of(1, &recorder(0, &[]))).unwrap_err();
        assert!(matches!(error, GatherError::Shard(1)));
    }

    #[test]
    fn an_interval_that_is_past_or_beyond_the_run_is_refused_and_changes_nothing() {
        let mut gatherer = Gatherer::new(class(), &[1], 100);
        gatherer.merge(0, &Delta::of(0, &recorder(5, &[7]))).unwrap();
        for wrong in [5, 100, u32::MAX] {
            let error = gatherer.merge(0, &Delta::of(0, &recorder(wrong, &[9]))).unwrap_err();
            assert!(matches!(error, GatherError::Interval(which) if which == wrong));
        }
        gatherer.end(0);
        assert_eq!(gatherer.tally(0).requests.completed, 1);
        assert_eq!(gatherer.take_finished_intervals().len(), 6);
    }
}
