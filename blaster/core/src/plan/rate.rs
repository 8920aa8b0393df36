//! How many requests a second, and how that changes over time.

use std::fmt;
use std::str::FromStr;

use crate::time::{Nanos, TimeError};

/// Requests per second: finite, above 0 and at most [`RATE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// A request a nanosecond, the finest the schedule tells apart.
pub const RATE_MAX: f64 = 1e9;

/// The slowest rate that still sends a request a day.
pub const RATE_MIN: f64 = 1.0 / 86_400.0;

/// `--rps`: a rate, or as fast as answers come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RateSpec {
    /// Open loop at this rate.
    PerSecond(Rate),
    /// Closed loop.
    Max,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RateError {
    /// Not a number.
    #[error("{0:?} is no rate: write requests per second as 10000, 10k or 1.5m")]
    Unreadable(String),
    /// Zero, or negative.
    #[error("a rate of {0} sends nothing: give --rps above 0, or `max` to go as fast as answers come")]
    NotPositive(f64),
    /// Out of the range that makes sense.
    #[error("a rate of {0} requests/s is out of range: give one request a day up to {max} a second", max = RATE_MAX)]
    Absurd(f64),
    /// A stage that cannot be read.
    #[error("{0:?} is no stage: write TIME:RATE for a ramp or TIME:=RATE for a jump, as in 30s:10k,1m:=50k")]
    Stage(String),
    /// A stage whose time cannot be read.
    #[error("in stage {0:?}: {1}")]
    StageTime(String, TimeError),
    /// A stage without a length.
    #[error("stage {0:?} takes no time: give it a time above 0, as in 30s:10k")]
    StageEmpty(String),
    /// A run that would send nothing.
    #[error("these stages send nothing: give one a rate above 0")]
    AllZero,
    /// No rate to warm up at.
    #[error("--warmup needs a rate to warm up at: give --rps with --stages")]
    NoWarmupRate,
}

impl Rate {
    /// Checks the range.
    pub fn new(per_second: f64) -> Result<Self, RateError> {
        if per_second.is_nan() || per_second <= 0.0 {
            return Err(RateError::NotPositive(per_second));
        }
        if !(RATE_MIN..=RATE_MAX).contains(&per_second) {
            return Err(RateError::Absurd(per_second));
        }
        Ok(Self(per_second))
    }

    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

/// `10k`, `1.5m`, `2_000_000`.
impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        Self::new(number(text).ok_or_else(|| RateError::Unreadable(text.to_owned()))?)
    }
}

impl FromStr for RateSpec {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text == "max" { Ok(Self::Max) } else { text.parse().map(Self::PerSecond) }
    }
}

/// A decimal number with `_` between digits and a suffix `k`, `m` or `g` for thousands, millions, billions.
fn number(text: &str) -> Option<f64> {
    let (digits, factor) = match text.chars().last()? {
        'k' | 'K' => (&text[..text.len() - 1], 1e3),
        'm' | 'M' => (&text[..text.len() - 1], 1e6),
        'g' | 'G' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    if !digits.chars().all(|c| c.is_ascii_digit() || ".-_".contains(c)) {
        return None;
    }
    digits.replace('_', "").parse::<f64>().ok().map(|number| number * factor)
}

/// One step of `--stages`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// How long it takes.
    pub length: Nanos,
    /// The rate at its end, in requests per second; 0 is allowed.
    pub to: f64,
    /// The rate jumps there at once and holds, instead of ramping linearly.
    pub jump: bool,
}

/// `--stages`: `T:N,T:N…`, or `T:=N` to jump.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages(pub Vec<Stage>);

/// As it is read.
impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Stage { length, to, jump }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let jump = if *jump { "=" } else { "" };
            write!(f, "{comma}{}ns:{jump}{to}", length.0)?;
        }
        Ok(())
    }
}

impl FromStr for Stages {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        text.split(',').map(stage).collect::<Result<_, _>>().map(Self)
    }
}

fn stage(text: &str) -> Result<Stage, RateError> {
    let unreadable = || RateError::Stage(text.to_owned());
    let (length, to) = text.trim().split_once(':').ok_or_else(unreadable)?;
    let length: Nanos = length.parse().map_err(|error| RateError::StageTime(text.to_owned(), error))?;
    let (jump, to) = to.strip_prefix('=').map_or((false, to), |to| (true, to));
    let to = number(to).ok_or_else(unreadable)?;
    if length == Nanos::ZERO {
        return Err(RateError::StageEmpty(text.to_owned()));
    }
    if to != 0.0 {
        Rate::new(to)?;
    }
    Ok(Stage { length, to, jump })
}

