//! One thread of the sink: accepts, frames requests, counts them, answers.
//!
//! Answers that all look alike lie repeated on the engine's tape, so that answering a pipelined batch is one send of one
//! slice. Any other answer is staged, and from then on, until it is out, all later ones of that connection too: order holds.
//! A few usual answers before a staged one leave with it, so that both are one send.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blaster_core::load::engine::{ConnectionId, EndCause, Engine, Event, OnEvent, Outgoing};
use blaster_core::load::http1::{OnRequest, Request, RequestReader, RequestTemplate};
use blaster_core::load::tape::{Cut, Mark, Recording};
use blaster_core::time::Nanos;
use blaster_ring::socket::Congestion;
use blaster_ring::{Clock, EngineConfig, UringEngine};
use socket2::Socket;

use crate::Record;
use crate::SinkConfig;
use crate::answers::{Answers, usual_answer};
use crate::counters::{Counters, Totals};
use crate::detail::{Detail, EVENTS_MAX, Shown};
use crate::events::EventCounter;
use crate::held::{End, Entry, Held};
use crate::kept::KeptBody;
use crate::outbox::Outbox;
use crate::pace::{Fault, Stall};
use crate::pacer::Pacer;
use crate::process;
use crate::profile::{Behaviour, Route, answer};
use crate::validate;

/// The longest a turn waits before it looks whether it shall stop.
const WAIT_MAX: Nanos = Nanos(20_000_000);

/// Most connections that what was held back for is sent to in a turn: some 50 µs of sending.
const RELEASED_MAX: usize = 32;

/// A turn that ends later than this after what it waited for was held up.
const HELD_UP_MIN: Nanos = Nanos(200_000);

/// How often the usual answer is repeated on the tape: the most answers of one send.
const REPEATS: usize = 256;

/// Staging room of a connection; longer output goes out in pieces.
const STAGING_BYTES: usize = 16 * 1024;

/// Most usual answers that are staged to leave with what is staged behind them: they take half of the staging room at most.
const JOINED_MAX: usize = 48;

/// Most bytes a connection may be owed: whoever asks so much and reads nothing is cut off. Far above what the deepest pipeline
/// of the largest answers to real batches comes to.
const OWED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a request that fits none of them is told.
const ROUTES: &str = "there are POST /events, GET /health, GET /metrics and GET /hgrm";

/// Marks the route of a HEAD request: its answer is the head alone (RFC 9110 section 9.3.2).
const BODILESS: u8 = 0x80;

pub(crate) struct Server {
    engine: UringEngine,
    shop: Shop,
}

/// All that events may touch.
struct Shop {
    behaviour: Behaviour,
    peers: Vec<Peer>,
    template: RequestTemplate,
    totals: Totals,
    all_counters: Vec<Arc<Counters>>,
    index: usize,
    answers: Answers,
    /// When this turn's bytes were there, in milliseconds since 1970; 0 unless events are validated.
    received_unix_ms: i64,
    /// Peers with something to send or to be closed, after the turn.
    dirty: Vec<ConnectionId>,
    /// None where every request is answered at once and well.
    pacer: Option<Pacer>,
    detail: Detail,
    all_details: Vec<Shown>,
    /// Something was not shown to the other threads.
    unshown: bool,
    /// When this turn's bytes were there.
    now: Nanos,
    /// Freezes to come.
    stalls: Vec<Stall>,
    /// When any thread saw the first request; 0 before that.
    first_request: Arc<AtomicU64>,
}

/// One connection.
struct Peer {
    reader: RequestReader,
    events: EventCounter,
    /// With `echo` or `validate`.
    kept: Option<KeptBody>,
    answered: u64,
    /// Usual answers owed, before anything staged.
    usual: usize,
    /// Other output owed.
    staged: Outbox,
    sending: bool,
    dirty: bool,
    /// Nothing more is read; closed once all is sent.
    last: bool,
    /// The connection was reset, or is cut off: nothing is sent any more.
    gone: bool,
    closing: bool,
    /// Answers whose time has not come.
    held: Held,
    /// Nothing more is read, and nothing more answered: until the other side gives up.
    silent: bool,
    /// To be closed by a reset.
    reset: bool,
    /// How often the slot was opened: what was promised in one life is not kept in another.
    life: u32,
}

