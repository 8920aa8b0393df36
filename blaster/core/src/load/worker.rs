//! One shard's loop: takes what the schedule says is due, gives it to connections, and records what comes back.
//!
//! A worker is generic over its [`Engine`]; it owns no socket, reads no clock of its own and allocates nothing
//! once it is built. [`Worker::turn`] is one pass; whoever drives it (a shard of `blaster`, the simulator)
//! calls it until [`Progress::Done`] and swaps recorders in between.
//!
//! Events arrive while the engine is borrowed, so what they touch lives in `Flow`, beside the engine; what
//! they want of the engine (closing a connection) is noted and done after the turn.

mod flow;
mod opening;
mod stream;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use payloads_fresh::Fields;

use super::acknowledged::{CountKey, CountReader};
use super::connection::{Connection, State};
use super::engine::{ConnectFailure, Engine};
use super::http1::HeadTemplate;
use super::lifetime::Lifetime;
use super::recorder::Recorder;
use super::rotation::{Queue, Rotation};
use super::schedule::Schedule;
use super::tape::Tape;
use crate::plan::statuses::Statuses;
use crate::time::Nanos;

use flow::{Flow, Phase};
use opening::Opening;
use stream::Stream;

/// What one shard is to do.
pub struct WorkerPlan {
    /// One a target; stream `i` walks section `i` of the tape.
    pub streams: Vec<StreamPlan>,
    /// Most requests in flight on a connection.
    pub depth: u32,
    /// Per request, from its send.
    pub timeout: Nanos,
    /// Requests intended in it are recorded apart.
    pub warmup: Nanos,
    /// Warm-up and the measured duration: when no more request is intended.
    pub length: Nanos,
    /// Classes of the run, over all streams.
    pub classes: usize,
    /// From one attempt to open a connection to the next, later ones as well; 0: as fast as it goes.
    pub connect_gap: Nanos,
    /// Seeds the jitter of back-offs.
    pub seed: u64,
}

/// What goes to one target.
pub struct StreamPlan {
    /// When requests are due; none in closed loop: as fast as answers come.
    pub schedule: Option<Schedule>,
    /// Connections of this shard to this target.
    pub connections: u32,
    /// Indices of the target's addresses, used in turn.
    pub addresses: Vec<usize>,
    /// The first request of the tape's section to send, so that shards do not all send the same one first.
    pub first_request: usize,
    /// Statuses that count as ok.
    pub expect: Statuses,
    /// The requests are HEADs: their answers have no bodies.
    pub answers_to_head: bool,
    /// The key of an ok answer's JSON that says how many events it acknowledges; without it its status acknowledges all.
    pub count_key: Option<String>,
    /// Writes the fresh fields of its requests, if these have any.
    pub fields: Fields,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Connections are being opened.
    Opening,
    /// Every connection was opened, or failed once; waiting to be started.
    Ready,
    /// Requests are being sent, or their answers waited for.
    Running,
    /// All is over; the last recorder is among the full ones.
    Done,
}

/// Length of an interval of the report.
pub const INTERVAL: Nanos = Nanos(1_000_000_000);

/// Answers of a shard whose service times tell what the target takes before a queue grows: so few that a target which is asked
/// for ten times what it can do has answered them before its queue fills 64 connections.
const FIRST_ANSWERS: u32 = 8;

/// How long requests that were due in time may still be sent after the end, if no connection had room for them.
pub const END_GRACE: Nanos = Nanos(100_000_000);

/// Empty recorders kept ready; a reporting thread that is late by more intervals than this makes an interval longer.
pub const SPARE_RECORDERS: usize = 3;

/// A shard that was held up begins no more attempts to connect at once than were due in this time: a listen queue is to see the
/// pace, not what piled up.
pub const CONNECTS_BEHIND_MAX: Nanos = Nanos(5_000_000);

/// The longest a turn waits, so that whoever hosts the loop is heard once a millisecond.
const WAIT_MAX: Nanos = Nanos(1_000_000);

