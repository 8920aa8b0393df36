//! A node: the agent's state machine, and a model of the blaster that it drives.

use blaster_core::load::recorder::Recorder;
use blaster_core::load::schedule::Schedule;
use blaster_core::plan::Arrivals;
use blaster_core::plan::lanes::Lanes;
use blaster_core::plan::rate::{Curve, Rate};
use blaster_core::time::Nanos;
use coordinator_protocol::agent::{Act, Agent, Ended};
use coordinator_protocol::delta::Delta;
use coordinator_protocol::message::{First, Ready, Status, Task, ToLeader};

/// A clock that was set at another time and runs at another pace.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub ahead_ns: u64,
    pub drift_ppb: i64,
}

impl Clock {
    /// What it shows at a true moment.
    pub fn of(self, truth: u64) -> Nanos {
        let drift = i128::from(truth) * i128::from(self.drift_ppb) / 1_000_000_000;
        Nanos((i128::from(truth) + i128::from(self.ahead_ns) + drift) as u64)
    }

    /// The true moment at which it shows this.
    pub fn truth(self, shown: Nanos) -> u64 {
        let elapsed = i128::from(shown.0) - i128::from(self.ahead_ns);
        (elapsed * 1_000_000_000 / (1_000_000_000 + i128::from(self.drift_ppb))).max(0) as u64
    }
}

/// What is asked of all nodes together.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    pub rate: f64,
    pub length: Nanos,
}

/// A machine with an agent on it.
pub struct Node {
    pub agent: Agent,
    pub clock: Clock,
    /// Numbers its requests by themselves: cheap, for large worlds.
    pub counts_only: bool,
    pub worker: Option<Worker>,
    /// The latest run it did: what it saw in all.
    pub last: Option<Seen>,
    pub heeds_lease: bool,
    /// Which preparation goes on; another takes its place, or nothing.
    pub preparation: u64,
    /// What it was told to take over and has not answered for.
    pub taking_over: usize,
}

/// What a worker saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub sent: u64,
    pub scheduled: u64,
    pub deltas: u32,
    /// Intended moments, from the start of the run, and when each was sent, in true time.
    pub requests: Vec<(Nanos, u64)>,
    pub ended: bool,
}

/// A model of the blaster: one shard, answers at once.
pub struct Worker {
    start: Nanos,
    permit: Nanos,
    schedule: Option<Schedule>,
    /// Requests per second, where only counts are kept.
    rate: f64,
    counted_to: Nanos,
    length: Nanos,
    whole: Whole,
    interval: u32,
    interval_sent: u64,
    stopping: bool,
    first_sent: Option<Nanos>,
    pub seen: Seen,
}

impl Node {
    pub fn new(clock: Clock, counts_only: bool, heeds_lease: bool) -> Self {
        Self {
            agent: Agent::new(),
            clock,
            counts_only,
            worker: None,
            last: None,
            heeds_lease,
            preparation: 0,
            taking_over: 0,
        }
    }

    /// What the shell does of what the agent wants, but for talking. True if it is to get ready.
    pub fn act(&mut self, act: Act, whole: Whole) -> Option<Box<Task>> {
        match act {
            Act::Prepare(task) => {
                self.give_up_worker();
                return Some(task);
            }
            Act::Measure(_) => self.agent.handle_measured(1000),
            Act::Examine(..) => self.agent.handle_examined(Vec::new()),
            Act::Start(at) => {
                if let Some(worker) = &mut self.worker {
                    worker.start = at;
                }
            }
            Act::Permit(until) => {
                if let Some(worker) = &mut self.worker {
                    worker.permit = until;
                }
            }
            Act::TakeOver(part, from) => {
                if let (Some(worker), Some(lanes)) = (&mut self.worker, part.lanes()) {
                    worker.take_over(&lanes, part.fraction(), from, whole);
                }
                self.taking_over += 1;
            }
            Act::Stop => {
                if let Some(worker) = &mut self.worker {
                    worker.stopping = true;
                }
            }
            Act::Abandon => self.give_up_worker(),
            Act::Log(_) | Act::Say(..) => {}
        }
        None
    }

    /// The run is ready: connections are open.
    pub fn ready(&mut self, task: &Task, whole: Whole) {
        let lanes = Lanes::whole().split(&task.weights).swap_remove(task.index as usize);
        self.worker = Some(Worker::new(&lanes, whole, self.counts_only));
        self.agent.handle_ready(Ready {
            facts: Vec::new(),
            classes: vec!["x".to_owned()],
            shards: 1,
            remarks: Vec::new(),
        });
    }

    fn give_up_worker(&mut self) {
        self.preparation += 1;
        if let Some(worker) = self.worker.take() {
            self.last = Some(worker.seen);
        }
    }

