//! Which of the whole run's requests a part of it sends.
//!
//! Requests are numbered once, for the whole run; nodes, shards and targets each take the numbers of their lane.
//! Every number is in exactly one lane, so nothing is lost or sent twice whatever the split.

/// A part's numbers: lanes within lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lanes {
    /// From the outermost to the innermost.
    nested: Vec<Lane>,
}

/// Of every `of` numbers, those from `first` on, `width` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lane {
    first: u64,
    width: u64,
    of: u64,
}

impl Lanes {
    /// All numbers.
    pub fn whole() -> Self {
        Self::default()
    }

    /// Splits in proportion to `weights`.
    ///
    /// # Panics
    /// When there are no weights or one is 0.
    pub fn split(&self, weights: &[u32]) -> Vec<Self> {
        let cuts = cuts(weights);
        cuts.into_iter()
            .map(|(first, width, of)| self.part(first, width, of).expect("a cut of a split"))
            .collect()
    }

    /// Of every `of` numbers of this part those from `first` on, `width` of them; none if that is no part.
    pub fn part(&self, first: u64, width: u64, of: u64) -> Option<Self> {
        if width == 0 || first.checked_add(width).is_none_or(|end| end > of) {
            return None;
        }
        let mut nested = self.nested.clone();
        if of > width {
            nested.push(Lane { first, width, of });
        }
        Some(Self { nested })
    }

    /// The whole run's number of this part's `m`-th request.
    #[inline]
    pub fn nth(&self, m: u64) -> u64 {
        self.nested.iter().rev().fold(m, |m, lane| m / lane.width * lane.of + lane.first + m % lane.width)
    }

    /// An arithmetic progression within this part's numbers: the first, and the step.
    pub fn progression(&self) -> (u64, u64) {
        (self.nth(0), self.nested.iter().map(|lane| lane.of).product())
    }

    /// The share of all requests that falls to this part.
    pub fn fraction(&self) -> f64 {
        self.nested.iter().map(|lane| lane.width as f64 / lane.of as f64).product()
    }

    /// A number that differs between the parts of a split: to tell their random streams apart.
    pub fn fingerprint(&self) -> u64 {
        self.nested.iter().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, lane| {
            (hash ^ lane.first.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ lane.of.rotate_left(32))
                .wrapping_mul(0xc4ce_b9fe_1a85_ec53)
                .rotate_left(29)
        })
    }
}

/// What [`Lanes::split`] cuts into, each as [`Lanes::part`] takes it.
///
/// # Panics
/// When there are no weights or one is 0.
pub fn cuts(weights: &[u32]) -> Vec<(u64, u64, u64)> {
    assert!(!weights.is_empty() && !weights.contains(&0), "lanes need weights above 0");
    let divisor = weights.iter().fold(0, |a, &b| gcd(a, u64::from(b)));
    let of = weights.iter().map(|&weight| u64::from(weight) / divisor).sum();
    let mut first = 0;
    let cut = |&weight: &u32| {
        let width = u64::from(weight) / divisor;
        first += width;
        (first - width, width, of)
    };
    weights.iter().map(cut).collect()
}

/// Splits `total` in proportion to `weights`, exactly: the parts that lose most by rounding get one more.
pub fn share_out(total: u64, weights: &[u32]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    assert!(sum > 0, "sharing out needs a weight above 0");
    let exact = |weight: u32| u128::from(total) * u128::from(weight);
    let mut shares: Vec<u64> = weights.iter().map(|&weight| (exact(weight) / sum) as u64).collect();
    let mut by_loss: Vec<usize> = (0..weights.len()).collect();
    by_loss.sort_by_key(|&part| (std::cmp::Reverse(exact(weights[part]) % sum), part));
    let rest = total - shares.iter().sum::<u64>();
    for &part in by_loss.iter().take(rest as usize) {
        shares[part] += 1;
    }
    shares
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_is_in_exactly_one_lane(
            nodes in prop::collection::vec(1_u32..5, 1..4),
            shards in prop::collection::vec(1_u32..4, 1..4),
        ) {
            let parts: Vec<_> = Lanes::whole().split(&nodes).iter().flat_map(|node| node.split(&shards)).collect();
            let mut seen = vec![0_u32; 500];
            for part in &parts {
                (0..).map(|m| part.nth(m)).take_while(|&n| n < 500).for_each(|n| seen[n as usize] += 1);
            }
            prop_assert!(seen.iter().all(|&count| count == 1), "{:?}", seen);
            for part in &parts {
                let (first, step) = part.progression();
                let mine: Vec<u64> = (0..).map(|m| part.nth(m)).take_while(|&n| n < 500).collect();
                prop_assert!((first..500).step_by(step as usize).all(|n| mine.contains(&n)));
            }
            let whole: f64 = parts.iter().map(Lanes::fraction).sum();
            prop_assert!((whole - 1.0).abs() < 1e-12);
        }

        #[test]
        fn shares_sum_exactly(total in 0_u64..1 << 40, weights in prop::collection::vec(1_u32..1000, 1..20)) {
            let shares = share_out(total, &weights);
            prop_assert_eq!(shares.iter().sum::<u64>(), total);
            let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
            for (share, weight) in shares.iter().zip(&weights) {
                let exact = total as f64 * f64::from(*weight) / sum as f64;
                prop_assert!((*share as f64 - exact).abs() <= 1.0 + exact * 1e-9);
            }
        }
    }
}
