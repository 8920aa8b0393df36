//! The engine on io_uring: a turn is one enter call that submits everything and reaps, or one that waits.
//!
//! Each connection has one multishot receive armed for its whole life and at most one send in flight. Completions are
//! all collected by the enter call, then acted on one by one; received bytes are lent out of the buffer the kernel filled.
//!
//! - **INV-E1** Bytes of a send (reel, or a slot's part of the staging room) are neither moved, changed nor freed before the
//!   send's own completion: the reel lends no bytes of a request that is covered, which it is from the send on until its
//!   completion, and `stage` refuses while `sending` is set. An early answer, a full socket or a cancelled connection change neither.
//! - **INV-E2** The ring's memory (buffers, reel, staging, addresses) is freed only when every operation has completed:
//!   (accepts touch none) `drop` cancels and waits, and leaks all of it if the kernel should not comply.
//! - **INV-E4** A descriptor that accept hands over is owned by nobody else; the listener's own outlives the accept armed on it.
//! - **INV-E5** The header of timed receives is boxed once at construction and never changes.
//! - **INV-E3** Addresses are boxed once at construction and never change: a connect reads them at any time.

use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd};

use blaster_core::load::engine::{
    ConnectFailure, ConnectionId, EndCause, Engine, Event, Lent, OnEvent, Outgoing,
};
use blaster_core::load::tape::Reel;
use blaster_core::time::Nanos;
use io_uring::cqueue::{self, buffer_select, more};
use io_uring::types::{Fd, Fixed, RecvMsgOut};
use io_uring::{opcode, squeue};
use socket2::{SockAddr, Socket};

use crate::buffers::{self, BufferRing};
use crate::clock::Clock;
use crate::ring::Ring;
use crate::slots::{Pending, Slot};
use crate::socket::{self, Congestion, Route};
use crate::staging::Staging;
use crate::wire::{self, Wire};

/// What an engine is made for.
pub struct EngineConfig {
    /// The run's clock.
    pub clock: Clock,
    /// Most connections at a time.
    pub connections: u32,
    /// Most requests in flight on one: sizes the receive buffers so that a batch of answers fits one.
    pub depth: u32,
    /// What [`Outgoing::Tape`] is sent from.
    pub reel: Reel,
    /// Where [`Engine::connect`] connects to, and from where; by index.
    pub routes: Vec<Route>,
    /// Bytes of [`Engine::stage`] room for each connection: at least those of the longest request with fresh fields.
    pub staging_bytes: usize,
    /// Poll instead of sleeping for waits up to [`SPIN`]: only for a thread that owns its CPU.
    pub spin: bool,
    /// Of the connections it opens and accepts.
    pub congestion: Congestion,
    /// Let the kernel time requests when asked to ([`Engine::time_next`]).
    pub wire: bool,
}

/// The longest wait that is spun through, where a sleeping thread wakes up on time.
pub const SPIN: Nanos = Nanos(50_000);

/// The same where it does not: as much longer as it was seen to oversleep. Nested virtual machines take 100 µs and more.
pub const SPIN_MAX: Nanos = Nanos(250_000);

/// Longest step of a spin that counts as one: two readings of the clock are well below it.
const SPIN_STEP_MAX: Nanos = Nanos(1_000);

/// The engine of one thread.
pub struct UringEngine {
    ring: Ring,
    /// Freed by `drop`, unless the kernel may still use it.
    memory: ManuallyDrop<Memory>,
    slots: Vec<Slot>,
    clock: Clock,
    spin: bool,
    congestion: Congestion,
    /// By address: those to connect from.
    sources: Box<[Sources]>,
    listener: Option<Socket>,
    /// Slots without a connection, for accepted ones.
    vacant: Vec<ConnectionId>,
    /// Slots to tell the worker about at the next turn, without the kernel having a part in it.
    refused: Vec<(ConnectionId, ConnectFailure)>,
    /// Closing slots that nothing is outstanding on.
    released: Vec<ConnectionId>,
    /// Receives that ended without the connection having ended.
    rearm: Vec<ConnectionId>,
    /// When something was last sent or heard.
    active_at: Nanos,
    /// How late timed waits end, on average.
    oversleep: Nanos,
    /// Time spent polling for want of anything else to do.
    spun: Nanos,
    pressure: Pressure,
    wire: Wire,
}

/// How often the ring was short of room, since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Turns in which the completion queue had overflowed; the kernel kept the rest for the next.
    pub completion_overflows: u64,
    /// Receives that found no free buffer, and were armed again.
    pub buffers_starved: u64,
}

