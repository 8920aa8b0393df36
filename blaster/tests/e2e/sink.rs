//! The built-in sink and the report count the same, to the last request.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::child::{ALLOWANCE, BLASTER, Directory, Load, Running, skipped};
use crate::report::Report;

/// `blaster sink` on a free port.
pub struct Sink {
    running: Running,
    pub address: String,
}

impl Sink {
    pub fn start(flags: &[&str]) -> Self {
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
    pub fn metrics(&self) -> BTreeMap<String, u64> {
        let text = self.talk(&[b"GET /metrics HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n"]);
        let metric = |line: &str| {
            let (name, value) = line.strip_prefix("sink_")?.split_once(' ')?;
            Some((name.trim_end_matches("_total").to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(metric).collect()
    }

    /// Interrupts it, and waits until it has written what it leaves behind.
    fn end(self) {
        self.running.signal("INT");
        assert_eq!(self.running.within(ALLOWANCE).status, Some(0));
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(ALLOWANCE)).expect("a time above 0");
        stream.set_write_timeout(Some(ALLOWANCE)).expect("a time above 0");
        stream
    }

    /// All that comes back until it closes, for requests written in these pieces; the last of them asks it to close.
    pub fn talk(&self, pieces: &[&[u8]]) -> String {
        let mut stream = self.connect();
        for piece in pieces {
            stream.write_all(piece).expect("it reads");
        }
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers and closes");
        text
    }

    /// The statuses and bodies of what is answered to these bodies, pipelined.
    fn post(&self, bodies: &[&str]) -> Vec<(u16, String)> {
        let requests: String = bodies.iter().map(|body| post(body)).collect();
        answers(&self.talk(&[requests.as_bytes(), LAST_REQUEST.as_bytes()]))
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

/// Asks to close, and is answered 404.
const LAST_REQUEST: &str = "GET /last HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n";

fn post(body: &str) -> String {
    format!("POST /events HTTP/1.1\r\nHost: sink\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The answers in `text`, all with a length, but for that to [`LAST_REQUEST`].
fn answers(mut text: &str) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_once("\r\n\r\n").expect("a whole head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let (body, rest) = rest.split_at(length.expect("a length").parse().unwrap());
        answers.push((status, body.to_owned()));
        text = rest;
    }
    let last = answers.pop();
    assert_eq!(last.map(|(status, _)| status), Some(404), "the last request is answered last");
    answers
}

/// A valid event that occurred now, as far as milliseconds can tell.
fn event() -> String {
    event_at(Timestamp::now())
}

fn event_at(time: Timestamp) -> String {
    let time = time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    format!(
        "{{\"eventId\":\"6f1e6a1c-9a52-4c3e-8b0d-0123456789ab\",\"userId\":\"user_1\",\"sessionId\":\"session_1\",\
         \"type\":\"form_submit\",\"payload\":{{\"userAgent\":\"a \\\"browser\\\"\",\"ip\":\"1.2.3.4\",\"formId\":\"form_1\",\
         \"fields\":[\"email\",\"]\"]}},\"occurredAt\":\"{time}\"}}"
    )
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

#[test]
fn answers_to_batches_and_single_events_come_in_the_order_of_the_requests() {
    for flags in [&[][..], &["--validate"]] {
        let sink = Sink::start(&[flags, &["--status", "202"]].concat());
        // More than a joined send takes, and more than a staging room holds.
        let counts: Vec<usize> =
            (0..600).map(|number| if number % 5 < 4 { 1 } else { number % 30 }).collect();
        let event = event();
        let bodies: Vec<String> =
            counts.iter().map(|&count| format!("[{}]", vec![&*event; count].join(","))).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        let expected: Vec<_> = counts
            .iter()
            .map(|count| (202, format!("{{\"message\":\"accepted\",\"count\":{count}}}")))
            .collect();
        assert_eq!(sink.post(&bodies), expected);
        assert_eq!(sink.metrics()["events"], counts.iter().sum::<usize>() as u64);
    }
}

#[test]
fn invalid_events_are_answered_400_with_the_first_problem_and_counted() {
    let sink = Sink::start(&["--validate"]);
    let valid = event();
    let nobody = valid.replace("user_1", "");
    let unknown = valid.replace("form_submit", "form_\\\"submit");
    let mixed = format!("[{valid},{nobody},{unknown},{valid}]");
    let got = sink.post(&[&valid, &nobody, &unknown, &mixed, "[]", "{", "7", &format!("[{valid},{valid}]")]);
    let errors: Vec<_> = got
        .iter()
        .map(|(status, body)| {
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            (*status, body["error"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    for (index, status, error) in [
        (0, 202, ""),
        (1, 400, "event 1: userId is empty"),
        (2, 400, "event 1: type \"form_\\\"submit\" is none of page_view, "),
        (3, 400, "event 2: userId is empty"),
        (4, 202, ""),
        (5, 400, "the body is no JSON: EOF"),
        (6, 400, "want a JSON object or an array of them"),
        (7, 202, ""),
    ] {
        assert_eq!(errors[index].0, status, "{index}: {errors:?}");
        assert!(errors[index].1.starts_with(error), "{index}: {errors:?}");
    }
    let metrics = sink.metrics();
    // With the last request, which was a 404.
    assert_eq!((metrics["requests"], metrics["requests_rejected"]), (9, 6));
    assert_eq!((metrics["events"], metrics["events_invalid"]), (3, 6));
    sink.running.signal("INT");
    let ended = sink.running.within(ALLOWANCE);
    assert!(ended.stdout.contains("invalid events 6"), "{ended:?}");
}

#[test]
fn a_body_is_validated_whole_wherever_it_is_cut() {
    let sink = Sink::start(&["--validate"]);
    let event = event();
    let wrong = event.replace("6f1e6a1c", "6f1e6a1x");
    for (body, status) in [(&event, 202), (&wrong, 400)] {
        let request = post(body);
        for cut in (1..request.len()).step_by(29) {
            let (front, back) = request.as_bytes().split_at(cut);
            let text = sink.talk(&[front, back, LAST_REQUEST.as_bytes()]);
            assert_eq!(answers(&text)[0].0, status, "cut at {cut}: {text}");
        }
    }
    // In chunks, and larger than any buffer.
    let batch = format!("[{}]", vec![&*event; 1000].join(","));
    let chunk = |data: &[u8]| [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat();
    let chunks: Vec<u8> = batch.as_bytes().chunks(4999).flat_map(chunk).collect();
    let head = "POST /events HTTP/1.1\r\nHost: sink\r\nTransfer-Encoding: chunked\r\n\r\n";
    let text = sink.talk(&[head.as_bytes(), &chunks, b"0\r\n\r\n", LAST_REQUEST.as_bytes()]);
    assert_eq!(answers(&text), [(202, "{\"message\":\"accepted\",\"count\":1000}".to_owned())]);
}

#[test]
fn a_body_too_large_to_validate_is_refused_and_the_next_one_is_not() {
    let sink = Sink::start(&["--validate"]);
    let large = format!("[{}{}]", event(), " ".repeat(10 << 20));
    let got = sink.post(&[&large, &event()]);
    assert_eq!((got[0].0, got[1].0), (400, 202), "{got:?}");
    assert!(got[0].1.contains("larger than 10485760 bytes"), "{got:?}");
}

#[test]
fn how_far_events_are_from_the_wall_clock_is_told_when_validating() {
    let sink = Sink::start(&["--validate"]);
    assert_eq!(sink.metrics()["occurred_at_skew_ms_max"], 0);
    let old = event_at(Timestamp::now() - SignedDuration::from_hours(1));
    assert_eq!(sink.post(&[&old])[0].0, 202, "{old}");
    let skew_ms = sink.metrics()["occurred_at_skew_ms_max"];
    assert!((3_600_000..3_600_000 + ALLOWANCE.as_millis() as u64).contains(&skew_ms), "{skew_ms}");
    assert_eq!(sink.post(&[&event()])[0].0, 202);
    assert_eq!(sink.metrics()["occurred_at_skew_ms_max"], skew_ms, "the largest since the start");
    let plain = Sink::start(&[]).metrics();
    assert!(
        !plain.contains_key("occurred_at_skew_ms_max") && !plain.contains_key("events_invalid"),
        "{plain:?}"
    );
}

#[test]
fn every_event_of_the_preset_is_valid() {
    let sink = Sink::start(&["--validate"]);
    let report = Load { rate: "3k", depth: 16, ..load(&sink.address) }.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(sink.metrics()["events_invalid"], 0);
    sink.assert_counted(&report);
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let sink = Sink::start(&[]);
    let mut stream = sink.connect();
    let requests = "GET /metrics HTTP/1.1\r\nHost: sink\r\n\r\n".repeat(1000);
    // Some 40 kB of them, answered with some 1 MB: it would be owed 2 GB.
    let cut_off = (0..2000).find_map(|_| stream.write_all(requests.as_bytes()).err());
    let kind = cut_off.expect("it is cut off").kind();
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    assert!(matches!(kind, BrokenPipe | ConnectionReset), "{kind:?}");
    assert_eq!(sink.metrics()["connections_cut"], 1);
}

/// Every request the sink has read came to one of its ends; the sum of these.
fn ends(metrics: &BTreeMap<String, u64>) -> u64 {
    let of = |prefix: &str| -> u64 {
        metrics.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, count)| count).sum()
    };
    of("answers_total{") + of("faults_total{") + metrics["discarded"]
}

#[test]
fn every_request_that_a_faulty_sink_read_came_to_one_of_its_ends() {
    let faults = "close:1%,truncate:1%,malformed:1%,silent:0.5%";
    let sink = Sink::start(&["--faults", faults, "--reset-rate", "1%", "--error-rate", "5%", "--seed", "3"]);
    let load = Load {
        rate: "5k",
        depth: 8,
        connections: 16,
        timeout: Duration::from_millis(200),
        ..Load::at(sink.address.clone())
    };
    let report = load.run().report;
    let metrics = sink.metrics();
    assert_eq!(ends(&metrics), metrics["requests"], "{metrics:?}");
    // Answers may be lost with their connection, and requests never read: each step has at most as many as the one before.
    let answered = metrics["answers_total{kind=\"ok\"}"] + metrics["answers_total{kind=\"error\"}"];
    let completed = report.ok() + report.count("/requests/unexpected_status");
    assert!(completed <= answered && answered <= metrics["requests"], "{completed} {metrics:?}");
    assert!(metrics["requests"] <= report.sent(), "{metrics:?}");
    for kind in ["reset", "close", "truncate", "malformed", "silent"] {
        assert!(metrics[&format!("faults_total{{kind=\"{kind}\"}}")] > 0, "{kind}: {metrics:?}");
    }
    for kind in ["reset", "closed", "timeout", "malformed"] {
        assert!(report.error(kind) > 0, "{kind}: {:#}", report.at("/requests/errors"));
    }
    assert_eq!(report.status(500), report.count("/requests/unexpected_status"));
}

#[test]
fn without_lost_connections_both_sides_count_the_same() {
    let sink = Sink::start(&["--error-rate", "10%", "--latency", "exp:1ms"]);
    let load = Load { flags: &["--batch", "1:10,10:5"], depth: 4, ..Load::at(sink.address.clone()) };
    let report = load.run().report;
    let metrics = sink.metrics();
    assert_eq!(metrics["requests"], report.sent());
    assert_eq!(metrics["answers_total{kind=\"error\"}"], report.status(500));
    assert_eq!(metrics["answers_total{kind=\"ok\"}"], report.ok());
    assert_eq!(metrics["events"], report.count("/events/acknowledged"));
    for (events, class) in [(1, 0), (10, 1)] {
        let counted = metrics[&format!("requests_by_events_total{{events=\"{events}\"}}")];
        assert_eq!(counted, report.count(&format!("/classes/{class}/requests/sent")), "{metrics:?}");
    }
    assert!(report.at("/service_time_ns/max").as_u64() > Some(1_000_000));
}

#[test]
fn a_full_buffer_answers_429_and_says_when_to_come_back() {
    let sink = Sink::start(&["--capacity", "1", "--buffer", "3"]);
    let text = sink.talk(&[post("{}").repeat(5).as_bytes(), LAST_REQUEST.as_bytes()]);
    assert_eq!(text.matches("HTTP/1.1 202 Accepted\r\n").count(), 3, "{text}");
    let refused = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n";
    assert!(text.matches(refused).count() >= 2 && text.contains("{\"retryAfter\":1}"), "{text}");
}

#[test]
fn a_queue_serves_in_turn_and_its_record_says_so() {
    let directory = Directory::new();
    let file = directory.path("record");
    let sink = Sink::start(&["--service", "spin:2ms", "--record", file.to_str().unwrap()]);
    let report = Load { rate: "200", ..Load::at(sink.address.clone()) }.run().report;
    let hgrm = sink.talk(&[b"GET /hgrm HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n"]);
    assert!(hgrm.contains("#[Max") && hgrm.contains("Percentile"), "{hgrm}");
    sink.end();
    let bytes = std::fs::read(&file).expect("a record");
    let numbers: Vec<_> =
        bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(numbers.len() as u64, report.sent() * 3);
    // Lindley: served from when it comes or the one before is done, whichever is later; answered no sooner than that.
    let mut free_at = 0;
    for request in numbers.chunks_exact(3) {
        let [arrival, service, answered] = request.try_into().unwrap();
        assert_eq!(service, 2_000_000);
        free_at = arrival.max(free_at) + service;
        assert!(answered >= free_at, "{answered} is before {free_at}");
    }
}

#[test]
fn whoever_loses_patience_asks_again_and_is_refused_in_the_end() {
    let flags = ["--profile", "metastable", "--service", "spin:20ms", "--retries", "2", "--patience", "50ms"];
    let sink = Sink::start(&flags);
    let request = "GET / HTTP/1.1\r\nHost: sink\r\n\r\n";
    let text = sink.talk(&[request.repeat(30).as_bytes(), LAST_REQUEST.as_bytes()]);
    let metrics = sink.metrics();
    let [ok, refused] = ["ok", "overload"].map(|kind| metrics[&format!("answers_total{{kind=\"{kind}\"}}")]);
    assert_eq!((metrics["requests"], ok + refused), (31, 31));
    assert_eq!(text.matches("HTTP/1.1 429 ").count() as u64, refused);
    assert!(refused > 0 && metrics["retries"] > 0 && metrics["retries"].is_multiple_of(2), "{metrics:?}");
    // The others took 20 ms each: the first, and any that came when no more than 50 ms were left to do.
    assert!(metrics["retries"] / 2 < ok, "{metrics:?}");
    assert_eq!(metrics["queue"], 0, "all is done");
}

#[test]
fn without_a_queue_nobody_loses_patience() {
    let sink = Sink::start(&["--profile", "metastable", "--service", "spin:1us", "--patience", "10s"]);
    let report = Load::at(format!("http://{}/", sink.address)).run().report;
    report.assert_all("/requests/ok");
    assert_eq!((sink.metrics()["retries"], sink.metrics()["requests"]), (0, report.sent()));
}

#[test]
fn the_slow_profiles_are_slow_and_the_leaking_one_leaks() {
    let run = |flags: &[&str]| {
        let sink = Sink::start(&[flags, &["--status", "202"]].concat());
        let report = Load { connections: 100, ..load(&sink.address) }.run().report;
        report.assert_all("/requests/ok");
        (report.at("/service_time_ns/min").as_u64().expect("a time"), sink.metrics(), report.sent())
    };
    // Lognormal with a median of 100 ms and sigma 0.5: none of some hundred is below a hundredth of that.
    let (min_ns, _, _) = run(&["--profile", "high-latency"]);
    assert!(min_ns > 1_000_000, "{min_ns}");
    let (min_ns, _, _) = run(&["--profile", "high-cpu", "--workers", "2"]);
    assert!(min_ns >= 100_000, "{min_ns}");
    let (_, metrics, sent) = run(&["--profile", "memory-leak"]);
    assert_eq!(metrics["leaked_bytes"], sent * 4096);
}

#[test]
fn its_own_times_are_left_in_a_file_at_the_end() {
    let directory = Directory::new();
    let file = directory.path("sink.hgrm");
    let sink = Sink::start(&["--latency", "fixed:1ms", "--hgrm", file.to_str().unwrap()]);
    let report = load(&sink.address).run().report;
    sink.end();
    let text = std::fs::read_to_string(&file).expect("a spectrum");
    let count = text.lines().find_map(|line| line.split_once("Total count")).expect("a total").1;
    assert_eq!(count.trim_matches(|letter: char| !letter.is_ascii_digit()), report.sent().to_string());
}

#[test]
fn a_stall_freezes_the_whole_sink_and_is_charged_to_it() {
    let sink = Sink::start(&["--stall", "100ms@50ms"]);
    let report = Load { connections: 100, ..Load::at(sink.address.clone()) }.run().report;
    assert_eq!(report.ok(), Load::SCHEDULED);
    assert!(sink.metrics()["stall_ns"] >= 100_000_000);
    assert!(report.at("/service_time_ns/max").as_u64() >= Some(90_000_000), "{report:?}");
}

#[test]
fn a_pace_that_cannot_be_is_refused() {
    for (flags, words) in [
        (&["--error-rate", "60%", "--reset-rate", "50%"][..], "at most 100 %"),
        (&["--service", "spin:1ms", "--cores", "0,1"], "wants one thread"),
        (&["--service", "spin:0s"], "leave the flag out"),
        (&["--latency", "gamma:5ms"], "lognormal:5ms,0.5"),
        (&["--faults", "fire:1%"], "truncate"),
        (&["--stall", "5s"], "1s@5s"),
        (&["--workers", "2"], "add --service spin:TIME"),
        (&["--retries", "2"], "add --service spin:TIME"),
        (&["--service", "spin:1ms", "--patience", "1s"], "add --retries N"),
    ] {
        let ended = Running::start(Command::new(BLASTER).arg("sink").args(flags)).within(ALLOWANCE);
        assert_eq!(ended.status, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}
