//! Users in an order that a seed chooses: each comes once before any comes again.

use payloads_fresh::Rng;

/// A seeded permutation of `0..users`.
///
/// Steps that can each be undone (add a key, multiply by an odd number, fold high bits onto low ones) permute the numbers of a
/// few bits; what comes out beyond the users goes in again (cycle walking: Black and Rogaway, CT-RSA 2002), on average less
/// than once.
#[derive(Clone, Debug)]
pub(super) struct Users {
    count: u64,
    mask: u64,
    fold: u32,
    rounds: [Round; 3],
}

#[derive(Clone, Copy, Debug)]
struct Round {
    add: u64,
    multiply: u64,
}

impl Users {
    /// `count` users, at least one.
    pub(super) fn new(count: u64, seed: u64) -> Self {
        debug_assert!(count > 0);
        let mut rng = Rng::new(seed);
        let bits = (u64::BITS - (count - 1).leading_zeros()).max(1);
        Self {
            count,
            mask: u64::MAX >> (u64::BITS - bits),
            fold: bits.div_ceil(2),
            rounds: [(); 3].map(|()| Round { add: rng.bits(), multiply: rng.bits() | 1 }),
        }
    }

    /// The user whose turn is the `turn`th.
    pub(super) fn at(&self, turn: u64) -> u64 {
        let mut number = turn % self.count;
        loop {
            for round in self.rounds {
                number = number.wrapping_add(round.add).wrapping_mul(round.multiply) & self.mask;
                number ^= number >> self.fold;
            }
            if number < self.count {
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_comes_once_before_any_comes_again() {
        for count in [1, 2, 3, 4, 5, 7, 8, 9, 100, 1_000, 1_023, 1_024, 1_025] {
            for seed in 0..5 {
                let users = Users::new(count, seed);
                let mut seen: Vec<u64> = (0..count).map(|turn| users.at(turn)).collect();
                assert_eq!(users.at(count), seen[0]);
                seen.sort_unstable();
                assert!(seen.iter().copied().eq(0..count), "{count} users, seed {seed}");
            }
        }
        Users::new(u64::MAX, 1).at(u64::MAX);
    }

    #[test]
    fn the_order_is_the_seeds_and_no_simple_one() {
        let order = |seed| (0..100).map(|turn| Users::new(1_000_000, seed).at(turn)).collect::<Vec<_>>();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let steps: std::collections::HashSet<_> =
            order(1).windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        assert!(steps.len() > 90, "{} different steps", steps.len());
    }
}
