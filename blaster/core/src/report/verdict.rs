//! Whether the numbers can be trusted, and what kept them from being better: numbers in, a verdict out.
//!
//! Only the generator's own lateness and evidence from its machine can make a run client-limited. A target that
//! is slow, full or failing is what a load test is there to find: such a run is valid.

mod machine;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::nodes::Node;
use super::units::{grouped, percent, rate};
use crate::load::engine::ConnectFailure;
use crate::time::Nanos;

/// Own lateness of the median request above this: the generator did not keep its schedule.
pub const OWN_P50_NS_MAX: u64 = 1_000_000;

/// Own lateness of the 99th percentile above this: the generator did not keep its schedule.
pub const OWN_P99_NS_MAX: u64 = 10_000_000;

/// Own lateness of the 99th percentile above this: doubtful.
pub const OWN_P99_NS_SUSPECT: u64 = 1_000_000;

/// Less of the schedule sent than this: something limited the run.
pub const ACHIEVED_MIN: f64 = 0.99;

/// More of the requests waited for a connection than this: something limited the run.
pub const BLOCKED_MAX: f64 = 0.01;

/// More of the requests failed or were answered unexpectedly than this: worth a reason.
pub const TARGET_ERRORS_MAX: f64 = 0.01;

/// A core busier than this: the generator was the limit of a schedule that was not kept, and may have been that of a closed loop.
pub const BUSY_MAX: f64 = 0.95;

/// Fewer requests than this cannot condemn a run by their lateness.
const SAMPLES_MIN: u64 = 100;

/// Connections proposed beyond the bare need: load is never even.
const HEADROOM: f64 = 1.2;

/// Deepest pipeline worth proposing.
const DEPTH_MAX: u64 = 64;

/// What a run's numbers are worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether they can be trusted.
    pub status: Status,
    /// What kept the run from more.
    pub limiter: Limiter,
    /// Why, the most serious first.
    pub reasons: Vec<Reason>,
}

/// Whether a run's numbers can be trusted; later ones are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// They are the target's.
    #[default]
    Valid,
    /// Read the reasons before using them.
    Suspect,
    /// They are the generator's, not the target's.
    ClientLimited,
}

impl Verdict {
    /// Takes a node's verdict into the whole run's: the worse one counts, and its reasons are told with the node's name, unless the
    /// whole has them itself.
    pub fn heed(&mut self, node: &str, of_node: &Self) {
        if of_node.status == Status::Valid {
            return;
        }
        if of_node.status > self.status {
            self.limiter = of_node.limiter;
        }
        self.status = self.status.max(of_node.status);
        for reason in &of_node.reasons {
            if self.reasons.iter().all(|known| known.code != reason.code) {
                self.reasons.push(Reason { text: format!("{node}: {}", reason.text), ..reason.clone() });
            }
        }
    }
}

impl Verdict {
    /// A node was lost, and with it a part of the load.
    pub fn lose(&mut self, node: &Node) {
        let at_s = node.lost_at_s.unwrap_or_default();
        let at = Nanos::from_secs_f64(at_s.abs());
        let when = if at_s < 0.0 { format!("{at} before the measured part") } else { format!("after {at}") };
        let taken: f64 = node.handed_over.iter().map(|part| part.share).sum();
        let since = node.handed_over.iter().map(|part| Nanos::from_secs_f64(part.from_s)).max();
        let until = since.map_or_else(String::new, |since| {
            format!("; the others send {} of the run in its place since {since}", percent(taken))
        });
        let text = format!(
            "{} was found lost {when} ({}): its part, {} of the run, is missing from when it stopped{until}",
            node.name,
            node.cause.as_deref().unwrap_or("nobody knows why"),
            // It may have been sending others' as well.
            percent(node.share.max(taken)),
        );
        self.status = self.status.max(Status::Suspect);
        self.reasons.push(Reason { code: "node_lost".to_owned(), text, value: node.share, limit: 0.0 });
    }
}

/// What kept a run from more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limiter {
    /// Nothing.
    None,
    /// The server.
    Target,
    /// Too few connections, or too shallow ones.
    Plan,
    /// This machine.
    Client,
    /// What lies between.
    Network,
}

/// One reason for a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// A word for programs.
    pub code: String,
    /// What is, what was wanted, and the next step, for people.
    pub text: String,
    /// What is: nanoseconds, a rate, a fraction or a count.
    pub value: f64,
    /// What it was held against.
    pub limit: f64,
}

