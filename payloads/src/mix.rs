//! How many events a request carries: `10`, or a mixture `1:100,10:10,100:3` of sizes and weights.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Sizes of requests in events, each with its share of the requests. The default is one event a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<Share>);

/// One size of a mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Events a request.
    pub(crate) events: u32,
    /// Its part of the requests, as against the other weights.
    pub(crate) weight: u32,
}

/// More sizes than anybody reads a report about.
const SIZES_MAX: usize = 100;

impl Mix {
    /// Events a request carries on average.
    pub fn mean_events(&self) -> f64 {
        let events: f64 = self.0.iter().map(|share| f64::from(share.events) * f64::from(share.weight)).sum();
        events / self.weights() as f64
    }

    /// Requests of so many events each, at least one.
    pub(crate) fn of(events: u32) -> Self {
        Self(vec![Share { events, weight: 1 }])
    }

    /// The sizes in the order they were given in.
    pub(crate) fn shares(&self) -> &[Share] {
        &self.0
    }

    /// How many requests of each size make up about `requests` of them, never more unless there would be a size without any.
    /// Exactly by the weights when their sum fits; else by largest remainder (Hamilton), at least one of each.
    pub(crate) fn counts(&self, requests: usize) -> Vec<usize> {
        let common = self.0.iter().fold(0, |common, share| gcd(common, u64::from(share.weight)));
        let reduced = self.weights() / common;
        for round in [self.weights(), reduced] {
            let units = requests as u64 / round * (round / reduced);
            if units > 0 {
                let count = |share: &Share| (units * (u64::from(share.weight) / common)) as usize;
                return self.0.iter().map(count).collect();
            }
        }
        self.by_largest_remainder(requests.max(self.0.len()))
    }

    fn by_largest_remainder(&self, requests: usize) -> Vec<usize> {
        let weights = u128::from(self.weights());
        let spare = (requests - self.0.len()) as u128;
        let exact = |share: &Share| spare * u128::from(share.weight);
        let mut counts: Vec<usize> =
            self.0.iter().map(|share| 1 + (exact(share) / weights) as usize).collect();
        let mut by_remainder: Vec<usize> = (0..self.0.len()).collect();
        by_remainder.sort_by_key(|&index| std::cmp::Reverse(exact(&self.0[index]) % weights));
        let missing = requests - counts.iter().sum::<usize>();
        for &index in by_remainder.iter().take(missing) {
            counts[index] += 1;
        }
        counts
    }

    fn weights(&self) -> u64 {
        self.0.iter().map(|share| u64::from(share.weight)).sum()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Default for Mix {
    fn default() -> Self {
        Self::of(1)
    }
}

impl FromStr for Mix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |next: String| Error::Mix { given: text.to_owned(), next };
        let number = |digits: &str, what: &str| match digits.trim().parse::<u32>() {
            Ok(0) => Err(wrong(format!("{what} must be at least 1"))),
            Ok(number) if digits.trim().starts_with(|c: char| c.is_ascii_digit()) => Ok(number),
            _ => Err(wrong(format!("{digits:?} is no whole number from 1 to {}", u32::MAX))),
        };
        if !text.contains([':', ',']) {
            return Ok(Self::of(number(text, "the size")?));
        }
        let mut shares: Vec<Share> = Vec::new();
        for part in text.split(',') {
            let (events, weight) =
                part.split_once(':').ok_or_else(|| wrong(format!("give {part:?} a weight, as in 10:3")))?;
            let share = Share { events: number(events, "a size")?, weight: number(weight, "a weight")? };
            if shares.iter().any(|other| other.events == share.events) {
                return Err(wrong(format!("{} is there twice: give it one weight", share.events)));
            }
            shares.push(share);
        }
        if shares.len() > SIZES_MAX {
            return Err(wrong(format!("use at most {SIZES_MAX} sizes")));
        }
        Ok(Self(shares))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "{}", only.events);
        }
        for (index, share) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", share.events, share.weight)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(text: &str) -> Mix {
        text.parse().unwrap()
    }

    #[test]
    fn a_mix_reads_as_it_is_written() {
        for text in ["1", "10", "1:100,10:10,100:3", "4294967295:1,1:4294967295"] {
            assert_eq!(mix(text).to_string(), text);
        }
        assert_eq!(mix("10:5").to_string(), "10");
        assert_eq!(mix(" 1:2, 3:4 ").to_string(), "1:2,3:4");
        assert_eq!(Mix::default().to_string(), "1");
    }

    #[test]
    fn what_is_no_mix_is_refused_with_the_next_step() {
        for (text, next) in [
            ("", "\"\" is no whole number"),
            ("0", "the size must be at least 1"),
            ("-1", "\"-1\" is no whole number"),
            ("+1", "\"+1\" is no whole number"),
            ("1.5", "\"1.5\" is no whole number"),
            ("1:0", "a weight must be at least 1"),
            ("0:1", "a size must be at least 1"),
            ("1:2,", "give \"\" a weight"),
            ("1:2,10", "give \"10\" a weight, as in 10:3"),
            ("1:2,1:3", "1 is there twice"),
            ("1:2:3", "\"2:3\" is no whole number"),
            ("99999999999", "no whole number from 1 to 4294967295"),
        ] {
            let error = text.parse::<Mix>().unwrap_err().to_string();
            assert!(error.contains(next), "{text}: {error}");
            assert!(error.contains(&format!("got {text:?}")), "{text}: {error}");
        }
    }

    #[test]
    fn the_mean_weighs_sizes_by_requests() {
        assert_eq!(mix("10").mean_events(), 10.0);
        let three = mix("1:100,10:10,100:3");
        assert!((three.mean_events() - 500.0 / 113.0).abs() < 1e-12);
    }

    #[test]
    fn shares_are_exact_whenever_the_weights_fit() {
        let three = mix("1:100,10:10,100:3");
        assert_eq!(three.counts(4_096), [3_600, 360, 108]);
        assert_eq!(three.counts(113), [100, 10, 3]);
        assert_eq!(mix("1:50,2:50").counts(7), [3, 3]);
        assert_eq!(mix("1:4000000000,2:4000000000").counts(10), [5, 5]);
        assert_eq!(mix("5").counts(4_096), [4_096]);
    }

    #[test]
    fn each_size_occurs_even_where_it_is_rare() {
        let three = mix("1:100,10:10,100:3");
        assert_eq!(three.counts(0), [1, 1, 1]);
        assert_eq!(three.counts(10), [7, 2, 1]);
        for requests in 3..113 {
            let counts = three.counts(requests);
            assert_eq!(counts.iter().sum::<usize>(), requests);
            assert!(counts.iter().all(|&count| count > 0));
        }
    }
}