/// This machine's addresses that connections come from, in turn.
struct Sources {
    addresses: Vec<IpAddr>,
    next: usize,
}

impl Sources {
    fn next(&mut self) -> Option<IpAddr> {
        let source = *self.addresses.get(self.next)?;
        self.next = (self.next + 1) % self.addresses.len();
        Some(source)
    }
}

/// What the kernel reads and writes between calls.
struct Memory {
    buffers: BufferRing,
    reel: Reel,
    staging: Staging,
    addresses: Box<[(SocketAddr, SockAddr)]>,
    timed_header: Box<libc::msghdr>,
}

/// What a completion belongs to; in the upper half of its user data, above the slot.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Operation {
    Connect = 1,
    Send = 2,
    Receive = 3,
    Cancel = 4,
    Accept = 5,
    ReceiveTimed = 6,
}

impl UringEngine {
    /// Makes the ring, registers its files and buffers. Must be called on the thread that will use it.
    pub fn new(config: EngineConfig) -> io::Result<Self> {
        let connections = config.connections;
        let entries = (connections * 2).next_power_of_two().clamp(64, 4096);
        let ring = Ring::new(entries, (connections * 4).next_power_of_two().clamp(512, 65_536))?;
        ring.submitter.register_files_sparse(connections)?;
        // Few enough to stay in cache: the kernel takes them in the order they are given back.
        let buffer_count = (connections * 2).next_power_of_two().clamp(16, 1024) as u16;
        let buffers = BufferRing::new(buffer_count, (config.depth * 256).clamp(8 * 1024, 16 * 1024))?;
        // SAFETY: INV-B1 and INV-E2, the ring's memory outlives its registration.
        unsafe {
            ring.submitter.register_buf_ring_with_flags(
                buffers.address(),
                buffers.count(),
                buffers::GROUP,
                0,
            )?
        };
        assert!(
            config.reel.tape().fresh_request_bytes_max() <= config.staging_bytes,
            "a request that a stalled send covers goes out from the staging room"
        );
        let memory = Memory {
            buffers,
            reel: config.reel,
            staging: Staging::new(connections as usize, config.staging_bytes)?,
            addresses: config.routes.iter().map(|route| (route.to, route.to.into())).collect(),
            timed_header: Box::new(wire::receive_header()),
        };
        Ok(Self {
            ring,
            memory: ManuallyDrop::new(memory),
            slots: (0..connections).map(|_| Slot::default()).collect(),
            clock: config.clock,
            spin: config.spin,
            congestion: config.congestion,
            sources: config
                .routes
                .into_iter()
                .map(|Route { from: addresses, .. }| Sources { addresses, next: 0 })
                .collect(),
            listener: None,
            vacant: Vec::new(),
            refused: Vec::with_capacity(connections as usize),
            released: Vec::with_capacity(connections as usize),
            rearm: Vec::with_capacity(connections as usize),
            active_at: Nanos::ZERO,
            oversleep: Nanos::ZERO,
            spun: Nanos::ZERO,
            pressure: Pressure::default(),
            wire: Wire::new(config.wire),
        })
    }

    /// Accepts connections from `listener`: each is heard of as `Connected` on a vacant slot. When all slots are
    /// taken, further connections are closed at once.
    pub fn listen(&mut self, listener: Socket) {
        self.vacant = (0..self.slots.len() as u32).rev().collect();
        self.listener = Some(listener);
        self.arm_accept();
    }

    /// CPU time spent polling for want of anything else to do, since the engine was made.
    pub fn spun(&self) -> Nanos {
        self.spun
    }

