//! A sweep as it is shown: what the terminal, the page and the tables all draw from. No numbers are made here that they could disagree in.

use blaster_core::plan::slo::{Metric, Slo};
use blaster_core::report::Report;
use blaster_core::report::collector::IntervalRow;
use serde::{Deserialize, Serialize};

use crate::metrics::joined::{RunsOut, Usage};

/// All that is to be seen of a sweep.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What was swept: `blaster 0.1.0 · sweep of http://api:3000/events · …`.
    pub heading: String,
    /// The answers first, then what else was found.
    pub lines: Vec<Line>,
    /// A load a row, by rate.
    pub steps: Vec<Step>,
    /// Loads that mean something.
    pub marks: Vec<Mark>,
    /// Between which loads the limit of the first objective lies, in requests per second.
    pub bracket: Option<(f64, f64)>,
    /// A bound on a percentile of the response time, drawn as a line.
    pub limit_ns: Option<f64>,
    /// What happened after each overload, second by second.
    pub recoveries: Vec<Aftermath>,
    /// What the target would be out of first.
    pub runs_out: Option<RunsOut>,
}

/// Something said in a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What kind of news it is.
    pub tone: Tone,
    /// A word or two: an objective, `knee`, `recovery`.
    pub label: String,
    /// The sentence.
    pub text: String,
}

/// What kind of news something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Neither.
    #[default]
    Plain,
    /// As wanted.
    Good,
    /// Not known, or not to be relied on.
    Doubtful,
    /// Not as wanted.
    Bad,
}

impl Tone {
    /// A mark in a text.
    pub fn sign(self) -> char {
        match self {
            Self::Plain => '·',
            Self::Good => '✓',
            Self::Doubtful => '⚠',
            Self::Bad => '✗',
        }
    }
}

/// All trials of one load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Requests per second asked for.
    pub offered: f64,
    /// Sent.
    pub achieved: f64,
    /// Answered as wanted.
    pub ok: f64,
    /// Median response time; none is endless.
    pub p50_ns: Option<u64>,
    /// 99th percentile; none is endless.
    pub p99_ns: Option<u64>,
    /// Share of the requests that were not answered as wanted.
    pub errors: f64,
    /// Trials that counted.
    pub trials: u32,
    /// What the runs' own verdicts say: `valid`, `suspect`, `client-limited`.
    pub verdict: String,
    /// What the search made of it.
    pub decision: String,
    /// Of the decision.
    pub tone: Tone,
    /// What the target took, if it says so.
    pub usage: Option<Usage>,
}

/// A load that means something.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Requests per second.
    pub rate: f64,
    /// A word and the rate.
    pub label: String,
    /// What kind of news it is.
    pub tone: Tone,
}

/// What happened after an overload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aftermath {
    /// A sentence.
    pub label: String,
    /// How it ended.
    pub tone: Tone,
    /// Second by second: when, requests per second offered and answered as wanted.
    pub seconds: Vec<(f64, f64, f64)>,
}

impl Aftermath {
    /// Of a trial that overloaded its target and then let go.
    pub fn of(report: &Report, line: Line) -> Self {
        let second = |row: &IntervalRow| (row.t_s, row.scheduled as f64, row.ok as f64);
        // What is drained after the end is no second of the trial.
        let rows = report.intervals.iter().filter(|row| row.t_s < report.duration_s);
        Self { label: line.text, tone: line.tone, seconds: rows.map(second).collect() }
    }
}

/// The bound of the first objective on a percentile or the longest response time, in nanoseconds.
pub fn limit_ns(slos: &[Slo]) -> Option<f64> {
    slos.iter().find(|slo| matches!(slo.metric, Metric::Percentile(_) | Metric::Max)).map(Slo::bound)
}
