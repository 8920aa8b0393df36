//! The built-in sink and the report count the same, to the last request.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::child::{ALLOWANCE, BLASTER, Directory, Load, Running, skipped};
use crate::report::Report;

/// `blaster sink` on a free port.
struct Sink {
    running: Running,
    address: String,
}

impl Sink {
    fn start(flags: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", flags)
    }

    fn listening(address: &str, flags: &[&str]) -> Self {
        let running = Running::start(Command::new(BLASTER).args(["sink", "--listen", address]).args(flags));
        let line = running.line();
        let address = line.split_once("http://").and_then(|(_, rest)| rest.split_whitespace().next());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Self { running, address }
    }

    /// What `/metrics` says, by name, without `sink_` and `_total`.
    fn metrics(&self) -> BTreeMap<String, u64> {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(ALLOWANCE)).expect("a time above 0");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers and closes");
        let metric = |line: &str| {
            let (name, value) = line.strip_prefix("sink_")?.split_once("_total ")?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(metric).collect()
    }

    /// Requests, events and bytes are those sent, of the warm-up too.
    fn assert_counted(&self, report: &Report) {
        let metrics = self.metrics();
        for (metric, pointer) in
            [("requests", "/requests/sent"), ("events", "/events/sent"), ("request_bytes", "/bytes/sent")]
        {
            let in_warmup =
                if report.at("/warmup").is_null() { 0 } else { report.count(&format!("/warmup{pointer}")) };
            assert_eq!(metrics[metric], report.count(pointer) + in_warmup, "{metric}: {metrics:?}");
        }
        assert_eq!((metrics["malformed"], metrics["requests_rejected"]), (0, 0));
    }
}

/// A load whose requests have all the time of the world, so that none is given up on a busy machine.
fn load<'a>(target: &str) -> Load<'a> {
    Load { timeout: Duration::from_secs(8), ..Load::at(target) }
}

#[test]
fn every_event_of_an_open_loop_is_counted() {
    for depth in [1, 16] {
        let sink = &if depth == 1 { Sink::start(&[]) } else { Sink::start(&["--echo"]) };
        let report = Load { rate: "3k", depth, ..load(&sink.address) }.run().report;
        report.assert_all("/requests/ok");
        assert_eq!(report.status(202), report.sent());
        assert_eq!(report.count("/requests/scheduled"), 900);
        assert_eq!(report.count("/events/sent"), report.sent());
        assert_eq!(report.count("/events/acknowledged"), report.sent());
        sink.assert_counted(&report);
    }
}

#[test]
fn every_request_of_a_closed_loop_is_counted() {
    for depth in ["1", "64"] {
        let sink = Sink::start(&[]);
        let load = Load { rate: "max", depth: depth.parse().unwrap(), ..load(&sink.address) };
        let report = load.run().report;
        report.assert_all("/requests/ok");
        assert_eq!(report.count("/requests/scheduled"), report.sent());
        assert!(report.at("/rate/offered").is_null() && report.at("/lateness_ns").is_null());
        sink.assert_counted(&report);
    }
}

#[test]
fn the_warm_up_is_counted_apart_and_sent_all_the_same() {
    let sink = Sink::start(&[]);
    let report = Load { flags: &["--warmup", "200ms"], ..load(&sink.address) }.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(report.count("/requests/scheduled"), Load::SCHEDULED);
    assert_eq!(report.count("/warmup/requests/scheduled"), 100);
    assert_eq!(report.count("/warmup/requests/ok"), report.count("/warmup/requests/sent"));
    sink.assert_counted(&report);
}

#[test]
fn several_targets_share_by_weight_and_each_counts_its_own() {
    let sinks = [Sink::start(&[]), Sink::start(&[])];
    let weighted = format!("{}=3", sinks[1].address);
    let report =
        Load { targets: vec![sinks[0].address.clone(), weighted], rate: "400", ..load("") }.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(report.count("/requests/scheduled"), 120);
    for (index, share) in [(0, 30), (1, 90)] {
        let class = format!("/classes/{index}/requests");
        assert_eq!(report.count(&format!("{class}/scheduled")), share);
        assert_eq!(sinks[index].metrics()["requests"], report.count(&format!("{class}/sent")));
        let name = report.at(&format!("/classes/{index}/name")).as_str().unwrap().to_owned();
        assert!(name.starts_with(&sinks[index].address), "{name}");
    }
}

