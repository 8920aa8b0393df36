//! What a leader makes of words at the wrong time, and how long it permits.

use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;
use coordinator_protocol::delta::Delta;
use coordinator_protocol::leader::{Act, Config, Failure, LEASE, Leader, OnLoss};
use coordinator_protocol::message::{Datagram, First, Holder, Ready, RunId, Status, Task, ToAgent, ToLeader};
use coordinator_protocol::shares::Wish;

const RUN: RunId = RunId(7);

struct Hall {
    leader: Leader,
    now: Nanos,
    merged: usize,
    /// When, and until when by the first node's clock.
    permits: Vec<(Nanos, Nanos)>,
    /// Nodes that do not answer pings.
    silent: Vec<usize>,
}

impl Hall {
    /// Two nodes that are there.
    fn new() -> Self {
        Self::of(vec![Status::default(); 2], 2)
    }

    /// Nodes that are there, and how many suffice.
    fn of(statuses: Vec<Status>, nodes_min: usize) -> Self {
        let wish = Wish { weight: 1, rate_max: None };
        let (args, files, weights) = (Vec::new(), Vec::new(), Vec::new());
        let config = Config {
            nodes: ["a", "b", "c"][..statuses.len()]
                .iter()
                .map(|name| ((*name).to_owned(), wish.clone()))
                .collect(),
            task: Task { run: RUN, preparation: 0, args, files, seed: 1, index: 0, weights },
            rate_max: Some(100.0),
            length: Nanos::from_secs(60),
            warmup: Nanos::ZERO,
            version: String::new(),
            timeout: Nanos::from_secs(1),
            nodes_min,
            opening: Nanos::ZERO,
            calibrate: false,
            on_loss: OnLoss::Degrade,
        };
        let now = Nanos::from_secs(3_600);
        let leader = Leader::new(config, now);
        let mut hall = Self { leader, now, merged: 0, permits: Vec::new(), silent: Vec::new() };
        for (node, status) in statuses.into_iter().enumerate() {
            hall.leader.handle_connected(node, now);
            hall.hear(node, ToLeader::Status(Box::new(status)));
        }
        hall
    }

