//! What goes over the wire: batches, ids and times that are new, one's own bodies, and `blaster payloads`.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::child::{ALLOWANCE, BLASTER, Directory, Ended, Load, Running, skipped};
use crate::server::{Request, Server, answer};
use crate::sink::Sink;

fn blaster(args: &[&str]) -> Ended {
    Running::start(Command::new(BLASTER).args(args)).within(ALLOWANCE)
}

/// A server that keeps every request and answers it 202 with the number of its events.
fn keeping() -> (Server, Arc<Mutex<Vec<Request>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let server = Server::start({
        let kept = kept.clone();
        move |peer| {
            while let Some(request) = peer.request()? {
                let events = match serde_json::from_slice(&request.body) {
                    Ok(Value::Array(events)) => events.len(),
                    _ => 1,
                };
                kept.lock().expect("no test panics while holding it").push(request);
                peer.send(&answer(202, &format!("{{\"count\":{events}}}")))?;
            }
            Ok(())
        }
    });
    (server, kept)
}

/// Where the `events` preset goes on that server.
fn host(server: &Server) -> String {
    server.target().trim_start_matches("http://").trim_end_matches('/').to_owned()
}

fn bodies(kept: &Mutex<Vec<Request>>) -> Vec<Value> {
    let requests = kept.lock().expect("the server's scripts have ended well");
    requests.iter().map(|request| serde_json::from_slice(&request.body).expect("bodies are JSON")).collect()
}

fn events(bodies: &[Value]) -> Vec<&Value> {
    bodies
        .iter()
        .flat_map(|body| body.as_array().map_or_else(|| vec![body], |events| events.iter().collect()))
        .collect()
}

#[test]
fn a_mixture_is_sent_counted_and_acknowledged_to_the_last_event() {
    let sink = Sink::start(&["--validate"]);
    // As fast as answers come: a check in a debug build takes its time.
    let load = Load { rate: "max", flags: &["--batch", "1:3,10:2,100:1"], ..Load::at(&sink.address) };
    let report = load.run().report;
    let (metrics, sent) = (sink.metrics(), report.count("/events/sent"));
    report.assert_all("/requests/ok");
    assert_eq!(metrics["events_invalid"], 0);
    assert_eq!((metrics["requests"], metrics["events"]), (report.sent(), sent));
    assert_eq!(
        (report.count("/events/acknowledged"), report.count("/events/acknowledged_by_status")),
        (sent, 0)
    );
    let classes = report.at("/classes").as_array().expect("a list");
    let shares: BTreeMap<_, _> = classes
        .iter()
        .map(|class| (class["name"].as_str().unwrap(), class["events"]["sent"].as_u64().unwrap()))
        .collect();
    let of = |name: &str, size: u64| {
        assert_eq!(shares[name] % size, 0, "{shares:?}");
        shares[name] / size
    };
    // The tape has them in these shares exactly, in random order: a part of it is as near as chance has it.
    let counts = [of("batch1", 1), of("batch10", 10), of("batch100", 100)];
    assert_eq!(counts.iter().sum::<u64>(), report.sent());
    for (count, sixths) in counts.into_iter().zip([3.0, 2.0, 1.0]) {
        let expected = report.sent() as f64 * sixths / 6.0;
        assert!((count as f64 - expected).abs() < 6.0 * expected.sqrt() + 1.0, "{counts:?}");
    }
}

