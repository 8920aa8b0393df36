//! Runs programs: draws, keeps what is bound, appends, and notes where fresh fields stand.

use payloads_fresh::{Kind, Place, Rng, SEQ_FIRST, TimeFormat, uuid};

use super::compile::Slot;
use super::draw::{push_decimal, push_hex, push_int, push_unsigned, push_words};
use super::escape::push_percent;
use super::program::{Draw, Op, Program, Write};
use super::token::push_base64_standard;
use super::users::Users;
use super::{Scope, Word};

/// One kind of request: its programs and what they share.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Request line and headers, but for the length.
    pub(crate) head: Program,
    /// What is sent behind the head, unless it is given as it is.
    pub(crate) body: Option<Program>,
    pub(crate) event: Option<EventPart>,
    /// Between events.
    pub(crate) separator: String,
    /// Events a request carries; with one of them, or none, the event is the request.
    pub(crate) events: u32,
    /// Without a body there is a length of 0 rather than none (RFC 9110, 8.6).
    pub(crate) tells_missing_body: bool,
    pub(crate) slots: Vec<Option<Slot>>,
    pub(crate) users: Option<u64>,
    /// A request has one user rather than each event its own.
    pub(crate) user_of_request: bool,
}

/// What an event is made of.
#[derive(Debug)]
pub(crate) struct EventPart {
    pub(crate) whole: Program,
    /// Without its outer braces; where no template asks for that, the same as `whole`.
    pub(crate) members: Program,
    /// What each type adds.
    pub(crate) fields: Vec<Program>,
    /// Which type an event has; `None` without types.
    pub(crate) type_of: Option<Draw>,
}

/// What all requests of a tape are drawn from, in their order.
#[derive(Debug)]
pub(crate) struct Stream {
    seed: u64,
    rng: Rng,
    seq: u64,
    /// Users that had their turn.
    turns: u64,
    users: Vec<(u64, Users)>,
    times: [Vec<u8>; TimeFormat::ALL.len()],
    host: String,
}

/// What requests are appended to.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) bytes: Vec<u8>,
    pub(crate) places: Vec<Place>,
    /// Places are noted.
    pub(crate) fresh: bool,
    /// Beyond so many bytes nothing more is appended: they are too many already.
    pub(crate) limit: usize,
    /// A value was repeated over more places than can be said.
    pub(crate) repeat_too_far: bool,
}

/// Renders requests of one shape.
#[derive(Debug)]
pub(crate) struct Renderer<'a> {
    pub(crate) shape: &'a Shape,
    /// Bytes of the largest event so far.
    pub(crate) event_bytes_max: usize,
    /// Bytes and number of all events so far.
    pub(crate) event_bytes: u64,
    pub(crate) events: u64,
    kept: Vec<Kept>,
    /// How many there were of each scope; a value that was kept longer ago is drawn anew.
    ages: [u64; 3],
    user: u64,
    type_now: usize,
    scratch: Vec<u8>,
}

/// A bound value.
#[derive(Clone, Debug)]
struct Kept {
    age: u64,
    drawn: Drawn,
    /// Its text, if it is text.
    bytes: Vec<u8>,
    /// Which place it stood at last.
    last_place: Option<usize>,
}

/// What was drawn.
#[derive(Clone, Copy, Debug)]
enum Drawn {
    /// Text that was appended, and what it is if it is new in every send.
    Text(Option<Kind>),
    Index(usize),
    Int(i64),
    Decimal {
        units: i64,
        decimals: u8,
    },
}

impl Stream {
    pub(crate) fn new(seed: u64, now_unix_ns: u64, host: &str) -> Self {
        let times = TimeFormat::ALL.map(|(_, format)| {
            let mut text = Vec::new();
            format.append(&mut text, now_unix_ns);
            text
        });
        Self {
            seed,
            rng: Rng::new(seed),
            seq: SEQ_FIRST,
            turns: 0,
            users: Vec::new(),
            times,
            host: host.to_owned(),
        }
    }

    fn next_user(&mut self, count: u64) -> u64 {
        let turn = self.turns;
        self.turns = self.turns.wrapping_add(1);
        let known = self.users.iter().position(|(of, _)| *of == count);
        let index = known.unwrap_or_else(|| {
            self.users.push((count, Users::new(count, self.seed)));
            self.users.len() - 1
        });
        self.users[index].1.at(turn)
    }

    /// The generator of a user's value: the same for the same seed, user and name.
    fn rng_of(&self, user: u64, name_hash: u64) -> Rng {
        let of_name = Rng::new(self.seed ^ name_hash).bits();
        Rng::new(Rng::new(of_name ^ user).bits())
    }
}

impl Out {
    pub(crate) fn new(fresh: bool, limit: usize) -> Self {
        Self { bytes: Vec::new(), places: Vec::new(), fresh, limit, repeat_too_far: false }
    }

