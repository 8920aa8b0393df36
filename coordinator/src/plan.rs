//! What is to be led: which nodes, and what they shall send.

use std::path::Path;

use blaster::cli::{ArrivalsArg, RunArgs};
use blaster::files::{Bundle, Gathering};
use blaster::run::start_sink;
use blaster::settings::{Place, Settings};
use blaster_core::plan::rate::RateSpec;
use blaster_core::time::Nanos;
use blaster_ring::system;
use blaster_sink::Sink;
use clap::ArgMatches;
use coordinator_protocol::leader::{Config, Failure, OnLoss};
use coordinator_protocol::message::{RunId, Task, encode};
use coordinator_protocol::shares::Wish;

use crate::cli::{LeadArgs, OnNodeLossArg, TeamArgs, WeightsArg};
use crate::hosts::{self, Host};
use crate::local::{Local, Places};
use crate::secret::Secret;

/// Most bytes of files that a run brings along.
const FILES_BYTES_MAX: usize = 16 << 20;

/// What cannot be led as asked.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// Neither nodes nor `--local`.
    #[error("where to? name the nodes with --nodes hosts.txt, or try it on this machine with --local 2")]
    NoNodes,
    /// Nobody to ask.
    #[error("which nodes? name them with --nodes hosts.txt")]
    NoneToAsk,
    /// No hosts file.
    #[error("cannot read {path}: {error}: it is a text of a node a line, as in load-1:7400 weight=2")]
    HostsFile {
        /// Which.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A hosts file that is none.
    #[error("{path}: {error}")]
    Hosts {
        /// Which.
        path: String,
        /// What is wrong with it.
        error: hosts::HostsError,
    },
    /// Nodes that would each drive a target of their own.
    #[error("no target: name the server that all nodes drive, as in --target api:3000")]
    NoTarget,
    /// Nobody's machine is changed from another.
    #[error("--tune is each machine's own affair: run `blaster doctor --fix` on the nodes")]
    Tune,
    /// There is no rate to share out anew.
    #[error(
        "--on-node-loss rebalance shares a lost node's rate out, and --rps max has none: say degrade or fail"
    )]
    NoRate,
    /// More nodes wanted than there are.
    #[error("--min-nodes {wanted}, and there are {there}: lower it, or name more nodes")]
    MinNodes {
        /// Wanted.
        wanted: u32,
        /// There.
        there: usize,
    },
    /// Too much to bring along.
    #[error("the files of this run are {bytes} bytes, {FILES_BYTES_MAX} can be sent along: use smaller ones")]
    Files {
        /// Of all.
        bytes: usize,
    },
    /// An agent cannot have that CPU.
    #[error("--cores names CPU {cpu}, this process may use {allowed:?}: choose among these")]
    Cores {
        /// Named.
        cpu: usize,
        /// There.
        allowed: Vec<usize>,
    },
    /// It failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The nodes, and what lets us in.
pub struct Cluster {
    hosts: Vec<Host>,
    secret: Secret,
    /// Agents of our own, as long as this, and who runs where.
    local: Option<(Local, Places)>,
}

impl Cluster {
    /// Reads who they are, or starts agents here; these leave a CPU to a target that `run` does not name.
    pub fn new(team: &TeamArgs, run: &RunArgs) -> anyhow::Result<Self> {
        let Some(count) = team.local else {
            let args = &team.nodes;
            let path = args.nodes.as_ref().ok_or(LeadError::NoNodes)?;
            let secret = Secret::read(&Secret::path(args.secret.as_deref()))?;
            return Ok(Self { hosts: read_hosts(path)?, secret, local: None });
        };
        let with_sink = run.urls.is_empty() && run.targets.is_empty();
        let cpus = run.cores.as_ref().map_or_else(system::allowed_cpus, |list| list.0.clone());
        let places = Places::share(&cpus, count as usize, with_sink);
        let agents = Local::start(&places)?;
        let (hosts, secret) = (agents.hosts().to_vec(), agents.secret().clone());
        Ok(Self { hosts, secret, local: Some((agents, places)) })
    }

    /// All of them.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Says how requests are spaced, if the user did not: by how many nodes were named, however many of them there will be.
    pub fn space(&self, run: &mut RunArgs, list: &mut Vec<String>) {
        if self.hosts.len() > 1 && run.arrivals.is_none() && run.rps != Some(RateSpec::Max) {
            run.arrivals = Some(ArrivalsArg::Poisson);
            list.push("--arrivals=poisson".to_owned());
        }
    }

    /// Its agents are on this machine, and gone with it.
    pub fn is_here(&self) -> bool {
        self.local.is_some()
    }
}

/// What the nodes shall send.
pub struct Job {
    /// Understood for one node of many.
    pub settings: Settings,
    /// The run's arguments, as each node will understand them.
    pub list: Vec<String>,
    /// That they name.
    pub files: Bundle,
}

