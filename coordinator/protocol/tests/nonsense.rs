//! What a leader makes of words at the wrong time, and how long it permits.

use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;
use coordinator_protocol::delta::Delta;
use coordinator_protocol::leader::{Act, Config, LEASE, Leader, OnLoss};
use coordinator_protocol::message::{Datagram, Holder, Ready, RunId, Task, ToAgent, ToLeader};
use coordinator_protocol::shares::Wish;

const RUN: RunId = RunId(7);

struct Hall {
    leader: Leader,
    now: Nanos,
    merged: usize,
    /// Until when, by the first node's clock.
    permits: Vec<(Nanos, Nanos)>,
}

impl Hall {
    /// Two nodes that are there.
    fn new() -> Self {
        let wish = Wish { weight: 1, rate_max: None };
        let (args, files, weights) = (Vec::new(), Vec::new(), Vec::new());
        let config = Config {
            nodes: vec![("a".to_owned(), wish.clone()), ("b".to_owned(), wish)],
            task: Task { run: RUN, args, files, seed: 1, index: 0, weights },
            rate_max: Some(100.0),
            length: Nanos::from_secs(60),
            timeout: Nanos::from_secs(1),
            nodes_min: 2,
            opening: Nanos::ZERO,
            calibrate: false,
            on_loss: OnLoss::Degrade,
        };
        let now = Nanos::from_secs(3_600);
        let mut hall = Self { leader: Leader::new(config, now), now, merged: 0, permits: Vec::new() };
        for node in 0..2 {
            hall.leader.handle_connected(node, now);
            hall.hear(node, ToLeader::Status(Box::default()));
        }
        hall
    }

    fn running() -> Self {
        let mut hall = Self::new();
        for node in 0..2 {
            let (facts, classes, remarks) = (Vec::new(), vec!["x".to_owned()], Vec::new());
            let facts = Box::new(Ready { facts, classes, shards: 1, remarks });
            hall.hear(node, ToLeader::Ready { run: RUN, facts });
        }
        hall.wait(Nanos::from_secs(5));
        assert!(hall.leader.start().is_some_and(|start| start < hall.now));
        hall
    }

    fn hear(&mut self, node: usize, message: ToLeader) {
        self.leader.handle_message(node, self.now, message);
        self.act();
    }

    fn wait(&mut self, span: Nanos) {
        let until = self.now + span;
        while let Some(at) = self.leader.timeout().filter(|&at| at <= until) {
            self.now = self.now.max(at);
            self.leader.handle_timeout(self.now);
            self.act();
        }
        self.now = until;
    }

    fn act(&mut self) {
        while let Some(act) = self.leader.poll() {
            match act {
                Act::Ping(node) => {
                    let t2 = slow(self.now);
                    let pong = Datagram::Pong { t1: self.now, t2, t3: t2 };
                    self.leader.handle_datagram(node, self.now, pong);
                }
                Act::Say(0, message) => {
                    if let ToAgent::Permit { until, .. } = *message {
                        self.permits.push((self.now, until));
                    }
                }
                Act::Merge(..) => self.merged += 1,
                _ => {}
            }
        }
    }
}

/// A clock that loses 50 ppm.
fn slow(ours: Nanos) -> Nanos {
    Nanos(ours.0 - ours.0 / 20_000)
}

fn delta() -> ToLeader {
    ToLeader::Delta { run: RUN, number: 0, delta: Box::new(Delta::of(0, &Recorder::new(1))) }
}

#[test]
fn what_is_seen_before_the_start_is_not_heard() {
    let mut hall = Hall::new();
    hall.hear(0, delta());
    assert_eq!(hall.merged, 0);
    let mut hall = Hall::running();
    hall.hear(0, delta());
    assert_eq!(hall.merged, 1);
}

#[test]
fn a_node_that_has_no_run_before_the_start_is_no_loss() {
    let mut hall = Hall::new();
    hall.hear(0, ToLeader::Unknown { run: RUN });
    assert_eq!(hall.leader.nodes()[0].lost(), None);
}

#[test]
fn who_takes_no_part_once_the_run_goes_on_is_lost_and_its_share_a_gap() {
    let busy = ToLeader::Busy(Holder { leader: "another".to_owned(), held: Nanos::ZERO });
    for word in [busy, ToLeader::Refused { run: RUN, why: "another stopped it".to_owned() }] {
        let mut hall = Hall::running();
        hall.hear(0, word);
        let node = &hall.leader.nodes()[0];
        assert!(node.lost().is_some_and(|(_, why)| why.contains("another")), "{node:?}");
        assert!(node.takes_part() && node.unhanded().count() == 1 && !hall.leader.is_over());
    }
}

#[test]
fn a_permit_is_over_when_the_lease_is_also_by_a_slow_clock() {
    let mut hall = Hall::running();
    hall.wait(Nanos::from_secs(2));
    assert!(hall.permits.len() > 2);
    for (given, until) in hall.permits {
        assert!(until <= slow(given + LEASE), "given at {given}");
    }
}
