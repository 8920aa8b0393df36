//! What was typed. What it means is [`crate::settings`]'s.

use std::net::SocketAddr;
use std::path::PathBuf;

use blaster_core::plan::rate::{Rate, RateError, RateSpec, Stages};
use blaster_core::plan::slo::{Slo, Slos};
use blaster_core::plan::statuses::Statuses;
use blaster_core::plan::target::Target;
use blaster_core::time::Nanos;
use blaster_ring::socket::{self, Congestion};
use blaster_sink::pace::{Faults, Latency, Stall, share, spin};
use blaster_sink::profile::Profile;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use payloads::{Encoding, Mix, Shares};

use crate::sources::SourceIps;

/// Drives an HTTP server at the rate you ask for, and tells the truth about what came back.
#[derive(Debug, Parser)]
#[command(
    name = "blaster",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
        blaster --rps 1000000                      a million requests/s at the built-in sink\n  \
        blaster --rps 50k --target api:3000        events to POST http://api:3000/events\n  \
        blaster --rps 2k http://api:3000/health    plain GETs\n  \
        blaster --eps 50k --batch 10 api:3000      50,000 events/s in batches of 10\n  \
        blaster --stages 30s:10k,1m:=50k api:3000  a ramp, then a spike\n  \
        blaster sweep --slo 'p99<500ms' api:3000   how much can it take?\n\n\
        Exit status: 0 done, 1 failed or nothing answered, 2 bad usage, 3 client-limited, 99 an SLO failed, 130 interrupted"
)]
pub struct Cli {
    /// Without a subcommand: run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Drive a target (the default)
    Run(Box<RunArgs>),
    /// Find out how much a target can take, and how sure that is
    Sweep(Box<SweepArgs>),
    /// Is this machine ready for a plan, what gives out first, and how to put that right
    Doctor(Box<DoctorArgs>),
    /// Serve the built-in target
    Sink(Box<SinkArgs>),
    /// List the presets, show what would be sent, check a template
    #[command(subcommand)]
    Payloads(PayloadsCommand),
}

