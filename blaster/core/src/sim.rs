//! The simulator: a virtual clock, a seeded network and model servers, as an [`Engine`].
//!
//! Time jumps from one happening to the next, so minutes pass in milliseconds, and a seed repeats every cut,
//! delay and failure. The engine holds the worker to the rules of the trait: it panics when a slot is used out
//! of turn, when what is sent are not whole requests in the order of the tape, when their numbers are not new ones, or when bytes
//! are written to that a send still covers.
//!
//! ```text
//! Worker ── send ──► pieces, delayed ──► Peer (RequestReader) ─► Behaviour ─┐
//!    ▲                                                                     │
//!    └── event ◄── agenda, in the order of time ◄── pieces, delayed ◄──────┘
//! ```

pub mod fuzz;
mod random;
pub mod scenario;
mod server;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_random;

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use payloads_fresh::{Kind, TimeFormat};
pub use random::{Random, Span};
pub use server::{Answer, Behaviour, CloseAfter, Whim};
use server::{Peer, Server, Write};

use crate::load::engine::{
    ConnectFailure, ConnectionId, EndCause, Engine, Event, Lent, OnEvent, Outgoing, WireTimes,
};
use crate::load::tape::Reel;
use crate::time::Nanos;

/// A network of model servers in virtual time.
pub struct SimEngine {
    reel: Reel,
    clock: Nanos,
    /// What the worker was told when it last asked for the time.
    told: Nanos,
    random: Random,
    costs: Costs,
    slots: Vec<Slot>,
    servers: Vec<Server>,
    agenda: BinaryHeap<Reverse<Happening>>,
    /// What has happened and was not handed over yet.
    due: VecDeque<Happening>,
    /// Happenings so far; what happens at the same time happens in the order of their numbers.
    numbers: u64,
    /// The request that must be sent next, a section of the tape.
    expected: Vec<usize>,
    /// The number last sent, a section of the tape.
    numbered: Vec<u64>,
    counts: Counts,
    /// When each attempt to connect began, as far as the worker knew, and to which address.
    connects: Vec<(Nanos, usize)>,
    /// Lent while a server writes.
    writes: Vec<(Nanos, Write)>,
}

/// What the client's own work costs, in virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// The enter call.
    pub turn: Nanos,
    /// Each send.
    pub send: Nanos,
    /// Chance, per mille, that what has happened is handed over in more than one turn.
    pub partial: u32,
}

/// What the engine saw, to hold the worker's records against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts to connect.
    pub connects: u64,
    /// Those that succeeded.
    pub connected: u64,
    /// Those that were told to fail.
    pub failed: u64,
    /// Sends.
    pub sends: u64,
    /// Bytes of these.
    pub bytes_sent: u64,
    /// Requests in these.
    pub requests_sent: u64,
    /// Sends of a copy, because another send still covered the requests on the tape.
    pub copies: u64,
    /// Bytes handed over.
    pub bytes_received: u64,
    /// Slots closed by the worker.
    pub closed: u64,
    /// Requests that servers received whole.
    pub received: u64,
    /// Answers that servers gave before they had the request.
    pub unearned: u64,
}

