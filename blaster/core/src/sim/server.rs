//! Model servers: they frame what they receive exactly, and answer well or badly, as they are told.

use std::ops::{ControlFlow, Range};

use super::random::{Random, Span};
use crate::load::engine::EndCause;
use crate::load::http1::{OnRequest, Request, RequestReader, RequestTemplate};
use crate::time::Nanos;

/// How the server at one address, and the network on the way to it, behave. Chances are per mille.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The section of the tape whose requests are meant for it.
    pub section: usize,
    /// One way through the network; drawn anew for every piece, but pieces never overtake each other.
    pub delay: Span,
    /// From the end of a request to its answer; answers keep the order of the requests.
    pub service: Span,
    /// A connection is refused.
    pub refuse: u32,
    /// An attempt to connect is never answered.
    pub ignore: u32,
    /// Pieces, in both directions, are at most this long; none: messages arrive as they were written.
    pub piece_bytes_max: Option<u64>,
    /// The socket is full: a send is taken in parts, this far apart.
    pub full_socket: u32,
    /// How long a full socket stays full.
    pub full_for: Span,
    /// A request is answered when its first bytes arrive.
    pub early: u32,
    /// Closes a connection after so many answers.
    pub close_after: Option<CloseAfter>,
    /// A connection does something of its own accord some time after it was opened.
    pub whim: u32,
    /// Which whim, and when.
    pub whims: Vec<Whim>,
    /// When a whim comes, after the connection was opened.
    pub whim_after: Span,
    /// Frozen: nothing that arrives is looked at before the end.
    pub stall: Option<Range<Nanos>>,
    /// The answers it gives, with their weights.
    pub answers: Vec<(Answer, u64)>,
    /// Requests are HEADs: answers have no bodies.
    pub to_head: bool,
}

/// The habit of closing connections.
#[derive(Clone, Copy, Debug)]
pub struct CloseAfter {
    /// After so many answers.
    pub answers: u64,
    /// Says so in the last one.
    pub announced: bool,
}

/// An answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202 with a small body.
    Accepted,
    /// 200 in chunks, with a trailer.
    Chunked,
    /// 204, no body.
    Empty,
    /// 100 and 103, then 200.
    AfterInterim,
    /// 500: not what was expected.
    Error,
    /// 200, said to be the last; then closes.
    Last,
    /// HTTP/1.0, its body lasts until the close.
    UntilClose,
    /// No HTTP.
    Garbage,
    /// Half an answer, then this end.
    Half(EndCause),
    /// None, to this and to all that follow on the connection.
    Never,
}

/// What a server does unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whim {
    /// Ends the connection.
    End(EndCause),
    /// Says 408, then closes.
    Unsolicited,
    /// Says what is no HTTP.
    Garbage,
    /// Goes silent for good.
    Mute,
}

impl Behaviour {
    /// Answers every request with 202 after 50 µs, 20 µs away.
    pub fn healthy(section: usize) -> Self {
        Self {
            section,
            delay: Span::micros(20, 20),
            service: Span::micros(50, 50),
            refuse: 0,
            ignore: 0,
            piece_bytes_max: None,
            full_socket: 0,
            full_for: Span::micros(0, 0),
            early: 0,
            close_after: None,
            whim: 0,
            whims: vec![Whim::Mute],
            whim_after: Span::micros(0, 0),
            stall: None,
            answers: vec![(Answer::Accepted, 1)],
            to_head: false,
        }
    }

    fn pick_answer(&self, random: &mut Random) -> Answer {
        let mut at = random.between(0, self.answers.iter().map(|(_, weight)| weight).sum::<u64>() - 1);
        for &(answer, weight) in &self.answers {
            if at < weight {
                return answer;
            }
            at -= weight;
        }
        unreachable!("the weights sum to more than the number drawn")
    }
}

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) behaviour: Behaviour,
    template: RequestTemplate,
    /// Requests received whole.
    pub(super) received: u64,
    /// Answers given before the request was received whole, or without any.
    pub(super) unearned: u64,
}

impl Server {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, template: RequestTemplate::default(), received: 0, unearned: 0 }
    }
}

/// What a server writes on a connection, and when.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Write {
    Bytes(Vec<u8>),
    End(EndCause),
}