/// The numbers a verdict is made of.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// `--rps max`.
    pub closed_loop: bool,
    /// Median and 99th percentile of the generator's own lateness.
    pub own_lateness_p50_ns: Option<u64>,
    /// See above.
    pub own_lateness_p99_ns: Option<u64>,
    /// Requests per second the schedule asked for.
    pub offered: Option<f64>,
    /// Sent of what could be sent, as a fraction.
    pub achieved: Option<f64>,
    /// Requests due.
    pub scheduled: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests sent that had waited for a connection.
    pub blocked: u64,
    /// Answers.
    pub completed: u64,
    /// Answers with an unexpected status.
    pub unexpected_status: u64,
    /// Requests sent that failed.
    pub errors: u64,
    /// Connections of the plan.
    pub connections: u64,
    /// Most requests in flight on each.
    pub depth: u64,
    /// What the target takes to answer before queues grow.
    pub unloaded_service_ns: Option<u64>,
    /// Attempts to connect that failed, by kind.
    pub connect_failures: [u64; ConnectFailure::ALL.len()],
    /// The busiest of the generator's cores, without spinning.
    pub busy_max: Option<f64>,
    /// The target runs on the generator's only CPU.
    pub shared_core: bool,
    /// Share of the generator's CPU time that the hypervisor gave to others, if known.
    pub steal: Option<f64>,
    /// TCP segments sent again, if known.
    pub retransmits: Option<u64>,
    /// What else the machine counted.
    pub machine: Machine,
    /// TCP congestion control of the connections.
    pub congestion_control: String,
    /// Queue discipline that new interfaces get, if known.
    pub queue_discipline: Option<String>,
    /// Bytes of as many answers as a connection may have in flight.
    pub answers_bytes: u64,
    /// Connections opened again.
    pub reopened: u64,
    /// Answers, of which each took a receive at most.
    pub receives: u64,
    /// The longest turn that did not wait.
    pub turn_ns_max: Option<u64>,
    /// Intervals of the run.
    pub intervals: u64,
    /// Those of them in which the generator was late by itself.
    pub intervals_not_valid: u64,
    /// The most that service times were ahead of the time in flight, as a share of it.
    pub littles_law_excess: f64,
}

/// Judges a run.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut findings = Vec::new();
    findings.extend(own_lateness(evidence));
    if evidence.completed == 0 {
        findings.push(no_answers(evidence));
    } else {
        // A generator that was late itself has nothing to say about others' throughput.
        findings.extend(connection_limits(evidence));
        if !findings.iter().any(|finding| finding.status == Status::ClientLimited)
            && !made_its_own_bursts(evidence)
        {
            findings.extend(throughput(evidence));
        }
        findings.extend(target_errors(evidence));
        findings.extend(generator_busy(evidence));
    }
    findings.extend(machine::findings(evidence));
    if evidence.shared_core {
        findings.push(shared_core());
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.status));
    let status = findings.first().map_or(Status::Valid, |worst| worst.status);
    let limiter = limiter(&findings);
    Verdict { status, limiter, reasons: findings.into_iter().map(|finding| finding.reason).collect() }
}

/// The limiter of the most serious finding that has one. A lateness that is only doubtful limits nothing itself: it gives way to
/// whatever did.
fn limiter(findings: &[Finding]) -> Limiter {
    let named = || findings.iter().filter(|finding| finding.limiter != Limiter::None);
    let is_minor =
        |finding: &&Finding| finding.status == Status::Suspect && finding.reason.code == OWN_LATENESS;
    named()
        .find(|finding| !is_minor(finding))
        .or(named().next())
        .map_or(Limiter::None, |finding| finding.limiter)
}

/// The code of [`own_lateness`].
const OWN_LATENESS: &str = "own_lateness";

/// What one rule found.
struct Finding {
    status: Status,
    limiter: Limiter,
    reason: Reason,
}

impl Finding {
    fn new(status: Status, limiter: Limiter, code: &str, value: f64, limit: f64, text: String) -> Self {
        Self { status, limiter, reason: Reason { code: code.to_owned(), text, value, limit } }
    }
}

/// What an interval's numbers are worth, by the generator's own lateness in it and the requests it is known of.
pub fn interval_status(own_p50_ns: Option<u64>, own_p99_ns: Option<u64>, requests: u64) -> Status {
    let (Some(p50), Some(p99)) = (own_p50_ns, own_p99_ns) else { return Status::Valid };
    let status = match lateness_status(p50, p99) {
        Some((status, ..)) => status,
        None => return Status::Valid,
    };
    if requests < SAMPLES_MIN { status.min(Status::Suspect) } else { status }
}