/// `blaster payloads`.
#[derive(Debug, Subcommand)]
pub enum PayloadsCommand {
    /// What presets there are
    List {
        /// Write the list as JSON here; `-` is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// What would be sent
    Show(Box<ShowArgs>),
    /// Find what is wrong with a template, a file of lines or a preset
    Check {
        /// A template (`.json`), a request a line (`.jsonl`), or a preset (`.toml`); anything else is sent as it is
        #[arg(value_name = "FILE")]
        file: String,
        /// Write the outcome as JSON here; `-` is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

/// `blaster payloads show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// A preset's name, or a file: a preset (`.toml`), a template (`.json`), a request a line (`.jsonl`), any other body
    #[arg(value_name = "NAME|FILE", required_unless_present_any = ["preset", "body", "body_dir", "method", "path"])]
    pub name: Option<String>,
    /// How many requests
    #[arg(short = 'n', long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// The bytes as they would be sent, for a pipe
    #[arg(long)]
    pub raw: bool,
    /// The server, for the Host header
    #[arg(short = 'T', long, value_name = "HOST:PORT", default_value = "localhost:3000")]
    pub target: Target,
    /// Repeats payloads
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// What to send.
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// Method [default: the preset's, GET, with --body POST]
    #[arg(short = 'X', long, short_alias = 'm', value_name = "METHOD")]
    pub method: Option<String>,
    /// Path and query; may have {{fields}}
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Write the requests as JSON here; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What requests are made of.
#[derive(Clone, Debug, Default, Args)]
pub struct PayloadArgs {
    /// What to send: a name of `blaster payloads list`, or a preset's FILE.toml; a run without one, a path, method or body sends `events`
    #[arg(long, value_name = "NAME|FILE", help_heading = "Request")]
    pub preset: Option<String>,
    /// Events a request: 10, or sizes and their weights by requests, as in 1:100,10:10,100:3 [default: 1]
    #[arg(long, value_name = "MIX", help_heading = "Request")]
    pub batch: Option<Mix>,
    /// Only these types of events, by weight, as in page_view:70,purchase:5 [default: all, by the preset's weights]
    #[arg(long, value_name = "TYPE:N,…", help_heading = "Request")]
    pub events: Option<Shares>,
    /// A setting of the preset, such as its key; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting, help_heading = "Request")]
    pub settings: Vec<(String, String)>,
    /// A header, as in 'X-Api-Key: k'; may have {{fields}}; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", help_heading = "Request")]
    pub headers: Vec<String>,
    /// Body: text, @TEMPLATE.json, @ROWS.jsonl for a request a line, or any other @FILE as it is
    #[arg(short, long, value_name = "S|@FILE", help_heading = "Request")]
    pub body: Option<String>,
    /// Bodies: every file of a folder, by the same rules
    #[arg(long, value_name = "DIR", conflicts_with = "body", help_heading = "Request")]
    pub body_dir: Option<String>,
    /// Send lines and files in random order
    #[arg(long, help_heading = "Request")]
    pub shuffle: bool,
    /// Compress bodies: gzip or zstd; done once, so that they are stale
    #[arg(long, value_name = "HOW", help_heading = "Request")]
    pub encoding: Option<Encoding>,
}

/// `blaster run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// The server, `HOST:PORT` or `http://HOST[:PORT][/PATH]`; `=N` behind it is its weight next to others
    #[arg(value_name = "URL")]
    pub urls: Vec<Target>,
    /// The server, like URL; repeatable. Without any, the built-in sink is started and driven
    #[arg(short = 'T', long = "target", value_name = "URL", help_heading = "Target")]
    pub targets: Vec<Target>,
    /// Total offered requests per second, as in 10k or 1.5m; `max`: closed loop, as fast as answers come [default: 10k]
    #[arg(short = 'R', long, value_name = "N", allow_hyphen_values = true, help_heading = "Load")]
    pub rps: Option<RateSpec>,
    /// How long to measure [default: 10s]
    #[arg(short, long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Load")]
    pub duration: Option<Nanos>,
    /// Ramps T:N and jumps T:=N one after another, from --rps (or 0), as in 30s:10k,1m:=50k
    #[arg(long, value_name = "T:N,…", conflicts_with = "duration", help_heading = "Load")]
    pub stages: Option<Stages>,
    /// Spacing of intended times [default: uniform]
    #[arg(long, value_name = "HOW", help_heading = "Load")]
    pub arrivals: Option<ArrivalsArg>,
    /// Record what is intended in this time apart; the duration counts after it [default: 0s]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub warmup: Option<Nanos>,
    /// Total connections [default: 64, never fewer than threads]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_000_000), help_heading = "Load")]
    pub connections: Option<u32>,
    /// Open at most N connections a second, as in 20k, later ones as well [default: as fast as the target takes them]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub connect_rate: Option<Rate>,
    /// Connect from these addresses of this machine in turn, as in 10.0.0.5,10.0.0.7-10.0.0.9, or from as many as it takes (auto): each has its own 28,000 or so ports
    #[arg(long, value_name = "LIST|auto", help_heading = "Load")]
    pub source_ips: Option<SourceIps>,
    /// Most requests in flight on a connection, or auto [default: auto]
    #[arg(short, long, value_name = "N", value_parser = pipeline, help_heading = "Load")]
    pub pipeline: Option<Pipeline>,
    /// Threads, each with a CPU of its own [default: auto]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Load")]
    pub threads: Option<u32>,
    /// CPUs to run on, as in 1,4-7 [default: those allowed]
    #[arg(long, value_name = "LIST", value_parser = cpu_list, help_heading = "Load")]
    pub cores: Option<CpuList>,
    /// TCP congestion control of the connections, or `system` for the machine's [default: cubic where there is one]
    #[arg(long, value_name = "NAME", value_parser = congestion, help_heading = "Load")]
    pub congestion: Option<Congestion>,
    /// Give a request up so long after it was sent [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "Load")]
    pub timeout: Option<Nanos>,
    /// Total offered events per second instead of --rps, as in 5m; a request carries one or a batch
    #[arg(long, value_name = "N", allow_hyphen_values = true, conflicts_with_all = ["rps", "stages"], help_heading = "Load")]
    pub eps: Option<Rate>,
    /// What to send.
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// Method of a request of your own [default: GET, with --body POST]
    #[arg(short = 'X', long, short_alias = 'm', value_name = "METHOD", help_heading = "Request")]
    pub method: Option<String>,
    /// Path and query; may have {{fields}}
    #[arg(long, value_name = "PATH", help_heading = "Request")]
    pub path: Option<String>,
    /// Send ids and times as they were serialized, not new ones each time
    #[arg(long, help_heading = "Request")]
    pub stale: bool,
    /// Different requests to prepare for a target, as in 200k [default: 4096, or as many as fit in 8 MiB]
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Request")]
    pub tape: Option<u32>,
    /// Most memory these may take, as in 64m or 1g [default: 256m]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Request")]
    pub tape_memory: Option<usize>,
    /// Statuses that count as ok [default: the preset's, else 200-399]
    #[arg(long, value_name = "CODES", help_heading = "Request")]
    pub expect: Option<Statuses>,
    /// Repeats payloads (times aside) and arrivals [default: a new one each run, printed]
    #[arg(long, value_name = "N", help_heading = "Request")]
    pub seed: Option<u64>,
    /// What to promise: p99<500ms, max<2s, errors<1%, achieved>99%; repeatable
    #[arg(long, value_name = "EXPR,…", help_heading = "Judgement")]
    pub slo: Vec<Slos>,
    /// Exit 0 (or 99) even if this machine was the limit
    #[arg(long, help_heading = "Judgement")]
    pub allow_invalid: bool,
    /// Make this machine ready first, as root, and put it back afterwards (see `blaster doctor`)
    #[arg(long, help_heading = "Load")]
    pub tune: bool,
    /// Write the report (JSON) here; `-` is standard output
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write the response-time spectrum (HdrHistogram percentile text, in ms) here
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hgrm: Option<PathBuf>,
    /// Write the interval log (HdrHistogram .hlog) here
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hlog: Option<PathBuf>,
    /// A label carried to every output; repeatable
    #[arg(long = "tag", value_name = "K=V", value_parser = tag, help_heading = "Output")]
    pub tags: Vec<(String, String)>,
    /// Print only the summary
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
    /// Print no live line
    #[arg(long, help_heading = "Output")]
    pub no_progress: bool,
    /// Let the kernel time no request: the report then says nothing of the time before and after the wire
    #[arg(long, help_heading = "Output")]
    pub no_wire_times: bool,
}

/// `blaster sweep`: the flags of a run that say what is sent and where, and those of the search.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Examples:\n  \
        blaster sweep --slo 'p99<500ms,errors<1%' --html sweep.html api:3000   the limit, the knee, the collapse, the recovery\n  \
        blaster sweep --need 5m --target-metrics http://api:3000 api:3000      how many of them for 5,000,000 requests/s?\n  \
        blaster sweep --from 1k --factor 2 --until 'errors>10%' api:3000       doubling only\n  \
        blaster sweep --steps 10k,20k,50k api:3000                             these loads and no others\n  \
        blaster sweep --resume sweep.json.journal                              go on where one was interrupted\n\n\
        Exit status: 0 done, 1 failed or nothing answered, 2 bad usage, 3 this machine was the limit, \
        99 an objective is not met at the lowest rate, 130 interrupted",
    mut_arg("rps", hide), mut_arg("stages", hide), mut_arg("eps", hide),
    mut_arg("hgrm", hide), mut_arg("hlog", hide),
    mut_arg("duration", |arg| arg.help("With --steps or --factor: how long to measure each load [default: 5s]")),
    mut_arg("warmup", |arg| arg.help("With --steps or --factor: record what is intended in this time of each load apart [default: 1s]")),
    mut_arg("connections", |arg| arg.help("Total connections to begin with [default: 256]; more where a load has too few")),
    mut_arg("slo", |arg| arg.help("What must hold: p99<500ms, max<2s, errors<1%; each gets an answer of its own if repeated [default: p99<500ms,errors<1%]")),
    mut_arg("json", |arg| arg.help("Write the sweep (JSON, with every trial's report) here; `-` is standard output")),
)]
pub struct SweepArgs {
    /// What is sent, and where.
    #[command(flatten)]
    pub run: RunArgs,
    /// How close the answer must be to the limit, as in 2% [default: 2%]
    #[arg(long, value_name = "SHARE", value_parser = precision, help_heading = "Search")]
    pub precision: Option<f64>,
    /// How long the search may take in all [default: 10m]
    #[arg(long, value_name = "TIME", help_heading = "Search")]
    pub budget: Option<Nanos>,
    /// The lowest rate, where the search begins, as in 1k [default: 100]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub from: Option<Rate>,
    /// The highest rate to try, as in 1m
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub to: Option<Rate>,
    /// Only multiply the rate, from --from on, until --until or --to
    #[arg(long, value_name = "F", value_parser = factor, conflicts_with = "steps", help_heading = "Search")]
    pub factor: Option<f64>,
    /// Where multiplying ends, as in errors>10% or p99>2s [default: errors>10%]
    #[arg(long, value_name = "EXPR", conflicts_with = "steps", help_heading = "Search")]
    pub until: Option<Slo>,
    /// Only these rates, as in 10k,20k,50k
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Search")]
    pub steps: Vec<Rate>,
    /// A rate that is needed in all: how many such targets are that?
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub need: Option<Rate>,
    /// Read the target's metrics here (Prometheus text) while it is loaded
    #[arg(long, value_name = "URL", help_heading = "Target")]
    pub target_metrics: Option<Target>,
    /// CPUs that the target has, where its metrics do not say
    #[arg(long, value_name = "N", requires = "target_metrics", value_parser = cpus, help_heading = "Target")]
    pub target_cpus: Option<f64>,
    /// Go on with the sweep whose journal this is, with its arguments; those of its budget and its outputs may be others
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    pub resume: Option<PathBuf>,
    /// Write a page for a browser here
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// Where to keep every trial as soon as it is done [default: the --json FILE and .journal, else a new blaster-sweep-….journal here]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub journal: Option<PathBuf>,
}

