//! What this machine can send of a plan's requests, found out against a target within this process.
//!
//! Half of the CPUs send, the other half answer as little as an answer can be, so that the generator is what is measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use blaster_core::plan::rate::RateSpec;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::PlanFacts;
use blaster_core::time::Nanos;
use blaster_ring::system::{self, Limit, raise_limit};
use blaster_sink::profile::{Behaviour, Profile};
use blaster_sink::{Sink, SinkConfig};
use payloads::Files;

use crate::cli::{CpuList, Pipeline, RunArgs};
use crate::limits::{descriptors_besides, local_ports};
use crate::run::{Observer, RunError, Watch, run};
use crate::settings::{Place, Settings};

/// Measured for so long, once caches and connections are warm.
const MEASURED_FOR: Nanos = Nanos::from_secs(2);
const WARMUP: Nanos = Nanos::from_millis(300);

/// Connections that close while others open.
const CONNECTIONS_SPARE: u32 = 64;

/// More say nothing more of how fast requests are sent, and may not be to be had.
const CONNECTIONS_MAX: u32 = 1_000;

/// What a machine can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Requests per second of a CPU that sends.
    pub per_cpu: f64,
    /// Of a request, head and body, on average.
    pub bytes_per_request: f64,
    /// Share of the time that others had the CPUs that send, if that is known.
    pub disturbed: Option<f64>,
}

/// Measures in closed loop, with a plan's payloads, connections and depth, on these of the CPUs that are allowed.
pub fn calibrate(
    args: &RunArgs,
    seed: u64,
    files: &dyn Files,
    place: &Place,
    cpus: &[usize],
    allowed: &[usize],
    watch: &mut impl Observer,
) -> Result<Calibration, RunError> {
    let halves = Halves::of(cpus, allowed);
    let wish = RunArgs { source_ips: None, ..args.clone() };
    let mut asked = Settings::part(&wish, seed, files, place)?;
    asked.lay_out(cpus.len() as u32, false)?;
    let mut args = args.clone();
    args.rps = Some(RateSpec::Max);
    (args.eps, args.stages, args.arrivals) = (None, None, None);
    (args.connect_rate, args.source_ips) = (None, None);
    (args.duration, args.warmup) = (Some(MEASURED_FOR), Some(WARMUP));
    args.pipeline = Some(Pipeline::Depth(asked.plan.depth));
    args.threads = Some(halves.sending.len() as u32);
    args.cores = Some(CpuList(halves.sending.clone()));
    // Within what there is of ports, and of descriptors for both ends.
    let ports = local_ports() / 2;
    let descriptors = system::hard_limit(Limit::Descriptors).saturating_sub(CONNECTIONS_SPARE.into()) / 4;
    let room = ports.min(descriptors).min(CONNECTIONS_MAX.into()) as u32;
    let connections = asked.plan.connections.min(room).max(halves.sending.len() as u32);
    args.connections = Some(connections);
    let mut settings = Settings::part(&args, seed, files, &Place::whole())?;
    // As a run does it for itself; the target's ends come first here.
    let descriptors = 2 * u64::from(connections) + u64::from(CONNECTIONS_SPARE);
    raise_limit(Limit::Descriptors, descriptors + descriptors_besides(2 * allowed.len() as u64));
    let shares_cpus = halves.sending.iter().any(|cpu| halves.answering.contains(cpu));
    let sink = Sink::start(&SinkConfig {
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        behaviour: Behaviour::of(Profile::Null),
        cpus: halves.answering,
        connections_per_thread: settings.plan.connections + CONNECTIONS_SPARE,
    })?;
    settings.built_in_sink = false;
    for target in &mut settings.plan.targets {
        target.host = sink.address().ip().to_string();
        target.port = sink.address().port();
    }
    let report = run(&mut settings, &mut Within(watch))?;
    if report.interrupted {
        return Err(RunError::Interrupted);
    }
    Ok(Calibration {
        per_cpu: report.rate.completed / halves.sending.len() as f64,
        bytes_per_request: report.bytes.sent as f64 / report.requests.sent.max(1) as f64,
        disturbed: report
            .generator
            .machine
            .waited
            .filter(|_| !shares_cpus)
            .map(|waited| waited + report.generator.steal.unwrap_or(0.0)),
    })
}

/// A run that leaves this process for nobody: there is nobody to ask whether it may.
struct Within<'a, W>(&'a mut W);

impl<W: Observer> Observer for Within<'_, W> {
    fn starting(&mut self, facts: &PlanFacts) {
        self.0.starting(facts);
    }

    fn interval(&mut self, interval: &FinishedInterval) {
        self.0.interval(interval);
    }
}

impl<W: Observer> Watch for Within<'_, W> {
    fn stops(&mut self) -> u32 {
        self.0.stops()
    }

    fn say(&mut self, line: &str) {
        self.0.say(line);
    }
}

/// Which CPUs send and which answer meanwhile.
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
