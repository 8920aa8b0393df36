//! A run that was started: what its shards say is merged until the last of them has ended.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, SystemTime};

use blaster_core::load::recorder::Recorder;
use blaster_core::load::worker::INTERVAL;
use blaster_core::plan::lanes::Lanes;
use blaster_core::report::Report;
use blaster_core::report::collector::{Collector, FinishedInterval};
use blaster_core::report::facts::{CoreFacts, Environment, PlanFacts, RunFacts};
use blaster_core::time::Nanos;
use blaster_ring::Clock;
use blaster_sink::Sink;

use super::parts::Sharing;
use super::{LOOK_EVERY, RunError};
use crate::machine::Counters;
use crate::settings::Settings;
use crate::shards::{Message, ShardFacts, Shards};

/// A run whose connections are open; it waits for its start.
pub struct Prepared {
    pub(super) shards: Shards,
    /// Lives as long as the run.
    pub(super) _sink: Option<Sink>,
    pub(super) clock: Clock,
    pub(super) facts: PlanFacts,
    pub(super) environment: Environment,
    pub(super) classes: Vec<String>,
    pub(super) shard_cpus: Vec<usize>,
    pub(super) off_shards: Vec<usize>,
    /// How often there are all the local ports.
    pub(super) port_spaces: u64,
    pub(super) run: RunFacts,
    pub(super) timing: Timing,
    pub(super) sharing: Sharing,
}

/// The times of a plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) warmup: Nanos,
    pub(super) duration: Nanos,
    pub(super) timeout: Nanos,
}

/// A run that was started.
pub struct Running {
    prepared: Prepared,
    collector: Collector,
    machine_before: Counters,
    started: Nanos,
    stopped: Option<Nanos>,
    stops: u32,
    halt_at: Nanos,
    shard_facts: Vec<ShardFacts>,
    /// Shards that have not ended.
    left: usize,
    broken: Option<RunError>,
}

/// A run that is over.
pub struct Ended {
    /// All that the shell knows of it.
    pub facts: RunFacts,
    /// All that was recorded.
    pub collector: Collector,
    /// The intended time of the first request of any shard, by the run's clock; none in closed loop.
    pub first_due: Option<Nanos>,
    /// When the first request of any shard was sent, likewise.
    pub first_sent: Option<Nanos>,
    /// It ended because it was permitted to send no longer.
    pub lapsed: bool,
}

/// Every run ends within its length, a timeout and this, from its start.
const END_SLACK: Nanos = Nanos::from_millis(1_600);

impl Prepared {
    /// What is about to be done.
    pub fn facts(&self) -> &PlanFacts {
        &self.facts
    }

    /// Where.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The names of its classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.shards.count() as u32
    }

    /// The clock of all its times.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// CPUs that no shard is on, or all where there are no others: for whoever works beside the run.
    pub fn cpus_off_shards(&self) -> &[usize] {
        &self.off_shards
    }

    /// Sends only until `until`, unless permitted longer before then; without any permit to its end.
    pub fn permit(&self, until: Nanos) {
        self.shards.permit(until);
    }

    /// A shard that failed while it waited, if one did.
    pub fn failure(&self) -> Option<RunError> {
        self.shards.messages().try_iter().find_map(|(_, message)| match message {
            Message::Failed(error) => Some(RunError::Shard(error.to_string())),
            _ => None,
        })
    }

    /// Request times count from `at`, a moment of [`Self::clock`] that must be some milliseconds ahead. From then on the run takes at most
    /// its length, a timeout and a moment.
    pub fn start(mut self, at: Nanos) -> Running {
        let machine_before = Counters::read(&self.shard_cpus);
        self.shards.start(at);
        let Timing { warmup, duration, timeout } = self.timing;
        let ahead = at.saturating_sub(self.clock.now());
        self.run.started_at = timestamp(SystemTime::now() + Duration::from_nanos((ahead + warmup).0));
        let shards = self.shards.count();
        Running {
            collector: Collector::new(std::mem::take(&mut self.classes), shards, INTERVAL)
                .judging(self.run.slos.clone()),
            machine_before,
            started: at,
            stopped: None,
            stops: 0,
            halt_at: at + warmup + duration + timeout + END_SLACK,
            shard_facts: vec![ShardFacts::default(); shards],
            left: shards,
            broken: None,
            prepared: self,
        }
    }
}

impl Running {
    /// The clock of all its times.
    pub fn clock(&self) -> Clock {
        self.prepared.clock
    }

    /// Stops sending and waits for what is in flight; said again, does not wait for it any longer.
    pub fn stop(&mut self) {
        self.stops += 1;
        if self.stops > 1 {
            self.prepared.shards.halt();
            return;
        }
        let now = self.prepared.clock.now();
        self.stopped = Some(now);
        self.prepared.shards.stop();
        self.halt_at = self.halt_at.min(now + self.prepared.timing.timeout + END_SLACK);
    }

