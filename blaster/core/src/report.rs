//! What happened: the recorders of all shards merged into one [`Report`], with a verdict on what it is worth.
//!
//! Shards deliver [`crate::load::recorder::Recorder`]s to a [`collector::Collector`]; with the [`facts::RunFacts`]
//! that only the shell knows, [`Report::build`] makes the report of it. The summary, the JSON file and every other
//! output are written from the report alone.
//!
//! Times are nanoseconds as integers, rates requests per second, sizes bytes. Keys are only ever added within a
//! [`SCHEMA`]; `blaster/report.schema.json` describes them.

mod batches;
pub mod collector;
pub mod confidence;
pub mod encoding;
pub mod facts;
pub mod generator;
pub mod latency;
pub mod machine;
pub mod nodes;
pub mod spectrum;
pub mod sweep;
pub mod units;
pub mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::load::engine::ConnectFailure;
use crate::load::recorder::{ClassRecord, Failure, Series};
use crate::plan::slo::{Metric, Slo};
use crate::time::Nanos;
use batches::{Batched, Kind};
use collector::{Collector, IntervalRow};
use confidence::Ends;
use facts::{AskedRate, Environment, PlanFacts, RunFacts};
use generator::Generator;
use latency::{Latency, longest, observed, percentiles};
use nodes::Node;
use verdict::{Evidence, Status, Verdict};

/// The number of the report's layout.
pub const SCHEMA: u32 = 1;

/// A whole run in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who measured.
    pub tool: Tool,
    /// When the first request was intended, as RFC 3339.
    pub started_at: String,
    /// The measured time, without warm-up and the wait for the last answers.
    pub duration_s: f64,
    /// Whether the run was stopped before its time.
    pub interrupted: bool,
    /// Labels of the user's.
    pub tags: BTreeMap<String, String>,
    /// Repeats payloads and arrivals.
    pub seed: u64,
    /// What was asked.
    pub plan: PlanFacts,
    /// Where it ran.
    pub environment: Environment,
    /// Counts of requests.
    pub requests: Requests,
    /// Counts of events.
    pub events: Events,
    /// Counts over the measured time.
    pub rate: Rates,
    /// Bytes of requests and answers, without the warm-up's.
    pub bytes: Bytes,
    /// Completion − intended time of everything that ended, and of what was never answered.
    pub response_time_ns: Latency,
    /// The same of answers with an expected status alone.
    pub response_time_ok_ns: Latency,
    /// Completion − actual send.
    pub service_time_ns: Latency,
    /// Actual send − intended time; none in closed loop, where nothing is intended.
    pub lateness_ns: Option<Lateness>,
    /// Time to open a connection.
    pub connect_time_ns: Latency,
    /// Counts of connections.
    pub connections: Connections,
    /// How the generator itself did.
    pub generator: Generator,
    /// What the numbers are worth.
    pub verdict: Verdict,
    /// Promises, and whether they were kept.
    pub slo: Vec<SloOutcome>,
    /// Requests intended in the warm-up; none without one.
    pub warmup: Option<Warmup>,
    /// A class a kind of request.
    pub classes: Vec<Class>,
    /// A row a second.
    pub intervals: Vec<IntervalRow>,
    /// A row a node, in a run of several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// Finite times, to be merged or drawn.
    pub histograms: Histograms,
}

/// Who measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Counts of requests: `scheduled = sent + unsent.*` and
/// `sent = ok + unexpected_status + errors.* + in_flight_at_end`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Intended time came.
    pub scheduled: u64,
    /// Handed to a connection.
    pub sent: u64,
    /// Scheduled and not sent.
    pub unsent: Unsent,
    /// Answered.
    pub completed: u64,
    /// With an expected status.
    pub ok: u64,
    /// With another.
    pub unexpected_status: u64,
    /// Sent and not answered.
    pub errors: Errors,
    /// Sent, and not waited for any longer.
    pub in_flight_at_end: u64,
    /// Answers by status.
    pub status: BTreeMap<u16, u64>,
    /// Why the first malformed answer was not understood.
    pub malformed_because: Option<String>,
    /// Of the whole run: those that the plan asked for and nobody had to send, with nodes that were lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Requests scheduled and not sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsent {
    /// No connection had room up to the end.
    pub backlog: u64,
    /// Only because the run was stopped.
    pub stopped: u64,
}

