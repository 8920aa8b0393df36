//! Leads a run from its plan to its report.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use blaster::console;
use blaster::run::timestamp;
use blaster_core::load::worker::INTERVAL;
use blaster_core::plan::Load;
use blaster_core::report::Report;
use blaster_core::report::collector::{FinishedInterval, IntervalRow};
use blaster_core::report::facts::{PlanFacts, RunFacts};
use blaster_core::report::nodes::{Clock, HandedOver, Node, NodeState};
use blaster_core::time::Nanos;
use blaster_ring::system;
use coordinator_protocol::leader::{self, Act, Failure, Handed, Leader, State};
use coordinator_protocol::message::{First, ToLeader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::facts::{NodeFacts, cores_of, environment_of, plan_of, unpack};
use crate::gather::{Gatherer, Late};
use crate::nodes::{Nodes, Word};
use crate::plan::{LeadError, Plan};

/// A node has a shard a CPU at most.
const SHARDS_MAX: u32 = 4096;

/// No node is heard of so long after the end of what it waits for.
const OVERTIME_MAX: Nanos = Nanos::from_secs(60);

/// A lost node's intervals are waited for so long; what comes later stands in a later row.
const INTERVALS_WAIT: Nanos = Nanos::from_secs(10);

/// How often whoever looks on is asked whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Looks on while a run is led.
pub trait Onlooker {
    /// Something worth a line.
    fn say(&mut self, line: &str);

    /// Somebody asked it to stop, for the so manieth time.
    fn stopping(&mut self, stops: u32);

    /// All nodes will start at `start`, a moment of our clock; the measured part so many seconds after 1970.
    fn starting(&mut self, facts: &PlanFacts, start: Nanos, measured_from_s: f64);

    /// An interval is over on all nodes.
    fn interval(&mut self, interval: &FinishedInterval);

    /// A second has passed.
    fn show(&mut self, leader: &Leader, gatherer: &Gatherer, now: Nanos);

    /// How often it wants the run to stop by now, besides signals.
    fn stops(&mut self) -> u32 {
        0
    }
}

/// Leads a run. The failure beside a report is what makes it worth less.
pub async fn lead(plan: Plan, onlooker: &mut dyn Onlooker) -> anyhow::Result<(Report, Option<Failure>)> {
    let nodes =
        Nodes::new(plan.hosts.clone(), &plan.secret).context("cannot open a port to reach the nodes")?;
    let mut running = Led::new(plan, nodes, onlooker);
    let outcome = running.go().await;
    running.nodes.close().await;
    outcome
}

/// A run that is being led.
struct Led<'a> {
    plan: Plan,
    leader: Leader,
    nodes: Nodes,
    onlooker: &'a mut dyn Onlooker,
    gatherer: Option<Gatherer>,
    /// When the run began, for people.
    started_at: SystemTime,
    /// When it was stopped.
    stopped: Option<Nanos>,
    /// Of every node: whether its intervals are waited for.
    ended: Vec<bool>,
    /// When each last said what it saw.
    told: Vec<Nanos>,
}

impl<'a> Led<'a> {
    fn new(plan: Plan, nodes: Nodes, onlooker: &'a mut dyn Onlooker) -> Self {
        let leader = Leader::new(plan.config.clone(), system::monotonic());
        let (ended, told) = (vec![false; plan.hosts.len()], vec![Nanos::ZERO; plan.hosts.len()]);
        Self {
            plan,
            leader,
            nodes,
            onlooker,
            gatherer: None,
            started_at: SystemTime::now(),
            stopped: None,
            ended,
            told,
        }
    }

    async fn go(&mut self) -> anyhow::Result<(Report, Option<Failure>)> {
        let mut asked_to_stop = stop_signals().context("cannot take over signals")?;
        let mut second = interval(Duration::from_secs(1));
        let mut look = interval(LOOK_EVERY);
        for ticks in [&mut second, &mut look] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        self.act()?;
        while !self.leader.is_over() {
            let timeout = self.leader.timeout();
            tokio::select! {
                biased;
                Some(()) = asked_to_stop.recv() => self.stop(),
                (node, word) = self.nodes.next() => self.hear(node, word),
                () = until(timeout) => self.leader.handle_timeout(system::monotonic()),
                _ = second.tick() => self.show(),
                _ = look.tick() => self.look(),
            }
            self.act()?;
        }
        match (self.gatherer.take(), self.leader.failure()) {
            (Some(gatherer), failure) if self.leader.start().is_some() => {
                let failure = failure.cloned();
                Ok((self.report(gatherer), failure))
            }
            (_, Some(failure)) => Err(LeadError::Failed(failure.clone()).into()),
            (_, None) => unreachable!("a run that did not start has failed"),
        }
    }

