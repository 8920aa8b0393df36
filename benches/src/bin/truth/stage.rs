//! Where proofs are led: two CPUs, the client on one and the sink on the other, and what disturbed them meanwhile.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, bail};
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
}

/// A run of the client.
#[derive(Debug)]
pub struct Run {
    /// What it reported.
    pub report: Report,
    /// What disturbed it.
    pub noise: Noise,
}

/// What took CPU time from a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noise {
    /// Time the hypervisor took from the two CPUs, in clock ticks.
    pub stolen_ticks: u64,
    /// Share of the time that the client's threads waited for a CPU.
    pub client_waited: f64,
    /// Nanoseconds that the sink's threads waited for a CPU.
    pub sink_waited_ns: u64,
}

/// The seed of every run.
pub const SEED: u64 = 42;

/// Waiting of the client above this share disturbs it: below, it is the scheduler's own few microseconds.
const WAITED_MAX: f64 = 0.001;

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
        let before = (stolen_ticks(self)?, waited_ns(sink.pid()));
        let report = self.report(&[], &sink.host, flags)?;
        let noise = Noise {
            stolen_ticks: stolen_ticks(self)?.saturating_sub(before.0),
            client_waited: report.generator.machine.waited.unwrap_or(0.0),
            sink_waited_ns: waited_ns(sink.pid()).saturating_sub(before.1),
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
        command.arg(self.json()).args(["--seed", &SEED.to_string()]).args(flags.split_whitespace()).arg(host);
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

impl Noise {
    /// Nothing took CPU time from the client, as far as can be seen.
    pub fn is_quiet(&self) -> bool {
        self.stolen_ticks == 0 && self.client_waited < WAITED_MAX
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stolen {} ms, client waited {:.2} %, sink {:.1} ms",
            // USER_HZ is 100 on every architecture Linux still runs on here: ten milliseconds a tick.
            self.stolen_ticks * 10,
            self.client_waited * 100.0,
            self.sink_waited_ns as f64 / 1e6
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
