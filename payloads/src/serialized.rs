//! What comes out: requests in their wire form.

use payloads_fresh::Place;

/// Requests in their wire form. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serialized {
    /// The requests, one behind the other, with nothing before, between or after them.
    pub bytes: Vec<u8>,
    /// One for each request, in the order of `bytes`; `end` rises, and the last one is `bytes.len()`.
    pub requests: Vec<Piece>,
    /// The name of each class, by [`Piece::class`].
    pub classes: Vec<String>,
    /// The fresh fields of all requests, by rising offset; [`Piece::places_end`] says which are whose.
    pub places: Vec<Place>,
}

/// Where one request ends and what it is. It starts where the one before it ends, the first at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Offset one past its last byte.
    pub end: usize,
    /// Which of [`Serialized::classes`] it belongs to.
    pub class: u16,
    /// How many events it carries: 0 for a request of the user's own, whose meaning is unknown.
    pub events: u32,
    /// How many of [`Serialized::places`] are its own or those of requests before it.
    pub places_end: u32,
}

/// How many requests to serialize: so many, but fewer when they would take more than so many bytes.
/// Each class, line and file occurs at least once, whatever that takes up to `bytes_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Requests wanted.
    pub requests: usize,
    /// Bytes they may take together; with `usize::MAX` all requests wanted must come out.
    pub bytes: usize,
    /// Bytes over which there is an error rather than a tape; at most 4 GiB, whatever is given.
    pub bytes_max: usize,
}

/// Bytes that no request is shorter than: `A / HTTP/1.1`, `Host: h`, `User-Agent:` and the line breaks are more.
const REQUEST_BYTES_MIN: usize = 32;

impl Extent {
    /// Requests that there can be room for. Who makes room for more may ask for more memory than there is.
    pub(crate) fn requests_max(&self) -> usize {
        self.requests.min(self.bytes_max / REQUEST_BYTES_MIN)
    }

    /// More requests must come out than there can be room for.
    pub(crate) fn asks_too_many(&self) -> bool {
        self.bytes == usize::MAX && self.requests > self.requests_max()
    }

    /// As little as can be asked for.
    pub(crate) fn least(&self) -> Self {
        Self { requests: 0, bytes: 0, ..*self }
    }
}

impl Serialized {
    /// The bytes of request `index`. Panics if there is none.
    pub fn request(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.requests[before].end);
        &self.bytes[start..self.requests[index].end]
    }

    /// The fresh fields of request `index`; their offsets count from the start of all bytes. Panics if there is no such request.
    pub fn places_of(&self, index: usize) -> &[Place] {
        let start = index.checked_sub(1).map_or(0, |before| self.requests[before].places_end);
        &self.places[start as usize..self.requests[index].places_end as usize]
    }
}
