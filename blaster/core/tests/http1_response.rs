//! What the response reader says of what a server sends, rule by rule.

use std::ops::ControlFlow;

use blaster_core::load::http1::fuzz::{End, Heard, hear_responses};
use blaster_core::load::http1::{
    EndOfStream, HEAD_BYTES_MAX, HEADERS_MAX, HeadTemplate, Malformed, OnResponse, Response, ResponseReader,
};

#[test]
fn keep_alive_is_the_default_of_1_1_and_a_request_of_1_0() {
    let table = [
        ("HTTP/1.1 200 OK\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n", false),
        ("HTTP/1.1 200 OK\r\nCONNECTION: CLOSE\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: upgrade , Close,x\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: closed\r\n", true),
        ("HTTP/1.0 200 OK\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: foo\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n", false),
    ];
    for (head, keep_alive) in table {
        let heard = hear(&format!("{head}Content-Length: 2\r\n\r\nhi"));
        assert_eq!(said(&heard), [(200, keep_alive, "hi")], "{head}");
        assert_eq!(heard.end, End::Stream(EndOfStream::Clean), "{head}");
    }
}

#[test]
fn a_content_length_is_one_number_however_often_it_is_said() {
    for lines in [
        "Content-Length: 5",
        "content-length:5",
        "CONTENT-LENGTH: \t5 \t",
        "Content-Length: 005",
        "Content-Length: 00000000000000000000005",
        "Content-Length: 5, 5",
        "Content-Length: 5,5 ,\t5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nX: y\r\nContent-Length: 05",
    ] {
        let heard = hear(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\nhello"));
        assert_eq!(said(&heard), [(200, true, "hello")], "{lines}");
        assert_eq!(heard.end, End::Stream(EndOfStream::Clean), "{lines}");
    }
}

#[test]
fn a_content_length_that_is_no_number_is_malformed() {
    for value in [
        "",
        "-5",
        "+5",
        "5x",
        "0x5",
        "5 5",
        "5,",
        ",5",
        "5,,5",
        "18446744073709551616",
        "99999999999999999999",
    ] {
        let error = refuse(&format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\n"));
        assert!(matches!(error, Malformed::ContentLength(_)), "{value:?}: {error}");
    }
    for lines in [
        "Content-Length: 5, 6",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5\r\nContent-Length: 6",
    ] {
        let error = refuse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"));
        assert_eq!(error, Malformed::ContentLengthsDiffer { first: 5, other: 6 }, "{lines}");
    }
}

#[test]
fn two_framings_are_malformed() {
    for lines in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip\r\nContent-Length: 5"]
    {
        assert_eq!(refuse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")), Malformed::TwoFramings);
    }
}

#[test]
fn chunked_is_the_last_coding_in_any_case_of_letters() {
    for lines in [
        "Transfer-Encoding: chunked",
        "transfer-encoding: CHUNKED",
        "Transfer-Encoding: gzip, Chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, ",
    ] {
        let heard = hear(&format!(
            "HTTP/1.1 200 OK\r\n{lines}\r\n\r\n5\r\nhello\r\n6;ext=\"a;b\"\r\n world\r\n0\r\nA: b\r\n\r\n"
        ));
        assert_eq!(said(&heard), [(200, true, "hello world")], "{lines}");
        assert_eq!(heard.end, End::Stream(EndOfStream::Clean), "{lines}");
    }
}

#[test]
fn without_a_framing_the_body_lasts_until_the_close() {
    for lines in
        ["", "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: chunked, gzip\r\n", "Transfer-Encoding:\r\n"]
    {
        let heard = hear(&format!("HTTP/1.1 200 OK\r\n{lines}\r\nHTTP/1.1 200 OK\r\n\r\n"));
        assert_eq!(said(&heard), [(200, false, "HTTP/1.1 200 OK\r\n\r\n")], "{lines}");
        assert_eq!(heard.end, End::Stream(EndOfStream::Finished), "{lines}");
    }
}

#[test]
fn an_http_1_0_server_that_chunks_is_not_trusted_further() {
    let heard = hear(
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    );
    assert_eq!(said(&heard), [(200, false, "a")]);
}

#[test]
fn no_content_and_not_modified_have_no_body_whatever_their_headers_say() {
    for lines in [
        "",
        "Content-Length: 5\r\n",
        "Content-Length: x\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        for status in [204, 304] {
            let heard = hear(&format!("HTTP/1.1 {status} X\r\n{lines}\r\n").repeat(3));
            assert_eq!(said(&heard), [(status, true, ""); 3], "{lines}");
        }
    }
}

#[test]
fn answers_to_head_have_no_body_whatever_their_headers_say() {
    for lines in ["", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: x\r\n"] {
        let stream = format!("HTTP/1.1 200 OK\r\n{lines}\r\n").repeat(3);
        let heard = hear_responses(stream.as_bytes(), [], &mut HeadTemplate::new(), true);
        assert_eq!(said(&heard), [(200, true, ""); 3], "{lines}");
    }
}

#[test]
fn one_template_serves_answers_to_head_and_to_get() {
    let (head, mut template) = ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HeadTemplate::new());
    for _ in 0..3 {
        let to_head = hear_responses(head.repeat(2).as_bytes(), [], &mut template, true);
        assert_eq!(said(&to_head), [(200, true, ""); 2]);
        let to_get = hear_responses(format!("{head}hello").repeat(2).as_bytes(), [], &mut template, false);
        assert_eq!(said(&to_get), [(200, true, "hello"); 2]);
    }
    let endless = "HTTP/1.1 201 OK\r\n\r\n";
    hear_responses(endless.as_bytes(), [], &mut template, true);
    let to_get = hear_responses(endless.as_bytes(), [], &mut template, false);
    assert_eq!(to_get.end, End::Stream(EndOfStream::Finished));
}

#[test]
fn interim_responses_are_skipped() {
    let heard = hear(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(said(&heard), [(200, true, "")]);
}

#[test]
fn after_switching_protocols_nothing_is_read() {
    let heard = hear("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x00\x01 not http");
    assert_eq!(said(&heard), [(101, false, "")]);
    assert_eq!(heard.end, End::Stream(EndOfStream::Clean));
}

#[test]
fn after_the_last_response_nothing_is_read_until_reset() {
    let (mut template, mut heard) = (HeadTemplate::new(), Counted::default());
    let mut reader = ResponseReader::new(false);
    let closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    reader.receive(&mut template, closing, &mut heard).unwrap();
    reader.receive(&mut template, b"garbage", &mut heard).unwrap();
    reader.receive(&mut template, closing, &mut heard).unwrap();
    assert_eq!(heard.finished, 1);
    assert!(reader.is_between_responses());
    assert_eq!(reader.end_of_stream(&mut heard), EndOfStream::Clean);
    reader.reset();
    reader.receive(&mut template, closing, &mut heard).unwrap();
    assert_eq!(heard.finished, 2);
}

#[test]
fn break_stops_the_reader_until_reset() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for mut template in [HeadTemplate::new(), HeadTemplate::disabled()] {
        let mut reader = ResponseReader::new(false);
        let mut heard = Counted { break_at: 3, ..Counted::default() };
        reader.receive(&mut template, ok.repeat(5).as_bytes(), &mut heard).unwrap();
        reader.receive(&mut template, ok.as_bytes(), &mut heard).unwrap();
        assert_eq!(heard.finished, 3);
        reader.reset();
        reader.receive(&mut template, ok.as_bytes(), &mut heard).unwrap();
        assert_eq!(heard.finished, 4);
    }
}

#[test]
fn after_an_error_nothing_is_read_until_reset() {
    let (mut template, mut heard) = (HeadTemplate::new(), Counted::default());
    let mut reader = ResponseReader::new(false);
    reader.receive(&mut template, b"HTTP/1.1 2", &mut heard).unwrap();
    assert!(reader.receive(&mut template, b"xx", &mut heard).is_err());
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    reader.receive(&mut template, ok, &mut heard).unwrap();
    assert_eq!(heard.finished, 0);
    reader.reset();
    reader.receive(&mut template, ok, &mut heard).unwrap();
    assert_eq!(heard.finished, 1);
}

#[test]
fn empty_lines_before_a_status_line_are_no_response() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let heard = hear(&format!("\r\n\n{ok}\r\n\r\n{ok}\r\n"));
    assert_eq!(said(&heard), [(200, true, ""); 2]);
    assert_eq!(heard.end, End::Stream(EndOfStream::Clean));
}