/// Requests due within this time of each other go out in one send when pipelining is allowed: spread over
/// connections one by one they would make turns long, and all of them late (ARCHITECTURE, "Spread or pack").
const PACK_WITHIN: Nanos = Nanos(8_000);

/// Most sends of a stream in a turn, so that the turn stays short and the clock is read often. What is
/// due beyond makes runs longer.
const SENDS_PER_TURN: u64 = 8;

/// Shortest run to aim at when there is more to send than one turn's sends.
const RUN_MIN: u64 = 8;

/// Closed loop: from so many connections on, one that still has requests in flight is left alone.
const BATCHING_CONNECTIONS_MIN: u32 = 8;

/// One shard's loop.
pub struct Worker<E> {
    engine: E,
    tape: Arc<Tape>,
    flow: Flow,
}

impl<E: Engine> Worker<E> {
    /// Allocates everything the worker will ever need.
    ///
    /// # Panics
    /// When the plan has no stream or a stream no connection or address.
    pub fn new(engine: E, tape: Arc<Tape>, plan: WorkerPlan) -> Self {
        let closed_loop = plan.streams.iter().any(|stream| stream.schedule.is_none());
        let mut connections = Vec::new();
        let mut streams = Vec::new();
        for (index, stream) in plan.streams.into_iter().enumerate() {
            assert!(
                stream.connections > 0 && !stream.addresses.is_empty(),
                "a stream needs a connection and an address"
            );
            let first = connections.len() as u32;
            connections.extend(
                (0..stream.connections)
                    .map(|_| Connection::new(index as u16, plan.depth, stream.answers_to_head)),
            );
            let section = tape.section(index).clone();
            let cursor = section.requests.start + stream.first_request % section.requests.len();
            streams.push(Stream {
                room_min: match stream.schedule {
                    Some(_) => 1,
                    // With enough connections to keep busy, whole batches cost the least: half ones come back as halves.
                    None if stream.connections >= BATCHING_CONNECTIONS_MIN => plan.depth,
                    None => plan.depth.div_ceil(2),
                },
                schedule: stream.schedule,
                fields: section.is_fresh.then_some(stream.fields),
                section,
                cursor,
                due_cursor: cursor,
                connections: first..first + stream.connections,
                reopen: (first..first + stream.connections).map(|id| Reverse((Nanos::ZERO, id))).collect(),
                connecting: 0,
                rotation: Rotation::new(stream.connections as usize),
                lifetime: Lifetime::default(),
                template: HeadTemplate::default(),
                addresses: stream.addresses,
                next_address: 0,
                expect: stream.expect,
                count_key: stream.count_key.as_deref().map(CountKey::new),
                blocked: false,
                blocked_from: Nanos::ZERO,
                regained: Nanos::ZERO,
                catching_up: false,
                dispatched_at: Nanos::ZERO,
                warmup_backlog: 0,
                last_failure: None,
            });
        }
        assert!(!streams.is_empty(), "a worker needs a stream");
        let slots = connections.len();
        let counted = streams.iter().any(|stream| stream.count_key.is_some());
        let sends_max =
            if closed_loop { 0 } else { SENDS_PER_TURN as usize * streams.len() * plan.depth as usize };
        let recorder = || Recorder::new(plan.classes);
        Self {
            engine,
            tape,
            flow: Flow {
                connections,
                counts: vec![CountReader::default(); if counted { slots } else { 0 }],
                streams,
                recorder: recorder(),
                spare: (0..SPARE_RECORDERS).map(|_| recorder()).collect(),
                full: VecDeque::with_capacity(SPARE_RECORDERS + 2),
                phase: Phase::Opening,
                depth: plan.depth,
                timeout: plan.timeout,
                measured_from: Nanos::MAX,
                permitted_until: Nanos::MAX,
                lapsed: None,
                first_due: None,
                first_sent: None,
                first_left: None,
                warmup: plan.warmup,
                length: plan.length,
                start: Nanos::MAX,
                unix_ns_at_zero: 0,
                cut_at: Nanos::MAX,
                now: Nanos::ZERO,
                closing: Vec::with_capacity(slots),
                open: 0,
                tried: 0,
                opening: Opening::new(plan.connect_gap),
                opens_next: 0,
                in_flight: 0,
                in_flight_warmup: 0,
                just_sent: Vec::with_capacity(sends_max),
                sweep_next: 0,
                swept_until: Nanos::ZERO,
                first_answers: FIRST_ANSWERS,
                turn_began: None,
                jitter: plan.seed | 1,
                until_timed: 0,
            },
        }
    }

