//! The head that is split across buffers: the one thing a reader copies.

use super::head::{CARRY_BYTES, HEAD_BYTES_MAX};
use super::malformed::Malformed;

/// The front of a head whose end is still to come.
///
/// A head may arrive byte by byte, so it is not parsed anew with every buffer: its end is looked
/// for in the new bytes only. Whether it can still become a head is checked when it has doubled,
/// and at each of its first bytes: garbage is found early, and all checks together read no more
/// than about twice the head.
#[derive(Debug)]
pub(super) struct Carry {
    bytes: Vec<u8>,
    line: Line,
    checked_bytes: usize,
}

impl Carry {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(CARRY_BYTES), line: Line::Blank, checked_bytes: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.line = Line::Blank;
        self.checked_bytes = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether no head has begun; empty lines may come before one.
    pub(super) fn is_blank(&self) -> bool {
        self.line == Line::Blank
    }

    /// Looks for the head that `bytes` begins or continues. Says how many of `bytes` it took and
    /// what `parse` made of it; `None` means all of them and more to come. `parse` gets the head
    /// from its first byte on, with or without bytes that follow it, and answers `None` while it is
    /// not all there.
    pub(super) fn next_head<H>(
        &mut self,
        bytes: &[u8],
        mut parse: impl FnMut(&[u8]) -> Result<Option<(usize, H)>, Malformed>,
    ) -> Result<Option<(usize, H)>, Malformed> {
        if self.is_empty() {
            let found = parse(&bytes[..bytes.len().min(HEAD_BYTES_MAX)])?;
            if found.is_none() {
                self.line.find_end(bytes);
                self.extend(bytes)?;
                self.checked_bytes = bytes.len();
            }
            return Ok(found);
        }
        let end = self.line.find_end(bytes);
        self.extend(&bytes[..end.unwrap_or(bytes.len())])?;
        if let Some(taken) = end {
            // httparse ends a head where `Line` does, or finds it malformed before.
            let (_, head) = parse(&self.bytes)?.ok_or(Malformed::LineEnd)?;
            self.clear();
            return Ok(Some((taken, head)));
        }
        if self.bytes.len() <= CHECKED_BYTE_BY_BYTE || self.bytes.len() >= 2 * self.checked_bytes {
            parse(&self.bytes)?;
            self.checked_bytes = self.bytes.len();
        }
        Ok(None)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.bytes.len() + bytes.len() > HEAD_BYTES_MAX {
            return Err(Malformed::EndlessHead);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Where in a line the carry ends: all that the search for the empty line has to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Only empty lines so far: the head has not begun.
    Blank,
    Within,
    Start,
    /// After a carriage return at the start of a line.
    StartCr,
}

impl Line {
    /// Goes on to the end of the head in `bytes`; says how many of them belong to it.
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::Blank, b'\r' | b'\n') => Self::Blank,
                (Self::Start | Self::StartCr, b'\n') => return Some(at + 1),
                (Self::Start, b'\r') => Self::StartCr,
                (_, b'\n') => Self::Start,
                _ => Self::Within,
            };
        }
        None
    }
}

/// Long enough to tell HTTP/1.1 from anything else.
const CHECKED_BYTE_BY_BYTE: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::head::parse_response;
    use super::*;

    #[test]
    fn a_head_that_comes_byte_by_byte_is_not_read_over_and_over() {
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        while head.len() < HEAD_BYTES_MAX - 1100 {
            head.extend_from_slice(format!("x: {}\r\n", "y".repeat(1000)).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        let mut carry = Carry::new();
        let mut bytes_parsed = 0;
        let mut found = None;
        for byte in &head {
            assert!(found.is_none());
            found = carry
                .next_head(&[*byte], |bytes| {
                    bytes_parsed += bytes.len();
                    Ok(parse_response(bytes)?.map(|head| (head.head_bytes, head.status)))
                })
                .unwrap();
        }
        assert_eq!(found, Some((1, 200)));
        assert!(bytes_parsed < 4 * head.len(), "{bytes_parsed} bytes parsed for a head of {}", head.len());
        assert!(carry.is_empty() && carry.is_blank());
    }

    #[test]
    fn an_ordinary_split_head_does_not_allocate() {
        let mut carry = Carry::new();
        let before = carry.bytes.as_ptr();
        let head = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'y'; CARRY_BYTES - 24], b"\r\n\r\n"].concat();
        assert_eq!(head.len(), CARRY_BYTES);
        let (front, back) = head.split_at(CARRY_BYTES - 1);
        let mut parse = |bytes: &[u8]| Ok(parse_response(bytes)?.map(|head| (head.head_bytes, ())));
        assert_eq!(carry.next_head(front, &mut parse), Ok(None));
        assert_eq!(carry.next_head(back, &mut parse), Ok(Some((1, ()))));
        assert_eq!(carry.bytes.as_ptr(), before);
    }

    #[test]
    fn the_end_of_a_head_is_an_empty_line_after_something() {
        let table: [(&[u8], Option<usize>); 7] = [
            (b"\r\n\r\n\n", None),
            (b"\r\n\r\na\r\n\r\nb", Some(9)),
            (b"a\n\nb", Some(3)),
            (b"a\n\r\nb", Some(4)),
            (b"a\r\n\nb", Some(4)),
            (b"a\r\n\rb\n\n", Some(7)),
            (b"a\r\r\n", None),
        ];
        for (bytes, end) in table {
            assert_eq!(Line::Blank.clone().find_end(bytes), end, "{}", bytes.escape_ascii());
        }
    }
}