impl Server {
    pub(crate) fn new(
        config: &SinkConfig,
        clock: Clock,
        listener: Socket,
        all_counters: Vec<Arc<Counters>>,
        all_details: Vec<Shown>,
        first_request: Arc<AtomicU64>,
        index: usize,
    ) -> io::Result<Self> {
        let behaviour = config.behaviour.clone();
        let usual = usual_answer(&behaviour, false);
        let mut recording = Recording::new();
        let mark = Mark { class: 0, events: 0 };
        let cuts = (1..=REPEATS).map(|count| Cut { end: count * usual.len(), places_end: 0, mark });
        recording.push_section(usual.repeat(REPEATS), cuts, []);
        let (_, mut reels) = recording.finish(1);
        let mut engine = UringEngine::new(EngineConfig {
            clock,
            connections: config.connections_per_thread,
            depth: 64,
            reel: reels.pop().expect("a reel for the one engine"),
            routes: Vec::new(),
            staging_bytes: STAGING_BYTES,
            // Answers that are due at a moment are not to wait for a sleeping CPU.
            spin: !behaviour.pace.is_prompt(),
            congestion: Congestion::Default,
            wire: false,
        })?;
        engine.listen(listener);
        let keep = behaviour.echo || behaviour.validate;
        let answers = Answers::new(&behaviour);
        let peers = (0..config.connections_per_thread).map(|_| Peer::new(keep)).collect();
        let paced = !behaviour.pace.is_prompt() || behaviour.record;
        let shop = Shop {
            pacer: paced.then(|| {
                Pacer::new(&behaviour.pace, behaviour.seed.wrapping_add(index as u64), behaviour.record)
            }),
            detail: Detail::new(),
            all_details,
            unshown: false,
            now: Nanos::ZERO,
            stalls: behaviour.stalls.clone(),
            first_request,
            behaviour,
            peers,
            template: RequestTemplate::default(),
            totals: Totals::default(),
            all_counters,
            index,
            answers,
            received_unix_ms: 0,
            dirty: Vec::with_capacity(config.connections_per_thread as usize),
        };
        Ok(Self { engine, shop })
    }

    /// Waits for something to happen, counts it, answers it.
    pub(crate) fn turn(&mut self) {
        let now = self.engine.now();
        let mut until = now + WAIT_MAX;
        if let Some(pacer) = &self.shop.pacer {
            until = until.min(pacer.idle_until(now));
        }
        if !self.shop.stalls.is_empty() {
            until = until.min(self.shop.freeze(now));
        }
        let before = self.shop.totals.requests;
        let waits_from = self.engine.now();
        self.engine.turn(until, &mut self.shop);
        let now = self.engine.now();
        let late = now.saturating_sub(until.max(waits_from));
        if late > HELD_UP_MIN {
            self.shop.totals.held_up_ns += late.0;
        }
        self.shop.release_due(now);
        self.shop.note_turn(now, self.shop.totals.requests - before);
        self.shop.all_counters[self.shop.index].publish(&self.shop.totals);
        self.answer();
    }

