//! A run taken apart: what each shard does, and how the whole is told.

use blaster_core::load::schedule::Schedule;
use blaster_core::load::tape::Reel;
use blaster_core::load::worker::{StreamPlan, WorkerPlan};
use blaster_core::plan::Load;
use blaster_core::plan::lanes::{Lanes, share_out};
use blaster_core::plan::target::Target;
use blaster_core::report::facts::{AskedRate, PlanFacts};
use blaster_core::time::Nanos;
use blaster_ring::socket::Route;
use blaster_ring::{Clock, EngineConfig};
use payloads::fresh::Fields;

use crate::payload::Payload;
use crate::settings::Settings;
use crate::shards::ShardPlan;
use crate::tape::Recorded;

#[allow(clippy::too_many_arguments)]
pub(super) fn shard_plans(
    settings: &Settings,
    shard_cpus: &[usize],
    routes: &[Vec<Route>],
    reels: Vec<Reel>,
    classes: usize,
    clock: Clock,
    spin: bool,
) -> Vec<ShardPlan> {
    let weights: Vec<u32> = settings.plan.targets.iter().map(|target| target.weight).collect();
    let shards = shard_cpus.len();
    let parts = settings.plan.split(&vec![1; shards]);
    parts
        .iter()
        .zip(shard_cpus)
        .zip(reels)
        .enumerate()
        .map(|(shard, ((part, &cpu), reel))| {
            let tape = reel.tape().clone();
            let connections = connections_by_target(part.connections, &weights);
            let mut first_address = 0;
            let streams = part
                .lanes
                .split(&weights)
                .into_iter()
                .enumerate()
                .map(|(index, lanes)| {
                    let count = routes[index].len();
                    first_address += count;
                    StreamPlan {
                        schedule: match &part.load {
                            Load::Open { curve, arrivals } => {
                                Some(Schedule::new(curve, *arrivals, &lanes, part.seed))
                            }
                            Load::Closed => None,
                        },
                        connections: connections[index],
                        // Shards begin with different addresses, so that few connections reach all of them.
                        addresses: (0..count).map(|i| first_address - count + (i + shard) % count).collect(),
                        first_request: tape.section(index).requests.len() * shard / shards,
                        expect: settings.expect[index].clone(),
                        answers_to_head: settings.payloads[index].answers_to_head(),
                        count_key: settings.payloads[index].count_key().map(str::to_owned),
                        fields: fields(&lanes, part.seed),
                    }
                })
                .collect();
            ShardPlan {
                cpu,
                engine: EngineConfig {
                    clock,
                    connections: connections.iter().sum(),
                    depth: part.depth,
                    staging_bytes: tape.fresh_request_bytes_max(),
                    reel,
                    routes: routes.iter().flatten().map(|route| from_another(route, shard, shards)).collect(),
                    spin,
                    congestion: settings.congestion.clone(),
                    wire: settings.wire_times,
                },
                worker: WorkerPlan {
                    streams,
                    depth: part.depth,
                    timeout: part.timeout,
                    warmup: part.warmup,
                    length: part.length(),
                    classes,
                    connect_gap: connect_gap(settings.connect_rate(), shards),
                    seed: settings.part_seed().wrapping_add(shard as u64),
                },
            }
        })
        .collect()
}

/// Shards begin with different addresses of this machine, so that few connections come from all of them.
fn from_another(route: &Route, shard: usize, shards: usize) -> Route {
    let mut from = route.from.clone();
    let by = from.len() * shard / shards;
    from.rotate_left(by);
    Route { to: route.to, from }
}

/// What a shard waits between two attempts to connect, so that all of them come to `rate` a second.
fn connect_gap(rate: Option<f64>, shards: usize) -> Nanos {
    rate.map_or(Nanos::ZERO, |rate| Nanos::from_secs_f64(shards as f64 / rate))
}

/// What is needed to share out more of the run than was planned.
pub struct Sharing {
    load: Load,
    seed: u64,
    targets: Vec<u32>,
    shards: usize,
}

impl Sharing {
    pub(super) fn of(settings: &Settings, shards: usize) -> Self {
        Self {
            load: settings.plan.load.clone(),
            seed: settings.plan.seed,
            targets: settings.plan.targets.iter().map(|target| target.weight).collect(),
            shards,
        }
    }

    /// By shard and stream: what falls to them of `lanes` from the moment `from` of the run on; nothing in closed loop.
    pub(super) fn schedules(&self, lanes: &Lanes, from: Nanos) -> Vec<Vec<Schedule>> {
        let Load::Open { curve, arrivals } = &self.load else { return Vec::new() };
        let of_stream = |lanes: &Lanes| Schedule::from_moment(curve, *arrivals, lanes, self.seed, from);
        let of_shard = |lanes: &Lanes| lanes.split(&self.targets).iter().map(of_stream).collect();
        lanes.split(&vec![1; self.shards]).iter().map(of_shard).collect()
    }
}