/// `blaster doctor`.
#[derive(Clone, Debug, Args)]
#[command(
    mut_arg("json", |arg| arg.help("Write the diagnosis (JSON) here; `-` is standard output")),
    mut_arg("duration", hide),
    mut_arg("warmup", hide),
    mut_arg("slo", hide),
    mut_arg("hgrm", hide),
    mut_arg("hlog", hide),
    mut_arg("tags", hide),
    mut_arg("timeout", hide),
    mut_arg("tune", hide),
    mut_arg("quiet", hide),
    mut_arg("no_progress", hide),
    mut_arg("allow_invalid", hide),
)]
pub struct DoctorArgs {
    /// The plan.
    #[command(flatten)]
    pub run: RunArgs,
    /// New connections a second to one address, all along, if the target closes them
    #[arg(long, value_name = "N", default_value = "0", value_parser = a_second, help_heading = "Load")]
    pub new_connections: u64,
    /// Of a cluster: that is `coordinator doctor`'s
    #[arg(long, value_name = "FILE", hide = true)]
    pub nodes: Option<PathBuf>,
    /// Set what the plan needs and this machine lacks, as root; all of it or nothing
    #[arg(long, conflicts_with_all = ["undo", "json"], help_heading = "Repair")]
    pub fix: bool,
    /// Put back what --fix has set
    #[arg(long, conflicts_with = "json", help_heading = "Repair")]
    pub undo: bool,
    /// With --fix: also after a reboot, by files in /etc/sysctl.d and /etc/security/limits.d
    #[arg(long, requires = "fix", help_heading = "Repair")]
    pub persist: bool,
    /// With --fix: change also what other programs of this machine feel
    #[arg(long, requires = "fix", help_heading = "Repair")]
    pub allow_shared: bool,
}

