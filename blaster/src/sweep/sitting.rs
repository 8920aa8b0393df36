//! One sitting of a sweep: trials are run one after another, or taken from the journal of an earlier sitting, and kept.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::budget_s;
use super::journal::{Entry, Journal, JournalError};
use super::live::{Enough, Live};
use super::trial::{Load, TrialError, Trials};
use crate::cli::SweepArgs;
use crate::metrics::Watched;
use crate::metrics::joined::Usage;

/// How long a target that takes no connections is waited for: one that was overloaded may be starting again.
const REVIVAL_MAX: Duration = Duration::from_secs(10);

/// How often it is asked meanwhile.
const REVIVAL_EVERY: Duration = Duration::from_secs(1);

/// How often a wait looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One sitting.
pub struct Sitting<'a> {
    trials: &'a mut dyn Trials,
    live: &'a mut Live,
    journal: Journal,
    /// Of an earlier sitting, not asked for yet.
    known: VecDeque<Entry>,
    /// All that the search has seen.
    entries: Vec<Entry>,
    metrics: Option<Watched>,
    began: Instant,
    /// Seconds of sweeping in earlier sittings.
    before_s: f64,
}

/// Why a sweep ends before its search does.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A trial could not be done.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// One that was done could not be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl<'a> Sitting<'a> {
    /// Goes on after `known` trials, of the same journal.
    pub fn new(
        trials: &'a mut dyn Trials,
        live: &'a mut Live,
        journal: Journal,
        known: Vec<Entry>,
        metrics: Option<Watched>,
    ) -> Self {
        let before_s = known.last().map_or(0.0, |entry| entry.ended_s);
        let (known, entries, began) = (known.into(), Vec::new(), Instant::now());
        Self { trials, live, journal, known, entries, metrics, began, before_s }
    }

    /// Seconds of sweeping so far, as the search may know them: while it goes through an earlier sitting those of then.
    pub fn elapsed_s(&self) -> f64 {
        match self.known.front() {
            Some(next) => next.began_s,
            None => self.before_s + self.began.elapsed().as_secs_f64(),
        }
    }

    /// Seconds of the budget that are left; without end while it goes through an earlier sitting, which was in time.
    pub fn left_s(&self, args: &SweepArgs) -> f64 {
        match self.known.front() {
            Some(_) => f64::INFINITY,
            None => budget_s(args) - self.elapsed_s(),
        }
    }

    /// Does a trial, or remembers it.
    pub fn trial(&mut self, load: &Load, purpose: &str, enough: Option<Enough>) -> Result<&Entry, Stopped> {
        let entry = match self.known.pop_front() {
            Some(entry) => entry,
            None => self.fresh(load, purpose, enough)?,
        };
        self.entries.push(entry);
        Ok(self.entries.last().expect("it was just added"))
    }

    fn fresh(&mut self, load: &Load, purpose: &str, enough: Option<Enough>) -> Result<Entry, Stopped> {
        let index = self.entries.len() as u64;
        let began_s = self.elapsed_s();
        let read_from_s = self.metrics.as_ref().map(Watched::now_s);
        self.live.begin(purpose, enough);
        let mut gives_up_at = None;
        let report = loop {
            match self.trials.run(load, index, self.live) {
                // At the first trial it has not died: it was never there.
                Err(error) if error.may_pass() && index > 0 => {
                    if gives_up_at.is_none() {
                        let wait = REVIVAL_MAX.as_secs();
                        self.live.tell(&format!("{error}; waiting {wait} s for it to come back"));
                    }
                    let gives_up_at = *gives_up_at.get_or_insert_with(|| Instant::now() + REVIVAL_MAX);
                    if Instant::now() >= gives_up_at {
                        return Err(error.into());
                    }
                    self.pause(REVIVAL_EVERY)?;
                }
                outcome => break outcome?,
            }
        };
        let usage = self.metrics.as_ref().zip(read_from_s).and_then(|(metrics, from_s)| {
            Usage::of(&metrics.between(from_s, metrics.now_s()), report.rate.completed)
        });
        let entry = Entry { began_s, ended_s: self.elapsed_s(), report, usage };
        self.live.ended(&entry.report);
        self.journal.add(&entry)?;
        Ok(entry)
    }

    /// Leaves the target alone for so long.
    pub fn pause(&mut self, length: Duration) -> Result<(), TrialError> {
        if !self.known.is_empty() {
            return Ok(());
        }
        let until = Instant::now() + length;
        while Instant::now() < until {
            if self.live.is_interrupted() {
                return Err(TrialError::Interrupted);
            }
            std::thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// All trials that the search has seen.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// For what stays on the screen.
    pub fn live(&mut self) -> &mut Live {
        self.live
    }
}