    /// All requests that were recorded.
    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        self.shop.detail.show(&self.shop.all_details[self.shop.index]);
        self.shop.pacer.as_mut().map(Pacer::take_records).unwrap_or_default()
    }

    /// Sends what is owed and closes what is over.
    fn answer(&mut self) {
        while let Some(id) = self.shop.dirty.pop() {
            let peer = &mut self.shop.peers[id as usize];
            peer.dirty = false;
            if peer.closing || peer.sending && !peer.gone {
                continue;
            }
            if peer.gone {
                self.close(id);
            } else if peer.usual > JOINED_MAX || peer.usual > 0 && peer.staged.is_empty() {
                let count = peer.usual.min(REPEATS);
                peer.usual -= count;
                peer.sending = true;
                self.engine.send(id, Outgoing::Tape(0..count));
            } else if !peer.staged.is_empty() {
                let len = peer.fill(self.engine.stage(id), self.shop.answers.usual(false));
                peer.sending = true;
                self.engine.send(id, Outgoing::Staged(len));
            } else if peer.last && peer.held.is_empty() {
                self.close(id);
            }
        }
    }

    fn close(&mut self, id: ConnectionId) {
        let peer = &mut self.shop.peers[id as usize];
        peer.closing = true;
        self.shop.totals.discarded += peer.held.clear();
        if peer.reset
            && let Some(socket) = self.engine.socket(id)
        {
            // Without it the close would be an orderly one.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.engine.close(id);
    }
}

impl OnEvent for Shop {
    fn reaped(&mut self, now: Nanos) {
        self.now = now;
        if self.behaviour.validate {
            self.received_unix_ms = validate::unix_ms_now();
        }
    }

    #[inline]
    fn event(&mut self, id: ConnectionId, event: Event<'_>) {
        let peer = &mut self.peers[id as usize];
        match event {
            Event::Received(bytes) if !peer.last && !peer.silent => self.received(id, bytes),
            Event::Received(_) => {}
            Event::Sent => {
                peer.sending = false;
                if peer.usual > 0 || !peer.staged.is_empty() || peer.last {
                    self.mark(id);
                }
            }
            Event::Connected => {
                self.totals.connections += 1;
                self.totals.discarded += peer.held.clear();
                peer.open();
            }
            Event::Ended(cause) => {
                // The peer is gone, or half-closed: what it asked before is still answered in the latter case.
                peer.last = true;
                peer.gone |= cause == EndCause::Reset;
                self.mark(id);
            }
            Event::ConnectFailed(_) | Event::Released => {}
        }
    }
}