    /// How often the ring was short of room, since the engine was made.
    pub fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// The open sockets, in the order of their slots.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.slots.iter().filter_map(|slot| slot.socket.as_ref())
    }

    /// Why the kernel has timed no request, if it has not.
    pub fn wire_unavailable(&self) -> Option<&'static str> {
        self.wire.unavailable()
    }

    /// The socket of an open slot.
    pub fn socket(&self, id: ConnectionId) -> Option<&Socket> {
        self.slots[id as usize].socket.as_ref()
    }

    fn arm_accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let entry =
            opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build().user_data(tag(Operation::Accept, 0));
        // SAFETY: INV-E4; an accept without an address touches no memory.
        unsafe { self.ring.push(&entry) };
    }

    fn arm_receive(&mut self, id: ConnectionId) {
        let entry = opcode::RecvMulti::new(Fixed(id), buffers::GROUP).build();
        self.slots[id as usize].receiving = true;
        self.submit(id, Operation::Receive, entry);
    }

    fn arm_receive_timed(&mut self, id: ConnectionId) {
        let header: *const libc::msghdr = &*self.memory.timed_header;
        let entry = opcode::RecvMsgMulti::new(Fixed(id), header, buffers::GROUP).build();
        self.slots[id as usize].receiving_timed = true;
        self.submit(id, Operation::ReceiveTimed, entry);
    }

    fn cancel(&mut self, id: ConnectionId, operation: Operation) {
        let entry = opcode::AsyncCancel::new(tag(operation, id)).build();
        self.submit(id, Operation::Cancel, entry);
    }

    /// Queues an operation of a slot.
    #[inline]
    fn submit(&mut self, id: ConnectionId, operation: Operation, entry: squeue::Entry) {
        self.slots[id as usize].outstanding += 1;
        // SAFETY: INV-E1 for sends, INV-E3 for connects, INV-B1 and INV-E5 for receives; cancels carry no memory.
        unsafe { self.ring.push(&entry.user_data(tag(operation, id))) };
    }

    fn submit_send(&mut self, id: ConnectionId, pending: Pending) {
        self.slots[id as usize].sending = Some(pending);
        let entry = opcode::Send::new(Fixed(id), pending.start, pending.len)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.submit(id, Operation::Send, entry);
    }

    /// Takes a connected or connecting socket into the slot's place in the ring's file table.
    fn adopt(&mut self, id: ConnectionId, socket: Socket) -> io::Result<()> {
        self.ring.submitter.register_files_update(id, &[socket.as_raw_fd()])?;
        self.slots[id as usize].socket = Some(socket);
        Ok(())
    }

    /// Waits until something happens, `until` at the latest; not at all if something has.
    fn wait(&mut self, until: Nanos) {
        if !self.refused.is_empty() || !self.released.is_empty() || self.ring.has_completions() {
            return;
        }
        let now = self.clock.now();
        if self.ring.has_deferred_work() {
            self.enter(0, None);
        } else if now < until {
            if self.spin {
                self.spin_then_sleep(now, until);
            } else {
                self.enter(1, Some(until - now));
            }
        }
    }

    /// Waits without giving the CPU away for a while after something was sent or heard, and when `until` is near; else sleeps,
    /// and is back early. A CPU that went to sleep takes its time to wake up, and that time would end up in every figure.
    fn spin_then_sleep(&mut self, began: Nanos, until: Nanos) {
        let window = (SPIN + self.oversleep).min(SPIN_MAX);
        let spin_until = if until - began <= window { until } else { until.min(self.active_at + window) };
        let mut now = began;
        let mut is_ready = false;
        while now < spin_until && !is_ready {
            std::hint::spin_loop();
            let next = self.clock.now();
            // A longer step means that somebody else had the CPU: no CPU time of ours was spun away in it.
            self.spun += (next - now).min(SPIN_STEP_MAX);
            now = next;
            is_ready = self.ring.has_deferred_work();
        }
        if is_ready {
            self.enter(0, None);
            self.active_at = now;
        } else if now + window < until {
            let wake_at = until - window;
            self.enter(1, Some(wake_at - now));
            if !self.ring.has_completions() {
                // The average of about the last eight.
                let late = self.clock.now().saturating_sub(wake_at).min(SPIN_MAX);
                self.oversleep = Nanos((self.oversleep.0 * 7 + late.0) / 8);
            }
        }
    }

    fn enter(&mut self, want: u32, timeout: Option<Nanos>) {
        self.ring.enter(want, timeout).expect("the kernel accepts what a set-up ring asks");
    }

    #[inline]
    fn complete(&mut self, entry: &cqueue::Entry, on: &mut impl OnEvent) {
        let (operation, id) = untag(entry.user_data());
        if operation == Operation::Accept {
            self.accepted(entry, on);
            return;
        }
        let result = entry.result();
        let is_last = !more(entry.flags());
        let slot = &mut self.slots[id as usize];
        slot.outstanding -= u32::from(is_last);
        match operation {
            Operation::Receive => {
                slot.receiving = !is_last;
                self.received(id, result, entry.flags(), on);
            }
            Operation::ReceiveTimed => {
                slot.receiving_timed = !is_last;
                self.received_timed(id, result, entry.flags(), on);
            }
            Operation::Send => self.sent(id, result, on),
            Operation::Connect => {
                slot.connecting = false;
                match result {
                    _ if slot.closing => {}
                    0 => {
                        self.arm_receive(id);
                        on.event(id, Event::Connected);
                    }
                    error => on.event(id, Event::ConnectFailed(connect_failure(-error))),
                }
            }
            Operation::Cancel | Operation::Accept => {}
        }
        let slot = &self.slots[id as usize];
        if slot.closing && slot.outstanding == 0 {
            self.released.push(id);
        }
    }

    #[inline]
    fn received(&mut self, id: ConnectionId, result: i32, flags: u32, on: &mut impl OnEvent) {
        let slot = &self.slots[id as usize];
        let (closing, receiving) = (slot.closing, slot.receiving);
        if slot.receiving_timed && result > 0 {
            // Unasked for, or not the first bytes after the send: nothing that could be timed.
            self.stop_timing(id);
        }
        if let Some(buffer) = buffer_select(flags) {
            let buffers = &mut self.memory.buffers;
            if result > 0 && !closing {
                on.event(id, Event::Received(buffers.bytes(buffer, result as usize)));
            }
            buffers.give_back(buffer);
        }
        if closing {
            return;
        }
        match result {
            0 => on.event(id, Event::Ended(self.end_cause(id))),
            _ if result > 0 && receiving => {}
            _ if result > 0 => self.rearm.push(id),
            _ => match -result {
                // No buffer was free; those of this turn are given back before the receive is armed again.
                // Cancelled is what gave way to the other kind of receive.
                error @ (libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED) => {
                    self.pressure.buffers_starved += u64::from(error == libc::ENOBUFS);
                    self.rearm.push(id);
                }
                _ => on.event(id, Event::Ended(EndCause::Reset)),
            },
        }
    }

    /// What [`Self::received`] does, of the receive that hands the kernel's times over with the bytes.
    fn received_timed(&mut self, id: ConnectionId, result: i32, flags: u32, on: &mut impl OnEvent) {
        let slot = &self.slots[id as usize];
        let (closing, receiving) = (slot.closing, slot.receiving_timed);
        let mut len = result;
        if let Some(buffer) = buffer_select(flags) {
            let memory = &mut *self.memory;
            if result > 0 {
                let filled = memory.buffers.bytes(buffer, result as usize);
                let message = RecvMsgOut::parse(filled, &memory.timed_header)
                    .expect("the kernel says what it filled in");
                let bytes = message.payload_data();
                len = bytes.len() as i32;
                if let (1.., false, Some(socket)) = (len, closing, &slot.socket) {
                    if self.wire.is_timing(id)
                        && let Some(times) =
                            self.wire.handle_arrival(socket, message.control_data(), self.clock)
                    {
                        on.wire(id, times);
                    }
                    on.event(id, Event::Received(bytes));
                }
            }
            memory.buffers.give_back(buffer);
        }
        if closing {
            return;
        }
        match len {
            0 => on.event(id, Event::Ended(self.end_cause(id))),
            _ if len > 0 && receiving && self.wire.is_timing(id) => {}
            _ if len > 0 && receiving => self.cancel(id, Operation::ReceiveTimed),
            _ if len > 0 => {
                self.forget_timing(id);
                self.rearm.push(id);
            }
            _ => match -len {
                libc::ENOBUFS | libc::EINTR | libc::EAGAIN | libc::ECANCELED => {
                    self.forget_timing(id);
                    self.rearm.push(id);
                }
                libc::EINVAL | libc::EOPNOTSUPP => {
                    self.wire.give_up("this kernel has no multishot receive of messages");
                    self.rearm.push(id);
                }
                _ => on.event(id, Event::Ended(EndCause::Reset)),
            },
        }
    }

    /// Has the usual receive take over again.
    fn stop_timing(&mut self, id: ConnectionId) {
        self.forget_timing(id);
        self.cancel(id, Operation::ReceiveTimed);
    }

    fn forget_timing(&mut self, id: ConnectionId) {
        if self.wire.is_timing(id) {
            self.wire.abandon(self.slots[id as usize].socket.as_ref());
        }
    }

    /// How a stream came to its end: a failed send takes the error of a reset away.
    fn end_cause(&self, id: ConnectionId) -> EndCause {
        if self.slots[id as usize].send_failed { EndCause::Reset } else { EndCause::Closed }
    }

    #[inline]
    fn sent(&mut self, id: ConnectionId, result: i32, on: &mut impl OnEvent) {
        let slot = &mut self.slots[id as usize];
        let pending = slot.sending.take().expect("a send completes once");
        let is_short = result >= 0 && (result as u32) < pending.len;
        if is_short && !slot.closing {
            self.submit_send(id, pending.rest(result as u32));
            return;
        }
        self.memory.reel.uncover(pending.requests());
        if slot.closing {
            return;
        }
        match result {
            taken if taken >= 0 => on.event(id, Event::Sent),
            // The receive side tells how the connection ended; it may still hold answers. After a half-close nobody else would.
            _ if slot.receiving || slot.receiving_timed => slot.send_failed = true,
            _ => on.event(id, Event::Ended(EndCause::Reset)),
        }
    }

    fn accepted(&mut self, entry: &cqueue::Entry, on: &mut impl OnEvent) {
        if entry.result() >= 0 {
            // SAFETY: INV-E4.
            let socket = unsafe { Socket::from_raw_fd(entry.result()) };
            if let Some(id) = self.vacant.pop() {
                if socket::tune(&socket, &self.congestion).is_ok() && self.adopt(id, socket).is_ok() {
                    self.arm_receive(id);
                    on.event(id, Event::Connected);
                } else {
                    self.vacant.push(id);
                }
            }
        }
        if !more(entry.flags()) {
            self.arm_accept();
        }
    }

    /// Forgets a slot that the kernel holds nothing of any more.
    fn release(&mut self, id: ConnectionId) {
        if self.slots[id as usize].socket.is_some() {
            self.ring.submitter.register_files_update(id, &[-1]).expect("a registered file can be taken out");
        }
        self.slots[id as usize].clear();
        if self.listener.is_some() {
            self.vacant.push(id);
        }
    }

    fn reap(&mut self, on: &mut impl OnEvent) {
        self.pressure.completion_overflows += u64::from(self.ring.has_overflowed());
        self.ring.sync_completions();
        while let Some(entry) = self.ring.next_completion() {
            self.complete(&entry, on);
        }
        self.memory.buffers.publish();
        while let Some(id) = self.rearm.pop() {
            let slot = &self.slots[id as usize];
            if !slot.closing && !slot.receiving && !slot.receiving_timed {
                self.arm_receive(id);
            }
        }
    }

    /// The departure of the request being timed, which is known as soon as the kernel has handed its last byte over.
    fn read_departure(&mut self, id: ConnectionId) {
        if let Some(socket) = &self.slots[id as usize].socket {
            self.wire.read_departure(socket);
        }
    }
}