    /// Sends only until `until`, unless permitted longer before then. A run whose permit ends early counts as stopped.
    pub fn permit(&self, until: Nanos) {
        self.prepared.shards.permit(until);
    }

    /// Sends what falls to `lanes` of the whole run as well, from the moment `from` on, counted from the start: the part of another who
    /// no longer does. Nothing in closed loop.
    pub fn take_over(&self, lanes: &Lanes, from: Nanos) {
        self.prepared.shards.take_over(self.prepared.sharing.schedules(lanes, from));
    }

    /// Waits a moment for what shards say and takes it in; whether any of them goes on. `look` sees every full recorder, settled,
    /// with the number of its shard.
    pub fn collect(&mut self, mut look: impl FnMut(usize, &Recorder)) -> bool {
        if self.left == 0 {
            return false;
        }
        let shards = &self.prepared.shards;
        if self.prepared.clock.now() > self.halt_at {
            shards.halt();
            self.halt_at = Nanos::MAX;
        }
        match shards.messages().recv_timeout(LOOK_EVERY) {
            Ok((shard, Message::Full(mut recorder))) => {
                self.collector.add(shard, &mut recorder);
                look(shard, &recorder);
                recorder.clear();
                shards.give_back(shard, recorder);
            }
            Ok((shard, Message::Done(facts))) => {
                self.shard_facts[shard] = facts;
                self.collector.shard_ended(shard);
                self.left -= 1;
            }
            Ok((_, Message::Failed(error))) => {
                self.broken = Some(RunError::Shard(error.to_string()));
                shards.halt();
                self.left -= 1;
            }
            Ok((_, Message::Opening { .. })) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.broken.get_or_insert(RunError::Shard("it ended by itself".to_owned()));
                self.left = 0;
            }
        }
        self.left > 0
    }

    /// Intervals that all shards have delivered since the last call, in order.
    pub fn take_finished_intervals(&mut self) -> Vec<FinishedInterval> {
        if self.left == 0 {
            self.collector.finish();
        }
        self.collector.take_finished_intervals()
    }

    /// What it came to. To be called once [`Self::collect`] says that no shard goes on.
    pub fn finish(mut self) -> Result<Ended, RunError> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let Prepared { clock, ref shard_cpus, port_spaces, timing, .. } = self.prepared;
        let after = Counters::read(shard_cpus);
        let before = &self.machine_before;
        let now = clock.now();
        let ended = self.stopped.unwrap_or(now);
        let lapsed = self.shard_facts.iter().filter_map(|facts| facts.lapsed).min();
        let interrupted = self.stopped.is_some() || lapsed.is_some();
        let ended = lapsed.map_or(ended, |lapsed| lapsed.min(ended));
        let elapsed = ended.saturating_sub(self.started + timing.warmup);
        let wall = ended.saturating_sub(self.started);
        let facts = RunFacts {
            duration: if interrupted { elapsed.min(timing.duration) } else { timing.duration },
            interrupted,
            plan: self.prepared.facts,
            environment: self.prepared.environment,
            opening: opening(&self.shard_facts),
            cores: self.shard_facts.iter().map(|facts| core_facts(facts, wall)).collect(),
            machine: before.machine(&after, wall, &self.shard_facts, port_spaces),
            steal: before.steal(&after, wall, shard_cpus.len()),
            retransmits: before.retransmits(&after),
            wire_unavailable: self
                .shard_facts
                .iter()
                .find_map(|facts| facts.wire_unavailable)
                .map(str::to_owned),
            ..self.prepared.run
        };
        Ok(Ended {
            facts,
            collector: self.collector,
            lapsed: lapsed.is_some(),
            first_due: self.shard_facts.iter().filter_map(|facts| facts.first_due).min(),
            first_sent: self.shard_facts.iter().filter_map(|facts| facts.first_sent).min(),
        })
    }
}

impl Ended {
    /// Its report.
    pub fn report(self) -> Report {
        Report::build(self.facts, self.collector)
    }
}

/// That of the slowest shard; none if one has not come to its end.
fn opening(shards: &[ShardFacts]) -> Option<Nanos> {
    shards.iter().map(|shard| shard.opening).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// What the settings alone say of a run.
pub(super) fn told(settings: &Settings) -> RunFacts {
    RunFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tags: settings.plan.tags.iter().cloned().collect(),
        seed: settings.plan.seed,
        slos: settings.plan.slos.clone(),
        ..RunFacts::default()
    }
}

fn core_facts(facts: &ShardFacts, wall: Nanos) -> CoreFacts {
    let worked = facts.cpu_time.saturating_sub(facts.spun);
    CoreFacts {
        core: facts.cpu as u32,
        busy: if wall > Nanos::ZERO { (worked.0 as f64 / wall.0 as f64).min(1.0) } else { 0.0 },
        cpu_ns: worked.0,
    }
}

/// The time as RFC 3339.
pub fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}
