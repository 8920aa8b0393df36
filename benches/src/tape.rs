//! The requests that `blaster` sends, for the benchmarks and for other tools.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use blaster_core::load::tape::{Cut, Mark, Recording, Reel, Tape};
use payloads::{BYTES_MAX, Error, Extent, NoFiles, Requests, Serialized, Wish};

/// As much as `blaster` puts on its tape for a target (`blaster/src/payload.rs`).
pub const EXTENT: Extent = Extent { requests: 4096, bytes: 8 << 20, bytes_max: BYTES_MAX };

/// The guides' mixture of singles and batches.
pub const MIX: &str = "1:100,10:10,100:3";

/// Events as POSTs to `host`, single or in batches. The same but for the moment they say they occurred, if `seed` is.
pub fn events(host: &str, seed: u64, mix: Option<&str>) -> Result<Serialized, Error> {
    serialize(host, EXTENT, seed, mix)
}

/// So many of them.
pub fn serialize(host: &str, extent: Extent, seed: u64, mix: Option<&str>) -> Result<Serialized, Error> {
    let mix = mix.map(str::parse).transpose()?;
    let wish = Wish { preset: Some("events"), mix: mix.as_ref(), ..Wish::default() };
    let now_unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    Requests::new(&wish, &NoFiles)?.serialize(host, extent, seed, now_unix_ns)
}

/// A plain GET.
pub fn get(host: &str, path: &str) -> Result<Serialized, Error> {
    Requests::new(&Wish { path: Some(path), ..Wish::default() }, &NoFiles)?.serialize(host, EXTENT, 0, 0)
}

/// The tape of one target that these requests make, and the bytes to send from.
pub fn tape(serialized: Serialized) -> (Arc<Tape>, Reel) {
    let mut recording = Recording::new();
    let cut = |piece: &payloads::Piece| {
        let mark = Mark { class: piece.class, events: piece.events };
        Cut { end: piece.end, places_end: piece.places_end as usize, mark }
    };
    recording.push_section(serialized.bytes, serialized.requests.iter().map(cut), serialized.places);
    let (tape, mut reels) = recording.finish(1);
    (tape, reels.pop().expect("a reel for the one shard"))
}