impl SimEngine {
    /// `slots` connections at most, to servers whose addresses are the indices of `behaviours`.
    pub fn new(reel: Reel, slots: u32, behaviours: Vec<Behaviour>, costs: Costs, seed: u64) -> Self {
        let sections = behaviours.iter().map(|behaviour| behaviour.section + 1).max().unwrap_or(0);
        Self {
            expected: vec![usize::MAX; sections],
            numbered: vec![0; sections],
            reel,
            // No run begins at the epoch: what confuses an instant with a span shows.
            clock: Nanos::from_millis(3),
            told: Nanos::ZERO,
            random: Random::new(seed),
            costs,
            slots: (0..slots).map(|_| Slot::default()).collect(),
            servers: behaviours.into_iter().map(Server::new).collect(),
            agenda: BinaryHeap::new(),
            due: VecDeque::new(),
            numbers: 0,
            counts: Counts::default(),
            connects: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// What the engine and its servers saw so far.
    pub fn counts(&self) -> Counts {
        let sum = |of: fn(&Server) -> u64| self.servers.iter().map(of).sum();
        Counts {
            received: sum(|server| server.received),
            unearned: sum(|server| server.unearned),
            ..self.counts
        }
    }

    /// When each attempt to connect began, and to which address; in their order.
    pub fn connects(&self) -> &[(Nanos, usize)] {
        &self.connects
    }

    /// Changes how the server at `address` behaves from now on.
    pub fn behaviour(&mut self, address: usize) -> &mut Behaviour {
        &mut self.servers[address].behaviour
    }

    fn schedule(&mut self, at: Nanos, id: ConnectionId, what: What) {
        self.numbers += 1;
        let life = self.slots[id as usize].life;
        self.agenda.push(Reverse(Happening { at, number: self.numbers, id, life, what }));
    }

    /// Cuts `bytes` written at `at` into pieces, and lets each arrive after a delay of its own.
    fn transmit(
        &mut self,
        at: Nanos,
        id: ConnectionId,
        bytes: &[u8],
        arrival: fn(&mut Slot) -> &mut Nanos,
        what: fn(Vec<u8>) -> What,
    ) {
        let behaviour = &self.servers[self.slots[id as usize].address].behaviour;
        let (delay, piece_bytes_max) = (behaviour.delay, behaviour.piece_bytes_max);
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = piece_bytes_max.map_or(rest.len(), |max| self.random.between(1, max) as usize);
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            let arrives = (at + self.random.time(delay)).max(*arrival(&mut self.slots[id as usize]));
            *arrival(&mut self.slots[id as usize]) = arrives;
            self.schedule(arrives, id, what(piece.to_vec()));
        }
    }

    /// Asserts that these requests are the next in their section.
    fn count_requests(&mut self, section: usize, run: Range<usize>) {
        let requests = self.reel.tape().section(section).requests.clone();
        assert!(!run.is_empty(), "a send must carry a request");
        let expected = &mut self.expected[section];
        if *expected == usize::MAX {
            // The first send says where the worker begins.
            *expected = run.start;
        }
        for request in run {
            assert!(requests.contains(&request), "requests must be those of the target's section");
            assert_eq!(request, *expected, "requests must be sent in the order of the tape");
            *expected = if request + 1 == requests.end { requests.start } else { request + 1 };
            self.counts.requests_sent += 1;
        }
    }

    /// Asserts that every number in these bytes of a run is new, and repeated where it is to be.
    fn check_fresh(&mut self, section: usize, run: Range<usize>, bytes: &[u8]) {
        let tape = self.reel.tape();
        if !tape.section(section).is_fresh {
            return;
        }
        let base = tape.span(run.clone()).start;
        for place in tape.places(run) {
            let at = place.at as usize - base;
            let text = str::from_utf8(&bytes[at..at + place.kind.width()]).expect("numbers are text");
            let number: u64 = text.parse().expect("a fresh field is written before it is sent");
            let last = &mut self.numbered[section];
            match place.kind {
                Kind::Now(TimeFormat::UnixUs) => {
                    assert_eq!(
                        number,
                        (UNIX_NS_AT_ZERO + self.told.0) / 1_000,
                        "the time is that of the send"
                    );
                    continue;
                }
                Kind::Seq => assert!(number > *last, "a number is sent twice"),
                _ => assert_eq!(number, *last, "what is repeated is the number before it"),
            }
            *last = number;
        }
    }

    /// A send is over, by its completion or because its connection is closed: what it covered must be as it was.
    fn finish_send(&mut self, id: ConnectionId) {
        let Some(sending) = self.slots[id as usize].sending.take() else { return };
        match sending.what {
            Outgoing::Tape(run) => {
                assert_eq!(
                    self.reel.bytes(run.clone()),
                    sending.bytes,
                    "bytes are written to while they are sent"
                );
                self.reel.uncover(run);
            }
            Outgoing::Staged(length) => {
                let staged = &self.slots[id as usize].staged[..length];
                assert_eq!(staged, sending.bytes, "bytes are written to while they are sent");
            }
        }
    }

    /// Runs the servers, and collects what has happened to the client, up to the clock.
    fn catch_up(&mut self) {
        while self.agenda.peek().is_some_and(|Reverse(next)| next.at <= self.clock) {
            let Some(Reverse(happening)) = self.agenda.pop() else { return };
            if happening.life != self.slots[happening.id as usize].life {
                continue;
            }
            match happening.what {
                What::Arrived(_) | What::Whim(_) => self.serve(happening),
                _ => self.due.push_back(happening),
            }
        }
    }

    fn serve(&mut self, happening: Happening) {
        let Happening { at, id, .. } = happening;
        let slot = &mut self.slots[id as usize];
        let server = &mut self.servers[slot.address];
        if let Some(stall) = &server.behaviour.stall
            && stall.contains(&at)
        {
            let end = stall.end;
            return self.schedule(end, id, happening.what);
        }
        let mut writes = std::mem::take(&mut self.writes);
        match happening.what {
            What::Arrived(bytes) => slot.peer.receive(at, &bytes, server, &mut self.random, &mut writes),
            What::Whim(whim) => slot.peer.indulge(at, whim, server, &mut writes),
            _ => unreachable!("only what arrives at a server is served"),
        }
        for (at, write) in writes.drain(..) {
            match write {
                Write::Bytes(bytes) => {
                    self.transmit(at, id, &bytes, |slot| &mut slot.arrival_here, What::Received)
                }
                Write::End(cause) => {
                    let slot = &self.slots[id as usize];
                    let delay = self.servers[slot.address].behaviour.delay;
                    let at = (at + self.random.time(delay)).max(slot.arrival_here);
                    self.schedule(at, id, What::Ended(cause));
                }
            }
        }
        self.writes = writes;
    }

    /// Joins what happened to the same slot one after the other: one read may find it all.
    fn coalesce(&mut self, bytes: &mut Vec<u8>, id: ConnectionId, life: u64) {
        while let Some(Happening { what: What::Received(more), .. }) =
            self.due.front().filter(|next| next.id == id && next.life == life)
        {
            if self.random.chance(300) {
                return;
            }
            bytes.extend_from_slice(more);
            self.due.pop_front();
        }
    }

    fn hand_over(&mut self, happening: Happening, on: &mut impl OnEvent) {
        let Happening { at, id, life, what, .. } = happening;
        let slot = &mut self.slots[id as usize];
        if life != slot.life || slot.state == State::Ended && !matches!(what, What::Sent | What::Released) {
            return;
        }
        match what {
            What::Connected => {
                slot.state = State::Open;
                self.counts.connected += 1;
                on.event(id, Event::Connected);
            }
            What::ConnectFailed(failure) => {
                slot.state = State::Ended;
                self.counts.failed += 1;
                on.event(id, Event::ConnectFailed(failure));
            }
            What::Sent => {
                self.finish_send(id);
                on.event(id, Event::Sent);
            }
            What::Received(mut bytes) => {
                self.coalesce(&mut bytes, id, life);
                self.counts.bytes_received += bytes.len() as u64;
                if let Timed::Left(left) = self.slots[id as usize].timed {
                    self.slots[id as usize].timed = Timed::No;
                    on.wire(id, WireTimes { left, arrived: at });
                }
                on.event(id, Event::Received(&bytes));
            }
            What::Ended(cause) => {
                slot.state = State::Ended;
                on.event(id, Event::Ended(cause));
            }
            What::Released => {
                slot.state = State::Vacant;
                self.finish_send(id);
                on.event(id, Event::Released);
            }
            What::Arrived(_) | What::Whim(_) => unreachable!("servers were served before"),
        }
    }
}

impl Engine for SimEngine {
    fn now(&mut self) -> Nanos {
        // Reading the clock takes time too.
        self.clock += Nanos(20);
        self.told = self.clock;
        self.clock
    }

