//! Nodes and leaders that die, freeze, or are late.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::world::{World, until};

#[test]
fn a_killed_agent_is_a_gap_and_the_others_go_on() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let leader = world.run(
        &agents.each_ref().map(|agent| agent.address),
        &["--rps", "400", "-d", "8s", "--slo", "achieved>99%", "--allow-invalid"],
    );
    world.until_seen(600);
    agents[1].process.signal("KILL");
    let ended = leader.end();
    assert_eq!(ended.status, Some(99), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done", "lost"]);
    assert!(report.reasons().contains(&"node_lost"), "{:?}", report.reasons());
    let missing = report.missing();
    assert_eq!((missing[0], missing[7]), (0.0, 0.5), "{missing:?}");
    // What the plan asked is offered, whoever was there for it.
    let (scheduled, gap) = (report.count("/requests/scheduled"), report.count("/requests/missing"));
    let offered = report.at("/rate/offered").as_f64().unwrap();
    assert!((offered - (scheduled + gap) as f64 / 8.0).abs() < 1e-6 && offered > 350.0, "{offered}");
    assert_eq!(report.at("/slo/0/ok"), false, "a run that a node is missing in did not achieve all");
    let survivor = report.nodes()[0]["requests"]["scheduled"].as_u64().unwrap();
    assert!((1_400..1_800).contains(&survivor), "half of 400 for 8 s is 1,600: {survivor}");
    assert!(ended.stdout.contains("SUSPECT"), "{}", ended.stdout);
}

#[test]
fn a_terminated_agent_tells_all_that_it_sent_and_its_leader_knows_at_once() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let nodes = agents.each_ref().map(|agent| agent.address);
    let leader = world.run(&nodes, &["--rps", "400", "-d", "6s", "--allow-invalid"]);
    world.until_seen(500);
    agents[1].process.signal("TERM");
    leader.until_said("lost: it stopped before the end");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done", "fetched"]);
    assert!(report.missing()[5] > 0.4, "{:?}", report.missing());
    // To the last request.
    assert_eq!(report.count("/requests/ok"), world.sink.totals().requests);
}

#[test]
fn a_lost_node_ends_the_run_where_that_is_asked() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let flags = ["--rps", "400", "-d", "60s", "--allow-invalid", "--on-node-loss", "fail"];
    let leader = world.run(&agents.each_ref().map(|agent| agent.address), &flags);
    world.until_seen(100);
    agents[0].process.signal("KILL");
    let ended = leader.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("was lost"), "{ended:?}");
    world.report().assert_adds_up();
}

#[test]
fn a_frozen_agent_sends_nothing_after_its_permit_and_its_results_are_fetched() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let leader = world.run(
        &agents.each_ref().map(|agent| agent.address),
        &["--rps", "400", "-d", "10s", "--allow-invalid"],
    );
    world.until_seen(300);
    agents[0].process.signal("STOP");
    leader.until_said("lost: nothing was heard of it");
    // Found lost after 3 s; the latest permit it can have heard is for 4.2 s.
    sleep(Duration::from_secs(2));
    agents[0].process.signal("CONT");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["fetched", "done"]);
    assert_eq!(report.count("/requests/in_flight_at_end"), 0);
    // Not one request more than it says: what came due while it was frozen was never sent.
    assert_eq!(report.count("/requests/sent"), world.sink.totals().requests);
    let frozen = report.nodes()[0]["requests"]["sent"].as_u64().unwrap();
    assert!(frozen < 1_000, "{frozen} of 2,000");
}

