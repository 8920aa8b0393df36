//! How fast connections are opened, and how long it took until the first of every slot was.

use super::CONNECTS_BEHIND_MAX;
use crate::time::Nanos;

/// Attempts under way at a time where they are not paced, so that a listen queue of the usual 128 suffices.
const CONNECTING_MAX: u32 = 64;

/// Paced ones may be as many as begin in this time: a far target's answers take their time.
const CONNECTING_FOR: Nanos = Nanos(1_000_000_000);

/// Paces attempts, and notes when the first and the last slot was tried.
pub(super) struct Opening {
    /// Between two attempts; 0 where they are not paced.
    gap: Nanos,
    /// Before it none may begin.
    next: Nanos,
    /// Most attempts of a stream under way at a time.
    pub(super) connecting_max: u32,
    began: Option<Nanos>,
    took: Option<Nanos>,
}

impl Opening {
    pub(super) fn new(gap: Nanos) -> Self {
        let paced = CONNECTING_FOR.0.checked_div(gap.0).unwrap_or(0).min(u32::MAX.into()) as u32;
        Self { gap, next: Nanos::ZERO, connecting_max: paced.max(CONNECTING_MAX), began: None, took: None }
    }

    /// When the next attempt may begin.
    pub(super) fn next(&self) -> Nanos {
        self.next
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, now: Nanos) {
        let first = *self.began.get_or_insert(now);
        let due = self.next.max(first);
        self.next = due.max(now.saturating_sub(CONNECTS_BEHIND_MAX)) + self.gap;
    }

    /// Every slot was opened, or failed once.
    pub(super) fn end(&mut self, now: Nanos) {
        self.took = self.began.map(|began| now - began);
    }

    /// From the first attempt until every slot was opened, or failed once.
    pub(super) fn took(&self) -> Option<Nanos> {
        self.took
    }
}
