//! The leader's numbers: what all shards of all nodes saw, merged as one machine's would be, and what each node's come to.

use std::collections::VecDeque;

use blaster_core::load::recorder::{ClassRecord, Recorder};
use blaster_core::load::worker::INTERVAL;
use blaster_core::plan::slo::Slo;
use blaster_core::report::collector::{Collector, FinishedInterval};
use blaster_core::report::{Events, Requests};
use coordinator_protocol::delta::{Delta, DeltaError};

/// Merges deltas. What all shards of all nodes saw of an interval is added up bucket by bucket first, and goes to the collector as one: a
/// delta has hundreds of buckets, a histogram tens of thousands.
pub struct Gatherer {
    collector: Collector,
    /// For counts.
    scratch: Recorder,
    nodes: Vec<Tally>,
    /// What was seen of intervals that not every shard has told of; the first is number `done`.
    pending: VecDeque<Recorder>,
    warmup: Recorder,
    done: u32,
    spare: Vec<Recorder>,
    /// So many a run has at most, with its draining.
    intervals_max: u32,
    late: Vec<Late>,
}

/// What came when its interval was no longer waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Where it belongs.
    pub of: u32,
    /// Where it stands.
    pub stands_in: u32,
    /// Requests that came due.
    pub due: u64,
}

/// What one node's deltas come to.
#[derive(Debug)]
pub struct Tally {
    shards: Vec<Shard>,
    /// Counts of the measured part.
    pub requests: Requests,
    /// Their events.
    pub events: Events,
    /// Its latest interval that all its shards have said something of.
    pub latest: Latest,
    /// It is waited for no longer.
    given_up: bool,
    /// The last interval that it told of anything due in.
    last_due: u32,
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
    /// Response times with an end, and without.
    answered: (u64, u64),
}

impl Latest {
    /// Whether the 99th percentile is among requests that were never answered.
    pub fn is_endless(&self) -> bool {
        let (finite, endless) = self.answered;
        endless.saturating_mul(99) > finite
    }
}

#[derive(Debug)]
struct Shard {
    /// By class, the warm-up last.
    classes: Vec<Requests>,
    /// The first interval it has not said.
    next: Option<u32>,
    ended: bool,
    given_up: bool,
    /// At the ends of intervals that are not finished, and of the last that is.
    gauges: VecDeque<(u32, Gauges)>,
    at_last: Gauges,
}

/// Backlog, in flight, connections open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gauges(u64, u64, u32);

/// Why a node's delta is refused.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// Its numbers are none of this run.
    #[error("what it says it saw cannot be merged: {0}")]
    Delta(#[from] DeltaError),
    /// A shard it does not have.
    #[error("what it says it saw is of shard {0}, which it does not have")]
    Shard(u32),
    /// Counts that no requests have.
    #[error(
        "what it says it saw cannot be: more requests ended than were sent, or more were sent than were due"
    )]
    Counts,
    /// An interval that was before, or that the run never comes to.
    #[error("what it says it saw is of second {0}, which is not next")]
    Interval(u32),
}

/// More cannot have ended than was sent, nor been sent than was due.
fn is_possible(requests: &Requests) -> bool {
    let ended = requests.completed + requests.errors.total();
    ended <= requests.sent
        && requests.sent + requests.unsent.backlog + requests.unsent.stopped <= requests.scheduled
}

impl Gatherer {
    /// For nodes with so many shards each, and a run that is over after so many intervals at the latest, each judged by the objectives.
    pub fn new(classes: Vec<String>, shards: &[u32], intervals_max: u32, slos: Vec<Slo>) -> Self {
        let count = classes.len();
        let all_shards = shards.iter().sum::<u32>().max(1) as usize;
        let mut collector = Collector::new(classes, all_shards, INTERVAL).judging(slos);
        // The first stands for all; the others have cores, and are not waited for.
        (1..all_shards).for_each(|shard| collector.shard_ended(shard));
        Self {
            collector,
            scratch: Recorder::new(count),
            nodes: shards.iter().map(|&shards| Tally::new(shards, count)).collect(),
            pending: VecDeque::new(),
            warmup: Recorder::new(count),
            done: 0,
            spare: Vec::new(),
            intervals_max,
            late: Vec::new(),
        }
    }

