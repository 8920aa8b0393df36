//! Who gets in, and what those who do not can do to an agent.

use std::net::UdpSocket;
use std::process::Command;

use crate::world::{Agent, COORDINATOR, Process, World, until};

fn status(world: &World, agent: &Agent) -> (Option<i32>, String) {
    let mut command = Command::new(COORDINATOR);
    command
        .arg("status")
        .arg("--nodes")
        .arg(world.hosts(&[agent.address]))
        .arg("--secret")
        .arg(world.secret());
    let ended = Process::start(&mut command).end();
    (ended.status, ended.stdout)
}

#[test]
fn a_wrong_secret_is_refused_and_learns_nothing() {
    let (ours, theirs) = (World::new(), World::new());
    let agent = ours.agent(&[]);
    let (code, told) = status(&theirs, &agent);
    assert_eq!(code, Some(1));
    assert!(told.contains("it has another secret"), "{told}");
    assert!(!told.contains("version") && !told.contains("kernel"), "{told}");
    agent.process.until_said("it does not prove the secret");
    let ended = theirs.run(&[agent.address], &["--rps", "10", "-d", "1s"]).end();
    assert_eq!((ended.status, ended.stderr.contains("it has another secret")), (Some(1), true), "{ended:?}");
    assert_eq!(status(&ours, &agent).0, Some(0), "and the agent serves those who have it");
}

#[test]
fn ten_thousand_malformed_datagrams_leave_an_agent_serving() {
    let world = World::new();
    let agent = world.agent(&[]);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = 0x9e37_79b9_u64;
    let mut draw = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for number in 0..10_000_u64 {
        let length = [1, 20, 300, 1200, 1452][number as usize % 5];
        let mut bytes: Vec<u8> = (0..length).map(|_| draw() as u8).collect();
        // Noise, and what begins like a first packet of QUIC, of this version and of others.
        if number % 2 == 0 {
            bytes[0] = 0xc0 | (bytes[0] & 0x3f);
            let version = if number % 4 == 0 { [0, 0, 0, 1] } else { [0x0a, 0x1a, 0x2a, 0x3a] };
            bytes.iter_mut().skip(1).zip(version).for_each(|(byte, of_version)| *byte = of_version);
            if let Some(length) = bytes.get_mut(5) {
                *length %= 21;
            }
        }
        // A full buffer is as good as a lost datagram.
        let _ = stranger.send_to(&bytes, agent.address);
    }
    until("it still serves", || status(&world, &agent).0 == Some(0));
    assert!(!agent.process.has_ended());
}

#[test]
fn targets_and_rates_beyond_what_its_owner_allows_are_refused_by_the_agent() {
    let world = World::new();
    let narrow = world.agent(&["--allow-target", "192.0.2.0/24"]);
    let ended = world.run(&[narrow.address], &["--rps", "100", "-d", "300ms"]).end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("this agent may not send to 127.0.0.1:"), "{ended:?}");
    let slow = world.agent(&["--max-rps", "50"]);
    let ended = world.run(&[slow.address], &["--rps", "max", "-d", "300ms"]).end();
    assert!(ended.stderr.contains("this agent sends at most 50 requests/s"), "{ended:?}");
    let ended = world.run(&[slow.address], &["--rps", "100", "-d", "300ms"]).end();
    assert!(ended.stderr.contains("the nodes may send 50 requests/s together"), "{ended:?}");
    assert_eq!(world.sink.totals().requests, 0);
}

#[test]
fn an_agent_without_a_secret_says_how_to_make_one() {
    let world = World::new();
    let mut command = Command::new(COORDINATOR);
    command.args(["agent", "--listen", "127.0.0.1:0", "--secret"]).arg(world.path("none"));
    let ended = Process::start(&mut command).end();
    assert_eq!(ended.status, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("coordinator secret"), "{ended:?}");
}