impl Shop {
    #[inline]
    fn mark(&mut self, id: ConnectionId) {
        let peer = &mut self.peers[id as usize];
        if !peer.dirty {
            peer.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Answers what has been held back until now; after a stall not all of it in one turn, since the last of a long turn's answers
    /// leaves well after the clock was read for it.
    fn release_due(&mut self, now: Nanos) {
        for _ in 0..RELEASED_MAX {
            let Some((id, life)) = self.pacer.as_mut().and_then(|pacer| pacer.next_due(now)) else { break };
            let peer = &mut self.peers[id as usize];
            if peer.life != life || peer.closing || peer.gone {
                continue;
            }
            while let Some(entry) = peer.held.release(now, peer.staged.end()) {
                match entry.end {
                    End::Answer => self.totals.ok += 1,
                    End::Error => self.totals.errors += 1,
                    End::Overload => self.totals.overloads += 1,
                    End::Fault(fault) => {
                        self.totals.faults[fault as usize] += 1;
                        if fault == Fault::Reset {
                            (peer.reset, peer.gone) = (true, true);
                        }
                    }
                }
                // What the clock showed a moment before the answer is handed over.
                self.detail.times.saturating_record((now - entry.arrival).0);
                if let Some(pacer) = &mut self.pacer {
                    pacer.record(&entry, now);
                }
            }
            self.mark(id);
        }
    }

    /// Counts what a turn has answered at once, and shows details to the other threads when there is time.
    fn note_turn(&mut self, now: Nanos, requests: u64) {
        if requests > 0 {
            self.unshown = true;
            match &self.pacer {
                None => self.detail.times.saturating_record_n((now - self.now).0, requests),
                Some(pacer) => {
                    self.totals.leaked_bytes = pacer.leaked_bytes();
                    self.totals.retries = pacer.retries();
                }
            }
        } else if self.unshown
            && self.pacer.as_ref().is_none_or(|pacer| pacer.idle_until(now) > now + WAIT_MAX)
        {
            self.unshown = false;
            self.detail.show(&self.all_details[self.index]);
        }
    }

    /// Freezes if it is time to; returns when it will be, or wants to be asked again.
    fn freeze(&mut self, now: Nanos) -> Nanos {
        if self.totals.requests > 0 {
            let _ = self.first_request.compare_exchange(0, now.0, Ordering::Relaxed, Ordering::Relaxed);
        }
        let first = Nanos(self.first_request.load(Ordering::Relaxed));
        if first == Nanos::ZERO {
            return Nanos::MAX;
        }
        let mut next = Nanos::MAX;
        let mut frozen = Nanos::ZERO;
        self.stalls.retain(|stall| {
            let is_due = now >= first + stall.at;
            if is_due {
                frozen += stall.length;
            } else {
                next = next.min(first + stall.at);
            }
            !is_due
        });
        if frozen > Nanos::ZERO {
            let began = Instant::now();
            std::thread::sleep(Duration::from_nanos(frozen.0));
            self.totals.stall_ns += began.elapsed().as_nanos() as u64;
        }
        next
    }

    #[inline]
    fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Peer { reader, events, kept, answered, usual, staged, last, gone, held, silent, life, .. } =
            &mut self.peers[id as usize];
        let mut serving = Serving {
            behaviour: &self.behaviour,
            totals: &mut self.totals,
            all_counters: &self.all_counters,
            index: self.index,
            answers: &mut self.answers,
            received_unix_ms: self.received_unix_ms,
            events,
            kept: kept.as_mut(),
            answered,
            usual,
            staged,
            last,
            id,
            life: *life,
            now: self.now,
            pacer: self.pacer.as_mut(),
            held,
            silent,
            detail: &mut self.detail,
            all_details: &self.all_details,
        };
        if let Err(malformed) = reader.receive(&mut self.template, bytes, &mut serving) {
            serving.totals.malformed += 1;
            let body = format!("{{\"error\":\"{malformed}\"}}");
            serving.stage(400, &body, true);
        }
        if staged.len() + held.len() > OWED_BYTES_MAX {
            self.totals.connections_cut += 1;
            staged.clear();
            (*last, *gone) = (true, true);
        }
        self.mark(id);
    }
}

/// What a peer's requests may touch while they are read.
struct Serving<'a> {
    behaviour: &'a Behaviour,
    totals: &'a mut Totals,
    all_counters: &'a [Arc<Counters>],
    index: usize,
    answers: &'a mut Answers,
    received_unix_ms: i64,
    events: &'a mut EventCounter,
    kept: Option<&'a mut KeptBody>,
    answered: &'a mut u64,
    usual: &'a mut usize,
    staged: &'a mut Outbox,
    last: &'a mut bool,
    id: ConnectionId,
    life: u32,
    now: Nanos,
    pacer: Option<&'a mut Pacer>,
    held: &'a mut Held,
    silent: &'a mut bool,
    detail: &'a mut Detail,
    all_details: &'a [Shown],
}