    fn look(&mut self) {
        while self.leader.stops() < self.onlooker.stops() {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.stopped.get_or_insert_with(system::monotonic);
        self.leader.stop(system::monotonic());
        self.onlooker.stopping(self.leader.stops());
    }

    fn hear(&mut self, node: usize, word: Word) {
        let now = system::monotonic();
        match word {
            Word::Connected => self.leader.handle_connected(node, now),
            Word::Closed(why) => self.leader.handle_closed(node, now, &why),
            Word::Message(message) => {
                let message = self.look_into(node, now, *message);
                self.leader.handle_message(node, now, message);
            }
            Word::Datagram(datagram, at) => self.leader.handle_datagram(node, at, datagram),
        }
    }

    /// What the protocol does not look into: a report that cannot be read is none, and one of a run that was cut short says that it was.
    fn look_into(&mut self, node: usize, now: Nanos, mut message: ToLeader) -> ToLeader {
        if let ToLeader::Ended { run, lapsed, report, .. } = &mut message
            && *run == self.plan.config.task.run
            && let Ok(packed) = report
        {
            match unpack::<Report>(packed) {
                None => *report = Err("its report cannot be read".to_owned()),
                Some(report) if report.interrupted => self.leader.handle_stopped_early(node, now, *lapsed),
                Some(_) => {}
            }
        }
        message
    }

    fn act(&mut self) -> anyhow::Result<()> {
        while let Some(act) = self.leader.poll() {
            match act {
                Act::Connect(node) => self.nodes.connect(node),
                Act::Say(node, message) => self.nodes.say(node, &message),
                Act::Ping(node) => self.nodes.ping(node),
                Act::Merge(node, delta) => {
                    self.told[node] = system::monotonic();
                    let latest = self.latest_interval();
                    let gatherer = self.gatherer.as_mut().expect("nothing is seen before the start");
                    if let Err(error) = gatherer.merge(node, &delta, latest) {
                        self.leader.refuse(node, system::monotonic(), &error.to_string());
                    }
                }
                Act::Starting(start) => self.begin(start)?,
                Act::Log(line) => self.onlooker.say(&line),
            }
        }
        self.follow();
        Ok(())
    }

    /// The last interval that can have begun on any node, with some time for its clock.
    fn latest_interval(&self) -> u32 {
        let measured_from = self.leader.start().unwrap_or(Nanos::ZERO) + self.plan.settings.plan.warmup;
        let measured = system::monotonic().saturating_sub(measured_from);
        (measured.0 / INTERVAL.0) as u32 + 1
    }

    /// All nodes are ready, and will start.
    fn begin(&mut self, start: Nanos) -> anyhow::Result<()> {
        let ahead = Duration::from_nanos(start.saturating_sub(system::monotonic()).0);
        self.started_at = SystemTime::now() + ahead + nanos(self.plan.settings.plan.warmup);
        let ready: Vec<_> =
            self.leader.nodes().iter().map(|node| node.ready().filter(|_| node.takes_part())).collect();
        let first = ready.iter().flatten().next().expect("a run has nodes");
        let (classes, mut told) = (first.classes.clone(), Vec::new());
        for (node, ready) in self.leader.nodes().iter().zip(&ready) {
            let Some(ready) = ready else { continue };
            if !(1..=SHARDS_MAX).contains(&ready.shards) {
                anyhow::bail!(
                    "{} says it has {} shards: run the same version everywhere",
                    node.name(),
                    ready.shards
                );
            }
            if ready.classes != classes {
                anyhow::bail!(
                    "{} sends other kinds of requests than the others: run the same version everywhere",
                    node.name()
                );
            }
            for remark in &ready.remarks {
                if !told.contains(remark) {
                    self.onlooker.say(&format!("{}: {remark}", node.name()));
                    told.push(remark.clone());
                }
            }
        }
        let shards: Vec<u32> = ready.iter().map(|ready| ready.map_or(0, |ready| ready.shards)).collect();
        let plan = &self.plan.settings.plan;
        let intervals_max = (plan.length() + plan.timeout + OVERTIME_MAX).0.div_ceil(INTERVAL.0) as u32;
        self.gatherer = Some(Gatherer::new(classes, &shards, intervals_max, plan.slos.clone()));
        let facts = self.plan_facts();
        let measured_from = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.onlooker.starting(&facts, start, measured_from);
        Ok(())
    }

    /// Finishes rows as nodes end or are given up.
    fn follow(&mut self) {
        let Some(gatherer) = &mut self.gatherer else { return };
        let now = system::monotonic();
        for (index, node) in self.leader.nodes().iter().enumerate() {
            if !node.takes_part() || self.ended[index] {
                continue;
            }
            if *node.state() == State::Ended {
                self.ended[index] = true;
                gatherer.end(index);
            } else if node.lost().is_some_and(|(at, _)| now >= at + INTERVALS_WAIT) {
                gatherer.give_up(index);
            }
        }
        for interval in gatherer.take_finished_intervals() {
            self.onlooker.interval(&interval);
        }
    }

    fn show(&mut self) {
        if let Some(gatherer) = &self.gatherer {
            self.onlooker.show(&self.leader, gatherer, system::monotonic());
        }
    }

    fn plan_facts(&self) -> PlanFacts {
        let facts = self.node_facts();
        plan_of(&facts.iter().flatten().map(|facts| &facts.plan).collect::<Vec<_>>())
    }

    /// What each node said of itself; none of those without a part.
    fn node_facts(&self) -> Vec<Option<NodeFacts>> {
        let of = |node: &leader::Node| unpack(&node.ready().filter(|_| node.takes_part())?.facts);
        self.leader.nodes().iter().map(of).collect()
    }

    fn report(&mut self, mut gatherer: Gatherer) -> Report {
        for index in 0..self.ended.len() {
            if self.leader.nodes()[index].takes_part() && !self.ended[index] {
                gatherer.end(index);
            }
        }
        for interval in gatherer.take_finished_intervals() {
            self.onlooker.interval(&interval);
        }
        self.leader.settle_offers();
        let start = self.leader.start().expect("it began");
        let facts = self.node_facts();
        let reports: Vec<Option<Report>> =
            self.leader.nodes().iter().map(|node| unpack(node.ended()?.report.as_ref().ok()?)).collect();
        let rows: Vec<Node> = (0..facts.len())
            .map(|index| self.row(index, start, &gatherer, facts[index].as_ref(), reports[index].as_ref()))
            .collect();
        let gaps = self.gaps(&gatherer, &reports);
        let mut run_facts = self.run_facts(start, &facts, &reports);
        let length_s = run_facts.duration.as_secs_f64();
        let missing: Vec<f64> = (0..length_s.ceil() as usize)
            .map(|second| gaps.iter().map(|gap| gap.missing_in(second, length_s)).sum())
            .collect();
        run_facts.missing = self.requests_missing(&gaps, length_s);
        let late = gatherer.late().to_vec();
        let mut report = Report::build(run_facts, gatherer.into_collector());
        // Seconds that nobody was there for have no row yet.
        for second in report.intervals.len()..missing.len() {
            let before = report.intervals.last().cloned().unwrap_or_default();
            report.intervals.push(IntervalRow {
                t_s: second as f64,
                backlog_start: before.backlog_end,
                backlog_end: before.backlog_end,
                in_flight_start: before.in_flight_end,
                in_flight_end: before.in_flight_end,
                ..IntervalRow::default()
            });
        }
        for (row, missing) in report.intervals.iter_mut().zip(missing) {
            row.missing = missing;
        }
        for Late { of, stands_in, due } in late {
            let rows = &mut report.intervals;
            if let Some(row) = rows.get_mut(of as usize) {
                row.told_late += due;
            }
            if let Some(row) = rows.get_mut(stands_in as usize) {
                row.of_earlier += due;
            }
        }
        "coordinator".clone_into(&mut report.tool.name);
        report.with_nodes(rows)
    }

    /// When the last of them stopped, if another stopped them all, or the loss of one ended the run.
    fn stopped_by_others(&self, reports: &[Option<Report>]) -> Option<Nanos> {
        let failed = self.leader.failure().is_some();
        let there = self.leader.nodes().iter().zip(reports).filter(|(node, _)| node.takes_part());
        // One that is gone says nothing of what the others were told.
        let there = there.filter(|(node, report)| node.lost().is_none() || !failed && report.is_some());
        let ends: Option<Vec<f64>> = there
            .map(|(_, report)| {
                report.as_ref().filter(|report| report.interrupted).map(|report| report.duration_s)
            })
            .collect();
        if failed && matches!(self.leader.failure(), Some(Failure::NoneLeft(_))) {
            return None;
        }
        ends?.into_iter().map(|end_s| Nanos::from_secs_f64(end_s.max(0.0))).max()
    }

    /// The requests that gaps come to, by the plan.
    fn requests_missing(&self, gaps: &[Gap], length_s: f64) -> u64 {
        let plan = &self.plan.settings.plan;
        let Load::Open { curve, .. } = &plan.load else { return 0 };
        let by = |s: f64| curve.offered_by(plan.warmup.as_secs_f64() + s.min(length_s));
        let of_gap = |gap: &Gap| gap.share * (by(gap.until_s.max(gap.from_s)) - by(gap.from_s));
        gaps.iter().map(of_gap).sum::<f64>().round() as u64
    }

    /// What nobody sent, with nodes that were lost.
    fn gaps(&self, gatherer: &Gatherer, reports: &[Option<Report>]) -> Vec<Gap> {
        let warmup = self.plan.settings.plan.warmup;
        let measured_s = |moment: Nanos| moment.saturating_sub(warmup).as_secs_f64();
        let start = self.leader.start().unwrap_or_default();
        let mut gaps = Vec::new();
        for (index, node) in self.leader.nodes().iter().enumerate().filter(|(_, node)| node.lost().is_some())
        {
            let tally = gatherer.tally(index);
            let since_start = |moment: Nanos| measured_s(moment.saturating_sub(start));
            // What it told of came due by when it told of it; and nothing did after its permit's end.
            let by = since_start(self.told[index]).min(since_start(node.stops_by()));
            let stopped = match (&reports[index], node.state()) {
                // It knows to the moment; what it says is later than the last that it told of.
                (Some(report), State::Ended) => {
                    let (least, most) = (f64::from(tally.last_due()), since_start(node.stops_by()));
                    report.duration_s.clamp(least, most.max(least))
                }
                // Of the second it stopped in it may have told early.
                _ => f64::from(tally.intervals()).min(by),
            };
            let from_s = |held_from: Nanos| stopped.max(measured_s(held_from));
            gaps.extend(node.handed().iter().map(|part| Gap {
                share: part.share,
                from_s: from_s(part.held_from),
                until_s: part.until.map_or(f64::INFINITY, |(_, from)| measured_s(from)),
            }));
            gaps.extend(node.unhanded().map(|(share, held_from)| Gap {
                share,
                from_s: from_s(held_from),
                until_s: f64::INFINITY,
            }));
        }
        gaps
    }

    fn share(&self, index: usize) -> f64 {
        let nodes = self.leader.nodes();
        let whole: u64 =
            nodes.iter().filter(|node| node.takes_part()).map(|node| u64::from(node.weight())).sum();
        if nodes[index].takes_part() { f64::from(nodes[index].weight()) / whole as f64 } else { 0.0 }
    }

    fn handed_over(&self, part: &Handed) -> Option<HandedOver> {
        let (taker, from) = part.until?;
        let to = self.leader.nodes()[taker].name().to_owned();
        let plan = &self.plan.settings.plan;
        let from_s = from.saturating_sub(plan.warmup).as_secs_f64();
        let began = self.leader.start().unwrap_or_default() + plan.warmup;
        let ended = self.stopped.map_or(plan.duration, |at| at.saturating_sub(began));
        // What was to begin after the end, or the taker's own, never did.
        let node = &self.leader.nodes()[taker];
        let began_at = self.leader.start().unwrap_or_default() + from;
        if from_s >= ended.as_secs_f64() || node.lost().is_some() && node.stops_by() <= began_at {
            return None;
        }
        Some(HandedOver { to, share: part.share, from_s })
    }

    fn run_facts(&self, start: Nanos, facts: &[Option<NodeFacts>], reports: &[Option<Report>]) -> RunFacts {
        let plan = &self.plan.settings.plan;
        let there = || facts.iter().flatten();
        let said = || reports.iter().flatten();
        let shards = |index: usize| self.leader.nodes()[index].ready().map_or(0, |ready| ready.shards);
        // A node that stops while others go on is a gap; where all were stopped by another, so was the run.
        let stopped = self.stopped.map(|at| at.saturating_sub(start + plan.warmup));
        let lost = || {
            let nodes = self.leader.nodes().iter();
            let at = nodes.filter_map(|node| node.lost().map(|(at, _)| at)).min()?;
            matches!(self.leader.failure(), Some(Failure::Lost { .. }))
                .then(|| at.saturating_sub(start + plan.warmup))
        };
        let duration = stopped.or_else(|| self.stopped_by_others(reports)).or_else(lost);
        RunFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: timestamp(self.started_at),
            duration: duration.map_or(plan.duration, |duration| duration.min(plan.duration)),
            interrupted: duration.is_some(),
            tags: plan.tags.iter().cloned().collect(),
            seed: plan.seed,
            plan: plan_of(&there().map(|facts| &facts.plan).collect::<Vec<_>>()),
            environment: environment_of(&there().map(|facts| &facts.environment).collect::<Vec<_>>()),
            opening: said().filter_map(|report| report.connections.opening_ns).max().map(Nanos),
            cores: (0..facts.len())
                .filter(|&index| facts[index].is_some())
                .flat_map(|index| cores_of(reports[index].as_ref(), shards(index)))
                .collect(),
            slos: plan.slos.clone(),
            steal: said().filter_map(|report| report.generator.steal).reduce(f64::max),
            retransmits: said()
                .filter_map(|report| report.generator.retransmits)
                .reduce(|sum, more| sum + more),
            wire_unavailable: said().find_map(|report| report.generator.wire.unavailable.clone()),
            ..RunFacts::default()
        }
    }

