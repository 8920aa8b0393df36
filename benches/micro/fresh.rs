//! What it costs to write a fresh field over the one before it: each kind, and the two of every event as they lie on the tape.

use std::hint::black_box;

use benches::stopwatch::Stopwatch;
use benches::tape::{self, MIX};
use payloads::fresh::{Fields, Kind, Place, TimeFormat};

/// Fields written in one round; they stay in the first-level cache, as those of a request do that is about to be sent.
const PLACES: u32 = 64;

const ROOM: u32 = 40;

/// Requests written at a time, as in a full pipeline.
const RUN: usize = 64;

pub fn measure(stopwatch: &Stopwatch) {
    let times = TimeFormat::ALL.map(|(name, format)| (format!("now({name})"), Kind::Now(format)));
    let others = [
        ("uuid".to_owned(), Kind::Uuid),
        ("seq".to_owned(), Kind::Seq),
        ("repeat of a uuid".to_owned(), Kind::Repeat { width: 36, back: 1 }),
    ];
    for (name, kind) in others.into_iter().chain(times) {
        let mut places: Vec<Place> = (0..PLACES).map(|index| Place { at: index * ROOM, kind }).collect();
        if matches!(kind, Kind::Repeat { .. }) {
            places[0].kind = Kind::Uuid;
        }
        let mut bytes = vec![b' '; (PLACES * ROOM) as usize];
        let mut fields = Fields::new(1, 0, 1);
        let mut now_ns = 1_767_225_600_000_000_000;
        stopwatch.measure(&format!("fresh, {name}"), PLACES.into(), || {
            now_ns += 20_000;
            fields.set_time(now_ns);
            fields.write(black_box(&mut bytes), 0, &places);
        });
    }
    on_the_tape(stopwatch);
}

/// Run after run of the mixture, round the whole tape.
fn on_the_tape(stopwatch: &Stopwatch) {
    let serialized = tape::events("127.0.0.1:3000", 1, Some(MIX)).expect("the preset is known");
    let events = serialized.requests.iter().map(|piece| u64::from(piece.events)).sum();
    let (tape, mut reel) = tape::tape(serialized);
    let mut fields = Fields::new(1, 0, 1);
    fields.set_time(1_767_225_600_000_000_000);
    let requests = tape.section(0).requests.clone();
    stopwatch.measure("fresh, an event of the mixture on its tape", events, || {
        for first in requests.clone().step_by(RUN) {
            let run = first..(first + RUN).min(requests.end);
            let base = tape.span(run.clone()).start as u32;
            fields.write(black_box(reel.lend(run.clone(), &mut []).bytes), base, tape.places(run));
        }
    });
}
