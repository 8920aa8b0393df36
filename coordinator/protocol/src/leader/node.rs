//! What the leader knows of a node.

use blaster_core::time::Nanos;

use crate::clock::{ClockFilter, Offset};
use crate::message::{First, Ready, Status};
use crate::shares::{Part, Wish};
use crate::usage::Usage;

/// Of what a node measured that it can send, what it may be given: an open loop needs some rest.
const MEASURED_USABLE: f64 = 0.9;

/// What the leader knows of a node.
#[derive(Debug)]
pub struct Node {
    pub(super) name: String,
    pub(super) wish: Wish,
    pub(super) state: State,
    pub(super) linked: bool,
    pub(super) connect_at: Nanos,
    pub(super) heard: Nanos,
    /// The latest answer to a ping.
    pub(super) answered: Nanos,
    /// It has said that it sends no more.
    pub(super) stopped: bool,
    /// Of its requests.
    pub(super) told: Nanos,
    pub(super) clock: ClockFilter,
    pub(super) usage: Usage,
    pub(super) ping_at: Nanos,
    /// Pings to be sent as soon as the one before is answered.
    pub(super) burst: u32,
    pub(super) permit_at: Nanos,
    /// Around the start.
    pub(super) clock_at_start: Option<(Offset, i64)>,
    pub(super) status: Option<Status>,
    pub(super) ready: Option<Ready>,
    pub(super) weight: u32,
    /// Requests per second that it found it can send.
    pub(super) measured: Option<u64>,
    /// The next delta that is wanted.
    pub(super) next: u32,
    pub(super) heard_said: u32,
    pub(super) lost: Option<(Nanos, String)>,
    pub(super) ended: Option<End>,
    /// When the leader was done with it.
    pub(super) over: bool,
    /// When, by our clock, it stops unless it is permitted longer.
    pub(super) permit_ends: Nanos,
    /// How far from the common start its own may be.
    pub(super) start_bound: Nanos,
    /// What it is to send.
    pub(super) holds: Vec<Hold>,
    /// What it was told to take over, by number.
    pub(super) offers: Vec<Offer>,
    /// What was its to send until it was lost.
    pub(super) handed: Vec<Handed>,
}

/// A part of the run that a node is to send.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) part: Part,
    /// From that moment of the run on.
    pub(super) from: Nanos,
}

/// A part that a node was told to take over.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) part: Part,
    pub(super) from: Nanos,
    /// Whose it was, and where that stands in its [`Node::handed`].
    pub(super) of: (usize, usize),
    pub(super) answered: bool,
}

/// What became of a part that a lost node was to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handed {
    /// The share of the whole run that it is.
    pub share: f64,
    /// It was the lost node's from this moment of the run on.
    pub held_from: Nanos,
    /// Another's from then on; none if nobody's.
    pub until: Option<(usize, Nanos)>,
}

/// How a node's run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub(super) deltas: u32,
    /// Its first request, by its clock.
    pub first: First,
    /// Its own report, as its shell packs it; or why there is none.
    pub report: Result<Vec<u8>, String>,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not heard of yet.
    Connecting,
    /// It has said who it is.
    Known,
    /// It finds out what it can send.
    Measuring,
    /// It opens its connections.
    Preparing,
    /// They are open.
    Ready,
    /// It sends.
    Running,
    /// It has said how its run ended.
    Ended,
    /// It takes no part; why.
    Out(String),
}

impl State {
    /// Whether the next word is the node's.
    pub(super) fn has_to_answer(&self) -> bool {
        matches!(self, Self::Connecting | Self::Measuring | Self::Preparing)
    }
}

