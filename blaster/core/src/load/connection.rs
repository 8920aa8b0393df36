//! One connection to a target: what is in flight on it, and how its bytes become answers.
//!
//! Pure: it is told what happened and says what follows. It knows nothing of schedules or tapes; whoever
//! sends on it leaves a [`Ticket`] a request and hears of each answer.

use std::ops::ControlFlow;

use super::http1::{EndOfStream, HeadTemplate, Malformed, OnResponse, Response, ResponseReader};
use crate::time::Nanos;

/// What must be remembered of a request in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// When the schedule wanted it sent.
    pub intended: Nanos,
    /// When it was handed to the connection.
    pub sent: Nanos,
    /// Its class.
    pub class: u16,
    /// Events it carries.
    pub events: u32,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not connected; the slot is free.
    Vacant,
    /// Being opened.
    Connecting,
    /// Open.
    Open,
    /// Given up; the engine still holds the slot.
    Closing,
}

/// Hears of each answer, with the ticket of its request.
pub trait OnAnswer {
    /// A piece of the body of the answer that comes to its end next.
    #[inline]
    fn body(&mut self, _bytes: &[u8]) {}

    /// The answer to `ticket` has been read to its end.
    fn answered(&mut self, ticket: Ticket, status: u16);
}

/// What the bytes just received mean for the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// It goes on.
    Open,
    /// The server said (or HTTP/1.0 implies) that no further answer will come.
    LastAnswer,
    /// The bytes are no HTTP/1.1 answer.
    Malformed(Malformed),
    /// Bytes came though no request was in flight (often a 408 on an idle connection).
    Unsolicited,
}

/// A connection. Reused over many lives of its slot, so that opening again allocates nothing.
pub struct Connection {
    /// Where it stands.
    pub state: State,
    /// A send is with the kernel: nothing may be sent before it is taken whole.
    pub sending: bool,
    /// Which stream it belongs to.
    pub stream: u16,
    /// When it began to connect (while `Connecting`) or to send last (while `Open`).
    pub since: Nanos,
    /// How often it began to connect.
    pub lives: u32,
    /// Consecutive lives without a single answer; sets the back-off.
    pub fruitless: u32,
    given: u64,
    answers: u64,
    tickets: Tickets,
    reader: ResponseReader,
}

impl Connection {
    /// A vacant slot with room for `depth` requests in flight.
    pub fn new(stream: u16, depth: u32, answers_to_head: bool) -> Self {
        Self {
            state: State::Vacant,
            sending: false,
            stream,
            since: Nanos::ZERO,
            lives: 0,
            fruitless: 0,
            given: 0,
            answers: 0,
            tickets: Tickets::new(depth),
            reader: ResponseReader::new(answers_to_head),
        }
    }

    /// A new life begins.
    pub fn handle_connecting(&mut self, now: Nanos) {
        debug_assert_eq!(self.state, State::Vacant);
        debug_assert_eq!(self.tickets.len, 0);
        self.state = State::Connecting;
        self.since = now;
        self.lives = self.lives.saturating_add(1);
        self.sending = false;
        self.given = 0;
        self.answers = 0;
        self.reader.reset();
    }

    /// Requests in flight.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.tickets.len
    }

    /// Requests handed to this connection in this life.
    #[inline]
    pub fn given(&self) -> u64 {
        self.given
    }

    /// Answers read in this life.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// How many more requests fit.
    #[inline]
    pub fn room(&self) -> u32 {
        self.tickets.capacity() - self.tickets.len
    }

    /// The request that will be answered next.
    #[inline]
    pub fn oldest(&self) -> Option<&Ticket> {
        self.tickets.first()
    }

    /// Since when something of the peer is awaited: the oldest answer, or, when it has answered early all there is, that it
    /// takes the rest of the requests.
    #[inline]
    pub fn waiting_since(&self) -> Option<Nanos> {
        self.oldest().map(|ticket| ticket.sent).or(self.sending.then_some(self.since))
    }

    /// A request goes out.
    #[inline]
    pub fn push(&mut self, ticket: Ticket) {
        self.given += 1;
        self.tickets.push(ticket);
    }

    /// Reads what came in; every answer finished by it is told to `on`.
    #[inline]
    pub fn receive(&mut self, template: &mut HeadTemplate, bytes: &[u8], on: &mut impl OnAnswer) -> Received {
        if self.tickets.len == 0 && !bytes.is_empty() {
            return Received::Unsolicited;
        }
        let mut answering =
            Answering { tickets: &mut self.tickets, answers: &mut self.answers, stop: None, on };
        match self.reader.receive(template, bytes, &mut answering) {
            Err(malformed) => Received::Malformed(malformed),
            Ok(()) => match answering.stop {
                Some(stop) => stop,
                // The front of an answer to nothing must not become that of the next request's.
                None if self.tickets.len == 0 && !self.reader.is_between_responses() => Received::Unsolicited,
                None => Received::Open,
            },
        }
    }

    /// The peer ended the stream: an answer that lasts until then is finished by it.
    pub fn handle_end(&mut self, on: &mut impl OnAnswer) {
        let mut answering =
            Answering { tickets: &mut self.tickets, answers: &mut self.answers, stop: None, on };
        match self.reader.end_of_stream(&mut answering) {
            EndOfStream::Clean | EndOfStream::Finished | EndOfStream::Truncated => {}
        }
    }

    /// Takes back the oldest request that will not be answered any more.
    pub fn pop_unanswered(&mut self) -> Option<Ticket> {
        self.tickets.pop()
    }
}

