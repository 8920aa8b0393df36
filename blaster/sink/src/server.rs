//! One thread of the sink: accepts, frames requests, counts them, answers.
//!
//! Answers that all look alike lie repeated on the engine's tape, so that answering a pipelined batch is one send of one
//! slice. Any other answer is staged, and from then on, until it is out, all later ones of that connection too: order holds.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use blaster_core::load::engine::{ConnectionId, EndCause, Engine, Event, OnEvent, Outgoing};
use blaster_core::load::http1::{OnRequest, Request, RequestReader, RequestTemplate};
use blaster_core::load::tape::{Cut, Mark, Recording};
use blaster_core::time::Nanos;
use blaster_ring::{Clock, EngineConfig, UringEngine};
use socket2::Socket;

use crate::SinkConfig;
use crate::counters::{Counters, Totals};
use crate::events::EventCounter;
use crate::profile::{Behaviour, Profile, Route, answer};

/// The longest a turn waits before it looks whether it shall stop.
const WAIT_MAX: Nanos = Nanos(20_000_000);

/// How often the usual answer is repeated on the tape: the most answers of one send.
const REPEATS: usize = 256;

/// Staging room of a connection; longer output goes out in pieces.
const STAGING_BYTES: usize = 16 * 1024;

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
    /// Peers with something to send or to be closed, after the turn.
    dirty: Vec<ConnectionId>,
}

/// One connection.
struct Peer {
    reader: RequestReader,
    events: EventCounter,
    answered: u64,
    /// Usual answers owed, before anything staged.
    usual: usize,
    /// Other output owed.
    staged: Vec<u8>,
    sending: bool,
    dirty: bool,
    /// Nothing more is read; closed once all is sent.
    last: bool,
    /// The connection was reset: nothing can be sent any more.
    gone: bool,
    closing: bool,
}

impl Server {
    pub(crate) fn new(
        config: &SinkConfig,
        clock: Clock,
        listener: Socket,
        all_counters: Vec<Arc<Counters>>,
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
            addresses: Vec::new(),
            staging_bytes: STAGING_BYTES,
            spin: false,
        })?;
        engine.listen(listener);
        let keep = behaviour.echo;
        let peers = (0..config.connections_per_thread).map(|_| Peer::new(keep)).collect();
        let shop = Shop {
            behaviour,
            peers,
            template: RequestTemplate::default(),
            totals: Totals::default(),
            all_counters,
            index,
            dirty: Vec::with_capacity(config.connections_per_thread as usize),
        };
        Ok(Self { engine, shop })
    }

    /// Waits for something to happen, counts it, answers it.
    pub(crate) fn turn(&mut self) {
        let until = self.engine.now() + WAIT_MAX;
        self.engine.turn(until, &mut self.shop);
        self.shop.all_counters[self.shop.index].publish(&self.shop.totals);
        while let Some(id) = self.shop.dirty.pop() {
            let peer = &mut self.shop.peers[id as usize];
            peer.dirty = false;
            if peer.closing || peer.sending && !peer.gone {
                continue;
            }
            if peer.gone {
                peer.closing = true;
                self.engine.close(id);
            } else if peer.usual > 0 {
                let count = peer.usual.min(REPEATS);
                peer.usual -= count;
                peer.sending = true;
                self.engine.send(id, Outgoing::Tape(0..count));
            } else if !peer.staged.is_empty() {
                let len = peer.staged.len().min(STAGING_BYTES);
                self.engine.stage(id)[..len].copy_from_slice(&peer.staged[..len]);
                peer.staged.drain(..len);
                peer.sending = true;
                self.engine.send(id, Outgoing::Staged(len));
            } else if peer.last {
                peer.closing = true;
                self.engine.close(id);
            }
        }
    }
}

impl OnEvent for Shop {
    fn reaped(&mut self, _now: Nanos) {}

