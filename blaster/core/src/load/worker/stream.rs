//! One target's share of a shard: its piece of the schedule and of the tape, its connections, and what is known of
//! its habits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use payloads_fresh::Fields;

use crate::load::acknowledged::CountKey;
use crate::load::engine::{ConnectFailure, ConnectionId};
use crate::load::http1::HeadTemplate;
use crate::load::lifetime::Lifetime;
use crate::load::recorder::ClassRecord;
use crate::load::rotation::Rotation;
use crate::load::schedule::Schedule;
use crate::load::tape::{Section, Tape};
use crate::plan::statuses::Statuses;
use crate::time::Nanos;

/// Most bytes of a run, so that one connection's send does not hold up the turn.
const RUN_BYTES_MAX: usize = 128 * 1024;

/// One target's share of a shard.
pub(super) struct Stream {
    pub(super) schedule: Option<Schedule>,
    /// What writes the fresh fields of its requests; none if these have none.
    pub(super) fields: Option<Fields>,
    pub(super) section: Section,
    /// The next request to send, and the next to come due.
    pub(super) cursor: usize,
    pub(super) due_cursor: usize,
    pub(super) connections: Range<u32>,
    /// When vacant slots are to be opened again.
    pub(super) reopen: BinaryHeap<Reverse<(Nanos, ConnectionId)>>,
    /// Attempts under way.
    pub(super) connecting: u32,
    pub(super) rotation: Rotation,
    /// Room from which on a connection with requests in flight is worth a send.
    pub(super) room_min: u32,
    pub(super) lifetime: Lifetime,
    pub(super) template: HeadTemplate,
    pub(super) addresses: Vec<usize>,
    pub(super) next_address: usize,
    pub(super) expect: Statuses,
    /// Where ok answers say how many events they acknowledge, if they do.
    pub(super) count_key: Option<CountKey>,
    /// Something is due and no connection has room.
    pub(super) blocked: bool,
    /// When the stream was found blocked for the first time since nothing was waiting: what waited before that waited for the
    /// generator.
    pub(super) blocked_from: Nanos,
    /// When a connection last had room again after none had; while what piled up meanwhile is worked off, the last turn
    /// that did so: standing behind others in that queue is a part of having waited for room.
    pub(super) regained: Nanos,
    /// No connection had room, and not all that waited since has been sent.
    pub(super) catching_up: bool,
    /// When the last turn handed out requests.
    pub(super) dispatched_at: Nanos,
    pub(super) warmup_backlog: u64,
    pub(super) last_failure: Option<ConnectFailure>,
}

impl Stream {
    /// Requests (not of the warm-up) that are due and unsent.
    pub(super) fn backlog(&self) -> u64 {
        self.schedule.as_ref().map_or(0, |schedule| schedule.waiting() - self.warmup_backlog)
    }

    /// The end of the run of at most `wanted` requests that begins at the cursor.
    #[inline]
    pub(super) fn run_end(&self, tape: &Tape, wanted: u64) -> usize {
        let left = self.section.requests.end - self.cursor;
        let mut last = self.cursor + wanted.min(left as u64) as usize;
        while last - self.cursor > 1 && tape.span(self.cursor..last).len() > RUN_BYTES_MAX {
            last = self.cursor + (last - self.cursor) / 2;
        }
        last
    }

    pub(super) fn advanced(&self, cursor: usize, count: u64) -> usize {
        let Range { start, end } = self.section.requests;
        start + ((cursor - start) as u64 + count).rem_euclid((end - start) as u64) as usize
    }

    /// Counts requests that came due in their classes, in the order of the tape.
    pub(super) fn count_scheduled(&mut self, classes: &mut [ClassRecord], due: u64, tape: &Tape) {
        match self.section.only_class {
            Some(class) => classes[class as usize].scheduled += due,
            None => {
                for _ in 0..due {
                    classes[tape.mark(self.due_cursor).class as usize].scheduled += 1;
                    self.due_cursor = self.advanced(self.due_cursor, 1);
                }
            }
        }
    }
}
