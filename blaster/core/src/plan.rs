//! What to do: the whole run as one value that cannot be wrong.

pub mod lanes;
pub mod rate;
pub mod slo;
pub mod statuses;
pub mod target;

use crate::time::Nanos;
use lanes::{Lanes, share_out};
use rate::Curve;
use slo::Slo;
use target::Target;

/// A run, or the part of one that a node or a shard does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How much, and when.
    pub load: Load,
    /// Requests intended in it are recorded apart; the curve includes it.
    pub warmup: Nanos,
    /// The measured time, after the warm-up.
    pub duration: Nanos,
    /// Connections over all targets and shards.
    pub connections: u32,
    /// Most requests in flight on a connection.
    pub depth: u32,
    /// Where to; at least one.
    pub targets: Vec<Target>,
    /// Per request, from its send.
    pub timeout: Nanos,
    /// Promises to judge.
    pub slos: Vec<Slo>,
    /// Repeats payloads and arrivals.
    pub seed: u64,
    /// Labels carried to every output.
    pub tags: Vec<(String, String)>,
    /// Which of the whole run's requests this part sends.
    pub lanes: Lanes,
}

/// How much, and when.
#[derive(Clone, Debug)]
pub enum Load {
    /// Open loop: intended times are fixed before the run.
    Open {
        /// The rate over time.
        curve: Curve,
        /// The spacing of intended times.
        arrivals: Arrivals,
    },
    /// Closed loop: as fast as answers come.
    Closed,
}

/// The spacing of intended times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Even.
    Uniform,
    /// Independent, as from many users who know nothing of each other.
    Poisson,
}

impl Arrivals {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Poisson => "poisson",
        }
    }
}

impl Plan {
    /// Splits in proportion to `weights`: requests and connections sum exactly to the whole's.
    pub fn split(&self, weights: &[u32]) -> Vec<Self> {
        let connections = share_out(self.connections.into(), weights);
        self.lanes
            .split(weights)
            .into_iter()
            .zip(connections)
            .map(|(lanes, connections)| Self { lanes, connections: connections as u32, ..self.clone() })
            .collect()
    }

    /// Warm-up and measured time.
    pub fn length(&self) -> Nanos {
        self.warmup + self.duration
    }
}

/// Most requests a second that a shard is planned for without pipelining, and with.
const SHARD_RATE_UNPIPELINED: f64 = 100_000.0;
const SHARD_RATE_PIPELINED: f64 = 1_000_000.0;

/// The first of them where the target needs the same CPU.
const SHARD_RATE_UNPIPELINED_SHARED: f64 = 50_000.0;

/// The depth that `auto` means when one request at a time is too slow.
const AUTO_DEPTH: u32 = 64;

/// What [`layout`] decides from.
#[derive(Clone, Copy, Debug)]
pub struct LayoutWish {
    /// The highest rate in requests per second; none in closed loop.
    pub peak: Option<f64>,
    /// CPUs this process may use.
    pub cpus: u32,
    /// A target runs on this machine and wants a CPU too.
    pub target_is_local: bool,
    /// Connections asked for.
    pub connections: u32,
    /// `--pipeline`, if not auto.
    pub pipeline: Option<u32>,
    /// `--threads`, if not auto.
    pub threads: Option<u32>,
}

/// How many shards, and how deep each connection is pipelined: (shards, depth).
///
/// Shards = ceil(rate / 100k) at depth 1 and ceil(rate / 1M) pipelined, never more than CPUs or connections; one CPU is left to a
/// target on this machine when there are at least two; with the only CPU shared, half of the first rate is too much already.
pub fn layout(wish: LayoutWish) -> (u32, u32) {
    let usable = if wish.target_is_local && wish.cpus >= 2 { wish.cpus - 1 } else { wish.cpus };
    let unpipelined = if wish.target_is_local && wish.cpus == 1 {
        SHARD_RATE_UNPIPELINED_SHARED
    } else {
        SHARD_RATE_UNPIPELINED
    };
    let most = wish.threads.unwrap_or(usable).min(wish.connections).max(1);
    let shards_for = |per_shard: f64| match (wish.threads, wish.peak) {
        (Some(_), _) | (None, None) => most,
        (None, Some(peak)) => ((peak / per_shard).ceil().max(1.0) as u32).min(most),
    };
    match (wish.pipeline, wish.peak) {
        (Some(1), _) | (None, None) => (shards_for(unpipelined), wish.pipeline.unwrap_or(1)),
        (Some(depth), _) => (shards_for(SHARD_RATE_PIPELINED), depth),
        (None, Some(peak)) => {
            let shards = shards_for(unpipelined);
            if peak / f64::from(shards) <= unpipelined {
                (shards, 1)
            } else {
                (shards_for(SHARD_RATE_PIPELINED), AUTO_DEPTH)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: LayoutWish = LayoutWish {
        peak: Some(10_000.0),
        cpus: 2,
        target_is_local: true,
        connections: 64,
        pipeline: None,
        threads: None,
    };

    #[test]
    fn a_million_on_two_cpus_with_a_local_target_is_one_pipelined_shard() {
        assert_eq!(layout(LayoutWish { peak: Some(1e6), ..WISH }), (1, 64));
        assert_eq!(layout(WISH), (1, 1));
        assert_eq!(layout(LayoutWish { peak: Some(100_000.0), ..WISH }), (1, 1));
    }

    #[test]
    fn a_cpu_shared_with_the_target_is_pipelined_earlier() {
        let shared = LayoutWish { cpus: 1, ..WISH };
        assert_eq!(layout(LayoutWish { peak: Some(50_000.0), ..shared }), (1, 1));
        assert_eq!(layout(LayoutWish { peak: Some(60_000.0), ..shared }), (1, 64));
        assert_eq!(layout(LayoutWish { peak: Some(60_000.0), target_is_local: false, ..shared }), (1, 1));
    }

    #[test]
    fn more_cpus_are_used_before_pipelining_is() {
        let wide = LayoutWish { cpus: 16, target_is_local: false, ..WISH };
        assert_eq!(layout(LayoutWish { peak: Some(150_000.0), ..wide }), (2, 1));
        assert_eq!(layout(LayoutWish { peak: Some(3e6), ..wide }), (3, 64));
        assert_eq!(layout(LayoutWish { peak: Some(3e6), pipeline: Some(1), ..wide }), (16, 1));
        assert_eq!(layout(LayoutWish { peak: None, ..wide }), (16, 1));
    }

    #[test]
    fn there_are_never_more_shards_than_connections() {
        let wide = LayoutWish { cpus: 16, connections: 3, ..WISH };
        assert_eq!(layout(LayoutWish { threads: Some(8), ..wide }).0, 3);
        assert_eq!(layout(LayoutWish { peak: None, ..wide }).0, 3);
        assert_eq!(layout(LayoutWish { cpus: 1, peak: None, ..WISH }).0, 1);
    }

    #[test]
    fn a_split_plan_has_all_connections_of_the_whole() {
        let plan = Plan {
            load: Load::Closed,
            warmup: Nanos::ZERO,
            duration: Nanos::from_secs(1),
            connections: 100,
            depth: 1,
            targets: Vec::new(),
            timeout: Nanos::from_secs(10),
            slos: Vec::new(),
            seed: 0,
            tags: Vec::new(),
            lanes: Lanes::whole(),
        };
        let connections: Vec<_> = plan.split(&[1, 1, 1]).iter().map(|part| part.connections).collect();
        assert_eq!(connections, [34, 33, 33]);
    }
}
