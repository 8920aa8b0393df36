//! What a leader of a thousand nodes costs: everything it does but for the sockets, with deltas as large as real ones.
//!
//! `cargo test --release -p coordinator-protocol --test leader_load -- --ignored --nocapture`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use blaster_core::load::engine::WireTimes;
use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;
use coordinator_protocol::delta::Delta;
use coordinator_protocol::leader::{Act, Config, Leader, OnLoss};
use coordinator_protocol::message::{Datagram, First, Ready, RunId, Task, ToAgent, ToLeader, decode, encode};
use coordinator_protocol::shares::Wish;

const RUN: RunId = RunId(7);
const NODES: usize = 1000;
const RUN_S: u32 = 60;

/// The ways there and back take so long.
const WAY: Nanos = Nanos::from_micros(500);

#[test]
#[ignore = "takes a while, and only its numbers are of use"]
fn a_thousand_nodes_cost_a_leader() {
    for requests in [1_000, 5_000] {
        let mut hall = Hall::new(requests);
        hall.run();
        let (bytes, buckets) = (encode(&hall.deltas[0]).len(), hall.buckets);
        let percent = hall.leads.as_secs_f64() / f64::from(RUN_S) * 100.0;
        println!(
            "{NODES} nodes of {requests} requests/s ({buckets} buckets of response times, {bytes} bytes a second): {} events, {percent:.1} % of a core",
            hall.events
        );
        assert_eq!(hall.merged, NODES * RUN_S as usize);
    }
}

/// What comes to the leader.
#[derive(Debug)]
enum Event {
    Connected,
    Message(Vec<u8>),
    Pong(Datagram),
}

struct Hall {
    leader: Leader,
    now: Nanos,
    due: BTreeMap<(Nanos, u64), (usize, Event)>,
    deltas: Vec<Delta>,
    buckets: usize,
    whole: Recorder,
    merged: usize,
    events: u64,
    /// The leader's own time, from the start on.
    leads: Duration,
}

impl Hall {
    fn new(requests: u64) -> Self {
        let now = Nanos::from_secs(3_600);
        let seconds: Vec<Recorder> = (0..8).map(|seed| second(seed, requests)).collect();
        let task = Task {
            run: RUN,
            preparation: 0,
            args: Vec::new(),
            files: Vec::new(),
            seed: 1,
            index: 0,
            weights: Vec::new(),
        };
        let config = Config {
            nodes: (0..NODES).map(|node| (format!("n{node}"), Wish { weight: 1, rate_max: None })).collect(),
            task,
            rate_max: Some(requests as f64 * NODES as f64),
            length: Nanos::from_secs(RUN_S.into()),
            warmup: Nanos::ZERO,
            version: String::new(),
            timeout: Nanos::from_secs(1),
            nodes_min: 1,
            opening: Nanos::ZERO,
            calibrate: false,
            on_loss: OnLoss::Degrade,
        };
        Self {
            leader: Leader::new(config, now),
            now,
            due: BTreeMap::new(),
            buckets: seconds[0].classes[0].response_ok.buckets().count(),
            deltas: seconds.iter().map(|recorder| Delta::of(0, recorder)).collect(),
            whole: Recorder::new(1),
            merged: 0,
            events: 0,
            leads: Duration::ZERO,
        }
    }

    fn run(&mut self) {
        loop {
            self.act();
            let began = Instant::now();
            let timeout = self.leader.timeout();
            self.count(began);
            let Some(timeout) = timeout else { break };
            match self.due.first_key_value() {
                Some((&(at, _), _)) if at <= timeout => self.happen(),
                _ => {
                    self.now = self.now.max(timeout);
                    let began = Instant::now();
                    self.leader.handle_timeout(self.now);
                    self.count(began);
                }
            }
        }
    }

    fn happen(&mut self) {
        let ((at, _), (node, event)) = self.due.pop_first().expect("something is due");
        self.now = at;
        let began = Instant::now();
        match event {
            Event::Connected => self.leader.handle_connected(node, at),
            Event::Message(bytes) => {
                self.leader.handle_message(node, at, decode(&bytes).expect("a message"));
            }
            Event::Pong(pong) => self.leader.handle_datagram(node, at, pong),
        }
        self.count(began);
    }

