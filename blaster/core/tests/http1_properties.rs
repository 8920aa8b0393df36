//! Whatever a peer sends, and wherever its bytes are cut, the readers say the same.

use blaster_core::load::http1::fuzz::{
    End, fuzz_request_reader, fuzz_response_reader, hear_requests, hear_responses,
};
use blaster_core::load::http1::{EndOfStream, HeadTemplate, RequestTemplate, Response};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

proptest! {
    #[test]
    fn responses_are_what_was_sent_wherever_they_are_cut(
        sent in vec(response(), 0..12),
        last in last_response(),
        cuts in vec(any::<Index>(), 0..40),
    ) {
        let stream: Vec<u8> = sent.iter().chain([&last]).flat_map(|sent| sent.wire.iter().copied()).collect();
        let cuts = ascending(&cuts, stream.len());
        let mut template = HeadTemplate::new();
        for round in 0..3 {
            let template = if round == 0 { &mut HeadTemplate::disabled() } else { &mut template };
            for cuts in [vec![], cuts.clone()] {
                let heard = hear_responses(&stream, cuts, template, false);
                let said: Vec<_> = sent.iter().chain([&last]).filter_map(|sent| sent.heard.clone()).collect();
                prop_assert_eq!(heard.messages, said);
                prop_assert_eq!(heard.end, last.end);
            }
        }
    }

    #[test]
    fn requests_are_what_was_sent_wherever_they_are_cut(
        sent in vec(request(), 0..12),
        cuts in vec(any::<Index>(), 0..40),
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(|(wire, _)| wire.iter().copied()).collect();
        let cuts = ascending(&cuts, stream.len());
        let mut template = RequestTemplate::new();
        let whole = hear_requests(&stream, [], &mut RequestTemplate::disabled());
        let said: Vec<_> = whole.messages.iter().map(|(request, body)| (request.bytes, body.clone())).collect();
        let wanted: Vec<_> = sent.iter().map(|(wire, body)| (wire.len() as u64, body.clone())).collect();
        prop_assert_eq!(said, wanted);
        prop_assert_eq!(whole.end, End::Stream(EndOfStream::Clean));
        for _ in 0..2 {
            prop_assert_eq!(&whole, &hear_requests(&stream, cuts.clone(), &mut template));
            prop_assert_eq!(&whole, &hear_requests(&stream, [], &mut template));
        }
        prop_assert_eq!(&whole, &hear_requests(&stream, cuts, &mut RequestTemplate::disabled()));
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(data in vec(any::<u8>(), 0..300)) {
        fuzz_response_reader(&data);
        fuzz_request_reader(&data);
    }
}

#[test]
fn damaged_responses_mean_the_same_wherever_they_are_cut() {
    fuzz_damaged(
        &[
            "HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello",
            "HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\nServer: x\r\n\r\nhello, world",
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5;x=y\r\nhello\r\n0\r\nA: b\n\r\n",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2, 2\r\n\r\nhi",
        ],
        fuzz_response_reader,
    );
}

#[test]
fn damaged_requests_mean_the_same_wherever_they_are_cut() {
    fuzz_damaged(
        &[
            "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            "POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\nhello, world",
            "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
            "GET / HTTP/1.0\nConnection: keep-alive\n\n",
        ],
        fuzz_request_reader,
    );
}

/// Random messages one after the other, with a few bytes of them changed, removed or doubled.
fn fuzz_damaged(messages: &[&str], fuzz: fn(&[u8])) {
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        let mut data = random.next().to_le_bytes().to_vec();
        for _ in 0..random.below(6) {
            data.extend_from_slice(messages[random.below(messages.len())].as_bytes());
        }
        for _ in 0..random.below(4) {
            let at = random.below(data.len());
            match random.below(4) {
                0 => data[at] = random.next() as u8,
                1 => data[at] = b"\r\n :;,0159aHx"[random.below(13)],
                2 => drop(data.remove(at)),
                _ => data.insert(at, data[at]),
            }
        }
        fuzz(&data);
    }
}

/// Marsaglia's xorshift64: the same bytes in every run.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A piece of a response stream, and what should be heard of it.
#[derive(Clone, Debug)]
struct Sent {
    wire: Vec<u8>,
    heard: Option<(Response, Vec<u8>)>,
    end: End,
}