    /// Takes in what a shard of a node saw.
    ///
    /// By now no interval after `latest` can have begun.
    pub fn merge(&mut self, node: usize, delta: &Delta, latest: u32) -> Result<(), GatherError> {
        delta.check(self.scratch.main_classes().len())?;
        let tally = &mut self.nodes[node];
        let shard = tally.shards.get_mut(delta.shard as usize).ok_or(GatherError::Shard(delta.shard))?;
        if let Some(interval) = delta.interval
            && (interval >= self.intervals_max
                || interval > latest
                || shard.next.is_some_and(|next| interval < next))
        {
            return Err(GatherError::Interval(interval));
        }
        self.scratch.clear();
        delta.add_counts_to(&mut self.scratch);
        let mut sums = shard.classes.clone();
        for (sum, class) in sums.iter_mut().zip(&self.scratch.classes) {
            sum.merge(&Requests::of(class));
        }
        if !sums.iter().all(is_possible) {
            return Err(GatherError::Counts);
        }
        shard.classes = sums;
        for class in self.scratch.main_classes() {
            tally.requests.merge(&Requests::of(class));
            tally.events.merge(&Events::of(class));
        }
        let (backlog, in_flight, connections) = delta.gauges();
        let gauges = Gauges(backlog, in_flight, connections);
        let Some(interval) = delta.interval else {
            shard.at_last = gauges;
            delta.add_to(&mut self.warmup);
            return Ok(());
        };
        shard.next = Some(interval + 1);
        if self.scratch.main_classes().iter().any(|class| class.scheduled > 0) {
            tally.last_due = tally.last_due.max(interval);
        }
        // What comes after its interval was given up counts in the first that was not.
        let (of, interval) = (interval, interval.max(self.done));
        if of < interval {
            let due = self.scratch.main_classes().iter().map(|class| class.scheduled).sum();
            self.late.push(Late { of, stands_in: interval, due });
        }
        shard.gauges.push_back((interval, gauges));
        tally.latest.note(interval, delta, self.scratch.main_classes());
        delta.add_to(self.pending(interval));
        self.finish_complete();
        Ok(())
    }

    /// A node says no more: its intervals are not waited for, and what waited on it to be sent will not be.
    pub fn end(&mut self, node: usize) {
        for index in 0..self.nodes[node].shards.len() {
            let tally = &mut self.nodes[node];
            let shard = &mut tally.shards[index];
            shard.ended = true;
            let waiting: Vec<u64> = shard.classes.iter().map(Requests::waiting).collect();
            if waiting.iter().all(|&waiting| waiting == 0) {
                continue;
            }
            let (was_begun, interval) = (shard.next.is_some(), shard.next.unwrap_or(0).max(self.done));
            let Gauges(_, in_flight, connections) =
                shard.gauges.back().map_or(shard.at_last, |(_, gauges)| *gauges);
            let after = Gauges(0, in_flight, connections);
            if was_begun {
                shard.gauges.push_back((interval, after));
            } else {
                shard.at_last = after;
            }
            self.scratch.clear();
            for (record, waiting) in self.scratch.classes.iter_mut().zip(&waiting) {
                record.unsent_stopped = *waiting;
            }
            for (sum, record) in shard.classes.iter_mut().zip(&self.scratch.classes) {
                sum.merge(&Requests::of(record));
            }
            for class in self.scratch.main_classes() {
                tally.requests.merge(&Requests::of(class));
            }
            let into = if was_begun { self.pending(interval) } else { &mut self.warmup };
            for (record, waiting) in into.classes.iter_mut().zip(&waiting) {
                record.unsent_stopped += waiting;
            }
        }
        self.finish_complete();
    }

    /// Does not wait for a lost node's intervals any longer; what comes later counts all the same.
    pub fn give_up(&mut self, node: usize) {
        let tally = &mut self.nodes[node];
        if std::mem::replace(&mut tally.given_up, true) {
            return;
        }
        // What it had open is nobody's to know.
        tally.shards.iter_mut().for_each(|shard| (shard.ended, shard.given_up) = (true, true));
        self.finish_complete();
    }

    fn pending(&mut self, interval: u32) -> &mut Recorder {
        let index = (interval - self.done) as usize;
        while self.pending.len() <= index {
            let classes = self.scratch.main_classes().len();
            self.pending.push_back(self.spare.pop().unwrap_or_else(|| Recorder::new(classes)));
        }
        &mut self.pending[index]
    }