/// The limit that was passed, if one was: status, name of the percentile, value, limit.
fn lateness_status(p50: u64, p99: u64) -> Option<(Status, &'static str, u64, u64)> {
    if p50 > OWN_P50_NS_MAX {
        Some((Status::ClientLimited, "p50", p50, OWN_P50_NS_MAX))
    } else if p99 > OWN_P99_NS_MAX {
        Some((Status::ClientLimited, "p99", p99, OWN_P99_NS_MAX))
    } else if p99 > OWN_P99_NS_SUSPECT {
        Some((Status::Suspect, "p99", p99, OWN_P99_NS_SUSPECT))
    } else {
        None
    }
}

fn own_lateness(evidence: &Evidence) -> Option<Finding> {
    let (p50, p99) = (evidence.own_lateness_p50_ns?, evidence.own_lateness_p99_ns?);
    let (status, name, value, limit) = lateness_status(p50, p99)?;
    // A handful of requests says little about a percentile; it must not fail a CI job.
    let few = evidence.sent < SAMPLES_MIN;
    let (status, limiter) = if few { (Status::Suspect, Limiter::None) } else { (status, Limiter::Client) };
    let text = format!(
        "the generator sent late by itself: own lateness {name} {}, the limit is {}{}: \
         lower --rps, give it more threads (-t) or CPUs of its own",
        Nanos(value),
        Nanos(limit),
        machine::why_late(evidence),
    );
    Some(Finding::new(status, limiter, OWN_LATENESS, value as f64, limit as f64, text))
}

/// Out of descriptors, ports or memory: the limit of a schedule that was not kept for want of connections, else a doubt.
fn connection_limits(evidence: &Evidence) -> Option<Finding> {
    let limits = evidence.connect_failures[ConnectFailure::Limits as usize];
    if limits == 0 {
        return None;
    }
    let status = if is_behind(evidence) { Status::ClientLimited } else { Status::Suspect };
    let text = format!(
        "{} connections could not be opened because this machine ran out of descriptors, ports or memory: \
         raise `ulimit -n`, connect from more addresses (--source-ips auto), or lower -c",
        grouped(limits),
    );
    Some(Finding::new(status, Limiter::Client, "connection_limits", limits as f64, 0.0, text))
}

/// Whether a generator that was late sent all the same: what then found no connection free was its own burst, not the target's doing.
fn made_its_own_bursts(evidence: &Evidence) -> bool {
    own_lateness(evidence).is_some() && evidence.achieved.unwrap_or(1.0) >= ACHIEVED_MIN
}

/// Whether the schedule could not be kept for want of connections with room.
fn is_behind(evidence: &Evidence) -> bool {
    evidence.offered.is_some()
        && (evidence.achieved.unwrap_or(1.0) < ACHIEVED_MIN
            || fraction(evidence.blocked, evidence.sent) > BLOCKED_MAX)
}

/// Who is to blame when the schedule could not be kept although the generator was ready to send.
fn throughput(evidence: &Evidence) -> Option<Finding> {
    let (offered, achieved) = (evidence.offered?, evidence.achieved.unwrap_or(1.0));
    let blocked = fraction(evidence.blocked, evidence.sent);
    if !is_behind(evidence) {
        return None;
    }
    if let Some(busy) = evidence.busy_max.filter(|busy| *busy > BUSY_MAX) {
        let text = format!(
            "the schedule could not be kept while a core of the generator was {} busy, the limit is {}: \
             lower --rps, give more threads (-t) or pipeline deeper (-p)",
            percent(busy),
            percent(BUSY_MAX),
        );
        return Some(Finding::new(
            Status::ClientLimited,
            Limiter::Client,
            "generator_busy",
            busy,
            BUSY_MAX,
            text,
        ));
    }
    if let Some(finding) = plan_limited(evidence, offered) {
        return Some(finding);
    }
    let (value, limit, text) = if achieved < ACHIEVED_MIN {
        let text = format!(
            "the target did not take the load: {} of the schedule was sent, {} of it after waiting for a free \
             connection: lower --rps, or give the target more capacity",
            percent(achieved),
            percent(blocked),
        );
        (achieved, ACHIEVED_MIN, text)
    } else {
        let text = format!(
            "the target fell behind at times: all was sent, but {} of it after waiting for a free connection: \
             those waits are in the response times; more connections (-c) would pass them on to the target",
            percent(blocked),
        );
        (blocked, BLOCKED_MAX, text)
    };
    Some(Finding::new(Status::Valid, Limiter::Target, "target_limited", value, limit, text))
}