#[test]
fn a_gap_begins_where_a_frozen_node_ceased_and_nothing_is_told_twice() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let flags = ["--rps", "300", "-d", "11s", "--arrivals", "uniform", "--allow-invalid"];
    let leader = world.run(&agents.each_ref().map(|agent| agent.address), &flags);
    world.until_seen(450);
    agents[0].process.signal("STOP");
    leader.until_said("lost: nothing was heard of it");
    // Beyond its permit, and for more seconds than it has recorders.
    sleep(Duration::from_millis(2_800));
    agents[0].process.signal("CONT");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["fetched", "done"]);
    let told = report.count("/requests/scheduled") + report.count("/requests/missing");
    assert!(told.abs_diff(3_300) <= 3, "{told} of 3,300 are told of: {:#}", report.at("/intervals"));
}

#[test]
fn a_run_that_no_node_carries_on_has_failed() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let flags = ["--rps", "400", "-d", "30s", "--allow-invalid", "--slo", "errors<1%"];
    let leader = world.run(&agents.each_ref().map(|agent| agent.address), &flags);
    world.until_seen(200);
    agents.iter().for_each(|agent| agent.process.signal("KILL"));
    let ended = leader.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no node is left to carry on the run"), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.at("/interrupted"), false);
    let told = report.count("/requests/scheduled") + report.count("/requests/missing");
    assert!(told.abs_diff(12_000) < 600, "{told} of about 12,000 are told of");
}

#[test]
fn agents_stop_within_five_seconds_of_their_leaders_death_and_serve_the_next() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let nodes = agents.each_ref().map(|agent| agent.address);
    let leader = world.run(&nodes, &["--rps", "400", "-d", "60s"]);
    world.until_seen(200);
    leader.signal("KILL");
    let died = Instant::now();
    until("both runs are over", || {
        agents.iter().all(|agent| agent.process.stderr().contains("the run is over"))
    });
    let took = died.elapsed();
    assert!(took < Duration::from_secs(6), "the permit is 4.2 s, answers take a moment: {took:?}");
    let seen = world.sink.totals().requests;
    sleep(Duration::from_millis(500));
    assert_eq!(world.sink.totals().requests, seen, "somebody still sends");
    let ended = world.run(&nodes, &["--rps", "100", "-d", "300ms", "--allow-invalid"]).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    world.report().assert_adds_up();
}

#[test]
fn a_second_leader_is_told_who_has_the_run() {
    let world = World::new();
    let agent = world.agent(&[]);
    let first = world.run(&[agent.address], &["--rps", "100", "-d", "60s"]);
    world.until_seen(10);
    let second = world.run(&[agent.address], &["--rps", "100", "-d", "1s"]).end();
    assert_eq!(second.status, Some(1), "{second:?}");
    assert!(second.stderr.contains("127.0.0.1:") && second.stderr.contains("has its run"), "{second:?}");
    first.signal("INT");
    assert_eq!(first.end().status, Some(130));
}

#[test]
fn a_node_that_is_not_there_ends_the_run_before_its_start_unless_fewer_suffice() {
    let world = World::new();
    let agent = world.agent(&[]);
    let nodes = [agent.address, "127.0.0.1:9".parse().unwrap()];
    let ended = world.run(&nodes, &["--rps", "100", "-d", "300ms"]).end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("127.0.0.1:9: no answer") && ended.stderr.contains("--min-nodes"),
        "{ended:?}"
    );
    assert_eq!(world.sink.totals().requests, 0);
    let ended = world
        .run(
            &nodes,
            &["--rps", "100", "-d", "500ms", "--min-nodes", "1", "--arrivals", "uniform", "--allow-invalid"],
        )
        .end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done", "out"]);
    assert_eq!(report.count("/requests/scheduled"), 50, "the one that is there has all of it");
}

/// A run whose every request can be told by its number.
const REBALANCED: [&str; 7] =
    ["--rps", "600", "--arrivals", "uniform", "--on-node-loss", "rebalance", "--allow-invalid"];

