//! A run of several nodes: a row a node beside the total, and what the nodes' own verdicts make of the whole's.

use serde::{Deserialize, Serialize};

use super::facts::Environment;
use super::generator::Generator;
use super::latency::Latency;
use super::verdict::Verdict;
use super::{Events, Report, Requests};

/// One node of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// As the hosts file has it.
    pub name: String,
    /// How it ended.
    pub state: NodeState,
    /// Why it was lost, or took no part.
    pub cause: Option<String>,
    /// When it was found lost, in seconds from the start; before then it was silent.
    pub lost_at_s: Option<f64>,
    /// Who sends, since it was lost, what it was to send: what of it is not here is nobody's.
    #[serde(default)]
    pub handed_over: Vec<HandedOver>,
    /// Of its program.
    pub version: Option<String>,
    /// Its share of the run.
    pub share: f64,
    /// Requests per second that it measured before the run that it can send of it; none if it was not asked.
    #[serde(default)]
    pub measured_rps: Option<u64>,
    /// Counts of its requests: what the leader has heard of.
    pub requests: Requests,
    /// Counts of their events.
    pub events: Events,
    /// Its own clock; none if it was never compared.
    pub clock: Option<Clock>,
    /// When its first request was intended, by its clock, in nanoseconds from the start and give or take the clock's bound; none in closed
    /// loop, or if it did not say.
    pub first_due_ns: Option<i64>,
    /// When its first request was sent, in nanoseconds from the start and give or take the clock's bound; none if it sent none or did not say.
    pub first_sent_ns: Option<i64>,
    /// Response times, as it reports them itself; none if it did not.
    pub response_time_ns: Option<Latency>,
    /// What its numbers are worth, likewise.
    pub verdict: Option<Verdict>,
    /// Where it ran, likewise.
    pub environment: Option<Environment>,
    /// How its generator did, likewise.
    pub generator: Option<Generator>,
}

/// A part of a run that was a lost node's and became another's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandedOver {
    /// Whose.
    pub to: String,
    /// Of the whole run.
    pub share: f64,
    /// Those requests that are intended so long after the start, or later.
    pub from_s: f64,
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It did its part.
    Done,
    /// It was lost during the run, and its part from then on is missing.
    Lost,
    /// It was lost, but what it did until it stopped has come later: only what it should have done then is missing.
    Fetched,
    /// It took no part.
    Out,
}

/// A node's monotonic clock, compared around the start with the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Nanoseconds it is ahead.
    pub ahead_ns: i64,
    /// How wrong that may be.
    pub bound_ns: u64,
    /// What it gains, in parts per billion, as far as the time before the start tells; none if that is not known.
    #[serde(default)]
    pub drift_ppb: Option<i64>,
}

impl Report {
    /// Sets a row a node beside the total. What a node's verdict says against its numbers is said against the whole's.
    pub fn with_nodes(mut self, nodes: Vec<Node>) -> Self {
        for node in &nodes {
            if let Some(verdict) = &node.verdict {
                self.verdict.heed(&node.name, verdict);
            }
        }
        let generators = || nodes.iter().filter_map(|node| Some((node.generator.as_ref()?, &node.requests)));
        self.generator.cores =
            generators().flat_map(|(generator, _)| generator.cores.iter().cloned()).collect();
        let cpu_ns: u64 = self.generator.cores.iter().map(|core| core.cpu_ns).sum();
        let sent: u64 = generators().map(|(_, requests)| requests.sent).sum();
        self.generator.cpu_ns_per_request = (sent > 0).then(|| cpu_ns as f64 / sent as f64);
        for node in nodes.iter().filter(|node| node.lost_at_s.is_some()) {
            self.verdict.lose(node);
        }
        let because = nodes.iter().find_map(|node| node.requests.malformed_because.clone());
        self.requests.malformed_because = self.requests.malformed_because.or(because);
        self.nodes = nodes;
        debug_assert_eq!(self.check_identities(), Ok(()));
        self
    }

    /// How far apart the nodes started: the difference between the earliest and the latest, each held against the intended time of its own
    /// first request. None with less than two nodes that said.
    pub fn start_skew_ns(&self) -> Option<u64> {
        let late = self.nodes.iter().filter_map(|node| Some(node.first_sent_ns? - node.first_due_ns?));
        let (mut least, mut most, mut count) = (i64::MAX, i64::MIN, 0);
        late.for_each(|late| (least, most, count) = (least.min(late), most.max(late), count + 1));
        (count > 1).then(|| most.abs_diff(least))
    }

    /// Nodes that were lost.
    pub fn lost_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| matches!(node.state, NodeState::Lost | NodeState::Fetched))
    }
}

impl Requests {
    /// Adds what a part of the same requests came to; what is neither answered nor failed is in flight.
    pub fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.sent += other.sent;
        self.unsent.backlog += other.unsent.backlog;
        self.unsent.stopped += other.unsent.stopped;
        self.completed += other.completed;
        self.ok += other.ok;
        self.unexpected_status += other.unexpected_status;
        self.errors.reset += other.errors.reset;
        self.errors.closed += other.errors.closed;
        self.errors.timeout += other.errors.timeout;
        self.errors.malformed += other.errors.malformed;
        self.errors.aborted += other.errors.aborted;
        for (&status, count) in &other.status {
            *self.status.entry(status).or_default() += count;
        }
        if self.malformed_because.is_none() {
            self.malformed_because.clone_from(&other.malformed_because);
        }
        let finished = self.completed + self.errors.total();
        self.in_flight_at_end = self.sent.saturating_sub(finished);
    }

    /// Requests that came due, and were neither sent nor given up.
    pub fn waiting(&self) -> u64 {
        self.scheduled.saturating_sub(self.sent + self.unsent.backlog + self.unsent.stopped)
    }
}

impl Events {
    /// Adds those of another part.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.acknowledged_by_status += other.acknowledged_by_status;
    }
}
