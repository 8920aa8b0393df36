//! What was typed becomes what is to be done: a [`Settings`] that cannot be wrong, or a usage error.

use std::path::PathBuf;

use blaster_core::plan::lanes::{Lanes, share_out};
use blaster_core::plan::rate::{Curve, Rate, RateSpec};
use blaster_core::plan::statuses::Statuses;
use blaster_core::plan::target::Target;
use blaster_core::plan::{Arrivals, LayoutWish, Load, Plan, layout};
use blaster_core::time::Nanos;
use blaster_ring::socket::Congestion;
use payloads::Files;

use crate::cli::{ArrivalsArg, Pipeline, RunArgs};
use crate::files::Disk;
use crate::payload::{Payload, TAPE_MEMORY_DEFAULT, TapeSize};
use crate::sources::SourceIps;

/// A run, ready to be carried out.
#[derive(Debug)]
pub struct Settings {
    /// Everything about load and targets. Without targets on the command line the one here is the built-in sink's, whose port is
    /// filled in once it listens.
    pub plan: Plan,
    /// What goes to each target.
    pub payloads: Vec<Payload>,
    /// How much of it is prepared.
    pub tape: TapeSize,
    /// Statuses that are ok, by target.
    pub expect: Vec<Statuses>,
    /// No target was given: start the built-in sink.
    pub built_in_sink: bool,
    /// `--pipeline auto`, or absent.
    pub depth_is_auto: bool,
    /// `--stages`, as understood.
    pub stages: Option<String>,
    /// `--eps`.
    eps: Option<Rate>,
    /// CPUs asked for.
    pub cores: Option<Vec<usize>>,
    /// `--congestion`.
    pub congestion: Congestion,
    threads: Option<u32>,
    pipeline: Option<u32>,
    /// Connections asked for, of this part.
    connections: Option<u32>,
    /// `--connect-rate` of the whole run.
    connect_rate: Option<Rate>,
    /// `--source-ips`.
    pub source_ips: Option<SourceIps>,
    /// Where results go.
    pub outputs: Outputs,
    /// Let the kernel time some requests.
    pub wire_times: bool,
    /// A client-limited run is no failure.
    pub allow_invalid: bool,
}

/// Which part of a run of several nodes this process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of them it is.
    pub index: usize,
    /// Their shares, in proportion.
    pub weights: Vec<u32>,
}

impl Place {
    /// All of a run.
    pub fn whole() -> Self {
        Self { index: 0, weights: vec![1] }
    }
}

/// Where results go, and what is shown.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// `--json`.
    pub json: Option<PathBuf>,
    /// `--hgrm`.
    pub hgrm: Option<PathBuf>,
    /// `--hlog`.
    pub hlog: Option<PathBuf>,
    /// Only the summary.
    pub quiet: bool,
    /// No live line.
    pub no_progress: bool,
}

const RATE_DEFAULT: f64 = 10_000.0;
const DURATION_DEFAULT: Nanos = Nanos::from_secs(10);
const TIMEOUT_DEFAULT: Nanos = Nanos::from_secs(10);
const CONNECTIONS_DEFAULT: u32 = 64;

/// Where the built-in sink would be; the port is not known before it listens.
const SINK_TARGET: &str = "127.0.0.1:1";

impl Settings {
    /// Understands the arguments of a run on this machine. `seed` is used if none was given.
    pub fn new(args: &RunArgs, seed: u64) -> Result<Self, UsageError> {
        Self::part(args, seed, &Disk, &Place::whole())
    }

