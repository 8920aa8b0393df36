//! A run from its settings to its report: sink, addresses, tape, shards, the start, the end.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime};

use blaster_core::load::engine::ConnectFailure;
use blaster_core::load::schedule::Schedule;
use blaster_core::load::tape::Reel;
use blaster_core::load::worker::{INTERVAL, StreamPlan, WorkerPlan};
use blaster_core::plan::lanes::{Lanes, share_out};
use blaster_core::plan::target::Target;
use blaster_core::plan::{Load, Plan};
use blaster_core::report::Report;
use blaster_core::report::collector::{Collector, FinishedInterval};
use blaster_core::report::facts::{AskedRate, CoreFacts, Environment, PlanFacts, RunFacts};
use blaster_core::time::Nanos;
use blaster_ring::{Clock, EngineConfig, socket, system};
use blaster_sink::profile::{Behaviour, Profile};
use blaster_sink::{Sink, SinkConfig, SinkError};

use payloads::fresh::Fields;

use crate::cgroup;
use crate::environment;
use crate::limits::{self, LimitError};
use crate::link;
use crate::machine::Counters;
use crate::payload::Payload;
use crate::resolve::{ResolveError, is_local, resolve};
use crate::settings::{Settings, UsageError};
use crate::shards::{Message, ShardFacts, ShardPlan, Shards};
use crate::tape::{self, Recorded, TapeError};

/// Hears of a run as it goes on, and may stop it.
pub trait Observer {
    /// How often it was asked to stop so far: once lets answers come in, twice does not wait for them.
    fn stops(&mut self) -> u32;
    /// The run is about to start.
    fn starting(&mut self, facts: &PlanFacts);
    /// Something its user should know before the run.
    fn say(&mut self, line: &str);
    /// An interval is over on all shards.
    fn interval(&mut self, interval: &FinishedInterval);
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The plan cannot be carried out on this machine.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Likewise.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// CPUs that the process may not use.
    #[error("--cores names CPU {cpu}, this process may use {allowed:?}: choose among these")]
    Cores {
        /// Asked for.
        cpu: usize,
        /// Allowed.
        allowed: Vec<usize>,
    },
    /// A name without address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The built-in sink.
    #[error("the built-in target did not start: {0}")]
    Sink(#[from] SinkError),
    /// No connection at all to a target.
    #[error("cannot connect to {target}: {}", explain(*.failure))]
    NoConnection {
        /// Which.
        target: String,
        /// The last failure; none if it took too long.
        failure: Option<ConnectFailure>,
    },
    /// Connections to a target, and none that lasted until the start.
    #[error(
        "cannot keep a connection to {target}: it accepts them and closes them at once: is this an HTTP port, and is there a \
         server behind the proxy or port mapping?"
    )]
    ClosedAtOnce {
        /// Which.
        target: String,
    },
    /// The requests cannot be prepared.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// An executor.
    #[error("cannot start a shard: {0}")]
    Shard(String),
    /// Stopped before anything was sent.
    #[error("interrupted before the first request")]
    Interrupted,
}

/// Longest wait for connections to open before the run starts without the missing ones.
const OPENING_MAX: Nanos = Nanos::from_secs(5);

/// From the command to start to the start: every shard hears of it in time.
const START_AHEAD: Nanos = Nanos::from_millis(4);

/// Every run ends within its length, a timeout and this, counted from the command: what opening its connections took
/// comes off the time to wait for the last answers.
const END_SLACK: Nanos = Nanos::from_millis(1_600);

/// How often the reporting thread looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Connections the built-in sink holds beyond those the blaster opens: reopened ones overlap with those still closing.
const SINK_CONNECTIONS_SPARE: u32 = 1024;

