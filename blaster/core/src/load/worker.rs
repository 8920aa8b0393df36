//! One shard's loop: takes what the schedule says is due, gives it to connections, and records what comes back.
//!
//! A worker is generic over its [`Engine`]; it owns no socket, reads no clock of its own and allocates nothing
//! once it is built. [`Worker::turn`] is one pass; whoever drives it (a shard of `blaster`, the simulator)
//! calls it until [`Progress::Done`] and swaps recorders in between.
//!
//! Events arrive while the engine is borrowed, so what they touch lives in `Flow`, beside the engine; what
//! they want of the engine (closing a connection) is noted and done after the turn.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::connection::{Connection, OnAnswer, Received, State, Ticket};
use super::engine::{ConnectFailure, ConnectionId, EndCause, Engine, Event, OnEvent, Outgoing};
use super::http1::HeadTemplate;
use super::lifetime::Lifetime;
use super::recorder::{ClassRecord, Failure, Recorder};
use super::rotation::{Queue, Rotation};
use super::schedule::Schedule;
use super::tape::{Section, Tape};
use crate::plan::statuses::Statuses;
use crate::time::Nanos;

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

/// How long requests that were due in time may still be sent after the end, if no connection had room for them.
pub const END_GRACE: Nanos = Nanos(100_000_000);

/// Empty recorders kept ready; a reporting thread that is late by more intervals than this makes an interval longer.
pub const SPARE_RECORDERS: usize = 3;

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

/// Most bytes of a run, so that one connection's send does not hold up the turn.
const RUN_BYTES_MAX: usize = 128 * 1024;

/// Most connections being opened to a target at a time, so that a listen queue of the usual 128 suffices.
const CONNECTING_MAX: u32 = 64;

/// Back-off after the first life of a connection without an answer, and its bound.
const BACKOFF_FIRST: Nanos = Nanos(1_000_000);
const BACKOFF_MAX: Nanos = Nanos(1_000_000_000);

/// One shard's loop.
pub struct Worker<E> {
    engine: E,
    tape: Arc<Tape>,
    flow: Flow,
}

/// All that events may touch.
struct Flow {
    connections: Vec<Connection>,
    streams: Vec<Stream>,
    recorder: Recorder,
    spare: Vec<Recorder>,
    full: VecDeque<Recorder>,
    phase: Phase,
    depth: u32,
    timeout: Nanos,
    /// When requests of the measured part begin to be intended.
    measured_from: Nanos,
    warmup: Nanos,
    length: Nanos,
    start: Nanos,
    /// When the current interval is over.
    cut_at: Nanos,
    /// The latest reading of the clock.
    now: Nanos,
    /// Connections to give up after the turn.
    closing: Vec<ConnectionId>,
    open: u32,
    /// Slots that have had a first life.
    tried: u32,
    /// Requests in flight, the warm-up's apart from the rest.
    in_flight: u64,
    in_flight_warmup: u64,
    /// Intended time, and the moment room was regained, of requests sent in this turn.
    just_sent: Vec<(Nanos, Nanos)>,
    /// Deadlines are looked at in rotation: the next connection, and up to when the rotation has come.
    sweep_next: usize,
    swept_until: Nanos,
    /// When the current turn began, if it is not to wait.
    turn_began: Option<Nanos>,
    jitter: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Ready,
    Running,
    Draining,
    Done,
}