impl Engine for UringEngine {
    #[inline]
    fn now(&mut self) -> Nanos {
        self.clock.now()
    }

    fn connect(&mut self, id: ConnectionId, address: usize) {
        let source = self.sources[address].next();
        let (address, raw) = &self.memory.addresses[address];
        let (raw, len) = (raw.as_ptr(), raw.len());
        match socket::outgoing(address, source, &self.congestion).and_then(|socket| self.adopt(id, socket)) {
            Ok(()) => {
                let entry = opcode::Connect::new(Fixed(id), raw.cast(), len).build();
                self.slots[id as usize].connecting = true;
                self.submit(id, Operation::Connect, entry);
            }
            Err(error) => self.refused.push((id, connect_failure(error.raw_os_error().unwrap_or(0)))),
        }
    }

    #[inline]
    fn send(&mut self, id: ConnectionId, what: Outgoing) {
        assert!(self.slots[id as usize].sending.is_none(), "one send a connection at a time");
        let pending = match what {
            Outgoing::Tape(run) => {
                self.memory.reel.cover(run.clone());
                Pending::new(self.memory.reel.bytes(run.clone()), run)
            }
            Outgoing::Staged(len) => Pending::new(&self.memory.staging.room(id)[..len], 0..0),
        };
        self.wire.handle_send(id, pending.len);
        self.submit_send(id, pending);
    }