/// The server's side of one connection.
#[derive(Debug)]
pub(super) struct Peer {
    reader: RequestReader,
    answers: u64,
    /// The request under way was answered already.
    answered_early: bool,
    /// Writes nothing any more.
    silent: bool,
    /// When the last thing was written.
    written_at: Nanos,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self {
            reader: RequestReader::new(),
            answers: 0,
            answered_early: false,
            silent: false,
            written_at: Nanos::ZERO,
        }
    }

    /// Reads what came in, and writes the answers.
    pub(super) fn receive(
        &mut self,
        now: Nanos,
        bytes: &[u8],
        server: &mut Server,
        random: &mut Random,
        writes: &mut Vec<(Nanos, Write)>,
    ) {
        let mut counter = Counter(0);
        self.reader
            .receive(&mut server.template, bytes, &mut counter)
            .unwrap_or_else(|error| panic!("the worker sent what is no request: {error}"));
        server.received += counter.0;
        for _ in 0..counter.0 {
            if !std::mem::take(&mut self.answered_early) {
                self.answer(now, &server.behaviour, random, writes);
            }
        }
        let under_way = !self.reader.is_between_requests();
        if under_way && !self.answered_early && !self.silent && random.chance(server.behaviour.early) {
            self.answered_early = true;
            server.unearned += 1;
            self.answer(now, &server.behaviour, random, writes);
        }
    }

    /// Does something of its own accord.
    pub(super) fn indulge(
        &mut self,
        now: Nanos,
        whim: Whim,
        server: &mut Server,
        writes: &mut Vec<(Nanos, Write)>,
    ) {
        if self.silent {
            return;
        }
        let mut write = |what| writes.push((now.max(self.written_at), what));
        match whim {
            Whim::End(cause) => write(Write::End(cause)),
            Whim::Unsolicited => {
                server.unearned += 1;
                write(Write::Bytes(TIMED_OUT.to_vec()));
                write(Write::End(EndCause::Closed));
            }
            Whim::Garbage => write(Write::Bytes(GARBAGE.to_vec())),
            Whim::Mute => {}
        }
        self.silent = true;
    }

    fn answer(
        &mut self,
        now: Nanos,
        behaviour: &Behaviour,
        random: &mut Random,
        writes: &mut Vec<(Nanos, Write)>,
    ) {
        if self.silent {
            return;
        }
        let answer = behaviour.pick_answer(random);
        self.written_at = self.written_at.max(now + random.time(behaviour.service));
        self.answers += 1;
        let last = behaviour.close_after.filter(|habit| habit.answers <= self.answers);
        let close = if last.is_some_and(|habit| habit.announced) { "Connection: close\r\n" } else { "" };
        let mut bytes = text(answer, close, behaviour.to_head);
        let end = match answer {
            Answer::Last | Answer::UntilClose => Some(EndCause::Closed),
            Answer::Half(cause) => {
                bytes.truncate(random.between(1, bytes.len() as u64 - 1) as usize);
                Some(cause)
            }
            _ => last.map(|_| EndCause::Closed),
        };
        self.silent = answer == Answer::Never || end.is_some();
        match writes.last_mut() {
            Some((at, Write::Bytes(before))) if *at == self.written_at => before.extend(bytes),
            _ if bytes.is_empty() => {}
            _ => writes.push((self.written_at, Write::Bytes(bytes))),
        }
        if let Some(cause) = end {
            writes.push((self.written_at, Write::End(cause)));
        }
    }
}

struct Counter(u64);

impl OnRequest for Counter {
    fn route(&mut self, _method: &str, _path: &str) -> u8 {
        0
    }

    fn finished(&mut self, _request: Request) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const GARBAGE: &[u8] = b"\x16\x03\x01 what is this?\r\n\r\n";

fn text(answer: Answer, close: &str, to_head: bool) -> Vec<u8> {
    let with_body = |head: String, body: &str| if to_head { head } else { head + body };
    let sized = |status: &str, body: &str| {
        with_body(format!("HTTP/1.1 {status}\r\n{close}Content-Length: {}\r\n\r\n", body.len()), body)
    };
    let text = match answer {
        Answer::Accepted | Answer::Half(_) => sized("202 Accepted", "{\"count\":1}"),
        Answer::Chunked => with_body(
            format!("HTTP/1.1 200 OK\r\n{close}Transfer-Encoding: chunked\r\n\r\n"),
            "5;x=y\r\nhello\r\nb\r\n, in chunks\r\n0\r\nSum: 1\r\n\r\n",
        ),
        Answer::Empty => format!("HTTP/1.1 204 No Content\r\n{close}\r\n"),
        Answer::AfterInterim => {
            let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            interim.to_owned() + &sized("200 OK", "at last")
        }
        Answer::Error => sized("500 Internal Server Error", "no"),
        Answer::Last => {
            with_body("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n".to_owned(), "bye")
        }
        Answer::UntilClose => {
            with_body("HTTP/1.0 200 OK\r\nServer: old\r\n\r\n".to_owned(), "this lasts until the close")
        }
        Answer::Garbage => return GARBAGE.to_vec(),
        Answer::Never => return Vec::new(),
    };
    text.into_bytes()
}