#[test]
fn every_event_has_an_id_and_a_time_of_its_own_on_every_connection_and_lap() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(2).to_string();
    let (server, kept) = keeping();
    // Ten requests on the tape: a hundred laps.
    let load = Load {
        rate: "2000",
        duration: Duration::from_millis(600),
        flags: &["--batch", "5", "--tape", "10", "-t", &threads],
        ..Load::at(host(&server))
    };
    let report = load.run().report;
    report.assert_all("/requests/ok");
    let bodies = bodies(&kept);
    let events = events(&bodies);
    assert_eq!(events.len() as u64, report.count("/events/sent"));
    let ids: HashSet<_> = events.iter().map(|event| event["eventId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len());
    let times: HashSet<_> = events.iter().map(|event| event["occurredAt"].as_str().unwrap()).collect();
    assert!(times.len() > 20, "{times:?}");
}

#[test]
fn times_are_those_of_the_send() {
    let sink = Sink::start(&["--validate"]);
    let load = Load { duration: Duration::from_secs(2), flags: &["--tape", "7"], ..Load::at(&sink.address) };
    load.run().report.assert_all("/requests/ok");
    // How near is a matter for the benches; what was serialized before the run would be seconds away.
    assert!(sink.metrics()["occurred_at_skew_ms_max"] < 1_500, "{:?}", sink.metrics());
}

#[test]
fn a_seed_repeats_a_run_to_the_byte_but_for_the_times() {
    let run = |seed: &str| {
        let (server, kept) = keeping();
        let flags = ["--batch", "1:1,3:1", "--tape", "20"];
        let load = Load { connections: 1, seed, flags: &flags, ..Load::at(host(&server)) };
        load.run().report.assert_all("/requests/ok");
        let mut bodies = bodies(&kept);
        for body in &mut bodies {
            let events = match body {
                Value::Array(events) => &mut events[..],
                event => std::slice::from_mut(event),
            };
            for event in events {
                event.as_object_mut().unwrap().remove("occurredAt");
            }
        }
        bodies
    };
    let first = run("7");
    assert_eq!(first, run("7"));
    assert_ne!(first, run("8"));
}

#[test]
fn stale_events_are_those_of_the_tape_again_and_the_summary_says_so() {
    let (server, kept) = keeping();
    let outcome = Load { flags: &["--stale", "--tape", "10"], ..Load::at(host(&server)) }.run();
    let bodies = bodies(&kept);
    let ids: HashSet<_> = events(&bodies).iter().map(|event| event["eventId"].to_string()).collect();
    assert_eq!(ids.len(), 10);
    assert!(outcome.ended.stdout.contains("stale"), "{}", outcome.ended.stdout);
}

#[test]
fn a_rate_in_events_is_a_rate_of_requests_that_carry_them() {
    let sink = Sink::start(&[]);
    for (eps, flags, requests, events) in [
        ("20k", &["--batch", "10"][..], 1_000, 10_000),
        // Three requests on the tape hold 111 events, whatever their shares were to be: 37 a request.
        ("7400", &["--batch", "1:100,10:10,100:3", "--tape", "3"], 100, 3_700),
    ] {
        let directory = Directory::new();
        let json = directory.path("report.json");
        let mut command = Command::new(BLASTER);
        command.args(["--quiet", "--allow-invalid", "-d", "500ms", "--eps", eps]).args(flags);
        Running::start(command.arg(&sink.address).arg("--json").arg(&json)).within(ALLOWANCE);
        let report: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(report["requests"]["scheduled"], requests);
        // As many as the last of them, which of the three sizes it may be, leaves.
        let sent = report["events"]["sent"].as_u64().unwrap();
        assert!(sent.abs_diff(events) <= 100, "{sent} of {events}");
    }
}

#[test]
fn types_can_be_chosen_and_weighed() {
    let (server, kept) = keeping();
    let load = Load { flags: &["--events", "page_view:9,purchase:1"], ..Load::at(host(&server)) };
    load.run().report.assert_all("/requests/ok");
    let bodies = bodies(&kept);
    let types: Vec<_> = bodies.iter().map(|body| body["type"].as_str().unwrap()).collect();
    assert!(types.iter().all(|kind| ["page_view", "purchase"].contains(kind)), "{types:?}");
    let views = types.iter().filter(|kind| **kind == "page_view").count();
    assert!(views > types.len() / 2 && views < types.len(), "{views} of {}", types.len());
}

#[test]
fn a_template_of_ones_own_is_filled_in_anew_for_every_request() {
    let directory = Directory::new();
    let template = directory.path("order.json");
    std::fs::write(
        &template,
        "{\n  \"id\": \"{{uuid as id}}\",\n  \"again\": \"{{id}}\",\n  \"n\": {{seq}},\n  \"kind\": \"{{choice('a\"b', 'c')}}\"\n}\n",
    )
    .unwrap();
    let body = format!("@{}", template.display());
    let (server, kept) = keeping();
    let flags = ["-b", &body, "--tape", "10", "-H", "X-Request-Id: {{uuid}}", "--path", "/o?u={{user(5)}}"];
    let load = Load { flags: &flags, ..Load::at(host(&server)) };
    load.run().report.assert_all("/requests/ok");
    let bodies = bodies(&kept);
    let numbers: HashSet<_> = bodies.iter().map(|body| body["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), bodies.len());
    assert!(numbers.iter().all(|&number| number >= 1_000_000_000_000_000));
    assert!(bodies.iter().all(|body| body["id"] == body["again"]));
    let heads: Vec<_> = kept.lock().unwrap().iter().map(|request| request.head.clone()).collect();
    let ids: HashSet<_> =
        heads.iter().filter_map(|head| head.split_once("X-Request-Id: ")).map(|(_, id)| &id[..36]).collect();
    assert_eq!(ids.len(), bodies.len());
    assert!(heads.iter().all(|head| head.starts_with("POST /o?u=")));
}

#[test]
fn compressed_bodies_say_so_and_are_stale() {
    for encoding in ["gzip", "zstd"] {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let server = Server::answering({
            let kept = kept.clone();
            move |_, request| {
                kept.lock()
                    .expect("no test panics while holding it")
                    .push((request.head.clone(), request.body.clone()));
                answer(202, "{\"count\":10}")
            }
        });
        let flags = ["--batch", "10", "--encoding", encoding];
        let second = Duration::from_secs(1);
        let outcome = Load { flags: &flags, duration: second, ..Load::at(host(&server)) }.run();
        outcome.report.assert_all("/requests/ok");
        assert!(outcome.ended.stdout.contains("stale"), "{}", outcome.ended.stdout);
        let magic: &[u8] = if encoding == "gzip" { &[0x1f, 0x8b] } else { &[0x28, 0xb5, 0x2f, 0xfd] };
        for (head, body) in kept.lock().expect("the run is over").iter() {
            assert!(head.contains(&format!("Content-Encoding: {encoding}\r\n")), "{head}");
            assert!(body.starts_with(magic));
        }
    }
}

#[test]
fn a_target_that_reads_nothing_gets_copies_of_what_it_has_not_taken() {
    // Two requests on the tape, one of them with new ids, both with sends that cannot end: whatever comes next is a copy.
    let directory = Directory::new();
    let folder = directory.path("bodies");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("fresh.json"), "{\"id\": \"{{uuid}}\"}").unwrap();
    std::fs::write(folder.join("plain.txt"), vec![b'x'; 5_000_000]).unwrap();
    let server = Server::start(|peer| peer.park());
    let flags = ["--body-dir", folder.to_str().unwrap(), "--tape", "2"];
    let load =
        Load { depth: 2, flags: &flags, timeout: Duration::from_millis(200), ..Load::at(host(&server)) };
    let report = load.run().report;
    assert!(report.error("timeout") > 0, "{:#}", report.at("/requests"));
    assert_eq!(report.ok(), 0);
}

#[test]
fn a_shown_request_can_be_sent() {
    let sink = Sink::start(&["--validate"]);
    for (batch, count) in [("1", 1), ("10", 10)] {
        let shown = blaster(&["payloads", "show", "events", "-n", "1", "--raw", "--batch", batch]);
        assert_eq!(shown.status, Some(0), "{shown:?}");
        let closing = shown.stdout.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let answer = sink.talk(&[closing.as_bytes()]);
        assert!(
            answer.starts_with("HTTP/1.1 202 ") && answer.contains(&format!("\"count\":{count}}}")),
            "{answer}"
        );
    }
    assert_eq!(sink.metrics()["events_invalid"], 0);
}

#[test]
fn presets_are_listed_and_shown_for_people_and_programs() {
    let listed = blaster(&["payloads", "list"]);
    let listed_json = blaster(&["payloads", "list", "--json", "-"]);
    let presets: Value = serde_json::from_str(&listed_json.stdout).unwrap();
    let names: Vec<_> = presets["presets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|preset| preset["name"].as_str().unwrap())
        .collect();
    assert_eq!(names[0], "events");
    for name in names {
        assert!(
            listed.stdout.lines().any(|line| line.starts_with(&format!("{name} "))),
            "{name}: {}",
            listed.stdout
        );
        let shown = blaster(&["payloads", "show", name]);
        assert_eq!((shown.status, shown.stderr.as_str()), (Some(0), ""), "{name}: {shown:?}");
        let json = blaster(&["payloads", "show", name, "-n", "3", "--json", "-"]);
        let requests: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(requests["requests"].as_array().unwrap().len(), 3);
    }
    assert!(listed.stdout.lines().all(|line| line.chars().count() <= 80), "{}", listed.stdout);
}

#[test]
fn a_template_is_checked_with_line_and_column() {
    let directory = Directory::new();
    let check = |name: &str, text: &str| {
        let path = directory.path(name);
        std::fs::write(&path, text).unwrap();
        blaster(&["payloads", "check", path.to_str().unwrap()])
    };
    let good = check("good.json", "{\"id\": \"{{uuid}}\"}");
    assert_eq!((good.status, good.stderr.as_str()), (Some(0), ""), "{good:?}");
    for (name, text, words) in [
        ("typo.json", "{\n  \"id\": \"{{uid}}\"\n}", &["line 2", "uid", "uuid"][..]),
        ("open.json", "{\"id\": \"{{uuid\"}", &["line 1", "}}"]),
        ("broken.json", "{\"id\": {{uuid}},,}", &["line 1"]),
        ("rows.jsonl", "{}\n{\"a\":}\n", &["line 2"]),
        ("empty.json", "", &["empty"]),
        ("preset.toml", "about = 1", &["line 1"]),
    ] {
        let bad = check(name, text);
        assert_eq!(bad.status, Some(2), "{name}: {bad:?}");
        for word in words {
            assert!(bad.stderr.contains(word), "{name} lacks {word}: {}", bad.stderr);
        }
    }
}

#[test]
fn tapes_over_their_memory_are_refused() {
    for flags in [["--tape", "1000000", "--batch", "10"], ["--tape", "1000", "--tape-memory", "100k"]] {
        let refused = blaster(&[&flags[..], &["-d", "100ms", "--quiet", "127.0.0.1:1"]].concat());
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("raise --tape-memory"), "{refused:?}");
    }
}

#[test]
fn a_plan_that_no_link_carries_is_told_before_the_run() {
    let Some(namespace) = Namespace::new() else {
        return skipped(
            "a_plan_that_no_link_carries_is_told_before_the_run: skipped, it needs root and `ip`",
        );
    };
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        &namespace.0,
        BLASTER,
        "--eps",
        "50m",
        "-d",
        "100ms",
        "--timeout",
        "100ms",
        "10.99.0.2:9",
    ]);
    let ended = Running::start(&mut command).within(ALLOWANCE * 2);
    // Nobody answers there: what matters was said before.
    assert!(ended.stderr.contains("this machine's fastest link is 10 Gbit/s"), "{ended:?}");
}

/// A network namespace with a link of 10 Gbit/s to nobody, gone with its test.
struct Namespace(String);

impl Namespace {
    fn new() -> Option<Self> {
        let name = format!("blaster-{}", std::process::id());
        let ip = |args: &str| {
            let status = Command::new("ip").args(args.split(' ')).output().ok()?.status;
            status.success().then_some(())
        };
        ip(&format!("netns add {name}"))?;
        let namespace = Self(name);
        let name = &namespace.0;
        for args in [
            "link add name near type veth peer name far",
            "addr add 10.99.0.1/24 dev near",
            "link set dev near up",
            "link set dev far up",
        ] {
            ip(&format!("-n {name} {args}"))?;
        }
        Some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}