/// Carries a run out.
pub fn run(settings: &mut Settings, observer: &mut impl Observer) -> Result<Report, RunError> {
    let clock = Clock::start();
    let cpus = Cpus::choose(settings)?;
    let addresses = addresses(settings)?;
    let target_is_local =
        settings.built_in_sink || addresses.iter().flatten().any(|address| is_local(address.ip()));
    let shards = settings.lay_out(cpus.usable.len() as u32, target_is_local && !cpus.explicit)? as usize;
    let shard_cpus = cpus.for_shards(shards);
    check_limits(settings, shards, &addresses)?;

    let sink =
        settings.built_in_sink.then(|| start_sink(settings, &cpus.for_sink(&shard_cpus))).transpose()?;
    let addresses = match &sink {
        Some(sink) => vec![vec![sink.address()]],
        None => addresses,
    };
    if let Some(sink) = &sink {
        settings.plan.targets[0].port = sink.address().port();
    }

    let shared_core = target_is_local && cpus.allowed.iter().all(|cpu| shard_cpus.contains(cpu));
    let _ = system::pin_thread(&cpus.off_shards(&shard_cpus));
    let recorded = tape::record(settings, shards)?;
    if let (Load::Open { curve, .. }, false, Some(link_bits)) =
        (&settings.plan.load, target_is_local, link::fastest_bits())
        && let Some(warning) = recorded.demand.exceeds(curve.peak(), link_bits)
    {
        observer.say(&format!("warning: {warning}"));
    }
    for remark in settings.payloads.iter().flat_map(Payload::remarks) {
        observer.say(&remark);
    }
    let facts = plan_facts(settings, shards, &recorded);
    let Recorded { recording, classes, .. } = recorded;
    let (_, reels) = recording.finish(shards);
    let spin = !shared_core && cgroup::cpu_quota().is_none() && no_cpu_twice(&shard_cpus);
    let plans = shard_plans(settings, &shard_cpus, &addresses, reels, classes.len(), clock, spin);
    let environment = Environment {
        kernel: system::kernel_release(),
        cpu: environment::cpu_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from).max(cpus.allowed.len()) as u32,
        cores_allowed: cpus.allowed.len() as u32,
        congestion_control: socket::congestion_control(&addresses[0][0], &settings.congestion),
        queue_discipline: environment::queue_discipline(),
        target_is_local,
        shared_core,
    };

    let different_addresses = addresses.iter().flatten().collect::<HashSet<_>>().len() as u64;
    let shards = Shards::launch(plans).map_err(|error| RunError::Shard(error.to_string()))?;
    let mut conduct = Conduct::new(settings, &shards, classes, clock, observer);
    conduct.open_connections(&settings.plan)?;
    conduct.observer.starting(&facts);
    let machine_before = Counters::read(&shard_cpus);
    conduct.start_and_collect(&settings.plan)?;
    let machine_after = Counters::read(&shard_cpus);
    let Conduct { collector, started, ended, started_at, shard_facts, interrupted, .. } = conduct;

    let measured_from = started + settings.plan.warmup;
    let elapsed = ended.saturating_sub(measured_from);
    let duration = if interrupted { elapsed.min(settings.plan.duration) } else { settings.plan.duration };
    let wall = ended.saturating_sub(started);
    let run_facts = RunFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        duration,
        interrupted,
        tags: settings.plan.tags.iter().cloned().collect(),
        seed: settings.plan.seed,
        plan: facts,
        environment,
        cores: shard_facts.iter().map(|facts| core_facts(facts, wall)).collect(),
        slos: settings.plan.slos.clone(),
        machine: machine_before.machine(&machine_after, wall, &shard_facts, different_addresses),
        steal: machine_before.steal(&machine_after, wall, shard_cpus.len()),
        retransmits: machine_before.retransmits(&machine_after),
        wire_unavailable: shard_facts.iter().find_map(|facts| facts.wire_unavailable).map(str::to_owned),
    };
    drop(shards);
    drop(sink);
    Ok(Report::build(run_facts, collector))
}

/// The reporting thread's part in a running run.
struct Conduct<'a, O> {
    shards: &'a Shards,
    clock: Clock,
    observer: &'a mut O,
    collector: Collector,
    started: Nanos,
    ended: Nanos,
    started_at: String,
    shard_facts: Vec<ShardFacts>,
    interrupted: bool,
}

impl<'a, O: Observer> Conduct<'a, O> {
    fn new(
        settings: &Settings,
        shards: &'a Shards,
        classes: Vec<String>,
        clock: Clock,
        observer: &'a mut O,
    ) -> Self {
        debug_assert!(!settings.plan.targets.is_empty());
        Self {
            clock,
            observer,
            collector: Collector::new(classes, shards.count(), INTERVAL),
            started: Nanos::ZERO,
            ended: Nanos::ZERO,
            started_at: String::new(),
            shard_facts: vec![ShardFacts::default(); shards.count()],
            interrupted: false,
            shards,
        }
    }

