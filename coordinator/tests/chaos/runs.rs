//! Runs in which nothing goes wrong, or only the user does.

use std::process::Command;

use blaster_core::time::Nanos;
use jsonschema::validator_for;
use serde_json::Value;

use crate::world::{COORDINATOR, Process, World};

/// The report's published schema.
fn schema() -> Value {
    serde_json::from_str(include_str!("../../../blaster/report.schema.json")).unwrap()
}

#[test]
fn two_agents_do_one_run_and_its_numbers_are_the_targets() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let nodes = agents.each_ref().map(|agent| agent.address);
    let hlog = world.path("run.hlog");
    let flags = [
        "--rps",
        "1001",
        "-d",
        "1s",
        "--arrivals",
        "uniform",
        "--allow-invalid",
        "--hlog",
        hlog.to_str().unwrap(),
    ];
    let ended = world.run(&nodes, &flags).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    assert!(validator_for(&schema()).unwrap().is_valid(&report.0));
    report.assert_adds_up();
    report.assert_clocks(0);
    assert_eq!(report.states(), ["done", "done"]);
    // Whatever the split, every request of the whole is somebody's.
    assert_eq!(report.count("/requests/scheduled"), 1001);
    assert_eq!(report.count("/requests/ok"), 1001);
    assert_eq!(world.sink.totals().requests, 1001);
    assert_eq!(
        report.nodes().iter().map(|node| node["requests"]["scheduled"].as_u64().unwrap()).max(),
        Some(501)
    );
    assert_eq!(report.at("/tool/name"), "coordinator");
    assert!(ended.stdout.contains("the nodes started within"), "{}", ended.stdout);
    let log = std::fs::read_to_string(hlog).unwrap();
    assert!(log.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count() >= 1, "{log}");
    // And again: agents are there for any number of runs.
    let ended = world.run(&nodes, &["--rps", "100", "-d", "300ms", "--allow-invalid"]).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    world.report().assert_adds_up();
}

#[test]
fn nodes_share_the_pace_of_connecting_and_find_addresses_of_their_own() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let nodes = agents.each_ref().map(|agent| agent.address);
    let flags =
        ["--rps", "100", "-d", "300ms", "--connect-rate", "100", "--source-ips", "auto", "--allow-invalid"];
    let ended = world.run(&nodes, &flags).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(
        (report.at("/plan/source_ips"), report.at("/plan/connect_rate")),
        (&"auto".into(), &100.0.into())
    );
    assert_eq!(report.count("/connections/opened"), 8);
    // Of the eight each node opens four, 20 ms apart, but for what may be caught up with.
    assert!(report.count("/connections/opening_ns") >= 55_000_000, "{:#}", report.at("/connections"));
}

#[test]
fn weights_and_bounds_share_the_rate() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&["--max-rps", "100"]), world.agent(&[])];
    let nodes = agents.each_ref().map(|agent| agent.address);
    let hosts = world.path("weighted.txt");
    let text = format!("{} weight=3\n{} # bounded\n{}\n", nodes[0], nodes[1], nodes[2]);
    std::fs::write(&hosts, text).unwrap();
    let mut command = Command::new(COORDINATOR);
    command.arg("run").arg("--nodes").arg(&hosts).arg("--secret").arg(world.secret());
    command.args([
        "--target",
        &world.sink.address().to_string(),
        "--rps",
        "1000",
        "-d",
        "500ms",
        "--allow-invalid",
        "--json",
    ]);
    let ended = Process::start(command.arg(world.path("report.json"))).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    let shares: Vec<f64> = report.nodes().iter().map(|node| node["share"].as_f64().unwrap()).collect();
    assert_eq!(shares, [0.675, 0.1, 0.225], "the bounded one has its bound, the others the rest by weight");
}

#[test]
fn nodes_measure_themselves_and_share_by_that() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let nodes = agents.each_ref().map(|agent| agent.address);
    let flags = ["--rps", "400", "-d", "500ms", "--weights", "calibrated", "--allow-invalid"];
    let ended = world.run(&nodes, &flags).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    let measured: Vec<f64> =
        report.nodes().iter().map(|node| node["measured_rps"].as_f64().unwrap()).collect();
    let whole: f64 = measured.iter().sum();
    for (node, measured) in report.nodes().iter().zip(measured) {
        let share = node["share"].as_f64().unwrap();
        assert!((share - measured / whole).abs() < 2e-3, "{share} of {measured} in {whole}");
        assert!(ended.stderr.contains(&format!("measured {measured} requests/s")), "{}", ended.stderr);
    }
    // What they sent themselves meanwhile was no business of the target's.
    assert_eq!(report.count("/requests/ok"), world.sink.totals().requests);
    assert!(agents[0].process.stderr().contains("measured"), "{}", agents[0].process.stderr());
}

