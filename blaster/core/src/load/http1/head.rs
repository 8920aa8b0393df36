//! Heads: what their headers say about framing, and how one is found whole among buffers.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::{Error, Header, ParserConfig, Status};

use super::malformed::{Excerpt, Malformed};

/// The longest head that is read, with any empty lines before it; a longer one is taken for
/// endless.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most headers a head may have.
pub const HEADERS_MAX: usize = 1024;

/// What every reader sets aside for a head that is split across buffers. Only a longer one makes it
/// allocate.
pub const CARRY_BYTES: usize = 1024;

/// Parses the response head at the front of `bytes`; `None` if it is not all there yet.
pub(super) fn parse_response(bytes: &[u8]) -> Result<Option<ResponseHead>, Malformed> {
    with_enough_headers(|headers| {
        let mut parsed = httparse::Response::new(&mut []);
        let status =
            ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, headers)?;
        let Status::Complete(head_bytes) = status else {
            return Ok(None);
        };
        Ok(Some(ResponseHead {
            head_bytes,
            status: parsed.code.unwrap_or(0),
            headers: Headers::read(bytes, parsed.version, parsed.headers),
        }))
    })
    .map_err(|error| malformed(error, bytes))
}

/// Parses the request head at the front of `bytes`; `None` if it is not all there yet.
pub(super) fn parse_request(bytes: &[u8]) -> Result<Option<RequestHead<'_>>, Malformed> {
    with_enough_headers(|headers| {
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(bytes, headers)?;
        let Status::Complete(head_bytes) = status else {
            return Ok(None);
        };
        Ok(Some(RequestHead {
            head_bytes,
            method: parsed.method.unwrap_or(""),
            path: parsed.path.unwrap_or(""),
            headers: Headers::read(bytes, parsed.version, parsed.headers),
        }))
    })
    .map_err(|error| match malformed(error, bytes) {
        // A request line ends in its version, and is what the reader of the error wants to see.
        Malformed::NotHttp1(start) => Malformed::RequestLine(start),
        other => other,
    })
}

/// A parsed response head.
pub(super) struct ResponseHead {
    pub head_bytes: usize,
    pub status: u16,
    pub headers: Headers,
}

/// A parsed request head.
pub(super) struct RequestHead<'b> {
    pub head_bytes: usize,
    pub method: &'b str,
    pub path: &'b str,
    pub headers: Headers,
}

/// What the headers of a message say about where it ends and what comes after it.
pub(super) struct Headers {
    /// Whether another message may follow (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// A mistake here counts only once the length is asked for: a 304 has no body whatever its
    /// headers say.
    content_length: Result<Option<u64>, Malformed>,
    /// Where in the head the digits are, if there is one such header and its value is a single
    /// number of ordinary size.
    content_length_digits: Option<Range<usize>>,
    transfer_encoding: Option<LastCoding>,
}

impl Headers {
    fn read(head: &[u8], version_minor: Option<u8>, headers: &[Header<'_>]) -> Self {
        let is_1_0 = version_minor == Some(0);
        let mut connection = Connection::default();
        let mut this = Self {
            keep_alive: false,
            content_length: Ok(None),
            content_length_digits: None,
            transfer_encoding: None,
        };
        for header in headers {
            // Lengths first: most headers are none of these three.
            match header.name.len() {
                10 if header.name.eq_ignore_ascii_case("connection") => connection.read(header.value),
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    this.read_content_length(head, header.value)
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    this.read_transfer_encoding(header.value)
                }
                _ => {}
            }
        }
        // RFC 9112 §6.1: an HTTP/1.0 peer that speaks of transfer codings is read to the end, but
        // not trusted further.
        let version_allows = !is_1_0 || connection.keep_alive && this.transfer_encoding.is_none();
        this.keep_alive = version_allows && !connection.close;
        this
    }