impl Sent {
    fn new(wire: Vec<u8>, status: u16, keep_alive: bool, body: &[u8]) -> Self {
        let heard = Some((Response { status, keep_alive }, body.to_vec()));
        Self { wire, heard, end: End::Stream(EndOfStream::Clean) }
    }
}

fn response() -> impl Strategy<Value = Sent> {
    let status = || select(vec![200_u16, 202, 404, 429, 500, 999]);
    prop_oneof![
        4 => (status(), body(), headers()).prop_map(|(status, body, headers)| {
            let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
            Sent::new([head.as_bytes(), &body].concat(), status, true, &body)
        }),
        2 => (status(), chunks(), headers()).prop_map(|(status, (wire, body), headers)| {
            let head = format!("HTTP/1.1 {status} X\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
            Sent::new([head.as_bytes(), &wire].concat(), status, true, &body)
        }),
        1 => (select(vec![204_u16, 304]), headers()).prop_map(|(status, headers)| {
            Sent::new(format!("HTTP/1.1 {status} X\r\n{headers}\r\n").into_bytes(), status, true, b"")
        }),
        1 => (select(vec![100_u16, 102, 103, 199]), headers()).prop_map(|(status, headers)| {
            let wire = format!("HTTP/1.1 {status} X\r\n{headers}\r\n").into_bytes();
            Sent { heard: None, ..Sent::new(wire, status, true, b"") }
        }),
    ]
}

fn last_response() -> impl Strategy<Value = Sent> {
    prop_oneof![
        Just(Sent { heard: None, ..Sent::new(vec![], 0, true, b"") }),
        (body(), body()).prop_map(|(body, ignored)| {
            let head =
                format!("HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            Sent::new([head.as_bytes(), &body, &ignored].concat(), 200, false, &body)
        }),
        body().prop_map(|body| {
            let wire = [b"HTTP/1.1 200 X\r\n\r\n", &body[..]].concat();
            Sent { end: End::Stream(EndOfStream::Finished), ..Sent::new(wire, 200, false, &body) }
        }),
        Just(Sent {
            heard: None,
            end: End::Stream(EndOfStream::Truncated),
            ..Sent::new(b"HTTP/1.1 200 X\r\nContent-Le".to_vec(), 200, true, b"")
        }),
    ]
}

fn request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let path = || select(vec!["/", "/events", "/health"]);
    prop_oneof![
        (path(), body(), headers()).prop_map(|(path, body, headers)| {
            let head = format!("POST {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
            ([head.as_bytes(), &body].concat(), body)
        }),
        (path(), chunks(), headers()).prop_map(|(path, (wire, body), headers)| {
            let head = format!("POST {path} HTTP/1.1\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
            ([head.as_bytes(), &wire].concat(), body)
        }),
        (path(), headers()).prop_map(|(path, headers)| (
            format!("GET {path} HTTP/1.1\r\n{headers}\r\n").into_bytes(),
            vec![]
        )),
    ]
}

/// Few kinds, so that heads repeat and templates come to use.
fn headers() -> impl Strategy<Value = String> {
    select(vec!["", "Server: x\r\n", "Date: today\r\nServer: x\r\n"]).prop_map(str::to_owned)
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), Just(b"HTTP/1.1 200 OK\r\n\r\n".to_vec())]
}

/// A chunked body on the wire, and its data.
fn chunks() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk = (vec(any::<u8>(), 1..30), select(vec!["", ";x", " ; name=\"v; w\"", "  "]));
    let trailers = select(vec!["", "A: b\r\n", "A: b\r\nSum: 0x1\n"]);
    (vec(chunk, 0..5), trailers).prop_map(|(chunks, trailers)| {
        let (mut wire, mut body) = (Vec::new(), Vec::new());
        for (data, extension) in chunks {
            wire.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            wire.extend_from_slice(&data);
            wire.extend_from_slice(b"\r\n");
            body.extend_from_slice(&data);
        }
        wire.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        (wire, body)
    })
}

fn ascending(cuts: &[Index], stream_bytes: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream_bytes + 1)).collect();
    cuts.sort_unstable();
    cuts
}
