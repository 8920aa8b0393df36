//! Self-knowledge: whatever was not the target's doing is said to be so, and nothing is said of a clean run.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use blaster_core::report::Report;
use blaster_core::report::verdict::{Limiter, Status};

use crate::sink::Sink;
use crate::stage::{Stage, command, last_lines};
use crate::table::{Kind, Table};

/// What is done to a run.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// Nothing: its flags do it.
    None,
    /// Another process wants the client's CPU.
    Hog,
    /// The client is stopped for ten milliseconds, five times a second.
    Freezes,
    /// A control group lets the client have a fifth of its CPU.
    Cap,
    /// Few descriptors.
    Descriptors,
    /// Client and sink live in a network namespace with this setting.
    Namespace(&'static str),
}

/// A run that something else than the target decides, and what must be said of it.
struct Scenario {
    name: &'static str,
    disturbance: Disturbance,
    sink: &'static str,
    flags: &'static str,
    /// One of these codes must be among the reasons.
    codes: &'static [&'static str],
    limiter: Limiter,
    /// A refusal that names this is an answer too.
    refusal: Option<&'static str>,
}

const PLAIN: &str = "--rps 20000 -c 64 --pipeline 1 --path /";
const CONTROL: &str = "--profile control";

const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "another process on the client's CPU",
        disturbance: Disturbance::Hog,
        sink: CONTROL,
        flags: PLAIN,
        codes: &["cpu_contended", "own_lateness", "generator_busy"],
        limiter: Limiter::Client,
        refusal: None,
    },
    Scenario {
        name: "the client stopped 10 ms, five times a second",
        disturbance: Disturbance::Freezes,
        sink: CONTROL,
        flags: PLAIN,
        codes: &["own_lateness", "cpu_contended"],
        limiter: Limiter::Client,
        refusal: None,
    },
    Scenario {
        name: "a control group's cap of 20 %",
        disturbance: Disturbance::Cap,
        sink: CONTROL,
        flags: "--rps 100000 -c 64 --pipeline 1 --path /",
        codes: &["cpu_throttled"],
        limiter: Limiter::Client,
        refusal: None,
    },
    Scenario {
        name: "two connections for 1,000/s of 20 ms",
        disturbance: Disturbance::None,
        sink: "--profile control --latency fixed:20ms",
        flags: "--rps 1000 -c 2 --pipeline 1 --path /",
        codes: &["plan_limited"],
        limiter: Limiter::Plan,
        refusal: None,
    },
    Scenario {
        name: "bbr",
        disturbance: Disturbance::None,
        sink: CONTROL,
        flags: "--congestion bbr --rps 20000 -c 64 --pipeline 1 --path /",
        codes: &["congestion_control"],
        limiter: Limiter::Network,
        refusal: None,
    },
    Scenario {
        name: "descriptors run out",
        disturbance: Disturbance::Descriptors,
        sink: CONTROL,
        flags: "--rps 1000 -c 500 --pipeline 1 --path /",
        codes: &["connection_limits", "descriptors_near_end"],
        limiter: Limiter::Client,
        refusal: Some("descriptors"),
    },
    Scenario {
        name: "ports run out",
        disturbance: Disturbance::Namespace("net.ipv4.ip_local_port_range=40000 40039"),
        sink: "--profile control --close-after 1",
        flags: "--rps 1000 -c 30 --pipeline 1 --path /",
        codes: &["connection_limits"],
        limiter: Limiter::Client,
        refusal: None,
    },
    Scenario {
        name: "receive buffers too small",
        disturbance: Disturbance::Namespace("net.ipv4.tcp_rmem=2304 2304 2304"),
        sink: "--profile event-api --echo",
        flags: "--rps 2000 -c 4 --pipeline 16 --batch 100",
        codes: &["receive_buffer"],
        limiter: Limiter::Network,
        refusal: None,
    },
    Scenario {
        name: "a target of 10,000/s asked for 20,000/s",
        disturbance: Disturbance::None,
        sink: "--profile control --service spin:100us --workers 1",
        flags: PLAIN,
        codes: &["target_limited"],
        limiter: Limiter::Target,
        refusal: None,
    },
];

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let rounds = stage.pick(1, 5, 12);
    for scenario in &SCENARIOS {
        if let Some(why) = scenario.missing() {
            table.skipped(format!("flagged: {}", scenario.name), &why);
            continue;
        }
        let answers: Vec<Answer> = (0..rounds)
            .map(|_| {
                scenario
                    .answer(stage)
                    .unwrap_or_else(|error| Answer { right: false, said: format!("{error:#}") })
            })
            .collect();
        let right = answers.iter().filter(|answer| answer.right).count();
        let shown = answers.iter().find(|answer| !answer.right).unwrap_or(&answers[0]);
        let wanted = scenario.codes.join(" or ");
        table.row(
            Kind::Times,
            format!("flagged: {}", scenario.name),
            [
                format!("{wanted}, limiter {:?}", scenario.limiter),
                shown.said.clone(),
                format!("{} of {rounds} runs not flagged so", rounds - right),
            ],
            right == rounds,
        );
    }
    clean(stage, table)
}