    /// The engine, to read its own counters.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Says that the moment `now` was so many nanoseconds after 1970-01-01T00:00:00Z, for fresh fields that tell the time.
    pub fn set_wall_clock(&mut self, now: Nanos, unix_ns: u64) {
        self.flow.unix_ns_at_zero = unix_ns.saturating_sub(now.0);
    }

    /// Sets the moment that request times count from; once, when [`Progress::Ready`] or still opening.
    pub fn start(&mut self, at: Nanos) {
        let flow = &mut self.flow;
        assert_eq!(flow.start, Nanos::MAX, "a worker starts once");
        flow.start = at;
        flow.measured_from = at + flow.warmup;
        flow.cut_at = if flow.warmup > Nanos::ZERO { flow.measured_from } else { at + INTERVAL };
        flow.recorder.interval = (flow.warmup == Nanos::ZERO).then_some(0);
        let schedules = flow.streams.iter().filter_map(|stream| stream.schedule.as_ref());
        flow.first_due = schedules.filter_map(|schedule| schedule.next_due()).min().map(|due| at + due);
    }

    /// Has the engine get ready to time the first request, which costs that request less than to do it when it is due. A moment before
    /// it, with a turn to follow.
    pub fn expect_first(&mut self) {
        let due = |stream: &&Stream| stream.schedule.as_ref().and_then(|schedule| schedule.next_due());
        let first = self.flow.streams.iter().filter(|stream| due(stream).is_some()).min_by_key(due);
        let idle =
            first.and_then(|stream| Some(stream.connections.start + stream.rotation.first(Queue::Idle)?));
        if let Some(id) = idle {
            self.engine.time_next(id);
        }
    }

    /// Sends only until `until`: from the first turn on that begins then or later nothing is sent any more, as after
    /// [`Self::stop`], and nothing intended later comes due. Every turn looks before it sends, however long it was held up
    /// before. A later permit replaces this one, unless it has run out. Without any there is no such end.
    pub fn permit(&mut self, until: Nanos) {
        self.flow.permitted_until = until;
    }

    /// Sends what others were to send as well: a schedule a stream, beside its own. Nothing once sending has ended, nor in closed loop.
    pub fn take_over(&mut self, schedules: Vec<Schedule>) {
        if matches!(self.flow.phase, Phase::Draining | Phase::Done) {
            return;
        }
        for (stream, schedule) in self.flow.streams.iter_mut().zip(schedules) {
            if let Some(own) = &mut stream.schedule {
                own.take_over(schedule);
            }
        }
    }

    /// The end of the permit, if it is what ended the sending.
    pub fn lapsed(&self) -> Option<Nanos> {
        self.flow.lapsed
    }

    /// The intended time of the first request, once started; none if there is none, and in closed loop.
    pub fn first_due(&self) -> Option<Nanos> {
        self.flow.first_due
    }

    /// From the first attempt to open a connection until every one was open or had failed once; none before that.
    pub fn opening_took(&self) -> Option<Nanos> {
        self.flow.opening.took()
    }

    /// When the first request left, by the kernel's time, or where that is not known when the call that sent it had returned; none before.
    pub fn first_sent(&self) -> Option<Nanos> {
        self.flow.first_left.or(self.flow.first_sent)
    }

