//! Bodies, counted off where they lie: by length, by chunks, or up to the end of the stream.
//!
//! The chunked decoder goes byte by byte through the lines around the data (they are short) and in
//! one step over the data. All it has to remember between buffers is a few integers, so a line that
//! is split across buffers is not copied either.

use super::head::HEAD_BYTES_MAX;
use super::malformed::Malformed;

/// A body being received, and how to know its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// So many bytes are still to come; at least one.
    Sized { left_bytes: u64 },
    /// RFC 9112 §7.1.
    Chunked(Chunked),
    /// All bytes up to the end of the stream.
    UntilClose,
}

impl Body {
    /// The body of a chunked message, from its first chunk line.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::new())
    }

    /// A body of `length` bytes; none if there are none.
    pub(super) fn sized(length: u64) -> Option<Self> {
        (length > 0).then_some(Self::Sized { left_bytes: length })
    }

    /// Takes what belongs to the body from the front of `bytes`, handing its data to `on_data`, and
    /// says how many bytes that was if the body ended there; `None` means all of them and more to
    /// come.
    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        mut on_data: impl FnMut(&[u8]),
    ) -> Result<Option<usize>, Malformed> {
        match self {
            Self::Sized { left_bytes } => {
                let taken = take(left_bytes, bytes);
                on_data(taken);
                Ok((*left_bytes == 0).then_some(taken.len()))
            }
            Self::Chunked(chunked) => chunked.receive(bytes, on_data),
            Self::UntilClose => {
                on_data(bytes);
                Ok(None)
            }
        }
    }
}

/// Where a chunked body is read, between two bytes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunked {
    step: Step,
    /// Digits of the chunk size so far; limited so that the size cannot overflow.
    digits: u8,
    /// Bytes of this chunk line, or of the trailers.
    line_bytes: u32,
    /// The chunk size while its line is read, then what is left of the chunk's data.
    left_bytes: u64,
}

impl Chunked {
    fn new() -> Self {
        Self { step: Step::Size, digits: 0, line_bytes: 0, left_bytes: 0 }
    }

    fn receive(&mut self, bytes: &[u8], mut on_data: impl FnMut(&[u8])) -> Result<Option<usize>, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            match self.step {
                Step::Data => {
                    let taken = take(&mut self.left_bytes, &bytes[at..]);
                    on_data(taken);
                    at += taken.len();
                    if self.left_bytes == 0 {
                        self.step = Step::DataCr;
                    }
                }
                _ => {
                    self.step = self.step_after(bytes[at])?;
                    at += 1;
                    if self.step == Step::End {
                        return Ok(Some(at));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Follows RFC 9112 §7.1. Chunk lines end in CRLF only, as in httparse: a bare LF there is how
    /// two readers come to disagree. A trailer is checked to be one, because a server that forgets
    /// the last CRLF shows its next status line in that place.
    fn step_after(&mut self, byte: u8) -> Result<Step, Malformed> {
        self.line_bytes += 1;
        if self.line_bytes as usize > HEAD_BYTES_MAX {
            return Err(Malformed::EndlessChunkLine);
        }
        Ok(match (self.step, byte) {
            (Step::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.size_with(byte)?,
            (Step::Size, b'\r' | b';' | b' ' | b'\t') if self.digits == 0 => {
                return Err(Malformed::ChunkLine(byte));
            }
            (Step::Size | Step::SizePadding | Step::Extension, b'\r') => Step::SizeLf,
            (Step::Size | Step::SizePadding, b';') => Step::Extension,
            (Step::Size | Step::SizePadding, b' ' | b'\t') => Step::SizePadding,
            (Step::Extension, b'\n') => return Err(Malformed::ChunkLine(byte)),
            (Step::Extension, _) => Step::Extension,
            (Step::SizeLf, b'\n') => self.data_or_trailers(),
            (Step::DataCr, b'\r') => Step::DataLf,
            (Step::DataLf, b'\n') => {
                *self = Self::new();
                Step::Size
            }
            (Step::TrailerStart, b'\r') => Step::LastLf,
            (Step::TrailerStart | Step::LastLf, b'\n') => Step::End,
            (Step::TrailerStart | Step::TrailerName, _) if is_token(byte) => Step::TrailerName,
            (Step::TrailerName, b':') => Step::TrailerValue,
            (Step::TrailerValue, b'\r') => Step::TrailerLf,
            (Step::TrailerValue | Step::TrailerLf, b'\n') => Step::TrailerStart,
            (Step::TrailerValue, _) => Step::TrailerValue,
            (Step::Size | Step::SizePadding | Step::SizeLf, _) => {
                return Err(Malformed::ChunkLine(byte));
            }
            (Step::DataCr | Step::DataLf, _) => return Err(Malformed::ChunkEnd(byte)),
            (Step::TrailerStart | Step::TrailerName | Step::TrailerLf | Step::LastLf, _) => {
                return Err(Malformed::Trailer(byte));
            }
            (Step::Data | Step::End, _) => {
                unreachable!("data and what follows the body are not read byte by byte")
            }
        })
    }

    fn size_with(&mut self, digit: u8) -> Result<Step, Malformed> {
        if self.digits == CHUNK_SIZE_DIGITS_MAX {
            return Err(Malformed::ChunkSize);
        }
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20) - b'a' + 10,
        };
        self.digits += 1;
        self.left_bytes = self.left_bytes << 4 | u64::from(value);
        Ok(Step::Size)
    }

    fn data_or_trailers(&mut self) -> Step {
        self.line_bytes = 0;
        if self.left_bytes == 0 { Step::TrailerStart } else { Step::Data }
    }
}

/// What the next byte of a chunked body should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Size,
    /// Spaces after the size: some servers write sizes at a fixed width.
    SizePadding,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

/// Takes as much as there is of `left_bytes` from the front of `bytes`.
fn take<'b>(left_bytes: &mut u64, bytes: &'b [u8]) -> &'b [u8] {
    let taken = usize::try_from(*left_bytes).map_or(bytes.len(), |left| left.min(bytes.len()));
    *left_bytes -= taken as u64;
    &bytes[..taken]
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Sixteen hexadecimal digits are a `u64`.
const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_its_own_bytes_and_no_more() {
        let mut body = Body::sized(5).unwrap();
        assert_eq!(body.receive(b"abc", |_| {}), Ok(None));
        assert_eq!(body.receive(b"defgh", |_| {}), Ok(Some(2)));
        assert!(Body::sized(0).is_none());
    }

