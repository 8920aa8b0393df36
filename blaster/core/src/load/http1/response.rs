//! Responses, as a client reads them.

use std::ops::ControlFlow;

use super::body::Body;
use super::carry::Carry;
use super::head::{Framing, ResponseHead, parse_response};
use super::malformed::Malformed;
use super::template::HeadTemplate;

/// What a finished response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code, 100 to 999. Interim responses (1xx) are not reported, but for 101.
    pub status: u16,
    /// Whether the connection may carry another response.
    pub keep_alive: bool,
}

/// Hears of responses while their bytes are being read.
pub trait OnResponse {
    /// A piece of the body of the response that finishes next: data only, never empty, without the
    /// framing of chunks.
    #[inline]
    fn body(&mut self, _bytes: &[u8]) {}

    /// A response is complete. After `Break` the reader ignores all that follows, until it is
    /// reset.
    fn finished(&mut self, response: Response) -> ControlFlow<()>;
}

/// Reads the responses of one connection.
///
/// After a response with `keep_alive` false, after `Break` and after an error it ignores all bytes
/// until [`Self::reset`].
#[derive(Debug)]
pub struct ResponseReader {
    state: State,
    /// Empty unless `state` is `Head`.
    carry: Carry,
    answers_to_head: bool,
}

impl ResponseReader {
    /// A reader for a new connection. `answers_to_head`: every request on it is a HEAD, whose
    /// answers have no body.
    pub fn new(answers_to_head: bool) -> Self {
        Self { state: State::Head, carry: Carry::new(), answers_to_head }
    }

    /// Begins anew, for a new connection. Keeps what is allocated.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.carry.clear();
    }

    /// Reads the next bytes of the connection, wherever they are cut.
    ///
    /// # Errors
    /// The bytes are no HTTP/1.1 response. Those finished before were reported.
    #[inline]
    pub fn receive(
        &mut self,
        template: &mut HeadTemplate,
        mut bytes: &[u8],
        on: &mut impl OnResponse,
    ) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            bytes = match &mut self.state {
                State::Head => self.receive_head(template, bytes, on),
                State::Body(..) => self.receive_body(bytes, on),
                State::Closed => return Ok(()),
            }
            .inspect_err(|_| self.close())?;
        }
        Ok(())
    }

    /// The peer has closed its side: a body that lasts until then ends here.
    pub fn end_of_stream(&mut self, on: &mut impl OnResponse) -> EndOfStream {
        match self.state {
            State::Body(response, Body::UntilClose) => {
                self.finish(response, on);
                EndOfStream::Finished
            }
            _ if self.is_between_responses() => EndOfStream::Clean,
            _ => EndOfStream::Truncated,
        }
    }

    /// Whether no response is under way: none has begun, or nothing more is read on this
    /// connection.
    pub fn is_between_responses(&self) -> bool {
        match self.state {
            State::Head => self.carry.is_blank(),
            State::Body(..) => false,
            State::Closed => true,
        }
    }

    #[inline]
    fn receive_head<'b>(
        &mut self,
        template: &mut HeadTemplate,
        bytes: &'b [u8],
        on: &mut impl OnResponse,
    ) -> Result<&'b [u8], Malformed> {
        if self.carry.is_empty()
            && let Some(known) = template.0.recognize_last(bytes)
        {
            let response = Response { status: known.value, keep_alive: true };
            let rest = &bytes[known.head_bytes..];
            let body_bytes = if self.answers_to_head { 0 } else { known.body_bytes };
            if body_bytes > rest.len() as u64 {
                self.state = State::Body(response, Body::Sized { left_bytes: body_bytes });
                return Ok(rest);
            }
            let (body, rest) = rest.split_at(body_bytes as usize);
            if !body.is_empty() {
                on.body(body);
            }
            if on.finished(response).is_break() {
                self.close();
            }
            return Ok(rest);
        }
        self.receive_unknown_head(template, bytes, on)
    }

    #[inline(never)]
    fn receive_unknown_head<'b>(
        &mut self,
        template: &mut HeadTemplate,
        bytes: &'b [u8],
        on: &mut impl OnResponse,
    ) -> Result<&'b [u8], Malformed> {
        let answers_to_head = self.answers_to_head;
        let Some((taken, opening)) =
            self.carry.next_head(bytes, |bytes| open(template, answers_to_head, bytes))?
        else {
            return Ok(&[]);
        };
        match opening {
            Opening::Interim => {}
            Opening::Bodiless(response) => self.finish(response, on),
            Opening::WithBody(response, body) => self.state = State::Body(response, body),
        }
        Ok(&bytes[taken..])
    }

    #[inline(never)]
    fn receive_body<'b>(&mut self, bytes: &'b [u8], on: &mut impl OnResponse) -> Result<&'b [u8], Malformed> {
        let State::Body(response, body) = &mut self.state else {
            return Ok(bytes);
        };
        let Some(taken) = body.receive(bytes, |data| on.body(data))? else {
            return Ok(&[]);
        };
        let response = *response;
        self.finish(response, on);
        Ok(&bytes[taken..])
    }

    fn finish(&mut self, response: Response, on: &mut impl OnResponse) {
        self.state = State::Head;
        if on.finished(response).is_break() || !response.keep_alive {
            self.close();
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.carry.clear();
    }
}