    /// Understands the arguments of a run of which this process does the part at `place`; they tell of the whole, and
    /// name files of `files`. Parts of several have Poisson arrivals unless told otherwise: evenly spaced ones add up to evenly
    /// spaced ones only as far as the nodes' clocks agree.
    ///
    /// # Panics
    /// When the place is none of its weights, or one of these is 0.
    pub fn part(args: &RunArgs, seed: u64, files: &dyn Files, place: &Place) -> Result<Self, UsageError> {
        let nodes = place.weights.len();
        let mut targets: Vec<Target> = args.urls.iter().chain(&args.targets).cloned().collect();
        let built_in_sink = targets.is_empty();
        if built_in_sink {
            targets.push(SINK_TARGET.parse().expect("a constant"));
        }
        if args.path.is_some() && targets.iter().any(|target| target.path.is_some()) {
            return Err(UsageError::PathTwice);
        }
        let payloads =
            targets.iter().map(|target| Payload::new(args, target, files)).collect::<Result<Vec<_>, _>>()?;
        let expect = payloads
            .iter()
            .map(|payload| args.expect.clone().map_or_else(|| payload.ok(), Ok))
            .collect::<Result<Vec<_>, _>>()?;
        let outputs = outputs(args)?;
        let arrivals = if nodes > 1 { Arrivals::Poisson } else { Arrivals::Uniform };
        let (load, duration) = load(args, start_rate(args, &payloads)?, arrivals)?;
        let connections = args.connections.unwrap_or(CONNECTIONS_DEFAULT.saturating_mul(nodes as u32));
        if (connections as usize) < targets.len() * nodes {
            return Err(UsageError::FewConnections { connections, targets: targets.len(), nodes });
        }
        let connections = part_of_connections(connections, targets.len() as u32, place);
        let timeout = args.timeout.unwrap_or(TIMEOUT_DEFAULT);
        if timeout == Nanos::ZERO {
            return Err(UsageError::NoTimeout);
        }
        let pipeline = match args.pipeline {
            Some(Pipeline::Depth(depth)) => Some(depth),
            Some(Pipeline::Auto) | None => None,
        };
        Ok(Self {
            plan: Plan {
                load,
                warmup: args.warmup.unwrap_or(Nanos::ZERO),
                duration,
                connections,
                depth: pipeline.unwrap_or(1),
                targets,
                timeout,
                slos: args.slo.iter().flat_map(|slos| slos.0.iter().cloned()).collect(),
                seed: args.seed.unwrap_or(seed),
                tags: args.tags.clone(),
                lanes: Lanes::whole().split(&place.weights).swap_remove(place.index),
            },
            payloads,
            tape: TapeSize {
                requests: args.tape.map(|requests| requests as usize),
                bytes_max: args.tape_memory.unwrap_or(TAPE_MEMORY_DEFAULT),
            },
            congestion: args.congestion.clone().unwrap_or(Congestion::Default),
            expect,
            built_in_sink,
            depth_is_auto: pipeline.is_none(),
            stages: args.stages.as_ref().map(|_| stages_text(args)),
            eps: args.eps,
            cores: args.cores.as_ref().map(|list| list.0.clone()),
            threads: args.threads,
            pipeline,
            connections: args.connections.map(|_| connections),
            connect_rate: args.connect_rate,
            source_ips: args.source_ips.clone(),
            outputs,
            wire_times: !args.no_wire_times,
            allow_invalid: args.allow_invalid,
        })
    }

    /// The highest rate of the whole run, in requests per second; none in closed loop.
    pub fn peak_rate_of_whole(&self) -> Option<f64> {
        match &self.plan.load {
            Load::Open { curve, .. } => Some(curve.peak()),
            Load::Closed => None,
        }
    }

    /// The highest rate of this part, likewise.
    pub fn peak_rate(&self) -> Option<f64> {
        self.peak_rate_of_whole().map(|rate| rate * self.plan.lanes.fraction())
    }

    /// The connections that this part may open a second; none if as many as the target takes.
    pub fn connect_rate(&self) -> Option<f64> {
        self.connect_rate.map(|rate| rate.per_second() * self.plan.lanes.fraction())
    }

