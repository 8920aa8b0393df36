//! `--weights calibrated`: what this machine can send of a run, found out against a target within itself.
//!
//! Half of the CPUs send, the other half answer as little as an answer can be, so that the generator is what is measured. A rate that one
//! half reached is said of all, since in the run all of them send: it is a weight next to other nodes', not a promise.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use blaster::cli::{CpuList, Pipeline};
use blaster::run::{Observer, Watch, run};
use blaster::settings::Settings;
use blaster_core::plan::rate::RateSpec;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::PlanFacts;
use blaster_core::time::Nanos;
use blaster_sink::profile::{Behaviour, Profile};
use blaster_sink::{Sink, SinkConfig};
use coordinator_protocol::message::Task;

use crate::drive::{Host, Part, understand};

/// Measured for so long, once caches and connections are warm.
const MEASURED_FOR: Nanos = Nanos::from_secs(2);
const WARMUP: Nanos = Nanos::from_millis(300);

/// Connections that close while others open.
const CONNECTIONS_SPARE: u32 = 64;

/// Requests per second in closed loop, with this run's payloads, connections and depth.
pub fn rate(task: &Task, host: &mut Host<'_>) -> Result<u64, String> {
    let Part { mut args, files, place } = understand(task, host.bounds)?;
    let cpus = args.cores.take().map_or_else(|| host.bounds.cpus.clone(), |list| list.0);
    let halves = Halves::of(&cpus, &host.bounds.cpus);
    let mut asked = Settings::part(&args, task.seed, &files, &place).map_err(|error| error.to_string())?;
    asked.lay_out(cpus.len() as u32, false).map_err(|error| error.to_string())?;

    args.rps = Some(RateSpec::Max);
    (args.eps, args.stages, args.arrivals) = (None, None, None);
    (args.duration, args.warmup) = (Some(MEASURED_FOR), Some(WARMUP));
    args.pipeline = Some(Pipeline::Depth(asked.plan.depth));
    args.threads = Some(halves.sending.len() as u32);
    args.cores = Some(CpuList(halves.sending.clone()));
    let mut settings = Settings::part(&args, task.seed, &files, &place).map_err(|error| error.to_string())?;
    let sink = Sink::start(&SinkConfig {
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        behaviour: Behaviour::of(Profile::Null),
        cpus: halves.answering,
        connections_per_thread: settings.plan.connections + CONNECTIONS_SPARE,
    })
    .map_err(|error| format!("cannot measure itself: {error}"))?;
    settings.built_in_sink = false;
    for target in &mut settings.plan.targets {
        target.host = sink.address().ip().to_string();
        target.port = sink.address().port();
    }
    let report =
        run(&mut settings, &mut Within(host)).map_err(|error| format!("cannot measure itself: {error}"))?;
    Ok((report.rate.completed * cpus.len() as f64 / halves.sending.len() as f64) as u64)
}

/// A run that leaves this process for nobody: there is nobody to ask whether it may.
struct Within<'a, 'b>(&'a mut Host<'b>);

impl Observer for Within<'_, '_> {
    fn starting(&mut self, facts: &PlanFacts) {
        self.0.starting(facts);
    }

    fn interval(&mut self, interval: &FinishedInterval) {
        self.0.interval(interval);
    }
}

impl Watch for Within<'_, '_> {
    fn stops(&mut self) -> u32 {
        self.0.stops()
    }

    fn say(&mut self, line: &str) {
        self.0.say(line);
    }
}

/// Which CPUs send and which answer while a node measures itself.
#[derive(Debug, PartialEq, Eq)]
struct Halves {
    sending: Vec<usize>,
    answering: Vec<usize>,
}

impl Halves {
    /// Of the CPUs that a run may use; where that is one, another of the process's answers, if it has one.
    fn of(cpus: &[usize], allowed: &[usize]) -> Self {
        if let &[only] = cpus {
            let other = allowed.iter().copied().find(|&cpu| cpu != only);
            return Self { sending: vec![only], answering: vec![other.unwrap_or(only)] };
        }
        let (answering, sending) = cpus.split_at(cpus.len() / 2);
        Self { sending: sending.to_vec(), answering: answering.to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_cpus_answer_as_send_give_or_take_one() {
        let halves = |cpus: &[usize], allowed: &[usize]| {
            let Halves { sending, answering } = Halves::of(cpus, allowed);
            (sending, answering)
        };
        assert_eq!(halves(&[0, 1], &[0, 1]), (vec![1], vec![0]));
        assert_eq!(halves(&[0, 1, 2], &[0, 1, 2]), (vec![1, 2], vec![0]));
        assert_eq!(halves(&[1], &[0, 1]), (vec![1], vec![0]));
        assert_eq!(halves(&[0], &[0]), (vec![0], vec![0]));
    }
}