#[test]
fn two_local_agents_and_a_target_need_nothing_else() {
    let world = World::new();
    let mut command = Command::new(COORDINATOR);
    command.args([
        "run",
        "--local",
        "2",
        "--rps",
        "500",
        "-d",
        "500ms",
        "-c",
        "8",
        "--allow-invalid",
        "--json",
    ]);
    let ended = Process::start(command.arg(world.path("report.json"))).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    report.assert_clocks(0);
    assert_eq!(report.nodes().len(), 2);
    assert_eq!(report.at("/plan/arrivals"), "poisson");
}

#[test]
fn files_travel_with_the_run_and_others_stay_where_they_are() {
    let world = World::new();
    let agent = world.agent(&[]);
    let body = world.path("body.json");
    std::fs::write(&body, "{\"id\":\"{{uuid}}\"}").unwrap();
    let at_body = format!("@{}", body.display());
    let ended =
        world.run(&[agent.address], &["-b", &at_body, "--rps", "50", "-d", "200ms", "--allow-invalid"]).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(
        world.report().at("/plan/payload").as_str().map(|payload| payload.starts_with("POST")),
        Some(true)
    );
}

#[test]
fn what_the_user_gets_wrong_is_told_with_the_next_step() {
    let world = World::new();
    let run = |hosts: &str, flags: &[&str]| {
        let path = world.path("wrong.txt");
        std::fs::write(&path, hosts).unwrap();
        let mut command = Command::new(COORDINATOR);
        command.arg("run").arg("--nodes").arg(&path).arg("--secret").arg(world.secret()).args(flags);
        let ended = Process::start(&mut command).end();
        (ended.status, ended.stderr)
    };
    let (status, told) = run("a\nb:0\n", &["--target", "x:1"]);
    assert_eq!(status, Some(2));
    assert!(told.contains("wrong.txt: line 2: \"0\" is no port"), "{told}");
    let (status, told) = run("127.0.0.1\n", &[]);
    assert_eq!((status, told.contains("no target: name the server")), (Some(2), true), "{told}");
    let (status, told) = run("127.0.0.1\n", &["--target", "x:1", "--min-nodes", "2"]);
    assert_eq!((status, told.contains("--min-nodes 2, and there are 1")), (Some(2), true), "{told}");
    let (status, told) = run("127.0.0.1\n", &["--target", "x:1", "--rps", "max", "--stages", "1s:5"]);
    assert_eq!(status, Some(2), "{told}");
    let mut command = Command::new(COORDINATOR);
    command.args(["run", "--nodes", "x", "--target", "x:1"]).env("COORDINATOR_SECRET", world.path("none"));
    let ended = Process::start(&mut command).end();
    assert!(ended.stderr.contains("coordinator secret"), "{ended:?}");
    assert_eq!(ended.status, Some(2));
}

#[test]
fn ctrl_c_lets_answers_come_in_and_the_summary_be_printed() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let leader = world.run(&agents.each_ref().map(|agent| agent.address), &["--rps", "200", "-d", "60s"]);
    world.until_seen(20);
    leader.signal("INT");
    let ended = leader.end();
    assert_eq!(ended.status, Some(130), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.at("/interrupted"), true);
    assert_eq!(report.count("/requests/ok"), world.sink.totals().requests);
    assert!(Nanos::from_secs_f64(report.at("/duration_s").as_f64().unwrap()) < Nanos::from_secs(59));
}

#[test]
fn stop_ends_whatever_run_the_agents_have() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let nodes = agents.each_ref().map(|agent| agent.address);
    let leader = world.run(&nodes, &["--rps", "200", "-d", "60s"]);
    world.until_seen(20);
    let mut command = Command::new(COORDINATOR);
    command.arg("stop").arg("--nodes").arg(world.hosts(&nodes)).arg("--secret").arg(world.secret());
    let stop = Process::start(&mut command).end();
    assert_eq!(
        (stop.status, stop.stdout.matches("stopped the run of 127.0.0.1").count()),
        (Some(0), 2),
        "{stop:?}"
    );
    let mut command = Command::new(COORDINATOR);
    command.arg("stop").arg("--nodes").arg(world.hosts(&nodes)).arg("--secret").arg(world.secret());
    let again = Process::start(command.args(["--json", "-"])).end();
    let said: Value = serde_json::from_str(&again.stdout).unwrap();
    assert!(said[1]["name"] == nodes[1].to_string() && said[1]["problem"].is_null(), "{said}");
    let ended = leader.end();
    assert_eq!(ended.status, Some(130), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.count("/requests/ok"), world.sink.totals().requests);
}