    /// How long opening all connections of this part takes at `--connect-rate`; none without it.
    pub fn opening_takes(&self) -> Option<Nanos> {
        Some(Nanos::from_secs_f64(f64::from(self.plan.connections) / self.connect_rate()?))
    }

    /// Repeats what this part sends; the parts of one run differ in it.
    pub fn part_seed(&self) -> u64 {
        let whole = Lanes::whole();
        if self.plan.lanes == whole {
            return self.plan.seed;
        }
        self.plan.seed ^ self.plan.lanes.fingerprint()
    }

    /// Sets the rate of `--eps`, now that it is known how many events the prepared requests carry on average.
    pub fn aim_at_events(&mut self, mean_events: Option<f64>) -> Result<(), UsageError> {
        let (Some(events), Load::Open { arrivals, .. }) = (self.eps, &self.plan.load) else { return Ok(()) };
        let mean = mean_events.ok_or(UsageError::EpsWithoutEvents)?;
        let curve = Curve::constant(Rate::new(events.per_second() / mean)?, self.plan.duration);
        self.plan.load = Load::Open { curve: curve.with_warmup(self.plan.warmup)?, arrivals: *arrivals };
        Ok(())
    }

    /// Decides how many shards drive how deep a pipeline, now that it is known where the targets are.
    pub fn lay_out(&mut self, cpus: u32, target_is_local: bool) -> Result<u32, UsageError> {
        if let Some(threads) = self.threads.filter(|&threads| threads > cpus) {
            return Err(UsageError::ManyThreads { threads, cpus });
        }
        // By default never fewer connections than threads; what was asked for stays as asked.
        let connections =
            self.connections.unwrap_or_else(|| self.plan.connections.max(self.threads.unwrap_or(cpus)));
        let wish = LayoutWish {
            peak: self.peak_rate(),
            cpus,
            target_is_local,
            connections,
            pipeline: self.pipeline,
            threads: self.threads,
        };
        let (shards, depth) = layout(wish);
        // Every shard has connections to every target.
        let shards = shards.min(connections / self.plan.targets.len() as u32).max(1);
        self.plan.connections =
            if self.connections.is_some() { connections } else { self.plan.connections.max(shards) };
        self.plan.depth = depth;
        Ok(shards)
    }
}

