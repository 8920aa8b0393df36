//! A whole run in virtual time: a worker, its servers, and whoever takes its recorders.

use payloads_fresh::{Fields, Kind, Place, SEQ_BYTES, TimeFormat};

use super::random::{Random, Span};
use super::server::{Answer, Behaviour, CloseAfter, Whim};
use super::{Costs, Counts, SimEngine, UNIX_NS_AT_ZERO};
use crate::load::engine::{EndCause, Engine};
use crate::load::recorder::{ClassRecord, Failure, Recorder};
use crate::load::schedule::Schedule;
use crate::load::tape::{Cut, Mark, Recording};
use crate::load::worker::{CONNECTS_BEHIND_MAX, END_GRACE, Progress, StreamPlan, Worker, WorkerPlan};
use crate::plan::Arrivals;
use crate::plan::lanes::Lanes;
use crate::plan::rate::{Curve, Rate, Stage, Stages};
use crate::plan::statuses::Statuses;
use crate::time::Nanos;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Repeats the run.
    pub seed: u64,
    /// One a target.
    pub streams: Vec<Stream>,
    /// What behaves how, by address.
    pub behaviours: Vec<Behaviour>,
    /// Most requests in flight on a connection.
    pub depth: u32,
    /// From a request's send.
    pub timeout: Nanos,
    /// Recorded apart.
    pub warmup: Nanos,
    /// Warm-up and the measured duration.
    pub length: Nanos,
    /// Classes of the run.
    pub classes: usize,
    /// From one attempt to open a connection to the next.
    pub connect_gap: Nanos,
    /// The client's own.
    pub costs: Costs,
    /// Takes a full recorder only after so many turns.
    pub reporting_late_turns: u64,
    /// What is done to the run before its end.
    pub ending: Ending,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Natural,
    /// Stopped so long after its start.
    Stopped(Nanos),
    /// Halted so long after its start.
    Halted(Nanos),
    /// Held up for so long, so long after its start, and permitted to send until some time in between.
    Lapsed {
        /// When it is held up.
        frozen: Nanos,
        /// The end of its permit, since the start.
        permitted: Nanos,
        /// How long it is held up.
        pause: Nanos,
    },
    /// Stopped before it was started.
    NeverStarted,
}

/// What goes to one target.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Arrivals; none in closed loop.
    pub schedule: Option<Schedule>,
    /// To this target.
    pub connections: u32,
    /// Indices of behaviours.
    pub addresses: Vec<usize>,
    /// The class and the bytes of body of each request of its section.
    pub requests: Vec<(u16, usize)>,
    /// The first of them to be sent.
    pub first_request: usize,
    /// Bodies begin with a new number for every send, where it fits, and end with its repetition.
    pub fresh: bool,
    /// Where answers count events.
    pub count_key: Option<&'static str>,
}

/// What a run came to.
pub struct Outcome {
    /// In the order of their intervals, settled.
    pub recorders: Vec<Recorder>,
    /// When the run was started, and ended.
    pub start: Nanos,
    /// When the worker said that it was done.
    pub end: Nanos,
    /// What the engine saw.
    pub counts: Counts,
    /// When each attempt to connect began, and to which address.
    pub connects: Vec<(Nanos, usize)>,
    /// From the first of them until every slot was tried.
    pub opening_took: Option<Nanos>,
    /// Whether the worker said that it was ready before it was started.
    pub was_ready: bool,
}

impl Scenario {
    /// One target, `connections` of `depth`, at a constant rate, without a warm-up.
    pub fn simple(rate: f64, length: Nanos, connections: u32, depth: u32, behaviour: Behaviour) -> Self {
        let curve = Curve::constant(Rate::new(rate).expect("a rate that makes sense"), length);
        Self {
            seed: 1,
            streams: vec![Stream {
                schedule: Some(Schedule::new(&curve, Arrivals::Uniform, &Lanes::whole(), 1)),
                connections,
                addresses: vec![0],
                requests: vec![(0, 20); 7],
                first_request: 0,
                fresh: true,
                count_key: None,
            }],
            behaviours: vec![behaviour],
            depth,
            timeout: Nanos::from_secs(10),
            warmup: Nanos::ZERO,
            length,
            classes: 1,
            connect_gap: Nanos::ZERO,
            costs: Costs { turn: Nanos(1_000), send: Nanos(500), partial: 0 },
            reporting_late_turns: 0,
            ending: Ending::Natural,
        }
    }

