//! What a sweep found, in numbers: what its JSON says, and all that the lines on the screen are made from.

use std::collections::BTreeMap;

use blaster_core::report::sweep::overload::Recovery;
use blaster_core::report::verdict::Status;
use blaster_core::report::{Report, Tool};
use serde::{Deserialize, Serialize};

use super::journal::Entry;
use super::limit::is_spoiled;
use super::view::{Step, Tone};
use crate::metrics::joined::{RunsOut, Usage};

/// The number of the layout.
pub const SCHEMA: u32 = 1;

/// Of all targets that are needed, this share shall stay unused.
pub const HEADROOM: f64 = 0.3;

/// A whole sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who measured.
    pub tool: Tool,
    /// When it began, as RFC 3339.
    pub started_at: String,
    /// Of sweeping, in all sittings.
    pub duration_s: f64,
    /// Stopped by the user; `--resume` goes on.
    pub interrupted: bool,
    /// Why it ended, in words.
    pub ended: String,
    /// What was typed.
    pub args: Vec<String>,
    /// Repeats payloads and arrivals.
    pub seed: u64,
    /// One for each `--slo`.
    pub answers: Vec<Answer>,
    /// Where latency begins to pay for rate.
    pub knee_rps: Option<f64>,
    /// The most that was answered as wanted in a second.
    pub peak_goodput_rps: Option<f64>,
    /// Where less is answered than before.
    pub collapse_rps: Option<f64>,
    /// Answered as wanted at twice the limit, as a share of the limit.
    pub kept_at_twice: Option<f64>,
    /// What happened after each overload.
    pub recovery: Vec<Recovery>,
    /// `--need`.
    pub sizing: Option<Sizing>,
    /// What the target would be out of first.
    pub runs_out: Option<RunsOut>,
    /// Reports of the trials that overloaded the target.
    #[serde(default)]
    pub overloads: Vec<Report>,
    /// Reports of the probes of a target at rest.
    #[serde(default)]
    pub probes: Vec<Report>,
    /// Every load that was tried.
    pub steps: Vec<StepRecord>,
}

/// What a target holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// As written.
    pub slo: String,
    /// Requests per second; none if it holds not even the lowest.
    pub holds_rps: Option<f64>,
    /// Between which loads the limit lies; an end that is not known is none.
    pub interval: [Option<f64>; 2],
    /// That of the interval; none of a plain ladder.
    pub confidence: Option<f64>,
    /// It probably moves; the interval is of the end of the search.
    #[serde(default)]
    pub drifts: bool,
    /// More than a few trials probably fail below it as well.
    #[serde(default)]
    pub unsteady: bool,
    /// What ended the search for it.
    pub limited_by: LimitedBy,
}

/// What an answer is limited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// It is the target's limit.
    Target,
    /// The generator could not do more: the target holds at least that.
    Client,
    /// Time ran out: the interval is wider than wanted.
    Budget,
    /// The highest rate that was to be tried holds.
    Reach,
}

/// How many of these targets are needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizing {
    /// In all.
    pub need_rps: f64,
    /// Targets.
    pub targets: u64,
    /// The share of each that stays unused.
    pub headroom: f64,
}

impl Sizing {
    /// Of targets that hold so much each.
    pub fn of(need_rps: f64, holds_rps: f64) -> Self {
        let targets = (need_rps / (holds_rps * (1.0 - HEADROOM))).ceil() as u64;
        Self { need_rps, targets: targets.max(1), headroom: HEADROOM }
    }
}

/// All trials of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepRecord {
    /// Requests per second asked for.
    pub offered: f64,
    /// What was made of them.
    pub decision: String,
    /// Likewise, in a word.
    pub tone: Tone,
    /// What the target took in the last of them.
    pub target: Option<Usage>,
    /// In their order.
    pub trials: Vec<Report>,
}

/// Entries by the rate they offered, in ascending order.
pub fn by_rate<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<(f64, Vec<&'e Entry>)> {
    let mut steps: BTreeMap<u64, (f64, Vec<&Entry>)> = BTreeMap::new();
    for entry in entries {
        let Some(rate) = entry.report.asked_rate() else { continue };
        // Positive numbers are in the order of their bits.
        steps.entry(rate.to_bits()).or_insert_with(|| (rate, Vec::new())).1.push(entry);
    }
    steps.into_values().collect()
}

impl StepRecord {
    /// Whether any of its trials says something of the target.
    pub fn counts(&self) -> bool {
        self.trials.iter().any(|report| !is_spoiled(report))
    }

    /// The row of it: of the trials that count, or of all if none does.
    pub fn row(&self) -> Step {
        let counts = self.counts();
        let reports = || self.trials.iter().filter(|report| !counts || !is_spoiled(report));
        let mean =
            |value: fn(&Report) -> f64| reports().map(value).sum::<f64>() / reports().count().max(1) as f64;
        let middle = |value: fn(&Report) -> Option<u64>| {
            // What is endless is the longest.
            let mut values: Vec<u64> = reports().map(|report| value(report).unwrap_or(u64::MAX)).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().filter(|&ns| ns != u64::MAX)
        };
        let worst = reports().map(|report| report.verdict.status).max().unwrap_or_default();
        Step {
            offered: self.offered,
            achieved: mean(|report| report.rate.sent),
            ok: mean(|report| report.rate.ok),
            p50_ns: middle(|report| report.response_time_ns.p50),
            p99_ns: middle(|report| report.response_time_ns.p99),
            errors: mean(|report| report.requests.error_rate().unwrap_or(0.0)),
            trials: reports().count() as u32,
            verdict: match worst {
                Status::Valid => "valid",
                Status::Suspect => "suspect",
                Status::ClientLimited => "client-limited",
            }
            .to_owned(),
            decision: self.decision.clone(),
            tone: self.tone,
            usage: self.target.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_targets_hold_what_is_needed_with_room_to_spare() {
        assert_eq!(Sizing::of(5e6, 550e3).targets, 13);
        assert_eq!(Sizing::of(1.0, 550e3).targets, 1);
        assert_eq!(Sizing::of(700.0, 1000.0).targets, 1, "exactly 70 %");
    }
}
