//! What happens to requests and connections: events come in here, and everything is counted here.
//!
//! It stands beside the engine, not above it, because events arrive while the engine is borrowed.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::INTERVAL;
use super::opening::Opening;
use super::stream::Stream;
use crate::load::acknowledged::{CountKey, CountReader};
use crate::load::connection::{Connection, OnAnswer, Received, State, Ticket};
use crate::load::engine::{
    ConnectFailure, ConnectionId, EndCause, Engine, Event, OnEvent, Outgoing, WireTimes,
};
use crate::load::recorder::{ClassRecord, Failure, Recorder};
use crate::load::rotation::Queue;
use crate::load::tape::Tape;
use crate::plan::statuses::Statuses;
use crate::time::Nanos;

/// A connection that nothing was sent on for so long is idle: servers close those after seconds.
const IDLE_MIN: Nanos = Nanos(1_000_000_000);

/// Requests sent for each that the kernel is asked to time. The engine agrees for an eighth of the time, so that it comes
/// to about one in 1024.
pub(super) const TIMED_EVERY: u64 = 128;

/// Back-off after the first life of a connection without an answer, and its bound.
const BACKOFF_FIRST: Nanos = Nanos(1_000_000);
const BACKOFF_MAX: Nanos = Nanos(1_000_000_000);

/// All that events may touch.
pub(super) struct Flow {
    pub(super) connections: Vec<Connection>,
    /// How far the body of each connection's answer was read for its count; empty if no stream counts.
    pub(super) counts: Vec<CountReader>,
    pub(super) streams: Vec<Stream>,
    pub(super) recorder: Recorder,
    pub(super) spare: Vec<Recorder>,
    pub(super) full: VecDeque<Recorder>,
    pub(super) phase: Phase,
    pub(super) depth: u32,
    pub(super) timeout: Nanos,
    /// When requests of the measured part begin to be intended.
    pub(super) measured_from: Nanos,
    /// Nothing is sent from then on, and nothing comes due.
    pub(super) permitted_until: Nanos,
    /// That moment, if it is what ended the sending.
    pub(super) lapsed: Option<Nanos>,
    /// The intended time of the first request.
    pub(super) first_due: Option<Nanos>,
    /// When the kernel had taken the first send, and when that left, if it said so.
    pub(super) first_sent: Option<Nanos>,
    pub(super) first_left: Option<Nanos>,
    pub(super) warmup: Nanos,
    pub(super) length: Nanos,
    pub(super) start: Nanos,
    /// What the wall clock showed when the run's clock was at zero.
    pub(super) unix_ns_at_zero: u64,
    /// When the current interval is over.
    pub(super) cut_at: Nanos,
    /// The latest reading of the clock.
    pub(super) now: Nanos,
    /// Connections to give up after the turn.
    pub(super) closing: Vec<ConnectionId>,
    pub(super) open: u32,
    /// Slots that have had a first life.
    pub(super) tried: u32,
    pub(super) opening: Opening,
    /// The stream that may open connections first.
    pub(super) opens_next: usize,
    /// Requests in flight, the warm-up's apart from the rest.
    pub(super) in_flight: u64,
    pub(super) in_flight_warmup: u64,
    /// Intended time, and how long no connection had room since, of requests sent in this turn.
    pub(super) just_sent: Vec<(Nanos, Nanos)>,
    /// Deadlines are looked at in rotation: the next connection, and up to when the rotation has come.
    pub(super) sweep_next: usize,
    pub(super) swept_until: Nanos,
    /// Answers still to come that count as the first ones.
    pub(super) first_answers: u32,
    /// When the current turn began, if it is not to wait.
    pub(super) turn_began: Option<Nanos>,
    pub(super) jitter: u64,
    /// Requests to be sent until the kernel is asked to time one.
    pub(super) until_timed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    Ready,
    Running,
    Draining,
    Done,
}

impl Flow {
    pub(super) fn begin_turn(&mut self, now: Nanos) {
        self.pass_time(now);
        self.recorder.turns += 1;
        if let Some(began) = self.turn_began.take() {
            self.recorder.turn_time.record(now - began);
        }
    }

    /// What was in flight was so up to now.
    #[inline]
    pub(super) fn pass_time(&mut self, now: Nanos) {
        self.recorder.in_flight_ns += self.in_flight * now.saturating_sub(self.now).0;
        self.now = now;
    }

