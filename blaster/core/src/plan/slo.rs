//! What the user promises: `p99<500ms`, `errors<1%`, `achieved>99%`.

use std::str::FromStr;

use crate::time::Nanos;

/// One promise, and the text it was written as.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// As written.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    comparison: Comparison,
    /// Nanoseconds, or a fraction.
    bound: f64,
}

/// What a promise is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// A percentile, 0 to 100, of the response time, in nanoseconds.
    Percentile(f64),
    /// The longest response time, in nanoseconds.
    Max,
    /// The mean response time, in nanoseconds.
    Mean,
    /// The error rate, as a fraction.
    Errors,
    /// Sent of scheduled requests, as a fraction.
    Achieved,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// A comma-separated list of promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Slos(pub Vec<Slo>);

/// Why a text is no promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no objective ({problem}): write p99<500ms, max<2s, mean<20ms, errors<1% or achieved>99%"
)]
pub struct SloError {
    text: String,
    problem: String,
}

impl Slo {
    /// What is compared with, in nanoseconds or as a fraction.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// Whether nothing can keep both.
    pub fn contradicts(&self, other: &Self) -> bool {
        let is_upper = |slo: &Self| matches!(slo.comparison, Comparison::Less | Comparison::AtMost);
        let (upper, lower) = match (is_upper(self), is_upper(other)) {
            (true, false) => (self, other),
            (false, true) => (other, self),
            _ => return false,
        };
        let meets = upper.comparison == Comparison::AtMost && lower.comparison == Comparison::AtLeast;
        // A percentile is at most any above it, and the longest time.
        let rank = |metric: Metric| match metric {
            Metric::Percentile(percent) => Some(percent),
            Metric::Max => Some(100.0),
            Metric::Mean | Metric::Errors | Metric::Achieved => None,
        };
        let is_below = rank(lower.metric).zip(rank(upper.metric)).is_some_and(|(low, high)| low <= high);
        (self.metric == other.metric || is_below)
            && (upper.bound < lower.bound || upper.bound == lower.bound && !meets)
    }

    /// Whether `observed` (nanoseconds or a fraction) keeps it; an endless or unknown value keeps nothing.
    pub fn judge(&self, observed: Option<f64>) -> bool {
        observed.is_some_and(|observed| match self.comparison {
            Comparison::Less => observed < self.bound,
            Comparison::AtMost => observed <= self.bound,
            Comparison::Greater => observed > self.bound,
            Comparison::AtLeast => observed >= self.bound,
        })
    }
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let text = text.trim();
        let problem = |problem: &str| SloError { text: text.to_owned(), problem: problem.to_owned() };
        let at = text.find(['<', '>']).ok_or_else(|| problem("no < or >"))?;
        let (name, rest) = text.split_at(at);
        let (bound, comparison) = match rest.as_bytes() {
            [b'<', b'=', ..] => (&rest[2..], Comparison::AtMost),
            [b'<', ..] => (&rest[1..], Comparison::Less),
            [_, b'=', ..] => (&rest[2..], Comparison::AtLeast),
            _ => (&rest[1..], Comparison::Greater),
        };
        let bound = bound.trim();
        let metric = match name.trim() {
            "max" => Metric::Max,
            "mean" | "avg" => Metric::Mean,
            "errors" => Metric::Errors,
            "achieved" => Metric::Achieved,
            name => {
                let rank: f64 = name
                    .strip_prefix('p')
                    .and_then(|rank| rank.parse().ok())
                    .ok_or_else(|| problem("it is about none of pN, max, mean, errors, achieved"))?;
                if !(0.0..100.0).contains(&rank) || rank == 0.0 {
                    return Err(problem("a percentile lies between 0 and 100"));
                }
                Metric::Percentile(rank)
            }
        };
        let bound = match metric {
            Metric::Errors | Metric::Achieved => {
                let (number, factor) =
                    bound.strip_suffix('%').map_or((bound, 1.0), |number| (number.trim(), 0.01));
                let fraction =
                    number.parse::<f64>().map_err(|_| problem("the bound is no percentage"))? * factor;
                if !(0.0..=1.0).contains(&fraction) {
                    return Err(problem("the bound is not between 0 and 100 %"));
                }
                fraction
            }
            _ => bound.parse::<Nanos>().map_err(|error| problem(&error.to_string()))?.0 as f64,
        };
        Ok(Self { text: text.to_owned(), metric, comparison, bound })
    }
}

impl FromStr for Slos {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_read_and_judged() {
        let judge = |text: &str, observed| text.parse::<Slo>().unwrap().judge(observed);
        assert!(judge("p99<500ms", Some(499e6)) && !judge("p99<500ms", Some(500e6)));
        assert!(judge("p99.9 <= 1s", Some(1e9)));
        assert!(judge("errors<1%", Some(0.009)) && !judge("errors<0.01", Some(0.01)));
        assert!(judge("achieved>=99%", Some(0.99)));
        assert!(!judge("max<1h", None), "an endless wait keeps no promise");
        assert_eq!("p50<1s,errors<5%".parse::<Slos>().unwrap().0.len(), 2);
    }

    #[test]
    fn promises_that_leave_nothing_between_them_contradict_each_other() {
        let contradict = |a: &str, b: &str| a.parse::<Slo>().unwrap().contradicts(&b.parse().unwrap());
        assert!(contradict("p99<1s", "p99>2s") && contradict("errors>5%", "errors<=5%"));
        assert!(!contradict("p99<=1s", "p99>=1s") && !contradict("p99<2s", "p99>1s"));
        assert!(contradict("p99<1s", "p50>2s") && contradict("p50>=1s", "max<1s"));
        assert!(
            !contradict("p50<1s", "p99>2s")
                && !contradict("p99<1s", "p99<2s")
                && !contradict("p99<1s", "mean>2s")
        );
    }

    #[test]
    fn what_is_no_promise_is_refused_with_examples() {
        for text in
            ["", "p99", "p99<", "p99<5", "p101<1s", "p0<1s", "errors<200%", "rps>5", "p99=5ms", "errors<1%,"]
        {
            let error = text.parse::<Slos>().unwrap_err().to_string();
            assert!(error.contains("write p99<500ms"), "{error}");
        }
    }
}