    fn connect(&mut self, id: ConnectionId, address: usize) {
        let slot = &mut self.slots[id as usize];
        assert_eq!(slot.state, State::Vacant, "slot {id} is connected while it is taken");
        *slot = Slot { state: State::Connecting, address, life: slot.life + 1, ..Slot::default() };
        self.counts.connects += 1;
        self.connects.push((self.told, address));
        let behaviour = &self.servers[address].behaviour;
        let at = self.clock + self.random.time(behaviour.delay) + self.random.time(behaviour.delay);
        if self.random.chance(behaviour.refuse) {
            let failure = self.random.pick(&ConnectFailure::ALL);
            self.schedule(at, id, What::ConnectFailed(failure));
        } else if !self.random.chance(behaviour.ignore) {
            if self.random.chance(behaviour.whim) {
                let whim = self.random.pick(&behaviour.whims);
                let when = at + self.random.time(behaviour.whim_after);
                self.schedule(when, id, What::Whim(whim));
            }
            self.slots[id as usize].arrival_here = at;
            self.schedule(at, id, What::Connected);
        }
    }

    fn send(&mut self, id: ConnectionId, what: Outgoing) {
        self.clock += self.costs.send;
        let slot = &mut self.slots[id as usize];
        assert_eq!(slot.state, State::Open, "slot {id} is sent on while it is not open");
        assert!(slot.sending.is_none(), "slot {id} is sent on while a send is under way");
        let section = self.servers[slot.address].behaviour.section;
        let (run, bytes) = match &what {
            Outgoing::Tape(run) => (run.clone(), self.reel.bytes(run.clone()).to_vec()),
            Outgoing::Staged(length) => {
                let run = slot.copied.clone();
                assert_eq!(self.reel.tape().span(run.clone()).len(), *length, "requests must be sent whole");
                (run, slot.staged[..*length].to_vec())
            }
        };
        self.count_requests(section, run.clone());
        self.check_fresh(section, run.clone(), &bytes);
        if let Outgoing::Tape(run) = &what {
            self.reel.cover(run.clone());
        }
        self.counts.copies += u64::from(matches!(what, Outgoing::Staged(_)));
        self.slots[id as usize].sending = Some(Sending { what, bytes: bytes.clone() });
        self.counts.sends += 1;
        self.counts.bytes_sent += bytes.len() as u64;
        let behaviour = &self.servers[self.slots[id as usize].address].behaviour;
        let (full_socket, full_for) = (behaviour.full_socket, behaviour.full_for);
        let (mut at, mut rest) = (self.clock, &bytes[..]);
        while rest.len() > 1 && self.random.chance(full_socket) {
            let (taken, behind) = rest.split_at(self.random.between(1, rest.len() as u64 - 1) as usize);
            self.transmit(at, id, taken, |slot| &mut slot.arrival_there, What::Arrived);
            rest = behind;
            at += self.random.time(full_for);
        }
        self.transmit(at, id, rest, |slot| &mut slot.arrival_there, What::Arrived);
        self.schedule(at, id, What::Sent);
        let timed = &mut self.slots[id as usize].timed;
        if *timed == Timed::Asked {
            *timed = Timed::Left(at);
        }
    }

