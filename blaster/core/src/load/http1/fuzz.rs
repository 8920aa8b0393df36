//! Bodies of fuzz targets, as plain functions so that seeded tests run them too, and the listener
//! that all tests share.
//!
//! The claim: what a reader says does not depend on where the bytes are cut, nor on what its
//! template has seen.

use std::ops::ControlFlow;

use super::{
    EndOfStream, HeadTemplate, Malformed, OnRequest, OnResponse, Request, RequestReader, RequestTemplate,
    Response, ResponseReader,
};

/// The first eight bytes choose the cuts, the rest is what a server sends.
pub fn fuzz_response_reader(data: &[u8]) {
    let Some((seed, stream)) = data.split_first_chunk::<8>() else {
        return;
    };
    let seed = u64::from_le_bytes(*seed);
    let answers_to_head = seed % 4 == 0;
    let whole = hear_responses(stream, [], &mut HeadTemplate::disabled(), answers_to_head);
    let mut template = HeadTemplate::new();
    for _ in 0..2 {
        whole.assert_agrees(&hear_responses(stream, [], &mut template, answers_to_head));
        whole.assert_agrees(&hear_responses(
            stream,
            cuts(seed, stream.len()),
            &mut template,
            answers_to_head,
        ));
    }
    whole.assert_agrees(&hear_responses(
        stream,
        cuts(seed, stream.len()),
        &mut HeadTemplate::disabled(),
        answers_to_head,
    ));
}

/// The first eight bytes choose the cuts, the rest is what a client sends.
pub fn fuzz_request_reader(data: &[u8]) {
    let Some((seed, stream)) = data.split_first_chunk::<8>() else {
        return;
    };
    let seed = u64::from_le_bytes(*seed);
    let whole = hear_requests(stream, [], &mut RequestTemplate::disabled());
    let mut template = RequestTemplate::new();
    for _ in 0..2 {
        whole.assert_agrees(&hear_requests(stream, [], &mut template));
        whole.assert_agrees(&hear_requests(stream, cuts(seed, stream.len()), &mut template));
    }
    whole.assert_agrees(&hear_requests(stream, cuts(seed, stream.len()), &mut RequestTemplate::disabled()));
}

/// Reads `stream`, cut at the ascending positions `cuts`, and its end.
pub fn hear_responses(
    stream: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    template: &mut HeadTemplate,
    answers_to_head: bool,
) -> Heard<Response> {
    let mut heard = Heard::new();
    let mut reader = ResponseReader::new(answers_to_head);
    for piece in pieces(stream, cuts) {
        if let Err(malformed) = reader.receive(template, piece, &mut heard) {
            assert!(reader.is_between_responses(), "nothing is under way after an error");
            heard.end = End::Malformed(malformed);
            return heard;
        }
    }
    let was_between = reader.is_between_responses();
    heard.end = End::Stream(reader.end_of_stream(&mut heard));
    assert_eq!(was_between, heard.end == End::Stream(EndOfStream::Clean));
    heard
}

/// Reads `stream`, cut at the ascending positions `cuts`. Every route is a hash of the method and
/// path asked for.
pub fn hear_requests(
    stream: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    template: &mut RequestTemplate,
) -> Heard<Request> {
    let mut heard = Heard::new();
    let mut reader = RequestReader::new();
    for piece in pieces(stream, cuts) {
        if let Err(malformed) = reader.receive(template, piece, &mut heard) {
            heard.end = End::Malformed(malformed);
            return heard;
        }
    }
    if !reader.is_between_requests() {
        heard.end = End::Stream(EndOfStream::Truncated);
    }
    heard
}

/// All that a reader said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard<M> {
    /// Every finished message with its body.
    pub messages: Vec<(M, Vec<u8>)>,
    /// The body, so far, of one that did not finish.
    pub unfinished_body: Vec<u8>,
    /// How it ended.
    pub end: End,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The reader refused it.
    Malformed(Malformed),
    /// All of it was read.
    Stream(EndOfStream),
}

impl<M: Copy + PartialEq + std::fmt::Debug> Heard<M> {
    fn new() -> Self {
        Self { messages: Vec::new(), unfinished_body: Vec::new(), end: End::Stream(EndOfStream::Clean) }
    }

    /// Panics unless `other` is an account of the same stream. A reader that gets a head in pieces
    /// need not find the mistake in it before the head is whole, so one may call malformed what the
    /// other calls truncated.
    pub fn assert_agrees(&self, other: &Self) {
        assert_eq!(self.messages, other.messages);
        assert_eq!(self.unfinished_body, other.unfinished_body);
        let truncated = End::Stream(EndOfStream::Truncated);
        let is_malformed = |end| matches!(end, End::Malformed(_));
        match (self.end, other.end) {
            (one, two) if is_malformed(one) => {
                assert!(is_malformed(two) || two == truncated, "{one:?}, then {two:?}")
            }
            (one, two) if is_malformed(two) => assert_eq!(one, truncated, "{one:?}, then {two:?}"),
            (one, two) => assert_eq!(one, two),
        }
    }

    fn hear(&mut self, message: M) -> ControlFlow<()> {
        self.messages.push((message, std::mem::take(&mut self.unfinished_body)));
        ControlFlow::Continue(())
    }

    fn hear_body(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        self.unfinished_body.extend_from_slice(bytes);
    }
}

impl OnResponse for Heard<Response> {
    fn body(&mut self, bytes: &[u8]) {
        self.hear_body(bytes);
    }

    fn finished(&mut self, response: Response) -> ControlFlow<()> {
        self.hear(response)
    }
}

impl OnRequest for Heard<Request> {
    fn route(&mut self, method: &str, path: &str) -> u8 {
        method.bytes().chain(path.bytes()).fold(7, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte))
    }

    fn body(&mut self, _route: u8, bytes: &[u8]) {
        self.hear_body(bytes);
    }

    fn finished(&mut self, request: Request) -> ControlFlow<()> {
        self.hear(request)
    }
}

fn pieces(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let ends: Vec<usize> = cuts.into_iter().chain([stream.len()]).collect();
    ends.into_iter().map(move |end| {
        let piece = &stream[start..end];
        start = end;
        piece
    })
}

/// Ascending cuts at distances that `seed` chooses: some streams come byte by byte, others in large
/// pieces.
fn cuts(seed: u64, stream_bytes: usize) -> Vec<usize> {
    let distance_max = 1 + (seed >> 8) % 64;
    let mut random = seed | 1;
    let mut cuts = Vec::new();
    let mut at = 0;
    loop {
        // Marsaglia's xorshift64 (Journal of Statistical Software 8(14), 2003).
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        at += (1 + random % distance_max) as usize;
        if at >= stream_bytes {
            return cuts;
        }
        cuts.push(at);
    }
}