fn hide(arg: clap::Arg) -> clap::Arg {
    arg.hide(true)
}

/// `blaster sink`.
#[derive(Clone, Debug, Args)]
pub struct SinkArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,
    /// What to play: event-api, control, null, high-latency, high-cpu, memory-leak or metastable
    #[arg(long, value_name = "NAME", default_value = "event-api")]
    pub profile: Profile,
    /// Most connections that each thread holds; further ones are closed at once [default: as many as descriptors allow, 65536 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: Option<u32>,
    /// Status of good answers, instead of the profile's
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: Option<u16>,
    /// Close each connection after N answers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub close_after: Option<u64>,
    /// Name the ids of accepted events in the answer (event-api)
    #[arg(long)]
    pub echo: bool,
    /// Check every event strictly: count invalid ones, answer them 400 (event-api)
    #[arg(long)]
    pub validate: bool,
    /// Hold every answer back: fixed:5ms, exp:MEAN or lognormal:MEDIAN,SIGMA; in place of the profile's own pace
    #[arg(long, value_name = "HOW", conflicts_with = "service", help_heading = "Pace")]
    pub latency: Option<Latency>,
    /// Serve requests one after another, so long each: spin:50us; in place of the profile's own pace
    #[arg(long, value_name = "HOW", value_parser = spin, help_heading = "Pace")]
    pub service: Option<Nanos>,
    /// How many requests --service, high-cpu or metastable serves at a time [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Pace")]
    pub workers: Option<u32>,
    /// Who waits longer than --patience asks N times more: the request takes 1 + N times as long; after twice that wait: 429 [default: 0; metastable: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1000), help_heading = "Pace")]
    pub retries: Option<u32>,
    /// How long a request waits before --retries [default: 200ms]
    #[arg(long, value_name = "TIME", help_heading = "Pace")]
    pub patience: Option<Nanos>,
    /// Requests a second that are taken; beyond them and the buffer: 429
    #[arg(long, value_name = "RPS", help_heading = "Pace")]
    pub capacity: Option<Rate>,
    /// Requests that wait for --capacity [default: 10000]
    #[arg(long, value_name = "N", requires = "capacity", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Pace")]
    pub buffer: Option<u64>,
    /// Freeze for 1 s, 5 s after the first request: 1s@5s; repeatable
    #[arg(long = "stall", value_name = "TIME@TIME", help_heading = "Pace")]
    pub stalls: Vec<Stall>,
    /// Answer this share of the requests with 500, as in 1%
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", hide_default_value = true, help_heading = "Faults")]
    pub error_rate: f64,
    /// Reset the connection instead of answering
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", hide_default_value = true, help_heading = "Faults")]
    pub reset_rate: f64,
    /// Other faults instead of answers: close, truncate, malformed, silent, as in close:0.1%,silent:0.01%
    #[arg(long, value_name = "KIND:SHARE,…", value_parser = faults, help_heading = "Faults")]
    pub faults: Option<Faults>,
    /// Repeats delays and faults
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Faults")]
    pub seed: u64,
    /// Write how long requests took (HdrHistogram percentile text, in ms) here at the end
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hgrm: Option<PathBuf>,
    /// Write every request (the first 20 million) here at the end: arrival, time served and answer, three little-endian 64-bit numbers of nanoseconds
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub record: Option<PathBuf>,
    /// CPUs to serve on, one thread each, as in 0,2-3 [default: the first allowed]
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    pub cores: Option<CpuList>,
}