    fn time_next(&mut self, id: ConnectionId) -> bool {
        let timed = &mut self.slots[id as usize].timed;
        *timed = match *timed {
            Timed::No => Timed::Prepared,
            Timed::Prepared => Timed::Asked,
            other => other,
        };
        *timed == Timed::Asked
    }

    fn lend(&mut self, id: ConnectionId, run: Range<usize>) -> Lent<'_> {
        let room_bytes = self.reel.tape().fresh_request_bytes_max();
        let slot = &mut self.slots[id as usize];
        assert!(slot.sending.is_none(), "slot {id} is written to while a send is under way");
        slot.staged.resize(room_bytes, 0);
        let first = run.start;
        let lent = self.reel.lend(run, &mut slot.staged);
        slot.copied = first..first + lent.requests;
        lent
    }

    fn stage(&mut self, id: ConnectionId) -> &mut [u8] {
        let slot = &mut self.slots[id as usize];
        assert!(slot.sending.is_none(), "slot {id} is written to while a send is under way");
        slot.staged.resize(STAGED_BYTES, 0);
        &mut slot.staged
    }

    fn close(&mut self, id: ConnectionId) {
        let slot = &mut self.slots[id as usize];
        assert!(
            !matches!(slot.state, State::Vacant | State::Closing),
            "slot {id} is closed though it is not connected"
        );
        slot.state = State::Closing;
        // What is still under way belongs to a life that is over.
        slot.life += 1;
        self.counts.closed += 1;
        let at = self.clock + self.random.time(RELEASE_AFTER);
        self.schedule(at, id, What::Released);
    }

