//! The plain ways to sweep: rates that somebody names, or each a multiple of the one before. No search, no confidence; a grade a step.

use blaster_core::plan::slo::Slo;
use blaster_core::report::Report;

use super::view::Tone;

/// Rates to be tried one after another.
#[derive(Clone, Debug)]
pub struct Ladder {
    rungs: Rungs,
    /// Where it ends before its time.
    until: Option<Slo>,
    /// How many were tried.
    tried: usize,
    is_over: bool,
}

#[derive(Clone, Debug)]
enum Rungs {
    Named(Vec<f64>),
    Multiples { from: f64, factor: f64, to: Option<f64> },
}

/// How a step went, by the thresholds that load tests of APIs are commonly judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// p95 below 500 ms, p99 below 1 s, errors below 5 %.
    Good,
    /// Twice that.
    Warning,
    /// Beyond.
    Critical,
}

impl Grade {
    const P95_NS_GOOD: f64 = 500e6;
    const P99_NS_GOOD: f64 = 1e9;
    const ERRORS_GOOD: f64 = 0.05;

    /// Of a report.
    pub fn of(report: &Report) -> Self {
        let times = &report.response_time_ns;
        let endless = |ns: Option<u64>| ns.map_or(f64::INFINITY, |ns| ns as f64);
        let over = [
            endless(times.p95) / Self::P95_NS_GOOD,
            endless(times.p99) / Self::P99_NS_GOOD,
            report.requests.error_rate().unwrap_or(1.0) / Self::ERRORS_GOOD,
        ];
        match over.into_iter().fold(0.0, f64::max) {
            worst if worst < 1.0 => Self::Good,
            worst if worst < 2.0 => Self::Warning,
            _ => Self::Critical,
        }
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// As it is shown.
    pub fn tone(self) -> Tone {
        match self {
            Self::Good => Tone::Good,
            Self::Warning => Tone::Doubtful,
            Self::Critical => Tone::Bad,
        }
    }
}

impl Ladder {
    /// These rates, in their order.
    pub fn named(rates: Vec<f64>) -> Self {
        Self { rungs: Rungs::Named(rates), until: None, tried: 0, is_over: false }
    }

    /// `from`, and `factor` times that again and again, at most `to`; until a step does what `until` says.
    pub fn multiples(from: f64, factor: f64, to: Option<f64>, until: Slo) -> Self {
        Self { rungs: Rungs::Multiples { from, factor, to }, until: Some(until), tried: 0, is_over: false }
    }

    /// The next rate to try.
    pub fn next(&self) -> Option<f64> {
        if self.is_over {
            return None;
        }
        match &self.rungs {
            Rungs::Named(rates) => rates.get(self.tried).copied(),
            Rungs::Multiples { from, factor, to } => {
                let rate = from * factor.powi(self.tried as i32);
                (to.is_none_or(|to| rate <= to) && rate <= RATE_MAX).then_some(rate)
            }
        }
    }

    /// What it came to.
    pub fn learn(&mut self, report: &Report) {
        self.tried += 1;
        // Each trial is judged by it among the objectives. An endless time is beyond any bound.
        let is_until = |expr: &str| self.until.as_ref().is_some_and(|until| until.text == expr);
        self.is_over |=
            report.slo.iter().any(|slo| is_until(&slo.expr) && (slo.ok || slo.observed.is_none()));
    }
}

/// No machine offers more.
const RATE_MAX: f64 = 100e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_rates_come_in_their_order_and_end() {
        let ladder = Ladder::named(vec![10.0, 5.0]);
        assert_eq!(ladder.next(), Some(10.0));
        assert_eq!(Ladder { tried: 1, ..ladder.clone() }.next(), Some(5.0));
        assert_eq!(Ladder { tried: 2, ..ladder }.next(), None);
    }

    #[test]
    fn multiples_end_at_the_highest_rate() {
        let ladder = Ladder::multiples(1000.0, 2.0, Some(4_000.0), "errors>10%".parse().unwrap());
        let rates: Vec<_> = (0..4).map(|tried| Ladder { tried, ..ladder.clone() }.next()).collect();
        assert_eq!(rates, [Some(1000.0), Some(2000.0), Some(4000.0), None]);
        assert_eq!(Ladder { is_over: true, ..ladder }.next(), None);
    }
}