impl OnRequest for Serving<'_> {
    fn route(&mut self, method: &str, path: &str) -> u8 {
        let bodiless = if method == "HEAD" { BODILESS } else { 0 };
        Route::of(self.behaviour.profile, method, path) as u8 | bodiless
    }

    #[inline]
    fn body(&mut self, route: u8, bytes: &[u8]) {
        if route == Route::Events as u8 {
            self.events.read(bytes);
            if let Some(kept) = &mut self.kept {
                kept.read(bytes);
            }
        }
    }

    #[inline]
    fn finished(&mut self, request: Request) -> ControlFlow<()> {
        *self.answered += 1;
        let last = !request.keep_alive || self.behaviour.close_after == Some(*self.answered);
        let is_bodiless = request.route & BODILESS != 0;
        let route = Route::from_index(request.route & !BODILESS);
        if matches!(route, Route::Metrics | Route::Hgrm | Route::Health) {
            self.tell(route, is_bodiless, last);
        } else {
            self.totals.requests += 1;
            self.totals.request_bytes += request.bytes;
            let answer_at = self.staged.end().len();
            let end = self.pacer.as_mut().map_or(End::Answer, |pacer| pacer.fate(self.now));
            if end == End::Answer {
                self.serve(route, is_bodiless, last);
                if is_bodiless {
                    self.cut_body(answer_at);
                }
            } else {
                self.refuse(route, end, last);
            }
            match &mut self.pacer {
                None => self.totals.ok += 1,
                Some(_) => self.hold(answer_at, end),
            }
        }
        if last || *self.last || *self.silent { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Serving<'_> {
    /// Answers about the sink itself, at once.
    fn tell(&mut self, route: Route, is_bodiless: bool, last: bool) {
        let answer_at = self.staged.end().len();
        if route == Route::Health {
            self.stage(200, "{\"status\":\"ok\"}", last);
        } else {
            if let Some(pacer) = &self.pacer {
                self.totals.queue = pacer.waiting(self.now);
            }
            self.all_counters[self.index].publish(self.totals);
            self.detail.show(&self.all_details[self.index]);
            let detail = Detail::of(self.all_details);
            let text = match route {
                Route::Hgrm => detail.hgrm(),
                _ => [
                    Totals::of(self.all_counters).prometheus(self.behaviour.validate),
                    detail.prometheus(),
                    process::prometheus(),
                ]
                .concat(),
            };
            self.staged.end().extend_from_slice(&answer(200, "text/plain; version=0.0.4", &text, last));
            *self.last |= last;
        }
        if is_bodiless {
            self.cut_body(answer_at);
        }
    }

    #[inline]
    fn serve(&mut self, route: Route, is_bodiless: bool, last: bool) {
        match route {
            Route::Any if is_bodiless => self.stage_usual(last),
            Route::Any => self.usual(last),
            Route::Events => {
                let count = self.count_events();
                match self.kept.take() {
                    None => self.take_events(count, last),
                    Some(kept) => {
                        self.take_kept_events(count, kept, last);
                        kept.clear();
                        self.kept = Some(kept);
                    }
                }
            }
            Route::WrongMethod => self.reject(405, ROUTES, last),
            Route::NotFound | Route::Health | Route::Metrics | Route::Hgrm => self.reject(404, ROUTES, last),
        }
    }

    /// The events of the request that has come to its end.
    #[inline]
    fn count_events(&mut self) -> Option<u64> {
        let count = self.events.finish();
        self.detail.by_events[count.map_or(0, |count| EVENTS_MAX.min(count as usize))] += 1;
        count
    }

    /// Takes no events, and stages what comes instead of the answer, if anything does.
    fn refuse(&mut self, route: Route, end: End, last: bool) {
        if route == Route::Events {
            self.count_events();
            if let Some(kept) = &mut self.kept {
                kept.clear();
            }
        }
        match end {
            End::Answer => {}
            End::Error => self.stage(500, "{\"error\":\"as asked for\"}", last),
            End::Overload => {
                let text = answer(429, "application/json", "{\"retryAfter\":1}", last);
                let head_end = text.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
                let out = self.staged.end();
                out.extend_from_slice(&text[..head_end]);
                out.extend_from_slice(b"Retry-After: 1\r\n");
                out.extend_from_slice(&text[head_end..]);
                *self.last |= last;
            }
            End::Fault(Fault::Truncate) => {
                let whole = self.answers.usual(true);
                self.staged.end().extend_from_slice(&whole[..whole.len() / 2]);
            }
            End::Fault(Fault::Malformed) => self.staged.end().extend_from_slice(b"HTP/1.1 what?\r\n\r\n"),
            End::Fault(Fault::Reset | Fault::Close | Fault::Silent) => {}
        }
    }

    /// Holds back what was staged from there on until it is due.
    fn hold(&mut self, answer_at: usize, end: End) {
        let Some(pacer) = &mut self.pacer else { return };
        let entry: Entry = pacer.entry(self.now, end);
        if end == End::Fault(Fault::Silent) {
            self.totals.faults[Fault::Silent as usize] += 1;
            *self.silent = true;
            return;
        }
        *self.last |= matches!(end, End::Fault(_));
        let due = self.held.push(entry, &self.staged.end()[answer_at..]);
        self.staged.end().truncate(answer_at);
        pacer.promise(due, self.id, self.life);
    }

    #[inline]
    fn usual(&mut self, last: bool) {
        if self.pacer.is_none() && self.staged.is_empty() && !last {
            *self.usual += 1;
        } else {
            self.stage_usual(last);
        }
    }

    fn stage_usual(&mut self, last: bool) {
        self.staged.end().extend_from_slice(self.answers.usual(last));
        *self.last |= last;
    }

    /// Accepts so many events, if they are any.
    #[inline]
    fn take_events(&mut self, count: Option<u64>, last: bool) {
        let Some(count) = count else {
            return self.reject(400, validate::NO_EVENTS, last);
        };
        self.totals.events += count;
        if count == 1 {
            self.usual(last);
        } else {
            self.answers.push_accepted(count, last, self.staged.end());
            *self.last |= last;
        }
    }

    /// The same for events that are to be looked at or named.
    fn take_kept_events(&mut self, count: Option<u64>, kept: &KeptBody, last: bool) {
        if self.behaviour.validate {
            let findings = validate::check(kept.whole(), self.received_unix_ms);
            self.totals.events_invalid += findings.invalid;
            let skew_ms_max = &mut self.totals.occurred_at_skew_ms_max;
            *skew_ms_max = (*skew_ms_max).max(findings.skew_ms_max);
            self.totals.occurred_at_far += findings.far;
            if let Some(problem) = findings.first_problem {
                return self.reject(400, &problem, last);
            }
            debug_assert_eq!(count, Some(findings.valid), "the counter and the parser agree");
        }
        match count {
            Some(count) if self.behaviour.echo => {
                self.totals.events += count;
                let ids = kept.ids();
                let body = format!("{{\"message\":\"accepted\",\"count\":{count},\"eventIds\":{ids}}}");
                self.stage(self.behaviour.status.unwrap_or(202), &body, last);
            }
            count => self.take_events(count, last),
        }
    }

    /// Leaves of the answer staged from there on only its head.
    fn cut_body(&mut self, answer_at: usize) {
        let staged = self.staged.end();
        let answer = &staged[answer_at..];
        let head =
            answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        staged.truncate(answer_at + head);
    }

    fn reject(&mut self, status: u16, error: &str, last: bool) {
        self.totals.rejected += 1;
        self.stage(status, &serde_json::json!({ "error": error }).to_string(), last);
    }

    fn stage(&mut self, status: u16, body: &str, last: bool) {
        self.staged.end().extend_from_slice(&answer(status, "application/json", body, last));
        *self.last |= last;
    }
}

impl Peer {
    fn new(keep: bool) -> Self {
        Self {
            reader: RequestReader::new(),
            events: EventCounter::default(),
            kept: keep.then(KeptBody::default),
            answered: 0,
            usual: 0,
            staged: Outbox::default(),
            sending: false,
            dirty: false,
            last: false,
            gone: false,
            closing: false,
            held: Held::default(),
            silent: false,
            reset: false,
            life: 0,
        }
    }

    fn open(&mut self) {
        self.reader.reset();
        self.events.finish();
        if let Some(kept) = &mut self.kept {
            kept.clear();
        }
        self.answered = 0;
        self.usual = 0;
        self.staged.clear();
        self.sending = false;
        self.last = false;
        self.gone = false;
        self.closing = false;
        self.silent = false;
        self.reset = false;
        self.life = self.life.wrapping_add(1);
    }

    /// Moves what is owed to the front of `room`, and says how many bytes that was: usual answers first, then what is staged.
    fn fill(&mut self, room: &mut [u8], usual: &[u8]) -> usize {
        let joined = self.usual * usual.len();
        debug_assert!(joined <= room.len() / 2, "no more than JOINED_MAX");
        for place in room[..joined].chunks_exact_mut(usual.len()) {
            place.copy_from_slice(usual);
        }
        self.usual = 0;
        joined + self.staged.take(&mut room[joined..])
    }
}
