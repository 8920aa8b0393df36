//! Where connections come from, how many there can be, and how fast they are opened.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::child::{ALLOWANCE, BLASTER, Ended, Load, Outcome, Running, skipped};
use crate::server::{Server, answer};

/// A server that notes how many connections come from each address.
fn noting() -> (Server, Arc<Mutex<BTreeMap<IpAddr, u64>>>) {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let server = Server::start({
        let seen = seen.clone();
        move |peer| {
            *seen.lock().unwrap().entry(peer.address().ip()).or_default() += 1;
            while peer.request()?.is_some() {
                peer.send(&answer(200, "ok"))?;
            }
            Ok(())
        }
    });
    (server, seen)
}

/// Runs the blaster at a target nobody listens at; it is to be refused for what the plan is.
fn refused(flags: &[&str]) -> String {
    let ended =
        Running::start(Command::new(BLASTER).args(["--quiet", "-d", "100ms"]).args(flags)).within(ALLOWANCE);
    assert_eq!(ended.status, Some(2), "{ended:?}");
    ended.stderr
}

#[test]
fn connections_come_from_the_addresses_named_in_turn() {
    for threads in ["1", "2"] {
        let (server, seen) = noting();
        // On a machine with one CPU there is one thread, whatever was asked for.
        let threads =
            if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) { "1" } else { threads };
        let flags = ["--source-ips", "127.0.0.2-127.0.0.4,127.0.0.9", "--threads", threads];
        let report = Load { connections: 8, flags: &flags, ..Load::at(server.target()) }.run().report;
        report.assert_all("/requests/ok");
        let expected = [2, 3, 4, 9].map(|last| (IpAddr::from([127, 0, 0, last]), 2));
        assert_eq!(*seen.lock().unwrap(), expected.into());
        assert_eq!(*report.at("/plan/source_ips"), "127.0.0.2,127.0.0.3,127.0.0.4,127.0.0.9");
    }
}

#[test]
fn without_being_asked_for_the_kernel_chooses_the_address() {
    let (server, seen) = noting();
    let report = Load::at(server.target()).run().report;
    assert_eq!(*seen.lock().unwrap(), [(IpAddr::from([127, 0, 0, 1]), 4)].into());
    assert_eq!(
        (report.at("/plan/source_ips").is_null(), report.at("/plan/connect_rate").is_null()),
        (true, true)
    );
}

#[test]
fn addresses_that_connections_cannot_come_from_are_refused_before_the_run() {
    for (sources, target, said) in [
        ("192.0.2.1", "127.0.0.1:1", "192.0.2.1 is no address of this machine"),
        ("127.0.0.1", "[::1]:1", "127.0.0.1 is IPv4, and no target has such an address"),
        ("127.0.0.1", "192.0.2.1:1", "192.0.2.1:1 cannot be reached from 127.0.0.1"),
        ("somewhere", "127.0.0.1:1", "want auto, or addresses"),
    ] {
        let stderr = refused(&["--source-ips", sources, target]);
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn paced_connections_take_their_time_before_the_first_request() {
    let server = Server::answering(|_, _| answer(200, "ok"));
    let flags = ["--connect-rate", "100"];
    let Outcome { report, ended } =
        Load { connections: 21, flags: &flags, ..Load::at(server.target()) }.run();
    report.assert_all("/requests/ok");
    assert_eq!(report.sent(), Load::SCHEDULED, "none was late for want of a connection");
    assert_eq!((report.count("/connections/opened"), report.count("/connections/peak")), (21, 21));
    // 20 gaps of 10 ms, but for what may be caught up with.
    assert!(report.count("/connections/opening_ns") >= 195_000_000, "{:#}", report.at("/connections"));
    assert_eq!(*report.at("/plan/connect_rate"), 100.0);
    for said in ["21 opened in ", "connect time"] {
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }
}

#[test]
fn what_opening_takes_is_not_taken_off_the_run() {
    let server = Server::answering(|_, _| answer(200, "ok"));
    // Three gaps of a second: more than a run waits beyond its length and its timeout.
    let flags = ["--connect-rate", "1"];
    let report = Load { flags: &flags, ..Load::at(server.target()) }.run().report;
    report.assert_all("/requests/ok");
    assert_eq!(report.sent(), Load::SCHEDULED);
}

#[test]
fn a_sink_that_may_not_hold_so_many_connections_says_so_once() {
    let command = format!("ulimit -n 1000; exec {BLASTER} sink --listen 127.0.0.1:0 --connections 2000");
    let ended = Running::start(Command::new("sh").args(["-c", &command])).within(ALLOWANCE);
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert_eq!(
        ended.stderr.matches("need 2064 file descriptors, the limit is 1000").count(),
        1,
        "{}",
        ended.stderr
    );
}

/// In a network namespace of its own that has 100 local ports and three addresses beside those of loopback; none where this user
/// may not make one.
fn with_few_ports(flags: &str) -> Option<Ended> {
    let script = format!(
        "set -e; ip link set lo up; for last in 1 2 3; do ip address add 10.9.0.$last/24 dev lo; done; echo 40000 40099 >/proc/sys/net/ipv4/ip_local_port_range; \
         exec {BLASTER} --quiet --allow-invalid --rps 2000 -d 200ms --json - {flags}"
    );
    let ended = Running::start(Command::new("unshare").args(["--net", "sh", "-c", &script]))
        .within(Duration::from_secs(5) + ALLOWANCE);
    if ended.stderr.starts_with("unshare:") {
        skipped("SKIPPED: this user may not make a network namespace, too few ports were not tested");
        return None;
    }
    Some(ended)
}

#[test]
fn more_connections_than_ports_want_more_addresses_to_connect_from() {
    let Some(ended) = with_few_ports("-c 150") else { return };
    assert_eq!(ended.status, Some(2), "{ended:?}");
    for said in ["need 150 local ports", "there are 100", "--source-ips auto"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let ended = with_few_ports("-c 350 --source-ips 127.0.0.1-127.0.0.3").expect("it went before");
    assert_eq!(ended.status, Some(2), "{ended:?}");
    for said in ["the 3 addresses to connect from have 300", "it takes 4 addresses"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let ended = with_few_ports("-c 51").expect("it went before");
    assert!(ended.stderr.contains("51 connections to 127.0.0.1:"), "{}", ended.stderr);
    assert!(ended.stderr.contains("more than half of the local ports"), "{}", ended.stderr);
    let ended = with_few_ports("-c 350 --source-ips auto").expect("it went before");
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).expect("a report");
    let connections = &report["connections"];
    assert_eq!((&connections["opened"], &connections["peak"]), (&350.into(), &350.into()), "{connections:#}");
    assert!(connections["failed"].as_object().unwrap().values().all(|count| *count == 0), "{connections:#}");
    assert_eq!(report["requests"]["ok"], 400);
    assert!(ended.stderr.contains("connecting from 7 addresses of this machine"), "{}", ended.stderr);
}

#[test]
fn auto_finds_the_addresses_of_the_interface_on_the_way() {
    let Some(ended) = with_few_ports("-c 350 --source-ips auto 10.9.0.1:1") else { return };
    // All four have ports enough; that nobody listens there is another matter.
    assert_eq!(ended.status, Some(1), "{ended:?}");
    for said in ["connecting from 4 addresses of this machine", "connection refused"] {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
    let ended = with_few_ports("-c 450 --source-ips auto 10.9.0.1:1").expect("it went before");
    assert_eq!(ended.status, Some(2), "{ended:?}");
    for said in ["the 4 addresses to connect from have 400", "it takes 5 addresses: give the interface more"]
    {
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
