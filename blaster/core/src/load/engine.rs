//! What a worker needs from outside: connections that move bytes, and the time.
//!
//! Two engines implement it: the io_uring engine (`blaster-ring`) and the simulator (`sim`). The worker
//! is generic over them, so what the simulator proves is the code that runs.

use std::ops::Range;

use crate::time::Nanos;

/// A connection's slot, from 0 to the number of connections of the shard.
pub type ConnectionId = u32;

/// Moves bytes and tells the time; owned by one worker on one thread.
///
/// The life of a slot: `connect` -> `Connected` or `ConnectFailed` -> `send`s and `Received`s ->
/// maybe `Ended` -> `close` -> `Released`, and it may be connected again. `close` is called exactly once for
/// every `connect`, also after a failed one, and nothing but `Released` is heard of a slot after it.
pub trait Engine {
    /// Time since the run's epoch, the same for all shards.
    fn now(&mut self) -> Nanos;

    /// Opens slot `id` to the address of that index.
    fn connect(&mut self, id: ConnectionId, address: usize);

    /// Sends `what` on an open slot; answered by `Sent` once the kernel has taken every byte.
    /// One send a slot at a time. The bytes belong to the engine until then.
    fn send(&mut self, id: ConnectionId, what: Outgoing);

    /// The bytes of `run`, requests with fresh fields, to be written to and then sent: those on the tape, or where a send still
    /// reads some of these, a copy in the slot's staging room of as many requests as fit there; at least one always does.
    fn lend(&mut self, id: ConnectionId, run: Range<usize>) -> Lent<'_>;

    /// Asks for the kernel's times of the send that comes next, on a slot that nothing is in flight on. Whether they were asked
    /// for; if so, [`OnEvent::wire`] tells them, if ever. An engine that must prepare a slot first does, and agrees when asked
    /// again before a later send on the same slot; others never do.
    fn time_next(&mut self, _id: ConnectionId) -> bool {
        false
    }

    /// Room to write bytes that lie on no tape; sent with [`Outgoing::Staged`]. Not while a send is in flight.
    fn stage(&mut self, id: ConnectionId) -> &mut [u8];

    /// Gives the slot up; pending sends are cancelled. Answered by `Released`.
    fn close(&mut self, id: ConnectionId);

    /// Submits everything asked for since the last turn, then hands over what has happened; returns when
    /// something has, at `until` at the latest. `on.submitted` is called if there was something to submit, before
    /// anything is waited for; then `on.reaped` once, before the first event.
    fn turn(&mut self, until: Nanos, on: &mut impl OnEvent);
}

/// Hears of what happened during a turn.
pub trait OnEvent {
    /// The clock, read when the kernel had taken the turn's sends.
    fn submitted(&mut self, _now: Nanos) {}
    /// The clock, read after any wait and before the turn's events.
    fn reaped(&mut self, now: Nanos);
    /// The kernel's times of a send, asked for with [`Engine::time_next`]; before the event of the first bytes received after it.
    fn wire(&mut self, _id: ConnectionId, _times: WireTimes) {}
    /// Something happened on a slot.
    fn event(&mut self, id: ConnectionId, event: Event<'_>);
}

/// When a send and what answers it passed between the kernel and its network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireTimes {
    /// The last byte sent was handed to the device.
    pub left: Nanos,
    /// The last of the bytes first received after it had come from the device.
    pub arrived: Nanos,
}

/// Requests to be written to before they are sent.
#[derive(Debug)]
pub struct Lent<'a> {
    /// Their bytes.
    pub bytes: &'a mut [u8],
    /// How many they are: all of the run, or its first ones.
    pub requests: usize,
    /// What to send then.
    pub what: Outgoing,
}

/// Bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A run of the tape's requests.
    Tape(Range<usize>),
    /// The first bytes of the slot's staging room.
    Staged(usize),
}

/// What can happen on a slot.
#[derive(Debug)]
pub enum Event<'a> {
    /// The connection is open.
    Connected,
    /// It could not be opened.
    ConnectFailed(ConnectFailure),
    /// A send was taken whole by the kernel.
    Sent,
    /// Bytes came in; they are lent for the call only.
    Received(&'a [u8]),
    /// The peer ended the connection; nothing more will be received.
    Ended(EndCause),
    /// The slot is free again.
    Released,
}

/// Why a peer's end came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// An orderly end (FIN).
    Closed,
    /// A reset, or another transport error.
    Reset,
}

/// Why a connection could not be opened. The order is that of the report's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectFailure {
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// No route to the address.
    Unreachable,
    /// This machine ran out of descriptors, ports or memory.
    Limits,
    /// Reset while connecting, or another error.
    Other,
}

impl ConnectFailure {
    /// Every kind, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Timeout, Self::Unreachable, Self::Limits, Self::Other];

    /// The report's key.
    pub fn key(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Limits => "limits",
            Self::Other => "other",
        }
    }
}
