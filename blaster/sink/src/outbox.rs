//! What a connection is owed and lies on no tape.

/// Answers to be sent, the first first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How many of them have left.
    taken: usize,
}

/// Most memory kept when there is nothing to send.
const IDLE_BYTES_MAX: usize = 64 * 1024;

impl Outbox {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that are still to leave.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// The end, to append answers at.
    #[inline]
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Moves as much as fits to the front of `room`, and says how many bytes that was.
    pub(crate) fn take(&mut self, room: &mut [u8]) -> usize {
        let len = self.len().min(room.len());
        room[..len].copy_from_slice(&self.bytes[self.taken..][..len]);
        self.taken += len;
        if self.taken == self.bytes.len() {
            self.clear();
        } else if self.taken >= IDLE_BYTES_MAX.max(self.bytes.len() / 2) {
            // It may never be empty: what has left is dropped once moving the rest is the smaller part of the work.
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        len
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(IDLE_BYTES_MAX);
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_whatever_comes_in_between() {
        let mut outbox = Outbox::default();
        let (mut sent, mut room) = (Vec::new(), [0; 3]);
        for piece in [&b"abcd"[..], b"", b"efghi", b"j"] {
            outbox.end().extend_from_slice(piece);
            let len = outbox.take(&mut room);
            sent.extend_from_slice(&room[..len]);
        }
        assert_eq!((&sent[..], outbox.len()), (&b"abcdefghij"[..], 0));
        assert!(outbox.is_empty());
    }

    #[test]
    fn memory_is_what_is_owed_even_if_it_is_never_empty() {
        let mut outbox = Outbox::default();
        let mut room = [0; 1000];
        outbox.end().extend_from_slice(&[b'x'; 999]);
        for number in 0..10_000_u32 {
            outbox.end().extend_from_slice(&[number as u8; 1000]);
            assert_eq!(outbox.take(&mut room), 1000);
            assert_eq!(
                (room[998], room[999]),
                if number == 0 { (b'x', 0) } else { ((number - 1) as u8, number as u8) }
            );
        }
        assert_eq!(outbox.len(), 999);
        assert!(outbox.bytes.capacity() < 4 * IDLE_BYTES_MAX, "{}", outbox.bytes.capacity());
    }
}
