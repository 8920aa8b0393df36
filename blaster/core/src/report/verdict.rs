//! Whether the numbers can be trusted, and what kept them from being better: numbers in, a verdict out.
//!
//! Only the generator's own lateness and evidence from its machine can make a run client-limited. A target that
//! is slow, full or failing is what a load test is there to find: such a run is valid.

use serde::{Deserialize, Serialize};

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

/// More CPU time stolen than this is named beside a lateness that it may explain.
const STEAL_MENTIONED: f64 = 0.001;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// They are the target's.
    Valid,
    /// Read the reasons before using them.
    Suspect,
    /// They are the generator's, not the target's.
    ClientLimited,
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
    /// Median service time at the start, before queues grew.
    pub service_at_start_p50_ns: Option<u64>,
    /// Attempts to connect that failed, by kind.
    pub connect_failures: [u64; ConnectFailure::ALL.len()],
    /// The busiest of the generator's cores, without spinning.
    pub busy_max: Option<f64>,
    /// The target runs on the generator's only CPU.
    pub shared_core: bool,
    /// Share of the generator's CPU time that the hypervisor gave to others, if known.
    pub steal: Option<f64>,
}

/// Judges a run.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut findings = Vec::new();
    findings.extend(own_lateness(evidence));
    if evidence.completed == 0 {
        findings.push(no_answers(evidence));
    } else {
        // A generator that was late itself has nothing to say about others' throughput.
        if !findings.iter().any(|finding| finding.status == Status::ClientLimited) {
            findings.extend(throughput(evidence));
        }
        findings.extend(target_errors(evidence));
        findings.extend(generator_busy(evidence));
    }
    if evidence.shared_core {
        findings.push(shared_core());
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.status));
    let status = findings.first().map_or(Status::Valid, |worst| worst.status);
    let limiter = findings.iter().map(|finding| finding.limiter).find(|limiter| *limiter != Limiter::None);
    Verdict {
        status,
        limiter: limiter.unwrap_or(Limiter::None),
        reasons: findings.into_iter().map(|finding| finding.reason).collect(),
    }
}

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

fn own_lateness(evidence: &Evidence) -> Option<Finding> {
    let (p50, p99) = (evidence.own_lateness_p50_ns?, evidence.own_lateness_p99_ns?);
    let (status, limiter, name, value, limit) = if p50 > OWN_P50_NS_MAX {
        (Status::ClientLimited, Limiter::Client, "p50", p50, OWN_P50_NS_MAX)
    } else if p99 > OWN_P99_NS_MAX {
        (Status::ClientLimited, Limiter::Client, "p99", p99, OWN_P99_NS_MAX)
    } else if p99 > OWN_P99_NS_SUSPECT {
        (Status::Suspect, Limiter::None, "p99", p99, OWN_P99_NS_SUSPECT)
    } else {
        return None;
    };
    // A handful of requests says little about a percentile; it must not fail a CI job.
    let few = evidence.sent < SAMPLES_MIN;
    let (status, limiter) = if few { (Status::Suspect, Limiter::None) } else { (status, limiter) };
    let stolen = match evidence.steal {
        Some(steal) if steal >= STEAL_MENTIONED => {
            format!(" (the hypervisor took {} of its CPU time meanwhile)", percent(steal))
        }
        _ => String::new(),
    };
    let text = format!(
        "the generator sent late by itself: own lateness {name} {}, the limit is {}{stolen}: \
         lower --rps, give it more threads (-t) or CPUs of its own",
        Nanos(value),
        Nanos(limit),
    );
    Some(Finding::new(status, limiter, "own_lateness", value as f64, limit as f64, text))
}