    /// Hands on what all shards have told of.
    fn finish_complete(&mut self) {
        let shards = || self.nodes.iter().flat_map(|tally| &tally.shards);
        // None waits for a shard that has ended.
        let next = shards().filter(|shard| !shard.ended).map(|shard| shard.next.unwrap_or(0)).min();
        while !self.pending.is_empty() && next.is_none_or(|next| next > self.done) {
            if self.done == 0 {
                self.hand_on_warmup();
            }
            let mut recorder = self.pending.pop_front().expect("not empty");
            let mut sum = Gauges::default();
            for shard in self.nodes.iter_mut().flat_map(|tally| &mut tally.shards) {
                while let Some(&(_, gauges)) =
                    shard.gauges.front().filter(|(interval, _)| *interval <= self.done)
                {
                    shard.at_last = gauges;
                    shard.gauges.pop_front();
                }
                sum = Gauges(
                    sum.0 + shard.at_last.0,
                    sum.1 + shard.at_last.1,
                    sum.2.saturating_add(if shard.given_up { 0 } else { shard.at_last.2 }),
                );
            }
            recorder.interval = Some(self.done);
            (recorder.backlog_end, recorder.in_flight_end, recorder.connections_open) = (sum.0, sum.1, sum.2);
            self.collector.add(0, &mut recorder);
            recorder.clear();
            self.spare.push(recorder);
            self.done += 1;
        }
    }

    /// The warm-up comes before all intervals.
    fn hand_on_warmup(&mut self) {
        self.warmup.interval = None;
        self.collector.add(0, &mut self.warmup);
        self.warmup.clear();
    }

    /// Intervals that all nodes have said, since the last call.
    pub fn take_finished_intervals(&mut self) -> Vec<FinishedInterval> {
        self.collector.take_finished_intervals()
    }

    /// What came too late for its own row.
    pub fn late(&self) -> &[Late] {
        &self.late
    }

    /// What a node's deltas come to.
    pub fn tally(&self, node: usize) -> &Tally {
        &self.nodes[node]
    }

    /// All there is, to make a report of; once all nodes have ended.
    pub fn into_collector(mut self) -> Collector {
        self.hand_on_warmup();
        self.collector
    }
}

impl Tally {
    fn new(shards: u32, classes: usize) -> Self {
        let shard = || Shard {
            classes: vec![Requests::default(); classes + 1],
            next: None,
            ended: false,
            given_up: false,
            gauges: VecDeque::new(),
            at_last: Gauges::default(),
        };
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            requests: Requests::default(),
            events: Events::default(),
            latest: Latest::default(),
            given_up: false,
            last_due: 0,
        }
    }

    /// The last interval in which something came due.
    pub fn last_due(&self) -> u32 {
        self.last_due
    }

    /// Intervals of which every shard has said something; of a node that stopped, the last is the one it stopped in.
    pub fn intervals(&self) -> u32 {
        self.shards.iter().map(|shard| shard.next.unwrap_or(0)).min().unwrap_or(0)
    }
}

impl Latest {
    fn note(&mut self, interval: u32, delta: &Delta, counts: &[ClassRecord]) {
        if interval > self.interval {
            *self = Self { interval, ..Self::default() };
        }
        for class in counts {
            self.scheduled += class.scheduled;
            self.sent += class.sent;
        }
        self.p99_ns = self.p99_ns.max(delta.p99_ns());
        let (finite, endless) = delta.answered();
        self.answered = (self.answered.0.saturating_add(finite), self.answered.1.saturating_add(endless));
    }
}

#[cfg(test)]
mod tests {
    use blaster_core::report::Report;
    use blaster_core::report::facts::RunFacts;
    use blaster_core::time::Nanos;
    use coordinator_protocol::message::{decode, encode};
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