/// What the end of the stream meant for the response under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfStream {
    /// There was none.
    Clean,
    /// It was to end so, and was reported.
    Finished,
    /// It is incomplete, and was not reported.
    Truncated,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Response, Body),
    Closed,
}

/// What a response's head makes of the bytes behind it.
enum Opening {
    /// A 1xx: the response itself follows.
    Interim,
    Bodiless(Response),
    WithBody(Response, Body),
}

impl Opening {
    fn new(response: Response, body: Option<Body>) -> Self {
        match body {
            Some(body) => Self::WithBody(response, body),
            None => Self::Bodiless(response),
        }
    }
}

/// Understands the head at the front of `bytes`, by the template or by the parser, and says how
/// long it is.
fn open(
    template: &mut HeadTemplate,
    answers_to_head: bool,
    bytes: &[u8],
) -> Result<Option<(usize, Opening)>, Malformed> {
    if template.0.is_front_of_last(bytes) {
        return Ok(None);
    }
    if let Some(known) = template.0.recognize(bytes) {
        let body = if answers_to_head { None } else { Body::sized(known.body_bytes) };
        let response = Response { status: known.value, keep_alive: true };
        return Ok(Some((known.head_bytes, Opening::new(response, body))));
    }
    let Some(head) = parse_response(bytes)? else {
        return Ok(None);
    };
    let opening = opening(&head, answers_to_head)?;
    learn(template, &head, &bytes[..head.head_bytes]);
    Ok(Some((head.head_bytes, opening)))
}

/// RFC 9112 §6.3, the rules for responses in their order.
fn opening(head: &ResponseHead, answers_to_head: bool) -> Result<Opening, Malformed> {
    let kept_alive = Response { status: head.status, keep_alive: head.headers.keep_alive };
    let closing = Response { keep_alive: false, ..kept_alive };
    Ok(match head.status {
        0..=99 => return Err(Malformed::Status(head.status)),
        // What follows is no longer HTTP/1.1.
        101 => Opening::Bodiless(closing),
        100..=199 => Opening::Interim,
        204 | 304 => Opening::Bodiless(kept_alive),
        _ if answers_to_head => Opening::Bodiless(kept_alive),
        _ => match head.headers.framing()? {
            Framing::Length(length) => Opening::new(kept_alive, Body::sized(length)),
            Framing::Chunked => Opening::WithBody(kept_alive, Body::chunked()),
            Framing::OtherCoding | Framing::Unsaid => Opening::WithBody(closing, Body::UntilClose),
        },
    })
}

/// The template serves connections of either kind, so it learns only what holds for answers to HEAD
/// and to all else.
fn learn(template: &mut HeadTemplate, head: &ResponseHead, bytes: &[u8]) {
    if !head.headers.keep_alive {
        return;
    }
    match (head.status, head.headers.lone_content_length()) {
        (..=199, _) => {}
        (204 | 304, _) => template.0.learn(bytes, None, head.status),
        (_, Some(digits)) => template.0.learn(bytes, Some(digits), head.status),
        (_, None) => {}
    }
}
