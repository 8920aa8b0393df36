//! `coordinator sweep`: the blaster's sweep, each trial of which is a run of many nodes.
//!
//! The search knows nothing of nodes. A trial that says more of a node than of the target is done anew on other terms: without a node
//! that was lost for good, and with less for one that was at its own limit, as long as the others can take the rest.

use std::error::Error;
use std::path::PathBuf;

use blaster::cli::RunArgs;
use blaster::files::{Bundle, Gathering};
use blaster::run::{Observer, Watch};
use blaster::settings::Settings;
use blaster::sweep::live::Live;
use blaster::sweep::trial::{Asked, Load, TrialError, Trials, settings, trial_seed};
use blaster_core::plan::rate::Rate;
use blaster_core::report::Report;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::PlanFacts;
use blaster_core::report::nodes::{Node, NodeState};
use blaster_core::report::units::rate;
use blaster_core::report::verdict::{Limiter, Status};
use blaster_core::time::Nanos;
use clap::ValueEnum;
use coordinator_protocol::leader::{Failure, Leader};
use tokio::runtime::Runtime;

use crate::cli::{OnNodeLossArg, TeamArgs, WeightsArg};
use crate::gather::Gatherer;
use crate::hosts::Host;
use crate::lead::{Onlooker, lead};
use crate::plan::{Cluster, Job, LeadError, Plan, Terms, one_of};

/// Trials of a load that are done anew for other reasons than the target.
const AGAIN_MAX: u32 = 4;

/// A node that took no part in so many trials one after another is asked no more: to wait for it takes seconds.
const MISSED_MAX: u32 = 2;

/// Of what a node sent at its limit, what it is given from then on.
const SPARED: f64 = 0.9;

/// Trials on many nodes.
pub struct OverNodes<'a> {
    cluster: &'a Cluster,
    runtime: &'a Runtime,
    nodes_min: Option<u32>,
    weights: Option<WeightsArg>,
    /// As they were typed.
    nodes: String,
    members: Vec<Member>,
    args: RunArgs,
    list: Vec<String>,
    files: Bundle,
    seed: u64,
}

/// A node, and what is known of it.
#[derive(Clone, Debug)]
struct Member {
    host: Host,
    /// Trials one after another that it took no part in.
    missed: u32,
    /// It takes no part any more.
    is_gone: bool,
    /// What it can send of these requests, once it was at its limit.
    most: Option<f64>,
}

impl<'a> OverNodes<'a> {
    /// On these nodes, of which so many must be there at first.
    pub fn new(cluster: &'a Cluster, runtime: &'a Runtime, team: &TeamArgs) -> Result<Self, LeadError> {
        let &TeamArgs { min_nodes: nodes_min, weights, .. } = team;
        let there = cluster.hosts().len();
        if let Some(wanted) = nodes_min.filter(|&wanted| wanted as usize > there) {
            return Err(LeadError::MinNodes { wanted, there });
        }
        let member = |host: &Host| Member { host: host.clone(), missed: 0, is_gone: false, most: None };
        Ok(Self {
            cluster,
            runtime,
            nodes_min,
            weights,
            nodes: typed(team),
            members: cluster.hosts().iter().map(member).collect(),
            args: RunArgs::default(),
            list: Vec::new(),
            files: Bundle::default(),
            seed: 0,
        })
    }

    /// The most that the hosts file lets all of them send together; none if that is not bounded.
    pub fn rate_max(&self) -> Option<f64> {
        self.members.iter().map(|member| Some(member.host.max_rps?.per_second())).sum()
    }

    /// One trial, as it comes out.
    fn once(
        &self,
        hosts: Vec<Host>,
        load: &Load,
        index: u64,
        live: &mut Live,
    ) -> Result<(Report, Option<Failure>), TrialError> {
        let cannot = |error: &dyn std::fmt::Display| TrialError::Impossible(error.to_string());
        let settings = settings(&self.args, &self.files, load, self.seed, index, &one_of(hosts.len()))
            .map_err(|error| cannot(&error))?;
        let list = trial_list(&self.list, load, trial_seed(self.seed, index));
        let job = Job { settings, list, files: self.files.clone() };
        // Later ones go on with whatever is left.
        let nodes_min = if index == 0 { self.nodes_min } else { Some(1) };
        let terms = Terms { nodes_min, weights: self.weights, on_loss: OnNodeLossArg::Degrade };
        let plan =
            Plan::of(self.cluster, hosts, job, terms).map_err(|error| cannot(&format!("{error:#}")))?;
        let led = self.runtime.block_on(lead(plan, &mut Watching(live)));
        led.map_err(|error| match error.downcast_ref() {
            Some(LeadError::Failed(Failure::Interrupted)) => TrialError::Interrupted,
            Some(LeadError::Failed(Failure::TooMuch(_))) => cannot(&error),
            _ => TrialError::Elsewhere(format!("{error:#}")),
        })
    }
}