impl Node {
    pub(super) fn new(name: &str, wish: &Wish, now: Nanos) -> Self {
        Self {
            name: name.to_owned(),
            wish: wish.clone(),
            state: State::Connecting,
            linked: false,
            connect_at: Nanos::MAX,
            heard: now,
            answered: now,
            stopped: false,
            told: Nanos::ZERO,
            clock: ClockFilter::default(),
            usage: Usage::default(),
            ping_at: now,
            burst: 0,
            permit_at: now,
            clock_at_start: None,
            status: None,
            ready: None,
            weight: wish.weight,
            measured: None,
            next: 0,
            heard_said: 0,
            lost: None,
            ended: None,
            over: false,
            permit_ends: Nanos::ZERO,
            start_bound: Nanos::ZERO,
            holds: Vec::new(),
            offers: Vec::new(),
            handed: Vec::new(),
        }
    }

    /// As the hosts file has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How far it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When it was lost, by our clock, and why.
    pub fn lost(&self) -> Option<(Nanos, &str)> {
        self.lost.as_ref().map(|(at, why)| (*at, why.as_str()))
    }

    /// Its share, next to the others'.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The share of the run that it is to send now: others' as well that it took over, and none of what it left to them.
    pub fn share(&self) -> f64 {
        self.held()
    }

    /// Requests per second that it found it can send, if it was asked.
    pub fn measured(&self) -> Option<u64> {
        self.measured
    }

    /// Who it says it is.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// What it is about to do.
    pub fn ready(&self) -> Option<&Ready> {
        self.ready.as_ref()
    }

    /// Its clock now.
    pub fn offset(&self, now: Nanos) -> Option<Offset> {
        Some(self.clock.fit(now)?.0)
    }

    /// CPUs' worth of time its agent used lately, if it said so.
    pub fn cpus(&self) -> Option<f64> {
        self.usage.cpus()
    }

    /// Its clock around the start.
    pub fn offset_at_start(&self) -> Option<Offset> {
        Some(self.clock_at_start?.0)
    }

    /// Its drift against ours, in parts per billion, likewise.
    pub fn drift_at_start_ppb(&self) -> Option<i64> {
        Some(self.clock_at_start?.1)
    }

    /// How far from the common start its own may be.
    pub fn start_bound(&self) -> Nanos {
        self.start_bound
    }

    /// How its run ended.
    pub fn ended(&self) -> Option<&End> {
        self.ended.as_ref()
    }

    /// What became of what it was to send, if it was lost; the share of what is still its own is not here.
    pub fn handed(&self) -> &[Handed] {
        &self.handed
    }

    /// The shares it was to send when it was lost and that nobody was told to take over, each with the moment of the run it is of.
    pub fn unhanded(&self) -> impl Iterator<Item = (f64, Nanos)> {
        self.holds.iter().map(|hold| (hold.part.fraction(), hold.from))
    }

    /// When, by our clock, it has stopped at the latest, unless it is permitted longer by then.
    pub fn stops_by(&self) -> Nanos {
        self.permit_ends + self.start_bound
    }

    /// Whether it sends, as far as is known.
    pub(super) fn goes_on(&self) -> bool {
        self.state == State::Running && self.lost.is_none() && self.ended.is_none() && !self.over
    }

    /// The share of the run that it is to send.
    pub(super) fn held(&self) -> f64 {
        self.holds.iter().map(|hold| hold.part.fraction()).sum()
    }

    /// What it could send beside what it is to send of a run of `rate`.
    pub(super) fn room(&self, rate: f64) -> Wish {
        let held = self.held();
        let measured = self.measured.map(|measured| measured as f64 * MEASURED_USABLE);
        let most = [self.bounded_wish().rate_max, measured].into_iter().flatten().reduce(f64::min);
        Wish { weight: self.wish.weight, rate_max: most.map(|most| most - rate * held) }
    }

    /// Whether it has a part in the run.
    pub fn takes_part(&self) -> bool {
        !matches!(self.state, State::Out(_))
    }

    /// Its wish, within its own bound as well as the hosts file's.
    pub(super) fn bounded_wish(&self) -> Wish {
        let own = self.status.as_ref().and_then(|status| status.max_rps);
        let rate_max = [self.wish.rate_max, own].into_iter().flatten().reduce(f64::min);
        Wish { rate_max, ..self.wish }
    }
}
