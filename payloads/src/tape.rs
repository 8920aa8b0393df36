//! Whole requests written one behind the other, with the length of each body in its head.

use crate::encoding::{Encoder, Encoding};
use crate::template::render::{Out, Renderer, Stream};
use crate::{Piece, Serialized};

const LENGTH: &[u8] = b"Content-Length: ";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Requests so far.
pub(crate) struct Tape {
    out: Out,
    pieces: Vec<Piece>,
    encoder: Option<Encoder>,
    /// How many digits the last length had: the next one most likely has as many.
    digits: usize,
    largest_request: usize,
    /// A body grew over the limit before it was compressed, and what was sent of it is cut short.
    body_too_large: bool,
    /// Requests that are to come in all, and bytes they may take, for room to be made in time.
    requests_wanted: usize,
    bytes_wanted: usize,
}

/// What a request holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) class: u16,
    pub(crate) events: u32,
}

impl Tape {
    /// An empty tape for about so many requests and at most so many bytes; rendering stops beyond `limit`, which no room is
    /// made beyond either.
    pub(crate) fn new(
        encoding: Option<Encoding>,
        requests_wanted: usize,
        bytes_wanted: usize,
        limit: usize,
    ) -> Self {
        Self {
            out: Out::new(encoding.is_none(), limit),
            pieces: Vec::new(),
            encoder: encoding.map(Encoding::encoder),
            digits: 1,
            largest_request: 0,
            body_too_large: false,
            requests_wanted,
            bytes_wanted: bytes_wanted.min(limit),
        }
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.pieces.len()
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.out.bytes.len()
    }

    /// A value was repeated too far from where it stood last.
    pub(crate) fn repeats_too_far(&self) -> bool {
        self.out.repeat_too_far
    }

    /// A body that is compressed was over the limit before it was: the tape is of no use.
    pub(crate) fn body_too_large(&self) -> bool {
        self.body_too_large
    }

    /// Appends a request: its body is `raw`, or else what its shape says. Returns the bytes of the body, before it is compressed.
    pub(crate) fn push(
        &mut self,
        renderer: &mut Renderer<'_>,
        stream: &mut Stream,
        raw: Option<&[u8]>,
        kind: Kind,
    ) -> usize {
        self.make_room();
        let start = self.out.bytes.len();
        renderer.head(stream, &mut self.out);
        let body_bytes = match (raw, self.encoder.take()) {
            (None, encoder) if renderer.shape.body.is_none() => {
                if renderer.shape.tells_missing_body {
                    self.out.bytes.extend_from_slice(b"Content-Length: 0\r\n");
                }
                self.out.bytes.extend_from_slice(b"\r\n");
                self.encoder = encoder;
                0
            }
            (raw, Some(mut encoder)) => {
                let bytes = self.push_encoded(renderer, stream, raw, &mut encoder);
                self.encoder = Some(encoder);
                bytes
            }
            (Some(raw), None) => {
                self.push_known(raw);
                raw.len()
            }
            (None, None) => self.push_rendered(renderer, stream),
        };
        self.largest_request = self.largest_request.max(self.out.bytes.len() - start);
        let places_end = self.out.places.len() as u32;
        self.pieces.push(Piece {
            end: self.out.bytes.len(),
            class: kind.class,
            events: kind.events,
            places_end,
        });
        body_bytes
    }

    fn push_known(&mut self, body: &[u8]) {
        self.out.bytes.extend_from_slice(LENGTH);
        self.out.bytes.extend_from_slice(body.len().to_string().as_bytes());
        self.out.bytes.extend_from_slice(END_OF_HEAD);
        self.out.bytes.extend_from_slice(body);
    }

    fn push_encoded(
        &mut self,
        renderer: &mut Renderer<'_>,
        stream: &mut Stream,
        raw: Option<&[u8]>,
        encoder: &mut Encoder,
    ) -> usize {
        let mut rendered = Out::new(false, self.out.limit);
        let body = match raw {
            Some(raw) => raw,
            None => {
                renderer.body(stream, &mut rendered);
                self.body_too_large |= rendered.bytes.len() > rendered.limit;
                &rendered.bytes
            }
        };
        self.push_known(&encoder.encode(body));
        body.len()
    }

    /// The length stands before the body it is of: digits are guessed, and everything behind them moves if they were too few or
    /// too many.
    fn push_rendered(&mut self, renderer: &mut Renderer<'_>, stream: &mut Stream) -> usize {
        self.out.bytes.extend_from_slice(LENGTH);
        let digits_start = self.out.bytes.len();
        self.out.bytes.resize(digits_start + self.digits, b'0');
        self.out.bytes.extend_from_slice(END_OF_HEAD);
        let (body_start, first_place) = (self.out.bytes.len(), self.out.places.len());
        renderer.body(stream, &mut self.out);
        let body_bytes = self.out.bytes.len() - body_start;

        let length = body_bytes.to_string();
        let guessed = digits_start..digits_start + self.digits;
        if length.len() == self.digits {
            self.out.bytes[guessed].copy_from_slice(length.as_bytes());
        } else {
            for place in &mut self.out.places[first_place..] {
                place.at = place.at - self.digits as u32 + length.len() as u32;
            }
            self.out.bytes.splice(guessed, length.bytes());
            self.digits = length.len();
        }
        body_bytes
    }

    /// Growing by doubling could leave as much again unused; so room is made for what is to come, judged by what came.
    fn make_room(&mut self) {
        let bytes = &mut self.out.bytes;
        let spare = 2 * self.largest_request;
        if bytes.capacity() - bytes.len() < spare {
            let mean = bytes.len() / self.pieces.len().max(1) + 1;
            let expected = mean.saturating_mul(self.requests_wanted).min(self.bytes_wanted);
            let wanted = expected.max(bytes.len() + bytes.len() / 16).saturating_add(spare);
            bytes.reserve_exact(wanted - bytes.len());
        }
    }

    /// Takes requests back, so that only the first `requests` are left.
    pub(crate) fn truncate(&mut self, requests: usize) {
        self.pieces.truncate(requests);
        let (end, places_end) = self.pieces.last().map_or((0, 0), |piece| (piece.end, piece.places_end));
        self.out.bytes.truncate(end);
        self.out.places.truncate(places_end as usize);
    }

    /// What was written.
    pub(crate) fn finish(self, classes: Vec<String>) -> Serialized {
        let Self { out: Out { mut bytes, mut places, .. }, mut pieces, .. } = self;
        bytes.shrink_to_fit();
        places.shrink_to_fit();
        pieces.shrink_to_fit();
        Serialized { bytes, requests: pieces, classes, places }
    }
}