    /// Waits until all shards have their connections, or have tried.
    fn open_connections(&mut self, plan: &Plan) -> Result<(), RunError> {
        let give_up = self.clock.now() + plan.timeout.min(OPENING_MAX);
        let mut latest = vec![(false, Vec::new()); self.shards.count()];
        while latest.iter().any(|(all_tried, _)| !all_tried) && self.clock.now() < give_up {
            if self.observer.stops() > 0 {
                return Err(RunError::Interrupted);
            }
            match self.shards.messages().recv_timeout(LOOK_EVERY) {
                Ok((shard, Message::Opening { all_tried, streams })) => latest[shard] = (all_tried, streams),
                Ok((_, Message::Failed(error))) => return Err(RunError::Shard(error.to_string())),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RunError::Shard("it ended by itself".to_owned()));
                }
            }
        }
        for (index, target) in plan.targets.iter().enumerate() {
            let of_target = || latest.iter().filter_map(|(_, streams)| streams.get(index));
            if of_target().all(|(open, _)| *open == 0) {
                let failure = of_target().find_map(|(_, failure)| *failure);
                let target = target.to_string();
                let none_failed = failure.is_none() && latest.iter().all(|(all_tried, _)| *all_tried);
                return Err(if none_failed {
                    RunError::ClosedAtOnce { target }
                } else {
                    RunError::NoConnection { target, failure }
                });
            }
        }
        Ok(())
    }

    /// Starts all shards at one moment and merges what they deliver until the last has ended.
    fn start_and_collect(&mut self, plan: &Plan) -> Result<(), RunError> {
        self.started = self.clock.now() + START_AHEAD;
        self.started_at = timestamp(SystemTime::now() + nanos(START_AHEAD + plan.warmup));
        self.shards.start(self.started);
        let mut halt_at = plan.length() + plan.timeout + END_SLACK;
        let (mut running, mut heard) = (self.shards.count(), 0);
        let mut broken = None;
        while running > 0 {
            let stops = self.observer.stops();
            if stops > heard {
                if stops == 1 {
                    self.ended = self.clock.now();
                    self.shards.stop();
                    halt_at = halt_at.min(self.ended + plan.timeout + END_SLACK);
                } else {
                    self.shards.halt();
                }
                heard = stops;
                self.interrupted = true;
            }
            if self.clock.now() > halt_at {
                self.shards.halt();
                halt_at = Nanos::MAX;
            }
            match self.shards.messages().recv_timeout(LOOK_EVERY) {
                Ok((shard, Message::Full(mut recorder))) => {
                    self.collector.add(shard, &mut recorder);
                    recorder.clear();
                    self.shards.give_back(shard, recorder);
                }
                Ok((shard, Message::Done(facts))) => {
                    self.shard_facts[shard] = facts;
                    self.collector.shard_ended(shard);
                    running -= 1;
                }
                Ok((_, Message::Failed(error))) => {
                    broken = Some(RunError::Shard(error.to_string()));
                    self.shards.halt();
                    running -= 1;
                }
                Ok((_, Message::Opening { .. })) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    broken.get_or_insert(RunError::Shard("it ended by itself".to_owned()));
                    break;
                }
            }
            for interval in self.collector.take_finished_intervals() {
                self.observer.interval(&interval);
            }
        }
        if self.ended == Nanos::ZERO {
            self.ended = self.clock.now();
        }
        self.collector.finish();
        for interval in self.collector.take_finished_intervals() {
            self.observer.interval(&interval);
        }
        broken.map_or(Ok(()), Err)
    }
}

/// Which CPU does what.
struct Cpus {
    /// Those the process may use.
    allowed: Vec<usize>,
    /// Those shards may be put on.
    usable: Vec<usize>,
    /// The user said which.
    explicit: bool,
}

impl Cpus {
    fn choose(settings: &Settings) -> Result<Self, RunError> {
        let allowed = system::allowed_cpus();
        let usable = settings.cores.clone().unwrap_or_else(|| allowed.clone());
        match usable.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(RunError::Cores { cpu, allowed }),
            None => Ok(Self { allowed, usable, explicit: settings.cores.is_some() }),
        }
    }

    /// From the last on: the first CPU is where interrupts and other people's processes tend to be.
    fn for_shards(&self, shards: usize) -> Vec<usize> {
        self.usable.iter().rev().cycle().take(shards).copied().collect()
    }

    fn off_shards(&self, shard_cpus: &[usize]) -> Vec<usize> {
        let free: Vec<_> = self.allowed.iter().filter(|cpu| !shard_cpus.contains(cpu)).copied().collect();
        if free.is_empty() { self.allowed.clone() } else { free }
    }

    /// As many as there are shards, where there are.
    fn for_sink(&self, shard_cpus: &[usize]) -> Vec<usize> {
        let mut free = self.off_shards(shard_cpus);
        free.truncate(shard_cpus.len());
        free
    }
}

fn addresses(settings: &Settings) -> Result<Vec<Vec<SocketAddr>>, RunError> {
    if settings.built_in_sink {
        return Ok(vec![vec![SocketAddr::from(([127, 0, 0, 1], 0))]]);
    }
    settings.plan.targets.iter().map(|target| resolve(target).map_err(RunError::from)).collect()
}

