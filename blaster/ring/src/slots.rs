//! What the kernel holds for each connection.

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
    /// The rest of the send that is with the kernel.
    pub(crate) sending: Option<Pending>,
    /// A send failed: an end of stream that follows was a reset, whose error the send took away.
    pub(crate) send_failed: bool,
    /// Where bytes that lie on no tape are written.
    pub(crate) staging: Box<[u8]>,
}

/// Bytes the kernel has not taken yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) start: *const u8,
    pub(crate) len: u32,
}

impl Slot {
    /// Ready for another connection; the staging room stays.
    pub(crate) fn clear(&mut self) {
        debug_assert_eq!(self.outstanding, 0);
        self.socket = None;
        self.closing = false;
        self.connecting = false;
        self.receiving = false;
        self.sending = None;
        self.send_failed = false;
    }
}