/// `--arrivals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsArg {
    /// Evenly spaced
    Uniform,
    /// Independent, as from many users
    Poisson,
}

/// `--pipeline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    /// Decided from the rate.
    Auto,
    /// So many.
    Depth(u32),
}

/// CPU numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// The deepest pipeline: more in flight on one connection measures the kernel's buffers.
const DEPTH_MAX: u32 = 1024;

fn pipeline(text: &str) -> Result<Pipeline, String> {
    if text == "auto" {
        return Ok(Pipeline::Auto);
    }
    match text.parse() {
        Ok(depth @ 1..=DEPTH_MAX) => Ok(Pipeline::Depth(depth)),
        _ => Err(format!("want auto or a number from 1 to {DEPTH_MAX}")),
    }
}

/// So many a second, or none.
pub fn a_second(text: &str) -> Result<u64, RateError> {
    if text == "0" { Ok(0) } else { text.parse().map(|rate: Rate| rate.per_second().ceil() as u64) }
}

/// Numbers and ranges, as in 1,4-7.
pub fn cpu_list(text: &str) -> Result<CpuList, String> {
    let wrong = || "want CPU numbers, as in 0,2-3".to_owned();
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&cpu| cpu < 4096).ok_or_else(wrong);
    let mut cpus = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((low, high)) => cpus.extend(number(low)?..=number(high)?),
            None => cpus.push(number(part)?),
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    if cpus.is_empty() { Err(wrong()) } else { Ok(CpuList(cpus)) }
}