    fn time_next(&mut self, id: ConnectionId) -> bool {
        let slot = &self.slots[id as usize];
        match (slot.receiving, slot.receiving_timed) {
            (false, true) if self.wire.is_timing(id) => {
                self.wire.begin(slot.socket.as_ref().expect("an open slot has a socket"))
            }
            (true, false) if self.wire.is_free(self.active_at) => {
                self.wire.prepare(id, self.clock);
                // In this order: the kernel takes submissions one by one, and what is sent comes after them.
                self.cancel(id, Operation::Receive);
                self.arm_receive_timed(id);
                false
            }
            _ => false,
        }
    }

    #[inline]
    fn lend(&mut self, id: ConnectionId, run: Range<usize>) -> Lent<'_> {
        assert!(self.slots[id as usize].sending.is_none(), "the kernel may still read what was staged");
        let Memory { reel, staging, .. } = &mut *self.memory;
        reel.lend(run, staging.room(id))
    }

    fn stage(&mut self, id: ConnectionId) -> &mut [u8] {
        assert!(self.slots[id as usize].sending.is_none(), "the kernel may still read what was staged");
        self.memory.staging.room(id)
    }

    fn close(&mut self, id: ConnectionId) {
        let slot = &mut self.slots[id as usize];
        debug_assert!(!slot.closing, "a connection is closed once");
        slot.closing = true;
        self.forget_timing(id);
        let slot = &self.slots[id as usize];
        if slot.outstanding == 0 {
            self.released.push(id);
            return;
        }
        // By their exact names: cancelling all of a file's operations would search those of every connection.
        let under_way = [
            (slot.connecting, Operation::Connect),
            (slot.receiving, Operation::Receive),
            (slot.receiving_timed, Operation::ReceiveTimed),
            (slot.sending.is_some(), Operation::Send),
        ];
        for (_, operation) in under_way.into_iter().filter(|(is_under_way, _)| *is_under_way) {
            self.cancel(id, operation);
        }
    }

    #[inline]
    fn turn(&mut self, until: Nanos, on: &mut impl OnEvent) {
        if self.ring.has_submissions() {
            // Sends complete inside this call, which therefore cannot wait; the clock is read before anything else may.
            self.enter(0, None);
            self.active_at = self.clock.now();
            on.submitted(self.active_at);
            self.wire.end_window(self.active_at);
            if let Some(id) = self.wire.departing() {
                self.read_departure(id);
            }
        }
        self.wait(until);
        on.reaped(self.clock.now());
        while let Some((id, failure)) = self.refused.pop() {
            on.event(id, Event::ConnectFailed(failure));
        }
        self.reap(on);
        while let Some(id) = self.released.pop() {
            self.release(id);
            on.event(id, Event::Released);
        }
    }
}

