//! Sweeps: what is tried, what is kept, what is said. How well a search finds a limit is proven in simulation, and measured by
//! `benches/sweep.sh`; nothing here depends on how fast the machine is.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::{ALLOWANCE, BLASTER, Directory, Ended, Running};
use crate::server::{Server, answer};
use crate::sink::Sink;

/// What a target that died is waited for, and then some.
const REVIVAL: Duration = Duration::from_secs(12);

fn sweep(directory: &Directory, args: &[&str]) -> Running {
    let mut command = Command::new(BLASTER);
    command.arg("sweep").args(["--allow-invalid", "--json"]).arg(directory.path("s.json")).args(args);
    Running::start(&mut command)
}

fn swept(directory: &Directory, args: &[&str]) -> Ended {
    sweep(directory, args).within(ALLOWANCE * 3)
}

/// What it found, which holds to the published schema, as its trials hold to theirs.
fn found(directory: &Directory) -> Value {
    let text = std::fs::read_to_string(directory.path("s.json")).expect("a sweep writes what it found");
    let found = serde_json::from_str(&text).expect("JSON");
    assert_holds(include_str!("../../sweep.schema.json"), &found);
    let steps = found["steps"].as_array().expect("steps");
    for trial in steps.iter().flat_map(|step| step["trials"].as_array().expect("trials")) {
        assert_holds(include_str!("../../report.schema.json"), trial);
    }
    found
}