    /// As fast as answers come.
    pub fn closed(length: Nanos, connections: u32, depth: u32, behaviour: Behaviour) -> Self {
        let mut scenario = Self::simple(1.0, length, connections, depth, behaviour);
        scenario.streams[0].schedule = None;
        scenario
    }

    /// Anything that a plan can be, with servers that misbehave in some of the ways they can.
    pub fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let streams = random.pick(&[1, 1, 2, 3]);
        let closed = random.chance(150);
        let warmup = Nanos(random.pick(&[0, 0, 1, 10_000_000, 300_000_000]));
        let (curve, arrivals) = (curve(random, warmup), random.pick(&[Arrivals::Uniform, Arrivals::Poisson]));
        let length = if closed { warmup + Nanos(random.between(1, 150_000_000)) } else { curve.length() };
        let weights: Vec<u32> = (0..streams).map(|_| random.between(1, 3) as u32).collect();
        let lanes = Lanes::whole().split(&weights);
        let classes = random.between(1, 3) as usize;
        let mut behaviours = Vec::new();
        let streams = (0..streams)
            .map(|section| {
                let addresses = behaviours.len()..behaviours.len() + random.between(1, 2) as usize;
                let to_head = random.chance(100);
                for _ in addresses.clone() {
                    let mut behaviour = behaviour(random, section, to_head, length);
                    if closed {
                        // As fast as answers come must not be too fast for a test.
                        behaviour.service = Span::micros(5_000, 20_000);
                    }
                    behaviours.push(behaviour);
                }
                let only_class = random.chance(500).then(|| random.between(0, classes as u64 - 1) as u16);
                let connections_max = random.pick(&[3, 32]);
                let class = |random: &mut Random| random.between(0, classes as u64 - 1) as u16;
                Stream {
                    schedule: (!closed).then(|| Schedule::new(&curve, arrivals, &lanes[section], seed)),
                    connections: random.between(1, connections_max) as u32,
                    addresses: addresses.collect(),
                    requests: (0..random.between(1, 20))
                        .map(|_| {
                            (only_class.unwrap_or_else(|| class(random)), random.between(0, 300) as usize)
                        })
                        .collect(),
                    first_request: random.between(0, 100) as usize,
                    fresh: random.chance(700),
                    count_key: None,
                }
            })
            .collect();
        let within = Nanos(random.between(0, length.0));
        Self {
            seed,
            streams,
            behaviours,
            depth: random.pick(&[1, 1, 2, 5, 16, 64]),
            timeout: Nanos::from_micros(random.between(500, 120_000)),
            warmup,
            length,
            classes,
            costs: Costs {
                turn: Nanos(random.pick(&[0, 300, 2_000, 100_000])),
                send: Nanos(random.pick(&[0, 300, 5_000])),
                partial: random.pick(&[0, 0, 300]),
            },
            reporting_late_turns: random.pick(&[0, 0, 0, 3000]),
            ending: match random.between(0, 19) {
                0..3 => Ending::Stopped(within),
                3..6 => Ending::Halted(within),
                6 => Ending::NeverStarted,
                7 => Ending::Lapsed {
                    frozen: within,
                    permitted: within + Nanos(1),
                    pause: Nanos::from_secs(7),
                },
                _ => Ending::Natural,
            },
            connect_gap: Nanos(random.pick(&[0, 0, 0, 20_000, 1_500_000])),
        }
    }

    /// The worker of this run, on its engine.
    pub fn worker(&self) -> Worker<SimEngine> {
        self.worker_on(|engine| engine)
    }

    /// The worker of this run, on what `wrap` makes of its engine.
    pub fn worker_on<E: Engine>(&self, wrap: impl FnOnce(SimEngine) -> E) -> Worker<E> {
        let mut recording = Recording::new();
        for stream in &self.streams {
            let (mut bytes, mut cuts, mut places) = (Vec::new(), Vec::new(), Vec::new());
            for &(class, body_bytes) in &stream.requests {
                let head =
                    format!("POST /events HTTP/1.1\r\nHost: sim\r\nContent-Length: {body_bytes}\r\n\r\n");
                bytes.extend_from_slice(head.as_bytes());
                if stream.fresh && body_bytes >= SEQ_BYTES {
                    places.push(Place { at: bytes.len() as u32, kind: Kind::Seq });
                }
                if stream.fresh && body_bytes >= 4 * SEQ_BYTES {
                    let at = (bytes.len() + SEQ_BYTES) as u32;
                    places.push(Place { at, kind: Kind::Now(TimeFormat::UnixUs) });
                }
                bytes.resize(bytes.len() + body_bytes, b'x');
                if stream.fresh && body_bytes >= 2 * SEQ_BYTES {
                    // The number's place is the last but one where a time stands between.
                    let back = if body_bytes >= 4 * SEQ_BYTES { 2 } else { 1 };
                    let repeat = Kind::Repeat { width: SEQ_BYTES as u8, back };
                    places.push(Place { at: (bytes.len() - SEQ_BYTES) as u32, kind: repeat });
                }
                let mark = Mark { class, events: events(class) };
                cuts.push(Cut { end: bytes.len(), places_end: places.len(), mark });
            }
            recording.push_section(bytes, cuts, places);
        }
        let (tape, mut reels) = recording.finish(1);
        let reel = reels.pop().expect("a reel for the one shard");
        let slots = self.streams.iter().map(|stream| stream.connections).sum();
        let engine = SimEngine::new(reel, slots, self.behaviours.clone(), self.costs, self.seed);
        let numbers = self.streams.len() as u64;
        let streams = self.streams.iter().enumerate().map(|(index, stream)| StreamPlan {
            schedule: stream.schedule.clone(),
            connections: stream.connections,
            addresses: stream.addresses.clone(),
            first_request: stream.first_request,
            expect: Statuses::default(),
            answers_to_head: self.behaviours[stream.addresses[0]].to_head,
            count_key: stream.count_key.map(str::to_owned),
            fields: Fields::new(self.seed, index as u64, numbers),
        });
        let plan = WorkerPlan {
            streams: streams.collect(),
            depth: self.depth,
            timeout: self.timeout,
            warmup: self.warmup,
            length: self.length,
            classes: self.classes,
            connect_gap: self.connect_gap,
            seed: self.seed,
        };
        let mut worker = Worker::new(wrap(engine), tape, plan);
        worker.set_wall_clock(Nanos::ZERO, UNIX_NS_AT_ZERO);
        worker
    }

    /// Runs to the end.
    pub fn run(&self) -> Outcome {
        let mut worker = self.worker();
        let mut was_ready = false;
        // Connections that are never answered are not waited for: the start is a fixed one, as with many shards.
        let start = Nanos::from_millis(3) + self.lead();
        if self.ending == Ending::NeverStarted {
            worker.turn();
            worker.stop();
        } else {
            worker.start(start);
        }
        if let Ending::Lapsed { permitted, .. } = self.ending {
            worker.permit(start + permitted);
        }
        let mut recorders = Vec::new();
        let (mut turns, mut taken_at) = (0_u64, 0);
        let (mut lapsed, mut sent_before) = (false, 0);
        loop {
            let progress = worker.turn();
            turns += 1;
            was_ready |= progress == Progress::Ready;
            let elapsed = worker.engine().clock.saturating_sub(start);
            match self.ending {
                Ending::Stopped(after) if elapsed > after => worker.stop(),
                Ending::Halted(after) if elapsed > after => worker.halt(),
                Ending::Lapsed { frozen, pause, .. } if elapsed > frozen && !lapsed => {
                    lapsed = true;
                    worker.engine().clock += pause;
                    sent_before = worker.engine().counts().requests_sent;
                }
                _ => {}
            }
            if lapsed {
                let sent = worker.engine().counts().requests_sent;
                assert_eq!(sent, sent_before, "nothing is sent after the permit");
            }
            if turns - taken_at >= self.reporting_late_turns || progress == Progress::Done {
                taken_at = turns;
                while let Some(mut full) = worker.take_full() {
                    full.settle();
                    recorders.push(full);
                    if progress != Progress::Done {
                        worker.give_spare(Recorder::new(self.classes));
                    }
                }
            }
            if progress == Progress::Done {
                break;
            }
            assert!(elapsed < self.end_max() + Nanos::from_secs(10), "the run does not end");
            assert!(turns < 10_000_000, "the clock does not move on");
        }
        let end = worker.engine().clock;
        let opening_took = worker.opening_took();
        let engine = worker.engine();
        let (counts, connects) = (engine.counts(), engine.connects().to_vec());
        Outcome { recorders, start, end, counts, connects, opening_took, was_ready }
    }

    /// From the making of the worker to its start.
    fn lead(&self) -> Nanos {
        Nanos::from_millis(self.seed % 5)
    }

    /// When the run must be over, since its start: the last request may be sent at the end of the grace, its
    /// deadline is looked at once in a thirty-second of the timeout.
    pub fn end_max(&self) -> Nanos {
        let period = Nanos((self.timeout.0 / 32).clamp(1_000_000, 100_000_000));
        let slack = Nanos::from_millis(10) + period + period;
        let pause = if let Ending::Lapsed { pause, .. } = self.ending { pause } else { Nanos::ZERO };
        self.length + END_GRACE + self.timeout + slack + pause
    }

    /// What each class must have scheduled by the end, the warm-up last. Open loop only.
    pub fn scheduled(&self) -> Vec<u64> {
        let mut scheduled = vec![0; self.classes + 1];
        for stream in &self.streams {
            let Some(schedule) = &stream.schedule else { continue };
            let mut schedule = schedule.clone();
            schedule.advance(Nanos::MAX);
            for i in 0.. {
                let Some(intended) = schedule.take() else { break };
                let (class, _) = stream.requests[(stream.first_request + i) % stream.requests.len()];
                let class = if intended < self.warmup { self.classes } else { usize::from(class) };
                scheduled[class] += 1;
            }
        }
        scheduled
    }

    /// Asserts all that must hold of every run, however it went.
    pub fn assert_accounts(&self, outcome: &Outcome) {
        let halted = matches!(self.ending, Ending::Halted(_));
        let closed = self.streams[0].schedule.is_none();
        assert!(
            outcome.end <= outcome.start + self.end_max(),
            "the run ended after {}",
            outcome.end - outcome.start
        );
        self.assert_intervals(outcome);
        self.assert_littles_law(outcome);
        self.assert_connect_pace(outcome);

        let sum = |of: &dyn Fn(&Recorder) -> u64| outcome.recorders.iter().map(of).sum::<u64>();
        let mut in_flight_at_end = 0;
        let mut answered = 0;
        for class in 0..=self.classes {
            let of = |of: fn(&ClassRecord) -> u64| sum(&|recorder| of(&recorder.classes[class]));
            let (scheduled, sent) = (of(|record| record.scheduled), of(|record| record.sent));
            let unsent = of(|record| record.unsent_backlog) + of(|record| record.unsent_stopped);
            assert_eq!(scheduled, sent + unsent, "class {class}: scheduled = sent + unsent");
            let finished = of(ClassRecord::finished);
            assert!(finished <= sent, "class {class}: {finished} finished of {sent} sent");
            in_flight_at_end += sent - finished;
            answered += of(|record| record.ok + record.unexpected_status);
            if class < self.classes {
                let events = u64::from(events(class as u16));
                assert_eq!(of(|record| record.events_sent), sent * events);
                assert_eq!(of(|record| record.events_acknowledged), of(|record| record.ok) * events);
            }
            if closed {
                assert_eq!(scheduled, sent, "closed loop: scheduled = sent");
            } else if self.ending == Ending::Natural {
                assert_eq!(scheduled, self.scheduled()[class], "class {class}: all of the schedule came due");
                assert_eq!(of(|record| record.unsent_stopped), 0);
            }
        }
        if !halted {
            assert_eq!(in_flight_at_end, 0, "nothing is left in flight");
        }

        let counts = outcome.counts;
        let of_all = |of: fn(&ClassRecord) -> u64| sum(&|recorder| recorder.classes.iter().map(of).sum());
        assert_eq!(of_all(|record| record.sent), counts.requests_sent);
        assert_eq!(sum(&|recorder| recorder.bytes_sent), counts.bytes_sent);
        assert_eq!(sum(&|recorder| recorder.sends), counts.sends);
        assert!(sum(&|recorder| recorder.bytes_received) <= counts.bytes_received);
        assert!(answered <= counts.received + counts.unearned, "{answered} answered, {counts:?}");
        assert!(counts.received <= counts.requests_sent);
        assert_eq!(sum(&|recorder| recorder.opened + recorder.reopened), counts.connected);
        assert!(sum(&|recorder| recorder.connect_failures.iter().sum()) >= counts.failed);
    }

    /// No more attempts to connect begin than are due at their pace, but for what a shard that was held up is behind.
    fn assert_connect_pace(&self, outcome: &Outcome) {
        let mut due = Nanos::ZERO;
        for &(at, _) in &outcome.connects {
            assert!(at >= due, "an attempt to connect at {at} that was not due before {due}");
            due = due.max(at.saturating_sub(CONNECTS_BEHIND_MAX)) + self.connect_gap;
        }
    }

    /// Little's law: up to any moment, requests were in flight for at least the service times of those that ended, and for no more
    /// if none timed out and none is left.
    fn assert_littles_law(&self, outcome: &Outcome) {
        let (mut in_flight, mut service, mut timeouts) = (0.0, 0.0, 0);
        for recorder in &outcome.recorders {
            in_flight += recorder.in_flight_ns as f64;
            for class in recorder.main_classes() {
                let times = class.service.histogram();
                service += times.mean() * times.len() as f64;
                timeouts += class.errors[Failure::Timeout as usize];
            }
            // Histograms keep three digits.
            assert!(service <= in_flight * 1.001 + 1.0, "{service} ns of service, {in_flight} in flight");
        }
        let left = outcome.recorders.last().map_or(0, |recorder| recorder.in_flight_end);
        if timeouts == 0 && left == 0 {
            assert!(service >= in_flight * 0.999 - 1.0, "{service} ns of service, {in_flight} in flight");
        }
    }

    /// Asserts what must hold of every interval.
    fn assert_intervals(&self, outcome: &Outcome) {
        let first =
            if self.warmup == Nanos::ZERO && self.ending != Ending::NeverStarted { Some(0) } else { None };
        let mut expected = first;
        let closed = self.streams[0].schedule.is_none();
        let (mut backlog, mut in_flight) = (0, 0);
        for recorder in &outcome.recorders {
            let interval = recorder.interval;
            assert_eq!(interval, expected, "intervals follow each other");
            expected = Some(expected.map_or(0, |interval| interval + 1));

            let sum = |of: fn(&ClassRecord) -> u64| recorder.main_classes().iter().map(of).sum::<u64>();
            if interval.is_none() {
                assert_eq!(sum(|record| record.scheduled + record.sent), 0, "the warm-up is recorded apart");
            }
            let sent = sum(|record| record.sent);
            let unsent = sum(|record| record.unsent_backlog + record.unsent_stopped);
            assert_eq!(
                backlog + sum(|record| record.scheduled),
                sent + unsent + recorder.backlog_end,
                "interval {interval:?}: backlog_start + scheduled = sent + unsent + backlog_end"
            );
            assert_eq!(
                in_flight + sent,
                sum(ClassRecord::finished) + recorder.in_flight_end,
                "interval {interval:?}: in_flight_start + sent = finished + in_flight_end"
            );
            (backlog, in_flight) = (recorder.backlog_end, recorder.in_flight_end);
            for record in &recorder.classes {
                assert_class(record);
            }
            let lateness = &recorder.lateness;
            let (on_time, blocked) =
                (lateness.on_time.histogram().len(), lateness.blocked_whole.histogram().len());
            assert_eq!(on_time + blocked, if closed { 0 } else { sent }, "lateness of all that was sent");
            assert_eq!(blocked, lateness.blocked_own.histogram().len());
        }
        assert_eq!(backlog, 0, "nothing waits at the end");
        if !matches!(self.ending, Ending::Halted(_)) {
            assert_eq!(in_flight, 0, "nothing is in flight at the end");
        }
    }
}

