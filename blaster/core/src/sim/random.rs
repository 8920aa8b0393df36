//! Randomness that a seed repeats.

use crate::time::Nanos;

/// splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): one word of
/// state, so that a number fully repeats a simulation.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low <= high, "no number lies between {low} and {high}");
        low + self.word() % (high - low + 1)
    }

    /// A time within `span`.
    pub fn time(&mut self, span: Span) -> Nanos {
        Nanos(self.between(span.0.0, span.1.0))
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.word() % 1000 < u64::from(per_mille)
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.between(0, choices.len() as u64 - 1) as usize]
    }
}

/// From one time to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Nanos, pub Nanos);

impl Span {
    /// Always the same time.
    pub const fn just(time: Nanos) -> Self {
        Self(time, time)
    }

    /// Between two numbers of microseconds.
    pub const fn micros(low: u64, high: u64) -> Self {
        Self(Nanos::from_micros(low), Nanos::from_micros(high))
    }
}