        /// What 1 to 64 nodes say, of intervals in whatever order among each other, is what one recorder of all their samples would hold.
        #[test]
        fn merging_is_exact_to_the_last_bucket(
            nodes in prop::collection::vec(prop::array::uniform3(prop::collection::vec(0_u64..10_000_000_000, 0..20)), 1..65),
            ahead in any::<bool>(),
        ) {
            let mut gatherer = Gatherer::new(class(), &vec![1; nodes.len()], 100, Vec::new());
            let mut alone = Collector::new(class(), 1, INTERVAL);
            let every = |node| (0..3_usize).map(move |interval| (node, interval));
            let by_node: Vec<(usize, usize)> = (0..nodes.len()).flat_map(every).collect();
            let mut order = by_node.clone();
            if !ahead {
                order.sort_by_key(|&(node, interval)| (interval, node));
            }
            for (node, interval) in order {
                let delta = Delta::of(0, &recorder(interval as u32, &nodes[node][interval]));
                let bytes = encode(&delta);
                gatherer.merge(node, &decode(&bytes).unwrap(), u32::MAX).unwrap();
            }
            for (node, times) in nodes.iter().enumerate() {
                prop_assert_eq!(gatherer.tally(node).requests.sent, times.concat().len() as u64);
                gatherer.end(node);
            }
            for interval in 0..3_u32 {
                let all: Vec<u64> = nodes.iter().flat_map(|node| node[interval as usize].clone()).collect();
                alone.add(0, &mut recorder(interval, &all));
            }
            alone.finish();
            let (mut merged, mut one) = (gatherer.take_finished_intervals(), alone.take_finished_intervals());
            // The last row of both is dropped if nothing is in it, which only the end of a collector tells.
            let count = merged.len().min(one.len());
            prop_assert!(count >= 2);
            merged.truncate(count);
            one.truncate(count);
            for (merged, one) in merged.iter().zip(&one) {
                prop_assert_eq!(&merged.response_time, &one.response_time);
                prop_assert_eq!(&merged.row, &one.row);
            }
            let report = |collector| Report::build(RunFacts::default(), collector);
            let (merged, one) = (report(gatherer.into_collector()), report(alone));
            prop_assert_eq!(merged.histograms, one.histograms);
            prop_assert_eq!(merged.requests, one.requests);
            prop_assert_eq!(merged.response_time_ns, one.response_time_ns);
            prop_assert_eq!(merged.service_time_ns, one.service_time_ns);
        }
    }

    #[test]
    fn what_a_lost_node_left_waiting_is_unsent_and_what_it_had_in_flight_stays_so() {
        let mut gatherer = Gatherer::new(class(), &[1, 1], 100, Vec::new());
        let mut cut_off = recorder(0, &[5, 6, 7]);
        (cut_off.classes[0].scheduled, cut_off.classes[0].sent) = (10, 8);
        (cut_off.backlog_end, cut_off.in_flight_end) = (2, 5);
        gatherer.merge(0, &Delta::of(0, &cut_off), u32::MAX).unwrap();
        gatherer.merge(1, &Delta::of(0, &recorder(0, &[5])), u32::MAX).unwrap();
        gatherer.merge(1, &Delta::of(0, &recorder(1, &[5])), u32::MAX).unwrap();
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
        let mut gatherer = Gatherer::new(class(), &[1], 100, Vec::new());
        let error = gatherer.merge(0, &Delta::of(1, &recorder(0, &[])), u32::MAX).unwrap_err();
        assert!(matches!(error, GatherError::Shard(1)));
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let mut gatherer = Gatherer::new(class(), &[1], 100, Vec::new());
        let mut wrong = recorder(0, &[7]);
        wrong.classes[0].sent = 0;
        let error = gatherer.merge(0, &Delta::of(0, &wrong), u32::MAX).unwrap_err();
        assert!(matches!(error, GatherError::Counts));
        let error = gatherer.merge(0, &Delta::of(0, &recorder(9, &[7])), 8).unwrap_err();
        assert!(matches!(error, GatherError::Interval(9)), "it is yet to come");
        assert_eq!(gatherer.tally(0).requests.sent, 0);
    }

    #[test]
    fn an_interval_that_is_past_or_beyond_the_run_is_refused_and_changes_nothing() {
        let mut gatherer = Gatherer::new(class(), &[1], 100, Vec::new());
        gatherer.merge(0, &Delta::of(0, &recorder(5, &[7])), u32::MAX).unwrap();
        for wrong in [5, 100, u32::MAX] {
            let error = gatherer.merge(0, &Delta::of(0, &recorder(wrong, &[9])), u32::MAX).unwrap_err();
            assert!(matches!(error, GatherError::Interval(which) if which == wrong));
        }
        gatherer.end(0);
        assert_eq!(gatherer.tally(0).requests.completed, 1);
        assert_eq!(gatherer.take_finished_intervals().len(), 6);
    }
}
