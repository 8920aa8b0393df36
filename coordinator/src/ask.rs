//! `coordinator status` and `coordinator stop`: a question to all nodes, and their answers.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use blaster::console;
use blaster::results::Destination;
use blaster_core::report::units::grouped;
use blaster_ring::system;
use coordinator_protocol::clock::{ClockFilter, Offset};
use coordinator_protocol::message::{Holder, Status, ToAgent, ToLeader};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep_until};

use crate::cli::{NodesArgs, StatusArgs, StopArgs};
use crate::hosts::Host;
use crate::nodes::{Nodes, Word};
use crate::plan::{LeadError, read_hosts};
use crate::secret::Secret;

/// Longest wait for answers.
const ANSWERS_MAX: Duration = Duration::from_secs(8);

/// Clocks are compared for so long, so often.
const COMPARE_FOR: Duration = Duration::from_millis(300);
const COMPARE_EVERY: Duration = Duration::from_millis(10);

/// What came of asking one node.
pub(crate) struct Answer {
    pub(crate) name: String,
    pub(crate) said: Result<ToLeader, String>,
    /// Another name of the same agent.
    same_as: Option<String>,
    offset: Option<Offset>,
}

/// Shows every node.
pub async fn status(args: &StatusArgs) -> anyhow::Result<u8> {
    let hosts = hosts_of(&args.nodes)?;
    let file = args.json.as_deref().map(Destination::open).transpose()?;
    let answers = ask(&args.nodes, hosts, |_| ToAgent::Status, Patience::COMPARES).await?;
    let ready = answers.iter().all(|answer| answer.problem().is_none());
    if let Some(file) = &file {
        file.write(&format!("{:#}\n", Value::Array(answers.iter().map(Answer::json).collect())))?;
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        put(&table(&answers))?;
    }
    Ok(u8::from(!ready))
}

/// Stops whatever run the nodes have.
pub async fn stop(args: &StopArgs) -> anyhow::Result<u8> {
    let hosts = hosts_of(&args.nodes)?;
    let file = args.json.as_deref().map(Destination::open).transpose()?;
    let answers = ask(&args.nodes, hosts, |_| ToAgent::Stop, Patience::SHORT).await?;
    if let Some(file) = &file {
        let each = answers.iter().map(|answer| {
            let stopped = answer.stopped();
            let leader = stopped.as_ref().ok().copied().flatten().map(|holder| &holder.leader);
            json!({ "name": answer.name, "stopped_run_of": leader, "problem": stopped.err() })
        });
        file.write(&format!("{:#}\n", Value::Array(each.collect())))?;
    }
    if args.json.as_deref() != Some(Path::new("-")) {
        let line = |answer: &Answer| match answer.stopped() {
            Ok(Some(holder)) => format!("{}: stopped the run of {}\n", answer.name, holder.leader),
            Ok(None) => format!("{}: has no run\n", answer.name),
            Err(why) => format!("{}: {why}\n", answer.name),
        };
        put(&answers.iter().map(line).collect::<String>())?;
    }
    Ok(u8::from(!answers.iter().all(|answer| answer.stopped().is_ok())))
}

/// How nodes are asked.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// Clocks are compared, and the agent knows that it is waited for, so often; none if not at all.
    ping_every: Option<Duration>,
    /// Whether to go on with that once all have answered.
    compares: bool,
    /// Longest wait for answers.
    answers_max: Duration,
}

impl Patience {
    pub(crate) const SHORT: Self = Self { ping_every: None, compares: false, answers_max: ANSWERS_MAX };
    const COMPARES: Self = Self { ping_every: Some(COMPARE_EVERY), compares: true, answers_max: ANSWERS_MAX };
    pub(crate) const MEASURES: Self = Self {
        ping_every: Some(Duration::from_secs(1)),
        compares: false,
        answers_max: Duration::from_secs(30),
    };
}

pub(crate) fn hosts_of(args: &NodesArgs) -> Result<Vec<Host>, LeadError> {
    read_hosts(args.nodes.as_ref().ok_or(LeadError::NoneToAsk)?)
}