/// Requests sent and not answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// The connection was reset.
    pub reset: u64,
    /// The server closed the connection.
    pub closed: u64,
    /// No answer in time.
    pub timeout: u64,
    /// The answer was not understood.
    pub malformed: u64,
    /// Lost with its connection, for the fault of another request.
    pub aborted: u64,
}

/// Counts of events; a request carries one or a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// In requests sent.
    pub sent: u64,
    /// In requests answered with an expected status: as many as the answer says, or else all.
    pub acknowledged: u64,
    /// Those of them that no count in an answer says, but its status alone.
    #[serde(default)]
    pub acknowledged_by_status: u64,
}

/// Per second of the measured time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Requests scheduled; none in closed loop.
    pub offered: Option<f64>,
    /// Requests sent.
    pub sent: f64,
    /// Requests answered.
    pub completed: f64,
    /// Requests answered with an expected status.
    pub ok: f64,
    /// Events in these.
    pub events_acknowledged: f64,
}

/// Sizes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bytes {
    /// Handed to connections.
    pub sent: u64,
    /// Received.
    pub received: u64,
}

/// Actual send − intended time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// All of it; unsent backlog counts as unanswered.
    #[serde(flatten)]
    pub whole: Latency,
    /// Requests sent that had waited because no connection had room.
    pub blocked: u64,
    /// The generator's own share.
    pub own: OwnLateness,
}

/// The generator's own share of the lateness.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnLateness {
    /// Median.
    pub p50: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// Longest.
    pub max: Option<u64>,
}

/// Counts of connections, over the whole run with its warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// For the first time.
    pub opened: u64,
    /// Again, after they had ended.
    pub reopened: u64,
    /// Attempts that failed.
    pub failed: ConnectFailures,
    /// From the first attempt until every connection was open or had failed once; none if that did not come.
    #[serde(default)]
    pub opening_ns: Option<u64>,
    /// Most open at the end of an interval.
    pub peak: u64,
    /// Answers after which the server closes a connection, if it has that habit.
    pub answers_before_close: Option<u64>,
}

/// Attempts to connect that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectFailures {
    /// Nobody listens there.
    pub refused: u64,
    /// No answer in time.
    pub timeout: u64,
    /// No route to the address.
    pub unreachable: u64,
    /// This machine ran out of descriptors, ports or memory.
    pub limits: u64,
    /// Reset while connecting, or another error.
    pub other: u64,
}

/// A promise, and whether it was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SloOutcome {
    /// As written.
    pub expr: String,
    /// Nanoseconds, or a fraction for errors and achieved; none if endless or unknown.
    pub observed: Option<f64>,
    /// The 95 % interval of a percentile, in nanoseconds; none for all else.
    #[serde(default)]
    pub interval_95: Option<Ends>,
    /// Whether both ends of the interval say the same; an objective without one is decided.
    #[serde(default = "decided")]
    pub decided: bool,
    /// Kept.
    pub ok: bool,
}

/// Requests intended in the warm-up; in no other figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warmup {
    /// Its length.
    pub duration_s: f64,
    /// Counts of requests.
    pub requests: Requests,
    /// Counts of events.
    pub events: Events,
    /// Bytes moved while it lasted.
    pub bytes: Bytes,
    /// Response times.
    pub response_time_ns: Latency,
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Counts of requests.
    pub requests: Requests,
    /// Counts of events.
    pub events: Events,
    /// Response times.
    pub response_time_ns: Latency,
    /// Those of answers with an expected status.
    pub response_time_ok_ns: Latency,
    /// Service times.
    pub service_time_ns: Latency,
}

/// Base64 of HdrHistogram V2+DEFLATE; finite times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histograms {
    /// Response times.
    pub response_time: String,
    /// Service times.
    pub service_time: String,
    /// Lateness; none in closed loop.
    pub lateness: Option<String>,
    /// Times above the upper bound, recorded as the bound.
    pub clipped: Clipped,
}

/// Times above the upper bound of the histograms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clipped {
    /// Of response times.
    pub response_time: u64,
    /// Of service times.
    pub service_time: u64,
    /// Of latenesses.
    pub lateness: u64,
}