fn faults(text: &str) -> Result<Faults, String> {
    let mut faults = Faults::default();
    faults.add(text).map(|()| faults)
}

fn congestion(text: &str) -> Result<Congestion, String> {
    match text {
        "system" => Ok(Congestion::System),
        name if socket::is_congestion_control(name) => Ok(Congestion::Named(name.into())),
        name => Err(format!(
            "there is no congestion control {name:?} here, or this process may not use it: choose among those of \
             `sysctl net.ipv4.tcp_available_congestion_control`, or load its module"
        )),
    }
}

/// A number above 0, with a suffix `k` or `m` for thousands or millions.
fn count(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        _ => (text, 1),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
    number.filter(|&number| number > 0).ok_or_else(|| "want a number above 0, as in 20000 or 20k".to_owned())
}

/// Bytes, with a suffix `k`, `m` or `g` for KiB, MiB, GiB.
fn size(text: &str) -> Result<usize, String> {
    let wrong = || "want a size, as in 64m or 1g".to_owned();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(wrong()),
    };
    let number: usize = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// A share of the limit, above 0.
fn precision(text: &str) -> Result<f64, String> {
    let share = share(text).map_err(|_| "want a share, as in 2%".to_owned())?;
    if (0.001..=0.5).contains(&share) { Ok(share) } else { Err("want a share from 0.1% to 50%".to_owned()) }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor| (1.01..=100.0).contains(factor));
    factor.ok_or_else(|| "want a number from 1.01 to 100, as in 2".to_owned())
}

fn cpus(text: &str) -> Result<f64, String> {
    let cpus = text.parse().ok().filter(|cpus| (0.001..=100_000.0).contains(cpus));
    cpus.ok_or_else(|| "want a number above 0, as in 4 or 0.5".to_owned())
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("want NAME=VALUE, as in write_key=abc".to_owned()),
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("want KEY=VALUE".to_owned()),
    }
}

/// Arguments of a run that say where results go and what they are worth: no business of whoever only sends a part of it.
const OF_RESULTS: [&str; 9] =
    ["json", "hgrm", "hlog", "tags", "quiet", "no_progress", "slo", "allow_invalid", "tune"];

impl RunArgs {
    /// The arguments behind `matches`, of a command that has those of a run among its own, as [`Self::from_list`] takes them: for
    /// somebody who does a part of the run. What is the matter of its results is left out.
    pub fn list(matches: &ArgMatches) -> Vec<String> {
        typed(&Self::augment_args(clap::Command::new("run")), matches, &OF_RESULTS)
    }

    /// Understands arguments, the name of a program not among them.
    pub fn from_list(list: &[String]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("run")).no_binary_name(true);
        Self::from_arg_matches(&command.try_get_matches_from(list)?)
    }

    /// `--rps` as a rate to ramp from; none if absent or `max`.
    pub fn start_rate(&self) -> Option<Rate> {
        match self.rps {
            Some(RateSpec::PerSecond(rate)) => Some(rate),
            _ => None,
        }
    }
}

/// Arguments of a sweep that may be others when it goes on.
const OF_ONE_SITTING: [&str; 8] =
    ["resume", "json", "html", "journal", "budget", "quiet", "no_progress", "allow_invalid"];

impl SweepArgs {
    /// The arguments behind `matches` that make the sweep what it is, as [`Self::from_list`] takes them.
    pub fn list(matches: &ArgMatches) -> Vec<String> {
        typed(&Self::augment_args(clap::Command::new("sweep")), matches, &OF_ONE_SITTING)
    }

