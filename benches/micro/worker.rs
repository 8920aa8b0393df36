//! Whole turns of the worker, on an engine that costs next to nothing and answers at once: what is left is what the
//! worker itself adds to the kernel's price of a request.

use std::ops::Range;

use benches::stopwatch::Stopwatch;
use benches::tape;
use blaster_core::load::engine::{ConnectionId, Engine, Event, Lent, OnEvent, Outgoing};
use blaster_core::load::schedule::Schedule;
use blaster_core::load::tape::Reel;
use blaster_core::load::worker::{Progress, StreamPlan, Worker, WorkerPlan};
use blaster_core::plan::Arrivals;
use blaster_core::plan::lanes::Lanes;
use blaster_core::plan::statuses::Statuses;
use blaster_core::time::Nanos;
use payloads::fresh::Fields;

use crate::schedule::constant;

const CONNECTIONS: u32 = 64;
const ANSWER: &[u8] =
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n\
    {\"message\":\"accepted\",\"count\":1}";

/// So long that no measurement comes to its end.
const LENGTH: Nanos = Nanos(86_400_000_000_000);

/// Requests a measurement waits for.
const REQUESTS: u64 = 10_000;

pub fn measure(stopwatch: &Stopwatch) {
    for depth in [1, 16, 64] {
        run(stopwatch, &format!("worker, closed loop, depth {depth}"), depth, None);
    }
    let schedule = |rate| Schedule::new(&constant(rate, LENGTH), Arrivals::Uniform, &Lanes::whole(), 0);
    run(stopwatch, "worker, open loop, depth 1, 50k/s", 1, Some(schedule(5e4)));
    run(stopwatch, "worker, open loop, depth 64, 1M/s", 64, Some(schedule(1e6)));
}

fn run(stopwatch: &Stopwatch, name: &str, depth: u32, schedule: Option<Schedule>) {
    let (tape, reel) = tape::tape(tape::get("127.0.0.1:3000", "/events").expect("a sound path"));
    let plan = WorkerPlan {
        streams: vec![StreamPlan {
            schedule,
            connections: CONNECTIONS,
            addresses: vec![0],
            first_request: 0,
            expect: Statuses::default(),
            answers_to_head: false,
            count_key: None,
            fields: Fields::new(0, 0, 1),
        }],
        depth,
        timeout: Nanos::from_secs(10),
        warmup: Nanos::ZERO,
        length: LENGTH,
        classes: 1,
        connect_gap: Nanos::ZERO,
        seed: 0,
    };
    let mut worker = Worker::new(Echo::new(reel, depth), tape, plan);
    while worker.turn() != Progress::Ready {}
    let begin = worker.now();
    worker.start(begin);
    stopwatch.measure(name, REQUESTS, || {
        let wanted = worker.engine().answered + REQUESTS;
        while worker.engine().answered < wanted {
            worker.turn();
            if let Some(mut full) = worker.take_full() {
                full.clear();
                worker.give_spare(full);
            }
        }
    });
}

/// Takes every send at once, and answers all of its requests in the turn it was asked for. A turn takes as long as real
/// ones do.
struct Echo {
    now: Nanos,
    reel: Reel,
    /// As many answers as one send can ask for.
    answers: Vec<u8>,
    waiting: Vec<(ConnectionId, Waiting)>,
    answered: u64,
}

enum Waiting {
    Connect,
    Answers(usize),
}

impl Echo {
    fn new(reel: Reel, depth: u32) -> Self {
        Self {
            now: Nanos::ZERO,
            reel,
            answers: ANSWER.repeat(depth as usize),
            waiting: Vec::with_capacity(CONNECTIONS as usize),
            answered: 0,
        }
    }
}

impl Engine for Echo {
    fn now(&mut self) -> Nanos {
        self.now
    }

    fn connect(&mut self, id: ConnectionId, _address: usize) {
        self.waiting.push((id, Waiting::Connect));
    }

    fn send(&mut self, id: ConnectionId, what: Outgoing) {
        let requests = match what {
            Outgoing::Tape(run) => run.len(),
            Outgoing::Staged(_) => unreachable!("nothing is staged"),
        };
        self.waiting.push((id, Waiting::Answers(requests)));
    }

    fn lend(&mut self, _id: ConnectionId, run: Range<usize>) -> Lent<'_> {
        self.reel.lend(run, &mut [])
    }

    fn stage(&mut self, _id: ConnectionId) -> &mut [u8] {
        &mut []
    }

    fn close(&mut self, id: ConnectionId) {
        unreachable!("nothing ends connection {id}");
    }

    fn turn(&mut self, until: Nanos, on: &mut impl OnEvent) {
        const TURN: Nanos = Nanos(8_000);
        // With nothing to do, time jumps to when there will be.
        self.now = if self.waiting.is_empty() { until.max(self.now) } else { self.now + TURN };
        on.submitted(self.now);
        on.reaped(self.now);
        for (id, what) in self.waiting.drain(..) {
            match what {
                Waiting::Connect => on.event(id, Event::Connected),
                Waiting::Answers(count) => {
                    on.event(id, Event::Sent);
                    on.event(id, Event::Received(&self.answers[..count * ANSWER.len()]));
                    self.answered += count as u64;
                }
            }
        }
    }
}
