//! What nodes say of themselves in the report's own words, on its way and put together.

use blaster_core::report::Report;
use blaster_core::report::facts::{AskedRate, CoreFacts, Environment, PlanFacts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a node is about to do, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its part of the plan.
    pub plan: PlanFacts,
    /// The machine.
    pub environment: Environment,
}

/// For the way: JSON, as in the report.
pub fn pack<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain values with string keys")
}

/// After the way; none if it is something else.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// A node's report without what its deltas have said already.
pub fn without_histograms(mut report: Report) -> Report {
    report.intervals.clear();
    report.histograms.response_time.clear();
    report.histograms.service_time.clear();
    report.histograms.lateness = None;
    report
}

/// The parts of all nodes as one plan: sums of what is shared out, the first node's words for what is common.
pub fn plan_of(parts: &[&PlanFacts]) -> PlanFacts {
    let Some(&first) = parts.first() else { return PlanFacts::default() };
    let rate = parts.iter().try_fold(0.0, |sum, part| match part.rate {
        AskedRate::PerSecond(rate) => Some(sum + rate),
        AskedRate::Max(_) => None,
    });
    let mean_events = || {
        let of = |part: &PlanFacts| match part.rate {
            AskedRate::PerSecond(rate) => Some((part.events_per_request? * rate, rate)),
            AskedRate::Max(_) => Some((part.events_per_request?, 1.0)),
        };
        let (events, requests) = parts
            .iter()
            .map(|part| of(part))
            .try_fold((0.0, 0.0), |sum, part| part.map(|part| (sum.0 + part.0, sum.1 + part.1)))?;
        (requests > 0.0).then(|| events / requests)
    };
    PlanFacts {
        rate: rate.map_or_else(AskedRate::max, |rate| AskedRate::PerSecond(rounded(rate))),
        connections: parts.iter().map(|part| part.connections).sum(),
        connect_rate: parts.iter().map(|part| part.connect_rate).sum::<Option<f64>>().map(rounded),
        depth: parts.iter().map(|part| part.depth).max().unwrap_or(first.depth),
        threads: parts.iter().map(|part| part.threads).sum(),
        events_per_request: mean_events().map(rounded),
        tape_requests: parts.iter().map(|part| part.tape_requests).sum(),
        tape_bytes: parts.iter().map(|part| part.tape_bytes).sum(),
        ..first.clone()
    }
}

/// Sums of shares are off in the last digits.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The machines of all nodes as one.
pub fn environment_of(parts: &[&Environment]) -> Environment {
    let Some(&first) = parts.first() else { return Environment::default() };
    let all = |of: fn(&Environment) -> &str| {
        let mut words: Vec<&str> = parts.iter().map(|part| of(part)).collect();
        words.sort_unstable();
        words.dedup();
        words.join(", ")
    };
    Environment {
        kernel: all(|part| &part.kernel),
        cpu: all(|part| &part.cpu),
        cores: parts.iter().map(|part| part.cores).sum(),
        cores_allowed: parts.iter().map(|part| part.cores_allowed).sum(),
        congestion_control: all(|part| &part.congestion_control),
        queue_discipline: first.queue_discipline.clone(),
        target_is_local: parts.iter().any(|part| part.target_is_local),
        shared_core: parts.iter().any(|part| part.shared_core),
        tuned: Vec::new(),
    }
}

/// The cores of all nodes; as many idle ones for a node that did not say.
pub fn cores_of(report: Option<&Report>, shards: u32) -> Vec<CoreFacts> {
    match report {
        Some(report) => report
            .generator
            .cores
            .iter()
            .map(|core| CoreFacts { core: core.core, busy: core.busy, cpu_ns: core.cpu_ns })
            .collect(),
        None => (0..shards).map(|_| CoreFacts { core: 0, busy: 0.0, cpu_ns: 0 }).collect(),
    }
}