    /// Understands arguments, the name of a program not among them.
    pub fn from_list(list: &[String]) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::alone().try_get_matches_from(list)?)
    }

    /// Of arguments as [`Self::list`] has them those of each run, as [`RunArgs::from_list`] takes them.
    pub fn of_run(list: &[String]) -> Vec<String> {
        Self::alone()
            .try_get_matches_from(list)
            .map_or_else(|_| Vec::new(), |matches| RunArgs::list(&matches))
    }

    fn alone() -> clap::Command {
        Self::augment_args(clap::Command::new("sweep")).no_binary_name(true)
    }
}

/// What was typed of a command's arguments, one a text, but for some.
fn typed(command: &clap::Command, matches: &ArgMatches, but_for: &[&str]) -> Vec<String> {
    let mut list = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let was_typed = matches.value_source(id) == Some(ValueSource::CommandLine);
        if !was_typed || but_for.contains(&id) {
            continue;
        }
        let name = arg.get_long().unwrap_or("target");
        if !arg.get_action().takes_values() {
            list.push(format!("--{name}"));
            continue;
        }
        let values = matches.get_raw(id).into_iter().flatten();
        list.extend(values.map(|value| format!("--{name}={}", value.to_string_lossy())));
    }
    list
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_work_with_and_without_the_subcommand() {
        let plain = Cli::parse_from(["blaster", "--rps", "10k", "api:3000"]);
        assert_eq!(plain.run.urls.len(), 1);
        let run = Cli::parse_from(["blaster", "run", "-R", "max", "-p", "auto", "-T", "a:1", "-T", "b:2=3"]);
        let Some(Command::Run(args)) = run.command else { panic!("not run") };
        assert_eq!((args.rps, args.targets[1].weight), (Some(RateSpec::Max), 3));
    }

    #[test]
    fn a_list_of_arguments_says_what_was_typed() {
        let typed = [
            "blaster",
            "-R",
            "5m",
            "a:1=3",
            "-T",
            "http://b:2/x",
            "--set",
            "k=v",
            "-H",
            "A: b",
            "--slo",
            "p99<1s",
            "--json",
            "-",
            "--shuffle",
            "-b",
            "@f.jsonl",
            "-p",
            "auto",
            "--tag",
            "a=b",
            "--stages",
            "1s:5,2s:=7",
            "--quiet",
            "--source-ips",
            "auto",
            "--connect-rate",
            "20k",
        ];
        let matches = Cli::command().try_get_matches_from(typed).unwrap();
        let list = RunArgs::list(&matches);
        let wanted = [
            "--target=a:1=3",
            "--target=http://b:2/x",
            "--rps=5m",
            "--stages=1s:5,2s:=7",
            "--pipeline=auto",
            "--set=k=v",
            "--header=A: b",
            "--body=@f.jsonl",
            "--shuffle",
            "--source-ips=auto",
            "--connect-rate=20k",
        ];
        assert_eq!(list.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted.into());
        let args = RunArgs::from_list(&list).unwrap();
        assert_eq!((args.targets.len(), args.targets[0].weight, args.payload.shuffle), (2, 3, true));
        assert_eq!(RunArgs::from_list(&["--rps=x".to_owned()]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn counts_are_numbers_or_thousands_or_millions() {
        assert_eq!(["1", "20k", "3M"].map(|text| count(text).unwrap()), [1, 20_000, 3_000_000]);
        for wrong in ["", "k", "0", "-1", "1.5k", "5000m", "µ"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_powers_of_1024() {
        assert_eq!(
            ["100", "64k", "256m", "1g", "8MiB", "2GB"].map(|text| size(text).unwrap()),
            [100, 64 << 10, 256 << 20, 1 << 30, 8 << 20, 2 << 30]
        );
        for wrong in ["", "m", "0", "-1m", "1.5g", "1t", "99999999999999999g"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cpu_lists_are_numbers_and_ranges() {
        assert_eq!(cpu_list("4-6,1,5").unwrap(), CpuList(vec![1, 4, 5, 6]));
        assert!(cpu_list("").is_err() && cpu_list("3-1").is_err() && cpu_list("x").is_err());
    }
}
