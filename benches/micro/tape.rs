//! Before the first request: `blaster` makes its tape in the time a user waits for it.

use std::hint::black_box;

use benches::stopwatch::Stopwatch;
use benches::tape::{EXTENT, events, tape};

pub fn measure(stopwatch: &Stopwatch) {
    let requests = EXTENT.requests as u64;
    stopwatch.measure("tape, a single event serialized", requests, || {
        black_box(events("127.0.0.1:3000", 1)).expect("the preset is known");
    });
    let serialized = events("127.0.0.1:3000", 1).expect("the preset is known");
    stopwatch.measure("tape, a request put on it", requests, || {
        black_box(tape(black_box(&serialized)));
    });
}
