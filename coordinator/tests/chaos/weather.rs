//! Networks that lose, double, garble, delay and cut.

use std::time::Duration;

use crate::relay::{Relay, Weather};
use crate::world::World;

const STORM: Weather = Weather {
    lose: 30,
    double: 30,
    garble: 30,
    delay_there: Duration::from_millis(2),
    delay_back: Duration::from_millis(9),
    jitter: Duration::from_millis(3),
    cut: false,
};

#[test]
fn lost_doubled_garbled_and_crookedly_delayed_datagrams_change_no_number() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let relays: Vec<Relay> =
        (1..).zip(&agents).map(|(seed, agent)| Relay::to(agent.address, STORM, seed)).collect();
    let nodes: Vec<_> = relays.iter().map(Relay::address).collect();
    let ended =
        world.run(&nodes, &["--rps", "400", "-d", "3s", "--arrivals", "uniform", "--allow-invalid"]).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    // The ways differ by 7 ms: the estimate is off by half of it, and says so.
    report.assert_clocks(0);
    assert_eq!(report.states(), ["done", "done"]);
    assert_eq!(report.count("/requests/scheduled"), 1_200);
    assert_eq!(report.count("/requests/ok"), world.sink.totals().requests);
    assert!(relays.iter().all(|relay| relay.passed() > 100));
}

#[test]
fn a_node_that_is_cut_off_stops_and_what_it_did_until_then_is_fetched_later() {
    let world = World::new();
    let agents = [world.agent(&[]), world.agent(&[])];
    let relay = Relay::to(agents[0].address, Weather::default(), 7);
    let leader =
        world.run(&[relay.address(), agents[1].address], &["--rps", "400", "-d", "12s", "--allow-invalid"]);
    world.until_seen(300);
    relay.set(Weather { cut: true, ..Weather::default() });
    leader.until_said("lost: nothing was heard of it");
    agents[0].process.until_said("the run is over");
    agents[0].process.until_said("its results are kept");
    relay.set(Weather::default());
    agents[0].process.until_said("the leader is back");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["fetched", "done"]);
    assert_eq!(report.count("/requests/ok"), world.sink.totals().requests, "nothing is lost with the link");
    let missing = report.missing();
    assert!(missing[0] == 0.0 && missing.contains(&0.5), "{missing:?}");
}

#[test]
fn a_short_cut_is_bridged_and_nothing_is_lost_or_counted_twice() {
    let world = World::new();
    let agent = world.agent(&[]);
    let relay = Relay::to(agent.address, Weather::default(), 9);
    let leader = world
        .run(&[relay.address()], &["--rps", "400", "-d", "5s", "--arrivals", "uniform", "--allow-invalid"]);
    world.until_seen(400);
    relay.set(Weather { cut: true, ..Weather::default() });
    std::thread::sleep(Duration::from_millis(1_500));
    relay.set(Weather::default());
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done"]);
    assert_eq!((report.count("/requests/scheduled"), report.count("/requests/ok")), (2_000, 2_000));
}
