//! `blaster doctor`: is this machine ready for a plan, and if not, why, and what gives out first?
//!
//! What is wanted of the machine is the scripts' list; what it can send of the plan is measured; what a container keeps from it is read here.
//! Nothing needs root but putting things right.

mod container;
pub mod table;

use blaster_core::report::Tool;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::PlanFacts;
use blaster_ring::probe::probe;
use blaster_ring::system::{self, Limit};
use payloads::Files;
use serde::{Deserialize, Serialize};
use signal_hook::iterator::Signals;

use crate::calibrate::{Calibration, calibrate};
use crate::cgroup;
use crate::cli::RunArgs;
use crate::console;
use crate::limits;
use crate::link;
use crate::run::{Observer, RunError, SINK_CONNECTIONS_SPARE, Survey, Watch, survey};
use crate::settings::{Place, Settings};
use crate::tuning::Needs;
use crate::tuning::scripts::{Finding, Scripts, State};

/// The number of the layout.
const SCHEMA: u32 = 1;

/// A machine, and a plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Of this layout.
    pub schema: u32,
    /// Who looked.
    pub tool: Tool,
    /// The plan can work.
    pub ready: bool,
    /// What the plan needs.
    pub plan: Needs,
    /// Where to.
    pub targets: Vec<String>,
    /// What matters, the worst first.
    pub findings: Vec<Finding>,
    /// What keeps the run from starting, in the words that it would be refused with.
    pub refused: Option<String>,
    /// What a container, or whoever started this, keeps from it, and how to get it.
    pub container: Vec<String>,
    /// What this machine can do of the plan.
    pub prediction: Prediction,
}

/// What a machine can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prediction {
    /// Requests per second; none if it was not measured.
    pub rps: Option<f64>,
    /// Why it was not.
    pub not_measured: Option<String>,
    /// Share of that measurement's time that others had its CPUs, if that is known: what it says is that much too little.
    pub disturbed: Option<f64>,
    /// Each thing that ends somewhere.
    pub ends: Vec<End>,
    /// The one of them that the plan comes to first.
    pub first: Option<String>,
}

/// Where something ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// `cpu`, `link`, `ports`, `descriptors`, `memory`.
    pub what: String,
    /// At so many.
    pub at: f64,
    /// Of these: `requests/s` or `connections`.
    pub of: String,
    /// As a multiple of what the plan asks; none if that has no end itself.
    pub times: Option<f64>,
}

/// Why there is no diagnosis.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// The plan cannot be, or what was to be measured could not.
    #[error(transparent)]
    Run(Box<RunError>),
    /// The scripts cannot be run.
    #[error("cannot run the checks: {0}")]
    Scripts(std::io::Error),
}

impl From<std::io::Error> for DoctorError {
    fn from(error: std::io::Error) -> Self {
        Self::Scripts(error)
    }
}

impl From<RunError> for DoctorError {
    fn from(error: RunError) -> Self {
        Self::Run(error.into())
    }
}

/// A plan, or a node's part of one.
pub struct Question<'a> {
    /// Of the whole run.
    pub args: &'a RunArgs,
    /// Of it.
    pub seed: u64,
    /// That the arguments name.
    pub files: &'a dyn Files,
    /// Which part.
    pub place: &'a Place,
    /// A second, all along, of this part.
    pub new_connections: u64,
}

/// Looks at this machine with a plan in mind. `watch` hears of the calibration.
pub fn examine(question: &Question<'_>, watch: &mut impl Observer) -> Result<Diagnosis, DoctorError> {
    let &Question { args, seed, files, place, new_connections } = question;
    let mut settings = Settings::part(args, seed, files, place).map_err(RunError::from)?;
    let surveyed = survey(&mut settings, watch)?;
    let needs = surveyed.needs_with(new_connections);
    let Survey { allowed, usable, unreachable, .. } = surveyed;
    let mut findings = Scripts::new()?.check(&needs.arguments())?;
    let memory = Memory::of(&mut findings);
    let ring = probe();
    let refused = match (&ring, unreachable) {
        (Err(error), _) => {
            no_io_uring(&mut findings, &error.to_string());
            Some(error.to_string())
        }
        (Ok(()), Some((to, error))) => Some(format!("no way leads to {to} from this machine: {error}")),
        (Ok(()), None) => None,
    };
    let measured = if ring.is_err() {
        Err("without io_uring nothing is sent".to_owned())
    } else if memory.is_short() {
        Err("there is not the memory for it".to_owned())
    } else {
        match calibrate(args, seed, files, place, &usable, &allowed, watch) {
            Err(RunError::Interrupted) => return Err(RunError::Interrupted.into()),
            measured => measured.map_err(|error| error.to_string()),
        }
    };
    let stops = findings.iter().any(|finding| finding.state == State::Stops);
    let could_send = if needs.local { usable.len().saturating_sub(1).max(1) } else { usable.len() };
    let senders = args.threads.map_or(could_send, |threads| could_send.min(threads as usize));
    let prediction = Prediction::of(&needs, measured, senders, memory);
    let targets = if settings.built_in_sink {
        vec!["the built-in target".to_owned()]
    } else {
        settings.plan.targets.iter().map(ToString::to_string).collect()
    };
    Ok(Diagnosis {
        schema: SCHEMA,
        tool: Tool { name: "blaster".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        ready: refused.is_none() && !stops && prediction.suffices(),
        plan: needs,
        targets,
        prediction,
        container: container::advice(&needs, allowed.len(), memory),
        findings,
        refused,
    })
}

impl Diagnosis {
    /// Of it, for programs.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("only plain values and string keys") + "\n"
    }
}

