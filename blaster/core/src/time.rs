//! Time as numbers: nanoseconds, and how people write and read them. Nobody here reads a clock.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Nanoseconds: a span, or an instant since the epoch of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all; the epoch.
    pub const ZERO: Self = Self(0);
    /// Never.
    pub const MAX: Self = Self(u64::MAX);

    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1_000_000_000)
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// Seconds, rounded to the nanosecond; negative ones are none, endless ones [`Self::MAX`].
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * 1e9).round() as u64)
    }

    /// As seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The difference, or none if `other` is later.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Nanos {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Nanos {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Nanos {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

/// Three significant digits in the largest unit that keeps the number at least one: `412 µs`, `1.5 s`.
impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            0 => return f.write_str("0 s"),
            ns if ns < 1_000 => (ns as f64, "ns"),
            ns if ns < 1_000_000 => (ns as f64 / 1e3, "µs"),
            ns if ns < 1_000_000_000 => (ns as f64 / 1e6, "ms"),
            ns => (ns as f64 / 1e9, "s"),
        };
        let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        let text = format!("{value:.decimals$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        write!(f, "{text} {unit}")
    }
}

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// A number without a unit.
    #[error("{0:?} has no unit: write {0}s for seconds, or ms, us, m, h")]
    NoUnit(String),
    /// Anything else.
    #[error("{0:?} is no time: write it as 10s, 1m30s, 250ms or 50us")]
    Unreadable(String),
}

/// Numbers with units, one behind the other: `30s`, `1.5s`, `1m30s`, `250ms`, `50us`.
impl FromStr for Nanos {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let unreadable = || TimeError::Unreadable(text.to_owned());
        if !text.is_empty() && text.parse::<f64>().is_ok() {
            return Err(TimeError::NoUnit(text.to_owned()));
        }
        let mut total = 0.0;
        let mut rest = text;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(unreadable)?;
            let unit_len =
                rest[number_end..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - number_end);
            let number: f64 = rest[..number_end].parse().map_err(|_| unreadable())?;
            let factor = match &rest[number_end..number_end + unit_len] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return Err(unreadable()),
            };
            total += number * factor;
            rest = &rest[number_end + unit_len..];
        }
        // A century: beyond it sums of times could overflow.
        if text.is_empty() || total > 100.0 * 365.0 * 86_400e9 {
            return Err(unreadable());
        }
        Ok(Self(total.round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Nanos>().unwrap();
        assert_eq!(read("30s"), Nanos::from_secs(30));
        assert_eq!(read("1m30s"), Nanos::from_secs(90));
        assert_eq!(read("1.5s"), Nanos::from_millis(1500));
        assert_eq!(read("250ms"), Nanos::from_millis(250));
        assert_eq!(read("50µs"), read("50us"));
        assert_eq!(read("2h"), Nanos::from_secs(7200));
        assert_eq!(read("0s"), Nanos::ZERO);
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_next_step() {
        assert_eq!(
            "10".parse::<Nanos>().unwrap_err().to_string(),
            "\"10\" has no unit: write 10s for seconds, or ms, us, m, h"
        );
        for text in ["", "s", "-1s", "1x", "1s2", "1..2s", "99999999999h", "nan"] {
            assert!(text.parse::<Nanos>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_shown_with_three_digits_at_most() {
        let shown = |ns| Nanos(ns).to_string();
        assert_eq!(shown(0), "0 s");
        assert_eq!(shown(412_345), "412 µs");
        assert_eq!(shown(1_204_000), "1.2 ms");
        assert_eq!(shown(1_234_000), "1.23 ms");
        assert_eq!(shown(22_140_000_000), "22.1 s");
    }
}
