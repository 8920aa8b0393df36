//! `coordinator run`: leads a run from its arguments to its report.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use blaster::cli::RunArgs;
use blaster::files::Gathering;
use blaster::results::Results;
use blaster::run::{start_sink, timestamp};
use blaster::settings::{Place, Settings};
use blaster_core::load::worker::INTERVAL;
use blaster_core::report::Report;
use blaster_core::report::facts::RunFacts;
use blaster_core::report::nodes::{Clock, HandedOver, Node, NodeState};
use blaster_core::time::Nanos;
use blaster_ring::system;
use clap::ArgMatches;
use coordinator_protocol::leader::{self, Act, Config, Failure, Handed, Leader, OnLoss, State};
use coordinator_protocol::message::{First, RunId, Task};
use coordinator_protocol::shares::Wish;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::cli::{LeadArgs, OnNodeLossArg, WeightsArg};
use crate::facts::{NodeFacts, cores_of, environment_of, pack, plan_of, unpack};
use crate::gather::Gatherer;
use crate::hosts::{self, Host};
use crate::local::{Local, Places};
use crate::nodes::{Nodes, Word};
use crate::screen::Screen;
use crate::secret::Secret;

/// Most bytes of files that a run brings along.
const FILES_BYTES_MAX: usize = 16 << 20;

/// A node has a shard a CPU at most.
const SHARDS_MAX: u32 = 4096;

/// No node is heard of so long after the end of what it waits for.
const OVERTIME_MAX: Nanos = Nanos::from_secs(60);

/// A lost node's intervals are waited for so long; what comes later stands in a later row.
const INTERVALS_WAIT: Nanos = Nanos::from_secs(10);

/// What cannot be led as asked.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// Neither nodes nor `--local`.
    #[error("where to? name the nodes with --nodes hosts.txt, or try it on this machine with --local 2")]
    NoNodes,
    /// No hosts file.
    #[error("cannot read {path}: {error}")]
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
    /// It failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// A run, understood and ready to be led.
pub struct Plan {
    settings: Settings,
    config: Config,
    hosts: Vec<Host>,
    secret: Secret,
    /// Agents and a target of our own, as long as the run.
    _local: Option<Local>,
    _sink: Option<blaster_sink::Sink>,
}

impl Plan {
    /// Understands the arguments, and starts what is local.
    pub fn new(args: &LeadArgs, matches: &ArgMatches, seed: u64) -> anyhow::Result<Self> {
        let (hosts, secret, local) = match args.local {
            Some(count) => {
                let with_sink = args.run.urls.is_empty() && args.run.targets.is_empty();
                let cpus = args.run.cores.as_ref().map_or_else(system::allowed_cpus, |list| list.0.clone());
                let places = Places::share(&cpus, count as usize, with_sink);
                let local = Local::start(&places)?;
                (local.hosts().to_vec(), local.secret().clone(), Some((local, places.sink, with_sink)))
            }
            None => {
                let path = args.nodes.nodes.as_ref().ok_or(LeadError::NoNodes)?;
                let secret = Secret::read(&Secret::path(args.nodes.secret.as_deref()))?;
                (read_hosts(path, args.weights)?, secret, None)
            }
        };
        if let Some(wanted) = args.min_nodes.filter(|&wanted| wanted as usize > hosts.len()) {
            return Err(LeadError::MinNodes { wanted, there: hosts.len() }.into());
        }
        let gathering = Gathering::default();
        let place = Place { index: 0, weights: vec![1; hosts.len()] };
        let settings = Settings::part(&args.run, seed, &gathering, &place)?;
        let connections = settings.plan.connections * hosts.len() as u32;
        let mut list = RunArgs::list(matches);
        let (local, sink) = match local {
            Some((local, cpus, true)) => {
                let sink = start_sink(connections, cpus)?;
                list.push(format!("--target={}", sink.address()));
                (Some(local), Some(sink))
            }
            Some((local, _, false)) => (Some(local), None),
            None => (None, None),
        };
        if settings.built_in_sink && sink.is_none() {
            return Err(LeadError::NoTarget.into());
        }
        if local.is_some() {
            // CPUs are the agents' own affair here.
            list.retain(|arg| !arg.starts_with("--cores="));
        }
        let files = gathering.into_bundle();
        if files.bytes() > FILES_BYTES_MAX {
            return Err(LeadError::Files { bytes: files.bytes() }.into());
        }
        let run = RunId(random());
        let task = Task {
            run,
            args: list,
            files: pack(&files),
            seed: settings.plan.seed,
            index: 0,
            weights: Vec::new(),
        };
        let wish =
            |host: &Host| Wish { weight: host.weight, rate_max: host.max_rps.map(|rate| rate.per_second()) };
        let config = Config {
            nodes: hosts.iter().map(|host| (host.to_string(), wish(host))).collect(),
            task,
            rate_max: settings.peak_rate_of_whole(),
            length: settings.plan.length(),
            timeout: settings.plan.timeout,
            opening: settings.opening_takes().unwrap_or(Nanos::ZERO),
            nodes_min: args.min_nodes.map_or(hosts.len(), |least| least as usize),
            calibrate: args.weights == Some(WeightsArg::Calibrated),
            on_loss: match args.on_node_loss {
                OnNodeLossArg::Fail => OnLoss::Fail,
                OnNodeLossArg::Degrade => OnLoss::Degrade,
                OnNodeLossArg::Rebalance => OnLoss::Rebalance,
            },
        };
        Ok(Self { settings, config, hosts, secret, _local: local, _sink: sink })
    }