    /// Notes that `kind` stands from `at` on; returns the place's number.
    fn note(&mut self, at: usize, kind: Kind) -> Option<usize> {
        if !self.fresh {
            return None;
        }
        self.places.push(Place { at: at as u32, kind });
        Some(self.places.len() - 1)
    }
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(shape: &'a Shape) -> Self {
        let kept = Kept { age: 0, drawn: Drawn::Index(0), bytes: Vec::new(), last_place: None };
        Self {
            shape,
            event_bytes_max: 0,
            event_bytes: 0,
            events: 0,
            kept: vec![kept; shape.slots.len()],
            ages: [0; 3],
            user: 0,
            type_now: 0,
            scratch: Vec::new(),
        }
    }

    /// The head of the next request, without its length.
    pub(crate) fn head(&mut self, stream: &mut Stream, out: &mut Out) {
        self.ages[Scope::Request as usize] += 1;
        if self.shape.user_of_request {
            self.next_user(stream);
        }
        if self.shape.events <= 1 {
            self.begin_event(stream);
        }
        self.run(&self.shape.head, stream, out);
    }

    /// The body that belongs to the head before; nothing if there is none.
    pub(crate) fn body(&mut self, stream: &mut Stream, out: &mut Out) {
        if let Some(body) = &self.shape.body {
            self.run(body, stream, out);
        }
    }

    fn next_user(&mut self, stream: &mut Stream) {
        self.ages[Scope::User as usize] += 1;
        if let Some(users) = self.shape.users {
            self.user = stream.next_user(users);
        }
    }

    fn begin_event(&mut self, stream: &mut Stream) {
        self.ages[Scope::Event as usize] += 1;
        if !self.shape.user_of_request {
            self.next_user(stream);
        }
        if let Some(EventPart { type_of: Some(type_of), .. }) = &self.shape.event {
            self.type_now = index(type_of, &mut stream.rng);
        }
    }

    fn run(&mut self, program: &'a Program, stream: &mut Stream, out: &mut Out) {
        for op in &program.ops {
            if out.bytes.len() > out.limit {
                return;
            }
            match op {
                Op::Text(range) => out.bytes.extend_from_slice(&program.text[range.clone()]),
                Op::Draw { draw, write } => {
                    self.draw_once(program, &program.draws[*draw], *write, stream, out)
                }
                Op::Slot { slot, write } => self.bound(program, *slot, *write, stream, out),
                Op::Word(word) => self.word(*word, stream, out),
                Op::TypeName { table } => {
                    out.bytes.extend_from_slice(program.tables[*table].entry(self.type_now));
                }
                Op::Host => out.bytes.extend_from_slice(stream.host.as_bytes()),
            }
        }
    }

    fn word(&mut self, word: Word, stream: &mut Stream, out: &mut Out) {
        let Some(event) = &self.shape.event else { return };
        match word {
            Word::Event => self.event(&event.whole, stream, out),
            Word::Members => self.event(&event.members, stream, out),
            Word::Events => self.all_events(&event.whole, stream, out),
            Word::Count => push_unsigned(&mut out.bytes, self.shape.events.into()),
            Word::Fields => self.run(&event.fields[self.type_now], stream, out),
            Word::Type => {}
        }
    }

    fn all_events(&mut self, event: &'a Program, stream: &mut Stream, out: &mut Out) {
        if self.shape.events <= 1 {
            return self.event(event, stream, out);
        }
        for number in 0..self.shape.events {
            if out.bytes.len() > out.limit {
                return;
            }
            if number > 0 {
                out.bytes.extend_from_slice(self.shape.separator.as_bytes());
            }
            self.begin_event(stream);
            self.event(event, stream, out);
        }
    }

    fn event(&mut self, event: &'a Program, stream: &mut Stream, out: &mut Out) {
        let start = out.bytes.len();
        self.run(event, stream, out);
        let bytes = out.bytes.len() - start;
        self.event_bytes_max = self.event_bytes_max.max(bytes);
        self.event_bytes += bytes as u64;
        self.events += 1;
    }

    /// A value that nothing else refers to.
    fn draw_once(
        &mut self,
        program: &'a Program,
        draw: &'a Draw,
        write: Write,
        stream: &mut Stream,
        out: &mut Out,
    ) {
        if write == Write::Percent {
            let mut text = std::mem::take(&mut self.scratch);
            text.clear();
            self.draw(draw, stream, &mut text);
            put_percent(&mut out.bytes, &text);
            self.scratch = text;
            return;
        }
        let at = out.bytes.len();
        match self.draw(draw, stream, &mut out.bytes) {
            Drawn::Text(Some(kind)) => drop(out.note(at, kind)),
            Drawn::Text(None) => {}
            drawn => put(program, drawn, write, &mut out.bytes),
        }
    }

