//! What a leader does with what its nodes saw.

use std::hint::black_box;

use benches::stopwatch::Stopwatch;
use blaster_core::load::engine::WireTimes;
use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;
use coordinator::gather::Gatherer;
use coordinator_protocol::delta::Delta;
use coordinator_protocol::message::{RunId, ToLeader, decode, encode};

/// As many nodes as one leader shall serve with a tenth of a core: a hundred microseconds for each, once a second.
const NODES: usize = 1000;

pub fn measure(stopwatch: &Stopwatch) {
    let bytes =
        encode(&ToLeader::Delta { run: RunId(1), number: 7, delta: Box::new(Delta::of(0, &second(0))) });
    stopwatch.measure("leader, decode a node's second", 1, || {
        black_box(decode::<ToLeader>(black_box(&bytes)).unwrap());
    });
    let mut gatherer = Gatherer::new(vec!["events".to_owned()], &vec![1; NODES], u32::MAX, Vec::new());
    let mut interval = 0;
    stopwatch.measure("leader, decode and merge a node's second", NODES as u64, || {
        for node in 0..NODES {
            let Ok(ToLeader::Delta { mut delta, .. }) = decode(&bytes) else { unreachable!("it is a delta") };
            delta.interval = Some(interval);
            gatherer.merge(node, &delta, u32::MAX).unwrap();
        }
        black_box(gatherer.take_finished_intervals());
        interval += 1;
    });
}

/// Ten thousand requests whose times spread like latencies, from 10 µs to 10 ms.
fn second(interval: u32) -> Recorder {
    let mut recorder = Recorder::new(1);
    recorder.interval = Some(interval);
    for n in 0..10_000_u64 {
        let time = Nanos(10_000 + (n * 2_654_435_761 % 4096).pow(2) * 6 / 10);
        let class = &mut recorder.classes[0];
        (class.scheduled, class.sent, class.ok) = (class.scheduled + 1, class.sent + 1, class.ok + 1);
        class.status[202] += 1;
        class.response_ok.record(time);
        class.service.record(time);
        recorder.lateness.on_time.record(Nanos(time.0 / 50));
        recorder.turn_time.record(Nanos(3_000 + n % 4_000));
        if n % 1_000 == 0 {
            recorder.wire.record(
                Nanos(0),
                WireTimes { left: Nanos(9_000), arrived: Nanos(80_000) },
                Nanos(99_000),
            );
        }
    }
    recorder.settle();
    recorder
}
