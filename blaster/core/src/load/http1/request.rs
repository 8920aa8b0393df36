//! Requests, as the built-in server and the simulator read them.

use std::ops::ControlFlow;

use super::body::Body;
use super::carry::Carry;
use super::head::{Framing, RequestHead, parse_request};
use super::malformed::Malformed;
use super::template::RequestTemplate;

/// What a finished request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What [`OnRequest::route`] said of its method and path.
    pub route: u8,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Bytes of head and body as they came over the wire, with the framing of chunks.
    pub bytes: u64,
}

/// Hears of requests while their bytes are being read.
pub trait OnRequest {
    /// Where a request with this method and path belongs. Called only for heads that the template
    /// does not know, so its answer must depend on nothing else.
    fn route(&mut self, method: &str, path: &str) -> u8;

    /// A piece of the body of the request that finishes next: data only, never empty, without the
    /// framing of chunks.
    #[inline]
    fn body(&mut self, _route: u8, _bytes: &[u8]) {}

    /// A request is complete. After `Break` the reader ignores all that follows, until it is reset.
    fn finished(&mut self, request: Request) -> ControlFlow<()>;
}

/// Reads the requests of one connection.
///
/// After a request with `keep_alive` false, after `Break` and after an error it ignores all bytes
/// until [`Self::reset`].
#[derive(Debug)]
pub struct RequestReader {
    state: State,
    /// Empty unless `state` is `Head`.
    carry: Carry,
}

impl RequestReader {
    /// A reader for a new connection.
    pub fn new() -> Self {
        Self { state: State::Head, carry: Carry::new() }
    }

    /// Begins anew, for a new connection. Keeps what is allocated.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.carry.clear();
    }

    /// Reads the next bytes of the connection, wherever they are cut.
    ///
    /// # Errors
    /// The bytes are no HTTP/1.1 request. Those finished before were reported.
    #[inline]
    pub fn receive(
        &mut self,
        template: &mut RequestTemplate,
        mut bytes: &[u8],
        on: &mut impl OnRequest,
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

    /// Whether no request is under way: none has begun, or nothing more is read on this connection.
    pub fn is_between_requests(&self) -> bool {
        match self.state {
            State::Head => self.carry.is_blank(),
            State::Body(..) => false,
            State::Closed => true,
        }
    }

    #[inline]
    fn receive_head<'b>(
        &mut self,
        template: &mut RequestTemplate,
        bytes: &'b [u8],
        on: &mut impl OnRequest,
    ) -> Result<&'b [u8], Malformed> {
        if self.carry.is_empty()
            && let Some(known) = template.0.recognize_last(bytes)
        {
            let rest = &bytes[known.head_bytes..];
            if known.body_bytes > rest.len() as u64 {
                let request =
                    Request { route: known.value, keep_alive: true, bytes: known.head_bytes as u64 };
                self.state = State::Body(request, Body::Sized { left_bytes: known.body_bytes });
                return Ok(rest);
            }
            let (body, rest) = rest.split_at(known.body_bytes as usize);
            if !body.is_empty() {
                on.body(known.value, body);
            }
            let bytes = known.head_bytes as u64 + known.body_bytes;
            if on.finished(Request { route: known.value, keep_alive: true, bytes }).is_break() {
                self.close();
            }
            return Ok(rest);
        }
        self.receive_unknown_head(template, bytes, on)
    }

    #[inline(never)]
    fn receive_unknown_head<'b>(
        &mut self,
        template: &mut RequestTemplate,
        bytes: &'b [u8],
        on: &mut impl OnRequest,
    ) -> Result<&'b [u8], Malformed> {
        let Some((taken, opening)) = self.carry.next_head(bytes, |bytes| open(template, bytes, on))? else {
            return Ok(&[]);
        };
        match opening.body {
            Some(body) => self.state = State::Body(opening.request, body),
            None => self.finish(opening.request, on),
        }
        Ok(&bytes[taken..])
    }

    #[inline(never)]
    fn receive_body<'b>(&mut self, bytes: &'b [u8], on: &mut impl OnRequest) -> Result<&'b [u8], Malformed> {
        let State::Body(request, body) = &mut self.state else {
            return Ok(bytes);
        };
        let end = body.receive(bytes, |data| on.body(request.route, data))?;
        let taken = end.unwrap_or(bytes.len());
        request.bytes += taken as u64;
        if end.is_some() {
            let request = *request;
            self.finish(request, on);
        }
        Ok(&bytes[taken..])
    }

    fn finish(&mut self, request: Request, on: &mut impl OnRequest) {
        self.state = State::Head;
        if on.finished(request).is_break() || !request.keep_alive {
            self.close();
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.carry.clear();
    }
}

impl Default for RequestReader {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
enum State {
    Head,
    /// The request counts the bytes taken so far.
    Body(Request, Body),
    Closed,
}

/// What a request's head makes of the bytes behind it.
struct Opening {
    request: Request,
    body: Option<Body>,
}

/// Understands the head at the front of `bytes`, by the template or by the parser, and says how
/// long it is.
fn open(
    template: &mut RequestTemplate,
    bytes: &[u8],
    on: &mut impl OnRequest,
) -> Result<Option<(usize, Opening)>, Malformed> {
    if template.0.is_front_of_last(bytes) {
        return Ok(None);
    }
    if let Some(known) = template.0.recognize(bytes) {
        let request = Request { route: known.value, keep_alive: true, bytes: known.head_bytes as u64 };
        return Ok(Some((known.head_bytes, Opening { request, body: Body::sized(known.body_bytes) })));
    }
    let Some(head) = parse_request(bytes)? else {
        return Ok(None);
    };
    // RFC 9112 §6.3, the rules for requests.
    let framing = head.headers.framing()?;
    let body = match framing {
        Framing::Length(length) => Body::sized(length),
        Framing::Chunked => Some(Body::chunked()),
        Framing::OtherCoding => return Err(Malformed::RequestWithoutEnd),
        Framing::Unsaid => None,
    };
    let route = on.route(head.method, head.path);
    learn(template, &head, framing, route, &bytes[..head.head_bytes]);
    let request = Request { route, keep_alive: head.headers.keep_alive, bytes: head.head_bytes as u64 };
    Ok(Some((head.head_bytes, Opening { request, body })))
}

fn learn(template: &mut RequestTemplate, head: &RequestHead<'_>, framing: Framing, route: u8, bytes: &[u8]) {
    if !head.headers.keep_alive {
        return;
    }
    match (framing, head.headers.lone_content_length()) {
        (Framing::Unsaid, _) => template.0.learn(bytes, None, route),
        (_, Some(digits)) => template.0.learn(bytes, Some(digits), route),
        (_, None) => {}
    }
}
