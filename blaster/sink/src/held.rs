//! Answers that wait for their time.

use std::collections::VecDeque;

use blaster_core::time::Nanos;

use crate::outbox::Outbox;
use crate::pace::Fault;

/// What a connection is owed, in the order of its requests.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: VecDeque<Entry>,
    bytes: Outbox,
}

/// An answer, or what comes instead of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) due: Nanos,
    pub(crate) arrival: Nanos,
    /// How long it occupied a worker.
    pub(crate) service: Nanos,
    pub(crate) len: usize,
    pub(crate) end: End,
}

/// What an entry is to the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answer,
    Error,
    Overload,
    Fault(Fault),
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds an answer behind all others: it leaves no sooner than they do. Returns when it is due.
    pub(crate) fn push(&mut self, entry: Entry, bytes: &[u8]) -> Nanos {
        let due = self.entries.back().map_or(entry.due, |last| last.due.max(entry.due));
        self.entries.push_back(Entry { due, len: bytes.len(), ..entry });
        self.bytes.end().extend_from_slice(bytes);
        due
    }

    /// Moves the next answer behind `out`, if its time has come.
    pub(crate) fn release(&mut self, now: Nanos, out: &mut Vec<u8>) -> Option<Entry> {
        let entry = *self.entries.front().filter(|entry| entry.due <= now)?;
        self.entries.pop_front();
        let at = out.len();
        out.resize(at + entry.len, 0);
        let taken = self.bytes.take(&mut out[at..]);
        debug_assert_eq!(taken, entry.len);
        Some(entry)
    }

    /// Forgets all; how many there were.
    pub(crate) fn clear(&mut self) -> u64 {
        self.bytes.clear();
        let count = self.entries.len() as u64;
        self.entries.clear();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(due: u64) -> Entry {
        let zero = Nanos::ZERO;
        Entry { due: Nanos(due), arrival: zero, service: zero, len: 0, end: End::Answer }
    }

    #[test]
    fn answers_leave_when_they_are_due_and_never_out_of_order() {
        let mut held = Held::default();
        assert_eq!(held.push(entry(30), b"slow "), Nanos(30));
        assert_eq!(held.push(entry(10), b"quick "), Nanos(30));
        assert_eq!(held.push(entry(40), b""), Nanos(40));
        let mut out = Vec::new();
        assert!(held.release(Nanos(29), &mut out).is_none());
        while held.release(Nanos(39), &mut out).is_some() {}
        assert_eq!((&out[..], held.len(), held.is_empty()), (&b"slow quick "[..], 0, false));
        assert_eq!((held.clear(), held.is_empty()), (1, true));
    }
}
