//! One trial: a run like any other, at a load that the search names.

use std::error::Error;

use blaster_core::plan::rate::{Rate, RateSpec, Stages};
use blaster_core::report::Report;
use blaster_core::time::Nanos;
use blaster_ring::system;

use super::live::Live;
use crate::cli::RunArgs;
use crate::files::{Bundle, Gathering};
use crate::run::{RunError, run};
use crate::settings::{Place, Settings, UsageError};

/// A load to be tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Requests per second at first.
    pub rate: f64,
    /// How it changes; none if it does not.
    pub stages: Option<Stages>,
    /// What is not measured, before.
    pub warmup: Nanos,
    /// What is measured, unless stages say.
    pub length: Nanos,
    /// In all; none leaves it to the run.
    pub connections: Option<u32>,
}

/// The settings of the `index`-th trial of a sweep with this seed, or of a place's part of it: no two trials send the same ids.
pub fn settings(
    args: &RunArgs,
    files: &Bundle,
    load: &Load,
    seed: u64,
    index: u64,
    place: &Place,
) -> Result<Settings, UsageError> {
    let args = RunArgs {
        rps: Some(RateSpec::PerSecond(Rate::new(load.rate)?)),
        duration: load.stages.is_none().then_some(load.length),
        stages: load.stages.clone(),
        warmup: Some(load.warmup),
        connections: load.connections.or(args.connections),
        seed: Some(trial_seed(seed, index)),
        json: None,
        ..args.clone()
    };
    Settings::part(&args, seed, files, place)
}

/// Steps of the golden ratio stay apart, however many there are; 53 bits survive every JSON reader.
pub fn trial_seed(seed: u64, index: u64) -> u64 {
    seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 11
}

/// What all trials of a sweep have in common.
pub struct Asked<'a> {
    /// What is sent, and where; of what differs from trial to trial what was typed stands here.
    pub args: &'a RunArgs,
    /// The same as text, as [`RunArgs::from_list`] takes it.
    pub list: Vec<String>,
    /// Of the sweep.
    pub seed: u64,
}

/// Carries trials out: on this machine, or on many.
pub trait Trials {
    /// Who carries them out.
    fn tool(&self) -> &'static str;

    /// The command that does, as it is to be typed again.
    fn command(&self) -> String;

    /// Gets ready for a sweep, before its first trial.
    fn prepare(&mut self, asked: &Asked<'_>) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// The `index`-th trial of the sweep.
    fn run(&mut self, load: &Load, index: u64, live: &mut Live) -> Result<Report, TrialError>;
}

/// Why there is no report of a trial.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The target takes no connections.
    #[error("{0}")]
    Gone(Box<RunError>),
    /// Stopped by the user.
    #[error("interrupted")]
    Interrupted,
    /// It cannot be carried out.
    #[error(transparent)]
    Run(Box<RunError>),
    /// Likewise, by those who were to do it.
    #[error("{0}")]
    Elsewhere(String),
    /// Likewise, and another try would say the same.
    #[error("{0}")]
    Impossible(String),
}

impl TrialError {
    /// What was overloaded may be starting again: it is worth another try.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Elsewhere(_))
    }
}

impl From<RunError> for TrialError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Interrupted => Self::Interrupted,
            RunError::NoConnection { .. } | RunError::ClosedAtOnce { .. } => Self::Gone(error.into()),
            error => Self::Run(error.into()),
        }
    }
}

/// Trials on this machine.
#[derive(Default)]
pub struct Local {
    args: RunArgs,
    files: Bundle,
    seed: u64,
    /// CPUs of this thread before any trial put it elsewhere.
    cpus: Vec<usize>,
}

impl Trials for Local {
    fn tool(&self) -> &'static str {
        "blaster"
    }

    fn command(&self) -> String {
        "blaster sweep".to_owned()
    }

    /// Reads all files that the arguments name, so that each trial sends the same.
    fn prepare(&mut self, asked: &Asked<'_>) -> Result<(), Box<dyn Error + Send + Sync>> {
        let gathering = Gathering::default();
        Settings::part(asked.args, asked.seed, &gathering, &Place::whole())?;
        *self = Self {
            args: asked.args.clone(),
            files: gathering.into_bundle(),
            seed: asked.seed,
            cpus: system::allowed_cpus(),
        };
        Ok(())
    }

    fn run(&mut self, load: &Load, index: u64, live: &mut Live) -> Result<Report, TrialError> {
        let mut settings = settings(&self.args, &self.files, load, self.seed, index, &Place::whole())
            .map_err(RunError::from)?;
        // The trial before has put this thread where its shards were not; where that cannot be undone, there is less to choose from.
        let _ = system::pin_thread(&self.cpus);
        let report = run(&mut settings, live)?;
        if live.is_interrupted() { Err(TrialError::Interrupted) } else { Ok(report) }
    }
}
