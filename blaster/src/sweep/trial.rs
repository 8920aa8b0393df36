//! One trial: a run like any other, at a load that the search names.

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

/// The settings of the `index`-th trial of a sweep with this seed: no two trials send the same ids.
fn settings(
    args: &RunArgs,
    files: &Bundle,
    load: &Load,
    seed: u64,
    index: u64,
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
    Settings::part(&args, seed, files, &Place::whole())
}

/// Steps of the golden ratio stay apart, however many there are; 53 bits survive every JSON reader.
fn trial_seed(seed: u64, index: u64) -> u64 {
    seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 11
}

/// Carries trials out: on this machine, or on many.
pub trait Trials {
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
pub struct Local {
    args: RunArgs,
    files: Bundle,
    seed: u64,
    /// CPUs of this thread before any trial put it elsewhere.
    cpus: Vec<usize>,
}

impl Local {
    /// Reads all files that the arguments name, so that each trial sends the same.
    pub fn new(args: &RunArgs, seed: u64) -> Result<Self, UsageError> {
        let gathering = Gathering::default();
        Settings::part(args, seed, &gathering, &Place::whole())?;
        Ok(Self { args: args.clone(), files: gathering.into_bundle(), seed, cpus: system::allowed_cpus() })
    }
}

impl Trials for Local {
    fn run(&mut self, load: &Load, index: u64, live: &mut Live) -> Result<Report, TrialError> {
        let mut settings =
            settings(&self.args, &self.files, load, self.seed, index).map_err(RunError::from)?;
        // The trial before has put this thread where its shards were not; where that cannot be undone, there is less to choose from.
        let _ = system::pin_thread(&self.cpus);
        let report = run(&mut settings, live)?;
        if live.is_interrupted() { Err(TrialError::Interrupted) } else { Ok(report) }
    }
}