/// Runs that nothing disturbs must be valid.
fn clean(stage: &Stage, table: &mut Table) -> Result<()> {
    let runs = stage.pick(3, 10, 30);
    let sink = Sink::start(stage, CONTROL)?;
    let (mut clean, mut falsely) = (0, Vec::new());
    for _ in 0..runs {
        let run = stage.run(&sink, &format!("{PLAIN} -d 3s"))?;
        if run.noise.is_quiet() {
            clean += 1;
            if run.report.verdict.status != Status::Valid {
                falsely.push(said(&run.report));
            }
        }
    }
    let claim = "no flag on clean runs (nothing stolen, the client waited less than 0.1 %)".to_owned();
    if clean == 0 {
        table.skipped(claim, &format!("all {runs} runs were disturbed"));
        return Ok(());
    }
    table.row(
        Kind::Times,
        claim,
        [
            "valid".to_owned(),
            format!(
                "{} of {clean} valid; {} more were disturbed and are left out",
                clean - falsely.len(),
                runs - clean
            ),
            falsely.join("; "),
        ],
        falsely.is_empty(),
    );
    Ok(())
}

/// What a run said of itself, and whether that is right.
struct Answer {
    right: bool,
    said: String,
}

impl Scenario {
    /// What this machine lacks for it.
    fn missing(&self) -> Option<String> {
        let root = || command(&["id", "-u"]).is_ok_and(|id| id.trim() == "0");
        match self.disturbance {
            Disturbance::Cap if Group::new().is_err() => {
                Some("no control group of CPU time can be made".into())
            }
            Disturbance::Namespace(_) if !root() => Some("network namespaces want root".into()),
            Disturbance::None if self.flags.contains("bbr") => {
                let known = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
                let known = known.unwrap_or_default().contains("bbr");
                (!known).then(|| "the kernel has no bbr loaded".into())
            }
            _ => None,
        }
    }