impl Trials for OverNodes<'_> {
    fn tool(&self) -> &'static str {
        "coordinator"
    }

    fn command(&self) -> String {
        format!("coordinator sweep {}", self.nodes)
    }

    fn prepare(&mut self, asked: &Asked<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let gathering = Gathering::default();
        let settings = Settings::part(asked.args, asked.seed, &gathering, &one_of(self.members.len()))?;
        if settings.built_in_sink && !self.cluster.is_here() {
            return Err(LeadError::NoTarget.into());
        }
        (self.args, self.list, self.seed) = (asked.args.clone(), asked.list.clone(), asked.seed);
        self.cluster.space(&mut self.args, &mut self.list);
        self.files = gathering.into_bundle();
        Ok(())
    }

    fn run(&mut self, load: &Load, index: u64, live: &mut Live) -> Result<Report, TrialError> {
        let peak = peak(load);
        for again in 0.. {
            let hosts = shares(&self.members, peak);
            if hosts.is_empty() {
                return Err(TrialError::Impossible("no node is left".to_owned()));
            }
            let (report, _) = self.once(hosts, load, index, live)?;
            if live.is_interrupted() {
                return Err(TrialError::Interrupted);
            }
            let why = learn(&mut self.members, &report.nodes, peak, report.duration_s);
            why.iter().for_each(|line| live.tell(line));
            if why.is_empty() || again == AGAIN_MAX {
                return Ok(report);
            }
        }
        unreachable!("the loop ends with a report")
    }
}

/// The nodes as they were typed, for a shell.
fn typed(team: &TeamArgs) -> String {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.display().to_string()));
    let weights = team.weights.and_then(|weights| weights.to_possible_value());
    let flags = [
        ("--local", team.local.map(|count| count.to_string())),
        ("--nodes", path(&team.nodes.nodes)),
        ("--secret", path(&team.nodes.secret)),
        ("--min-nodes", team.min_nodes.map(|count| count.to_string())),
        ("--weights", weights.map(|weights| weights.get_name().to_owned())),
    ];
    let given = flags.into_iter().filter_map(|(flag, value)| Some(format!("{flag} {}", value?)));
    given.collect::<Vec<_>>().join(" ")
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    if word.chars().all(|c| c.is_alphanumeric() || "/._-+:@,=".contains(c)) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The highest rate of a load.
fn peak(load: &Load) -> f64 {
    load.stages.iter().flat_map(|stages| &stages.0).map(|stage| stage.to).fold(load.rate, f64::max)
}

/// The nodes for a load: within what each can send, if together they can send it. If not, what they do send is what says so.
fn shares(members: &[Member], peak: f64) -> Vec<Host> {
    let there = || members.iter().filter(|member| !member.is_gone);
    let suffice = room(members) >= peak;
    let share = |member: &Member| {
        let mut host = member.host.clone();
        if let Some(most) = member.most.filter(|_| suffice).and_then(|most| Rate::new(most).ok()) {
            let given = host.max_rps.filter(|given| given.per_second() < most.per_second());
            host.max_rps = Some(given.unwrap_or(most));
        }
        host
    };
    there().map(share).collect()
}

/// What all nodes can send together, as far as is known.
fn room(members: &[Member]) -> f64 {
    let there = members.iter().filter(|member| !member.is_gone);
    there
        .map(|member| {
            let given = member.host.max_rps.map_or(f64::INFINITY, |rate| rate.per_second());
            given.min(member.most.unwrap_or(f64::INFINITY))
        })
        .sum()
}

/// Takes in what a trial says of its nodes. The lines are why it must be done anew; none if it need not be.
fn learn(members: &mut [Member], nodes: &[Node], peak: f64, duration_s: f64) -> Vec<String> {
    let mut why = Vec::new();
    let mut saturated = Vec::new();
    for node in nodes {
        let Some(index) = members.iter().position(|member| member.host.to_string() == node.name) else {
            continue;
        };
        let member = &mut members[index];
        let cause = node.cause.as_deref().unwrap_or("nobody knows why");
        match node.state {
            NodeState::Out => {
                member.missed += 1;
                member.is_gone = member.missed >= MISSED_MAX;
            }
            NodeState::Lost => {
                member.is_gone = true;
                why.push(format!("{} was lost ({cause}): once more, and on, without it", node.name));
            }
            // It is there again; or it was we who were not.
            NodeState::Fetched => {
                member.missed += 1;
                member.is_gone = member.missed >= MISSED_MAX;
                let how = if member.is_gone { "once more, and on, without it" } else { "once more" };
                why.push(format!("{} was lost for a while ({cause}): {how}", node.name));
            }
            NodeState::Done => {
                member.missed = 0;
                let verdict = node.verdict.as_ref();
                if verdict.is_some_and(|verdict| {
                    verdict.status == Status::ClientLimited && verdict.limiter == Limiter::Client
                }) {
                    saturated.push((index, node.requests.sent as f64 / duration_s.max(f64::MIN_POSITIVE)));
                }
            }
        }
    }
    for &(index, sent) in &saturated {
        let most = sent * SPARED;
        members[index].most = Some(members[index].most.map_or(most, |before| before.min(most)));
    }
    // Where the others cannot take the rest, another try would say the same.
    if !saturated.is_empty() && room(members) >= peak {
        why.extend(saturated.iter().map(|&(index, sent)| {
            let name = &members[index].host;
            format!("{name} was at its limit with {} req/s: once more, and on, with less of it", rate(sent))
        }));
    }
    why
}

