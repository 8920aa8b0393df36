//! Fuzz bodies of the simulator: sequences of operations on a connection, held against a plain queue.

use std::collections::VecDeque;

use crate::load::connection::{Connection, OnAnswer, Received, State, Ticket};
use crate::load::http1::HeadTemplate;
use crate::time::Nanos;

/// Every two bytes are an operation and what it works on. The connection must keep its requests like a queue,
/// answer the oldest first, and never more than are in flight; well-formed answers are all heard.
pub fn fuzz_connection(data: &[u8]) {
    let Some((&first, operations)) = data.split_first() else { return };
    let depth = u32::from(first % 67) + 1;
    let mut model = Model::default();
    let mut template = HeadTemplate::default();
    let mut connection = Connection::new(0, depth, false);
    let mut number = 0_u64;
    model.begin(&mut connection);
    for operation in operations.chunks_exact(2) {
        let amount = usize::from(operation[1]);
        match operation[0] % 16 {
            // Requests go out.
            0..5 => {
                for _ in 0..(amount % 8).min(connection.room() as usize) {
                    number += 1;
                    let ticket =
                        Ticket { intended: Nanos(number), sent: Nanos(number + 1), class: 0, events: 1 };
                    connection.push(ticket);
                    model.in_flight.push_back(ticket);
                    model.given += 1;
                }
            }
            // The server writes whole answers to what is in flight, then a piece of what it wrote arrives.
            5..12 => {
                if operation[0] & 16 == 0 && model.writable() {
                    model.write(amount);
                }
                let length = (amount * 3).min(model.wire.len());
                model.receive(&mut connection, &mut template, length);
            }
            // Anything at all arrives.
            12 => {
                model.wire.clear();
                model.honest = false;
                let bytes = &data[amount.min(data.len() - 1)..];
                model.wire.extend(bytes);
                let length = bytes.len();
                model.receive(&mut connection, &mut template, length);
            }
            // The stream ends.
            13 => {
                model.hear(&mut connection, |connection, answers| {
                    connection.handle_end(answers);
                    Received::LastAnswer
                });
            }
            // The last request is asked for.
            14 => {
                assert_eq!(connection.oldest(), model.in_flight.front());
            }
            // The connection is given up, and lives again.
            _ => model.begin_again(&mut connection),
        }
        if model.over {
            model.begin_again(&mut connection);
        }
        model.assert_same(&connection, depth);
    }
}

/// What a connection is, said plainly.
#[derive(Default)]
struct Model {
    in_flight: VecDeque<Ticket>,
    /// Bytes the server wrote that have not arrived.
    wire: VecDeque<u8>,
    /// Statuses of the answers in these bytes, whole ones not heard yet.
    statuses: VecDeque<u16>,
    /// The server wrote nothing but answers to requests.
    honest: bool,
    /// The last answer but one was said to be the last.
    last_written: bool,
    given: u64,
    answers: u64,
    over: bool,
}

impl Model {
    fn begin(&mut self, connection: &mut Connection) {
        *self = Self { honest: true, ..Self::default() };
        connection.handle_connecting(Nanos::ZERO);
        connection.state = State::Open;
    }

    fn begin_again(&mut self, connection: &mut Connection) {
        while let Some(ticket) = connection.pop_unanswered() {
            assert_eq!(Some(ticket), self.in_flight.pop_front());
        }
        assert!(self.in_flight.is_empty());
        connection.state = State::Vacant;
        self.begin(connection);
    }

    fn writable(&self) -> bool {
        self.honest && !self.last_written && self.statuses.len() < self.in_flight.len()
    }

    /// Appends an answer to the wire.
    fn write(&mut self, kind: usize) {
        let (status, bytes) = ANSWERS[kind % ANSWERS.len()];
        self.last_written = bytes.contains("close");
        self.statuses.push_back(status);
        self.wire.extend(bytes.as_bytes());
    }

    fn receive(&mut self, connection: &mut Connection, template: &mut HeadTemplate, length: usize) {
        let bytes: Vec<u8> = self.wire.drain(..length).collect();
        let idle = self.in_flight.is_empty();
        let said = self.hear(connection, |connection, answers| connection.receive(template, &bytes, answers));
        if idle && !bytes.is_empty() {
            assert_eq!(said, Received::Unsolicited);
        }
        if self.honest {
            assert!(matches!(said, Received::Open | Received::LastAnswer), "{said:?}");
            assert_eq!(said == Received::LastAnswer, self.last_written && self.statuses.is_empty());
            assert!(
                !self.wire.is_empty() || self.statuses.is_empty(),
                "an answer that arrived was not heard"
            );
        }
    }

    /// Lets `act` happen, and holds the answers it gives against the queue.
    fn hear(
        &mut self,
        connection: &mut Connection,
        act: impl FnOnce(&mut Connection, &mut Answers) -> Received,
    ) -> Received {
        let mut answers = Answers::default();
        let said = act(connection, &mut answers);
        for (ticket, status) in answers.0 {
            assert_eq!(Some(ticket), self.in_flight.pop_front(), "the oldest request is answered first");
            if self.honest {
                assert_eq!(Some(status), self.statuses.pop_front(), "answers keep their order");
            }
            self.answers += 1;
        }
        self.over = said != Received::Open;
        said
    }

    fn assert_same(&self, connection: &Connection, depth: u32) {
        assert_eq!(connection.in_flight() as usize, self.in_flight.len());
        assert_eq!(connection.room(), depth - self.in_flight.len() as u32);
        assert_eq!(connection.oldest(), self.in_flight.front());
        assert_eq!((connection.given(), connection.answers()), (self.given, self.answers));
        assert_eq!(self.given, self.answers + self.in_flight.len() as u64);
    }
}

#[derive(Default)]
struct Answers(Vec<(Ticket, u16)>);

impl OnAnswer for Answers {
    fn answered(&mut self, ticket: Ticket, status: u16) {
        self.0.push((ticket, status));
    }
}

const ANSWERS: &[(u16, &str)] = &[
    (202, "HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\n\r\n{\"count\":1}"),
    (200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    (204, "HTTP/1.1 204 No Content\r\n\r\n"),
    (200, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    (500, "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
    (200, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye"),
];

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::fuzz_connection;

    #[test]
    fn any_operations_keep_a_connection_like_a_queue() {
        for seed in 0..3_000 {
            let mut random = Random::new(seed);
            let length = random.between(0, 300);
            let data: Vec<u8> = (0..length).map(|_| random.word() as u8).collect();
            let result = std::panic::catch_unwind(|| fuzz_connection(&data));
            assert!(result.is_ok(), "seed {seed} fails");
        }
    }
}
