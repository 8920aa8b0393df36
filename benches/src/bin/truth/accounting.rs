//! Every request is counted once, on both sides, also while connections break and the sink stalls.

use anyhow::Result;
use blaster_core::report::Report;

use crate::sink::{Counts, Sink};
use crate::stage::{Run, Stage};
use crate::table::{Kind, Table, count};

const MIX: &str = "--batch 1:100,10:10,100:3";
const CONNECTIONS: u64 = 64;
const DEPTH: u64 = 16;
const SIZES: [u64; 3] = [1, 10, 100];

/// Requests are shared out among runs without and with breaks.
pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let runs = stage.pick(1, 2, 20);
    let [whole, broken] =
        stage.pick([1_500_000, 600_000], [36_000_000, 15_000_000], [36_000_000, 15_000_000]);
    for _ in 0..runs {
        without_breaks(stage, table, whole)?;
        with_breaks(stage, table, broken)?;
    }
    Ok(())
}

/// Errors and stalls, but no connection ends: both sides count the same.
fn without_breaks(stage: &Stage, table: &mut Table, requests: u64) -> Result<()> {
    let sink = Sink::start(stage, "--profile event-api --error-rate 1% --stall 300ms@1s")?;
    let Run { report, noise } = run(stage, &sink, requests, stage.pick(400_000, 600_000, 600_000), "30s")?;
    let counts = sink.counts()?;
    let ours = [
        report.requests.sent,
        report.requests.completed,
        report.requests.unexpected_status,
        sent_of(&report, 1),
        sent_of(&report, 10),
        sent_of(&report, 100),
    ];
    let theirs = [
        counts.count("requests_total")?,
        counts.sum("answers_total")?,
        counts.count("answers_total{kind=\"error\"}")?,
        received_of(&counts, 1)?,
        received_of(&counts, 10)?,
        received_of(&counts, 100)?,
    ];
    let gap: u64 = ours.iter().zip(theirs).map(|(ours, theirs)| ours.abs_diff(theirs)).sum();
    let identities = report.check_identities();
    let pass = gap == 0 && identities.is_ok();
    let list = |counts: [u64; 6]| counts.map(count).join(" · ");
    table.row(
        Kind::Counts,
        "requests sent, answered, answered 500, sent of 1, 10 and 100 events: with errors and a stall, both sides count the same".into(),
        [
            format!("the sink: {}", list(theirs)),
            format!("the client: {}", list(ours)),
            format!("{gap}; {} ({noise})", said(&identities)),
        ],
        pass,
    );
    Ok(())
}

/// Connections end in every way: nothing is counted twice, and what is missing was in flight on one that ended.
fn with_breaks(stage: &Stage, table: &mut Table, requests: u64) -> Result<()> {
    let faults = "--faults close:0.01%,truncate:0.01%,malformed:0.01%,silent:0.001% --reset-rate 0.01%";
    let sink = Sink::start(stage, &format!("--profile event-api {faults} --error-rate 1% --stall 500ms@1s"))?;
    let Run { report, noise } = run(stage, &sink, requests, stage.pick(200_000, 300_000, 300_000), "200ms")?;
    let counts = sink.counts()?;
    let [received, answered] = [counts.count("requests_total")?, counts.sum("answers_total")?];
    let [faults, discarded] = [counts.sum("faults_total")?, counts.count("discarded_total")?];
    let (sent, completed) = (report.requests.sent, report.requests.completed);
    // Every connection that ended was opened again, but for those that ended last.
    let ended = report.connections.reopened + CONNECTIONS;
    let (lost, allowed) = (sent - completed, DEPTH * ended);
    let mut wrong = Vec::new();
    let mut check = |what: &str, holds: bool| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    check(
        "the sink's requests are not its answers, faults and discarded",
        received == answered + faults + discarded,
    );
    check("more answers came than were given", completed <= answered);
    check("more answers were given than requests came", answered <= received);
    check("more requests came than were sent", received <= sent);
    check("more was lost than was in flight", lost <= allowed);
    for size in SIZES {
        check(
            "more requests of a class came than were sent",
            received_of(&counts, size)? <= sent_of(&report, size),
        );
    }
    if let Err(error) = report.check_identities() {
        wrong.push(error);
    }
    table.row(
        Kind::Counts,
        "answers taken ≤ answers given ≤ requests received ≤ requests sent, with resets, closes, halves, rubbish, silence, \
         a stall and timeouts; what is lost was in flight on a connection that ended"
            .into(),
        [
            format!("lost ≤ {} = {DEPTH} × {} connections ended", count(allowed), count(ended)),
            format!("{}; lost {}", [completed, answered, received, sent].map(count).join(" ≤ "), count(lost)),
            format!("{} ({noise})", if wrong.is_empty() { "none".to_owned() } else { wrong.join("; ") }),
        ],
        wrong.is_empty(),
    );
    Ok(())
}

fn run(stage: &Stage, sink: &Sink, requests: u64, rate: u64, timeout: &str) -> Result<Run> {
    let seconds = requests as f64 / rate as f64;
    let plan =
        format!("--rps {rate} -d {seconds}s -c {CONNECTIONS} --pipeline {DEPTH} --timeout {timeout} {MIX}");
    stage.run(sink, &plan)
}

fn sent_of(report: &Report, size: u64) -> u64 {
    let name = format!("batch{size}");
    report.classes.iter().filter(|class| class.name == name).map(|class| class.requests.sent).sum()
}

fn received_of(counts: &Counts, size: u64) -> Result<u64> {
    counts.count(&format!("requests_by_events_total{{events=\"{size}\"}}"))
}

fn said(identities: &Result<(), String>) -> String {
    identities.clone().err().unwrap_or_else(|| "identities hold".to_owned())
}