impl Report {
    /// The report of a run whose shards have all delivered.
    pub fn build(facts: RunFacts, mut collector: Collector) -> Self {
        collector.finish();
        let closed_loop = facts.plan.closed_loop();
        let mut total = ClassRecord::new();
        for (_, class) in &collector.classes {
            total.merge(class);
        }
        let times = Times::of(&total, Kind::TIMES.map(|kind| collector.batches.of(kind, None)));
        let requests = Requests {
            malformed_because: collector.malformed_text(),
            missing: facts.missing,
            ..Requests::of(&total)
        };
        let rate = Rates::of(&total, facts.duration, closed_loop);
        let (lateness, lateness_series) =
            (!closed_loop).then(|| collector.lateness(total.unsent_backlog)).unzip();
        let generator = collector.generator(&facts);
        let evidence = Evidence {
            closed_loop,
            own_lateness_p50_ns: lateness.as_ref().and_then(|lateness| lateness.own.p50),
            own_lateness_p99_ns: lateness.as_ref().and_then(|lateness| lateness.own.p99),
            offered: rate.offered,
            // What is missing is no fault of those who sent.
            achieved: Requests { missing: 0, ..requests.clone() }.achieved(),
            scheduled: requests.scheduled,
            sent: requests.sent,
            blocked: lateness.as_ref().map_or(0, |lateness| lateness.blocked),
            completed: requests.completed,
            unexpected_status: requests.unexpected_status,
            errors: requests.errors.total(),
            connections: facts.plan.connections.into(),
            depth: facts.plan.depth.into(),
            unloaded_service_ns: collector.unloaded_service_ns(),
            connect_failures: collector.connect_failures,
            busy_max: generator.cores.iter().map(|core| core.busy).reduce(f64::max),
            shared_core: facts.environment.shared_core,
            steal: facts.steal,
            retransmits: facts.retransmits,
            machine: facts.machine.clone(),
            congestion_control: facts.environment.congestion_control.clone(),
            queue_discipline: facts.environment.queue_discipline.clone(),
            answers_bytes: collector.bytes_received / requests.completed.max(1) * u64::from(facts.plan.depth),
            reopened: collector.reopened,
            receives: requests.completed,
            turn_ns_max: generator.cores.iter().filter_map(|core| core.turn_ns_max).max(),
            intervals: collector.rows.len() as u64,
            intervals_not_valid: not_valid(&collector.rows),
            littles_law_excess: collector.littles_law_excess,
        };
        let report = Self {
            schema: SCHEMA,
            tool: Tool { name: "blaster".to_owned(), version: facts.version },
            started_at: facts.started_at,
            duration_s: facts.duration.as_secs_f64(),
            interrupted: facts.interrupted,
            tags: facts.tags,
            seed: facts.seed,
            slo: facts.slos.iter().map(|slo| slo_outcome(slo, &requests, &times)).collect(),
            events: Events::of(&total),
            rate: rate.with_missing(facts.missing, facts.duration),
            requests,
            bytes: Bytes { sent: collector.bytes_sent, received: collector.bytes_received },
            response_time_ns: times.response(),
            response_time_ok_ns: times.ok(),
            service_time_ns: times.service(),
            lateness_ns: lateness,
            connect_time_ns: Latency::of(collector.connect_time.histogram(), 0),
            connections: collector.connections(facts.opening),
            generator,
            verdict: verdict::judge(&evidence),
            warmup: collector.warmup(facts.plan.warmup_ns),
            classes: collector
                .classes
                .iter()
                .enumerate()
                .map(|(index, (name, record))| {
                    let batched = Kind::TIMES.map(|kind| collector.batches.of(kind, Some(index)));
                    Class::of(name, record, batched)
                })
                .collect(),
            histograms: Histograms {
                response_time: encoding::encode(times.response.histogram()),
                service_time: encoding::encode(times.service.histogram()),
                lateness: lateness_series.as_ref().map(|series| encoding::encode(series.histogram())),
                clipped: Clipped {
                    response_time: times.response.clipped(),
                    service_time: times.service.clipped(),
                    lateness: lateness_series.as_ref().map_or(0, Series::clipped),
                },
            },
            intervals: collector.rows,
            nodes: Vec::new(),
            plan: facts.plan,
            environment: facts.environment,
        };
        debug_assert_eq!(report.check_identities(), Ok(()));
        report
    }

