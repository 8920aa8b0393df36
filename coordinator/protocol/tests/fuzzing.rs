//! The fuzz targets over random steps and mutated messages, from a seed that repeats.

use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;
use coordinator_protocol::delta::Delta;
use coordinator_protocol::fuzz::{fuzz_agent, fuzz_codec, fuzz_leader};
use coordinator_protocol::message::{Datagram, RunId, ToAgent, ToLeader, encode};
use coordinator_protocol::shares::Part;

/// xorshift64* (Vigna 2016).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.next() % most).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn random_steps_break_neither_an_agent_nor_a_leader() {
    for seed in 1..250 {
        let steps = Draw(seed).bytes(300);
        fuzz_agent(&steps);
        fuzz_leader(&steps);
    }
}

#[test]
fn mutated_messages_are_messages_or_errors() {
    let mut recorder = Recorder::new(1);
    (1..200).for_each(|n| recorder.classes[0].response_ok.record(Nanos(n * n * 900)));
    recorder.settle();
    let run = RunId(77);
    let valid = [
        encode(&ToLeader::Delta { run, number: 3, delta: Box::new(Delta::of(0, &recorder)) }),
        encode(&ToLeader::TookOver { run, number: 1, refused: Some("no".to_owned()) }),
        encode(&ToAgent::TakeOver {
            run,
            number: 0,
            part: Part::default().split(&[1, 2]).remove(1),
            from: Nanos(9),
        }),
        encode(&ToAgent::Permit { run, until: Nanos(1 << 60) }),
        encode(&Datagram::Pong { t1: Nanos(1), t2: Nanos(2), t3: Nanos(3) }),
    ];
    let mut draw = Draw(5);
    for message in valid.iter().cycle().take(20_000) {
        let mut bytes = message.clone();
        for _ in 0..=draw.next() % 3 {
            let at = draw.next() as usize % bytes.len();
            match draw.next() % 4 {
                0 => bytes[at] = draw.next() as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, draw.next() as u8),
                _ => bytes[at] ^= 1 << (draw.next() % 8),
            }
        }
        fuzz_codec(&bytes);
    }
    (0..5_000).for_each(|_| fuzz_codec(&draw.bytes(80)));
}