    /// How the end of the body is known (RFC 9112 §6.3).
    pub(super) fn framing(&self) -> Result<Framing, Malformed> {
        match (self.content_length?, self.transfer_encoding) {
            (Some(_), Some(_)) => Err(Malformed::TwoFramings),
            (Some(length), None) => Ok(Framing::Length(length)),
            (None, Some(LastCoding::Chunked)) => Ok(Framing::Chunked),
            (None, Some(LastCoding::Other)) => Ok(Framing::OtherCoding),
            (None, None) => Ok(Framing::Unsaid),
        }
    }

    /// Where the digits of the length are, when nothing else says anything about framing.
    pub(super) fn lone_content_length(&self) -> Option<Range<usize>> {
        self.content_length_digits.clone().filter(|_| self.transfer_encoding.is_none())
    }

    fn read_content_length(&mut self, head: &[u8], value: &[u8]) {
        let is_first = matches!(self.content_length, Ok(None));
        let is_plain = (1..=PLAIN_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        // httparse's values are slices of the head it was given.
        let start = value.as_ptr() as usize - head.as_ptr() as usize;
        self.content_length_digits = (is_first && is_plain).then_some(start..start + value.len());
        for number in value.split(|byte| *byte == b',') {
            self.content_length = match (self.content_length, parse_length(number.trim_ascii())) {
                (Err(malformed), _) => Err(malformed),
                (Ok(_), None) => Err(Malformed::ContentLength(Excerpt::of(value))),
                (Ok(None), Some(length)) => Ok(Some(length)),
                (Ok(Some(first)), Some(other)) if first != other => {
                    Err(Malformed::ContentLengthsDiffer { first, other })
                }
                (Ok(Some(first)), Some(_)) => Ok(Some(first)),
            };
        }
    }

    fn read_transfer_encoding(&mut self, value: &[u8]) {
        let last =
            value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).rfind(|coding| !coding.is_empty());
        self.transfer_encoding = Some(match last {
            Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => LastCoding::Chunked,
            Some(_) => LastCoding::Other,
            None => self.transfer_encoding.unwrap_or(LastCoding::Other),
        });
    }
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// There are transfer codings, but the last is not `chunked`.
    OtherCoding,
    Unsaid,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LastCoding {
    Chunked,
    Other,
}

#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
}

impl Connection {
    fn read(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Digits only: `str::parse` would take a plus sign.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |length, byte| match byte {
        b'0'..=b'9' => length.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Few heads have more than 64 headers; those that do are parsed again with room for
/// [`HEADERS_MAX`].
fn with_enough_headers<'b, T>(
    mut parse: impl FnMut(&mut [MaybeUninit<Header<'b>>]) -> Result<T, Error>,
) -> Result<T, Error> {
    match parse(&mut [const { MaybeUninit::uninit() }; 64]) {
        Err(Error::TooManyHeaders) => with_most_headers(parse),
        parsed => parsed,
    }
}

/// Apart, and never inlined, so that ordinary heads do not pay for 32 KiB of stack.
#[cold]
#[inline(never)]
fn with_most_headers<'b, T>(
    mut parse: impl FnMut(&mut [MaybeUninit<Header<'b>>]) -> Result<T, Error>,
) -> Result<T, Error> {
    parse(&mut [const { MaybeUninit::uninit() }; HEADERS_MAX])
}

#[cold]
fn malformed(error: Error, bytes: &[u8]) -> Malformed {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let start = Excerpt::of(&bytes[blank..]);
    match error {
        Error::HeaderName => Malformed::HeaderName,
        Error::HeaderValue => Malformed::HeaderValue,
        Error::NewLine => Malformed::LineEnd,
        Error::Status => Malformed::StatusLine(start),
        Error::Token => Malformed::RequestLine(start),
        Error::TooManyHeaders => Malformed::TooManyHeaders,
        Error::Version => Malformed::NotHttp1(start),
    }
}

/// Numbers of more digits are left to the parser, so that the template's own arithmetic cannot
/// overflow.
pub(super) const PLAIN_DIGITS_MAX: usize = 18;