    /// No more request is sent from now on; what is in flight is waited for.
    pub fn stop(&mut self) {
        if matches!(self.flow.phase, Phase::Opening | Phase::Ready) {
            // Nothing of a run that never began comes due, however late the next turn is.
            self.flow.streams.iter_mut().for_each(|stream| stream.schedule = None);
            self.flow.phase = Phase::Draining;
        } else if self.flow.phase == Phase::Running {
            let now = self.engine.now();
            self.flow.pass_time(now);
            self.flow.cut_interval(&self.tape);
            self.flow.count_due(self.flow.now, &self.tape);
            self.flow.stop_sending(&self.tape, true);
        }
    }

    /// What is in flight is not waited for any longer.
    pub fn halt(&mut self) {
        self.stop();
        self.flow.finish();
    }

    /// The oldest recorder that is full, to be merged, cleared and given back.
    pub fn take_full(&mut self) -> Option<Recorder> {
        self.flow.full.pop_front()
    }

    /// An empty recorder to be used again.
    pub fn give_spare(&mut self, recorder: Recorder) {
        if self.flow.spare.len() < SPARE_RECORDERS {
            self.flow.spare.push(recorder);
        }
    }

    /// The latest reading of the clock.
    pub fn now(&self) -> Nanos {
        self.flow.now
    }

    /// By stream: connections open now, and why the last one that could not be opened was not.
    pub fn streams(&self) -> Vec<(u32, Option<ConnectFailure>)> {
        let open = |connections: &Range<u32>| {
            let range = connections.start as usize..connections.end as usize;
            self.flow.connections[range].iter().filter(|connection| connection.state == State::Open).count()
                as u32
        };
        self.flow.streams.iter().map(|stream| (open(&stream.connections), stream.last_failure)).collect()
    }

    /// One pass: what is due goes out, what has happened is recorded, then waits for more, a millisecond at most.
    pub fn turn(&mut self) -> Progress {
        let now = self.engine.now();
        self.flow.begin_turn(now);
        if now >= self.flow.permitted_until && !matches!(self.flow.phase, Phase::Draining | Phase::Done) {
            self.flow.lapsed = Some(self.flow.permitted_until);
            self.stop();
        }
        let flow = &mut self.flow;
        let mut until = now + WAIT_MAX;
        if matches!(flow.phase, Phase::Opening | Phase::Ready) && now >= flow.start {
            flow.phase = Phase::Running;
        }
        if flow.phase == Phase::Running || flow.phase == Phase::Draining {
            flow.cut_interval(&self.tape);
        }
        match flow.phase {
            Phase::Opening if flow.tried as usize == flow.connections.len() => flow.phase = Phase::Ready,
            Phase::Draining if flow.in_flight + flow.in_flight_warmup == 0 => flow.finish(),
            _ => {}
        }
        // Before anything is sent, so that nothing is sent on a connection only to be lost with it.
        flow.sweep_deadlines();
        match flow.phase {
            Phase::Running => until = until.min(self.dispatch(now)),
            Phase::Opening | Phase::Ready => until = until.min(flow.start),
            Phase::Draining => {}
            Phase::Done => return Progress::Done,
        }
        until = until.min(self.open_connections(now));
        self.flow.note_turn(now, until);
        self.close_connections();
        self.engine.turn(until, &mut self.flow);
        self.close_connections();
        match self.flow.phase {
            Phase::Opening => Progress::Opening,
            Phase::Ready => Progress::Ready,
            Phase::Running | Phase::Draining => Progress::Running,
            Phase::Done => Progress::Done,
        }
    }

    /// Hands out what is due; returns when it wants to be called again.
    fn dispatch(&mut self, now: Nanos) -> Nanos {
        let flow = &mut self.flow;
        flow.count_due(now, &self.tape);
        let mut wake = Nanos::MAX;
        let (mut waiting, mut over) = (0, true);
        for stream in 0..flow.streams.len() {
            match &flow.streams[stream].schedule {
                Some(_) => {
                    wake = wake.min(Self::dispatch_open(&mut self.engine, &self.tape, flow, stream, now))
                }
                None if now < flow.start + flow.length => {
                    Self::dispatch_closed(&mut self.engine, &self.tape, flow, stream, now);
                }
                None => {}
            }
            if let Some(schedule) = &flow.streams[stream].schedule {
                waiting += schedule.waiting();
                over &= schedule.next_due().is_none();
            }
        }
        let end = flow.start + flow.length;
        if now >= end && over && (waiting == 0 || now >= end + END_GRACE) {
            flow.stop_sending(&self.tape, false);
        }
        if now < end { wake.min(end) } else { wake }
    }

