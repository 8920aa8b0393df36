//! Into the histograms.

use std::hint::black_box;

use benches::stopwatch::Stopwatch;
use blaster_core::load::recorder::{Recorder, Series};
use blaster_core::time::Nanos;

pub fn measure(stopwatch: &Stopwatch) {
    // Times from 10 µs to 10 ms, spread like latencies: most of them short.
    let times: Vec<Nanos> =
        (0..4096_u64).map(|n| Nanos(10_000 + (n * 2_654_435_761 % 4096).pow(2) * 6 / 10)).collect();
    let mut series = Series::new();
    stopwatch.measure("record, every value different", times.len() as u64, || {
        for &time in &times {
            series.record(black_box(time));
        }
    });
    stopwatch.measure("record, batches of 64 equal values", 64 * 64, || {
        for &time in &times[..64] {
            for _ in 0..64 {
                series.record(black_box(time));
            }
        }
    });
    let mut recorder = Recorder::new(1);
    stopwatch.measure("recorder, fill a little, settle and clear", 1, || {
        for &time in &times[..64] {
            recorder.classes[0].response_ok.record(time);
            recorder.classes[0].service.record(time);
        }
        recorder.settle();
        recorder.clear();
    });
}