/// How a run goes on without some of its nodes, and how it is shared.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// So many nodes suffice; all if none.
    pub nodes_min: Option<u32>,
    /// How the rate is shared.
    pub weights: Option<WeightsArg>,
    /// What a node that is lost means.
    pub on_loss: OnNodeLossArg,
}

/// A run, understood and ready to be led.
pub struct Plan {
    pub(crate) settings: Settings,
    pub(crate) config: Config,
    pub(crate) hosts: Vec<Host>,
    pub(crate) secret: Secret,
    /// A target of our own, as long as the run.
    _sink: Option<Sink>,
}

impl Plan {
    /// Understands the arguments of a run.
    pub fn new(cluster: &Cluster, args: &LeadArgs, matches: &ArgMatches, seed: u64) -> anyhow::Result<Self> {
        if args.run.tune {
            return Err(LeadError::Tune.into());
        }
        let gathering = Gathering::default();
        let (mut run, mut list) = (args.run.clone(), RunArgs::list(matches));
        cluster.space(&mut run, &mut list);
        let settings = Settings::part(&run, seed, &gathering, &one_of(cluster.hosts.len()))?;
        let job = Job { settings, list, files: gathering.into_bundle() };
        let terms =
            Terms { nodes_min: args.team.min_nodes, weights: args.team.weights, on_loss: args.on_node_loss };
        Self::of(cluster, cluster.hosts.clone(), job, terms)
    }

    /// A run on these of the nodes. Starts the target if it is ours to start.
    pub fn of(cluster: &Cluster, mut hosts: Vec<Host>, job: Job, terms: Terms) -> anyhow::Result<Self> {
        let there = hosts.len();
        if let Some(wanted) = terms.nodes_min.filter(|&wanted| wanted as usize > there) {
            return Err(LeadError::MinNodes { wanted, there }.into());
        }
        if terms.weights == Some(WeightsArg::Equal) {
            hosts.iter_mut().for_each(|host| host.weight = 1);
        }
        let Job { settings, mut list, files } = job;
        if terms.on_loss == OnNodeLossArg::Rebalance && settings.peak_rate_of_whole().is_none() {
            return Err(LeadError::NoRate.into());
        }
        let mut sink = None;
        if let Some((_, places)) = &cluster.local {
            // CPUs are the agents' own affair here.
            list.retain(|arg| !arg.starts_with("--cores="));
            if settings.built_in_sink {
                let started = start_sink(settings.plan.connections * there as u32, places.sink.clone())?;
                list.push(format!("--target={}", started.address()));
                sink = Some(started);
            }
        }
        if settings.built_in_sink && sink.is_none() {
            return Err(LeadError::NoTarget.into());
        }
        if files.bytes() > FILES_BYTES_MAX {
            return Err(LeadError::Files { bytes: files.bytes() }.into());
        }
        let task = Task {
            run: RunId(random()),
            preparation: 0,
            args: list,
            files: encode(&files),
            seed: settings.plan.seed,
            index: 0,
            weights: Vec::new(),
        };
        let config = Config {
            nodes: hosts.iter().map(|host| (host.to_string(), wish(host))).collect(),
            task,
            rate_max: settings.peak_rate_of_whole(),
            length: settings.plan.length(),
            warmup: settings.plan.warmup,
            opening: settings.opening_takes().unwrap_or(Nanos::ZERO),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            timeout: settings.plan.timeout,
            nodes_min: terms.nodes_min.map_or(there, |least| least as usize),
            calibrate: terms.weights == Some(WeightsArg::Calibrated),
            on_loss: match terms.on_loss {
                OnNodeLossArg::Fail => OnLoss::Fail,
                OnNodeLossArg::Degrade => OnLoss::Degrade,
                OnNodeLossArg::Rebalance => OnLoss::Rebalance,
            },
        };
        Ok(Self { settings, config, hosts, secret: cluster.secret.clone(), _sink: sink })
    }

    /// What was understood.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// As the hosts file has it.
pub fn wish(host: &Host) -> Wish {
    Wish { weight: host.weight, rate_max: host.max_rps.map(|rate| rate.per_second()) }
}

/// The first of so many nodes that share alike.
pub fn one_of(nodes: usize) -> Place {
    Place { index: 0, weights: vec![1; nodes] }
}

/// Reads a hosts file.
pub fn read_hosts(path: &Path) -> Result<Vec<Host>, LeadError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| LeadError::HostsFile { path: name(), error })?;
    hosts::parse(&text).map_err(|error| LeadError::Hosts { path: name(), error })
}

/// 128 bits that nobody else has.
pub fn random() -> u128 {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the kernel's random numbers are always there");
    u128::from_le_bytes(bytes)
}