/// What cannot be done as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// Two paths.
    #[error("the path is given twice, in the target and with --path: give it once")]
    PathTwice,
    /// Fewer connections than targets.
    #[error(
        "{} need at least {} connections, --connections is {connections}: raise it",
        to_targets(*.nodes, *.targets),
        .nodes * .targets
    )]
    FewConnections {
        /// Asked for.
        connections: u32,
        /// Given.
        targets: usize,
        /// That each connect to all of them.
        nodes: usize,
    },
    /// More threads than CPUs.
    #[error("--threads {threads}: each owns a CPU, and this process may use {cpus}: give at most {cpus}")]
    ManyThreads {
        /// Asked for.
        threads: u32,
        /// Allowed.
        cpus: u32,
    },
    /// `--timeout 0s`.
    #[error("--timeout 0s would give every request up at once: give a time above 0, as in 10s")]
    NoTimeout,
    /// `--duration 0s`.
    #[error("--duration 0s measures nothing: give a time above 0, as in 10s")]
    NoDuration,
    /// `sink --validate` with a profile that takes no events.
    #[error("--validate checks events, and the profile {profile} takes none: use --profile event-api")]
    NothingToValidate {
        /// Asked for.
        profile: blaster_sink::profile::Profile,
    },
    /// More faults than requests.
    #[error(
        "the shares of errors and faults add up to {0:.2} %: at most 100 % of the requests can have one, lower them"
    )]
    FaultsTooMany(f64),
    /// A queue or a record that several threads would each have of their own.
    #[error("{0} is one for the whole sink and wants one thread: give --cores one CPU")]
    OneThread(&'static str),
    /// `--workers` where nothing is served one after another.
    #[error(
        "--workers says how many requests are served at a time, and nothing is: add --service spin:TIME, or --profile high-cpu"
    )]
    WorkersOfNothing,
    /// `--retries` where nothing waits.
    #[error(
        "--retries multiplies the work of requests that wait, and none does: add --service spin:TIME, or --profile metastable"
    )]
    RetriesOfNothing,
    /// `--patience` without `--retries`.
    #[error("--patience says when a request is sent again, and none is: add --retries N")]
    PatienceOfNobody,
    /// `--rps max --stages …`.
    #[error("--rps max is closed loop and knows no stages: give --rps a number, or leave --stages out")]
    MaxWithStages,
    /// `doctor --nodes …`.
    #[error(
        "the nodes of {0} each look at their own machine: ask them with `coordinator doctor --nodes {0}` and the same plan"
    )]
    Nodes(String),
    /// `--rps max --arrivals …`.
    #[error("--rps max is closed loop and has no arrivals to space: leave --arrivals out")]
    MaxWithArrivals,
    /// A rate that is none.
    #[error(transparent)]
    Rate(#[from] blaster_core::plan::rate::RateError),
    /// A payload that is none.
    #[error(transparent)]
    Payload(#[from] payloads::Error),
    /// `--eps` for requests that are not known to carry events.
    #[error("--eps counts events, and these requests carry none that we know of: use --rps")]
    EpsWithoutEvents,
    /// A preset file whose statuses cannot be read.
    #[error("the preset's ok = {ok:?}: {error}")]
    PresetOk {
        /// As it stands there.
        ok: String,
        /// What is wrong with it.
        error: <Statuses as std::str::FromStr>::Err,
    },
    /// `payloads show` of a name and of a body.
    #[error("NAME and --preset, --body or --body-dir both say what to show: leave one out")]
    ShownTwice,
    /// `payloads check` of a file that cannot be read.
    #[error("cannot read {path}: {error}: check the path and its permissions")]
    CheckedFile {
        /// Which.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Two outputs on one stream.
    #[error("two outputs both go to standard output (-): give one of them a file")]
    TwoOnStdout,
}

/// The rate in requests; of `--eps` as many as carry these events.
fn start_rate(args: &RunArgs, payloads: &[Payload]) -> Result<Option<Rate>, UsageError> {
    let Some(events) = args.eps else { return Ok(args.start_rate()) };
    // With --eps all targets get the same payload, so the first one's mean is everybody's.
    let mean = payloads[0].mean_events().ok_or(UsageError::EpsWithoutEvents)?;
    Ok(Some(Rate::new(events.per_second() / mean)?))
}

fn to_targets(nodes: usize, targets: usize) -> String {
    if nodes == 1 {
        format!("{targets} targets")
    } else {
        format!("{nodes} nodes with {targets} targets each")
    }
}

/// Every node has a connection to every target; the rest by weight.
fn part_of_connections(connections: u32, targets: u32, place: &Place) -> u32 {
    let rest = connections - targets * place.weights.len() as u32;
    targets + share_out(rest.into(), &place.weights)[place.index] as u32
}

fn load(
    args: &RunArgs,
    start_rate: Option<Rate>,
    arrivals_default: Arrivals,
) -> Result<(Load, Nanos), UsageError> {
    let warmup = args.warmup.unwrap_or(Nanos::ZERO);
    let duration = args.duration.unwrap_or(DURATION_DEFAULT);
    if duration == Nanos::ZERO {
        return Err(UsageError::NoDuration);
    }
    if args.rps == Some(RateSpec::Max) {
        if args.stages.is_some() {
            return Err(UsageError::MaxWithStages);
        }
        if args.arrivals.is_some() {
            return Err(UsageError::MaxWithArrivals);
        }
        return Ok((Load::Closed, duration));
    }
    let arrivals = match args.arrivals {
        Some(ArrivalsArg::Poisson) => Arrivals::Poisson,
        Some(ArrivalsArg::Uniform) => Arrivals::Uniform,
        None => arrivals_default,
    };
    let curve = match &args.stages {
        Some(stages) => Curve::stages(start_rate, stages)?,
        None => {
            let rate = start_rate.map_or_else(|| Rate::new(RATE_DEFAULT), Ok)?;
            Curve::constant(rate, duration)
        }
    };
    let duration = curve.length();
    Ok((Load::Open { curve: curve.with_warmup(warmup)?, arrivals }, duration))
}

fn outputs(args: &RunArgs) -> Result<Outputs, UsageError> {
    let on_stdout = [&args.json, &args.hgrm, &args.hlog]
        .into_iter()
        .flatten()
        .filter(|path| path.as_os_str() == "-")
        .count();
    if on_stdout > 1 {
        return Err(UsageError::TwoOnStdout);
    }
    Ok(Outputs {
        json: args.json.clone(),
        hgrm: args.hgrm.clone(),
        hlog: args.hlog.clone(),
        quiet: args.quiet,
        no_progress: args.no_progress,
    })
}

fn stages_text(args: &RunArgs) -> String {
    let stages = args.stages.as_ref().expect("the caller has stages");
    let parts: Vec<_> = stages
        .0
        .iter()
        .map(|stage| {
            format!("{}:{}{}", exact(stage.length), if stage.jump { "=" } else { "" }, stage.to)
                .replace(' ', "")
        })
        .collect();
    parts.join(",")
}

/// In the largest unit that leaves a whole number.
fn exact(time: Nanos) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let unit = units.iter().find(|(unit, _)| time.0.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{}ns", time.0), |(unit, name)| format!("{}{name}", time.0 / unit))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;
    use crate::cli::Cli;

    fn part(args: &[&str], index: usize, weights: &[u32]) -> Result<Settings, UsageError> {
        let args = Cli::parse_from(["blaster"].iter().chain(args)).run;
        Settings::part(&args, 42, &Disk, &Place { index, weights: weights.to_vec() })
    }

    #[test]
    fn parts_of_a_run_differ_in_seed_and_numbers_and_have_poisson_arrivals() {
        let parts = [0, 1].map(|index| part(&["a:1"], index, &[3, 1]).unwrap());
        assert_ne!(parts[0].part_seed(), parts[1].part_seed());
        assert_eq!(parts.each_ref().map(|part| part.plan.lanes.nth(0)), [0, 3]);
        assert_eq!(parts.each_ref().map(|part| part.peak_rate()), [Some(7_500.0), Some(2_500.0)]);
        for part in &parts {
            assert!(matches!(part.plan.load, Load::Open { arrivals: Arrivals::Poisson, .. }));
        }
        let whole = part(&["a:1"], 0, &[1]).unwrap();
        assert_eq!((whole.part_seed(), whole.plan.seed), (42, 42));
        assert!(matches!(whole.plan.load, Load::Open { arrivals: Arrivals::Uniform, .. }));
    }

    #[test]
    fn too_few_connections_for_the_nodes_are_told_in_their_number() {
        let error = part(&["-c", "3", "a:1", "b:1"], 0, &[1, 1]).unwrap_err().to_string();
        assert_eq!(
            error,
            "2 nodes with 2 targets each need at least 4 connections, --connections is 3: raise it"
        );
    }

    proptest! {
        #[test]
        fn parts_have_all_connections_of_the_whole(
            weights in prop::collection::vec(1_u32..100, 1..20),
            more in 0_u32..1000,
        ) {
            let connections = weights.len() as u32 + more;
            let flag = connections.to_string();
            let parts = (0..weights.len()).map(|index| part(&["-c", &flag, "a:1"], index, &weights).unwrap());
            prop_assert_eq!(parts.map(|part| part.plan.connections).sum::<u32>(), connections);
        }
    }
}
