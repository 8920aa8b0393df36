//! Before the first request: `blaster` makes its tape in the time a user waits for it.

use std::hint::black_box;

use benches::stopwatch::Stopwatch;
use benches::tape::{MIX, events, serialize, tape};
use payloads::{BYTES_MAX, Extent};

/// What `--tape 100000` asks for.
const LARGE: Extent = Extent { requests: 100_000, bytes: usize::MAX, bytes_max: BYTES_MAX };

pub fn measure(stopwatch: &Stopwatch) {
    let of_default = |mix| events("127.0.0.1:3000", 1, mix).expect("the preset is known");
    let singles = of_default(None);
    stopwatch.measure("tape, a single event serialized", singles.requests.len() as u64, || {
        black_box(of_default(None));
    });
    let mixed = of_default(Some(MIX));
    let mixed_events = mixed.requests.iter().map(|piece| u64::from(piece.events)).sum();
    stopwatch.measure("tape, an event of the mixture serialized", mixed_events, || {
        black_box(of_default(Some(MIX)));
    });
    stopwatch.measure("tape, a request put on it", singles.requests.len() as u64, || {
        black_box(tape(black_box(&singles).clone()));
    });
    stopwatch.measure("tape, the mixture's default, in ns", 1, || {
        black_box(tape(of_default(Some(MIX))));
    });
    stopwatch.measure("tape, 100,000 requests of the mixture, in ns", 1, || {
        black_box(tape(serialize("127.0.0.1:3000", LARGE, 1, Some(MIX)).expect("it fits")));
    });
}
