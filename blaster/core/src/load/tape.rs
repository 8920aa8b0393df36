//! The tape: every request of the run, serialized before it starts, lying one behind the other.
//!
//! Consecutive requests are contiguous, so a pipelined run of them is one slice and one send.
//! A tape has a section for each stream (target): a stream walks its own section round and round.
//!
//! [`Tape`] says where everything is and never changes. The bytes are on a [`Reel`], one for each shard's engine, because fresh
//! fields (ids, times) are written over them before every send. A reel knows which requests are with the kernel: those are not
//! written to.

use std::ops::Range;
use std::sync::Arc;

use payloads_fresh::Place;

use super::engine::{Lent, Outgoing};

/// Where each request begins and ends and what it is; immutable.
#[derive(Debug, Default)]
pub struct Tape {
    /// `starts[i]..starts[i + 1]` are the bytes of request `i`; one more entry than requests.
    starts: Vec<u32>,
    marks: Vec<Mark>,
    /// Fresh fields, by their offsets.
    places: Vec<Place>,
    /// `place_starts[i]..place_starts[i + 1]` are the fresh fields of request `i`; empty if there are none at all.
    place_starts: Vec<u32>,
    sections: Vec<Section>,
}

/// A tape in the making, with its bytes.
#[derive(Debug)]
pub struct Recording {
    tape: Tape,
    bytes: Vec<u8>,
}

/// One request of a section that is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Where it ends in the section's bytes.
    pub end: usize,
    /// Where its fresh fields end among the section's.
    pub places_end: usize,
    /// What it is.
    pub mark: Mark,
}

/// What the recorder must know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which kind of request this is; an index into the run's classes.
    pub class: u16,
    /// Analytics events the request carries.
    pub events: u32,
}

/// The piece of the tape that belongs to one stream.
#[derive(Clone, Debug)]
pub struct Section {
    /// Indices of its requests.
    pub requests: Range<usize>,
    /// The class, when all its requests share one.
    pub only_class: Option<u16>,
    /// Whether its requests have fresh fields.
    pub is_fresh: bool,
}

/// The bytes one engine sends from.
#[derive(Debug)]
pub struct Reel {
    tape: Arc<Tape>,
    bytes: Bytes,
    /// Whether a send covers request `i`; empty if no request has fresh fields.
    covered: Vec<bool>,
}

#[derive(Debug)]
enum Bytes {
    /// Nothing is ever written to them: one copy serves all shards.
    Shared(Arc<Vec<u8>>),
    Own(Vec<u8>),
}

/// The most bytes a tape may hold: offsets are 32 bits wide, to keep the index small and in cache.
pub const TAPE_BYTES_MAX: usize = u32::MAX as usize;

impl Recording {
    /// Nothing yet.
    pub fn new() -> Self {
        let tape = Tape { starts: vec![0], ..Tape::default() };
        Self { tape, bytes: Vec::new() }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.tape.marks.len()
    }

    /// Requests of the section appended last; 0 while there is none.
    pub fn last_section_len(&self) -> usize {
        self.tape.sections.last().map_or(0, |section| section.requests.len())
    }

    /// Events of the section appended last.
    pub fn last_section_events(&self) -> u64 {
        let requests = self.tape.sections.last().map_or(0..0, |section| section.requests.clone());
        self.tape.marks[requests].iter().map(|mark| u64::from(mark.events)).sum()
    }

    /// Whether any request has fresh fields, so that every shard needs bytes of its own.
    pub fn is_fresh(&self) -> bool {
        !self.tape.places.is_empty()
    }

