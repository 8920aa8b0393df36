//! The requests that `blaster` sends by default, for the benchmarks and for other tools.

use std::time::{SystemTime, UNIX_EPOCH};

use blaster_core::load::tape::{Mark, Tape};
use payloads::{Body, Error, Extent, Head, Serialized, preset};

/// As many as `blaster` puts on its tape for a target (`blaster/src/payload.rs`).
pub const EXTENT: Extent = Extent { requests: 4096, bytes: 64 << 20 };

/// Single events as POSTs to `host`. The same but for the moment they say they occurred, if `seed` is.
pub fn events(host: &str, seed: u64) -> Result<Serialized, Error> {
    let events = preset("events")?;
    let head = Head::new(events.method, host, events.path, &[])?;
    let now_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
    Ok(events.serialize(&head, EXTENT, seed, now_unix_ms))
}

/// A plain GET.
pub fn get(host: &str, path: &str) -> Result<Serialized, Error> {
    Body::none().serialize(&Head::new("GET", host, path, &[])?, EXTENT)
}

/// The tape of one target that these requests make.
pub fn tape(serialized: &Serialized) -> Tape {
    let mut tape = Tape::new();
    let mark = |piece: &payloads::Piece| (piece.end, Mark { class: piece.class, events: piece.events });
    tape.push_section(&serialized.bytes, serialized.requests.iter().map(mark));
    tape
}