/// The scripts read what the machine is told to allow; a filter can keep this process from it all the same.
fn no_io_uring(findings: &mut [Finding], why: &str) {
    if let Some(finding) = findings.iter_mut().find(|finding| finding.knob == "io_uring") {
        (finding.state, finding.settable) = (State::Stops, finding.state == State::Stops && finding.settable);
        why.clone_into(&mut finding.text);
    }
    findings.sort_by_key(|finding| finding.state);
}

/// Of a plan, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// That this process may take.
    left: Option<u64>,
    /// That its control group lets it take, if that is limited.
    left_by_group: Option<u64>,
    /// That the plan takes.
    wanted: Option<u64>,
}

impl Memory {
    /// As the scripts have it; what a control group leaves of it is known here.
    fn of(findings: &mut [Finding]) -> Self {
        let left_by_group = cgroup::memory_left();
        let left = [container::memory_available(), left_by_group].into_iter().flatten().min();
        let Some(finding) = findings.iter_mut().find(|finding| finding.knob == "memory") else {
            return Self { left, left_by_group, wanted: None };
        };
        let memory = Self { left, left_by_group, wanted: finding.wanted.parse().ok() };
        if let (Some(left), Some(wanted)) = (left, memory.wanted)
            && memory.is_short()
        {
            finding.state = State::Stops;
            finding.now = left.to_string();
            finding.text = format!(
                "{} MiB may be taken, by what the machine has left and by its control group, and the plan takes {}: processes are killed \
                 then; lower --connections, or give it more",
                left >> 20,
                wanted >> 20
            );
        }
        findings.sort_by_key(|finding| finding.state);
        memory
    }

    fn is_short(self) -> bool {
        self.left.zip(self.wanted).is_some_and(|(left, wanted)| left < wanted)
    }

    /// How many connections what is left is there for, where so many take what is wanted.
    fn connections(self, connections: u64) -> Option<f64> {
        let (left, wanted) = (self.left? as f64, self.wanted? as f64);
        let each = (wanted - MEMORY_WITHOUT) / connections.max(1) as f64;
        (each > 0.0).then(|| ((left - MEMORY_WITHOUT) / each).max(0.0))
    }
}

/// What a run takes without any connection, as `tuning/knobs.conf` has it.
const MEMORY_WITHOUT: f64 = 33_554_432.0;

/// Below this share of what was asked, no doubt of a measurement of two seconds saves a plan.
const RATE_SURE: f64 = 0.8;

impl Prediction {
    /// Whether nothing gives out before the plan is carried out.
    fn suffices(&self) -> bool {
        let least = |end: &End| if end.of == "requests/s" { RATE_SURE } else { 1.0 };
        self.ends.iter().all(|end| end.times.is_none_or(|times| times >= least(end)))
    }

    fn of(needs: &Needs, measured: Result<Calibration, String>, senders: usize, memory: Memory) -> Self {
        let (calibration, not_measured) = match measured {
            Ok(calibration) => (Some(calibration), None),
            Err(why) => (None, Some(why)),
        };
        let mut ends = Vec::new();
        let mut end = |what: &str, of: &str, at: Option<f64>, asked: Option<f64>| {
            let Some(at) = at else { return };
            let times = asked.filter(|&asked| asked > 0.0).map(|asked| at / asked);
            ends.push(End { what: what.to_owned(), at, of: of.to_owned(), times });
        };
        let (rps, connections) = (needs.rps.map(|rps| rps as f64), Some(needs.connections as f64));
        let by_cpu = calibration.map(|calibration| calibration.per_cpu * senders as f64);
        end("cpu", "requests/s", by_cpu, rps);
        let by_link = calibration
            .filter(|_| !needs.local)
            .zip(link::fastest_bits())
            .map(|(calibration, bits)| bits / 8.0 / calibration.bytes_per_request.max(1.0));
        end("link", "requests/s", by_link, rps);
        // A closed connection's port is not free at once.
        let closed = needs.addresses * needs.new_connections * limits::port_is_taken_for_s(needs.loopback);
        let ports = Some((limits::local_ports() * needs.addresses) as f64);
        end("ports", "connections", ports, Some((needs.connections + closed) as f64));
        let of_sink = if needs.sink { SINK_CONNECTIONS_SPARE } else { 0 };
        let spare = (limits::descriptors_besides(needs.cores) + u64::from(of_sink)) as f64;
        let ends_of_each = if needs.sink { 2.0 } else { 1.0 };
        let descriptors = (system::hard_limit(Limit::Descriptors) as f64 - spare) / ends_of_each;
        end("descriptors", "connections", Some(descriptors.max(0.0)), connections);
        end("memory", "connections", memory.connections(needs.connections), connections);
        let of_plan = |end: &&End| end.times.is_some();
        let first =
            ends.iter().filter(of_plan).min_by(|a, b| a.times.partial_cmp(&b.times).expect("numbers"));
        let first = first.map(|end| end.what.clone());
        let rps = by_cpu.map(|cpu| by_link.map_or(cpu, |link| cpu.min(link)));
        Self {
            rps,
            not_measured,
            disturbed: calibration.and_then(|calibration| calibration.disturbed),
            ends,
            first,
        }
    }
}