/// Asserts that the histograms hold what the counters say.
fn assert_class(record: &ClassRecord) {
    let [reset, closed, _timeout, malformed, aborted] = record.errors;
    let rest = record.unexpected_status + reset + closed + malformed + aborted;
    assert_eq!(record.response_ok.histogram().len(), record.ok);
    assert_eq!(record.response_rest.histogram().len(), rest);
    assert_eq!(record.service.histogram().len(), record.ok + rest);
    assert_eq!(record.status.iter().sum::<u64>(), record.ok + record.unexpected_status);
}

/// Events in each request of a class.
fn events(class: u16) -> u32 {
    [1, 10, 100][usize::from(class) % 3]
}

fn curve(random: &mut Random, warmup: Nanos) -> Curve {
    let rate =
        Rate::new([3.0, 40.0, 300.0, 1000.0, 4000.0][random.between(0, 4) as usize]).expect("a constant");
    let curve = if random.chance(600) {
        let length = if rate.per_second() > 100.0 { 400_000_000 } else { 3_000_000_000 };
        Curve::constant(rate, Nanos(random.between(1_000_000, length)))
    } else {
        let stages = (0..random.between(1, 4))
            .map(|_| Stage {
                length: Nanos(random.between(1_000_000, 300_000_000)),
                to: random.pick(&[0.0, 10.0, 500.0, 3000.0]),
                jump: random.chance(500),
            })
            .collect();
        Curve::stages(Some(rate), &Stages(stages))
            .unwrap_or_else(|_| Curve::constant(rate, Nanos::from_millis(50)))
    };
    if warmup == Nanos::ZERO {
        return curve;
    }
    // Stages that begin with a jump to nothing have no rate to warm up at.
    curve.with_warmup(warmup).unwrap_or_else(|_| {
        let constant = Curve::constant(rate, Nanos::from_millis(50));
        constant.with_warmup(warmup).expect("a constant rate is one to warm up at")
    })
}