/// What writes the fresh fields of these lanes: no other part of the run, on this machine or another, draws the same ids or numbers.
pub(crate) fn fields(lanes: &Lanes, seed: u64) -> Fields {
    let (first, step) = lanes.progression();
    Fields::new(seed ^ lanes.fingerprint(), first, step)
}

/// Every target has at least one connection; the rest by weight.
pub(super) fn connections_by_target(connections: u32, weights: &[u32]) -> Vec<u32> {
    let rest = connections - weights.len() as u32;
    share_out(rest.into(), weights).into_iter().map(|share| share as u32 + 1).collect()
}

pub(super) fn no_cpu_twice(cpus: &[usize]) -> bool {
    cpus.iter().enumerate().all(|(index, cpu)| !cpus[..index].contains(cpu))
}

pub(super) fn plan_facts(settings: &Settings, shards: usize, recorded: &Recorded) -> PlanFacts {
    let plan = &settings.plan;
    let url =
        |(target, payload): (&Target, &Payload)| format!("http://{}{}", target.host_header(), payload.path());
    let mut payloads: Vec<String> = settings.payloads.iter().map(Payload::describe).collect();
    payloads.dedup();
    let mut expect: Vec<String> = settings.expect.iter().map(ToString::to_string).collect();
    expect.dedup();
    let (rate, arrivals) = match &plan.load {
        Load::Open { curve, arrivals } => (
            AskedRate::PerSecond(
                curve.constant_rate().unwrap_or_else(|| curve.peak()) * plan.lanes.fraction(),
            ),
            Some(arrivals.name().to_owned()),
        ),
        Load::Closed => (AskedRate::max(), None),
    };
    PlanFacts {
        targets: plan.targets.iter().zip(&settings.payloads).map(url).collect(),
        rate,
        arrivals,
        stages: settings.stages.clone(),
        connections: plan.connections,
        connect_rate: settings.connect_rate(),
        source_ips: settings.source_ips.as_ref().map(ToString::to_string),
        depth: plan.depth,
        depth_auto: settings.depth_is_auto,
        threads: shards as u32,
        payload: payloads.join("; "),
        events_per_request: recorded.demand.mean_events(),
        tape_requests: recorded.recording.requests() as u64,
        tape_bytes: recorded.recording.len() as u64,
        expect: expect.join("; "),
        timeout_ns: plan.timeout.0,
        warmup_ns: plan.warmup.0,
        duration_ns: plan.duration.0,
    }
}

#[cfg(test)]
mod tests {
    use payloads::fresh::{Kind, Place, SEQ_FIRST, UUID_BYTES};

    use super::*;

    /// Everything that sends on its own in a run of 4 nodes with 4 shards each and two targets, three to one.
    fn streams() -> Vec<Lanes> {
        let nodes = Lanes::whole().split(&[1; 4]);
        let shards = nodes.iter().flat_map(|node| node.split(&[1; 4]));
        shards.flat_map(|shard| shard.split(&[3, 1])).collect()
    }

    #[test]
    fn ten_million_ids_of_all_nodes_shards_and_targets_are_distinct() {
        const IDS: usize = 10_000_000;
        let streams = streams();
        let mut hashes = Vec::with_capacity(IDS);
        for lanes in &streams {
            let mut fields = fields(lanes, 42);
            let mut id = [b'-'; UUID_BYTES];
            for _ in 0..IDS / streams.len() {
                fields.write(&mut id, 0, &[Place { at: 0, kind: Kind::Uuid }]);
                // All 32 digits in 64 bits: two different ids among ten million have the same with a chance of 3 in a million.
                let words = [&id[0..8], &id[8..16], &id[16..24], &id[24..32], &id[28..36]];
                hashes.push(words.iter().fold(0_u64, |hash, word| {
                    let word = u64::from_le_bytes((*word).try_into().expect("eight bytes"));
                    (hash.rotate_left(29) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                }));
            }
        }
        assert_eq!(hashes.len(), IDS);
        hashes.sort_unstable();
        assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]), "an id came twice");
    }

    #[test]
    fn numbers_are_sent_once_whoever_sends_them() {
        let mut numbers = Vec::new();
        for lanes in streams() {
            let mut fields = fields(&lanes, 42);
            let mut text = [0; 16];
            for _ in 0..1_000 {
                fields.write(&mut text, 0, &[Place { at: 0, kind: Kind::Seq }]);
                numbers.push(str::from_utf8(&text).unwrap().parse::<u64>().unwrap());
            }
        }
        assert!(numbers.iter().all(|&number| number >= SEQ_FIRST));
        let sent = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), sent);
    }
}
