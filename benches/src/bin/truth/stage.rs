//! Where proofs are led: two CPUs, the client on one and the sink on the other, and what disturbed them meanwhile.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use benches::truth::sample::median;
use blaster_core::report::Report;

use crate::sink::Sink;

/// How long proofs may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Under five minutes in all.
    Quick,
    /// Under forty.
    Full,
    /// As long as it takes.
    Soak,
}

/// What all proofs share.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The binary on trial.
    pub blaster: PathBuf,
    /// A folder for what runs leave.
    pub work: PathBuf,
    /// The sink's CPU.
    pub sink_cpu: String,
    /// The client's.
    pub client_cpu: String,
    /// How long it may take.
    pub effort: Effort,
    /// The seed of its runs.
    pub seed: u64,
}

/// A run of the client.
#[derive(Debug)]
pub struct Run {
    /// What it reported.
    pub report: Report,
    /// What disturbed it.
    pub noise: Noise,
}

/// Several runs of the same kind.
#[derive(Debug)]
pub struct Runs<T> {
    /// Those that nothing disturbed; all, if too few were so.
    pub runs: Vec<T>,
    quiet: usize,
    made: usize,
    noise: Noise,
}

/// What took CPU time from a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noise {
    /// Time the hypervisor took from the two CPUs, in clock ticks.
    pub stolen_ticks: u64,
    /// Share of the time that the client's threads waited for a CPU.
    pub client_waited: f64,
    /// The same of the sink: what comes while it waits is seen late, and looks as if it came late.
    pub sink_waited: f64,
    /// Share of the time that the sink was held up by whatever, by its own clock.
    pub sink_held_up: f64,
    /// The client's longest turn, in nanoseconds.
    pub client_turn_ns_max: u64,
}

/// The seed where no run wants another.
pub const SEED: u64 = 42;

/// Waiting of the client above this share disturbs it: below, it is the scheduler's own few microseconds.
const WAITED_MAX: f64 = 0.001;

/// Of the time of an undisturbed run: half of what would reach into the p99.9.
const HELD_UP_MAX: f64 = 0.000_5;
const TURN_NS_MAX: u64 = 1_000_000;

/// Attempts for each undisturbed run that is wanted.
const TRIES: usize = 2;

impl Stage {
    /// The value for this effort.
    pub fn pick<T>(&self, quick: T, full: T, soak: T) -> T {
        match self.effort {
            Effort::Quick => quick,
            Effort::Full => full,
            Effort::Soak => soak,
        }
    }

    /// Runs the client against the sink; it must leave a report.
    pub fn run(&self, sink: &Sink, flags: &str) -> Result<Run> {
        let (before, start) = ((stolen_ticks(self)?, waited_ns(sink.pid())), Instant::now());
        let report = self.report(&[], &sink.host, flags)?;
        let elapsed_ns = start.elapsed().as_nanos() as f64;
        let turns = report.generator.cores.iter().filter_map(|core| core.turn_ns_max);
        let noise = Noise {
            client_turn_ns_max: turns.max().unwrap_or(0),
            sink_held_up: sink.counts_now()?.value("held_up_ns_total")? / elapsed_ns,
            stolen_ticks: stolen_ticks(self)?.saturating_sub(before.0),
            client_waited: report.generator.machine.waited.unwrap_or(0.0),
            sink_waited: waited_ns(sink.pid()).saturating_sub(before.1) as f64 / elapsed_ns,
        };
        Ok(Run { report, noise })
    }

    /// What the client reports when started through `wrapper`, a command that runs another.
    pub fn report(&self, wrapper: &[&str], host: &str, flags: &str) -> Result<Report> {
        let output = self.client(wrapper, host, flags)?;
        self.read_report().with_context(|| {
            format!("blaster {flags} ended with {}: {}", output.status, last_lines(&output.stderr))
        })
    }

    /// Starts the client and waits for its end; [`Self::read_report`] tells what it reported, if anything.
    pub fn client(&self, wrapper: &[&str], host: &str, flags: &str) -> Result<Output> {
        self.client_command(wrapper, host, flags).output().context("cannot start blaster")
    }

    /// The command of the client, with no report of an earlier one in its way.
    pub fn client_command(&self, wrapper: &[&str], host: &str, flags: &str) -> Command {
        // What an earlier run left must not pass for this one's.
        let _ = fs::remove_file(self.json());
        let mut words = wrapper.iter().map(OsStr::new).chain([self.blaster.as_os_str()]);
        let mut command = Command::new(words.next().expect("blaster at least"));
        command.args(words).args(["--cores", &self.client_cpu, "--quiet", "--allow-invalid", "--json"]);
        command
            .arg(self.json())
            .args(["--seed", &self.seed.to_string()])
            .args(flags.split_whitespace())
            .arg(host);
        command
    }

