//! When and how a sink answers, as written on its command line: delays, a queue of known capacity, freezes, faults.

use std::str::FromStr;

use blaster_core::time::Nanos;
use payloads_fresh::Rng;

/// What makes a sink other than prompt and faultless.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pace {
    /// Every answer is held back by a draw of its own.
    pub latency: Option<Latency>,
    /// Requests are served one after another.
    pub service: Option<Service>,
    /// Those that wait too long for that cost more.
    pub retries: Option<Retries>,
    /// Requests beyond it are refused.
    pub capacity: Option<Capacity>,
    /// Requests that do not get their answer.
    pub faults: Faults,
    /// Bytes kept of every request, for ever.
    pub leak_bytes: usize,
}

impl Pace {
    /// Whether every request is answered at once and well.
    pub fn is_prompt(&self) -> bool {
        *self == Self::default()
    }
}

/// A distribution of delays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Always the same.
    Fixed(Nanos),
    /// Exponential, of that mean.
    Exponential(Nanos),
    /// Lognormal, of that median, and the standard deviation of its logarithm.
    Lognormal(Nanos, f64),
}

impl Latency {
    /// One delay.
    pub(crate) fn draw(self, random: &mut Rng) -> Nanos {
        match self {
            Self::Fixed(time) => time,
            Self::Exponential(mean) => scaled(mean, -open_share(random).ln()),
            Self::Lognormal(median, sigma) => {
                // Box and Muller, Annals of Mathematical Statistics 29 (1958).
                let radius = (-2.0 * open_share(random).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * open_share(random)).cos();
                scaled(median, (sigma * normal).exp())
            }
        }
    }
}

fn scaled(time: Nanos, factor: f64) -> Nanos {
    Nanos((time.0 as f64 * factor).round() as u64)
}

/// Above 0 and below 1, so that its logarithm is a number.
pub(crate) fn open_share(random: &mut Rng) -> f64 {
    ((random.bits() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("no latency {text:?}: write fixed:5ms, exp:5ms or lognormal:5ms,0.5");
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        match kind {
            "fixed" => Ok(Self::Fixed(time(rest)?)),
            "exp" => Ok(Self::Exponential(time(rest)?)),
            "lognormal" => {
                let (median, sigma) = rest.split_once(',').ok_or_else(wrong)?;
                let sigma = sigma.parse::<f64>().ok().filter(|sigma| (0.0..=5.0).contains(sigma));
                Ok(Self::Lognormal(time(median)?, sigma.ok_or_else(wrong)?))
            }
            _ => Err(wrong()),
        }
    }
}

/// How long a request occupies a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// By a request.
    pub time: Nanos,
    /// How many are served at a time.
    pub workers: u32,
}

/// What impatience does to a server: whoever waits longer than `patience` asks again, behind its back as it were, and each asking is
/// work. So a request that finds a longer wait than that occupies a worker 1 + `count` times as long, and one that finds twice that
/// wait is refused. Without a queue such a server holds all of its capacity, workers / service time. Once it has one it serves
/// capacity / (1 + count), and keeps its queue until it is offered less than that: a metastable failure (Bronson et al., HotOS 2021).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often is asked again.
    pub count: u32,
    /// After so long a wait.
    pub patience: Nanos,
}

/// `spin:50us`.
pub fn spin(text: &str) -> Result<Nanos, String> {
    let rest = text.strip_prefix("spin:").ok_or_else(|| format!("no service {text:?}: write spin:50us"))?;
    time(rest)
}

fn time(text: &str) -> Result<Nanos, String> {
    let time: Nanos = text.parse().map_err(|error: <Nanos as FromStr>::Err| error.to_string())?;
    if time == Nanos::ZERO {
        Err("a time of 0 delays nothing: leave the flag out".to_owned())
    } else {
        Ok(time)
    }
}

/// What a bounded buffer takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Requests a second that are drained from it.
    pub rate: f64,
    /// Requests it holds.
    pub buffer: u64,
}

/// A freeze of the whole sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// So long.
    pub length: Nanos,
    /// So long after the first request.
    pub at: Nanos,
}

impl FromStr for Stall {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (length, at) = text
            .split_once('@')
            .ok_or_else(|| format!("no stall {text:?}: write 1s@5s, for 1 s, 5 s after the first request"))?;
        let at = at.parse().map_err(|error: <Nanos as FromStr>::Err| error.to_string())?;
        Ok(Self { length: time(length)?, at })
    }
}

/// A share of the requests, from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim(), 100.0),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().ok().map(|number| number / scale);
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("no share {text:?}: write 0.1% or 0.001, at most 100%"))
}

/// Shares of the requests that do not get their answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Answered 500.
    pub error: f64,
    /// By kind of fault.
    pub shares: [f64; Fault::ALL.len()],
}