fn assert_holds(schema: &str, value: &Value) {
    let schema = serde_json::from_str(schema).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

fn offered(found: &Value) -> Vec<f64> {
    found["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| step["offered"].as_f64().expect("a rate"))
        .collect()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

const SHORT: [&str; 4] = ["-d", "200ms", "--warmup", "20ms"];

#[test]
fn a_ladder_tries_what_it_names_and_leaves_all_of_it_behind() {
    let directory = Directory::new();
    let sink = Sink::start(&["--capacity", "400", "--buffer", "20"]);
    let page = directory.path("s.html");
    let metrics = format!("http://{}", sink.address);
    let args = [
        "--steps",
        "100,200,1600",
        "--slo",
        "errors<5%",
        "--html",
        page.to_str().unwrap(),
        "--target-metrics",
        &metrics,
    ];
    let ended = swept(&directory, &[&args[..], &SHORT, &["--need", "1k", &sink.address]].concat());
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let found = found(&directory);
    assert_eq!(offered(&found), [100.0, 200.0, 1600.0]);
    let reports =
        found["steps"].as_array().unwrap().iter().flat_map(|step| step["trials"].as_array().unwrap());
    // On a machine that is busy with other things the generator may be late by itself.
    let by_client = reports.clone().any(|report| report["verdict"]["status"] == "client_limited");
    let answer = &found["answers"][0];
    let limited_by = if by_client { "client" } else { "target" };
    assert_eq!(
        (answer["holds_rps"].as_f64(), answer["limited_by"].as_str()),
        (Some(200.0), Some(limited_by)),
        "{answer}"
    );
    assert_eq!(found["sizing"]["targets"], 8, "1,000 of 200 each at 30 % headroom");
    assert!(reports.clone().all(|report| report["schema"] == 1) && reports.count() == 3);
    let seeds: Vec<_> =
        found["steps"].as_array().unwrap().iter().map(|step| &step["trials"][0]["seed"]).collect();
    assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2], "no two trials send the same ids: {seeds:?}");
    let said = if by_client { "at least 200 req/s" } else { "holds 200 req/s (200-1,600)" };
    assert!(ended.stdout.contains(said) && ended.stdout.contains("offered/s"), "{ended:#?}");
    assert!(std::fs::read_to_string(&page).expect("a page").contains("200 req/s"));
    assert_eq!(lines(&directory.path("s.json.journal")), 4, "what was asked, and three trials");
    let sent: u64 = found["steps"].as_array().unwrap().iter().map(|step| sent(&step["trials"][0])).sum();
    assert_eq!(sink.metrics()["requests"], sent, "the sink counts what all trials sent");
}

/// With the warm-up.
fn sent(report: &Value) -> u64 {
    let of = |value: &Value| value["requests"]["sent"].as_u64().expect("a count");
    of(report) + of(&report["warmup"])
}

#[test]
fn a_step_with_too_few_connections_is_done_anew_with_more() {
    let directory = Directory::new();
    let sink = Sink::start(&["--latency", "fixed:300ms"]);
    let args =
        ["--steps", "10,40", "-c", "4", "--slo", "errors<1%,p99<2s", "-d", "1500ms", "--warmup", "200ms"];
    let ended = swept(&directory, &[&args[..], &[&sink.address]].concat());
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let found = found(&directory);
    let connections = |step: usize| -> Vec<u64> {
        let trials = found["steps"][step]["trials"].as_array().unwrap();
        trials.iter().map(|report| report["plan"]["connections"].as_u64().unwrap()).collect()
    };
    let (first, second) = (connections(0), connections(1));
    assert_eq!(first[0], 4);
    assert!(second.len() > 1 && second.last().unwrap() >= &16, "{first:?}, {second:?}");
    assert_eq!(found["collapse_rps"], Value::Null, "that is no limit of the target's");
}

#[test]
fn multiplying_ends_where_it_was_told_to() {
    let directory = Directory::new();
    let sink = Sink::start(&["--capacity", "300", "--buffer", "8"]);
    let args = ["--from", "100", "--factor", "2", "--until", "errors>10%"];
    let ended = swept(&directory, &[&args[..], &SHORT, &[&sink.address]].concat());
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let tried = offered(&found(&directory));
    assert!(tried.starts_with(&[100.0, 200.0]) && tried.len() <= 4, "{tried:?}");
}

#[test]
fn an_objective_that_fails_at_the_lowest_rate_is_99() {
    let directory = Directory::new();
    let sink = Sink::start(&["--status", "500"]);
    let ended = swept(&directory, &[&["--steps", "100,200"][..], &SHORT, &[&sink.address]].concat());
    assert_eq!(ended.status, Some(99), "{ended:#?}");
    assert!(ended.stdout.contains("not even at the lowest rate, 100 req/s"), "{ended:#?}");
}

#[test]
fn what_cannot_be_swept_is_told_before_anything_is_sent() {
    let directory = Directory::new();
    let server = Server::answering(|_, _| answer(200, "ok"));
    for (flags, words) in [
        (&["--rps", "5k"][..], "begins at --from"),
        (&["--stages", "1s:5k"], "--steps"),
        (&["-d", "5s"], "--budget"),
        (&["--slo", "p99<1s,p99>2s"], "cannot both hold"),
        (&["--budget", "2s"], "too short for one step"),
        (&["--from", "5k", "--to", "1k"], "nothing between them"),
        (&["--precision", "80%"], "0.1% to 50%"),
        (&["--steps", "1k", "--factor", "2"], "cannot be used with"),
        (&["--resume", "/dev/null"], "no journal"),
        (&["--target-cpus", "2"], "--target-metrics"),
    ] {
        let ended = swept(&directory, &[flags, &[&server.target()]].concat());
        let words_are_there =
            ended.stderr.contains(words) || flags[0] == "--resume" && ended.stderr.contains("leave out");
        assert!(ended.status == Some(2) && words_are_there, "{flags:?}: {ended:#?}");
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn metrics_that_say_nothing_are_told_before_anything_is_sent() {
    let directory = Directory::new();
    let server = Server::answering(|_, _| answer(200, "up 1\n"));
    let url =
        format!("http://{}/metrics", server.target().trim_start_matches("http://").trim_end_matches('/'));
    let ended = swept(&directory, &["--target-metrics", &url, &server.target()]);
    assert_eq!((ended.status, server.requests()), (Some(2), 1), "{ended:#?}");
    assert!(ended.stderr.contains("process_cpu_seconds_total"), "{ended:#?}");
}

/// Waits until so many lines stand in the journal.
fn wait_for(journal: &Path, count: usize) {
    let deadline = Instant::now() + ALLOWANCE * 2;
    while lines(journal) < count {
        assert!(Instant::now() < deadline, "{} holds {} lines", journal.display(), lines(journal));
        std::thread::yield_now();
    }
}

#[test]
fn an_interrupted_sweep_says_what_it_knows_and_goes_on_where_it_was() {
    let directory = Directory::new();
    let sink = Sink::start(&[]);
    let args = ["--steps", "100,200,300", "-d", "1s", "--warmup", "20ms", &sink.address];
    let running = sweep(&directory, &args);
    let journal = directory.path("s.json.journal");
    wait_for(&journal, 2);
    running.signal("INT");
    let ended = running.within(ALLOWANCE);
    assert_eq!(ended.status, Some(130), "{ended:#?}");
    assert!(ended.stdout.contains("at least") && ended.stdout.contains("--resume"), "{ended:#?}");
    let first = found(&directory);
    assert_eq!(first["interrupted"], true);
    let done = offered(&first).len();
    assert!((1..3).contains(&done), "{first:#}");

    let ended = swept(&directory, &["--resume", journal.to_str().unwrap()]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let second = found(&directory);
    assert_eq!(offered(&second), [100.0, 200.0, 300.0]);
    assert_eq!(second["steps"][0], first["steps"][0], "what was done is not done again");
    assert_eq!(lines(&journal), 4);
}

#[test]
fn a_journal_that_was_cut_short_loses_one_trial_and_takes_no_other_arguments() {
    let directory = Directory::new();
    let sink = Sink::start(&[]);
    let ended = swept(&directory, &[&["--steps", "100,200"][..], &SHORT, &[&sink.address]].concat());
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let journal = directory.path("s.json.journal");
    let whole = std::fs::read(&journal).expect("a journal");
    std::fs::write(&journal, &whole[..whole.len() - 100]).expect("it can be written");
    let again = swept(&directory, &[&["--steps", "100"][..], &SHORT, &[&sink.address]].concat());
    assert_eq!(again.status, Some(0), "{again:#?}");
    assert_eq!(lines(&directory.path("s.json.journal.2")), 2, "it does not touch the first");
    let ended = swept(&directory, &["--resume", journal.to_str().unwrap(), "--steps", "5"]);
    assert!(ended.status == Some(2) && ended.stderr.contains("leave out --steps=5"), "{ended:#?}");
    let ended = swept(&directory, &["--resume", journal.to_str().unwrap()]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    assert_eq!((offered(&found(&directory)), lines(&journal)), (vec![100.0, 200.0], 3));
}

#[test]
fn a_target_that_dies_is_told_and_costs_nothing_that_was_done() {
    let directory = Directory::new();
    let sink = Sink::start(&[]);
    let args =
        ["--steps", "100,200,300", "-d", "1s", "--warmup", "20ms", "--timeout", "500ms", &sink.address];
    let running = sweep(&directory, &args);
    wait_for(&directory.path("s.json.journal"), 2);
    drop(sink);
    let ended = running.within(REVIVAL + ALLOWANCE);
    assert_eq!(ended.status, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("connection refused") && ended.stdout.contains("--resume"), "{ended:#?}");
    assert_eq!(found(&directory)["answers"][0]["holds_rps"], 100.0);
    assert!(lines(&directory.path("s.json.journal")) < 4);
}

#[test]
fn a_target_that_was_never_there_is_told_at_once() {
    let directory = Directory::new();
    let ended = swept(&directory, &[&["--steps", "100"][..], &SHORT, &["127.0.0.1:1"]].concat());
    assert_eq!(ended.status, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("connection refused") && ended.stdout.is_empty(), "{ended:#?}");
    assert!(!directory.path("s.json.journal").exists(), "there is nothing to go on from");
}

#[test]
fn a_search_whose_budget_ends_says_so_and_makes_no_ceiling_of_it() {
    let directory = Directory::new();
    let sink = Sink::start(&[]);
    let ended = swept(&directory, &["--from", "50", "--budget", "12s", "--slo", "errors<50%", &sink.address]);
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let found = found(&directory);
    assert_eq!(found["answers"][0]["limited_by"], "budget", "{:#}", found["answers"]);
    let offered = offered(&found);
    assert_eq!(offered[0], 50.0);
    assert!(offered.windows(2).all(|pair| pair[1] == 2.0 * pair[0]), "doubling: {offered:?}");
    assert!(found["probes"].as_array().unwrap().len() >= 2, "it began with a target at rest");
    assert!(ended.stdout.contains("the budget is used up"), "{ended:#?}");
}