    /// Requests per second asked for; none in closed loop, and of stages, which ask for several.
    pub fn asked_rate(&self) -> Option<f64> {
        match self.plan.rate {
            AskedRate::PerSecond(rate) if self.plan.stages.is_none() => Some(rate),
            _ => None,
        }
    }

    /// Whether requests were sent as fast as answers came.
    pub fn closed_loop(&self) -> bool {
        self.plan.closed_loop()
    }

    /// What the verdict means for this run, in a line.
    pub fn headline(&self) -> String {
        let busy = self.generator.cores.iter().map(|core| core.busy).reduce(f64::max);
        let cores = match (busy, self.generator.cores.len()) {
            (None, _) => String::new(),
            (Some(busy), 1) => format!(", core {:.0} % busy", busy * 100.0),
            (Some(busy), cores) => format!(", busiest of {cores} cores {:.0} % busy", busy * 100.0),
        };
        let own = self.lateness_ns.as_ref().and_then(|lateness| lateness.own.p99);
        match (self.verdict.status, own) {
            (Status::Valid, Some(own)) => {
                format!("the generator kept its schedule: own lateness p99 {}{cores}", Nanos(own))
            }
            (Status::Valid, None) => format!("the generator was not the limit{cores}"),
            (Status::Suspect, _) => "read the reasons before you use these numbers".to_owned(),
            (Status::ClientLimited, _) => {
                format!("these numbers are the generator's limit, not the target's{cores}")
            }
        }
    }

    /// Asserts what must hold between the counts of the whole run, of every class and of every interval; the error
    /// says which does not.
    pub fn check_identities(&self) -> Result<(), String> {
        self.requests.check_identities("the run")?;
        if let Some(warmup) = &self.warmup {
            warmup.requests.check_identities("the warm-up")?;
        }
        let mut classes = Requests::default();
        for class in &self.classes {
            class.requests.check_identities(&format!("class {}", class.name))?;
            classes.scheduled += class.requests.scheduled;
            classes.sent += class.requests.sent;
            classes.ok += class.requests.ok;
        }
        let counts = |requests: &Requests| [requests.scheduled, requests.sent, requests.ok];
        equal("scheduled, sent, ok of all classes", counts(&classes), counts(&self.requests))?;
        let mut nodes = Requests::default();
        for node in &self.nodes {
            node.requests.check_identities(&format!("node {}", node.name))?;
            nodes.merge(&node.requests);
        }
        if !self.nodes.is_empty() {
            equal("scheduled, sent, ok of all nodes", counts(&nodes), counts(&self.requests))?;
        }
        let mut rows = [0; 3];
        let (mut backlog, mut in_flight) = (0, 0);
        for row in &self.intervals {
            let name = |what: &str| format!("{what} of the interval at {} s", row.t_s);
            equal(&name("start"), [row.backlog_start, row.in_flight_start], [backlog, in_flight])?;
            let due = row.backlog_start + row.scheduled;
            equal(&name("backlog_start + scheduled"), due, row.sent + row.unsent + row.backlog_end)?;
            let out = row.ok + row.unexpected_status + row.errors;
            equal(&name("in_flight_start + sent"), row.in_flight_start + row.sent, out + row.in_flight_end)?;
            (backlog, in_flight) = (row.backlog_end, row.in_flight_end);
            rows = [rows[0] + row.scheduled, rows[1] + row.sent, rows[2] + row.ok];
        }
        equal("scheduled, sent, ok of all intervals", rows, counts(&self.requests))?;
        equal("in flight after the last interval", in_flight, self.requests.in_flight_at_end)
    }
}