#[test]
fn lines_of_a_head_may_end_in_a_bare_line_feed() {
    let heard = hear("HTTP/1.1 200\nContent-Length: 2\n\nhiHTTP/1.1 200 OK\nContent-Length: 2\r\n\nho");
    assert_eq!(said(&heard), [(200, true, "hi"), (200, true, "ho")]);
}

#[test]
fn a_stream_may_end_in_the_middle() {
    for stream in [
        "H",
        "\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let heard = hear(stream);
        assert_eq!(heard.end, End::Stream(EndOfStream::Truncated), "{stream:?}");
        assert!(heard.messages.is_empty());
    }
}

#[test]
fn garbage_is_refused_at_its_first_byte() {
    let tls_alert = b"\x15\x03\x01\x00\x02\x02\x28";
    for (stream, wrong_at) in [
        (tls_alert.as_slice(), 0),
        (b"<html>", 0),
        (b"HTTP/2.0 200", 5),
        (b"HTTP/1.2 200", 7),
        (b"HTTX", 3),
        (b"\r\n\r\nSSH-2.0", 4),
        (b"HTTP/1.1 2x", 10),
        (b"HTTP/1.1 200_", 12),
    ] {
        let mut reader = ResponseReader::new(false);
        let (mut template, mut heard) = (HeadTemplate::new(), Counted::default());
        let refused =
            stream.iter().position(|byte| reader.receive(&mut template, &[*byte], &mut heard).is_err());
        // httparse compares the version as a whole, so a wrong letter in it is found with its
        // eighth byte at the latest.
        let found_at_latest = if wrong_at < 8 { 7 } else { wrong_at };
        let shown = stream.escape_ascii();
        assert!(
            refused.is_some_and(|at| (wrong_at..=found_at_latest).contains(&at)),
            "{shown} at {refused:?}"
        );
        assert!(ResponseReader::new(false).receive(&mut template, stream, &mut heard).is_err(), "{shown}");
    }
}

