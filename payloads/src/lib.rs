//! Requests to send, serialized before the run: whole HTTP/1.1 requests lying one behind the other, so that a run of them
//! is one contiguous slice and one send.
//!
//! ```text
//! Header ─┐
//! host ───┼─> Head ──┬── Preset::serialize ──> Serialized      generated events, from a seed
//! path ───┘          └── Body::serialize ────> Serialized      a request of your own
//! ```
//!
//! Whatever a user typed becomes a [`Head`] and a [`Body`] first, and those cannot be wrong: bad input is an [`Error`] there.
//! No clock is read here and no randomness taken from outside: the same arguments give the same bytes.
//!
//! ```
//! use payloads::{Extent, Head, preset};
//!
//! let events = preset("events")?;
//! let head = Head::new(events.method, "api:3000", events.path, &["X-Api-Key: k".parse()?])?;
//! let tape = events.serialize(&head, Extent { requests: 1_000, bytes: 8 << 20 }, 42, 1_767_225_600_000);
//! assert!(tape.request(999).starts_with(b"POST /events HTTP/1.1\r\nHost: api:3000\r\n"));
//! # Ok::<(), payloads::Error>(())
//! ```

#![forbid(unsafe_code)]

mod body;
mod error;
mod events;
mod head;
mod preset;

pub use payloads_fresh as fresh;

pub use body::{BYTES_MAX, Body};
pub use error::Error;
pub use head::{Head, Header};
pub use preset::{Preset, preset, presets};

/// Requests in their wire form. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serialized {
    /// The requests, one behind the other, with nothing before, between or after them.
    pub bytes: Vec<u8>,
    /// One for each request, in the order of `bytes`; `end` rises, and the last one is `bytes.len()`.
    pub requests: Vec<Piece>,
    /// The name of each class, by [`Piece::class`].
    pub classes: Vec<String>,
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
}

/// How many requests to serialize: so many, but fewer when they would take more than so many bytes.
/// At least one comes out, and at least one of each line of a [`Body::lines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Requests wanted.
    pub requests: usize,
    /// Bytes they may take together.
    pub bytes: usize,
}

impl Serialized {
    /// The bytes of request `index`. Panics if there is none.
    pub fn request(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.requests[before].end);
        &self.bytes[start..self.requests[index].end]
    }

    fn new(class: String) -> Self {
        Self { bytes: Vec::new(), requests: Vec::new(), classes: vec![class] }
    }

    /// Closes the request whose bytes were just written.
    fn close(&mut self, events: u32) {
        self.requests.push(Piece { end: self.bytes.len(), class: 0, events });
    }
}
