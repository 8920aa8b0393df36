//! A run from its settings to its report: sink, addresses, tape, shards, the start, the end.
//!
//! [`run`] is all of it. Whoever starts a run at a moment that others agree on takes the steps: [`prepare`] opens the connections,
//! [`Prepared::start`] names the moment, [`Running::collect`] goes on until the end, [`Running::finish`] says what it came to.

mod cpus;
mod open;
mod parts;
mod running;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use blaster_core::load::engine::ConnectFailure;
use blaster_core::plan::target::Target;
use blaster_core::report::Report;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::{Environment, PlanFacts};
use blaster_core::time::Nanos;
use blaster_ring::socket::Route;
use blaster_ring::{Clock, socket, system};
use blaster_sink::profile::{Behaviour, Profile};
use blaster_sink::{Sink, SinkConfig, SinkError};

use crate::cgroup;
use crate::environment;
use crate::limits::{self, Demand, LimitError};
use crate::link;
use crate::payload::Payload;
use crate::resolve::{ResolveError, is_local, resolve};
use crate::settings::{Settings, UsageError};
use crate::shards::Shards;
use crate::sources::{self, SourceError, SourceIps};
use crate::tape::{self, Recorded, TapeError};
use crate::tuning::Needs;

use cpus::Cpus;
use open::{open_connections, tell_of_opening};
use parts::{Sharing, connections_by_target, no_cpu_twice, plan_facts, shard_plans};
use running::{Timing, told};

pub(crate) use parts::fields;
pub use running::{Ended, Prepared, Running, timestamp};

/// Hears of a run that is being prepared, and may end that.
pub trait Watch {
    /// How often it was asked to stop so far: once lets answers come in, twice does not wait for them.
    fn stops(&mut self) -> u32;
    /// Something its user should know before the run.
    fn say(&mut self, line: &str);
    /// Whether a target, which has these addresses, may be driven; the error says why not.
    fn admit(&mut self, _target: &Target, _addresses: &[SocketAddr]) -> Result<(), String> {
        Ok(())
    }
}

/// Hears of a run as it goes on.
pub trait Observer: Watch {
    /// The run is about to start.
    fn starting(&mut self, facts: &PlanFacts);
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
    /// Addresses that connections cannot come from.
    #[error(transparent)]
    Source(#[from] SourceError),
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
    /// Whoever watches does not allow it.
    #[error("{0}")]
    Refused(String),
    /// Stopped before anything was sent.
    #[error("interrupted before the first request")]
    Interrupted,
}

/// From the command to start to the start: every shard hears of it in time.
const START_AHEAD: Nanos = Nanos::from_millis(4);

/// How often the reporting thread looks whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Connections the built-in sink holds beyond those the blaster opens: reopened ones overlap with those still closing.
pub(crate) const SINK_CONNECTIONS_SPARE: u32 = 1024;

/// Carries a run out.
pub fn run(settings: &mut Settings, observer: &mut impl Observer) -> Result<Report, RunError> {
    let prepared = prepare(settings, observer)?;
    observer.starting(prepared.facts());
    let start = prepared.clock().now() + START_AHEAD;
    let mut running = prepared.start(start);
    let mut heard = 0;
    loop {
        let goes_on = running.collect(|_, _| ());
        for interval in running.take_finished_intervals() {
            observer.interval(&interval);
        }
        if !goes_on {
            return Ok(running.finish()?.report());
        }
        let stops = observer.stops();
        (heard..stops).for_each(|_| running.stop());
        heard = stops;
    }
}

/// Does everything that comes before the start: its connections are open then.
pub fn prepare(settings: &mut Settings, watch: &mut impl Watch) -> Result<Prepared, RunError> {
    let clock = Clock::start();
    let Ground { cpus, target_is_local, shards, mut routes, .. } = Ground::of(settings, watch)?;
    let shard_cpus = cpus.for_shards(shards);
    check_limits(settings, shards, &demands(settings, &routes))?;

    let sink = settings
        .built_in_sink
        .then(|| start_sink(settings.plan.connections, cpus.for_sink(&shard_cpus)))
        .transpose()?;
    if let Some(sink) = &sink {
        routes[0][0].to = sink.address();
        settings.plan.targets[0].port = sink.address().port();
    }

    let shared_core = target_is_local && cpus.allowed.iter().all(|cpu| shard_cpus.contains(cpu));
    let off_shards = cpus.off_shards(&shard_cpus);
    let _ = system::pin_thread(&off_shards);
    let recorded = tape::record(settings, shards)?;
    if let (Some(peak), false, Some(link_bits)) =
        (settings.peak_rate(), target_is_local, link::fastest_bits())
        && let Some(warning) = recorded.demand.exceeds(peak, link_bits)
    {
        watch.say(&format!("warning: {warning}"));
    }
    for remark in settings.payloads.iter().flat_map(Payload::remarks) {
        watch.say(&remark);
    }
    let facts = plan_facts(settings, shards, &recorded);
    let Recorded { recording, classes, .. } = recorded;
    let (_, reels) = recording.finish(shards);
    let spin = !shared_core && cgroup::cpu_quota().is_none() && no_cpu_twice(&shard_cpus);
    let plans = shard_plans(settings, &shard_cpus, &routes, reels, classes.len(), clock, spin);
    let environment = Environment {
        kernel: system::kernel_release(),
        cpu: environment::cpu_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from).max(cpus.allowed.len()) as u32,
        cores_allowed: cpus.allowed.len() as u32,
        congestion_control: socket::congestion_control(&routes[0][0].to, &settings.congestion),
        queue_discipline: environment::queue_discipline(),
        target_is_local,
        shared_core,
        tuned: Vec::new(),
    };

