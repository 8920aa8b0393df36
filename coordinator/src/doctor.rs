//! `coordinator doctor`: is every node ready for its part of a plan, and are all of them together?
//!
//! Nodes say first who they are, since what each may send decides its part; then each looks at its own machine with that part in mind.

use std::io::IsTerminal;
use std::path::Path;

use blaster::cli::RunArgs;
use blaster::console;
use blaster::doctor::{Diagnosis, table};
use blaster::files::Gathering;
use blaster::results::Destination;
use blaster::settings::Settings;
use blaster_core::report::units::{grouped, rate};
use clap::ArgMatches;
use coordinator_protocol::leader::Failure;
use coordinator_protocol::message::{RunId, Status, Task, ToAgent, ToLeader, encode};
use coordinator_protocol::shares::{Wish, weights};
use serde_json::{Value, json};

use crate::ask::{Answer, Patience, ask, hosts_of, put};
use crate::cli::ExamineArgs;
use crate::facts::unpack;
use crate::hosts::Host;
use crate::plan::{LeadError, one_of, random, wish};

/// The number of the layout.
const SCHEMA: u32 = 1;

/// A node, and what it found.
struct Examined {
    name: String,
    /// Of the plan.
    share: f64,
    /// Or why there is nothing.
    diagnosis: Result<Diagnosis, String>,
}

/// Asks every node whether it is ready for its part of a plan.
pub async fn doctor(args: &ExamineArgs, matches: &ArgMatches) -> anyhow::Result<u8> {
    let gathering = Gathering::default();
    let hosts = hosts_of(&args.nodes)?;
    // What cannot be is told here, and once.
    let settings = Settings::part(&args.run, blaster::random_seed(), &gathering, &one_of(hosts.len()))?;
    if settings.built_in_sink {
        return Err(LeadError::NoTarget.into());
    }
    let json = args.run.json.as_deref();
    let file = json.map(Destination::open).transpose()?;
    let statuses = ask(&args.nodes, hosts.clone(), |_| ToAgent::Status, Patience::SHORT).await?;
    let wishes: Vec<Wish> =
        hosts.iter().zip(&statuses).map(|(host, answer)| bounded(host, answer.status())).collect();
    let weights = weights(&wishes, settings.peak_rate_of_whole())
        .map_err(|error| LeadError::Failed(Failure::TooMuch(error)))?;
    let whole: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let shares: Vec<f64> = weights.iter().map(|&weight| f64::from(weight) / whole).collect();
    let task = Task {
        run: RunId(random()),
        preparation: 0,
        args: RunArgs::list(matches),
        files: encode(&gathering.into_bundle()),
        seed: settings.plan.seed,
        index: 0,
        weights,
    };
    let there: Vec<usize> = (0..hosts.len()).filter(|&node| statuses[node].problem().is_none()).collect();
    let question = |position: usize| ToAgent::Examine {
        task: Box::new(Task { index: there[position] as u32, ..task.clone() }),
        new_connections: (args.new_connections as f64 * shares[there[position]]).ceil() as u64,
    };
    let asked = there.iter().map(|&node| hosts[node].clone()).collect();
    let answers = ask(&args.nodes, asked, question, Patience::MEASURES).await?;
    let mut diagnoses: Vec<_> = statuses.iter().map(not_asked).collect();
    for (&node, answer) in there.iter().zip(&answers) {
        diagnoses[node] = diagnosis(answer);
    }
    let of_node =
        |((answer, share), diagnosis): ((Answer, f64), _)| Examined { name: answer.name, share, diagnosis };
    let examined: Vec<Examined> = statuses.into_iter().zip(shares).zip(diagnoses).map(of_node).collect();
    if let Some(file) = &file {
        file.write(&format!("{:#}\n", as_json(&examined)))?;
    }
    if json != Some(Path::new("-")) {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        put(&text(&examined, settings.peak_rate_of_whole(), colour))?;
    }
    Ok(u8::from(!is_ready(&examined)))
}