    /// One turn of the blaster, at a true moment.
    pub fn turn(&mut self, truth: u64, scratch: &mut Recorder) {
        // As in the blaster, that answers between two turns: until then more may be offered.
        for _ in 0..std::mem::take(&mut self.taking_over) {
            self.agent.handle_took_over(None);
        }
        let now = self.clock.of(truth);
        let Some(worker) = &mut self.worker else { return };
        if worker.start == Nanos::MAX || now < worker.start {
            return;
        }
        let (deltas, ended) = worker.turn(now, truth, self.heeds_lease, scratch);
        deltas.into_iter().for_each(|delta| self.agent.handle_delta(delta));
        if let Some(ended) = ended {
            self.last = self.worker.take().map(|worker| Seen { ended: true, ..worker.seen });
            self.agent.handle_ended(ended);
        }
    }

    /// What its latest run saw, going on or over.
    pub fn seen(&self) -> Option<&Seen> {
        self.worker
            .as_ref()
            .filter(|worker| worker.start != Nanos::MAX)
            .map(|worker| &worker.seen)
            .or(self.last.as_ref())
    }

    pub fn hear(&mut self, link: u64, truth: u64, bytes: &[u8]) {
        let now = self.clock.of(truth);
        match coordinator_protocol::message::decode(bytes) {
            Ok(message) => self.agent.handle_message(link, "leader", now, message, &Status::default()),
            Err(_) => self.agent.handle_malformed(),
        }
    }
}

impl Worker {
    fn new(lanes: &Lanes, whole: Whole, counts_only: bool) -> Self {
        let curve = curve(whole);
        Self {
            start: Nanos::MAX,
            permit: Nanos::ZERO,
            schedule: (!counts_only).then(|| Schedule::new(&curve, Arrivals::Uniform, lanes, 1)),
            rate: whole.rate * lanes.fraction(),
            counted_to: Nanos::ZERO,
            length: whole.length,
            whole,
            interval: 0,
            interval_sent: 0,
            stopping: false,
            first_sent: None,
            seen: Seen::default(),
        }
    }

    fn take_over(&mut self, lanes: &Lanes, fraction: f64, from: Nanos, whole: Whole) {
        self.rate += whole.rate * fraction;
        if let Some(schedule) = &mut self.schedule {
            schedule.take_over(Schedule::from_moment(&curve(self.whole), Arrivals::Uniform, lanes, 1, from));
        }
    }

    fn turn(
        &mut self,
        now: Nanos,
        truth: u64,
        heeds_lease: bool,
        scratch: &mut Recorder,
    ) -> (Vec<Delta>, Option<Ended>) {
        let lapsed = heeds_lease && now >= self.permit;
        let elapsed = (now - self.start).min(self.length);
        if !lapsed && !self.stopping {
            self.send(elapsed, now, truth);
        }
        let over = lapsed || self.stopping || now - self.start >= self.length;
        let mut deltas = Vec::new();
        while !over && now - self.start >= Nanos::from_secs(u64::from(self.interval) + 1) {
            deltas.push(self.cut(scratch));
        }
        if !over {
            return (deltas, None);
        }
        deltas.push(self.cut(scratch));
        let first = First { due: None, sent: self.first_sent };
        (deltas, Some(Ended { first, lapsed, report: Ok(Vec::new()) }))
    }

    fn send(&mut self, elapsed: Nanos, now: Nanos, truth: u64) {
        let before = self.seen.sent;
        match &mut self.schedule {
            Some(schedule) => {
                schedule.advance(elapsed);
                while let Some(intended) = schedule.take() {
                    self.seen.requests.push((intended, truth));
                    self.seen.sent += 1;
                }
            }
            None => {
                let more = (elapsed.as_secs_f64() - self.counted_to.as_secs_f64()) * self.rate;
                self.counted_to = elapsed;
                self.seen.sent += more as u64;
                if more >= 1.0 {
                    self.seen.requests = vec![(elapsed, truth)];
                }
            }
        }
        self.interval_sent += self.seen.sent - before;
        self.seen.scheduled = self.seen.sent;
        if self.seen.sent > before {
            self.first_sent.get_or_insert(now);
        }
    }

    fn cut(&mut self, scratch: &mut Recorder) -> Delta {
        scratch.clear();
        scratch.interval = Some(self.interval);
        let class = &mut scratch.classes[0];
        (class.scheduled, class.sent, class.ok) =
            (self.interval_sent, self.interval_sent, self.interval_sent);
        self.interval += 1;
        self.interval_sent = 0;
        self.seen.deltas += 1;
        Delta::of(0, scratch)
    }
}

fn curve(whole: Whole) -> Curve {
    Curve::constant(Rate::new(whole.rate).expect("a rate"), whole.length)
}

/// What an agent wants said, taken out of its acts.
pub fn said(act: Act) -> Result<(u64, Box<ToLeader>), Act> {
    match act {
        Act::Say(link, message) => Ok((link, message)),
        other => Err(other),
    }
}