    #[inline]
    fn event(&mut self, id: ConnectionId, event: Event<'_>) {
        let peer = &mut self.peers[id as usize];
        match event {
            Event::Received(bytes) if !peer.last => self.received(id, bytes),
            Event::Received(_) => {}
            Event::Sent => {
                peer.sending = false;
                if peer.usual > 0 || !peer.staged.is_empty() || peer.last {
                    self.mark(id);
                }
            }
            Event::Connected => {
                self.totals.connections += 1;
                peer.open();
            }
            Event::Ended(cause) => {
                // The peer is gone, or half-closed: what it asked before is still answered in the latter case.
                peer.last = true;
                peer.gone = cause == EndCause::Reset;
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

    #[inline]
    fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Peer { reader, events, answered, usual, staged, last, .. } = &mut self.peers[id as usize];
        let mut serving = Serving {
            behaviour: &self.behaviour,
            totals: &mut self.totals,
            all_counters: &self.all_counters,
            index: self.index,
            events,
            answered,
            usual,
            staged,
            last,
        };
        if let Err(malformed) = reader.receive(&mut self.template, bytes, &mut serving) {
            serving.totals.malformed += 1;
            let body = format!("{{\"error\":\"{malformed}\"}}");
            serving.stage(400, &body, true);
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
    events: &'a mut EventCounter,
    answered: &'a mut u64,
    usual: &'a mut usize,
    staged: &'a mut Vec<u8>,
    last: &'a mut bool,
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
        }
    }

    #[inline]
    fn finished(&mut self, request: Request) -> ControlFlow<()> {
        *self.answered += 1;
        let last = !request.keep_alive || self.behaviour.close_after == Some(*self.answered);
        let bodiless = request.route & BODILESS != 0;
        let route = Route::from_index(request.route & !BODILESS);
        let answer_at = self.staged.len();
        if !matches!(route, Route::Metrics | Route::Health) {
            self.totals.requests += 1;
            self.totals.request_bytes += request.bytes;
        }
        match route {
            Route::Any if bodiless => self.stage_usual(last),
            Route::Any => self.usual(last),
            Route::Events => match self.events.finish() {
                Some(1) if !self.behaviour.echo => {
                    self.totals.events += 1;
                    self.usual(last);
                }
                Some(count) => {
                    self.totals.events += count;
                    let status = self.behaviour.status.unwrap_or(202);
                    let body = if self.behaviour.echo {
                        format!(
                            "{{\"message\":\"accepted\",\"count\":{count},\"eventIds\":{}}}",
                            self.events.take_ids()
                        )
                    } else {
                        accepted(count)
                    };
                    self.stage(status, &body, last);
                }
                None => self.reject(400, "want a JSON object or an array of them", last),
            },
            Route::Health => self.stage(200, "{\"status\":\"ok\"}", last),
            Route::Metrics => {
                self.all_counters[self.index].publish(self.totals);
                let text = Totals::of(self.all_counters).prometheus();
                self.staged.extend_from_slice(&answer(200, "text/plain; version=0.0.4", &text, last));
                *self.last |= last;
            }
            Route::NotFound => self.reject(404, "there are POST /events, GET /health and GET /metrics", last),
            Route::WrongMethod => {
                self.reject(405, "there are POST /events, GET /health and GET /metrics", last)
            }
        }
        if bodiless {
            self.cut_body(answer_at);
        }
        if last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Serving<'_> {
    #[inline]
    fn usual(&mut self, last: bool) {
        if self.staged.is_empty() && !last {
            *self.usual += 1;
        } else {
            self.stage_usual(last);
        }
    }

    fn stage_usual(&mut self, last: bool) {
        self.staged.extend_from_slice(&usual_answer(self.behaviour, last));
        *self.last |= last;
    }

    /// Leaves of the answer staged from there on only its head.
    fn cut_body(&mut self, answer_at: usize) {
        let answer = &self.staged[answer_at..];
        let head =
            answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
        self.staged.truncate(answer_at + head);
    }

    fn reject(&mut self, status: u16, error: &str, last: bool) {
        self.totals.rejected += 1;
        self.stage(status, &format!("{{\"error\":\"{error}\"}}"), last);
    }

    fn stage(&mut self, status: u16, body: &str, last: bool) {
        self.staged.extend_from_slice(&answer(status, "application/json", body, last));
        *self.last |= last;
    }
}

impl Peer {
    fn new(keep: bool) -> Self {
        Self {
            reader: RequestReader::new(),
            events: EventCounter::new(keep),
            answered: 0,
            usual: 0,
            staged: Vec::new(),
            sending: false,
            dirty: false,
            last: false,
            gone: false,
            closing: false,
        }
    }

    fn open(&mut self) {
        self.reader.reset();
        self.events.finish();
        self.answered = 0;
        self.usual = 0;
        self.staged.clear();
        self.sending = false;
        self.last = false;
        self.gone = false;
        self.closing = false;
    }
}

fn usual_answer(behaviour: &Behaviour, last: bool) -> Vec<u8> {
    match behaviour.profile {
        Profile::Null => answer(behaviour.status.unwrap_or(200), "", "", last),
        Profile::Control => {
            answer(behaviour.status.unwrap_or(200), "application/json", "{\"status\":\"ok\"}", last)
        }
        Profile::EventApi => answer(behaviour.status.unwrap_or(202), "application/json", &accepted(1), last),
    }
}

fn accepted(count: u64) -> String {
    format!("{{\"message\":\"accepted\",\"count\":{count}}}")
}
