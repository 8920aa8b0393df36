//! What can be wrong with bytes that claim to be HTTP/1.1.

use std::error::Error;
use std::fmt;

use super::head::{HEAD_BYTES_MAX, HEADERS_MAX};

/// Why a peer's bytes cannot be read any further. The connection is of no use after it: where the
/// next message begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A response does not begin with `HTTP/1.0` or `HTTP/1.1`; this is what it begins with.
    NotHttp1(Excerpt),
    /// The status line goes wrong after its version; this is how it begins.
    StatusLine(Excerpt),
    /// A status below 100 (RFC 9110 §15: the first digit is the class, from 1 on).
    Status(u16),
    /// The request line is not `METHOD target HTTP/1.x`; this is how it begins.
    RequestLine(Excerpt),
    /// The name of a header is no token, or no colon follows it.
    HeaderName,
    /// The value of a header holds a control character.
    HeaderValue,
    /// A carriage return without its line feed.
    LineEnd,
    /// No empty line within [`HEAD_BYTES_MAX`].
    EndlessHead,
    /// More than [`HEADERS_MAX`] headers.
    TooManyHeaders,
    /// A `Content-Length` that is no decimal number below 2^64.
    ContentLength(Excerpt),
    /// Two lengths that differ.
    ContentLengthsDiffer {
        /// The length said first.
        first: u64,
        /// The first that differs from it.
        other: u64,
    },
    /// Both a `Content-Length` and a `Transfer-Encoding`: two readers could disagree about the end
    /// of the body (RFC 9112 §6.3).
    TwoFramings,
    /// A request whose last transfer coding is not `chunked` has no end that its server could see.
    RequestWithoutEnd,
    /// A byte that does not belong in the line that begins a chunk.
    ChunkLine(u8),
    /// A chunk size of more than 16 hexadecimal digits.
    ChunkSize,
    /// A byte other than CRLF after the data of a chunk.
    ChunkEnd(u8),
    /// A byte that does not belong in the trailers of a chunked body.
    Trailer(u8),
    /// A chunk line, or all trailers together, of more than [`HEAD_BYTES_MAX`].
    EndlessChunkLine,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp1(start) => write!(f, "expected HTTP/1.0 or HTTP/1.1, got {start}"),
            Self::StatusLine(start) => write!(f, "expected a status line, got {start}"),
            Self::Status(status) => write!(f, "expected a status from 100 on, got {status:03}"),
            Self::RequestLine(start) => write!(f, "expected a request line, got {start}"),
            Self::HeaderName => write!(f, "a header's name is not a token followed by a colon"),
            Self::HeaderValue => write!(f, "a header's value holds a control character"),
            Self::LineEnd => write!(f, "a carriage return is not followed by a line feed"),
            Self::EndlessHead => write!(f, "a head does not end within {HEAD_BYTES_MAX} bytes"),
            Self::TooManyHeaders => write!(f, "a head has more than {HEADERS_MAX} headers"),
            Self::ContentLength(value) => {
                write!(f, "expected a number as content-length, got {value}")
            }
            Self::ContentLengthsDiffer { first, other } => {
                write!(f, "two content-lengths differ: {first} and {other}")
            }
            Self::TwoFramings => write!(f, "both content-length and transfer-encoding are given"),
            Self::RequestWithoutEnd => {
                write!(f, "a request's last transfer coding must be chunked")
            }
            Self::ChunkLine(byte) => write!(f, "expected a chunk size, got byte {byte:#04x}"),
            Self::ChunkSize => write!(f, "a chunk size has more than 16 digits"),
            Self::ChunkEnd(byte) => write!(f, "expected CRLF after a chunk's data, got byte {byte:#04x}"),
            Self::Trailer(byte) => write!(f, "expected a trailer or an empty line, got byte {byte:#04x}"),
            Self::EndlessChunkLine => {
                write!(f, "a chunk line or trailers do not end within {HEAD_BYTES_MAX} bytes")
            }
        }
    }
}

impl Error for Malformed {}

/// The first bytes of what was found instead, kept by value so that an error needs no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; EXCERPT_BYTES_MAX],
    len: u8,
    is_cut: bool,
}

impl Excerpt {
    /// The first bytes of `bytes`, up to the end of their line.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let line_end =
            bytes.iter().take(EXCERPT_BYTES_MAX + 1).position(|byte| matches!(byte, b'\r' | b'\n'));
        let len = line_end.unwrap_or(bytes.len()).min(EXCERPT_BYTES_MAX);
        let mut excerpt = Self {
            bytes: [0; EXCERPT_BYTES_MAX],
            len: len as u8,
            is_cut: line_end.is_none() && len < bytes.len(),
        };
        excerpt.bytes[..len].copy_from_slice(&bytes[..len]);
        excerpt
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = if self.is_cut { "…" } else { "" };
        write!(f, "\"{}{cut}\"", self.bytes[..usize::from(self.len)].escape_ascii())
    }
}

/// Enough for a status line or twenty digits, little enough to travel in a `Result`.
const EXCERPT_BYTES_MAX: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_name_what_was_wanted_and_what_came() {
        let tls_alert = Malformed::NotHttp1(Excerpt::of(b"\x15\x03\x01\0"));
        assert_eq!(tls_alert.to_string(), r#"expected HTTP/1.0 or HTTP/1.1, got "\x15\x03\x01\x00""#);
        let length = Malformed::ContentLength(Excerpt::of(b"-5"));
        assert_eq!(length.to_string(), r#"expected a number as content-length, got "-5""#);
        assert_eq!(Malformed::ChunkLine(b'\n').to_string(), "expected a chunk size, got byte 0x0a");
    }

    #[test]
    fn an_excerpt_is_one_line_and_short() {
        assert_eq!(Excerpt::of(b"one\r\ntwo").to_string(), "\"one\"");
        assert_eq!(Excerpt::of(&[b'x'; 22]).to_string(), format!("\"{}\"", "x".repeat(22)));
        assert_eq!(Excerpt::of(&[b'x'; 23]).to_string(), format!("\"{}…\"", "x".repeat(22)));
    }
}