    fn running() -> Self {
        let mut hall = Self::new();
        (0..2).for_each(|node| hall.hear(node, ready(0)));
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
                Act::Ping(node) if self.silent.contains(&node) => {}
                Act::Ping(node) => {
                    let t2 = slow(self.now);
                    let pong = Datagram::Pong { t1: self.now, t2, t3: t2, cpu: Nanos::ZERO };
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

/// Its connections are open, for that preparation.
fn ready(preparation: u32) -> ToLeader {
    let (facts, classes, remarks) = (Vec::new(), vec!["x".to_owned()], Vec::new());
    let facts = Box::new(Ready { facts, classes, shards: 1, remarks });
    ToLeader::Ready { run: RUN, preparation, facts }
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

fn lost(hall: &Hall, node: usize) -> Option<&str> {
    hall.leader.nodes()[node].lost().map(|(_, why)| why)
}

#[test]
fn who_answers_pings_and_says_nothing_of_its_requests_is_lost() {
    let mut hall = Hall::running();
    let until = hall.now + Nanos::from_secs(10);
    let mut number = 0;
    while hall.now < until {
        let delta = Box::new(Delta::of(0, &Recorder::new(1)));
        hall.hear(1, ToLeader::Delta { run: RUN, number, delta });
        number += 1;
        hall.wait(Nanos::from_secs(1));
    }
    assert!(lost(&hall, 0).is_some_and(|why| why.contains("said nothing of its requests")));
    assert_eq!(lost(&hall, 1), None);
}

#[test]
fn a_leader_that_was_frozen_holds_that_against_nobody() {
    let mut hall = Hall::running();
    hall.hear(0, delta());
    hall.hear(1, delta());
    hall.now += Nanos::from_millis(3_500);
    hall.leader.handle_timeout(hall.now);
    hall.act();
    assert_eq!((lost(&hall, 0), lost(&hall, 1)), (None, None));
    // Whoever is silent from then on is.
    let until = hall.now + Nanos::from_secs(3);
    while let Some(at) = hall.leader.timeout().filter(|&at| at <= until) {
        hall.leader.handle_timeout(at);
        while hall.leader.poll().is_some() {}
    }
    assert!(lost(&hall, 0).is_some() && lost(&hall, 1).is_some());
}

#[test]
fn asked_twice_to_stop_it_waits_for_nobody() {
    let mut hall = Hall::running();
    hall.leader.stop(hall.now);
    hall.wait(Nanos::from_secs(1));
    assert!(!hall.leader.is_over());
    hall.leader.stop(hall.now);
    hall.wait(Nanos::from_millis(500));
    assert!(hall.leader.is_over());
}

#[test]
fn a_run_that_broke_or_stopped_by_itself_is_a_loss() {
    let mut hall = Hall::running();
    let report = Err("a shard failed".to_owned());
    hall.hear(0, ToLeader::Ended { run: RUN, deltas: 0, first: First::default(), lapsed: false, report });
    assert!(lost(&hall, 0).is_some_and(|why| why.contains("a shard failed")));
    assert_eq!(hall.leader.nodes()[0].unhanded().count(), 1, "its share is a gap");
    hall.leader.handle_stopped_early(1, hall.now, false);
    assert!(lost(&hall, 1).is_some_and(|why| why.contains("somebody stopped it")));
    assert_eq!(hall.leader.failure(), None, "somebody wanted that");
}

#[test]
fn another_version_takes_no_part() {
    let other = Status { version: "9.9.9".to_owned(), ..Status::default() };
    let mut hall = Hall::of(vec![Status::default(), other], 2);
    hall.wait(Nanos::from_secs(1));
    assert!(hall.leader.failure().is_some_and(|failure| failure.to_string().contains("version 9.9.9")));
}

#[test]
fn what_was_made_ready_for_other_shares_does_not_start() {
    let mut hall = Hall::of(vec![Status::default(); 3], 2);
    hall.hear(1, ready(0));
    hall.leader.handle_closed(0, hall.now, "it is gone");
    hall.act();
    // The second node's word is from before; it gets ready anew.
    hall.hear(2, ready(0));
    hall.hear(1, ready(1));
    hall.wait(Nanos::from_secs(2));
    assert_eq!(hall.leader.start(), None);
    hall.hear(2, ready(1));
    hall.wait(Nanos::from_secs(2));
    assert!(hall.leader.start().is_some());
}

#[test]
fn one_agent_under_two_names_is_one_node() {
    let one = Status { agent: 5, ..Status::default() };
    let hall = Hall::of(vec![one.clone(), one], 2);
    let failure = hall.leader.failure().unwrap().to_string();
    assert_eq!(failure, "b: it is the agent that a is: name it once\n--min-nodes 1 goes on without");
}

#[test]
fn all_nodes_that_refuse_are_named_and_none_that_is_slow_is_waited_for_long() {
    let refused = |why: &str| ToLeader::Refused { run: RUN, why: why.to_owned() };
    let mut hall = Hall::of(vec![Status::default(); 3], 3);
    hall.hear(0, refused("no"));
    assert!(!hall.leader.is_over());
    hall.hear(1, refused("never"));
    hall.hear(2, ready(0));
    let failure = hall.leader.failure().unwrap().to_string();
    assert_eq!(failure, "a: no\nb: never\n--min-nodes 1 goes on without");
    let mut hall = Hall::of(vec![Status::default(); 3], 3);
    hall.hear(0, refused("no"));
    hall.wait(Nanos::from_secs(2));
    assert_eq!(hall.leader.failure().unwrap().to_string(), "a: no\n--min-nodes 2 goes on without");
}

#[test]
fn who_answers_no_ping_is_permitted_no_longer_until_it_does_again() {
    let mut hall = Hall::running();
    hall.hear(0, delta());
    let silent_from = hall.now;
    hall.silent.push(0);
    hall.wait(Nanos::from_millis(2_900));
    assert_eq!(lost(&hall, 0), None);
    let (last, _) = hall.permits[hall.permits.len() - 1];
    assert!(last <= silent_from + Nanos::from_millis(1_500), "{last}");
    // What it says shows that it sends, not that it hears.
    hall.hear(0, delta());
    assert_eq!(hall.permits[hall.permits.len() - 1].0, last);
    hall.silent.clear();
    hall.wait(Nanos::from_millis(1_100));
    assert!(hall.permits.iter().any(|(given, _)| *given >= silent_from + Nanos::from_millis(2_900)));
}

#[test]
fn a_run_that_nobody_carries_on_has_failed() {
    let mut hall = Hall::running();
    hall.leader.handle_stopped_early(0, hall.now, true);
    assert_eq!(hall.leader.failure(), None);
    hall.leader.handle_stopped_early(1, hall.now, true);
    assert!(matches!(hall.leader.failure(), Some(Failure::NoneLeft(_))));
}

#[test]
fn a_leader_that_hears_of_nothing_is_still_there() {
    let mut hall = Hall::running();
    for node in 0..2 {
        hall.leader.handle_closed(node, hall.now, "gone");
    }
    // No link stands, and none comes about.
    hall.wait(Nanos::from_millis(3_100));
    assert!(lost(&hall, 0).is_some() && lost(&hall, 1).is_some());
}