    /// What was understood.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Leads it. The failure beside a report is what makes it worth less.
    pub async fn lead(self, results: Results) -> (anyhow::Result<(Report, Option<Failure>)>, Results) {
        let screen = Screen::new(&self.settings, results);
        let nodes = match Nodes::new(self.hosts.clone(), &self.secret) {
            Ok(nodes) => nodes,
            Err(error) => {
                let error = anyhow::Error::new(error).context("cannot open a port to reach the nodes");
                return (Err(error), screen.finish());
            }
        };
        let mut running = Led::new(self, nodes, screen);
        let outcome = running.go().await;
        let Led { screen, nodes, .. } = running;
        nodes.close().await;
        (outcome, screen.finish())
    }
}

/// A run that is being led.
struct Led {
    plan: Plan,
    leader: Leader,
    nodes: Nodes,
    screen: Screen,
    gatherer: Option<Gatherer>,
    /// When the run began, for people.
    started_at: SystemTime,
    /// When it was stopped.
    stopped: Option<Nanos>,
    /// Of every node: whether its intervals are waited for.
    ended: Vec<bool>,
}

impl Led {
    fn new(plan: Plan, nodes: Nodes, screen: Screen) -> Self {
        let leader = Leader::new(plan.config.clone(), system::monotonic());
        let ended = vec![false; plan.hosts.len()];
        Self {
            plan,
            leader,
            nodes,
            screen,
            gatherer: None,
            started_at: SystemTime::now(),
            stopped: None,
            ended,
        }
    }