impl Drop for UringEngine {
    fn drop(&mut self) {
        self.listener = None;
        for id in 0..self.slots.len() as u32 {
            let slot = &self.slots[id as usize];
            if slot.outstanding > 0 && !slot.closing {
                self.close(id);
            }
        }
        let deadline = self.clock.now() + Nanos(1_000_000_000);
        while self.slots.iter().any(|slot| slot.outstanding > 0) {
            let now = self.clock.now();
            if now >= deadline || self.ring.enter(1, Some(Nanos(10_000_000))).is_err() {
                // INV-E2: better to leak than to let the kernel use freed memory.
                return;
            }
            self.reap(&mut Deaf);
        }
        // SAFETY: INV-E2, every operation has completed; dropped once, and not used after this.
        unsafe { ManuallyDrop::drop(&mut self.memory) };
    }
}

/// Hears nothing: for the completions of an engine that is being dropped.
struct Deaf;

impl OnEvent for Deaf {
    fn reaped(&mut self, _: Nanos) {}
    fn event(&mut self, _: ConnectionId, _: Event<'_>) {}
}

#[inline]
fn tag(operation: Operation, id: ConnectionId) -> u64 {
    (operation as u64) << 32 | u64::from(id)
}

#[inline]
fn untag(data: u64) -> (Operation, ConnectionId) {
    let operation = match data >> 32 {
        1 => Operation::Connect,
        2 => Operation::Send,
        3 => Operation::Receive,
        4 => Operation::Cancel,
        5 => Operation::Accept,
        6 => Operation::ReceiveTimed,
        other => unreachable!("user data of no operation of ours: {other}"),
    };
    (operation, data as u32)
}

fn connect_failure(errno: i32) -> ConnectFailure {
    match errno {
        libc::ECONNREFUSED => ConnectFailure::Refused,
        libc::ETIMEDOUT => ConnectFailure::Timeout,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EHOSTDOWN => {
            ConnectFailure::Unreachable
        }
        libc::EMFILE
        | libc::ENFILE
        | libc::EADDRNOTAVAIL
        | libc::EADDRINUSE
        | libc::ENOBUFS
        | libc::ENOMEM => ConnectFailure::Limits,
        _ => ConnectFailure::Other,
    }
}