/// Nobody looks on while a doctor measures; Ctrl-C ends that.
pub struct Patient {
    signals: Signals,
    stops: u32,
}

impl Patient {
    /// Takes over the signals that ask to stop.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { signals: Signals::new(console::stopping())?, stops: 0 })
    }
}

impl Watch for Patient {
    fn stops(&mut self) -> u32 {
        self.stops += self.signals.pending().count() as u32;
        self.stops
    }

    fn say(&mut self, _line: &str) {}
}

impl Observer for Patient {
    fn starting(&mut self, _facts: &PlanFacts) {}

    fn interval(&mut self, _interval: &FinishedInterval) {}
}

/// Nobody looks on while a plan is only understood; Ctrl-C ends the process.
pub struct Quiet;

impl Watch for Quiet {
    fn stops(&mut self) -> u32 {
        0
    }

    fn say(&mut self, _line: &str) {}
}

impl Observer for Quiet {
    fn starting(&mut self, _facts: &PlanFacts) {}

    fn interval(&mut self, _interval: &FinishedInterval) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        rps: Some(100_000),
        connections: 50_000,
        addresses: 1,
        new_connections: 0,
        cores: 1,
        sink: false,
        local: true,
        loopback: true,
    };

    #[test]
    fn what_the_plan_comes_to_first_gives_out_first() {
        let calibration = Calibration { per_cpu: 400_000.0, bytes_per_request: 300.0, disturbed: None };
        let prediction = Prediction::of(&NEEDS, Ok(calibration), 2, Memory::default());
        assert_eq!(prediction.rps, Some(800_000.0));
        let cpu = prediction.ends.iter().find(|end| end.what == "cpu").unwrap();
        assert_eq!((cpu.times, cpu.of.as_str()), (Some(8.0), "requests/s"));
        let slow = Calibration { per_cpu: 1.0, ..calibration };
        assert_eq!(Prediction::of(&NEEDS, Ok(slow), 1, Memory::default()).first.as_deref(), Some("cpu"));
    }

    #[test]
    fn what_a_run_takes_without_connections_is_the_scripts_number() {
        let of = |connections| {
            let needs = Needs { connections, ..NEEDS };
            let findings = Scripts::new().unwrap().check(&needs.arguments()).unwrap();
            let memory = findings.iter().find(|finding| finding.knob == "memory").unwrap();
            memory.wanted.parse::<f64>().unwrap()
        };
        assert_eq!(of(1_000) - 1_000.0 * (of(1_001) - of(1_000)), MEMORY_WITHOUT);
        let memory = Memory { left: Some(u64::MAX), left_by_group: None, wanted: Some(of(1_000) as u64) };
        assert!(memory.connections(1_000).unwrap() > 1e12);
    }

    #[test]
    fn a_plan_that_something_is_not_there_for_does_not_suffice() {
        let suffices = |per_cpu: f64, left: u64| {
            let calibration = Calibration { per_cpu, bytes_per_request: 300.0, disturbed: None };
            let memory = Memory {
                left: Some((32 << 20) + left),
                left_by_group: None,
                wanted: Some((32 << 20) + (1 << 20)),
            };
            Prediction::of(&Needs { connections: 100, ..NEEDS }, Ok(calibration), 1, memory).suffices()
        };
        assert!(suffices(100_000.0, 1 << 20) && suffices(90_000.0, 1 << 20), "a tenth is within its error");
        assert!(!suffices(50_000.0, 1 << 20) && !suffices(100_000.0, 1 << 19));
    }

    #[test]
    fn in_closed_loop_no_rate_gives_out() {
        let needs = Needs { rps: None, ..NEEDS };
        let calibration = Calibration { per_cpu: 1.0, bytes_per_request: 300.0, disturbed: None };
        let prediction = Prediction::of(&needs, Ok(calibration), 1, Memory::default());
        assert!(prediction.ends.iter().all(|end| end.of == "connections" || end.times.is_none()));
    }
}
