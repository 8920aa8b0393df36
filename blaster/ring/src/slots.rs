//! What the kernel holds for each connection.

use std::ops::Range;

use socket2::Socket;

/// A connection as the engine sees it: its socket, and which operations are with the kernel.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) socket: Option<Socket>,
    /// Operations whose last completion has not been seen. The slot is not reused, and its memory not freed, before
    /// this is 0.
    pub(crate) outstanding: u32,
    pub(crate) closing: bool,
    /// A connect is with the kernel.
    pub(crate) connecting: bool,
    /// A multishot receive is armed.
    pub(crate) receiving: bool,
    /// A multishot receive that hands the kernel's times over is armed: instead of the other, or as long as that is being cancelled.
    pub(crate) receiving_timed: bool,
    /// The rest of the send that is with the kernel.
    pub(crate) sending: Option<Pending>,
    /// A send failed: an end of stream that follows was a reset, whose error the send took away.
    pub(crate) send_failed: bool,
}

/// Bytes the kernel has not taken yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) start: *const u8,
    pub(crate) len: u32,
    first_request: u32,
    requests: u32,
}

impl Pending {
    /// The bytes of these requests of the tape; of none if they lie elsewhere.
    #[inline]
    pub(crate) fn new(bytes: &[u8], run: Range<usize>) -> Self {
        Self {
            start: bytes.as_ptr(),
            len: bytes.len() as u32,
            first_request: run.start as u32,
            requests: run.len() as u32,
        }
    }

    /// What is left of the same bytes when the kernel has taken some of them.
    pub(crate) fn rest(self, taken: u32) -> Self {
        debug_assert!(taken < self.len);
        Self { start: self.start.wrapping_add(taken as usize), len: self.len - taken, ..self }
    }

    /// The run of the tape that the send covers.
    #[inline]
    pub(crate) fn requests(&self) -> Range<usize> {
        let first = self.first_request as usize;
        first..first + self.requests as usize
    }
}

impl Slot {
    /// Ready for another connection.
    pub(crate) fn clear(&mut self) {
        debug_assert_eq!(self.outstanding, 0);
        self.socket = None;
        self.closing = false;
        self.connecting = false;
        self.receiving = false;
        self.receiving_timed = false;
        self.sending = None;
        self.send_failed = false;
    }
}