    let port_spaces = port_spaces(&routes);
    tell_of_opening(settings, &routes, &demands(settings, &routes), watch);
    let sharing = Sharing::of(settings, shards);
    let shards = Shards::launch(plans).map_err(|error| RunError::Shard(error.to_string()))?;
    open_connections(&shards, clock, settings, watch)?;
    let plan = &settings.plan;
    Ok(Prepared {
        shards,
        _sink: sink,
        clock,
        facts,
        environment,
        classes,
        shard_cpus,
        off_shards,
        port_spaces,
        run: told(settings),
        timing: Timing { warmup: plan.warmup, duration: plan.duration, timeout: plan.timeout },
        sharing,
    })
}

/// What a run stands on.
struct Ground {
    cpus: Cpus,
    target_is_local: bool,
    /// By addresses of loopback alone.
    target_is_loopback: bool,
    shards: usize,
    routes: Vec<Vec<Route>>,
}

impl Ground {
    /// Resolves names once, asks whether they may be driven, and lays the plan out over threads and addresses.
    fn of(settings: &mut Settings, watch: &mut impl Watch) -> Result<Self, RunError> {
        let cpus = Cpus::choose(settings)?;
        let addresses = addresses(settings)?;
        for (target, addresses) in settings.plan.targets.iter().zip(&addresses) {
            watch.admit(target, addresses).map_err(RunError::Refused)?;
        }
        let target_is_local =
            settings.built_in_sink || addresses.iter().flatten().any(|address| is_local(address.ip()));
        let shards = settings.lay_out(cpus.usable.len() as u32, target_is_local && !cpus.explicit)? as usize;
        let routes = routes(settings, &addresses)?;
        let target_is_loopback = addresses.iter().flatten().all(|address| address.ip().is_loopback());
        Ok(Self { cpus, target_is_local, target_is_loopback, shards, routes })
    }
}

/// What a plan asks of this machine, before anything of it is started.
pub struct Survey {
    /// In numbers.
    pub needs: Needs,
    /// Addresses of this machine that share what goes to one of the target; of several targets the fewest.
    pub sources: u64,
    /// An address of a target that no way leads to from here, and why.
    pub unreachable: Option<(SocketAddr, String)>,
    /// CPUs the process may use.
    pub allowed: Vec<usize>,
    /// Of them those that the run may.
    pub usable: Vec<usize>,
}

impl Survey {
    /// With so many new connections a second to one address of the target, from all sources together.
    pub fn needs_with(&self, new_connections: u64) -> Needs {
        Needs { new_connections: new_connections.div_ceil(self.sources), ..self.needs }
    }
}

/// Finds out what a plan asks of this machine; starts nothing.
pub fn survey(settings: &mut Settings, watch: &mut impl Watch) -> Result<Survey, RunError> {
    let Ground { cpus, target_is_local, target_is_loopback, shards, routes } = Ground::of(settings, watch)?;
    let demands = demands(settings, &routes);
    let to = routes.iter().flatten().map(|route| route.to).filter(|_| !settings.built_in_sink);
    let unreachable = |to| sources::reach(to).err().map(|error| (to, error.to_string()));
    let needs = Needs {
        rps: settings.peak_rate().map(|rate| rate.ceil() as u64),
        connections: settings.plan.connections.into(),
        addresses: evenly(settings.plan.connections.into(), &demands),
        new_connections: 0,
        cores: shards as u64,
        sink: settings.built_in_sink,
        local: target_is_local,
        loopback: target_is_loopback,
    };
    Ok(Survey {
        needs,
        sources: demands.iter().map(|demand| demand.sources.max(1)).min().unwrap_or(1),
        unreachable: to.filter_map(unreachable).next(),
        allowed: cpus.allowed,
        usable: cpus.usable,
    })
}