/// One target's share of a shard.
struct Stream {
    schedule: Option<Schedule>,
    section: Section,
    /// The next request to send, and the next to come due.
    cursor: usize,
    due_cursor: usize,
    connections: Range<u32>,
    /// When vacant slots are to be opened again.
    reopen: BinaryHeap<Reverse<(Nanos, ConnectionId)>>,
    /// Attempts under way.
    connecting: u32,
    rotation: Rotation,
    /// Room from which on a connection with requests in flight is worth a send.
    room_min: u32,
    lifetime: Lifetime,
    template: HeadTemplate,
    addresses: Vec<usize>,
    next_address: usize,
    expect: Statuses,
    /// Something is due and no connection has room.
    blocked: bool,
    /// When a connection last had room again after none had.
    regained: Nanos,
    warmup_backlog: u64,
    last_failure: Option<ConnectFailure>,
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
                blocked: false,
                regained: Nanos::ZERO,
                warmup_backlog: 0,
                last_failure: None,
            });
        }
        assert!(!streams.is_empty(), "a worker needs a stream");
        let slots = connections.len();
        let sends_max =
            if closed_loop { 0 } else { SENDS_PER_TURN as usize * streams.len() * plan.depth as usize };
        let recorder = || Recorder::new(plan.classes);
        Self {
            engine,
            tape,
            flow: Flow {
                connections,
                streams,
                recorder: recorder(),
                spare: (0..SPARE_RECORDERS).map(|_| recorder()).collect(),
                full: VecDeque::with_capacity(SPARE_RECORDERS + 2),
                phase: Phase::Opening,
                depth: plan.depth,
                timeout: plan.timeout,
                measured_from: Nanos::MAX,
                warmup: plan.warmup,
                length: plan.length,
                start: Nanos::MAX,
                cut_at: Nanos::MAX,
                now: Nanos::ZERO,
                closing: Vec::with_capacity(slots),
                open: 0,
                tried: 0,
                in_flight: 0,
                in_flight_warmup: 0,
                just_sent: Vec::with_capacity(sends_max),
                sweep_next: 0,
                swept_until: Nanos::ZERO,
                turn_began: None,
                jitter: plan.seed | 1,
            },
        }
    }

    /// The engine, to read its own counters.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    /// Sets the moment that request times count from; once, when [`Progress::Ready`] or still opening.
    pub fn start(&mut self, at: Nanos) {
        let flow = &mut self.flow;
        assert_eq!(flow.start, Nanos::MAX, "a worker starts once");
        flow.start = at;
        flow.measured_from = at + flow.warmup;
        flow.cut_at = if flow.warmup > Nanos::ZERO { flow.measured_from } else { at + INTERVAL };
        flow.recorder.interval = (flow.warmup == Nanos::ZERO).then_some(0);
    }

    /// No more request is sent from now on; what is in flight is waited for.
    pub fn stop(&mut self) {
        if matches!(self.flow.phase, Phase::Opening | Phase::Ready) {
            // Nothing of a run that never began comes due, however late the next turn is.
            self.flow.streams.iter_mut().for_each(|stream| stream.schedule = None);
            self.flow.phase = Phase::Draining;
        } else if self.flow.phase == Phase::Running {
            self.flow.now = self.engine.now();
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
        let flow = &mut self.flow;
        flow.begin_turn(now);
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
        for _ in 0..SENDS_PER_TURN {
            let stream = &mut flow.streams[index];
            let schedule = stream.schedule.as_mut().expect("an open stream has a schedule");
            let Some(oldest) = schedule.oldest_waiting() else {
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
                stream.blocked = true;
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

    /// Opens slots whose time has come; returns when the next one's will.
    fn open_connections(&mut self, now: Nanos) -> Nanos {
        let flow = &mut self.flow;
        if flow.phase == Phase::Draining {
            return Nanos::MAX;
        }
        let mut wake = Nanos::MAX;
        for stream in &mut flow.streams {
            while stream.connecting < CONNECTING_MAX
                && let Some(&Reverse((at, id))) = stream.reopen.peek()
            {
                if at > now {
                    wake = wake.min(at);
                    break;
                }
                stream.reopen.pop();
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

impl Flow {
    fn begin_turn(&mut self, now: Nanos) {
        self.now = now;
        self.recorder.turns += 1;
        if let Some(began) = self.turn_began.take() {
            self.recorder.turn_time.record(now - began);
        }
    }

    /// Turns that wait are no measure of how long the work takes.
    fn note_turn(&mut self, now: Nanos, until: Nanos) {
        self.turn_began = (until <= now).then_some(now);
    }

    /// Lets everything intended up to `now` come due.
    fn count_due(&mut self, now: Nanos, tape: &Tape) {
        let Some(elapsed) = now.0.checked_sub(self.start.0).map(Nanos) else { return };
        for stream in &mut self.streams {
            let Some(schedule) = &mut stream.schedule else { continue };
            let warmup = self.recorder.classes.len() - 1;
            if self.warmup > Nanos::ZERO {
                let due = schedule.advance(elapsed.min(self.warmup - Nanos(1)));
                self.recorder.classes[warmup].scheduled += due;
                stream.warmup_backlog += due;
                stream.due_cursor = stream.advanced(stream.due_cursor, due);
                let schedule = stream.schedule.as_mut().expect("seen above");
                let due = schedule.advance(elapsed);
                stream.count_scheduled(&mut self.recorder.classes, due, tape);
            } else {
                let due = schedule.advance(elapsed);
                stream.count_scheduled(&mut self.recorder.classes, due, tape);
            }
        }
    }

    /// Takes up to `wanted` requests of the stream and sends them on its connection `local`, as one run.
    fn send_run<E: Engine>(
        &mut self,
        engine: &mut E,
        tape: &Tape,
        index: usize,
        local: u32,
        wanted: u64,
        now: Nanos,
    ) {
        let stream = &mut self.streams[index];
        let id = stream.connections.start + local;
        let connection = &mut self.connections[id as usize];
        let room = u64::from(connection.room()).min(stream.lifetime.left(connection.given()));
        if room == 0 {
            // The server's habit was learnt while this connection waited for its turn.
            return self.place(id);
        }
        let first = stream.cursor;
        let last = stream.run_end(tape, wanted.min(room));
        let warmup_class = self.recorder.classes.len() - 1;
        for request in first..last {
            let mark = tape.mark(request);
            let (intended, measured) = match &mut stream.schedule {
                Some(schedule) => {
                    let intended = self.start + schedule.take().expect("no more is wanted than waits");
                    let measured = intended >= self.measured_from;
                    if measured {
                        let regained =
                            if stream.blocked_before(intended) { stream.regained } else { Nanos::ZERO };
                        self.just_sent.push((intended, regained));
                    } else {
                        stream.warmup_backlog -= 1;
                    }
                    (intended, measured)
                }
                None => (now, now >= self.measured_from),
            };
            let class = if measured { mark.class as usize } else { warmup_class };
            let record = &mut self.recorder.classes[class];
            record.sent += 1;
            record.events_sent += u64::from(mark.events);
            if stream.schedule.is_none() {
                record.scheduled += 1;
            }
            if measured {
                self.in_flight += 1;
            } else {
                self.in_flight_warmup += 1;
            }
            connection.push(Ticket { intended, sent: now, class: class as u16, events: mark.events });
        }
        stream.cursor =
            if last == stream.section.requests.end { stream.section.requests.start } else { last };
        let span = tape.span(first..last);
        self.recorder.bytes_sent += span.len() as u64;
        self.recorder.sends += 1;
        connection.sending = true;
        connection.since = now;
        stream.rotation.place(local, None);
        engine.send(id, Outgoing::Tape(span));
    }

    /// Ends the interval when its time is over: swaps the recorder for an empty one.
    fn cut_interval(&mut self, tape: &Tape) {
        while self.now >= self.cut_at && !self.spare.is_empty() {
            // What is intended at the very end belongs to what begins there.
            self.count_due(self.cut_at - Nanos(1), tape);
            let next = self.recorder.interval.map_or(0, |interval| interval + 1);
            self.swap_recorder();
            self.recorder.interval = Some(next);
            self.cut_at += INTERVAL;
        }
    }

    fn swap_recorder(&mut self) {
        let recorder = &mut self.recorder;
        recorder.connections_open = self.open;
        recorder.in_flight_end = self.in_flight;
        recorder.backlog_end = self.streams.iter().map(Stream::backlog).sum();
        recorder.answers_before_close = self.streams.iter().find_map(|stream| stream.lifetime.limit());
        let empty = self.spare.pop().expect("the caller made sure of a spare recorder");
        self.full.push_back(std::mem::replace(recorder, empty));
    }

    /// Nothing is sent any more: what waits is counted as unsent.
    fn stop_sending(&mut self, tape: &Tape, stopped: bool) {
        let warmup = self.recorder.classes.len() - 1;
        for stream in &mut self.streams {
            let backlog = stream.backlog();
            let was_blocked = stream.blocked;
            let warmup_backlog = std::mem::take(&mut stream.warmup_backlog);
            let unsent = |record: &mut ClassRecord, count: u64| {
                if stopped && !was_blocked {
                    record.unsent_stopped += count;
                } else {
                    record.unsent_backlog += count;
                }
            };
            unsent(&mut self.recorder.classes[warmup], warmup_backlog);
            stream.cursor = stream.advanced(stream.cursor, warmup_backlog);
            match stream.section.only_class {
                Some(class) => unsent(&mut self.recorder.classes[class as usize], backlog),
                None => {
                    for _ in 0..backlog {
                        unsent(&mut self.recorder.classes[tape.mark(stream.cursor).class as usize], 1);
                        stream.cursor = stream.advanced(stream.cursor, 1);
                    }
                }
            }
            stream.schedule = None;
        }
        self.phase = Phase::Draining;
    }

    /// Hands over the last recorder.
    fn finish(&mut self) {
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Done;
        if self.spare.is_empty() {
            // The reporting thread is late: give the last interval away without a replacement being ready.
            self.spare.push(Recorder::new(0));
        }
        self.swap_recorder();
    }

    /// Looks at the deadlines of some connections, so that each is looked at once in a thirty-second of the timeout.
    fn sweep_deadlines(&mut self) {
        let period = (self.timeout.0 / 32).clamp(1_000_000, 100_000_000);
        let count = self.connections.len() as u64;
        let due = (self.now.0 - self.swept_until.0).saturating_mul(count) / period;
        if due == 0 {
            return;
        }
        self.swept_until = self.now;
        for _ in 0..due.min(count) {
            let id = self.sweep_next;
            self.sweep_next = if id + 1 == self.connections.len() { 0 } else { id + 1 };
            let connection = &mut self.connections[id];
            match connection.state {
                State::Open
                    if connection.waiting_since().is_some_and(|since| since + self.timeout <= self.now) =>
                {
                    self.give_up(id as u32, Cause::Timeout);
                }
                State::Connecting if connection.since + self.timeout <= self.now => {
                    self.connect_failed(id as u32, ConnectFailure::Timeout);
                }
                _ => {}
            }
        }
    }

    /// Ends a connection's life: accounts for what was in flight, and notes it for closing.
    fn give_up(&mut self, id: ConnectionId, cause: Cause) {
        let now = self.now;
        let timeout = self.timeout;
        let mut first = true;
        while let Some(ticket) = self.connections[id as usize].pop_unanswered() {
            let failure = match cause {
                Cause::Closed => Failure::Closed,
                Cause::Reset => Failure::Reset,
                Cause::Malformed if first => Failure::Malformed,
                Cause::Timeout if ticket.sent + timeout <= now => Failure::Timeout,
                Cause::Malformed | Cause::Timeout => Failure::Aborted,
            };
            first = false;
            self.failed(ticket, failure);
        }
        self.begin_closing(id);
    }

    fn begin_closing(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id as usize];
        debug_assert_eq!(connection.in_flight(), 0, "what is in flight must be accounted for before closing");
        if connection.state == State::Open {
            self.open -= 1;
        }
        connection.fruitless =
            if connection.answers() > 0 { 0 } else { connection.fruitless.saturating_add(1) };
        connection.state = State::Closing;
        let stream = &mut self.streams[connection.stream as usize];
        stream.rotation.place(id - stream.connections.start, None);
        self.closing.push(id);
    }

    fn connect_failed(&mut self, id: ConnectionId, failure: ConnectFailure) {
        self.recorder.connect_failures[failure as usize] += 1;
        let stream = self.connections[id as usize].stream as usize;
        self.streams[stream].last_failure = Some(failure);
        self.streams[stream].connecting -= 1;
        self.count_first_life(id);
        self.begin_closing(id);
    }

    /// Counts the slots that have been tried; whether this was the slot's first life.
    fn count_first_life(&mut self, id: ConnectionId) -> bool {
        let first = self.connections[id as usize].lives == 1;
        self.tried += u32::from(first);
        first
    }

    fn failed(&mut self, ticket: Ticket, failure: Failure) {
        self.count_out(ticket);
        let record = &mut self.recorder.classes[ticket.class as usize];
        record.errors[failure as usize] += 1;
        if failure != Failure::Timeout {
            record.response_rest.record(self.now - ticket.intended);
            record.service.record(self.now - ticket.sent);
        }
    }

    #[inline]
    fn count_out(&mut self, ticket: Ticket) {
        if (ticket.class as usize) < self.recorder.classes.len() - 1 {
            self.in_flight -= 1;
        } else {
            self.in_flight_warmup -= 1;
        }
    }

    /// Puts a connection where it belongs in its stream's rotation, and unblocks the stream if it has room.
    #[inline]
    fn place(&mut self, id: ConnectionId) {
        let connection = &self.connections[id as usize];
        let stream = &mut self.streams[connection.stream as usize];
        let left = stream.lifetime.left(connection.given());
        if left == 0 && connection.in_flight() == 0 && connection.state == State::Open {
            // The server is about to close it: nothing may be sent on it any more.
            return self.give_up(id, Cause::Closed);
        }
        let queue = if connection.state != State::Open || connection.sending {
            None
        } else {
            let room = u64::from(connection.room()).min(left);
            match connection.in_flight() {
                _ if room == 0 => None,
                0 => Some(Queue::Idle),
                _ if room >= u64::from(stream.room_min) => Some(Queue::Shared),
                _ => None,
            }
        };
        stream.rotation.place(id - stream.connections.start, queue);
        if stream.blocked && queue.is_some() {
            stream.blocked = false;
            stream.regained = self.now;
        }
    }

    fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        self.recorder.bytes_received += bytes.len() as u64;
        let connection = &mut self.connections[id as usize];
        let stream = &mut self.streams[connection.stream as usize];
        let mut answers = Answers {
            recorder: &mut self.recorder,
            expect: &stream.expect,
            in_flight: [&mut self.in_flight, &mut self.in_flight_warmup],
            now: self.now,
        };
        match connection.receive(&mut stream.template, bytes, &mut answers) {
            Received::Open => self.place(id),
            Received::LastAnswer => {
                stream.lifetime.handle_close(connection.answers());
                self.give_up(id, Cause::Closed);
            }
            Received::Malformed(malformed) => {
                self.recorder.malformed.get_or_insert(malformed);
                self.give_up(id, Cause::Malformed);
            }
            Received::Unsolicited => self.give_up(id, Cause::Closed),
        }
    }

    fn ended(&mut self, id: ConnectionId, cause: EndCause) {
        let connection = &mut self.connections[id as usize];
        let stream = &mut self.streams[connection.stream as usize];
        if cause == EndCause::Closed {
            let mut answers = Answers {
                recorder: &mut self.recorder,
                expect: &stream.expect,
                in_flight: [&mut self.in_flight, &mut self.in_flight_warmup],
                now: self.now,
            };
            connection.handle_end(&mut answers);
            stream.lifetime.handle_close(connection.answers());
        }
        self.give_up(id, if cause == EndCause::Closed { Cause::Closed } else { Cause::Reset });
    }

    fn connected(&mut self, id: ConnectionId) {
        let first = self.count_first_life(id);
        let connection = &mut self.connections[id as usize];
        connection.state = State::Open;
        self.streams[connection.stream as usize].connecting -= 1;
        self.open += 1;
        if first {
            self.recorder.opened += 1;
        } else {
            self.recorder.reopened += 1;
        }
        self.recorder.connect_time.record(self.now - connection.since);
        self.place(id);
    }

    fn released(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id as usize];
        connection.state = State::Vacant;
        let back_off = match connection.fruitless {
            0 => Nanos::ZERO,
            lives => {
                let doubled = BACKOFF_FIRST.0 << (lives - 1).min(20);
                // Between half and all of it, so that connections lost together do not come back together.
                self.jitter ^= self.jitter << 13;
                self.jitter ^= self.jitter >> 7;
                self.jitter ^= self.jitter << 17;
                let bound = doubled.min(BACKOFF_MAX.0);
                Nanos(bound / 2 + self.jitter % (bound / 2))
            }
        };
        let stream = &mut self.streams[connection.stream as usize];
        stream.reopen.push(Reverse((self.now + back_off, id)));
    }
}

impl OnEvent for Flow {
    fn reaped(&mut self, now: Nanos) {
        self.now = now;
        for (intended, regained) in self.just_sent.drain(..) {
            let lateness = &mut self.recorder.lateness;
            if regained > intended {
                lateness.blocked_whole.record(now - intended);
                lateness.blocked_own.record(now - regained);
            } else {
                lateness.on_time.record(now - intended);
            }
        }
    }

    #[inline]
    fn event(&mut self, id: ConnectionId, event: Event<'_>) {
        let state = self.connections[id as usize].state;
        match event {
            Event::Released => self.released(id),
            // Given up earlier in this turn: what still arrives was accounted for then.
            _ if state == State::Closing => {}
            Event::Received(bytes) => self.received(id, bytes),
            Event::Sent => {
                self.connections[id as usize].sending = false;
                self.place(id);
            }
            Event::Connected => self.connected(id),
            Event::ConnectFailed(failure) => self.connect_failed(id, failure),
            Event::Ended(cause) => self.ended(id, cause),
        }
    }
}

/// Why a connection is given up.
#[derive(Clone, Copy)]
enum Cause {
    Closed,
    Reset,
    Timeout,
    Malformed,
}

/// Records answers while a connection reads.
struct Answers<'a> {
    recorder: &'a mut Recorder,
    expect: &'a Statuses,
    /// Of the measured part, and of the warm-up.
    in_flight: [&'a mut u64; 2],
    now: Nanos,
}

impl OnAnswer for Answers<'_> {
    #[inline]
    fn answered(&mut self, ticket: Ticket, status: u16) {
        let class = ticket.class as usize;
        let is_warmup = class + 1 == self.recorder.classes.len();
        *self.in_flight[usize::from(is_warmup)] -= 1;
        let record = &mut self.recorder.classes[class];
        record.status[status as usize] += 1;
        let response_time = self.now - ticket.intended;
        if self.expect.contains(status) {
            record.ok += 1;
            record.events_acknowledged += u64::from(ticket.events);
            record.response_ok.record(response_time);
        } else {
            record.unexpected_status += 1;
            record.response_rest.record(response_time);
        }
        record.service.record(self.now - ticket.sent);
    }
}

impl Stream {
    /// Requests (not of the warm-up) that are due and unsent.
    fn backlog(&self) -> u64 {
        self.schedule.as_ref().map_or(0, |schedule| schedule.waiting() - self.warmup_backlog)
    }

    /// Whether a request intended then waited because no connection had room.
    #[inline]
    fn blocked_before(&self, intended: Nanos) -> bool {
        self.regained > intended
    }

    /// The end of the run of at most `wanted` requests that begins at the cursor.
    #[inline]
    fn run_end(&self, tape: &Tape, wanted: u64) -> usize {
        let left = self.section.requests.end - self.cursor;
        let mut last = self.cursor + wanted.min(left as u64) as usize;
        while last - self.cursor > 1 && tape.span(self.cursor..last).len() > RUN_BYTES_MAX {
            last = self.cursor + (last - self.cursor) / 2;
        }
        last
    }

    fn advanced(&self, cursor: usize, count: u64) -> usize {
        let Range { start, end } = self.section.requests;
        start + ((cursor - start) as u64 + count).rem_euclid((end - start) as u64) as usize
    }

    /// Counts requests that came due in their classes, in the order of the tape.
    fn count_scheduled(&mut self, classes: &mut [ClassRecord], due: u64, tape: &Tape) {
        match self.section.only_class {
            Some(class) => classes[class as usize].scheduled += due,
            None => {
                for _ in 0..due {
                    classes[tape.mark(self.due_cursor).class as usize].scheduled += 1;
                    self.due_cursor = self.advanced(self.due_cursor, 1);
                }
            }
        }
    }
}
