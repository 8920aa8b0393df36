//! Where bytes that lie on no tape are written before they are sent: a room for each slot.
//!
//! - **INV-G1** Rooms lie one behind the other within the mapping, `room_bytes` each.

use std::io;

use blaster_core::load::engine::ConnectionId;

use crate::mapping::Mapping;

/// All rooms; most rooms of most runs are never written to, and cost nothing then.
pub(crate) struct Staging {
    memory: Mapping,
    slots: usize,
    room_bytes: usize,
}

impl Staging {
    /// Fails where the kernel does not promise that much memory.
    pub(crate) fn new(slots: usize, room_bytes: usize) -> io::Result<Self> {
        let memory = slots.checked_mul(room_bytes).and_then(|bytes| Mapping::new(bytes.max(1)).ok());
        let memory = memory.ok_or_else(|| {
            io::Error::other(format!(
                "no memory for {slots} requests of {room_bytes} bytes, which connections may be sending at a time: lower \
                 --connections, or send smaller bodies, or --stale ones"
            ))
        })?;
        Ok(Self { memory, slots, room_bytes })
    }

    /// The room of a slot.
    #[inline]
    pub(crate) fn room(&mut self, id: ConnectionId) -> &mut [u8] {
        assert!((id as usize) < self.slots);
        // SAFETY: INV-G1, the range lies within the mapping (asserted), which `&mut self` lends to nobody else.
        unsafe {
            let start = self.memory.start().add(id as usize * self.room_bytes);
            std::slice::from_raw_parts_mut(start, self.room_bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_room_of_its_own() {
        let mut staging = Staging::new(3, 5).unwrap();
        for id in 0..3 {
            staging.room(id).fill(b'a' + id as u8);
        }
        for id in 0..3 {
            assert_eq!(staging.room(id), [b'a' + id as u8; 5]);
        }
        assert!(Staging::new(10, 0).unwrap().room(9).is_empty());
    }

    #[test]
    fn more_than_there_can_be_is_an_error() {
        for (slots, room_bytes) in [(usize::MAX, 2), (1 << 40, 1 << 20)] {
            let error = Staging::new(slots, room_bytes).err().expect("nobody has that much");
            assert!(error.to_string().contains("lower --connections"), "{error}");
        }
    }
}