/// The offered rate over time: pieces on which it changes linearly.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pieces: Vec<Piece>,
}

/// A piece of a curve. Times in seconds, rates in requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piece {
    /// When it begins.
    pub(crate) begin_s: f64,
    pub(crate) length_s: f64,
    /// Requests offered before it.
    pub(crate) before: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Piece {
    /// Requests offered by its end.
    pub(crate) fn after(&self) -> f64 {
        self.before + (self.from + self.to) / 2.0 * self.length_s
    }

    /// When, within this piece, the `n`-th request (counted from 0 over the whole curve) is offered, in seconds.
    ///
    /// The integral of the rate is `from t + (to - from) t² / 2 length`; solved for t in the form that does not cancel:
    /// `2 m / (from + sqrt(from² + 2 a m))`.
    #[inline]
    pub(crate) fn instant_s(&self, n: f64) -> f64 {
        let m = n - self.before;
        if self.from == self.to {
            return self.begin_s + m / self.from;
        }
        if m <= 0.0 {
            return self.begin_s;
        }
        let acceleration = (self.to - self.from) / self.length_s;
        let root = (self.from * self.from + 2.0 * acceleration * m).max(0.0).sqrt();
        self.begin_s + 2.0 * m / (self.from + root)
    }
}

impl Curve {
    /// One rate all the time.
    pub fn constant(rate: Rate, length: Nanos) -> Self {
        let mut curve = Self { pieces: Vec::new() };
        curve.push(length, rate.0, rate.0);
        curve
    }

    /// Stages, ramping from `start` (requests per second) on.
    pub fn stages(start: Option<Rate>, stages: &Stages) -> Result<Self, RateError> {
        let mut curve = Self { pieces: Vec::new() };
        let mut rate = start.map_or(0.0, Rate::per_second);
        for stage in &stages.0 {
            curve.push(stage.length, if stage.jump { stage.to } else { rate }, stage.to);
            rate = stage.to;
        }
        if curve.offered() <= 0.0 { Err(RateError::AllZero) } else { Ok(curve) }
    }

    /// Holds the first rate for `warmup` before the curve begins.
    pub fn with_warmup(&self, warmup: Nanos) -> Result<Self, RateError> {
        if warmup == Nanos::ZERO {
            return Ok(self.clone());
        }
        let first = self.pieces.first().map_or(0.0, |piece| piece.from);
        if first <= 0.0 {
            return Err(RateError::NoWarmupRate);
        }
        let mut curve = Self { pieces: Vec::new() };
        curve.push(warmup, first, first);
        for piece in &self.pieces {
            curve.push(Nanos::from_secs_f64(piece.length_s), piece.from, piece.to);
        }
        Ok(curve)
    }

    /// Requests offered before the moment `at`.
    pub(crate) fn offered_before(&self, at: Nanos) -> f64 {
        let at_s = at.as_secs_f64();
        let part = |piece: &Piece| {
            let within = (at_s - piece.begin_s).clamp(0.0, piece.length_s);
            let rate_then = piece.from + (piece.to - piece.from) * within / piece.length_s;
            (piece.from + rate_then) / 2.0 * within
        };
        self.pieces.iter().map(part).sum()
    }

