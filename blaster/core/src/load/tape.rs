//! The tape: every request of the run, serialized before it starts, lying one behind the other.
//!
//! Consecutive requests are contiguous, so a pipelined run of them is one slice and one send.
//! A tape has a section for each stream (target): a stream walks its own section round and round.

use std::ops::Range;

/// Serialized requests and where each begins and ends. Immutable during a run.
#[derive(Debug, Default)]
pub struct Tape {
    bytes: Vec<u8>,
    /// `starts[i]..starts[i + 1]` are the bytes of request `i`; one more entry than requests.
    starts: Vec<u32>,
    marks: Vec<Mark>,
    sections: Vec<Section>,
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
}

/// The most bytes a tape may hold: offsets are 32 bits wide, to keep the index small and in cache.
pub const TAPE_BYTES_MAX: usize = u32::MAX as usize;

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self { starts: vec![0], ..Self::default() }
    }

    /// Appends a section: `bytes` holds the requests, each `(end, mark)` says where one ends in `bytes`.
    ///
    /// # Panics
    /// When the section is empty, its ends do not rise to `bytes.len()`, or the tape would outgrow
    /// [`TAPE_BYTES_MAX`]: the caller checks the size, which the user chose.
    pub fn push_section(&mut self, bytes: &[u8], requests: impl IntoIterator<Item = (usize, Mark)>) {
        let base = self.bytes.len();
        assert!(base + bytes.len() <= TAPE_BYTES_MAX, "a tape holds at most {TAPE_BYTES_MAX} bytes");
        let first = self.marks.len();
        for (end, mark) in requests {
            let start = *self.starts.last().expect("starts has one entry more than requests");
            assert!(
                base + end > start as usize && end <= bytes.len(),
                "request ends must rise within the bytes"
            );
            self.starts.push((base + end) as u32);
            self.marks.push(mark);
        }
        let requests = first..self.marks.len();
        assert!(!requests.is_empty(), "a section needs a request");
        self.bytes.extend_from_slice(bytes);
        assert_eq!(
            *self.starts.last().expect("not empty") as usize,
            self.bytes.len(),
            "bytes behind the last request"
        );
        let class = self.marks[first].class;
        let only_class = self.marks[requests.clone()].iter().all(|mark| mark.class == class).then_some(class);
        self.sections.push(Section { requests, only_class });
    }

    /// All bytes; what a [`Engine::send`](super::engine::Engine::send) range points into.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The section of a stream.
    pub fn section(&self, stream: usize) -> &Section {
        &self.sections[stream]
    }

    /// The mark of request `index`.
    #[inline]
    pub fn mark(&self, index: usize) -> Mark {
        self.marks[index]
    }

    /// The bytes of the run of requests `first..last`.
    #[inline]
    pub fn span(&self, run: Range<usize>) -> Range<usize> {
        self.starts[run.start] as usize..self.starts[run.end] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { class: 0, events: 1 };

    #[test]
    fn a_run_of_requests_is_one_contiguous_span() {
        let mut tape = Tape::new();
        tape.push_section(b"aabbb", [(2, MARK), (5, Mark { class: 1, ..MARK })]);
        tape.push_section(b"cccc", [(4, MARK)]);
        assert_eq!(tape.span(0..2), 0..5);
        assert_eq!(&tape.bytes()[tape.span(2..3)], b"cccc");
        assert_eq!(tape.section(0).only_class, None);
        assert_eq!(tape.section(1).only_class, Some(0));
    }

    #[test]
    #[should_panic(expected = "bytes behind the last request")]
    fn bytes_that_belong_to_no_request_are_refused() {
        Tape::new().push_section(b"aab", [(2, MARK)]);
    }
}
