//! One trial: a run like any other, at a load that the search names.

use blaster_core::plan::rate::{Rate, RateSpec, Stages};
use blaster_core::time::Nanos;

use crate::cli::RunArgs;
use crate::files::Bundle;
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
pub fn settings(
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