#[test]
fn the_others_take_a_killed_nodes_share_as_soon_as_it_must_have_stopped() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[]), world.agent(&[])];
    let flags = [&REBALANCED[..], &["-d", "14s"]].concat();
    let leader = world.run(&agents.each_ref().map(|agent| agent.address), &flags);
    world.until_seen(900);
    agents[1].process.signal("KILL");
    leader.until_said("of the run go to");
    agents[0].process.until_said("takes over a part of the run");
    agents[2].process.until_said("takes over a part of the run");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done", "lost", "done"]);
    let handed = report.nodes()[1]["handed_over"].as_array().unwrap();
    assert_eq!(handed.len(), 2, "{handed:?}");
    let from_s = handed[0]["from_s"].as_f64().unwrap();
    let share: f64 = handed.iter().map(|part| part["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0 / 3.0).abs() < 1e-9 && from_s < 13.0, "{handed:?}");
    // Every request of the whole that is intended from then on is sent, by one of the two, and none twice: of their own shares all, of the lost
    // node's those of the last seconds.
    let theirs: u64 =
        [0, 2].iter().map(|&node| report.nodes()[node]["requests"]["scheduled"].as_u64().unwrap()).sum();
    let taken = (0..8_400_u64).filter(|n| n % 3 == 1 && *n as f64 / 600.0 >= from_s).count() as u64;
    assert!(theirs.abs_diff(5_600 + taken) <= 1, "{theirs}, of which {taken} were the lost node's");
    let missing = report.missing();
    assert_eq!((missing[0], *missing.last().unwrap()), (0.0, 0.0), "{missing:?}");
    assert!(missing.iter().any(|share| (share - 1.0 / 3.0).abs() < 1e-9), "{missing:?}");
    let reasons = report.at("/verdict/reasons").to_string();
    assert!(reasons.contains("the others send 33.33 % of the run in its place since"), "{reasons}");
}

#[test]
fn a_frozen_node_whose_share_was_given_away_sends_nothing_more() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&["--max-rps", "250"])];
    let flags = ["--rps", "400", "-d", "14s", "--on-node-loss", "rebalance", "--allow-invalid"];
    let leader = world.run(&agents.each_ref().map(|agent| agent.address), &flags);
    world.until_seen(300);
    agents[0].process.signal("STOP");
    agents[1].process.until_said("takes over a part of the run");
    // Beyond its permit.
    sleep(Duration::from_secs(1));
    agents[0].process.signal("CONT");
    agents[0].process.until_said("the run is over");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["fetched", "done"]);
    assert_eq!(
        report.count("/requests/sent"),
        world.sink.totals().requests,
        "nobody sends what another counts"
    );
    // 250 of the 400 are all that the other may send: 200 were its own, and of the lost node's 200 it has room for 50.
    let handed = report.nodes()[0]["handed_over"].as_array().unwrap();
    assert_eq!(handed.len(), 1, "{handed:?}");
    assert_eq!(handed[0]["share"], 0.125);
    assert!(ended.stderr.contains("37.5 % of the run stay a gap"), "{}", ended.stderr);
    let missing = report.missing();
    assert!((missing[13] - 0.375).abs() < 1e-9, "{missing:?}");
}

#[test]
fn the_last_of_three_takes_over_all_that_the_others_leave() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[]), world.agent(&[])];
    let flags = [&REBALANCED[..], &["-d", "12s"]].concat();
    let leader = world.run(&agents.each_ref().map(|agent| agent.address), &flags);
    world.until_seen(500);
    // What the first of them leaves is offered to both others, and then, with its own, what the second leaves to the last.
    agents[1].process.signal("KILL");
    agents[2].process.signal("KILL");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done", "lost", "lost"]);
    let told = report.count("/requests/scheduled") + report.count("/requests/missing");
    assert!(told.abs_diff(7_200) <= 6, "{told} of 7,200 are told of: {:#}", report.at("/intervals"));
    assert_eq!(report.missing().last(), Some(&0.0), "{:?}", report.missing());
    let last = report.at("/intervals/11/scheduled").as_u64().unwrap();
    assert!(last.abs_diff(600) <= 2, "{last} in the last second");
}