    #[test]
    fn chunked_data_is_handed_on_without_its_framing() {
        let wire = b"4\r\nwiki\r\n00A;name=\"v;\"\r\n0123456789\r\n0 \r\nExpires: never\r\n\r\nnext";
        let mut data = Vec::new();
        let end = Body::chunked().receive(wire, |bytes| data.extend_from_slice(bytes));
        assert_eq!(end, Ok(Some(wire.len() - 4)));
        assert_eq!(data, b"wiki0123456789");
    }

    #[test]
    fn broken_chunks_are_found_at_the_first_wrong_byte() {
        let table: [(&[u8], Malformed); 14] = [
            (b"\r", Malformed::ChunkLine(b'\r')),
            (b";", Malformed::ChunkLine(b';')),
            (b" ", Malformed::ChunkLine(b' ')),
            (b"-", Malformed::ChunkLine(b'-')),
            (b"5\n", Malformed::ChunkLine(b'\n')),
            (b"5 5", Malformed::ChunkLine(b'5')),
            (b"5\rx", Malformed::ChunkLine(b'x')),
            (b"5;a\n", Malformed::ChunkLine(b'\n')),
            (b"00000000000000001", Malformed::ChunkSize),
            (b"1\r\nab", Malformed::ChunkEnd(b'b')),
            (b"1\r\na\n", Malformed::ChunkEnd(b'\n')),
            (b"1\r\na\rx", Malformed::ChunkEnd(b'x')),
            (b"0\r\nHTTP/", Malformed::Trailer(b'/')),
            (b"0\r\na: b\rc", Malformed::Trailer(b'c')),
        ];
        for (wire, wanted) in table {
            let (last, before) = wire.split_last().unwrap();
            let mut body = Body::chunked();
            let shown = wire.escape_ascii();
            assert_eq!(body.receive(before, |_| {}), Ok(None), "{shown}");
            assert_eq!(body.receive(&[*last], |_| {}), Err(wanted), "{shown}");
        }
    }

    #[test]
    fn lines_around_chunks_have_a_limit() {
        let extension = [b"1;".as_slice(), &[b'x'; HEAD_BYTES_MAX]].concat();
        let trailer = [b"0\r\nname:".as_slice(), &[b'x'; HEAD_BYTES_MAX]].concat();
        for wire in [extension, trailer] {
            assert_eq!(Body::chunked().receive(&wire, |_| {}), Err(Malformed::EndlessChunkLine));
        }
    }

    #[test]
    fn the_largest_chunk_is_only_a_number() {
        let mut body = Body::chunked();
        assert_eq!(body.receive(b"ffffFFFFffffFFFF\r\nabc", |_| {}), Ok(None));
        let Body::Chunked(chunked) = body else { unreachable!() };
        assert_eq!(chunked.left_bytes, u64::MAX - 3);
    }
}