/// Within its own bound as well as the hosts file's.
fn bounded(host: &Host, status: Option<&Status>) -> Wish {
    let Wish { weight, rate_max } = wish(host);
    let own = status.and_then(|status| status.max_rps);
    Wish { weight, rate_max: [rate_max, own].into_iter().flatten().reduce(f64::min) }
}

/// What a node found out about its machine.
fn diagnosis(answer: &Answer) -> Result<Diagnosis, String> {
    match &answer.said {
        Ok(ToLeader::Examined { diagnosis, .. }) => unpack(diagnosis)
            .ok_or_else(|| "its diagnosis cannot be read: run the same version on all nodes".to_owned()),
        Ok(ToLeader::Refused { why, .. }) => Err(why.clone()),
        Ok(ToLeader::Busy(holder)) => Err(format!("{} has its run, for {}", holder.leader, holder.held)),
        Ok(_) => Err("it gave an answer that makes no sense".to_owned()),
        Err(why) => Err(why.clone()),
    }
}

fn not_asked(answer: &Answer) -> Result<Diagnosis, String> {
    Err(answer.problem().unwrap_or_else(|| "it was not asked".to_owned()))
}

impl Examined {
    fn is_ready(&self) -> bool {
        self.diagnosis.as_ref().is_ok_and(|diagnosis| diagnosis.ready)
    }
}

fn is_ready(examined: &[Examined]) -> bool {
    examined.iter().all(Examined::is_ready)
}

/// What all that were measured can send together.
fn rps(examined: &[Examined]) -> Option<f64> {
    let rates = examined.iter().filter_map(|node| node.diagnosis.as_ref().ok()?.prediction.rps);
    rates.reduce(|sum, more| sum + more)
}

fn as_json(examined: &[Examined]) -> Value {
    let nodes = examined.iter().map(|node| match &node.diagnosis {
        Ok(diagnosis) => json!({ "name": node.name, "share": node.share, "diagnosis": diagnosis }),
        Err(why) => json!({ "name": node.name, "share": node.share, "problem": why }),
    });
    json!({
        "schema": SCHEMA,
        "tool": { "name": "coordinator", "version": env!("CARGO_PKG_VERSION") },
        "ready": is_ready(examined),
        "rps": rps(examined),
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

/// Each node's own table, and a word on all of them.
fn text(examined: &[Examined], asked: Option<f64>, colour: bool) -> String {
    let mut text = String::new();
    for node in examined {
        let of_node = match &node.diagnosis {
            Ok(diagnosis) => table::render(diagnosis, console::width(), colour),
            Err(why) => format!("✗ {why}\n"),
        };
        text.push_str(&format!("== {}\n{of_node}\n", node.name));
    }
    text.push_str("== together\n");
    if let Some(rps) = rps(examined) {
        let asked =
            asked.map_or_else(String::new, |asked| format!(", {} are asked", grouped(asked.ceil() as u64)));
        text.push_str(&format!("can send {} req/s of this plan{asked}\n", rate(table::round(rps))));
    }
    let unready: Vec<&str> =
        examined.iter().filter(|node| !node.is_ready()).map(|node| node.name.as_str()).collect();
    text.push_str(&match (unready.len(), examined.len()) {
        (0, 1) => "✓ ready: the node can do its part\n".to_owned(),
        (0, all) => format!("✓ ready: each of the {all} nodes can do its part\n"),
        (some, all) => format!("✗ not ready: {some} of {all} nodes: {}\n", unready.join(", ")),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_not_there_is_named_and_makes_the_whole_not_ready() {
        let gone =
            || Examined { name: "b:7400".to_owned(), share: 1.0, diagnosis: Err("no answer".to_owned()) };
        let text = text(&[gone()], Some(1e6), false);
        assert!(
            text.contains("== b:7400\n✗ no answer") && text.contains("not ready: 1 of 1 nodes: b:7400"),
            "{text}"
        );
        assert_eq!(as_json(&[gone()])["ready"], false);
        assert_eq!(as_json(&[gone()])["nodes"][0]["problem"], "no answer");
    }
}
