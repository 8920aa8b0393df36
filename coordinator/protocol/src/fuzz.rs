//! Bodies of fuzz targets, as plain functions so that seeded tests run them too.
//!
//! The claims: whatever bytes come, they are a message or an error; whatever is said to an agent or a leader in whatever order, neither panics,
//! what the agent asks of its machine makes sense, it serves the next leader, and the leader's run ends.

mod agent;
mod leader;
mod source;

use blaster_core::load::recorder::Recorder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::message::{Datagram, ToAgent, ToLeader, VERSION, decode, encode};

pub use agent::fuzz_agent;
pub use leader::fuzz_leader;

/// What bytes mean, as they are and with a right version in front.
pub fn fuzz_codec(data: &[u8]) {
    let versioned: Vec<u8> = [VERSION].iter().chain(data).copied().collect();
    for bytes in [data, &versioned] {
        survives::<ToAgent>(bytes);
        survives::<Datagram>(bytes);
        if let Some(ToLeader::Delta { delta, .. }) = survives::<ToLeader>(bytes) {
            for classes in 0..3 {
                if delta.check(classes).is_ok() {
                    let mut recorder = Recorder::new(classes);
                    delta.add_to(&mut recorder);
                    let _ = (delta.p99_ns(), delta.gauges());
                }
            }
        }
    }
}

/// A message of bytes, if they are one; then its own bytes are the same message.
fn survives<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let message: T = decode(bytes).ok()?;
    let again = encode(&message);
    let heard: T = decode(&again).expect("what is encoded is a message");
    // Numbers that are not equal to themselves have equal bytes.
    assert_eq!(encode(&heard), again);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::source::Source;
    use super::*;
    use crate::delta::Delta;
    use crate::message::RunId;

    /// splitmix64 (Steele, Lea and Flood 2014): the same bytes in every run.
    struct Random(u64);

    impl Random {
        fn word(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, limit: usize) -> usize {
            (self.word() % limit as u64) as usize
        }

        fn bytes(&mut self, most: usize) -> Vec<u8> {
            (0..self.below(most + 1)).map(|_| self.word() as u8).collect()
        }

        /// A few bytes changed, removed, doubled, or all behind them gone.
        fn damage(&mut self, bytes: &mut Vec<u8>) {
            for _ in 0..self.below(4) {
                let at = self.below(bytes.len());
                match self.below(5) {
                    0 => bytes[at] = self.word() as u8,
                    1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                    2 if bytes.len() > 1 => drop(bytes.remove(at)),
                    3 => bytes.insert(at, bytes[at]),
                    _ => bytes.truncate(at + 1),
                }
            }
        }
    }

    fn for_seeds(count: u64, body: impl Fn(&mut Random) + std::panic::RefUnwindSafe) {
        let count = std::env::var("FUZZ_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(count);
        for seed in 0..count {
            let result = std::panic::catch_unwind(|| body(&mut Random(seed)));
            assert!(result.is_ok(), "seed {seed} fails");
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error() {
        for_seeds(3_000, |random| fuzz_codec(&random.bytes(300)));
    }

    #[test]
    fn damaged_messages_are_messages_or_errors() {
        let mut recorder = Recorder::new(1);
        recorder.classes[0].response_ok.record(blaster_core::time::Nanos(70_000));
        recorder.settle();
        let delta = ToLeader::Delta { run: RunId(1), number: 0, delta: Box::new(Delta::of(0, &recorder)) };
        let delta = encode(&delta);
        for_seeds(3_000, move |random| {
            let noise = random.bytes(60);
            let mut source = Source(&noise);
            let mut bytes = match random.below(3) {
                0 => encode(&source.word_to_agent()),
                1 => encode(&source.word_to_leader()),
                _ => delta.clone(),
            };
            random.damage(&mut bytes);
            fuzz_codec(&bytes[1..]);
        });
    }

    #[test]
    fn whatever_an_agent_is_told_it_serves_the_next_leader() {
        for_seeds(10_000, |random| fuzz_agent(&random.bytes(400)));
    }

    #[test]
    fn whatever_a_leader_is_told_its_run_ends() {
        for_seeds(3_000, |random| fuzz_leader(&random.bytes(600)));
    }
}