/// Pairs answers with tickets while the reader runs.
struct Answering<'a, A> {
    tickets: &'a mut Tickets,
    answers: &'a mut u64,
    stop: Option<Received>,
    on: &'a mut A,
}

impl<A: OnAnswer> OnResponse for Answering<'_, A> {
    #[inline]
    fn body(&mut self, bytes: &[u8]) {
        self.on.body(bytes);
    }

    #[inline]
    fn finished(&mut self, response: Response) -> ControlFlow<()> {
        let Some(ticket) = self.tickets.pop() else {
            self.stop = Some(Received::Unsolicited);
            return ControlFlow::Break(());
        };
        *self.answers += 1;
        self.on.answered(ticket, response.status);
        if response.keep_alive {
            ControlFlow::Continue(())
        } else {
            self.stop = Some(Received::LastAnswer);
            ControlFlow::Break(())
        }
    }
}

/// A queue of fixed capacity, rounded up to a power of two so that wrapping is a mask.
struct Tickets {
    slots: Box<[Ticket]>,
    depth: u32,
    head: u32,
    len: u32,
}

impl Tickets {
    fn new(depth: u32) -> Self {
        assert!(depth > 0, "a connection needs room for a request");
        Self {
            slots: vec![Ticket::default(); depth.next_power_of_two() as usize].into(),
            depth,
            head: 0,
            len: 0,
        }
    }

    #[inline]
    fn capacity(&self) -> u32 {
        self.depth
    }

    #[inline]
    fn index(&self, offset: u32) -> usize {
        (self.head.wrapping_add(offset)) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn first(&self) -> Option<&Ticket> {
        (self.len > 0).then(|| &self.slots[self.index(0)])
    }

    #[inline]
    fn push(&mut self, ticket: Ticket) {
        debug_assert!(self.len < self.depth, "more requests in flight than the depth");
        let index = self.index(self.len);
        self.slots[index] = ticket;
        self.len += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<Ticket> {
        let ticket = *self.first()?;
        self.head = self.head.wrapping_add(1);
        self.len -= 1;
        Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Log(Vec<(Ticket, u16)>);

    impl OnAnswer for Log {
        fn answered(&mut self, ticket: Ticket, status: u16) {
            self.0.push((ticket, status));
        }
    }

    fn open(depth: u32, in_flight: u64) -> Connection {
        let mut connection = Connection::new(0, depth, false);
        connection.handle_connecting(Nanos::ZERO);
        connection.state = State::Open;
        for i in 0..in_flight {
            connection.push(ticket(i));
        }
        connection
    }

    fn ticket(i: u64) -> Ticket {
        Ticket { intended: Nanos(i), sent: Nanos(i + 1), class: 0, events: 1 }
    }

    const OK: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
    const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn answers_pop_tickets_in_order() {
        let (mut connection, mut log) = (open(3, 3), Log::default());
        let template = &mut HeadTemplate::default();
        assert_eq!(connection.receive(template, &OK.repeat(2), &mut log), Received::Open);
        assert_eq!(log.0, [(ticket(0), 202), (ticket(1), 202)]);
        assert_eq!((connection.in_flight(), connection.room(), connection.answers()), (1, 2, 2));
    }

    #[test]
    fn nothing_is_read_after_the_last_answer() {
        let (mut connection, mut log) = (open(3, 3), Log::default());
        let bytes = [LAST, OK].concat();
        assert_eq!(connection.receive(&mut HeadTemplate::default(), &bytes, &mut log), Received::LastAnswer);
        assert_eq!(log.0.len(), 1);
        assert_eq!(connection.pop_unanswered(), Some(ticket(1)));
    }

    #[test]
    fn an_answer_to_no_request_is_unsolicited() {
        let (mut connection, mut log) = (open(2, 1), Log::default());
        let template = &mut HeadTemplate::default();
        assert_eq!(connection.receive(template, &OK.repeat(2), &mut log), Received::Unsolicited);
        assert_eq!(log.0.len(), 1);
        assert_eq!(connection.receive(template, OK, &mut log), Received::Unsolicited);
        assert_eq!(log.0.len(), 1);
    }

    #[test]
    fn the_front_of_an_unsolicited_answer_is_not_taken_for_that_of_the_next_request() {
        let (mut connection, mut log) = (open(2, 1), Log::default());
        let bytes = [OK, &OK[..9]].concat();
        let said = connection.receive(&mut HeadTemplate::default(), &bytes, &mut log);
        assert_eq!((said, log.0.len()), (Received::Unsolicited, 1));
    }

    #[test]
    fn the_end_of_the_stream_finishes_an_answer_that_lasts_until_then() {
        let (mut connection, mut log) = (open(1, 1), Log::default());
        let template = &mut HeadTemplate::default();
        assert_eq!(
            connection.receive(template, b"HTTP/1.0 200 OK\r\n\r\nhalf a bo", &mut log),
            Received::Open
        );
        connection.handle_end(&mut log);
        assert_eq!(log.0, [(ticket(0), 200)]);
    }
}