    async fn go(&mut self) -> anyhow::Result<(Report, Option<Failure>)> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot take over signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot take over signals")?;
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.act()?;
        while !self.leader.is_over() {
            let timeout = self.leader.timeout();
            tokio::select! {
                biased;
                _ = interrupt.recv() => self.stop(),
                _ = terminate.recv() => self.stop(),
                (node, word) = self.nodes.next() => self.hear(node, word),
                () = until(timeout) => self.leader.handle_timeout(system::monotonic()),
                _ = second.tick() => self.show(),
            }
            self.act()?;
        }
        match (self.gatherer.take(), self.leader.failure()) {
            (Some(gatherer), failure) if self.leader.start().is_some() => {
                let failure = failure.cloned();
                Ok((self.report(gatherer), failure))
            }
            (_, Some(failure)) => Err(LeadError::Failed(failure.clone()).into()),
            (_, None) => unreachable!("a run that did not start has failed"),
        }
    }

    fn stop(&mut self) {
        self.stopped.get_or_insert_with(system::monotonic);
        self.leader.stop();
        self.screen.stopping(self.leader.stops());
    }

    fn hear(&mut self, node: usize, word: Word) {
        let now = system::monotonic();
        match word {
            Word::Connected => self.leader.handle_connected(node, now),
            Word::Closed(why) => self.leader.handle_closed(node, now, &why),
            Word::Message(message) => self.leader.handle_message(node, now, *message),
            Word::Datagram(datagram, at) => self.leader.handle_datagram(node, at, datagram),
        }
    }

    fn act(&mut self) -> anyhow::Result<()> {
        while let Some(act) = self.leader.poll() {
            match act {
                Act::Connect(node) => self.nodes.connect(node),
                Act::Say(node, message) => self.nodes.say(node, &message),
                Act::Ping(node) => self.nodes.ping(node),
                Act::Merge(node, delta) => {
                    let gatherer = self.gatherer.as_mut().expect("nothing is seen before the start");
                    if let Err(error) = gatherer.merge(node, &delta) {
                        self.leader.refuse(node, system::monotonic(), &error.to_string());
                    }
                }
                Act::Starting(start) => self.begin(start)?,
                Act::Log(line) => self.screen.say(&line),
            }
        }
        self.follow();
        Ok(())
    }

    /// All nodes are ready, and will start.
    fn begin(&mut self, start: Nanos) -> anyhow::Result<()> {
        let ahead = Duration::from_nanos(start.saturating_sub(system::monotonic()).0);
        self.started_at = SystemTime::now() + ahead + nanos(self.plan.settings.plan.warmup);
        let ready: Vec<_> =
            self.leader.nodes().iter().map(|node| node.ready().filter(|_| node.takes_part())).collect();
        let first = ready.iter().flatten().next().expect("a run has nodes");
        let (classes, mut told) = (first.classes.clone(), Vec::new());
        for (node, ready) in self.leader.nodes().iter().zip(&ready) {
            let Some(ready) = ready else { continue };
            if !(1..=SHARDS_MAX).contains(&ready.shards) {
                anyhow::bail!(
                    "{} says it has {} shards: run the same version everywhere",
                    node.name(),
                    ready.shards
                );
            }
            if ready.classes != classes {
                anyhow::bail!(
                    "{} sends other kinds of requests than the others: run the same version everywhere",
                    node.name()
                );
            }
            for remark in &ready.remarks {
                if !told.contains(remark) {
                    self.screen.say(&format!("{}: {remark}", node.name()));
                    told.push(remark.clone());
                }
            }
        }
        let shards: Vec<u32> = ready.iter().map(|ready| ready.map_or(0, |ready| ready.shards)).collect();
        let plan = &self.plan.settings.plan;
        let intervals_max = (plan.length() + plan.timeout + OVERTIME_MAX).0.div_ceil(INTERVAL.0) as u32;
        self.gatherer = Some(Gatherer::new(classes, &shards, intervals_max));
        let facts = self.plan_facts();
        let measured_from = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.screen.starting(&facts, start, measured_from);
        Ok(())
    }

    /// Finishes rows as nodes end or are given up.
    fn follow(&mut self) {
        let Some(gatherer) = &mut self.gatherer else { return };
        let now = system::monotonic();
        for (index, node) in self.leader.nodes().iter().enumerate() {
            if !node.takes_part() || self.ended[index] {
                continue;
            }
            if *node.state() == State::Ended {
                self.ended[index] = true;
                gatherer.end(index);
            } else if node.lost().is_some_and(|(at, _)| now >= at + INTERVALS_WAIT) {
                gatherer.give_up(index);
            }
        }
        for interval in gatherer.take_finished_intervals() {
            self.screen.interval(&interval);
        }
    }

    fn show(&mut self) {
        if let Some(gatherer) = &self.gatherer {
            self.screen.show(&self.leader, gatherer, system::monotonic());
        }
    }

    fn plan_facts(&self) -> blaster_core::report::facts::PlanFacts {
        let facts = self.node_facts();
        plan_of(&facts.iter().flatten().map(|facts| &facts.plan).collect::<Vec<_>>())
    }

    /// What each node said of itself; none of those without a part.
    fn node_facts(&self) -> Vec<Option<NodeFacts>> {
        let of = |node: &leader::Node| unpack(&node.ready().filter(|_| node.takes_part())?.facts);
        self.leader.nodes().iter().map(of).collect()
    }

    fn report(&mut self, mut gatherer: Gatherer) -> Report {
        for index in 0..self.ended.len() {
            if self.leader.nodes()[index].takes_part() && !self.ended[index] {
                gatherer.end(index);
            }
        }
        for interval in gatherer.take_finished_intervals() {
            self.screen.interval(&interval);
        }
        let start = self.leader.start().expect("it began");
        let facts = self.node_facts();
        let reports: Vec<Option<Report>> =
            self.leader.nodes().iter().map(|node| unpack(node.ended()?.report.as_ref().ok()?)).collect();
        let rows: Vec<Node> = (0..facts.len())
            .map(|index| self.row(index, start, &gatherer, facts[index].as_ref(), reports[index].as_ref()))
            .collect();
        let gaps = self.gaps(&gatherer);
        let run_facts = self.run_facts(start, &facts, &reports);
        let mut report = Report::build(run_facts, gatherer.into_collector());
        for (second, row) in report.intervals.iter_mut().enumerate() {
            row.missing = gaps.iter().map(|gap| gap.missing_in(second)).sum();
        }
        "coordinator".clone_into(&mut report.tool.name);
        report.with_nodes(rows)
    }

    /// What nobody sent, with nodes that were lost.
    fn gaps(&self, gatherer: &Gatherer) -> Vec<Gap> {
        let warmup = self.plan.settings.plan.warmup;
        let measured_s = |moment: Nanos| moment.saturating_sub(warmup).as_secs_f64();
        let mut gaps = Vec::new();
        for (index, node) in self.leader.nodes().iter().enumerate().filter(|(_, node)| node.lost().is_some())
        {
            let said = gatherer.tally(index).intervals();
            // One that could tell its end told of the interval it stopped in; of one that could not, that is the first it did not tell of.
            let stopped = if *node.state() == State::Ended { said.saturating_sub(1) } else { said };
            let from_s = |held_from: Nanos| f64::from(stopped).max(measured_s(held_from));
            gaps.extend(node.handed().iter().map(|part| Gap {
                share: part.share,
                from_s: from_s(part.held_from),
                until_s: part.until.map_or(f64::INFINITY, |(_, from)| measured_s(from)),
            }));
            gaps.extend(node.unhanded().map(|(share, held_from)| Gap {
                share,
                from_s: from_s(held_from),
                until_s: f64::INFINITY,
            }));
        }
        gaps
    }

    fn share(&self, index: usize) -> f64 {
        let nodes = self.leader.nodes();
        let whole: u64 =
            nodes.iter().filter(|node| node.takes_part()).map(|node| u64::from(node.weight())).sum();
        if nodes[index].takes_part() { f64::from(nodes[index].weight()) / whole as f64 } else { 0.0 }
    }

    fn handed_over(&self, part: &Handed) -> Option<HandedOver> {
        let (taker, from) = part.until?;
        let to = self.leader.nodes()[taker].name().to_owned();
        Some(HandedOver { to, share: part.share, from_s: from.as_secs_f64() })
    }

    fn run_facts(&self, start: Nanos, facts: &[Option<NodeFacts>], reports: &[Option<Report>]) -> RunFacts {
        let plan = &self.plan.settings.plan;
        let there = || facts.iter().flatten();
        let said = || reports.iter().flatten();
        let shards = |index: usize| self.leader.nodes()[index].ready().map_or(0, |ready| ready.shards);
        let lost = |index: usize| self.leader.nodes()[index].lost().is_some();
        // A node that another than we stopped.
        let stopped_early = reports
            .iter()
            .enumerate()
            .filter(|(index, _)| !lost(*index))
            .filter_map(|(_, report)| report.as_ref().filter(|report| report.interrupted))
            .map(|report| Nanos::from_secs_f64(report.duration_s))
            .min();
        let stopped = self.stopped.map(|at| at.saturating_sub(start + plan.warmup));
        let duration = [stopped, stopped_early].into_iter().flatten().min();
        RunFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: timestamp(self.started_at),
            duration: duration.map_or(plan.duration, |duration| duration.min(plan.duration)),
            interrupted: duration.is_some(),
            tags: plan.tags.iter().cloned().collect(),
            seed: plan.seed,
            plan: plan_of(&there().map(|facts| &facts.plan).collect::<Vec<_>>()),
            environment: environment_of(&there().map(|facts| &facts.environment).collect::<Vec<_>>()),
            opening: said().filter_map(|report| report.connections.opening_ns).max().map(Nanos),
            cores: (0..facts.len())
                .filter(|&index| facts[index].is_some())
                .flat_map(|index| cores_of(reports[index].as_ref(), shards(index)))
                .collect(),
            slos: plan.slos.clone(),
            steal: said().filter_map(|report| report.generator.steal).reduce(f64::max),
            retransmits: said()
                .filter_map(|report| report.generator.retransmits)
                .reduce(|sum, more| sum + more),
            wire_unavailable: said().find_map(|report| report.generator.wire.unavailable.clone()),
            ..RunFacts::default()
        }
    }

    fn row(
        &self,
        index: usize,
        start: Nanos,
        gatherer: &Gatherer,
        facts: Option<&NodeFacts>,
        report: Option<&Report>,
    ) -> Node {
        let node = &self.leader.nodes()[index];
        let offset = node.offset_at_start().or_else(|| node.offset(start));
        let (state, cause) = match (node.state(), node.lost()) {
            (State::Out(why), _) => (NodeState::Out, Some(why.clone())),
            (State::Ended, Some((_, why))) => (NodeState::Fetched, Some(why.to_owned())),
            (_, Some((_, why))) => (NodeState::Lost, Some(why.to_owned())),
            (_, None) => (NodeState::Done, node.ended().and_then(|end| end.report.as_ref().err().cloned())),
        };
        let first = node.ended().map_or_else(First::default, |end| end.first);
        let from_start = |at: Option<Nanos>| Some(offset?.ours(at?).0 as i64 - start.0 as i64);
        let tally = gatherer.tally(index);
        Node {
            name: node.name().to_owned(),
            state,
            cause,
            lost_at_s: node.lost().map(|(at, _)| at.saturating_sub(start).as_secs_f64()),
            handed_over: node.handed().iter().filter_map(|part| self.handed_over(part)).collect(),
            version: node.status().map(|status| status.version.clone()),
            share: self.share(index),
            measured_rps: node.measured(),
            requests: tally.requests.clone(),
            events: tally.events.clone(),
            clock: offset.map(|offset| Clock {
                ahead_ns: offset.ahead_ns,
                bound_ns: offset.bound.0,
                drift_ppb: node.drift_at_start_ppb(),
            }),
            first_due_ns: from_start(first.due),
            first_sent_ns: from_start(first.sent),
            response_time_ns: report.map(|report| report.response_time_ns.clone()),
            verdict: report.map(|report| report.verdict.clone()),
            environment: facts.map(|facts| facts.environment.clone()),
            generator: report.map(|report| report.generator.clone()),
        }
    }
}

