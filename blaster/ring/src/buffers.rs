//! The receive buffers: one ring of equal buffers that the kernel picks from for every connection.
//!
//! - **INV-B1** `memory` and `entries` are private anonymous mappings that live as long as this value; the engine
//!   drops it only after every receive has completed ([`super::engine`], INV-E2).
//! - **INV-B2** A buffer is in exactly one place: with the kernel (published), or lent to one call of
//!   [`BufferRing::bytes`] between its completion and [`BufferRing::give_back`]; `&mut self` on give_back ends the loan.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::mapping::Mapping;

/// Group id of the one buffer ring of an engine.
pub(crate) const GROUP: u16 = 0;

/// Owns the buffers and the ring that offers them to the kernel.
pub(crate) struct BufferRing {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    buffer_bytes: u32,
    /// Buffers given back; published to the kernel once a turn.
    tail: u16,
}

impl BufferRing {
    /// `count` (a power of two, at most 32768) buffers of `buffer_bytes` each, all of them on the ring.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two());
        let mut ring = Self {
            entries: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Mapping::new(usize::from(count) * buffer_bytes as usize)?,
            count,
            buffer_bytes,
            tail: 0,
        };
        for id in 0..count {
            ring.give_back(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// Address of the ring, to be registered with [`GROUP`].
    pub(crate) fn address(&self) -> u64 {
        self.entries.start() as u64
    }

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// The first `len` bytes of buffer `id`, which a completion has just handed over.
    #[inline]
    pub(crate) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.count && len <= self.buffer_bytes as usize);
        let offset = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: INV-B1, the range lies within `memory` (asserted); INV-B2, the kernel does not write to a buffer
        // between its completion and its being published again, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.memory.start().add(offset), len) }
    }

    /// Puts a buffer back on the ring; the kernel sees it at the next [`Self::publish`].
    #[inline]
    pub(crate) fn give_back(&mut self, id: u16) {
        debug_assert!(id < self.count);
        let index = usize::from(self.tail & (self.count - 1));
        let offset = usize::from(id) * self.buffer_bytes as usize;
        // SAFETY: INV-B1, `index` < count lies within `entries`, `offset` within `memory`; the kernel does not read entries
        // beyond the published tail. Entry 0 shares its last field with the tail, which none of these setters touches.
        unsafe {
            let entry = &mut *self.entries.start().cast::<BufRingEntry>().add(index);
            entry.set_addr(self.memory.start().add(offset) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back.
    #[inline]
    pub(crate) fn publish(&self) {
        // SAFETY: INV-B1, the tail lies in the first entry of a live mapping, two-byte aligned; both sides access it
        // atomically.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.start().cast()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}