impl Requests {
    /// What is in a record.
    pub fn of(record: &ClassRecord) -> Self {
        let [reset, closed, timeout, malformed, aborted] =
            Failure::ALL.map(|kind| record.errors[kind as usize]);
        Self {
            scheduled: record.scheduled,
            sent: record.sent,
            unsent: Unsent { backlog: record.unsent_backlog, stopped: record.unsent_stopped },
            completed: record.ok + record.unexpected_status,
            ok: record.ok,
            unexpected_status: record.unexpected_status,
            errors: Errors { reset, closed, timeout, malformed, aborted },
            in_flight_at_end: record.sent.saturating_sub(record.finished()),
            status: (0u16..).zip(record.status.iter().copied()).filter(|(_, count)| *count > 0).collect(),
            malformed_because: None,
            missing: 0,
        }
    }

    /// Requests that could have been sent and answered: neither stopped before nor in flight at the end.
    fn could_end(&self) -> u64 {
        self.scheduled.saturating_sub(self.unsent.stopped + self.in_flight_at_end)
    }

    /// The share of requests that were not answered as expected; none if there was no request.
    pub fn error_rate(&self) -> Option<f64> {
        let whole = self.could_end();
        (whole > 0).then(|| 1.0 - self.ok as f64 / whole as f64)
    }

    /// The share of requests that were sent, at most 1 although those in flight at the end are sent too; none if there
    /// was no request. What is missing was not sent.
    pub fn achieved(&self) -> Option<f64> {
        let whole = self.could_end() + self.missing;
        (whole > 0).then(|| (self.sent as f64 / whole as f64).min(1.0))
    }

    fn check_identities(&self, whose: &str) -> Result<(), String> {
        let name = |what: &str| format!("{what} of {whose}");
        equal(&name("scheduled"), self.scheduled, self.sent + self.unsent.backlog + self.unsent.stopped)?;
        let out = self.ok + self.unexpected_status + self.errors.total();
        equal(&name("sent"), self.sent, out + self.in_flight_at_end)?;
        equal(&name("completed"), self.completed, self.ok + self.unexpected_status)?;
        equal(&name("statuses"), self.status.values().sum(), self.completed)
    }
}

impl Errors {
    /// Of every kind.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, count)| count).sum()
    }

    /// Every kind with its count, in the order of the report's keys.
    pub fn by_kind(&self) -> [(Failure, u64); Failure::ALL.len()] {
        let counts = [self.reset, self.closed, self.timeout, self.malformed, self.aborted];
        std::array::from_fn(|index| (Failure::ALL[index], counts[index]))
    }
}

impl ConnectFailures {
    /// Every kind with its count, in the order of the report's keys.
    pub fn by_kind(&self) -> [(ConnectFailure, u64); ConnectFailure::ALL.len()] {
        let counts = [self.refused, self.timeout, self.unreachable, self.limits, self.other];
        std::array::from_fn(|index| (ConnectFailure::ALL[index], counts[index]))
    }
}

impl Events {
    /// What is in a record.
    pub fn of(record: &ClassRecord) -> Self {
        Self {
            sent: record.events_sent,
            acknowledged: record.events_acknowledged,
            acknowledged_by_status: record.events_by_status,
        }
    }
}

impl Rates {
    fn of(total: &ClassRecord, duration: Nanos, closed_loop: bool) -> Self {
        let seconds = duration.as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Self {
            offered: (!closed_loop).then(|| per_second(total.scheduled)),
            sent: per_second(total.sent),
            completed: per_second(total.ok + total.unexpected_status),
            ok: per_second(total.ok),
            events_acknowledged: per_second(total.events_acknowledged),
        }
    }

    /// Offered is what the plan asked, whoever was there for it.
    fn with_missing(mut self, missing: u64, duration: Nanos) -> Self {
        if duration > Nanos::ZERO {
            self.offered = self.offered.map(|offered| offered + missing as f64 / duration.as_secs_f64());
        }
        self
    }
}