/// Asks all of them, each its question, and waits for their answers.
pub(crate) async fn ask(
    args: &NodesArgs,
    hosts: Vec<Host>,
    question: impl Fn(usize) -> ToAgent,
    patience: Patience,
) -> anyhow::Result<Vec<Answer>> {
    let secret = Secret::read(&Secret::path(args.secret.as_deref()))?;
    let mut nodes = Nodes::new(hosts.clone(), &secret).context("cannot open a port to reach the nodes")?;
    (0..nodes.count()).for_each(|node| nodes.connect(node));
    let mut said: Vec<Option<Result<ToLeader, String>>> = vec![None; hosts.len()];
    let mut clocks = vec![ClockFilter::default(); hosts.len()];
    let mut pings = interval(patience.ping_every.unwrap_or(COMPARE_EVERY));
    let mut until = Instant::now() + patience.answers_max;
    let mut complete = false;
    loop {
        if !complete && said.iter().all(Option::is_some) {
            complete = true;
            until = until.min(Instant::now() + if patience.compares { COMPARE_FOR } else { Duration::ZERO });
        }
        tokio::select! {
            () = sleep_until(until) => break,
            _ = pings.tick(), if patience.ping_every.is_some() => (0..hosts.len()).for_each(|node| nodes.ping(node)),
            (node, word) = nodes.next() => match word {
                Word::Connected => nodes.say(node, &question(node)),
                Word::Closed(why) => {
                    said[node].get_or_insert(Err(why));
                }
                Word::Message(message) => said[node] = Some(Ok(*message)),
                Word::Datagram(datagram, at) => {
                    if let Some(exchange) = datagram.exchange(at) {
                        clocks[node].add(exchange);
                    }
                }
            },
        }
    }
    nodes.close().await;
    let now = system::monotonic();
    let answer = |((host, said), clock): ((&Host, Option<_>), &ClockFilter)| Answer {
        name: host.to_string(),
        said: said.unwrap_or_else(|| Err("no answer".to_owned())),
        same_as: None,
        offset: clock.offset(now),
    };
    let mut answers: Vec<Answer> = hosts.iter().zip(said).zip(&clocks).map(answer).collect();
    for index in 1..answers.len() {
        let (before, from_here) = answers.split_at_mut(index);
        let agent = from_here[0].status().map(|status| status.agent);
        let same = before.iter().find(|other| agent.is_some() && other.status().map(|s| s.agent) == agent);
        from_here[0].same_as = same.map(|other| other.name.clone());
    }
    Ok(answers)
}

impl Answer {
    /// Whose run it stopped, if it had one; or why that is not known.
    fn stopped(&self) -> Result<Option<&Holder>, String> {
        match &self.said {
            Ok(ToLeader::Stopped(holder)) => Ok(holder.as_ref()),
            Ok(_) => Err("it gave an answer that makes no sense".to_owned()),
            Err(why) => Err(why.clone()),
        }
    }

    pub(crate) fn status(&self) -> Option<&Status> {
        match &self.said {
            Ok(ToLeader::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// What would keep it from a run now.
    pub(crate) fn problem(&self) -> Option<String> {
        match (&self.said, self.status()) {
            (Err(why), _) => Some(why.clone()),
            (_, None) => Some("it gave an answer that makes no sense".to_owned()),
            (_, Some(status)) if status.version != env!("CARGO_PKG_VERSION") => Some(format!(
                "it runs version {}, this is {}: run the same version on all nodes",
                status.version,
                env!("CARGO_PKG_VERSION")
            )),
            _ if self.same_as.is_some() => {
                self.same_as.as_ref().map(|other| format!("it is the agent that {other} is: name it once"))
            }
            (_, Some(status)) if !status.problems.is_empty() => Some(status.problems.join("; ")),
            (_, Some(Status { holder: Some(holder), .. })) => {
                Some(format!("{} has its run, for {}", holder.leader, holder.held))
            }
            _ => None,
        }
    }

    fn json(&self) -> Value {
        let status = self.status();
        json!({
            "name": self.name,
            "ready": self.problem().is_none(),
            "problem": self.problem(),
            "version": status.map(|status| &status.version),
            "kernel": status.map(|status| &status.kernel),
            "cores": status.map(|status| status.cores),
            "max_rps": status.and_then(|status| status.max_rps),
            "allowed_targets": status.map(|status| &status.allowed),
            "runs": status.map(|status| status.runs),
            "refused": status.map(|status| status.refused),
            "clock": self.offset.map(|offset| json!({ "ahead_ns": offset.ahead_ns, "bound_ns": offset.bound.0 })),
        })
    }
}

fn table(answers: &[Answer]) -> String {
    let mut text = String::new();
    for answer in answers {
        let state = answer.problem().map_or_else(|| "✓ ready".to_owned(), |problem| format!("✗ {problem}"));
        let _ = writeln!(text, "{}  {state}", answer.name);
        let Some(status) = answer.status() else { continue };
        let clock = answer
            .offset
            .map_or_else(|| "not compared".to_owned(), |offset| format!("known to ±{}", offset.bound));
        let _ = writeln!(
            text,
            "    version {} · kernel {} · {} · clock {clock} · {} · at most {} · {} run{}, {} refused",
            status.version,
            status.kernel,
            if status.cores == 1 { "1 core".to_owned() } else { format!("{} cores", status.cores) },
            if status.allowed.is_empty() {
                "any target".to_owned()
            } else {
                format!("targets {}", status.allowed.join(", "))
            },
            status
                .max_rps
                .map_or_else(|| "any rate".to_owned(), |rate| format!("{} requests/s", grouped(rate as u64))),
            grouped(status.runs),
            if status.runs == 1 { "" } else { "s" },
            grouped(status.refused),
        );
    }
    text
}

/// Prints it; whoever closed the pipe has seen enough.
pub(crate) fn put(text: &str) -> anyhow::Result<()> {
    console::print(&mut std::io::stdout(), text).context("cannot write to standard output")
}
