//! What the request reader says of what a client sends, rule by rule.

use std::ops::ControlFlow;

use blaster_core::load::http1::fuzz::{End, Heard, hear_requests};
use blaster_core::load::http1::{EndOfStream, Malformed, OnRequest, Request, RequestReader, RequestTemplate};

#[test]
fn a_request_without_a_framing_has_no_body() {
    let heard = hear(&"GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3));
    assert_eq!(said(&heard), [(true, 33, ""); 3]);
    assert_eq!(heard.end, End::Stream(EndOfStream::Clean));
}

#[test]
fn bytes_are_those_of_the_wire() {
    let table = [
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n", "hello"),
        ("\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi", "hi"),
    ];
    for (request, body) in table {
        let heard = hear(&request.repeat(3));
        assert_eq!(said(&heard), [(true, request.len() as u64, body); 3], "{request:?}");
        assert_eq!(heard.end, End::Stream(EndOfStream::Clean));
    }
}

#[test]
fn keep_alive_is_the_default_of_1_1_and_a_request_of_1_0() {
    for (line, header, keep_alive) in [
        ("GET / HTTP/1.1", "Connection: close", false),
        ("GET / HTTP/1.1", "Connection: x", true),
        ("GET / HTTP/1.0", "Connection: x", false),
        ("GET / HTTP/1.0", "Connection: KEEP-ALIVE", true),
    ] {
        let request = format!("{line}\r\n{header}\r\n\r\n");
        let wanted = vec![(keep_alive, request.len() as u64, ""); if keep_alive { 2 } else { 1 }];
        assert_eq!(said(&hear(&request.repeat(2))), wanted, "{request:?}");
    }
}

#[test]
fn a_request_whose_end_cannot_be_known_is_malformed() {
    let refuse = |headers: &str| match hear(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n")).end {
        End::Malformed(malformed) => malformed,
        End::Stream(end) => panic!("not refused but {end:?}: {headers}"),
    };
    assert_eq!(refuse("Transfer-Encoding: gzip"), Malformed::RequestWithoutEnd);
    assert_eq!(refuse("Transfer-Encoding: chunked, gzip"), Malformed::RequestWithoutEnd);
    assert_eq!(refuse("Transfer-Encoding: chunked\r\nContent-Length: 5"), Malformed::TwoFramings);
    assert_eq!(refuse("Content-Length: 5, 6"), Malformed::ContentLengthsDiffer { first: 5, other: 6 });
    assert!(matches!(refuse("Content-Length: -1"), Malformed::ContentLength(_)));
}

#[test]
fn garbage_is_refused_at_once() {
    for (garbage, text) in [
        (b"\x16\x03\x01\x00\xa5".as_slice(), r#"expected a request line, got "\x16\x03\x01\x00\xa5""#),
        (b"GET / HTTP/3.0\r\n", r#"expected a request line, got "GET / HTTP/3.0""#),
        (b"GET  / HTTP/1.1\r\n", r#"expected a request line, got "GET  / HTTP/1.1""#),
    ] {
        let heard = hear_requests(garbage, [], &mut RequestTemplate::new());
        let End::Malformed(malformed) = heard.end else { panic!("not refused: {}", garbage.escape_ascii()) };
        assert_eq!(malformed.to_string(), text);
    }
}

#[test]
fn the_route_is_asked_only_for_heads_that_are_new() {
    let post = |body: &str| format!("POST /events HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let get = "GET /health HTTP/1.1\r\n\r\n";
    let mut routed = Routed::default();
    let (mut reader, mut template) = (RequestReader::new(), RequestTemplate::new());
    for round in 0..100 {
        let stream = post(&"x".repeat(round)) + get;
        reader.receive(&mut template, stream.as_bytes(), &mut routed).unwrap();
    }
    assert_eq!(routed.asked, ["POST /events", "GET /health"]);
    assert_eq!(routed.finished, [(0, 100), (1, 100)]);
}

#[test]
fn break_stops_the_reader_until_reset() {
    let mut routed = Routed { breaks: true, ..Routed::default() };
    let (mut reader, mut template) = (RequestReader::new(), RequestTemplate::new());
    let stream = "GET / HTTP/1.1\r\n\r\n".repeat(3);
    for requests in 1..4 {
        reader.receive(&mut template, stream.as_bytes(), &mut routed).unwrap();
        reader.receive(&mut template, stream.as_bytes(), &mut routed).unwrap();
        assert_eq!(routed.finished, [(0, requests)]);
        assert!(reader.is_between_requests());
        reader.reset();
    }
}

#[derive(Default)]
struct Routed {
    asked: Vec<String>,
    finished: Vec<(u8, u64)>,
    breaks: bool,
}

impl OnRequest for Routed {
    fn route(&mut self, method: &str, path: &str) -> u8 {
        self.asked.push(format!("{method} {path}"));
        self.finished.push((self.finished.len() as u8, 0));
        self.asked.len() as u8 - 1
    }

    fn finished(&mut self, request: Request) -> ControlFlow<()> {
        self.finished[usize::from(request.route)].1 += 1;
        if self.breaks { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Reads `stream` whole, then cut at every single position, byte by byte, and by templates new,
/// used and disabled.
fn hear(stream: &str) -> Heard<Request> {
    let bytes = stream.as_bytes();
    let whole = hear_requests(bytes, [], &mut RequestTemplate::disabled());
    let mut template = RequestTemplate::new();
    for _ in 0..2 {
        whole.assert_agrees(&hear_requests(bytes, [], &mut template));
        whole.assert_agrees(&hear_requests(bytes, 1..bytes.len(), &mut template));
    }
    for cut in 0..=bytes.len() {
        whole.assert_agrees(&hear_requests(bytes, [cut], &mut template));
        whole.assert_agrees(&hear_requests(bytes, [cut], &mut RequestTemplate::disabled()));
    }
    whole
}

fn said(heard: &Heard<Request>) -> Vec<(bool, u64, &str)> {
    let text = |body| std::str::from_utf8(body).unwrap();
    heard.messages.iter().map(|(request, body)| (request.keep_alive, request.bytes, text(body))).collect()
}