#[test]
fn status_shows_every_node_and_what_keeps_it_from_a_run() {
    let world = World::new();
    let agent = world.agent(&["--max-rps", "5k", "--allow-target", "10.0.0.0/8"]);
    let nobody = "127.0.0.1:9".parse().unwrap();
    let mut command = Command::new(COORDINATOR);
    command
        .arg("status")
        .arg("--nodes")
        .arg(world.hosts(&[agent.address, nobody]))
        .arg("--secret")
        .arg(world.secret());
    let ended = Process::start(&mut command).end();
    assert_eq!(ended.status, Some(1), "one is not there: {ended:?}");
    for part in [
        "✓ ready",
        "version 0.1.0",
        "targets 10.0.0.0/8",
        "at most 5,000 requests/s",
        "127.0.0.1:9  ✗ no answer",
    ] {
        assert!(ended.stdout.contains(part), "no {part:?} in {}", ended.stdout);
    }
}

#[test]
fn an_agent_that_could_do_no_run_does_not_begin() {
    let world = World::new();
    let mut command = Command::new(COORDINATOR);
    command.args(["agent", "--listen", "127.0.0.1:0", "--cores", "4000", "--secret"]).arg(world.secret());
    let ended = Process::start(&mut command).end();
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--cores names CPU 4000"), "{ended:?}");
}

#[test]
fn what_cannot_be_told_is_a_failure() {
    let world = World::new();
    let agent = world.agent(&[]);
    let ask = |what: &str, json: &str| {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(COORDINATOR);
        command
            .arg(what)
            .arg("--nodes")
            .arg(world.hosts(&[agent.address]))
            .arg("--secret")
            .arg(world.secret());
        let output = command.args(["--json", json]).stdout(full).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, told) = ask("status", "-");
    assert_eq!((status, told.contains("cannot write")), (Some(1), true), "{told}");
    let (status, told) = ask("status", "/nowhere/status.json");
    assert_eq!((status, told.contains("cannot write /nowhere/status.json")), (Some(2), true), "{told}");
}

#[test]
fn doctor_asks_every_node_about_its_own_machine() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&["--max-rps", "250"])];
    let nobody = "127.0.0.1:9".parse().unwrap();
    let examine = |nodes: &[std::net::SocketAddr], connections: &str| {
        let mut command = Command::new(COORDINATOR);
        command.arg("doctor").arg("--nodes").arg(world.hosts(nodes)).arg("--secret").arg(world.secret());
        command.args([
            "--target",
            &world.sink.address().to_string(),
            "--rps",
            "1k",
            "--tape",
            "16",
            "-c",
            connections,
            "--new-connections",
            "40",
        ]);
        let json = world.path("doctor.json");
        let ended = Process::start(command.arg("--json").arg(&json)).end();
        let text = std::fs::read_to_string(json).unwrap_or_default();
        (ended, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let [first, second] = agents.each_ref().map(|agent| agent.address);
    let (ended, found) = examine(&[first, second], "50");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let plans = |key: &str| [0, 1].map(|node| found["nodes"][node]["diagnosis"]["plan"][key].as_u64());
    assert_eq!(plans("rps"), [Some(750), Some(250)], "the second sends no more: {found}");
    assert_eq!(plans("new_connections"), [Some(30), Some(10)], "{found}");
    assert!(found["rps"].as_f64().is_some_and(|rps| rps > 0.0) && found["ready"] == true, "{found}");
    assert!(ended.stdout.contains("each of the 2 nodes can do its part"), "{ended:?}");
    // Nobody has so many ports.
    let (ended, found) = examine(&[first, nobody], "1000000");
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert_eq!(found["nodes"][0]["diagnosis"]["ready"], false, "{found}");
    assert!(found["nodes"][1]["problem"].is_string(), "{found}");
    assert!(ended.stdout.contains("not ready: 2 of 2 nodes"), "{ended:?}");
}
