//! Agents whose clocks are hours apart, and agents behind real network interfaces: in namespaces of their own, which want root.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::world::{Agent, COORDINATOR, World, assert_clock, skipped};

#[test]
fn monotonic_clocks_hours_apart_start_together_and_are_known_within_their_bounds() {
    let ahead_s = [7_200_i64, 36_000];
    let world = World::new();
    let elsewhere = |ahead_s: i64| {
        let mut command = Command::new("unshare");
        command.args(["--time", "--fork", "--monotonic", &ahead_s.to_string()]);
        command
    };
    if !elsewhere(1).arg("true").output().is_ok_and(|output| output.status.success()) {
        return skipped("clocks hours apart: no time namespaces here");
    }
    let agents = ahead_s.map(|ahead_s| {
        let mut command = elsewhere(ahead_s);
        command.arg(COORDINATOR);
        Agent::of(command, &world.secret(), "127.0.0.1:0", &[])
    });
    let nodes = agents.each_ref().map(|agent| agent.address);
    let ended =
        world.run(&nodes, &["--rps", "500", "-d", "1s", "--arrivals", "uniform", "--allow-invalid"]).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done", "done"]);
    assert_eq!((report.count("/requests/scheduled"), report.count("/requests/ok")), (500, 500));
    for (node, ahead_s) in report.nodes().iter().zip(ahead_s) {
        assert_clock(node, ahead_s * 1_000_000_000);
        assert!(!node["clock"].is_null());
    }
}

#[test]
fn a_node_whose_interface_goes_down_stops_and_is_fetched_when_it_is_up_again() {
    let Some(networks) = Network::pair() else { return };
    let world = World::at(&networks[0].host);
    let agents = networks.each_ref().map(|network| network.agent(&world));
    let leader = world.run(
        &agents.each_ref().map(|agent| agent.address),
        &["--rps", "400", "-d", "14s", "--allow-invalid"],
    );
    world.until_seen(300);
    networks[1].set_link("down");
    leader.until_said("lost: nothing was heard of it");
    agents[1].process.until_said("the run is over");
    agents[1].process.until_said("its results are kept");
    networks[1].set_link("up");
    agents[1].process.until_said("the leader is back");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["done", "fetched"]);
    let missing = report.missing();
    assert!(missing[0] == 0.0 && missing.contains(&0.5), "{missing:?}");
    // What was under way when the wire was cut may have been lost in either direction.
    let (ok, seen, sent) =
        (report.count("/requests/ok"), world.sink.totals().requests, report.count("/requests/sent"));
    assert!(ok <= seen && seen <= sent, "{ok} answers, {seen} seen, {sent} sent");
}

#[test]
fn a_node_that_a_firewall_cuts_off_from_its_leader_alone_loses_no_number() {
    let Some(networks) = Network::pair() else { return };
    let world = World::at(&networks[0].host);
    let agents = networks.each_ref().map(|network| network.agent(&world));
    if !networks[0].nft("add table inet cut") {
        return skipped("a firewall between leader and agent: no nft here");
    }
    let chain = "add chain inet cut in { type filter hook input priority 0; }";
    assert!(networks[0].nft(chain), "a table takes a chain");
    let leader = world.run(
        &agents.each_ref().map(|agent| agent.address),
        &["--rps", "400", "-d", "14s", "--allow-invalid"],
    );
    world.until_seen(300);
    assert!(networks[0].nft("add rule inet cut in meta l4proto udp drop"));
    leader.until_said("lost: nothing was heard of it");
    agents[0].process.until_said("the run is over");
    agents[0].process.until_said("its results are kept");
    assert!(networks[0].nft("flush chain inet cut in"));
    agents[0].process.until_said("the leader is back");
    let ended = leader.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let report = world.report();
    report.assert_adds_up();
    assert_eq!(report.states(), ["fetched", "done"]);
    assert_eq!(report.count("/requests/ok"), world.sink.totals().requests, "requests went on passing");
    let missing = report.missing();
    assert!(missing[0] == 0.0 && missing.contains(&0.5), "{missing:?}");
}

/// A network namespace, and a pair of interfaces from it to this machine's.
struct Network {
    name: String,
    /// The machine's side.
    host: String,
    inside: String,
}

impl Network {
    /// Two of them; none where that is not allowed, which is said.
    fn pair() -> Option<[Self; 2]> {
        let networks = [Self::new(), Self::new()];
        match networks {
            [Ok(first), Ok(second)] => Some([first, second]),
            [Err(why), _] | [_, Err(why)] => {
                skipped(&format!("agents in network namespaces: {why}"));
                None
            }
        }
    }

    fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("bl{pid}x{number}");
        // Addresses for benchmarks between networks (RFC 2544), which no network of this machine should have.
        let subnet = |last: u32| format!("198.18.{}.{}", pid % 256, number * 4 % 256 + last);
        let network = Self { name, host: subnet(1), inside: subnet(2) };
        let (name, host, inside) = (&network.name, &network.host, &network.inside);
        for command in [
            format!("ip netns add {name}"),
            format!("ip link add {name}h type veth peer name inside netns {name}"),
            format!("ip address add {host}/30 dev {name}h"),
            format!("ip link set {name}h up"),
            format!("ip -n {name} address add {inside}/30 dev inside"),
            format!("ip -n {name} link set inside up"),
            format!("ip -n {name} link set lo up"),
            format!("ip -n {name} route add default via {host}"),
        ] {
            call(&command)?;
        }
        Ok(network)
    }

    fn agent(&self, world: &World) -> Agent {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, COORDINATOR]);
        Agent::of(command, &world.secret(), &format!("{}:0", self.inside), &[])
    }

    fn set_link(&self, state: &str) {
        call(&format!("ip link set {}h {state}", self.name)).unwrap();
    }

    /// Whether the firewall inside took a command.
    fn nft(&self, command: &str) -> bool {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &self.name, "nft", command]);
        nft.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = call(&format!("ip link delete {}h", self.name));
        let _ = call(&format!("ip netns delete {}", self.name));
    }
}

fn call(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().expect("a program")).args(words).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
