//! What an agent finds out about its own machine: for `coordinator doctor` whether it is ready, for `--weights calibrated` what it can
//! send of a run, against a target within itself.
//!
//! A rate that one half of the CPUs reached is said of all, since in the run all of them send: it is a weight next to other nodes', not a
//! promise.

use blaster::calibrate::calibrate;
use blaster::doctor::{Diagnosis, Question, examine};
use coordinator_protocol::message::Task;

use crate::drive::{Host, Part, understand};

/// Requests per second in closed loop, with this run's payloads, connections and depth.
pub fn rate(task: &Task, host: &mut Host<'_>) -> Result<u64, String> {
    let Part { mut args, files, place } = understand(task, host.bounds)?;
    let allowed = &host.bounds.cpus;
    let cpus = args.cores.take().map_or_else(|| allowed.clone(), |list| list.0);
    let calibration = calibrate(&args, task.seed, &files, &place, &cpus, allowed, host)
        .map_err(|error| format!("cannot measure itself: {error}"))?;
    Ok((calibration.per_cpu * cpus.len() as f64) as u64)
}

/// How it stands with this machine, for its part of a run and so many new connections a second.
pub fn diagnosis(task: &Task, new_connections: u64, host: &mut Host<'_>) -> Result<Diagnosis, String> {
    let Part { args, files, place } = understand(task, host.bounds)?;
    let question = Question { args: &args, seed: task.seed, files: &files, place: &place, new_connections };
    examine(&question, host).map_err(|error| error.to_string())
}