    fn act(&mut self) {
        loop {
            let began = Instant::now();
            let Some(act) = self.leader.poll() else { return };
            match act {
                Act::Merge(_, delta) => {
                    delta.check(1).expect("it is of this run");
                    delta.add_to(&mut self.whole);
                    self.merged += 1;
                    self.count(began);
                }
                Act::Say(node, message) => {
                    let bytes = encode(&*message);
                    self.count(began);
                    self.answer(node, &decode(&bytes).expect("a message"));
                }
                Act::Ping(node) => {
                    let there = self.now + WAY;
                    let pong = Datagram::Pong { t1: self.now, t2: there, t3: there, cpu: there };
                    self.later(there + WAY, node, Event::Pong(pong));
                }
                Act::Connect(node) => self.later(self.now + WAY, node, Event::Connected),
                Act::Starting(_) | Act::Log(_) => {}
            }
        }
    }

    /// What a node says to that.
    fn answer(&mut self, node: usize, message: &ToAgent) {
        let soon = self.now + WAY + WAY;
        match message {
            ToAgent::Status => self.say(soon, node, &ToLeader::Status(Box::default())),
            ToAgent::Prepare(_) => {
                let (facts, classes, remarks) = (Vec::new(), vec!["x".to_owned()], Vec::new());
                let facts = Box::new(Ready { facts, classes, shards: 1, remarks });
                self.say(soon, node, &ToLeader::Ready { run: RUN, preparation: 0, facts });
            }
            ToAgent::Start { at, .. } => {
                for number in 0..RUN_S {
                    let mut delta =
                        Box::new(self.deltas[(node + number as usize) % self.deltas.len()].clone());
                    delta.interval = Some(number);
                    let when = *at + Nanos::from_secs(u64::from(number) + 1) + WAY;
                    self.say(when, node, &ToLeader::Delta { run: RUN, number, delta });
                }
                let end = *at + Nanos::from_secs(u64::from(RUN_S) + 1);
                let ended = ToLeader::Ended {
                    run: RUN,
                    deltas: RUN_S,
                    first: First::default(),
                    lapsed: false,
                    report: Ok(Vec::new()),
                };
                self.say(end, node, &ended);
            }
            _ => {}
        }
    }

    fn say(&mut self, at: Nanos, node: usize, message: &ToLeader) {
        self.later(at, node, Event::Message(encode(message)));
    }

    fn later(&mut self, at: Nanos, node: usize, event: Event) {
        self.events += 1;
        self.due.insert((at, self.events), (node, event));
    }

    /// From its first request on it matters.
    fn count(&mut self, began: Instant) {
        if self.leader.start().is_some_and(|start| self.now >= start) {
            self.leads += began.elapsed();
        }
    }
}

/// Requests whose times spread like latencies: a product of many small causes.
fn second(seed: u64, requests: u64) -> Recorder {
    let mut recorder = Recorder::new(1);
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for n in 0..requests {
        let mut causes = 0;
        for _ in 0..12 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            causes += word >> 40;
        }
        // The sum of twelve is close to normal; its deviation is one.
        let normal = causes as f64 / f64::from(1 << 24) - 6.0;
        let time = Nanos((250_000.0 * (normal * 0.5).exp()) as u64);
        let class = &mut recorder.classes[0];
        (class.scheduled, class.sent, class.ok) = (class.scheduled + 1, class.sent + 1, class.ok + 1);
        class.status[202] += 1;
        class.response_ok.record(time);
        class.service.record(time);
        recorder.lateness.on_time.record(Nanos(time.0 / 50));
        recorder.turn_time.record(Nanos(3_000 + n % 4_000));
        if n % 100 == 0 {
            let times = WireTimes { left: Nanos(9_000), arrived: Nanos(80_000) };
            recorder.wire.record(Nanos(0), times, Nanos(99_000));
        }
    }
    recorder.settle();
    recorder
}
