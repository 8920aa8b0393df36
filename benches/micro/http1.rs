//! Reading answers and requests.

use std::hint::black_box;
use std::ops::ControlFlow;

use benches::stopwatch::Stopwatch;
use blaster_core::load::http1::{
    HeadTemplate, OnRequest, OnResponse, Request, RequestReader, RequestTemplate, Response, ResponseReader,
};

/// The built-in sink's.
const ANSWER: &[u8] =
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n\
    {\"message\":\"accepted\",\"count\":1}";

const ANSWER_CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
    20\r\n{\"message\":\"accepted\",\"count\":1}\r\n0\r\n\r\n";

const BATCH: usize = 64;

pub fn measure(stopwatch: &Stopwatch) {
    responses(stopwatch, "response, known head", &[ANSWER], 1);
    responses(stopwatch, "response, known head, 64 in one buffer", &[&ANSWER.repeat(BATCH)], BATCH);
    responses(stopwatch, "response, chunked", &[ANSWER_CHUNKED], 1);
    let (front, back) = ANSWER.split_at(20);
    responses(stopwatch, "response, head split over two buffers", &[front, back], 1);
    let server_counts: Vec<u8> = (0..BATCH)
        .flat_map(|n| format!("HTTP/1.1 200 OK\r\nX-Id: {n:08}\r\nContent-Length: 0\r\n\r\n").into_bytes())
        .collect();
    responses(stopwatch, "response, every head different", &[&server_counts], BATCH);

    let tape = benches::tape::events("127.0.0.1:3000", 0, None).expect("the preset is known");
    let mut reader = RequestReader::new();
    let mut template = RequestTemplate::default();
    let mut count = Count(0);
    let bytes = &tape.bytes[..tape.requests[BATCH - 1].end];
    stopwatch.measure("request, 64 events in one buffer", BATCH as u64, || {
        reader.receive(&mut template, black_box(bytes), &mut count).expect("well-formed");
    });
    assert_eq!(count.0 % BATCH as u64, 0);
}

fn responses(stopwatch: &Stopwatch, name: &str, buffers: &[&[u8]], answers: usize) {
    let mut reader = ResponseReader::new(false);
    let mut template = HeadTemplate::default();
    let mut count = Count(0);
    stopwatch.measure(name, answers as u64, || {
        for bytes in buffers {
            reader.receive(&mut template, black_box(bytes), &mut count).expect("well-formed");
        }
    });
    assert_eq!(count.0 % answers as u64, 0, "every answer of {name} was read");
}

struct Count(u64);

impl OnResponse for Count {
    fn finished(&mut self, response: Response) -> ControlFlow<()> {
        self.0 += u64::from(response.keep_alive);
        ControlFlow::Continue(())
    }
}

impl OnRequest for Count {
    fn route(&mut self, method: &str, _path: &str) -> u8 {
        u8::from(method == "POST")
    }

    fn finished(&mut self, request: Request) -> ControlFlow<()> {
        self.0 += u64::from(request.keep_alive);
        ControlFlow::Continue(())
    }
}