    /// The report that the last client left.
    pub fn read_report(&self) -> Result<Report> {
        let text = fs::read_to_string(self.json()).context("it left no report")?;
        serde_json::from_str(&text).context("its report cannot be read")
    }

    fn json(&self) -> PathBuf {
        self.work.join("report.json")
    }
}

impl<T> Runs<T> {
    /// Repeats a run, told its number, until `wanted` were undisturbed, up to [`TRIES`] times as often; once, where nothing is judged by it.
    pub fn quiet(
        stage: &Stage,
        wanted: usize,
        mut run: impl FnMut(u64) -> Result<(T, Noise)>,
    ) -> Result<Self> {
        let (mut quiet, mut disturbed, mut noise) = (Vec::new(), Vec::new(), Vec::new());
        let most = wanted * stage.pick(1, TRIES, TRIES);
        for number in 0.. {
            let (outcome, disturbance) = run(number)?;
            noise.push(disturbance);
            if disturbance.is_still() {
                quiet.push(outcome)
            } else {
                disturbed.push(outcome)
            }
            if quiet.len() == wanted || noise.len() == most {
                break;
            }
        }
        let (few, made, found) = (quiet.len() < wanted, noise.len(), quiet.len());
        let runs = if few { quiet.into_iter().chain(disturbed).collect() } else { quiet };
        let noise = Noise::of(noise.into_iter().filter(|noise| few || noise.is_still()));
        Ok(Self { runs, quiet: found, made, noise })
    }

    /// The median of what `value` says of them.
    pub fn median(&self, value: impl Fn(&T) -> f64) -> f64 {
        median(self.runs.iter().map(value))
    }
}

impl<T> fmt::Display for Runs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.runs.len() > self.quiet { ": all are counted" } else { "" };
        write!(f, "{} of {} runs undisturbed{all}; {}", self.quiet, self.made, self.noise)
    }
}

impl Noise {
    /// Of several runs: what was taken from all, and the largest shares waited.
    pub fn of(runs: impl Iterator<Item = Self>) -> Self {
        runs.fold(Self::default(), |sum, run| Self {
            stolen_ticks: sum.stolen_ticks + run.stolen_ticks,
            client_waited: sum.client_waited.max(run.client_waited),
            sink_waited: sum.sink_waited.max(run.sink_waited),
            sink_held_up: sum.sink_held_up.max(run.sink_held_up),
            client_turn_ns_max: sum.client_turn_ns_max.max(run.client_turn_ns_max),
        })
    }

    /// So little that a time in a thousand is hardly touched by it.
    pub fn is_still(&self) -> bool {
        self.stolen_ticks == 0
            && self.client_waited.max(self.sink_held_up) < HELD_UP_MAX
            && self.client_turn_ns_max < TURN_NS_MAX
    }

    /// Nothing took CPU time from the client, as far as can be seen.
    pub fn is_quiet(&self) -> bool {
        self.stolen_ticks == 0 && self.client_waited < WAITED_MAX
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stolen {} ms, client waited {:.2} %, sink {:.2} % and held up {:.2} %, longest turn of the client {:.1} ms",
            // USER_HZ is 100 on every architecture Linux still runs on here: ten milliseconds a tick.
            self.stolen_ticks * 10,
            self.client_waited * 100.0,
            self.sink_waited * 100.0,
            self.sink_held_up * 100.0,
            self.client_turn_ns_max as f64 / 1e6
        )
    }
}

/// Runs a command to its end; its standard output.
pub fn command(words: &[&str]) -> Result<String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .output()
        .with_context(|| format!("cannot start {}", words[0]))?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", words.join(" "), output.status, last_lines(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Nanoseconds that all threads of a process waited for a CPU; 0 where the kernel does not say.
fn waited_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let waited = |task: &Path| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(|task| waited(&task.path())).sum()
}

fn stolen_ticks(stage: &Stage) -> Result<u64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let stolen = |cpu: &str| {
        let name = format!("cpu{cpu}");
        let line = text.lines().find(|line| line.split(' ').next() == Some(&name))?;
        line.split_whitespace().nth(8)?.parse::<u64>().ok()
    };
    let sum =
        Option::zip(stolen(&stage.sink_cpu), stolen(&stage.client_cpu)).map(|(sink, client)| sink + client);
    sum.ok_or_else(|| anyhow!("/proc/stat does not name CPUs {} and {}", stage.sink_cpu, stage.client_cpu))
}

/// The end of what a process said, on one line.
pub fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" ")
}
