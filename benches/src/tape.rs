//! The requests that `blaster` sends by default, for the benchmarks and for other tools.

use std::time::{SystemTime, UNIX_EPOCH};

use std::sync::Arc;

use blaster_core::load::tape::{Cut, Mark, Recording, Reel, Tape};
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

/// The tape of one target that these requests make, and the bytes to send from.
pub fn tape(serialized: &Serialized) -> (Arc<Tape>, Reel) {
    let mut recording = Recording::new();
    let cut = |piece: &payloads::Piece| {
        let mark = Mark { class: piece.class, events: piece.events };
        Cut { end: piece.end, places_end: 0, mark }
    };
    recording.push_section(serialized.bytes.clone(), serialized.requests.iter().map(cut), []);
    let (tape, mut reels) = recording.finish(1);
    (tape, reels.pop().expect("a reel for the one shard"))
}