/// A share of the run that nobody sent, in seconds of the measured part.
struct Gap {
    share: f64,
    from_s: f64,
    until_s: f64,
}

impl Gap {
    /// What it is of that second.
    fn missing_in(&self, second: usize) -> f64 {
        let begin_s = second as f64;
        self.share * (self.until_s.min(begin_s + 1.0) - self.from_s.max(begin_s)).max(0.0)
    }
}

/// Reads a hosts file; equal shares if so wished.
pub fn read_hosts(path: &std::path::Path, weights: Option<WeightsArg>) -> Result<Vec<Host>, LeadError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| LeadError::HostsFile { path: name(), error })?;
    let mut hosts = hosts::parse(&text).map_err(|error| LeadError::Hosts { path: name(), error })?;
    if weights == Some(WeightsArg::Equal) {
        hosts.iter_mut().for_each(|host| host.weight = 1);
    }
    Ok(hosts)
}

async fn until(moment: Option<Nanos>) {
    match moment {
        Some(moment) => sleep(nanos(moment.saturating_sub(system::monotonic()))).await,
        None => std::future::pending().await,
    }
}

fn nanos(time: Nanos) -> Duration {
    Duration::from_nanos(time.0)
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the kernel's random numbers are always there");
    u128::from_le_bytes(bytes)
}