    /// The same curve at `factor` times the rate.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        let mut curve = Self { pieces: Vec::new() };
        for piece in &self.pieces {
            curve.push(Nanos::from_secs_f64(piece.length_s), piece.from * factor, piece.to * factor);
        }
        curve
    }

    fn push(&mut self, length: Nanos, from: f64, to: f64) {
        let (begin_s, before) =
            self.pieces.last().map_or((0.0, 0.0), |last| (last.begin_s + last.length_s, last.after()));
        self.pieces.push(Piece { begin_s, length_s: length.as_secs_f64(), before, from, to });
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How long it is.
    pub fn length(&self) -> Nanos {
        self.pieces.last().map_or(Nanos::ZERO, |last| Nanos::from_secs_f64(last.begin_s + last.length_s))
    }

    /// The integral of the rate: requests offered, a fraction included.
    pub fn offered(&self) -> f64 {
        self.pieces.last().map_or(0.0, Piece::after)
    }

    /// Requests offered in the first `s` seconds, a fraction included.
    pub fn offered_by(&self, s: f64) -> f64 {
        let piece = self.pieces.iter().rev().find(|piece| piece.begin_s <= s);
        piece.map_or(0.0, |piece| {
            let t = (s - piece.begin_s).min(piece.length_s);
            let at_t = piece.from
                + (piece.to - piece.from) * if piece.length_s > 0.0 { t / piece.length_s } else { 1.0 };
            piece.before + (piece.from + at_t) / 2.0 * t
        })
    }

    /// The highest rate, in requests per second.
    pub fn peak(&self) -> f64 {
        self.pieces.iter().fold(0.0, |peak, piece| piece.from.max(piece.to).max(peak))
    }

    /// The rate at the beginning, in requests per second.
    pub fn initial(&self) -> f64 {
        self.pieces.first().map_or(0.0, |piece| piece.from)
    }

    /// The rate throughout, if it does not change, in requests per second.
    pub fn constant_rate(&self) -> Option<f64> {
        let first = self.initial();
        self.pieces.iter().all(|piece| piece.from == first && piece.to == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_suffixes() {
        let read = |text: &str| text.parse::<Rate>().unwrap().per_second();
        assert_eq!(read("10k"), 10_000.0);
        assert_eq!(read("1.5m"), 1_500_000.0);
        assert_eq!(read("2M"), 2_000_000.0);
        assert_eq!(read("1_000_000"), 1_000_000.0);
        assert_eq!(read("0.5"), 0.5);
        assert_eq!("max".parse::<RateSpec>().unwrap(), RateSpec::Max);
    }

    #[test]
    fn rates_that_make_no_sense_are_refused_with_the_next_step() {
        assert!("0".parse::<RateSpec>().unwrap_err().to_string().contains("`max`"));
        assert!("-5".parse::<Rate>().unwrap_err().to_string().contains("above 0"));
        for text in ["", "k", "1e400", "nan", "inf", "5000g", "10 k", "ten", "1,000"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn stages_ramp_and_jump() {
        let stages: Stages = "10s:100,5s:=1k,10s:0".parse().unwrap();
        let curve = Curve::stages(None, &stages).unwrap();
        assert_eq!(curve.offered(), 500.0 + 5_000.0 + 5_000.0);
        assert_eq!(curve.length(), Nanos::from_secs(25));
        assert_eq!(curve.peak(), 1_000.0);
        assert_eq!(curve.constant_rate(), None);
    }

    #[test]
    fn stages_are_read_as_they_are_written() {
        let stages: Stages = "1.5s:20k,250ms:=0,3s:1234.5678".parse().unwrap();
        assert_eq!(stages.to_string().parse::<Stages>().unwrap(), stages);
    }

    #[test]
    fn what_is_offered_by_a_moment_is_the_integral_up_to_it() {
        let curve =
            Curve::stages(Some(Rate::new(100.0).unwrap()), &"10s:300,5s:=50".parse().unwrap()).unwrap();
        let by = |s| curve.offered_by(s);
        assert_eq!(
            [by(0.0), by(5.0), by(10.0), by(12.0), by(99.0)],
            [0.0, 750.0, 2000.0, 2100.0, curve.offered()]
        );
    }

    #[test]
    fn stages_that_cannot_be_are_refused() {
        for text in ["", "10s", "10:100", "0s:5", "10s:-1", "10s:x", "10s:1,"] {
            assert!(text.parse::<Stages>().is_err(), "{text}");
        }
        assert_eq!(Curve::stages(None, &"5s:0".parse().unwrap()), Err(RateError::AllZero));
        let ramp = Curve::stages(None, &"5s:10".parse().unwrap()).unwrap();
        assert_eq!(ramp.with_warmup(Nanos::from_secs(1)), Err(RateError::NoWarmupRate));
    }

    #[test]
    fn a_warmup_holds_the_first_rate() {
        let curve = Curve::constant(Rate::new(100.0).unwrap(), Nanos::from_secs(3));
        let warm = curve.with_warmup(Nanos::from_secs(2)).unwrap();
        assert_eq!((warm.offered(), warm.length()), (500.0, Nanos::from_secs(5)));
    }
}