    /// A value with a name: drawn when it comes first in its scope.
    fn bound(
        &mut self,
        program: &'a Program,
        index: usize,
        write: Write,
        stream: &mut Stream,
        out: &mut Out,
    ) {
        let Some(slot) = &self.shape.slots[index] else { return };
        let age = self.ages[slot.scope as usize];
        if self.kept[index].age != age {
            self.draw_bound(index, slot, age, stream);
        }
        let kept = &mut self.kept[index];
        let at = out.bytes.len();
        match kept.drawn {
            Drawn::Text(None) if write == Write::Percent => put_percent(&mut out.bytes, &kept.bytes),
            Drawn::Text(None) => out.bytes.extend_from_slice(&kept.bytes),
            Drawn::Text(Some(kind)) => {
                out.bytes.extend_from_slice(&kept.bytes);
                let kind = match kept.last_place {
                    None => kind,
                    Some(last) => {
                        let back = out.places.len() - last;
                        out.repeat_too_far |= back > usize::from(u16::MAX);
                        Kind::Repeat { width: kind.width() as u8, back: back as u16 }
                    }
                };
                kept.last_place = out.note(at, kind);
            }
            drawn => put(program, drawn, write, &mut out.bytes),
        }
    }

    fn draw_bound(&mut self, index: usize, slot: &'a Slot, age: u64, stream: &mut Stream) {
        let mut bytes = std::mem::take(&mut self.kept[index].bytes);
        bytes.clear();
        let drawn = if slot.scope == Scope::User {
            // In a user's scope nothing depends on when it is asked for.
            let rng = stream.rng_of(self.user, slot.name_hash);
            let of_requests = std::mem::replace(&mut stream.rng, rng);
            let drawn = self.draw(&slot.draw, stream, &mut bytes);
            stream.rng = of_requests;
            if let Drawn::Text(_) = drawn { Drawn::Text(None) } else { drawn }
        } else {
            self.draw(&slot.draw, stream, &mut bytes)
        };
        self.kept[index] = Kept { age, drawn, bytes, last_place: None };
    }

    /// Draws a value; text is appended to `bytes` at once.
    #[inline]
    fn draw(&mut self, draw: &'a Draw, stream: &mut Stream, bytes: &mut Vec<u8>) -> Drawn {
        let rng = &mut stream.rng;
        match draw {
            Draw::Uuid => {
                bytes.extend_from_slice(&uuid([rng.bits(), rng.bits()]));
                return Drawn::Text(Some(Kind::Uuid));
            }
            Draw::Now(format) => {
                bytes.extend_from_slice(&stream.times[*format as usize]);
                return Drawn::Text(Some(Kind::Now(*format)));
            }
            Draw::Seq => {
                push_unsigned(bytes, stream.seq);
                stream.seq += 1;
                return Drawn::Text(Some(Kind::Seq));
            }
            Draw::Int { min, above } => return Drawn::Int(ranged(*min, *above, rng)),
            Draw::Decimal { min, above, decimals } => {
                return Drawn::Decimal { units: ranged(*min, *above, rng), decimals: *decimals };
            }
            Draw::Even(_) | Draw::Weighted(_) => return Drawn::Index(index(draw, rng)),
            Draw::User => push_unsigned(bytes, self.user),
            Draw::Words(count) => push_words(bytes, rng, *count),
            Draw::Hex(count) => push_hex(bytes, rng, *count),
            Draw::Token(token) => token.push(bytes, &self.sealed(&token.claims, stream)),
            Draw::Base64(program) => push_base64_standard(bytes, &self.sealed(program, stream)),
        }
        Drawn::Text(None)
    }

    /// What a program gives that is built once, so that nothing in it is written anew.
    fn sealed(&mut self, program: &'a Program, stream: &mut Stream) -> Vec<u8> {
        let mut out = Out::new(false, usize::MAX);
        self.run(program, stream, &mut out);
        out.bytes
    }
}

/// Appends a value that is no text.
#[inline]
fn put(program: &Program, drawn: Drawn, write: Write, out: &mut Vec<u8>) {
    match (drawn, write) {
        (Drawn::Index(index), Write::Table(table)) => {
            out.extend_from_slice(program.tables[table].entry(index));
        }
        (Drawn::Int(number), _) => push_int(out, number),
        (Drawn::Decimal { units, decimals }, _) => push_decimal(out, units, decimals),
        (Drawn::Index(_) | Drawn::Text(_), _) => {}
    }
}

fn put_percent(out: &mut Vec<u8>, text: &[u8]) {
    // Words and base64, the only text that is encoded as late as this, are ASCII.
    push_percent(out, str::from_utf8(text).unwrap_or_default());
}

#[inline]
fn ranged(min: i64, above: u64, rng: &mut Rng) -> i64 {
    let number = if above == u64::MAX { rng.bits() } else { rng.below(above + 1) };
    min.wrapping_add_unsigned(number)
}

#[inline]
fn index(draw: &Draw, rng: &mut Rng) -> usize {
    match draw {
        Draw::Even(count) => rng.below(*count as u64) as usize,
        Draw::Weighted(thresholds) => {
            let bits = rng.bits();
            thresholds.partition_point(|threshold| *threshold <= bits).min(thresholds.len() - 1)
        }
        _ => 0,
    }
}