/// Instead of an answer. The connection is not read any more from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A reset.
    Reset,
    /// An orderly close.
    Close,
    /// Half of the answer, then an orderly close.
    Truncate,
    /// Bytes that are no answer, then an orderly close.
    Malformed,
    /// Nothing, until the other side gives up.
    Silent,
}

impl Fault {
    /// Every kind, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Reset, Self::Close, Self::Truncate, Self::Malformed, Self::Silent];

    /// Its name, on the command line and in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Truncate => "truncate",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Answer,
    Error,
    Fault(Fault),
}

impl Faults {
    /// Adds what is written as `close:0.1%,silent:0.01%`.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        for part in text.split(',') {
            let names = || Fault::ALL.map(Fault::name).join(", ");
            let (name, rate) = part
                .split_once(':')
                .ok_or_else(|| format!("no fault {part:?}: write close:0.1%; there are {}", names()))?;
            let at = Fault::ALL.iter().position(|fault| fault.name() == name);
            self.shares[at.ok_or_else(|| format!("no fault {name:?}: there are {}", names()))?] =
                share(rate)?;
        }
        Ok(())
    }

    /// All of them; above 1 they are too many.
    pub fn total(&self) -> f64 {
        self.error + self.shares.iter().sum::<f64>()
    }

    pub(crate) fn draw(&self, random: &mut Rng) -> Fate {
        let mut rest = open_share(random) - self.error;
        if rest < 0.0 {
            return Fate::Error;
        }
        for (fault, share) in Fault::ALL.into_iter().zip(self.shares) {
            rest -= share;
            if rest < 0.0 {
                return Fate::Fault(fault);
            }
        }
        Fate::Answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_not_understood_is_told() {
        assert_eq!("fixed:5ms".parse(), Ok(Latency::Fixed(Nanos::from_millis(5))));
        assert_eq!("lognormal:1s,0.5".parse(), Ok(Latency::Lognormal(Nanos::from_secs(1), 0.5)));
        for text in ["5ms", "exp", "exp:0s", "exp:5", "lognormal:5ms", "lognormal:5ms,-1", "gamma:5ms"] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
        let stall = Stall { length: Nanos::from_secs(1), at: Nanos::from_secs(5) };
        assert_eq!("1s@5s".parse(), Ok(stall));
        assert!("1s".parse::<Stall>().unwrap_err().contains("1s@5s"));
        assert_eq!((share("0.1%"), share("0.5")), (Ok(0.001), Ok(0.5)));
        assert!(share("101%").is_err() && share("-1").is_err() && share("nan").is_err());
        let mut faults = Faults::default();
        assert!(faults.add("close:0.1%,silent:0.01").is_ok());
        assert_eq!(faults.shares, [0.0, 0.001, 0.0, 0.0, 0.01]);
        assert!(faults.add("fire:1%").unwrap_err().contains("truncate"));
    }

    #[test]
    fn delays_have_the_mean_and_the_median_they_were_asked_for() {
        const DRAWS: usize = 100_000;
        let mut random = Rng::new(1);
        let mut draws = |latency: Latency| {
            let mut draws: Vec<_> = (0..DRAWS).map(|_| latency.draw(&mut random).0).collect();
            draws.sort_unstable();
            (
                draws.iter().sum::<u64>() as f64 / DRAWS as f64,
                draws[DRAWS / 2] as f64,
                draws[DRAWS * 99 / 100] as f64,
            )
        };
        let near = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 0.03;
        let (mean, median, _) = draws(Latency::Exponential(Nanos(1_000_000)));
        assert!(near(mean, 1e6) && near(median, 1e6 * 2_f64.ln()), "{mean} {median}");
        let (mean, median, p99) = draws(Latency::Lognormal(Nanos(1_000_000), 0.5));
        let of_normal = |z: f64| 1e6 * (0.5 * z).exp();
        assert!(
            near(mean, 1e6 * 0.125_f64.exp()) && near(median, 1e6) && near(p99, of_normal(2.3263)),
            "{mean} {median} {p99}"
        );
    }

    #[test]
    fn fates_come_as_often_as_they_should() {
        let mut faults = Faults { error: 0.2, ..Faults::default() };
        faults.add("reset:10%,silent:30%").unwrap();
        let mut random = Rng::new(2);
        let fates: Vec<_> = (0..100_000).map(|_| faults.draw(&mut random)).collect();
        for (fate, share) in [
            (Fate::Error, 0.2),
            (Fate::Fault(Fault::Reset), 0.1),
            (Fate::Fault(Fault::Close), 0.0),
            (Fate::Fault(Fault::Silent), 0.3),
            (Fate::Answer, 0.4),
        ] {
            let found = fates.iter().filter(|other| **other == fate).count() as f64 / fates.len() as f64;
            assert!((found - share).abs() < 0.01, "{fate:?}: {found}");
        }
    }
}