    fn answer(&self, stage: &Stage) -> Result<Answer> {
        let flags = format!("{} -d 3s", self.flags);
        let namespace = match self.disturbance {
            Disturbance::Namespace(setting) => Some(Namespace::new(setting)?),
            _ => None,
        };
        let inside = namespace.as_ref().map_or(vec![], Namespace::wrapper);
        let sink = match namespace {
            // The sink is asked from inside, thus only waited for.
            Some(_) => Sink::start_in(stage, &inside, self.sink)?,
            None => Sink::start(stage, self.sink)?,
        };
        let group = matches!(self.disturbance, Disturbance::Cap).then(Group::new).transpose()?;
        let wrapper = match self.disturbance {
            Disturbance::Descriptors => vec!["prlimit", "--nofile=128:128"],
            Disturbance::Cap => group.as_ref().map_or(vec![], Group::wrapper),
            _ => inside,
        };
        let _hog = matches!(self.disturbance, Disturbance::Hog).then(|| Hog::start(stage)).transpose()?;
        let client = stage
            .client_command(&wrapper, &sink.host, &flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start blaster")?;
        if matches!(self.disturbance, Disturbance::Freezes) {
            freeze(client.id());
        }
        let output = client.wait_with_output()?;
        if let Some(word) = self.refusal
            && output.status.code() == Some(2)
        {
            let text = last_lines(&output.stderr);
            return Ok(Answer { right: text.contains(word), said: format!("refused: {text}") });
        }
        let report = stage.read_report().with_context(|| last_lines(&output.stderr))?;
        let verdict = &report.verdict;
        let named = verdict.reasons.iter().any(|reason| self.codes.contains(&reason.code.as_str()));
        let valid = verdict.status == Status::Valid;
        let right = named && verdict.limiter == self.limiter && valid == (self.limiter == Limiter::Target);
        Ok(Answer { right, said: said(&report) })
    }
}

fn said(report: &Report) -> String {
    let verdict = &report.verdict;
    let codes: Vec<&str> = verdict.reasons.iter().map(|reason| reason.code.as_str()).collect();
    let waited = report.generator.machine.waited.unwrap_or(0.0) * 100.0;
    let codes = if codes.is_empty() { "no reason".to_owned() } else { codes.join(", ") };
    format!("{:?}, limiter {:?}: {codes} (waited {waited:.2} %)", verdict.status, verdict.limiter)
}

/// Stops the process again and again while a run of three seconds lasts.
fn freeze(pid: u32) {
    let pid = pid.to_string();
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(190));
        let _ = command(&["kill", "-STOP", &pid]);
        std::thread::sleep(Duration::from_millis(10));
        let _ = command(&["kill", "-CONT", &pid]);
    }
}

/// A busy loop on the client's CPU.
struct Hog(Child);

impl Hog {
    fn start(stage: &Stage) -> Result<Self> {
        let mut command = Command::new("taskset");
        command.args(["-c", &stage.client_cpu, "sh", "-c", "while :; do :; done"]);
        Ok(Self(command.spawn().context("cannot start taskset")?))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control group that has a fifth of a CPU.
struct Group {
    folder: String,
    enter: String,
}

impl Group {
    fn new() -> Result<Self> {
        let name = format!("blaster-truth-{}", std::process::id());
        let (folder, settings) = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            (format!("/sys/fs/cgroup/{name}"), [("cpu.max", "20000 100000")].to_vec())
        } else {
            let settings = [("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "20000")].to_vec();
            (format!("/sys/fs/cgroup/cpu/{name}"), settings)
        };
        fs::create_dir(&folder).with_context(|| format!("cannot make {folder}"))?;
        let enter = format!("echo $$ > {folder}/cgroup.procs && exec \"$@\"");
        let group = Self { folder, enter };
        for (file, value) in settings {
            let path = format!("{}/{file}", group.folder);
            fs::write(&path, value).with_context(|| format!("cannot write {path}"))?;
        }
        Ok(group)
    }

    fn wrapper(&self) -> Vec<&str> {
        vec!["sh", "-c", &self.enter, "sh"]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A network namespace of its own.
struct Namespace(String);

impl Namespace {
    fn new(setting: &str) -> Result<Self> {
        let namespace = Self(format!("blaster-truth-{}", std::process::id()));
        command(&["ip", "netns", "add", &namespace.0])?;
        namespace.run(&["ip", "link", "set", "lo", "up"])?;
        namespace.run(&["sysctl", "-qw", setting])?;
        Ok(namespace)
    }

    fn run(&self, words: &[&str]) -> Result<String> {
        command(&[&self.wrapper(), words].concat())
    }

    fn wrapper(&self) -> Vec<&str> {
        vec!["ip", "netns", "exec", &self.0]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = command(&["ip", "netns", "del", &self.0]);
    }
}