#[test]
fn a_status_has_a_class() {
    assert_eq!(refuse("HTTP/1.1 042 X\r\nContent-Length: 0\r\n\r\n"), Malformed::Status(42));
    assert_eq!(said(&hear("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n")), [(999, true, "")]);
}

#[test]
fn a_head_of_64_kib_is_read_and_a_longer_one_is_not() {
    let of = |head_bytes: usize| {
        let (front, back) = ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: ", "\r\n\r\n");
        format!("{front}{}{back}", "y".repeat(head_bytes - front.len() - back.len()))
    };
    let (longest, too_long) = (of(HEAD_BYTES_MAX), of(HEAD_BYTES_MAX + 1));
    for cuts in [vec![], vec![100], vec![100, 40_000], (1..longest.len()).collect()] {
        let heard = hear_responses(longest.as_bytes(), cuts.clone(), &mut HeadTemplate::new(), false);
        assert_eq!(said(&heard), [(200, true, "")]);
        let heard = hear_responses(too_long.as_bytes(), cuts, &mut HeadTemplate::new(), false);
        assert_eq!(heard.end, End::Malformed(Malformed::EndlessHead));
    }
    assert_eq!(
        refuse(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(10 * HEAD_BYTES_MAX))),
        Malformed::EndlessHead
    );
}

#[test]
fn a_head_may_have_a_thousand_headers() {
    let with = |headers: usize| format!("HTTP/1.1 204 X\r\n{}\r\n", "a: b\r\n".repeat(headers));
    for headers in [0, 63, 64, 65, 256, HEADERS_MAX] {
        assert_eq!(said(&hear(&with(headers))), [(204, true, "")], "{headers} headers");
    }
    assert_eq!(refuse(&with(HEADERS_MAX + 1)), Malformed::TooManyHeaders);
}

#[test]
fn a_huge_body_is_only_a_number() {
    const PIECES: u64 = 10 * 1024;
    let piece = vec![0; 1024 * 1024];
    let mut reader = ResponseReader::new(false);
    let (mut template, mut heard) = (HeadTemplate::new(), Counted::default());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECES * piece.len() as u64);
    reader.receive(&mut template, head.as_bytes(), &mut heard).unwrap();
    for _ in 0..PIECES {
        assert_eq!(heard.finished, 0);
        reader.receive(&mut template, &piece, &mut heard).unwrap();
    }
    assert_eq!(heard.finished, 1);
    reader
        .receive(
            &mut template,
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nx", u64::MAX).as_bytes(),
            &mut heard,
        )
        .unwrap();
    assert_eq!(reader.end_of_stream(&mut heard), EndOfStream::Truncated);
}

#[test]
fn a_reader_is_small() {
    assert!(size_of::<ResponseReader>() <= 128, "{} bytes, besides the carry", size_of::<ResponseReader>());
}

#[derive(Default)]
struct Counted {
    finished: u64,
    break_at: u64,
}

impl OnResponse for Counted {
    fn finished(&mut self, _: Response) -> ControlFlow<()> {
        self.finished += 1;
        if self.finished == self.break_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Reads `stream` whole, then cut at every single position, byte by byte, and by templates new,
/// used and disabled.
fn hear(stream: &str) -> Heard<Response> {
    let bytes = stream.as_bytes();
    let whole = hear_responses(bytes, [], &mut HeadTemplate::disabled(), false);
    let mut template = HeadTemplate::new();
    for _ in 0..2 {
        whole.assert_agrees(&hear_responses(bytes, [], &mut template, false));
        whole.assert_agrees(&hear_responses(bytes, 1..bytes.len().max(1), &mut template, false));
    }
    if bytes.len() < 1000 {
        for cut in 0..=bytes.len() {
            whole.assert_agrees(&hear_responses(bytes, [cut], &mut template, false));
            whole.assert_agrees(&hear_responses(bytes, [cut], &mut HeadTemplate::disabled(), false));
        }
    }
    whole
}

fn said(heard: &Heard<Response>) -> Vec<(u16, bool, &str)> {
    let text = |body| std::str::from_utf8(body).unwrap();
    heard.messages.iter().map(|(response, body)| (response.status, response.keep_alive, text(body))).collect()
}

fn refuse(stream: &str) -> Malformed {
    match hear(stream).end {
        End::Malformed(malformed) => malformed,
        End::Stream(end) => panic!("not refused but {end:?}: {stream:?}"),
    }
}