/// Who is to blame when the schedule could not be kept although the generator was ready to send.
fn throughput(evidence: &Evidence) -> Option<Finding> {
    let (offered, achieved) = (evidence.offered?, evidence.achieved.unwrap_or(1.0));
    let blocked = fraction(evidence.blocked, evidence.sent);
    if achieved >= ACHIEVED_MIN && blocked <= BLOCKED_MAX {
        return None;
    }
    let limits = evidence.connect_failures[ConnectFailure::Limits as usize];
    if limits > 0 {
        let text = format!(
            "{} connections could not be opened because this machine ran out of descriptors, ports or memory: \
             raise `ulimit -n`, widen net.ipv4.ip_local_port_range, or lower -c",
            grouped(limits),
        );
        return Some(Finding::new(
            Status::ClientLimited,
            Limiter::Client,
            "connection_limits",
            limits as f64,
            0.0,
            text,
        ));
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
    let service_ns = evidence.service_at_start_p50_ns?;
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
            "this machine ran out of descriptors, ports or memory: raise `ulimit -n`, widen net.ipv4.ip_local_port_range, or lower -c",
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
mod tests {
    use super::*;

    /// A run at which there is nothing to find fault with.
    fn good() -> Evidence {
        Evidence {
            own_lateness_p50_ns: Some(4_000),
            own_lateness_p99_ns: Some(41_000),
            offered: Some(10_000.0),
            achieved: Some(1.0),
            scheduled: 100_000,
            sent: 100_000,
            completed: 100_000,
            connections: 64,
            depth: 1,
            service_at_start_p50_ns: Some(400_000),
            busy_max: Some(0.6),
            ..Evidence::default()
        }
    }

    #[track_caller]
    fn assert_verdict(evidence: &Evidence, status: Status, limiter: Limiter, codes: &[&str]) -> Verdict {
        let verdict = judge(evidence);
        let found: Vec<_> = verdict.reasons.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!((verdict.status, verdict.limiter, found.as_slice()), (status, limiter, codes));
        verdict
    }

    #[test]
    fn a_run_on_schedule_is_valid_and_unlimited() {
        assert_verdict(&good(), Status::Valid, Limiter::None, &[]);
    }

    #[test]
    fn own_lateness_of_the_median_makes_a_run_client_limited() {
        let late =
            Evidence { own_lateness_p50_ns: Some(1_000_001), own_lateness_p99_ns: Some(1_500_000), ..good() };
        let verdict = assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
        assert_eq!((verdict.reasons[0].value, verdict.reasons[0].limit), (1_000_001.0, 1e6));
    }

    #[test]
    fn own_lateness_of_the_tail_makes_a_run_client_limited() {
        let late = Evidence { own_lateness_p99_ns: Some(10_000_001), ..good() };
        let verdict = assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
        assert!(
            verdict.reasons[0].text.contains("p99 10 ms, the limit is 10 ms"),
            "{}",
            verdict.reasons[0].text
        );
    }

    #[test]
    fn some_own_lateness_of_the_tail_is_suspect() {
        let late = Evidence { own_lateness_p99_ns: Some(1_000_001), ..good() };
        assert_verdict(&late, Status::Suspect, Limiter::None, &["own_lateness"]);
        let at_the_limit = Evidence { own_lateness_p99_ns: Some(1_000_000), ..good() };
        assert_verdict(&at_the_limit, Status::Valid, Limiter::None, &[]);
    }

    #[test]
    fn too_few_connections_for_the_rate_are_the_plans_fault() {
        // 64 connections at 20 ms carry 3200 of 10,000 requests a second.
        let small = Evidence {
            service_at_start_p50_ns: Some(20_000_000),
            achieved: Some(0.32),
            blocked: 99_000,
            ..good()
        };
        let verdict = assert_verdict(&small, Status::Suspect, Limiter::Plan, &["plan_limited"]);
        let reason = &verdict.reasons[0];
        assert_eq!((reason.value.round(), reason.limit), (3200.0, 10_000.0));
        assert!(
            reason.text.ends_with("give at least 240 connections (-c 240) or pipeline (-p 4)"),
            "{}",
            reason.text
        );
    }

    #[test]
    fn a_pipeline_too_deep_to_help_is_not_proposed() {
        let small = Evidence {
            connections: 1,
            service_at_start_p50_ns: Some(20_000_000),
            achieved: Some(0.01),
            ..good()
        };
        let verdict = assert_verdict(&small, Status::Suspect, Limiter::Plan, &["plan_limited"]);
        assert!(verdict.reasons[0].text.ends_with("give at least 240 connections (-c 240)"));
    }

    #[test]
    fn a_big_enough_plan_that_fell_behind_is_the_targets_doing_and_valid() {
        let slow = Evidence { achieved: Some(0.8), blocked: 60_000, ..good() };
        let verdict = assert_verdict(&slow, Status::Valid, Limiter::Target, &["target_limited"]);
        assert_eq!(verdict.reasons[0].value, 0.8);
    }

    #[test]
    fn waiting_for_connections_is_noticed_even_if_all_was_sent_in_the_end() {
        let stalled = Evidence { blocked: 1_001, ..good() };
        assert_verdict(&stalled, Status::Valid, Limiter::Target, &["target_limited"]);
        let few = Evidence { blocked: 1_000, ..good() };
        assert_verdict(&few, Status::Valid, Limiter::None, &[]);
    }

    #[test]
    fn without_a_service_time_the_plan_is_not_accused() {
        let unknown = Evidence { service_at_start_p50_ns: None, achieved: Some(0.5), ..good() };
        assert_verdict(&unknown, Status::Valid, Limiter::Target, &["target_limited"]);
    }

    #[test]
    fn a_late_generator_does_not_accuse_the_plan_or_the_target() {
        let late =
            Evidence { own_lateness_p50_ns: Some(5_000_000), achieved: Some(0.5), blocked: 50_000, ..good() };
        assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
    }

    #[test]
    fn a_suspect_generator_and_a_slow_target_are_both_named() {
        let both = Evidence { own_lateness_p99_ns: Some(2_000_000), achieved: Some(0.5), ..good() };
        assert_verdict(&both, Status::Suspect, Limiter::Target, &["own_lateness", "target_limited"]);
    }

    #[test]
    fn running_out_of_descriptors_is_this_machines_fault() {
        let mut starved = Evidence { achieved: Some(0.5), ..good() };
        starved.connect_failures[ConnectFailure::Limits as usize] = 7;
        let verdict =
            assert_verdict(&starved, Status::ClientLimited, Limiter::Client, &["connection_limits"]);
        assert!(verdict.reasons[0].text.contains("ip_local_port_range"));
    }

    #[test]
    fn a_schedule_not_kept_by_a_full_core_is_the_generators_limit() {
        let full = Evidence { blocked: 300_000, busy_max: Some(0.99), ..good() };
        assert_verdict(&full, Status::ClientLimited, Limiter::Client, &["generator_busy"]);
        assert_verdict(&Evidence { busy_max: Some(0.99), ..good() }, Status::Valid, Limiter::None, &[]);
    }

    #[test]
    fn a_handful_of_late_requests_is_doubtful_and_stolen_time_is_named() {
        let late = Evidence { own_lateness_p50_ns: Some(2_000_000), steal: Some(0.02), ..good() };
        let verdict = assert_verdict(&late, Status::ClientLimited, Limiter::Client, &["own_lateness"]);
        assert!(verdict.reasons[0].text.contains("the hypervisor took 2.00 % of its CPU time"));
        assert_verdict(&Evidence { sent: 16, ..late }, Status::Suspect, Limiter::None, &["own_lateness"]);
    }

    #[test]
    fn errors_of_the_target_leave_a_run_valid() {
        let failing = Evidence { unexpected_status: 900, errors: 200, ..good() };
        assert_verdict(&failing, Status::Valid, Limiter::Target, &["target_errors"]);
        let few = Evidence { unexpected_status: 900, errors: 100, ..good() };
        assert_verdict(&few, Status::Valid, Limiter::None, &[]);
    }

    #[test]
    fn sharing_the_only_core_is_suspect() {
        let shared = Evidence { shared_core: true, ..good() };
        assert_verdict(&shared, Status::Suspect, Limiter::None, &["shared_core"]);
    }

    #[test]
    fn a_run_without_answers_says_why() {
        let silent = Evidence { completed: 0, achieved: Some(0.01), errors: 100, ..good() };
        assert_verdict(&silent, Status::Suspect, Limiter::Target, &["no_answers"]);
        let mut refused = Evidence { completed: 0, sent: 0, own_lateness_p50_ns: None, ..good() };
        refused.connect_failures[ConnectFailure::Refused as usize] = 3;
        refused.connect_failures[ConnectFailure::Timeout as usize] = 1;
        let verdict = assert_verdict(&refused, Status::Suspect, Limiter::Target, &["no_answers"]);
        assert!(verdict.reasons[0].text.contains("refused: start the target"), "{}", verdict.reasons[0].text);
        refused.connect_failures[ConnectFailure::Limits as usize] = 9;
        assert_verdict(&refused, Status::Suspect, Limiter::Client, &["no_answers"]);
        let cut = Evidence { completed: 0, sent: 0, scheduled: 0, ..Evidence::default() };
        assert_verdict(&cut, Status::Suspect, Limiter::None, &["no_answers"]);
    }

    #[test]
    fn closed_loop_is_judged_by_its_cores_alone() {
        let closed = Evidence {
            closed_loop: true,
            own_lateness_p50_ns: None,
            own_lateness_p99_ns: None,
            offered: None,
            busy_max: Some(0.95),
            ..good()
        };
        assert_verdict(&closed, Status::Valid, Limiter::None, &[]);
        let full = Evidence { busy_max: Some(0.99), ..closed };
        assert_verdict(&full, Status::Suspect, Limiter::Client, &["generator_busy"]);
    }

    #[test]
    fn a_full_core_that_keeps_its_schedule_is_no_reason() {
        assert_verdict(&Evidence { busy_max: Some(1.0), ..good() }, Status::Valid, Limiter::None, &[]);
    }

    #[test]
    fn every_reason_names_its_limit_and_a_next_step() {
        let all = Evidence {
            own_lateness_p99_ns: Some(2_000_000),
            achieved: Some(0.5),
            unexpected_status: 50_000,
            shared_core: true,
            ..good()
        };
        for reason in judge(&all).reasons {
            assert!(reason.text.matches(": ").count() >= 1 && reason.value != reason.limit, "{reason:?}");
        }
    }
}