    /// Appends a section: `bytes` holds the requests, each of `cuts` says where one ends, `places` are their fresh fields by
    /// offsets within `bytes`.
    ///
    /// # Panics
    /// When the section is empty, its ends do not rise to `bytes.len()`, a place is not within its request, or the tape would
    /// outgrow [`TAPE_BYTES_MAX`]: the caller checks the size, which the user chose.
    pub fn push_section(
        &mut self,
        bytes: Vec<u8>,
        cuts: impl IntoIterator<Item = Cut>,
        places: impl IntoIterator<Item = Place>,
    ) {
        let base = self.bytes.len();
        let tape = &mut self.tape;
        assert!(base + bytes.len() <= TAPE_BYTES_MAX, "a tape holds at most {TAPE_BYTES_MAX} bytes");
        let (first, first_place) = (tape.marks.len(), tape.places.len());
        tape.places.extend(places.into_iter().map(|place| Place { at: base as u32 + place.at, ..place }));
        if tape.place_starts.is_empty() && !tape.places.is_empty() {
            tape.place_starts = vec![0; first + 1];
        }
        for Cut { end, places_end, mark } in cuts {
            let start = *tape.starts.last().expect("starts has one entry more than requests") as usize;
            let end = base + end;
            assert!(end > start && end <= base + bytes.len(), "request ends must rise within the bytes");
            tape.starts.push(end as u32);
            tape.marks.push(mark);
            if let Some(&places_start) = tape.place_starts.last() {
                let places = &tape.places[places_start as usize..first_place + places_end];
                let within = |place: &Place| {
                    place.at as usize >= start && place.at as usize + place.kind.width() <= end
                };
                assert!(places.iter().all(within), "a fresh field stands within its request");
                tape.place_starts.push((first_place + places_end) as u32);
            }
        }
        let requests = first..tape.marks.len();
        assert!(!requests.is_empty(), "a section needs a request");
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.reserve_exact(bytes.len());
            self.bytes.extend_from_slice(&bytes);
        }
        assert_eq!(tape.starts[requests.end] as usize, self.bytes.len(), "bytes behind the last request");
        if let Some(&places_end) = tape.place_starts.last() {
            assert_eq!(places_end as usize, tape.places.len(), "fresh fields behind the last request");
        }
        let class = tape.marks[first].class;
        let only_class = tape.marks[requests.clone()].iter().all(|mark| mark.class == class).then_some(class);
        tape.sections.push(Section { requests, only_class, is_fresh: tape.places.len() > first_place });
    }

    /// The tape, and a reel for each of `shards` shards.
    pub fn finish(mut self, shards: usize) -> (Arc<Tape>, Vec<Reel>) {
        self.tape.places.shrink_to_fit();
        let (tape, requests) = (Arc::new(self.tape), self.bytes);
        if tape.places.is_empty() {
            let bytes = Arc::new(requests);
            let reel =
                || Reel { tape: tape.clone(), bytes: Bytes::Shared(bytes.clone()), covered: Vec::new() };
            let reels = (0..shards).map(|_| reel()).collect();
            return (tape, reels);
        }
        let reel = |bytes| Reel {
            tape: tape.clone(),
            bytes: Bytes::Own(bytes),
            covered: vec![false; tape.marks.len()],
        };
        let mut reels: Vec<_> = (1..shards).map(|_| reel(requests.clone())).collect();
        reels.push(reel(requests));
        (tape, reels)
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// The section of a stream.
    pub fn section(&self, stream: usize) -> &Section {
        &self.sections[stream]
    }

    /// The mark of request `index`.
    #[inline]
    pub fn mark(&self, index: usize) -> Mark {
        self.marks[index]
    }

    /// Where the bytes of the run of requests `first..last` lie.
    #[inline]
    pub fn span(&self, run: Range<usize>) -> Range<usize> {
        self.starts[run.start] as usize..self.starts[run.end] as usize
    }

    /// The fresh fields of a run, if the tape has any.
    #[inline]
    pub fn places(&self, run: Range<usize>) -> &[Place] {
        &self.places[self.place_starts[run.start] as usize..self.place_starts[run.end] as usize]
    }

    /// Bytes of the longest request of sections with fresh fields, those without any among them too: what a room for a copy must
    /// hold. 0 if there is no such section.
    pub fn fresh_request_bytes_max(&self) -> usize {
        let fresh = self.sections.iter().filter(|section| section.is_fresh);
        let requests = fresh.flat_map(|section| section.requests.clone());
        requests.map(|request| self.span(request..request + 1).len()).max().unwrap_or(0)
    }
}

