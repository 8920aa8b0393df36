//! Fields that are new in every send: ids, times and numbers of a fixed width, written in place over those of the send before.
//!
//! `payloads` says where they stand in the requests it serializes ([`Place`]); whoever sends writes them there ([`Fields`]) just
//! before each send. Both draw and format with this crate, so that what was serialized and what is written later are alike.
//! No clock is read here: [`Fields::set_time`] is told.

#![forbid(unsafe_code)]

mod rng;
mod time;
mod uuid;

pub use rng::Rng;
pub use time::TimeFormat;
pub use uuid::{UUID_BYTES, uuid};

use time::Times;
use uuid::Uuids;

/// Where a fresh field stands, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of its first byte from the start of all requests.
    pub at: u32,
    /// What is written there.
    pub kind: Kind,
}

/// What is written at a [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new version-4 UUID, 36 bytes.
    Uuid,
    /// The time of the send.
    Now(TimeFormat),
    /// The next number, 16 digits, from [`SEQ_FIRST`].
    Seq,
    /// What stands at an earlier place of the same request.
    Repeat {
        /// Its width in bytes.
        width: u8,
        /// How many places before this one it is; at least 1.
        back: u16,
    },
}

/// The first number of [`Kind::Seq`]: all that a run can reach have as many digits.
pub const SEQ_FIRST: u64 = 1_000_000_000_000_000;

/// Digits of a [`Kind::Seq`].
pub const SEQ_BYTES: usize = 16;

impl Kind {
    /// Bytes it takes.
    pub fn width(self) -> usize {
        match self {
            Self::Uuid => UUID_BYTES,
            Self::Now(format) => format.width(),
            Self::Seq => SEQ_BYTES,
            Self::Repeat { width, .. } => width.into(),
        }
    }
}

/// Writes fresh fields: one for each stream of requests, so that the stream's seed and order say what is written.
#[derive(Clone, Debug)]
pub struct Fields {
    uuids: Uuids,
    seq: u64,
    seq_step: u64,
    times: Times,
}

impl Fields {
    /// The stream of that `seed`; different seeds give different ids. It takes the numbers `first_seq`, `first_seq + seq_step`, …
    /// from [`SEQ_FIRST`] on: streams that share the numbers take every `seq_step`th.
    pub fn new(seed: u64, first_seq: u64, seq_step: u64) -> Self {
        Self { uuids: Uuids::new(seed), seq: SEQ_FIRST + first_seq, seq_step, times: Times::new(0) }
    }

    /// From now on it is so many nanoseconds after 1970-01-01T00:00:00Z.
    #[inline]
    pub fn set_time(&mut self, unix_ns: u64) {
        self.times.set(unix_ns);
    }

    /// Writes all fields of whole requests over those that are there: `bytes` are theirs, and begin `base` bytes after the start
    /// that places count from.
    ///
    /// # Panics
    /// When a place is not within `bytes`, or repeats one before the first.
    #[inline]
    pub fn write(&mut self, bytes: &mut [u8], base: u32, places: &[Place]) {
        for (index, place) in places.iter().enumerate() {
            let at = (place.at - base) as usize;
            match place.kind {
                Kind::Uuid => self.uuids.write(place_of(bytes, at)),
                Kind::Now(TimeFormat::Iso) => *place_of(bytes, at) = *self.times.iso(),
                Kind::Now(_) | Kind::Seq => self.write_rare(place.kind, &mut bytes[at..]),
                Kind::Repeat { width, back } => {
                    let from = (places[index - usize::from(back)].at - base) as usize;
                    bytes.copy_within(from..from + usize::from(width), at);
                }
            }
        }
    }

    /// What few requests have, apart from what nearly all have: their code would take the registers.
    #[inline(never)]
    fn write_rare(&mut self, kind: Kind, place: &mut [u8]) {
        match kind {
            Kind::Now(format) => {
                let text = self.times.text(format);
                place[..text.len()].copy_from_slice(text);
            }
            Kind::Seq => {
                *place_of(place, 0) = time::digits::<SEQ_BYTES>(self.seq);
                self.seq += self.seq_step;
            }
            Kind::Uuid | Kind::Repeat { .. } => unreachable!("these are written in line"),
        }
    }
}

#[inline]
fn place_of<const N: usize>(bytes: &mut [u8], at: usize) -> &mut [u8; N] {
    bytes[at..].first_chunk_mut().expect("a fresh field lies within its request")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISO: Kind = Kind::Now(TimeFormat::Iso);

    #[test]
    fn every_kind_fills_its_place_and_nothing_else() {
        let kinds = [Kind::Uuid, ISO, Kind::Seq, Kind::Repeat { width: 36, back: 3 }];
        let mut bytes = vec![b'.'; 7];
        let mut places = Vec::new();
        for kind in kinds {
            places.push(Place { at: 1_000 + bytes.len() as u32, kind });
            bytes.resize(bytes.len() + kind.width(), b'-');
            bytes.push(b'.');
        }
        let mut fields = Fields::new(1, 5, 2);
        fields.set_time(1_767_225_600_123_000_000);
        for seq in ["1000000000000005", "1000000000000007"] {
            fields.write(&mut bytes, 1_000, &places);
            let text = str::from_utf8(&bytes).unwrap();
            let (id, rest) = text[7..].split_at(36);
            assert_eq!(rest, format!(".2026-01-01T00:00:00.123Z.{seq}.{id}."));
        }
    }

    #[test]
    fn ids_differ_within_a_stream_and_between_streams_and_a_seed_repeats_them() {
        let ids = |seed| {
            let mut fields = Fields::new(seed, 0, 1);
            let mut bytes = [b'-'; 36];
            (0..1_000)
                .map(|_| {
                    fields.write(&mut bytes, 0, &[Place { at: 0, kind: Kind::Uuid }]);
                    bytes
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(3), ids(3));
        let mut all = [ids(0), ids(1), ids(2), ids(3)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4_000);
    }

    #[test]
    fn a_place_is_eight_bytes() {
        assert_eq!(size_of::<Place>(), 8);
    }
}
