//! `coordinator status` and `coordinator stop`: a question to all nodes, and their answers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context;
use blaster_core::report::units::grouped;
use blaster_ring::system;
use coordinator_protocol::clock::{ClockFilter, Offset};
use coordinator_protocol::message::{Status, ToAgent, ToLeader};
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
struct Answer {
    name: String,
    said: Result<ToLeader, String>,
    offset: Option<Offset>,
}

/// Shows every node.
pub async fn status(args: &StatusArgs) -> anyhow::Result<u8> {
    let answers = ask(&args.nodes, ToAgent::Status, true).await?;
    let ready = answers.iter().all(|answer| answer.problem().is_none());
    let stdout_is_taken = args.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", Value::Array(answers.iter().map(Answer::json).collect()));
        if stdout_is_taken {
            put(&text);
        } else {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if !stdout_is_taken {
        put(&table(&answers));
    }
    Ok(u8::from(!ready))
}

/// Stops whatever run the nodes have.
pub async fn stop(args: &StopArgs) -> anyhow::Result<u8> {
    let answers = ask(&args.nodes, ToAgent::Stop, false).await?;
    let mut text = String::new();
    for answer in &answers {
        let what = match &answer.said {
            Ok(ToLeader::Stopped(Some(holder))) => format!("stopped the run of {}", holder.leader),
            Ok(ToLeader::Stopped(None)) => "has no run".to_owned(),
            Ok(_) => "gave an answer that makes no sense".to_owned(),
            Err(why) => why.clone(),
        };
        let _ = writeln!(text, "{}: {what}", answer.name);
    }
    put(&text);
    Ok(u8::from(!answers.iter().all(|answer| matches!(answer.said, Ok(ToLeader::Stopped(_))))))
}

async fn ask(args: &NodesArgs, question: ToAgent, compare: bool) -> anyhow::Result<Vec<Answer>> {
    let path = args.nodes.as_ref().ok_or(LeadError::NoNodes)?;
    let hosts = read_hosts(path)?;
    let secret = Secret::read(&Secret::path(args.secret.as_deref()))?;
    let mut nodes = Nodes::new(hosts.clone(), &secret).context("cannot open a port to reach the nodes")?;
    (0..nodes.count()).for_each(|node| nodes.connect(node));
    let mut said: Vec<Option<Result<ToLeader, String>>> = vec![None; hosts.len()];
    let mut clocks = vec![ClockFilter::default(); hosts.len()];
    let mut pings = interval(COMPARE_EVERY);
    let mut until = Instant::now() + ANSWERS_MAX;
    let mut complete = false;
    loop {
        if !complete && said.iter().all(Option::is_some) {
            complete = true;
            until = until.min(Instant::now() + if compare { COMPARE_FOR } else { Duration::ZERO });
        }
        tokio::select! {
            () = sleep_until(until) => break,
            _ = pings.tick(), if compare => (0..hosts.len()).for_each(|node| nodes.ping(node)),
            (node, word) = nodes.next() => match word {
                Word::Connected => nodes.say(node, &question),
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
        offset: clock.offset(now),
    };
    Ok(hosts.iter().zip(said).zip(&clocks).map(answer).collect())
}

impl Answer {
    fn status(&self) -> Option<&Status> {
        match &self.said {
            Ok(ToLeader::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// What would keep it from a run now.
    fn problem(&self) -> Option<String> {
        match (&self.said, self.status()) {
            (Err(why), _) => Some(why.clone()),
            (_, None) => Some("it gave an answer that makes no sense".to_owned()),
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

fn put(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