/// Each vice with a chance of its own, so that some servers have none and some have many.
fn behaviour(random: &mut Random, section: usize, to_head: bool, length: Nanos) -> Behaviour {
    let mut some = |per_mille: u32| if random.chance(150) { per_mille } else { 0 };
    let (refuse, ignore, whim) = (some(300), some(200), some(500));
    let (full_socket, early) = (some(400), some(400));
    let mut answers = vec![(Answer::Accepted, 50)];
    let closed = Answer::Half(EndCause::Closed);
    let reset = Answer::Half(EndCause::Reset);
    for answer in [Answer::Chunked, Answer::Empty, Answer::AfterInterim, Answer::Error] {
        if random.chance(300) {
            answers.push((answer, random.between(1, 50)));
        }
    }
    for answer in [Answer::Last, Answer::UntilClose, Answer::Garbage, closed, reset, Answer::Never] {
        if random.chance(100) {
            answers.push((answer, random.between(1, 20)));
        }
    }
    let stall_from = Nanos(random.between(0, length.0));
    Behaviour {
        section,
        delay: random.pick(&[Span::micros(1, 1), Span::micros(5, 200), Span::micros(100, 20_000)]),
        service: random.pick(&[Span::micros(0, 0), Span::micros(1, 100), Span::micros(500, 8_000)]),
        refuse,
        ignore,
        piece_bytes_max: random.pick(&[None, None, Some(1000), Some(40), Some(7)]),
        full_socket,
        full_for: Span::micros(0, 3_000),
        early,
        close_after: random
            .chance(200)
            .then(|| CloseAfter { answers: random.pick(&[1, 2, 7, 30]), announced: random.chance(500) }),
        whim,
        whims: vec![
            Whim::End(EndCause::Closed),
            Whim::End(EndCause::Reset),
            Whim::Unsolicited,
            Whim::Garbage,
            Whim::Mute,
        ],
        whim_after: Span::micros(0, 200_000),
        stall: random.chance(200).then(|| stall_from..stall_from + Nanos(random.between(1, 300_000_000))),
        answers,
        to_head,
    }
}