    /// Open loop: gives waiting requests to connections in runs.
    fn dispatch_open(engine: &mut E, tape: &Tape, flow: &mut Flow, index: usize, now: Nanos) -> Nanos {
        let start = flow.start;
        let depth = flow.depth;
        let stream = &mut flow.streams[index];
        if stream.catching_up && !stream.blocked {
            stream.regained = stream.regained.max(stream.dispatched_at);
        }
        stream.dispatched_at = now;
        for _ in 0..SENDS_PER_TURN {
            let stream = &mut flow.streams[index];
            let schedule = stream.schedule.as_mut().expect("an open stream has a schedule");
            let Some(oldest) = schedule.oldest_waiting() else {
                stream.catching_up = false;
                return schedule.next_due().map_or(Nanos::MAX, |due| start + due);
            };
            if depth > 1 && schedule.waiting() < RUN_MIN {
                let hold_until = oldest + PACK_WITHIN;
                let more_to_come = schedule.next_due().is_some_and(|due| due <= hold_until);
                if more_to_come && now < start + hold_until {
                    return start + hold_until;
                }
            }
            let Some(local) =
                stream.rotation.first(Queue::Idle).or_else(|| stream.rotation.first(Queue::Shared))
            else {
                if !stream.blocked && start + oldest > stream.regained {
                    stream.blocked_from = now;
                }
                stream.blocked = true;
                stream.catching_up = true;
                return Nanos::MAX;
            };
            let waiting = schedule.waiting();
            let wanted = waiting.min(RUN_MIN.max(waiting.div_ceil(SENDS_PER_TURN)));
            flow.send_run(engine, tape, index, local, wanted, now);
        }
        // More may be waiting than this turn may send: no waiting then.
        now
    }

    /// Closed loop: fills whatever connection has room.
    fn dispatch_closed(engine: &mut E, tape: &Tape, flow: &mut Flow, index: usize, now: Nanos) {
        loop {
            let rotation = &flow.streams[index].rotation;
            let Some(local) = rotation.first(Queue::Idle).or_else(|| rotation.first(Queue::Shared)) else {
                return;
            };
            flow.send_run(engine, tape, index, local, u64::MAX, now);
        }
    }

    /// Opens slots whose time has come, as far as their pace allows; returns when the next one may be.
    fn open_connections(&mut self, now: Nanos) -> Nanos {
        let flow = &mut self.flow;
        if flow.phase == Phase::Draining {
            return Nanos::MAX;
        }
        let mut wake = Nanos::MAX;
        let (streams, first) = (flow.streams.len(), flow.opens_next);
        // Beginning where the pace broke off, so that no stream waits for all of another's.
        for index in (first..first + streams).map(|index| index % streams) {
            let stream = &mut flow.streams[index];
            while stream.connecting < flow.opening.connecting_max
                && let Some(&Reverse((at, id))) = stream.reopen.peek()
            {
                let at = at.max(flow.opening.next());
                if at > now {
                    wake = wake.min(at);
                    break;
                }
                stream.reopen.pop();
                flow.opening.begin(now);
                flow.opens_next = index + 1;
                flow.connections[id as usize].handle_connecting(now);
                stream.connecting += 1;
                let address = stream.addresses[stream.next_address % stream.addresses.len()];
                stream.next_address += 1;
                self.engine.connect(id, address);
            }
        }
        wake
    }

    fn close_connections(&mut self) {
        for id in self.flow.closing.drain(..) {
            self.engine.close(id);
        }
    }
}
