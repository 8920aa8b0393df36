//! Sweeps over many nodes. What a search makes of its trials is the blaster's to prove.

use std::process::Command;

use serde_json::Value;

use crate::world::{COORDINATOR, Process, World};

const SHORT: [&str; 6] = ["-d", "300ms", "--warmup", "50ms", "-c", "8"];

/// Of the hosts that [`World::hosts`] wrote last.
fn sweep(world: &World, flags: &[&str]) -> Process {
    let mut command = Command::new(COORDINATOR);
    command.arg("sweep").arg("--nodes").arg(world.path("hosts.txt")).arg("--secret").arg(world.secret());
    command.arg("--json").arg(world.path("sweep.json")).args(["--allow-invalid"]).args(flags);
    Process::start(&mut command)
}

fn found(world: &World) -> Value {
    let text = std::fs::read_to_string(world.path("sweep.json")).expect("a sweep writes what it found");
    serde_json::from_str(&text).expect("JSON")
}

/// Every trial's report, in the order of the loads.
fn trials(found: &Value) -> Vec<&Value> {
    let steps = found["steps"].as_array().unwrap().iter();
    steps.flat_map(|step| step["trials"].as_array().unwrap()).collect()
}

fn target(world: &World) -> String {
    world.sink.address().to_string()
}

#[test]
fn each_trial_is_a_run_of_all_nodes() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    world.hosts(&agents.each_ref().map(|agent| agent.address));
    let ladder = ["--target", &target(&world), "--steps", "100,301", "--arrivals", "uniform"];
    let ended = sweep(&world, &[&ladder[..], &SHORT].concat()).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let found = found(&world);
    assert_eq!(found["tool"]["name"], "coordinator");
    let trials = trials(&found);
    assert_eq!(trials.len(), 2);
    for trial in &trials {
        let states: Vec<_> = trial["nodes"].as_array().unwrap().iter().map(|node| &node["state"]).collect();
        assert_eq!(states, ["done", "done"]);
        assert!(
            trial["nodes"].as_array().unwrap().iter().all(|node| node["requests"]["sent"] != 0),
            "{trial}"
        );
    }
    // Uniform arrivals: exactly the rate times the time, each trial by itself, with the warm-up.
    let scheduled: Vec<_> =
        trials.iter().map(|trial| trial["requests"]["scheduled"].as_u64().unwrap()).collect();
    assert_eq!(scheduled, [30, 90]);
    assert_ne!(trials[0]["seed"], trials[1]["seed"], "no two trials send the same ids");
    assert!(ended.stderr.contains("301 req/s"), "{}", ended.stderr);
}

#[test]
fn a_sweep_goes_on_when_a_node_dies_and_says_so() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    world.hosts(&agents.each_ref().map(|agent| agent.address));
    let ladder =
        ["--target", &target(&world), "--steps", "200,400,600", "-d", "2s", "--warmup", "0s", "-c", "8"];
    let process = sweep(&world, &ladder);
    // In the midst of the second trial.
    world.until_seen(500);
    agents[0].process.signal("KILL");
    let ended = process.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("without it"), "{}", ended.stderr);
    let found = found(&world);
    let trials = trials(&found);
    assert_eq!(trials.len(), 3, "the trial it died in was done anew");
    let last = trials[2]["nodes"].as_array().unwrap();
    let sent: Vec<_> = last.iter().map(|node| node["requests"]["sent"].as_u64().unwrap()).collect();
    assert_eq!(last.len(), 1, "one that is gone is asked no more: {last:?}");
    assert!(sent[0] > 1_000, "the other sends all of it: {sent:?}");
}

#[test]
fn an_interrupted_sweep_goes_on_with_its_trials() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    world.hosts(&agents.each_ref().map(|agent| agent.address));
    let journal = world.path("sweep.journal");
    let journal = journal.to_str().unwrap();
    let ladder =
        ["--target", &target(&world), "--steps", "200,300,400", "-d", "1s", "--warmup", "0s", "-c", "8"];
    let process = sweep(&world, &[&ladder[..], &["--journal", journal]].concat());
    world.until_seen(250);
    process.signal("INT");
    let ended = process.end();
    assert_eq!(ended.status, Some(130), "{ended:?}");
    // As it is to be typed: with the nodes.
    let words: Vec<_> = ended.stdout.split_whitespace().collect();
    assert!(
        words.windows(4).any(|four| four[..3] == ["coordinator", "sweep", "--nodes"]),
        "{}",
        ended.stdout
    );
    assert!(words.contains(&"--resume"), "{}", ended.stdout);
    assert_eq!(trials(&found(&world)).len(), 1);
    let ended = sweep(&world, &["--resume", journal]).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert_eq!(trials(&found(&world)).len(), 3);
}

#[test]
fn a_sweep_that_cannot_begin_says_why() {
    let world = World::new();
    world.hosts(&["127.0.0.1:1".parse().unwrap()]);
    let ended = sweep(&world, &["--target", &target(&world), "--steps", "100"]).end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("127.0.0.1:1"), "{}", ended.stderr);
    let ended = sweep(&world, &["--steps", "100"]).end();
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("no target"), "{}", ended.stderr);
    let agent = world.agent(&[]);
    std::fs::write(world.path("hosts.txt"), format!("{} max-rps=150\n", agent.address)).unwrap();
    let ended = sweep(&world, &[&["--target", &target(&world), "--factor", "2"][..], &SHORT].concat()).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let answer = &found(&world)["answers"][0];
    assert_eq!(answer["limited_by"], "reach", "the hosts file ends it: {answer}");
}