    fn turn(&mut self, until: Nanos, on: &mut impl OnEvent) {
        self.clock += self.costs.turn;
        on.submitted(self.clock);
        self.catch_up();
        while self.due.is_empty() && self.clock < until {
            let next = self.agenda.peek().map_or(until, |Reverse(next)| next.at.min(until));
            self.clock = self.clock.max(next);
            self.catch_up();
        }
        on.reaped(self.clock);
        while let Some(happening) = self.due.pop_front() {
            self.hand_over(happening, on);
            if self.random.chance(self.costs.partial) {
                return;
            }
        }
    }
}

/// What the wall clock shows when the simulation's clock is at zero.
pub(crate) const UNIX_NS_AT_ZERO: u64 = 1_767_225_600_123_456_789;

/// Room for bytes that lie on no tape.
const STAGED_BYTES: usize = 16 * 1024;

/// From the close of a slot until it is free.
const RELEASE_AFTER: Span = Span::micros(0, 30);

/// How far a slot's next request is on its way to be timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Timed {
    #[default]
    No,
    /// The next send may be.
    Prepared,
    /// The next send is.
    Asked,
    /// What was sent left then.
    Left(Nanos),
}

#[derive(Debug)]
struct Slot {
    state: State,
    address: usize,
    /// Grows with every connect and close; what belongs to an earlier life does not happen any more.
    life: u64,
    sending: Option<Sending>,
    timed: Timed,
    peer: Peer,
    /// When the last piece arrives at the server, and at the client: pieces do not overtake each other.
    arrival_there: Nanos,
    arrival_here: Nanos,
    staged: Vec<u8>,
    /// Of which requests there is a copy in `staged`.
    copied: Range<usize>,
}

/// A send under way, with the bytes that the client handed over.
#[derive(Debug)]
struct Sending {
    what: Outgoing,
    bytes: Vec<u8>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            state: State::Vacant,
            address: 0,
            life: 0,
            sending: None,
            timed: Timed::No,
            peer: Peer::new(),
            arrival_there: Nanos::ZERO,
            arrival_here: Nanos::ZERO,
            staged: Vec::new(),
            copied: 0..0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Vacant,
    Connecting,
    Open,
    /// The worker was told that it failed or ended, and must close it.
    Ended,
    Closing,
}

#[derive(Debug)]
struct Happening {
    at: Nanos,
    number: u64,
    id: ConnectionId,
    life: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    // To the client.
    Connected,
    ConnectFailed(ConnectFailure),
    Sent,
    Received(Vec<u8>),
    Ended(EndCause),
    Released,
    // To a server.
    Arrived(Vec<u8>),
    Whim(Whim),
}

impl Ord for Happening {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Happening {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Happening {}
