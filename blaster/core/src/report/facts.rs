//! What only the shell knows of a run: the words of its plan, the machine, and what the machine says of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::plan::slo::Slo;
use crate::time::Nanos;

/// What [`super::Report::build`] needs besides the recorders.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// Of the tool.
    pub version: String,
    /// When the first measured request was intended, as RFC 3339.
    pub started_at: String,
    /// The measured time: the plan's, or less if the run was stopped.
    pub duration: Nanos,
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
    /// From the first attempt to open a connection until all were open or had failed once.
    pub opening: Option<Nanos>,
    /// In the order of the shards.
    pub cores: Vec<CoreFacts>,
    /// Promises to judge.
    pub slos: Vec<Slo>,
    /// Share of CPU time that the hypervisor gave to others, if known.
    pub steal: Option<f64>,
    /// TCP segments this machine sent again during the run, if known.
    pub retransmits: Option<u64>,
    /// What else the machine counted.
    pub machine: Machine,
    /// Why the kernel timed no request, if it did not.
    pub wire_unavailable: Option<String>,
    /// Requests that the plan asked for and nobody had to send, with nodes that were lost.
    pub missing: u64,
}

/// What was asked, in words and numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanFacts {
    /// URLs.
    pub targets: Vec<String>,
    /// Requests per second; with stages the highest.
    pub rate: AskedRate,
    /// `uniform` or `poisson`; none in closed loop.
    pub arrivals: Option<String>,
    /// `--stages` as written.
    pub stages: Option<String>,
    /// Over all threads.
    pub connections: u32,
    /// Most connections to open a second; none where they are not paced.
    #[serde(default)]
    pub connect_rate: Option<f64>,
    /// `--source-ips` as written.
    #[serde(default)]
    pub source_ips: Option<String>,
    /// Most requests in flight on a connection.
    pub depth: u32,
    /// Whether the depth was chosen by the tool.
    pub depth_auto: bool,
    /// Shards.
    pub threads: u32,
    /// What is sent: `events, 1 per request`, `GET /`.
    pub payload: String,
    /// Events a request carries on average; none if nobody knows.
    pub events_per_request: Option<f64>,
    /// Different requests prepared, over all targets.
    pub tape_requests: u64,
    /// Their bytes.
    pub tape_bytes: u64,
    /// Statuses that count as ok: `200-399`.
    pub expect: String,
    /// Per request, from its send.
    pub timeout_ns: u64,
    /// Length of the warm-up.
    pub warmup_ns: u64,
    /// The time asked for, without the warm-up.
    pub duration_ns: u64,
}

/// Requests per second, or `"max"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AskedRate {
    /// Open loop.
    PerSecond(f64),
    /// Closed loop.
    Max(Max),
}

/// The word `"max"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Max {
    /// As fast as answers come.
    Max,
}

impl AskedRate {
    /// As fast as answers come.
    pub fn max() -> Self {
        Self::Max(Max::Max)
    }
}

impl Default for AskedRate {
    fn default() -> Self {
        Self::max()
    }
}

/// Where it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu: String,
    /// CPUs of the machine.
    pub cores: u32,
    /// CPUs the process may use.
    pub cores_allowed: u32,
    /// TCP congestion control.
    pub congestion_control: String,
    /// Queue discipline that new interfaces get; none where the kernel does not say.
    #[serde(default)]
    pub queue_discipline: Option<String>,
    /// Whether a target is on this machine.
    pub target_is_local: bool,
    /// Whether generator and target have only one CPU between them.
    pub shared_core: bool,
    /// What was set on this machine for the run alone, each as `name: was -> is`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuned: Vec<String>,
}

/// What the machine says of one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreFacts {
    /// Number of the CPU.
    pub core: u32,
    /// Share of the time it worked, spinning left out.
    pub busy: f64,
    /// CPU time of its thread.
    pub cpu_ns: u64,
}