impl Class {
    fn of(name: &str, record: &ClassRecord, batched: [Batched<'_>; 3]) -> Self {
        let times = Times::of(record, batched);
        Self {
            name: name.to_owned(),
            requests: Requests::of(record),
            events: Events::of(record),
            response_time_ns: times.response(),
            response_time_ok_ns: times.ok(),
            service_time_ns: times.service(),
        }
    }
}

impl PlanFacts {
    /// Whether requests are sent as fast as answers come.
    pub fn closed_loop(&self) -> bool {
        matches!(self.rate, AskedRate::Max(_))
    }
}

/// The times of one class, or of all.
struct Times<'a> {
    response: Series,
    ok: &'a Series,
    service: &'a Series,
    timeouts: u64,
    unsent_backlog: u64,
    /// By [`Kind::TIMES`].
    batched: [Batched<'a>; 3],
}

impl<'a> Times<'a> {
    fn of(record: &'a ClassRecord, batched: [Batched<'a>; 3]) -> Self {
        let mut response = record.response_ok.clone();
        response.merge(&record.response_rest);
        Self {
            response,
            ok: &record.response_ok,
            service: &record.service,
            timeouts: record.errors[Failure::Timeout as usize],
            unsent_backlog: record.unsent_backlog,
            batched,
        }
    }

    fn unanswered(&self) -> u64 {
        self.timeouts + self.unsent_backlog
    }

    fn response(&self) -> Latency {
        Latency::of_batches(self.response.histogram(), self.unanswered(), self.batched[0])
    }

    fn ok(&self) -> Latency {
        Latency::of_batches(self.ok.histogram(), 0, self.batched[1])
    }

    fn service(&self) -> Latency {
        Latency::of_batches(self.service.histogram(), self.timeouts, self.batched[2])
    }
}

impl Collector {
    fn malformed_text(&self) -> Option<String> {
        self.malformed.as_ref().map(ToString::to_string)
    }

    /// Lateness in numbers, and all of it.
    fn lateness(&self, unsent_backlog: u64) -> (Lateness, Series) {
        let mut whole = self.lateness.on_time.clone();
        whole.merge(&self.lateness.blocked_whole);
        let mut own = self.lateness.on_time.clone();
        own.merge(&self.lateness.blocked_own);
        let [p50, p99] = percentiles(own.histogram(), 0, [50.0, 99.0]);
        let lateness = Lateness {
            whole: Latency::of_batches(
                whole.histogram(),
                unsent_backlog,
                self.batches.of(Kind::Lateness, None),
            ),
            blocked: self.lateness.blocked_whole.histogram().len(),
            own: OwnLateness { p50, p99, max: longest(own.histogram(), 0) },
        };
        (lateness, whole)
    }

    fn connections(&self, opening: Option<Nanos>) -> Connections {
        let [refused, timeout, unreachable, limits, other] =
            ConnectFailure::ALL.map(|kind| self.connect_failures[kind as usize]);
        Connections {
            opened: self.opened,
            reopened: self.reopened,
            failed: ConnectFailures { refused, timeout, unreachable, limits, other },
            opening_ns: opening.map(|took| took.0),
            peak: self.connections_peak,
            answers_before_close: self.answers_before_close,
        }
    }

    fn warmup(&self, length_ns: u64) -> Option<Warmup> {
        (length_ns > 0).then(|| Warmup {
            duration_s: Nanos(length_ns).as_secs_f64(),
            requests: Requests::of(&self.warmup),
            events: Events::of(&self.warmup),
            bytes: Bytes { sent: self.warmup_bytes[0], received: self.warmup_bytes[1] },
            response_time_ns: Times::of(&self.warmup, [Batched::NONE; 3]).response(),
        })
    }
}

/// Of reports that do not say.
fn decided() -> bool {
    true
}

fn not_valid(rows: &[IntervalRow]) -> u64 {
    rows.iter().filter(|row| row.status != Status::Valid).count() as u64
}

/// Judges a promise.
fn slo_outcome(slo: &Slo, requests: &Requests, times: &Times<'_>) -> SloOutcome {
    let histogram = times.response.histogram();
    let observed =
        observed(slo.metric, histogram, times.unanswered(), requests.error_rate(), requests.achieved());
    let interval_95 = match slo.metric {
        Metric::Percentile(percent) => {
            Some(confidence::interval(histogram, times.unanswered(), percent, times.batched[0]))
        }
        _ => None,
    };
    let ok = slo.judge(observed);
    let keeps = |end: Option<u64>| slo.judge(end.map(|ns| ns as f64));
    let decided = interval_95.is_none_or(|ends: Ends| ends.map(keeps) == [ok; 2]);
    SloOutcome { expr: slo.text.clone(), observed, interval_95, decided, ok }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, left: T, right: T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} is not {right:?}")) }
}

#[cfg(test)]
mod tests;