/// How many pairs of addresses would share connections evenly, where the one that gets most gets as many as it does.
fn evenly(connections: u64, demands: &[Demand]) -> u64 {
    let of_each = |demand: &Demand| demand.connections.div_ceil(demand.sources.max(1));
    let most = demands.iter().map(of_each).max().unwrap_or(connections).max(1);
    let pairs: u64 = demands.iter().map(|demand| demand.sources.max(1)).sum();
    // Each has up to one more than its share.
    ((connections + pairs) / most).clamp(1, pairs.max(1))
}

fn addresses(settings: &Settings) -> Result<Vec<Vec<SocketAddr>>, RunError> {
    if settings.built_in_sink {
        return Ok(vec![vec![SocketAddr::from(([127, 0, 0, 1], 0))]]);
    }
    settings.plan.targets.iter().map(|target| resolve(target).map_err(RunError::from)).collect()
}

/// Where connections go, and from where: of each target.
fn routes(settings: &Settings, addresses: &[Vec<SocketAddr>]) -> Result<Vec<Vec<Route>>, SourceError> {
    sources::routes(settings.source_ips.as_ref(), addresses, &connections_of_targets(settings))
}

fn connections_of_targets(settings: &Settings) -> Vec<u32> {
    let weights: Vec<u32> = settings.plan.targets.iter().map(|target| target.weight).collect();
    connections_by_target(settings.plan.connections, &weights)
}

/// What each address of a target is asked for.
fn demands(settings: &Settings, routes: &[Vec<Route>]) -> Vec<Demand> {
    let auto = settings.source_ips == Some(SourceIps::Auto);
    let mut demands: Vec<Demand> = Vec::new();
    for (target, connections) in routes.iter().zip(connections_of_targets(settings)) {
        let connections = u64::from(connections).div_ceil(target.len() as u64);
        for Route { to, from } in target {
            // Targets that differ in their paths may share an address.
            match demands.iter_mut().find(|demand| demand.address == *to) {
                Some(demand) => demand.connections += connections,
                None => demands.push(Demand { address: *to, connections, sources: from.len() as u64, auto }),
            }
        }
    }
    demands
}

fn check_limits(settings: &Settings, shards: usize, demands: &[Demand]) -> Result<(), LimitError> {
    let sink = if settings.built_in_sink { settings.plan.connections + SINK_CONNECTIONS_SPARE } else { 0 };
    limits::check(shards as u32, settings.plan.connections + sink, demands)
}

/// How often there are all the local ports: for each pair of an address of this machine and one of a target.
fn port_spaces(routes: &[Vec<Route>]) -> u64 {
    let mut counted = HashSet::new();
    let different = routes.iter().flatten().filter(|route| counted.insert(route.to));
    different.map(|route| route.from.len().max(1) as u64).sum()
}

/// Starts the built-in target on loopback, a thread on each of `cpus`, for so many connections of a run.
pub fn start_sink(connections: u32, cpus: Vec<usize>) -> Result<Sink, SinkError> {
    Sink::start(&SinkConfig {
        listen: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0),
        behaviour: Behaviour::of(Profile::EventApi),
        cpus,
        connections_per_thread: connections + SINK_CONNECTIONS_SPARE,
    })
}

fn explain(failure: Option<ConnectFailure>) -> &'static str {
    match failure {
        Some(ConnectFailure::Refused) => "connection refused: is the server running, and on that port?",
        Some(ConnectFailure::Timeout) | None => {
            "no answer: is the address right, and does a firewall drop packets on the way?"
        }
        Some(ConnectFailure::Unreachable) => "no route: check the address and this machine's network",
        Some(ConnectFailure::Limits) => {
            "this machine is out of descriptors or local ports: lower --connections, raise `ulimit -n`, or connect from more addresses \
             with --source-ips auto"
        }
        Some(ConnectFailure::Other) => "the connection was reset while it was opened: is this an HTTP port?",
    }
}