#[test]
fn two_shards_send_the_whole() {
    let sink = Sink::start(&[]);
    let report = Load { rate: "1001", flags: &["-t", "2"], ..load(&sink.address) }.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(report.count("/plan/threads"), 2);
    // At 0, 1/1001 s … 300/1001 s: no request is lost between the two.
    assert_eq!(report.count("/requests/scheduled"), 301);
    sink.assert_counted(&report);
}

#[test]
fn ipv6_works_alike() {
    if TcpStream::connect("[::1]:1").is_err_and(|error| error.kind() != std::io::ErrorKind::ConnectionRefused)
    {
        return skipped("SKIPPED: this machine has no IPv6 loopback");
    }
    let sink = Sink::listening("[::1]:0", &[]);
    assert!(sink.address.starts_with("[::1]:"), "{}", sink.address);
    let report = load(&sink.address).run().report;
    report.assert_all("/requests/ok");
    sink.assert_counted(&report);
}

#[test]
fn heads_are_answered_without_a_body() {
    for profile in ["null", "control"] {
        let sink = Sink::start(&["--profile", profile]);
        for depth in [1, 16] {
            let report = Load { depth, flags: &["-X", "HEAD"], ..load(&sink.address) }.run().report;
            report.assert_all("/requests/ok");
            assert_eq!(report.count("/connections/reopened"), 0, "{profile}");
        }
    }
}

#[test]
fn bodies_of_ones_own_are_counted() {
    let directory = Directory::new();
    let lines = directory.path("bodies.jsonl");
    std::fs::write(&lines, "{\"a\":1}\n[{\"a\":1},{\"b\":\"]\"}]\n\n[1,2,3]\n").unwrap();
    let from_file = format!("@{}", lines.display());
    // How many events a body of one's own holds is the sink's to know.
    for (body, events_of_three) in [("{\"own\":true}", 3), (&*from_file, 6)] {
        let sink = Sink::start(&[]);
        let flags = ["-b", body, "--path", "/events"];
        let report = Load { flags: &flags, ..load(&sink.address) }.run().report;
        report.assert_all("/requests/ok");
        let metrics = sink.metrics();
        assert_eq!(metrics["requests"], report.sent());
        assert_eq!(metrics["request_bytes"], report.count("/bytes/sent"));
        assert_eq!(metrics["events"] / events_of_three, report.sent() / 3);
    }
}

#[test]
fn a_close_after_100_answers_is_learnt_and_costs_nothing_at_depth_1() {
    let sink = Sink::start(&["--close-after", "100"]);
    let report = Load { rate: "2k", ..load(&sink.address) }.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(report.count("/connections/answers_before_close"), 100);
    assert_ne!(report.count("/connections/reopened"), 0);
    sink.assert_counted(&report);
}

#[test]
fn a_close_after_100_answers_costs_pipelines_what_was_behind_it_until_it_is_learnt() {
    let sink = Sink::start(&["--close-after", "100"]);
    let report = Load { rate: "max", depth: 16, ..load(&sink.address) }.run().report;
    assert_eq!(report.count("/connections/answers_before_close"), 100);
    assert_eq!(report.ok() + report.error("closed") + report.error("reset"), report.sent());
    assert!(report.errors() <= (4 + 2) * 16, "{:#}", report.at("/requests"));
    assert_eq!(sink.metrics()["requests"], report.ok(), "what was behind is not served");
}

#[test]
fn other_statuses_are_told_apart() {
    let sink = Sink::start(&["--profile", "control", "--status", "503"]);
    let report = load(&sink.address).run().report;
    report.assert_all("/requests/unexpected_status");
    assert_eq!(report.status(503), report.sent());
    assert_eq!(sink.metrics()["requests"], report.sent());
}

#[test]
fn without_a_target_the_built_in_sink_is_driven() {
    let report = Load { targets: Vec::new(), rate: "2k", ..load("") }.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(report.count("/requests/scheduled"), 600);
}

#[test]
fn it_sums_up_when_it_is_interrupted() {
    let sink = Sink::start(&[]);
    let report = load(&sink.address).run().report;
    sink.running.signal("INT");
    let ended = sink.running.within(ALLOWANCE);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(&format!("requests {}", report.sent())), "{ended:?}");
}