/// Arguments of a trial: what differs from trial to trial is the load's.
fn trial_list(list: &[String], load: &Load, seed: u64) -> Vec<String> {
    const OF_LOAD: [&str; 6] =
        ["--rps=", "--duration=", "--stages=", "--warmup=", "--connections=", "--seed="];
    let is_of_load = |arg: &&String| OF_LOAD.iter().any(|flag| arg.starts_with(flag));
    let connections = list.iter().find(|arg| arg.starts_with("--connections=")).cloned();
    let mut args: Vec<String> = list.iter().filter(|arg| !is_of_load(arg)).cloned().collect();
    args.push(format!("--rps={}", load.rate));
    args.push(match &load.stages {
        Some(stages) => format!("--stages={stages}"),
        None => format!("--duration={}ns", load.length.0),
    });
    args.push(format!("--warmup={}ns", load.warmup.0));
    args.extend(load.connections.map(|count| format!("--connections={count}")).or(connections));
    args.push(format!("--seed={seed}"));
    args
}

/// A sweep's watch, as a run on many nodes wants it.
struct Watching<'a>(&'a mut Live);

impl Onlooker for Watching<'_> {
    fn say(&mut self, line: &str) {
        Watch::say(self.0, line);
    }

    fn stopping(&mut self, _stops: u32) {}

    fn starting(&mut self, facts: &PlanFacts, _start: Nanos, _measured_from_s: f64) {
        self.0.starting(facts);
    }

    fn interval(&mut self, interval: &FinishedInterval) {
        Observer::interval(self.0, interval);
    }

    fn show(&mut self, _leader: &Leader, _gatherer: &Gatherer, _now: Nanos) {}

    fn stops(&mut self) -> u32 {
        Watch::stops(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(most: &[Option<f64>]) -> Vec<Member> {
        let member = |(index, &most): (usize, &Option<f64>)| Member {
            host: Host { host: format!("load-{index}"), port: 7400, weight: 1, max_rps: None },
            missed: 0,
            is_gone: false,
            most,
        };
        most.iter().enumerate().map(member).collect()
    }

    fn bounds(hosts: &[Host]) -> Vec<Option<f64>> {
        hosts.iter().map(|host| host.max_rps.map(Rate::per_second)).collect()
    }

    #[test]
    fn a_saturated_node_gets_less_while_the_others_can_take_the_rest() {
        let members = members(&[Some(900.0), None]);
        assert_eq!(bounds(&shares(&members, 5_000.0)), [Some(900.0), None]);
    }

    #[test]
    fn where_all_are_saturated_the_trial_says_so_itself() {
        let members = members(&[Some(900.0), Some(1_000.0)]);
        assert_eq!(bounds(&shares(&members, 1_900.0)), [Some(900.0), Some(1_000.0)]);
        assert_eq!(bounds(&shares(&members, 1_901.0)), [None, None]);
    }

    #[test]
    fn one_that_is_gone_is_no_room() {
        let mut members = members(&[None, Some(1_000.0)]);
        members[0].is_gone = true;
        assert_eq!(bounds(&shares(&members, 500.0)), [Some(1_000.0)]);
        assert_eq!(bounds(&shares(&members, 1_500.0)), [None]);
    }

    #[test]
    fn a_trial_is_the_sweeps_arguments_at_its_own_load() {
        let list = ["--target=a:1", "--connections=8", "--duration=5s", "--preset=events", "--seed=3"]
            .map(str::to_owned);
        let mut load = Load {
            rate: 1234.5,
            stages: None,
            warmup: Nanos::from_millis(500),
            length: Nanos::from_secs(2),
            connections: None,
        };
        let args = RunArgs::from_list(&trial_list(&list, &load, 9)).unwrap();
        assert_eq!((args.duration, args.warmup), (Some(Nanos::from_secs(2)), Some(Nanos::from_millis(500))));
        assert_eq!(
            (args.connections, args.seed, args.start_rate()),
            (Some(8), Some(9), Some(Rate::new(1234.5).unwrap()))
        );
        load.stages = Some("1s:=20k,2s:0".parse().unwrap());
        load.connections = Some(64);
        let args = RunArgs::from_list(&trial_list(&list, &load, 9)).unwrap();
        assert_eq!((args.stages, args.duration, args.connections), (load.stages.clone(), None, Some(64)));
        assert_eq!(peak(&load), 20_000.0);
    }
}