/// By Little's law `connections x depth` requests in flight, each for a service time, are the most a plan can carry.
fn plan_limited(evidence: &Evidence, offered: f64) -> Option<Finding> {
    let service_ns = evidence.unloaded_service_ns?;
    let service_s = Nanos(service_ns.max(1)).as_secs_f64();
    let (connections, depth) = (evidence.connections.max(1), evidence.depth.max(1));
    let capacity = (connections * depth) as f64 / service_s;
    if capacity >= offered {
        return None;
    }
    let in_flight = offered * service_s * HEADROOM;
    let more_connections = (in_flight / depth as f64).ceil() as u64;
    let deeper = (in_flight / connections as f64).ceil() as u64;
    let or_deeper = if deeper <= DEPTH_MAX { format!(" or pipeline (-p {deeper})") } else { String::new() };
    let text = format!(
        "the plan is too small for the rate: {} connections x depth {} / {} service time carry {} req/s of {} \
         offered: give at least {more_connections} connections (-c {more_connections}){or_deeper}",
        grouped(connections),
        grouped(depth),
        Nanos(service_ns),
        rate(capacity),
        rate(offered),
    );
    Some(Finding::new(Status::Suspect, Limiter::Plan, "plan_limited", capacity, offered, text))
}

fn target_errors(evidence: &Evidence) -> Option<Finding> {
    let wrong = evidence.unexpected_status + evidence.errors;
    let share = fraction(wrong, evidence.completed + evidence.errors);
    if share <= TARGET_ERRORS_MAX {
        return None;
    }
    let text = format!(
        "{} of the requests failed ({} answered with an unexpected status, {} lost to resets, closes, timeouts or malformed answers): \
         see the statuses and errors below, lower --rps or repair the target",
        percent(share),
        grouped(evidence.unexpected_status),
        grouped(evidence.errors),
    );
    Some(Finding::new(Status::Valid, Limiter::Target, "target_errors", share, TARGET_ERRORS_MAX, text))
}

/// In closed loop nothing is ever late: a full core is the only sign that the generator was the limit.
fn generator_busy(evidence: &Evidence) -> Option<Finding> {
    let busy = evidence.busy_max.filter(|busy| evidence.closed_loop && *busy > BUSY_MAX)?;
    let text = format!(
        "a core of the generator was {} busy, the limit is {}: the target may be able to do more: \
         give more threads (-t) or pipeline deeper (-p)",
        percent(busy),
        percent(BUSY_MAX),
    );
    Some(Finding::new(Status::Suspect, Limiter::Client, "generator_busy", busy, BUSY_MAX, text))
}

fn no_answers(evidence: &Evidence) -> Finding {
    let most = ConnectFailure::ALL
        .into_iter()
        .filter(|kind| evidence.connect_failures[*kind as usize] > 0)
        .max_by_key(|kind| evidence.connect_failures[*kind as usize]);
    let (limiter, why) = match most {
        _ if evidence.scheduled == 0 => {
            (Limiter::None, "the run ended before a request was due: let it run longer")
        }
        _ if evidence.sent > 0 => (
            Limiter::Target,
            "requests were sent and none was answered: ask the target with curl, and look at its log",
        ),
        Some(ConnectFailure::Refused) => (
            Limiter::Target,
            "connections were refused: start the target, or correct its host and port in --target",
        ),
        Some(ConnectFailure::Timeout) => {
            (Limiter::Network, "connections were not accepted in time: check the address and firewalls")
        }
        Some(ConnectFailure::Unreachable) => {
            (Limiter::Network, "there is no route to the target: check the address and the network")
        }
        Some(ConnectFailure::Limits) => (
            Limiter::Client,
            "this machine ran out of descriptors, ports or memory: raise `ulimit -n`, connect from more addresses (--source-ips auto), or lower -c",
        ),
        Some(ConnectFailure::Other) | None => {
            (Limiter::Target, "no connection could be used: ask the target with curl, and look at its log")
        }
    };
    let text = format!("not one answer came: {why}");
    Finding::new(Status::Suspect, limiter, "no_answers", 0.0, 1.0, text)
}

fn shared_core() -> Finding {
    let text = "generator and target share all CPUs there are, so each slows the other: \
                run the target on another machine, allow another CPU, or use fewer threads (-t)"
        .to_owned();
    Finding::new(Status::Suspect, Limiter::None, "shared_core", 1.0, 2.0, text)
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests;