    /// Turns that wait are no measure of how long the work takes.
    pub(super) fn note_turn(&mut self, now: Nanos, until: Nanos) {
        self.turn_began = (until <= now).then_some(now);
    }

    /// Lets everything intended up to `now` come due, as far as there is a permit for it.
    pub(super) fn count_due(&mut self, now: Nanos, tape: &Tape) {
        let now = now.min(self.permitted_until);
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
    pub(super) fn send_run<E: Engine>(
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
        let mut last = stream.run_end(tape, wanted.min(room));
        let what = match &mut stream.fields {
            None => Outgoing::Tape(first..last),
            Some(fields) => {
                let lent = engine.lend(id, first..last);
                last = first + lent.requests;
                fields.set_time(self.unix_ns_at_zero + now.0);
                let base = tape.span(first..last).start as u32;
                fields.write(lent.bytes, base, tape.places(first..last));
                lent.what
            }
        };
        self.until_timed = self.until_timed.saturating_sub((last - first) as u64);
        // Where nothing else is in flight the next bytes received are the answer's.
        if self.until_timed == 0 && connection.in_flight() == 0 && engine.time_next(id) {
            self.until_timed = TIMED_EVERY;
        }
        let warmup_class = self.recorder.classes.len() - 1;
        // In closed loop a request comes due by being sent.
        let mut hand_over = |request: usize, intended: Nanos, measured: bool, due_now: u64| {
            let mark = tape.mark(request);
            let class = if measured { mark.class as usize } else { warmup_class };
            let record = &mut self.recorder.classes[class];
            record.scheduled += due_now;
            record.sent += 1;
            record.events_sent += u64::from(mark.events);
            *(if measured { &mut self.in_flight } else { &mut self.in_flight_warmup }) += 1;
            connection.push(Ticket { intended, sent: now, class: class as u16, events: mark.events });
        };
        if let Some(schedule) = &mut stream.schedule {
            for request in first..last {
                let intended = self.start + schedule.take().expect("no more is wanted than waits");
                let measured = intended >= self.measured_from;
                if measured {
                    let blocked = stream.regained.saturating_sub(intended.max(stream.blocked_from));
                    self.just_sent.push((intended, blocked));
                } else {
                    stream.warmup_backlog -= 1;
                }
                hand_over(request, intended, measured, 0);
            }
        } else {
            let measured = now >= self.measured_from;
            for request in first..last {
                hand_over(request, now, measured, 1);
            }
        }
        stream.cursor =
            if last == stream.section.requests.end { stream.section.requests.start } else { last };
        let span = tape.span(first..last);
        self.recorder.bytes_sent += span.len() as u64;
        self.recorder.sends += 1;
        connection.sending = true;
        connection.since = now;
        stream.rotation.place(local, None);
        engine.send(id, what);
    }

    /// Ends the interval when its time is over: swaps the recorder for an empty one.
    pub(super) fn cut_interval(&mut self, tape: &Tape) {
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
    pub(super) fn stop_sending(&mut self, tape: &Tape, stopped: bool) {
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
    pub(super) fn finish(&mut self) {
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
    pub(super) fn sweep_deadlines(&mut self) {
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
        if first && self.tried as usize == self.connections.len() {
            self.opening.end(self.now);
        }
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
        if self.first_answers > 0
            && let Some(ticket) = connection.oldest()
        {
            self.first_answers -= 1;
            self.recorder.first_service.record(self.now - ticket.sent);
        }
        let stream = &mut self.streams[connection.stream as usize];
        let in_flight = [&mut self.in_flight, &mut self.in_flight_warmup];
        let answers = Answers::new(&mut self.recorder, &stream.expect, in_flight, self.now);
        let received = match &mut stream.count_key {
            None => connection.receive(&mut stream.template, bytes, &mut answers.acknowledged(ByStatus)),
            Some(key) => {
                let by_count = ByCount { key, reader: &mut self.counts[id as usize] };
                connection.receive(&mut stream.template, bytes, &mut answers.acknowledged(by_count))
            }
        };
        match received {
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
            let in_flight = [&mut self.in_flight, &mut self.in_flight_warmup];
            let answers = Answers::new(&mut self.recorder, &stream.expect, in_flight, self.now);
            match &mut stream.count_key {
                None => connection.handle_end(&mut answers.acknowledged(ByStatus)),
                Some(key) => {
                    let by_count = ByCount { key, reader: &mut self.counts[id as usize] };
                    connection.handle_end(&mut answers.acknowledged(by_count));
                }
            }
            // A server that counts closes on an answer; one that tires of an idle connection says nothing about counts.
            if connection.in_flight() > 0 || self.now < connection.since + IDLE_MIN {
                stream.lifetime.handle_close(connection.answers());
            }
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
        if let Some(count) = self.counts.get_mut(id as usize) {
            // What its last life left of an answer.
            *count = CountReader::default();
        }
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
    fn submitted(&mut self, now: Nanos) {
        if self.first_sent.is_none() && self.recorder.sends > 0 {
            self.first_sent = Some(now);
        }
        for (intended, blocked) in self.just_sent.drain(..) {
            let (lateness, late) = (&mut self.recorder.lateness, now - intended);
            if blocked > Nanos::ZERO {
                lateness.blocked_whole.record(late);
                lateness.blocked_own.record(late - blocked);
            } else {
                lateness.on_time.record(late);
            }
        }
    }

    fn reaped(&mut self, now: Nanos) {
        self.pass_time(now);
        debug_assert!(self.just_sent.is_empty(), "an engine says when it has submitted");
    }

    fn wire(&mut self, id: ConnectionId, times: WireTimes) {
        let connection = &self.connections[id as usize];
        // What was timed was sent when nothing was in flight, so it is the oldest that is.
        let Some(ticket) = connection.oldest().filter(|_| connection.state == State::Open) else { return };
        if self.first_due == Some(ticket.intended) {
            self.first_left = Some(times.left);
        }
        if (ticket.class as usize) < self.recorder.classes.len() - 1 {
            self.recorder.wire.record(ticket.sent, times, self.now);
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
struct Answers<'a, A> {
    recorder: &'a mut Recorder,
    expect: &'a Statuses,
    /// Of the measured part, and of the warm-up.
    in_flight: [&'a mut u64; 2],
    now: Nanos,
    acknowledge: A,
}

impl<'a> Answers<'a, ()> {
    fn new(
        recorder: &'a mut Recorder,
        expect: &'a Statuses,
        in_flight: [&'a mut u64; 2],
        now: Nanos,
    ) -> Self {
        Self { recorder, expect, in_flight, now, acknowledge: () }
    }

    /// Says what acknowledges events.
    fn acknowledged<A>(self, acknowledge: A) -> Answers<'a, A> {
        let Self { recorder, expect, in_flight, now, .. } = self;
        Answers { recorder, expect, in_flight, now, acknowledge }
    }
}

impl<A: Acknowledge> OnAnswer for Answers<'_, A> {
    #[inline]
    fn body(&mut self, bytes: &[u8]) {
        self.acknowledge.body(bytes);
    }

    #[inline]
    fn answered(&mut self, ticket: Ticket, status: u16) {
        let said = self.acknowledge.finish();
        let class = ticket.class as usize;
        let is_warmup = class + 1 == self.recorder.classes.len();
        *self.in_flight[usize::from(is_warmup)] -= 1;
        let record = &mut self.recorder.classes[class];
        record.status[status as usize] += 1;
        let response_time = self.now - ticket.intended;
        if self.expect.contains(status) {
            record.ok += 1;
            match said {
                // More than were sent is no count that is understood.
                Some(count) if count <= u64::from(ticket.events) => record.events_acknowledged += count,
                _ => {
                    record.events_acknowledged += u64::from(ticket.events);
                    record.events_by_status += u64::from(ticket.events);
                }
            }
            record.response_ok.record(response_time);
        } else {
            record.unexpected_status += 1;
            record.response_rest.record(response_time);
        }
        record.service.record(self.now - ticket.sent);
    }
}

/// What says how many events an answer acknowledges; chosen once a stream.
trait Acknowledge {
    fn body(&mut self, bytes: &[u8]);
    /// The answer is over: the count it said, if it did.
    fn finish(&mut self) -> Option<u64>;
}

/// An ok status acknowledges all of the request's events.
struct ByStatus;

impl Acknowledge for ByStatus {
    #[inline]
    fn body(&mut self, _: &[u8]) {}

    #[inline]
    fn finish(&mut self) -> Option<u64> {
        None
    }
}

/// The answer says how many.
struct ByCount<'a> {
    key: &'a mut CountKey,
    reader: &'a mut CountReader,
}

impl Acknowledge for ByCount<'_> {
    #[inline]
    fn body(&mut self, bytes: &[u8]) {
        self.reader.read(self.key, bytes);
    }

    #[inline]
    fn finish(&mut self) -> Option<u64> {
        self.reader.finish()
    }
}