fn check_limits(settings: &Settings, shards: usize, addresses: &[Vec<SocketAddr>]) -> Result<(), LimitError> {
    let weights: Vec<u32> = settings.plan.targets.iter().map(|target| target.weight).collect();
    let per_target = connections_by_target(settings.plan.connections, &weights);
    let per_address: Vec<(String, u64)> = addresses
        .iter()
        .zip(per_target)
        .map(|(addresses, connections)| {
            (addresses[0].to_string(), u64::from(connections).div_ceil(addresses.len() as u64))
        })
        .collect();
    let sink = if settings.built_in_sink { settings.plan.connections + SINK_CONNECTIONS_SPARE } else { 0 };
    limits::check(shards as u32, settings.plan.connections + sink, &per_address)
}

/// Every target has at least one connection; the rest by weight.
fn connections_by_target(connections: u32, weights: &[u32]) -> Vec<u32> {
    let rest = connections - weights.len() as u32;
    share_out(rest.into(), weights).into_iter().map(|share| share as u32 + 1).collect()
}

fn start_sink(settings: &Settings, cpus: &[usize]) -> Result<Sink, SinkError> {
    Sink::start(&SinkConfig {
        listen: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0),
        behaviour: Behaviour::of(Profile::EventApi),
        cpus: cpus.to_vec(),
        connections_per_thread: settings.plan.connections + SINK_CONNECTIONS_SPARE,
    })
}

#[allow(clippy::too_many_arguments)]
fn shard_plans(
    settings: &Settings,
    shard_cpus: &[usize],
    addresses: &[Vec<SocketAddr>],
    reels: Vec<Reel>,
    classes: usize,
    clock: Clock,
    spin: bool,
) -> Vec<ShardPlan> {
    let weights: Vec<u32> = settings.plan.targets.iter().map(|target| target.weight).collect();
    let all_addresses: Vec<SocketAddr> = addresses.iter().flatten().copied().collect();
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
                    let count = addresses[index].len();
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
                    addresses: all_addresses.clone(),
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
                    seed: part.seed.wrapping_add(shard as u64),
                },
            }
        })
        .collect()
}

/// What writes the fresh fields of these lanes: no other part of the run, on this machine or another, draws the same ids or numbers.
pub(crate) fn fields(lanes: &Lanes, seed: u64) -> Fields {
    let (first, step) = lanes.progression();
    Fields::new(seed ^ lanes.fingerprint(), first, step)
}

fn no_cpu_twice(cpus: &[usize]) -> bool {
    cpus.iter().enumerate().all(|(index, cpu)| !cpus[..index].contains(cpu))
}

fn plan_facts(settings: &Settings, shards: usize, recorded: &Recorded) -> PlanFacts {
    let plan = &settings.plan;
    let url =
        |(target, payload): (&Target, &Payload)| format!("http://{}{}", target.host_header(), payload.path());
    let mut payloads: Vec<String> = settings.payloads.iter().map(Payload::describe).collect();
    payloads.dedup();
    let mut expect: Vec<String> = settings.expect.iter().map(ToString::to_string).collect();
    expect.dedup();
    let (rate, arrivals) = match &plan.load {
        Load::Open { curve, arrivals } => (
            AskedRate::PerSecond(curve.constant_rate().unwrap_or_else(|| curve.peak())),
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

fn core_facts(facts: &ShardFacts, wall: Nanos) -> CoreFacts {
    let worked = facts.cpu_time.saturating_sub(facts.spun);
    CoreFacts {
        core: facts.cpu as u32,
        busy: if wall > Nanos::ZERO { (worked.0 as f64 / wall.0 as f64).min(1.0) } else { 0.0 },
        cpu_ns: worked.0,
    }
}

fn explain(failure: Option<ConnectFailure>) -> &'static str {
    match failure {
        Some(ConnectFailure::Refused) => "connection refused: is the server running, and on that port?",
        Some(ConnectFailure::Timeout) | None => {
            "no answer: is the address right, and does a firewall drop packets on the way?"
        }
        Some(ConnectFailure::Unreachable) => "no route: check the address and this machine's network",
        Some(ConnectFailure::Limits) => {
            "this machine is out of descriptors or local ports: lower --connections, or raise `ulimit -n`"
        }
        Some(ConnectFailure::Other) => "the connection was reset while it was opened: is this an HTTP port?",
    }
}

fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

fn nanos(time: Nanos) -> Duration {
    Duration::from_nanos(time.0)
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