    fn row(
        &self,
        index: usize,
        start: Nanos,
        gatherer: &Gatherer,
        facts: Option<&NodeFacts>,
        report: Option<&Report>,
    ) -> Node {
        let node = &self.leader.nodes()[index];
        let offset = node.offset_at_start().or_else(|| node.offset(start));
        let (state, cause) = match (node.state(), node.lost()) {
            (State::Out(why), _) => (NodeState::Out, Some(why.clone())),
            (State::Ended, Some((_, why))) => (NodeState::Fetched, Some(why.to_owned())),
            (_, Some((_, why))) => (NodeState::Lost, Some(why.to_owned())),
            (_, None) => (NodeState::Done, node.ended().and_then(|end| end.report.as_ref().err().cloned())),
        };
        let first = node.ended().map_or_else(First::default, |end| end.first);
        let from_start = |at: Option<Nanos>| Some(offset?.ours(at?).0 as i64 - start.0 as i64);
        let tally = gatherer.tally(index);
        Node {
            name: node.name().to_owned(),
            state,
            cause,
            lost_at_s: node
                .lost()
                .map(|(at, _)| at.as_secs_f64() - (start + self.plan.settings.plan.warmup).as_secs_f64()),
            handed_over: node.handed().iter().filter_map(|part| self.handed_over(part)).collect(),
            version: node.status().map(|status| status.version.clone()),
            share: self.share(index),
            measured_rps: node.measured(),
            requests: tally.requests.clone(),
            events: tally.events.clone(),
            clock: offset.map(|offset| Clock {
                ahead_ns: offset.ahead_ns,
                bound_ns: offset.bound.0,
                drift_ppb: node.drift_at_start_ppb(),
            }),
            first_due_ns: from_start(first.due),
            first_sent_ns: from_start(first.sent),
            response_time_ns: report.map(|report| report.response_time_ns.clone()),
            verdict: report.map(|report| report.verdict.clone()),
            environment: facts.map(|facts| facts.environment.clone()),
            generator: report.map(|report| report.generator.clone()),
        }
    }
}

/// A share of the run that nobody sent, in seconds of the measured part.
struct Gap {
    share: f64,
    from_s: f64,
    until_s: f64,
}

impl Gap {
    /// What it is of that second.
    fn missing_in(&self, second: usize, length_s: f64) -> f64 {
        let (begin_s, end_s) = (second as f64, (second as f64 + 1.0).min(length_s));
        let missing_s = (self.until_s.min(end_s) - self.from_s.max(begin_s)).max(0.0);
        self.share * missing_s / (end_s - begin_s)
    }
}

/// Every signal that asks to stop.
fn stop_signals() -> std::io::Result<UnboundedReceiver<()>> {
    let (tell, told) = unbounded_channel();
    for number in console::stopping() {
        let (tell, mut heard) = (tell.clone(), signal(SignalKind::from_raw(number))?);
        tokio::spawn(async move { while heard.recv().await.is_some() && tell.send(()).is_ok() {} });
    }
    Ok(told)
}

async fn until(moment: Option<Nanos>) {
    match moment {
        Some(moment) => sleep(nanos(moment.saturating_sub(system::monotonic()))).await,
        None => std::future::pending().await,
    }
}

fn nanos(time: Nanos) -> Duration {
    Duration::from_nanos(time.0)
}