impl Reel {
    /// What is on it.
    pub fn tape(&self) -> &Arc<Tape> {
        &self.tape
    }

    /// The bytes of a run.
    #[inline]
    pub fn bytes(&self, run: Range<usize>) -> &[u8] {
        let span = self.tape.span(run);
        match &self.bytes {
            Bytes::Shared(bytes) => &bytes[span],
            Bytes::Own(bytes) => &bytes[span],
        }
    }

    /// What [`Engine::lend`](super::engine::Engine::lend) lends: the run's own bytes if no send covers them, else a copy in `room`.
    ///
    /// # Panics
    /// When the tape has no fresh fields, or not one request fits in `room`.
    #[inline]
    pub fn lend<'a>(&'a mut self, run: Range<usize>, room: &'a mut [u8]) -> Lent<'a> {
        if !self.is_free(run.clone()) {
            return self.lend_copy(run, room);
        }
        Lent { requests: run.len(), bytes: self.bytes_mut(run.clone()), what: Outgoing::Tape(run) }
    }

    /// A stalled connection still sends what is on the tape there: as many requests as fit in `room` go out from it instead.
    #[cold]
    fn lend_copy<'a>(&self, run: Range<usize>, room: &'a mut [u8]) -> Lent<'a> {
        let start = self.tape.starts[run.start] as usize;
        let ends = &self.tape.starts[run.start + 1..=run.end];
        let requests = ends.partition_point(|&end| end as usize - start <= room.len());
        assert!(requests > 0, "the staging room holds the longest request of a section with fresh fields");
        let bytes = self.bytes(run.start..run.start + requests);
        let copy = &mut room[..bytes.len()];
        copy.copy_from_slice(bytes);
        Lent { requests, what: Outgoing::Staged(copy.len()), bytes: copy }
    }

    /// Whether no send covers any request of a run.
    #[inline]
    fn is_free(&self, run: Range<usize>) -> bool {
        !self.covered.is_empty() && !self.covered[run].contains(&true)
    }

    #[inline]
    fn bytes_mut(&mut self, run: Range<usize>) -> &mut [u8] {
        debug_assert!(self.is_free(run.clone()), "nothing is written while a send reads it");
        match &mut self.bytes {
            Bytes::Own(bytes) => &mut bytes[self.tape.span(run)],
            Bytes::Shared(_) => panic!("bytes without fresh fields are shared"),
        }
    }

    /// A send of these requests begins.
    #[inline]
    pub fn cover(&mut self, run: Range<usize>) {
        if !self.covered.is_empty() {
            self.covered[run].fill(true);
        }
    }

    /// It has ended: nobody reads these bytes any more.
    #[inline]
    pub fn uncover(&mut self, run: Range<usize>) {
        if !self.covered.is_empty() {
            self.covered[run].fill(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use payloads_fresh::Kind;

    use super::*;

    const MARK: Mark = Mark { class: 0, events: 1 };

    fn cut(end: usize) -> Cut {
        Cut { end, places_end: 0, mark: MARK }
    }

    #[test]
    fn a_run_of_requests_is_one_contiguous_span() {
        let mut recording = Recording::new();
        recording.push_section(
            b"aabbb".to_vec(),
            [cut(2), Cut { mark: Mark { class: 1, ..MARK }, ..cut(5) }],
            [],
        );
        recording.push_section(b"cccc".to_vec(), [cut(4)], []);
        let (tape, mut reels) = recording.finish(2);
        assert_eq!(tape.span(0..2), 0..5);
        assert_eq!(tape.section(0).only_class, None);
        assert_eq!(tape.section(1).only_class, Some(0));
        assert!(!tape.section(0).is_fresh);
        for reel in &mut reels {
            assert_eq!(reel.bytes(2..3), b"cccc");
            assert!(!reel.is_free(0..1), "bytes without fresh fields are shared");
        }
    }

    #[test]
    #[should_panic(expected = "bytes behind the last request")]
    fn bytes_that_belong_to_no_request_are_refused() {
        Recording::new().push_section(b"aab".to_vec(), [cut(2)], []);
    }

    #[test]
    #[should_panic(expected = "within its request")]
    fn a_field_across_requests_is_refused() {
        let places = [Place { at: 30, kind: Kind::Uuid }];
        let cuts = [Cut { places_end: 1, ..cut(50) }, Cut { places_end: 1, ..cut(100) }];
        Recording::new().push_section(vec![b' '; 100], cuts, places);
    }

    /// A section without fresh fields, then four requests of 20 bytes with a number each.
    fn numbered() -> (Arc<Tape>, Vec<Reel>) {
        let mut recording = Recording::new();
        recording.push_section(b"plain".to_vec(), [cut(5)], []);
        let places = (0..4).map(|i| Place { at: i * 20 + 2, kind: Kind::Seq });
        let cuts = (1..=4).map(|i| Cut { places_end: i, ..cut(i * 20) });
        recording.push_section(vec![b' '; 80], cuts, places);
        recording.finish(2)
    }

    #[test]
    fn a_room_holds_requests_without_fresh_fields_too_where_others_have_some() {
        let mut recording = Recording::new();
        recording.push_section(vec![b' '; 500], [cut(500)], []);
        let places = [Place { at: 2, kind: Kind::Seq }];
        let cuts = [Cut { places_end: 1, ..cut(20) }, Cut { places_end: 1, ..cut(120) }];
        recording.push_section(vec![b' '; 120], cuts, places);
        let (tape, mut reels) = recording.finish(1);
        assert_eq!(tape.fresh_request_bytes_max(), 100);
        reels[0].cover(2..3);
        let mut room = vec![0; tape.fresh_request_bytes_max()];
        assert_eq!(reels[0].lend(2..3, &mut room).what, Outgoing::Staged(100));
    }

    #[test]
    fn every_reel_has_fresh_fields_of_its_own() {
        let (tape, mut reels) = numbered();
        assert!(!tape.section(0).is_fresh && tape.section(1).is_fresh);
        assert_eq!(tape.fresh_request_bytes_max(), 20);
        assert!(tape.places(0..1).is_empty());
        assert_eq!(tape.places(1..3).iter().map(|place| place.at).collect::<Vec<_>>(), [7, 27]);
        reels[0].bytes_mut(1..5).fill(b'x');
        assert_eq!((reels[0].bytes(1..2)[0], reels[1].bytes(1..2)[0]), (b'x', b' '));
    }

    #[test]
    fn what_a_send_covers_is_not_written_to_but_can_be_copied() {
        let (_, mut reels) = numbered();
        let reel = &mut reels[0];
        reel.cover(2..4);
        assert!(reel.is_free(1..2) && reel.is_free(4..5));
        for run in [1..3, 2..3, 3..4, 3..5, 1..5] {
            assert!(!reel.is_free(run));
        }
        let mut room = [0; 45];
        let lent = reel.lend(2..5, &mut room);
        assert_eq!((lent.requests, lent.bytes.len(), lent.what), (2, 40, Outgoing::Staged(40)));
        lent.bytes.fill(b'x');
        assert_eq!(reel.bytes(2..3), [b' '; 20]);
        assert_eq!(reel.lend(4..5, &mut room).what, Outgoing::Tape(4..5));
        reel.uncover(2..4);
        assert!(reel.is_free(1..5));
    }
}
