//! How the generator itself did: its cores, how densely it packed, what its machine counted, and what the kernel timed.

use serde::{Deserialize, Serialize};

use super::collector::{Collector, Shard};
use super::facts::{CoreFacts, RunFacts};
use super::latency::{Latency, longest, percentiles};
use super::machine::Machine;
use crate::load::recorder::Series;

/// How the generator itself did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// A core a shard.
    pub cores: Vec<Core>,
    /// CPU time for each request sent, the warm-up's too.
    pub cpu_ns_per_request: Option<f64>,
    /// How densely requests were packed.
    pub requests_per_send: Option<f64>,
    /// Whether several requests usually went out in one send.
    pub packed: bool,
    /// Share of CPU time that the hypervisor gave to others, if known.
    pub steal: Option<f64>,
    /// TCP segments this machine sent again during the run, if known.
    pub retransmits: Option<u64>,
    /// What else the machine counted.
    #[serde(default)]
    pub machine: Machine,
    /// How much of some requests' time was spent on this machine.
    #[serde(default)]
    pub wire: Wire,
}

/// Requests that the kernel timed, for an eighth of the time one in 128 on each core: what they took before, on and after the wire. The parts of each
/// add up to the time from its send to the first bytes of its answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wire {
    /// How many.
    pub samples: u64,
    /// From the send to the network device, the request's last byte.
    pub before_ns: Latency,
    /// From there until the answer came from the device: network and target.
    pub wire_ns: Latency,
    /// From there until the generator had it in hand.
    pub after_ns: Latency,
    /// Why there are none.
    pub unavailable: Option<String>,
}

/// One core of the generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Core {
    /// Number of the CPU.
    pub core: u32,
    /// Share of the time it worked, spinning left out.
    pub busy: f64,
    /// CPU time of its thread.
    pub cpu_ns: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// 99th percentile of the length of turns that did not wait.
    pub turn_ns_p99: Option<u64>,
    /// The longest of them.
    #[serde(default)]
    pub turn_ns_max: Option<u64>,
}

/// Packed, from this many requests a send on.
const PACKED_MIN: f64 = 1.5;

impl Collector {
    pub(super) fn generator(&self, facts: &RunFacts) -> Generator {
        let sent = self.classes.iter().map(|(_, class)| class.sent).sum::<u64>() + self.warmup.sent;
        let cpu_ns: u64 = facts.cores.iter().map(|core| core.cpu_ns).sum();
        let requests_per_send = (self.sends > 0).then(|| sent as f64 / self.sends as f64);
        let core = |(fact, shard): (&CoreFacts, &Shard)| Core {
            core: fact.core,
            busy: fact.busy,
            cpu_ns: fact.cpu_ns,
            turns: shard.turns,
            turn_ns_p99: percentiles(shard.turn_time.histogram(), 0, [99.0])[0],
            turn_ns_max: longest(shard.turn_time.histogram(), 0),
        };
        Generator {
            cores: facts.cores.iter().zip(&self.shards).map(core).collect(),
            cpu_ns_per_request: (sent > 0).then(|| cpu_ns as f64 / sent as f64),
            requests_per_send,
            packed: facts.plan.depth > 1 && requests_per_send.is_some_and(|density| density > PACKED_MIN),
            steal: facts.steal,
            retransmits: facts.retransmits,
            machine: facts.machine.clone(),
            wire: self.wire(facts),
        }
    }

    fn wire(&self, facts: &RunFacts) -> Wire {
        let samples = self.wire.before.histogram().len();
        let of = |series: &Series| Latency::of(series.histogram(), 0);
        Wire {
            samples,
            before_ns: of(&self.wire.before),
            wire_ns: of(&self.wire.between),
            after_ns: of(&self.wire.after),
            unavailable: facts.wire_unavailable.clone().filter(|_| samples == 0),
        }
    }
}
