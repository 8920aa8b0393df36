//! The leader's side: gathers its nodes, has them get ready, starts them at one moment, keeps them permitted, and takes what they saw.

mod gathering;
mod handover;
mod node;

use std::collections::{BTreeSet, VecDeque};

use blaster_core::time::Nanos;

use crate::delta::Delta;
use crate::message::{Datagram, Task, ToAgent, ToLeader};
use crate::shares::{TooMuch, Wish};

use gathering::busy;
pub use node::{End, Handed, Node, State};

/// Longest wait for all nodes to answer.
const GATHER_MAX: Nanos = Nanos::from_secs(8);

/// Clocks are compared for so long before the start is fixed.
const SYNC_FOR: Nanos = Nanos::from_millis(400);

/// Between two exchanges with a node around the start, and in the run.
const PING_EVERY_SYNC: Nanos = Nanos::from_millis(10);
const PING_EVERY: Nanos = Nanos::from_secs(1);

/// Exchanges one right behind the other: a CPU that slept takes longer to answer than one that just did, which would look like a
/// difference between the clocks. In the run clocks only tell how long a permit is.
const BURST: u32 = 4;

/// Around the start nodes are left alone: who answers a ping may have to take the CPU from who sends.
const QUIET_BEFORE: Nanos = Nanos::from_millis(30);
const QUIET_AFTER: Nanos = Nanos::from_millis(20);

/// A permit is for so long, and given anew so often: a node whose leader is gone stops within it. One that is not heard of is lost before
/// its permit ends, so that none stops unnoticed.
pub const LEASE: Nanos = Nanos::from_millis(4_200);
const PERMIT_EVERY: Nanos = Nanos::from_secs(1);

/// Who answers no ping for so long is given no permit until it does again: one that hears nothing stops by itself, and the others may take
/// its share that much earlier.
const SILENT_AFTER: Nanos = Nanos::from_millis(1_500);

/// A leader that does nothing itself for so long was not there: whoever was silent meanwhile may not have been. It has something to do more
/// often than that.
const AWAY: Nanos = Nanos::from_millis(1_500);
const LOOK_EVERY: Nanos = Nanos::from_secs(1);

/// Who was asked twice to stop waits no longer than this for what nodes have to say.
const HURRY: Nanos = Nanos::from_millis(500);

/// A node that says nothing of its requests for so long is lost, however well it answers pings.
const MUTE_MAX: Nanos = Nanos::from_secs(6);

/// A node that nothing was heard of for so long is lost.
const LOST_AFTER: Nanos = Nanos::from_millis(3_000);

/// More no node can send; sums of thousands still fit.
const MEASURED_MAX: u64 = 1 << 40;

/// Between two attempts to reach a node again.
const RECONNECT_EVERY: Nanos = Nanos::from_millis(500);

/// How long lost nodes are waited for when all others are done.
const FETCH_MAX: Nanos = Nanos::from_secs(3);

/// How much later than it should a node may end.
const END_MAX: Nanos = Nanos::from_secs(6);

/// A node whose clock is not known so long after it should be takes no part.
const CLOCKLESS_MAX: Nanos = Nanos::from_secs(5);

/// A run to lead.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its nodes, by name.
    pub nodes: Vec<(String, Wish)>,
    /// The run; index and weights are filled in.
    pub task: Task,
    /// Its highest rate; none in closed loop.
    pub rate_max: Option<f64>,
    /// Warm-up and measured time.
    pub length: Nanos,
    /// Of it the warm-up.
    pub warmup: Nanos,
    /// Of a request.
    pub timeout: Nanos,
    /// So long opening all connections takes at the pace asked for.
    pub opening: Nanos,
    /// So many nodes suffice.
    pub nodes_min: usize,
    /// Shares are by what each node measures that it can send.
    pub calibrate: bool,
    /// What a lost node means.
    pub on_loss: OnLoss,
    /// Of this program: nodes of another take no part.
    pub version: String,
}

/// What a node that is lost during the run means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// The run ends, and failed.
    Fail,
    /// The others go on, and what it should have sent is a gap.
    Degrade,
    /// The others take its share over, within what they have room for, as soon as it must have stopped; until then it is a gap.
    Rebalance,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Act {
    /// Open a link to a node; answered with [`Leader::handle_connected`] or [`Leader::handle_closed`].
    Connect(usize),
    /// Say it to a node.
    Say(usize, Box<ToAgent>),
    /// Send a ping to a node.
    Ping(usize),
    /// Merge what a shard of a node saw; each once, in the order of the node's.
    Merge(usize, Box<Delta>),
    /// Nodes and their weights are settled, all are ready and start at this moment of ours.
    Starting(Nanos),
    /// A node is lost, or back; it may be told.
    Log(String),
}

/// A run that is led.
#[derive(Debug)]
pub struct Leader {
    config: Config,
    nodes: Vec<Node>,
    phase: Phase,
    acts: VecDeque<Act>,
    start: Option<Nanos>,
    stops: u32,
    /// How often nodes were told to get ready, less one.
    preparation: u32,
    /// When the last node that was not lost ended.
    last_end: Nanos,
    /// When whoever has not said how its run ended is waited for no longer.
    over_by: Nanos,
    /// When nobody is waited for any more.
    hurry_by: Nanos,
    /// When something was last handled.
    awake: Nanos,
    failure: Option<Failure>,
    agenda: Agenda,
}

/// When which node needs something: with a thousand of them nobody looks at all each time.
#[derive(Debug, Default)]
struct Agenda {
    /// In the order of time; each node once, or not at all.
    due: BTreeSet<(Nanos, usize)>,
    /// Each node's, as it stands there.
    of_nodes: Vec<Nanos>,
    /// Nodes to which something happened since.
    touched: Vec<usize>,
    /// What it was made for; in another phase all is different.
    phase: Option<Phase>,
}

/// Why there is no run, or why it is worth nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Nodes that cannot be had.
    #[error("{}", unreachable(.outs, *.others))]
    Nodes {
        /// By name, each with why.
        outs: Vec<(String, String)>,
        /// How many others there are.
        others: usize,
    },
    /// Shares that cannot be.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// A node that was lost, where that ends the run.
    #[error(
        "{node} was lost: {why}; --on-node-loss degrade goes on without it, rebalance lets the others take its share"
    )]
    Lost {
        /// Which.
        node: String,
        /// Why.
        why: String,
    },
    /// Nobody carries it on.
    #[error(
        "no node is left to carry on the run: the last was found lost {0} after its start; why each was is said above"
    )]
    NoneLeft(Nanos),
    /// Stopped before it began.
    #[error("interrupted before the first request")]
    Interrupted,
}

fn unreachable(nodes: &[(String, String)], others: usize) -> String {
    let each: Vec<_> = nodes.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    let hint = match others {
        0 => String::new(),
        one_or_more => format!("\n--min-nodes {one_or_more} goes on without"),
    };
    each.join("\n") + &hint
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Gathering { until: Nanos },
    Measuring { until: Nanos },
    Preparing { until: Nanos },
    Syncing { until: Nanos },
    Running,
    Over,
}

impl Leader {
    /// Begins to gather the nodes.
    pub fn new(config: Config, now: Nanos) -> Self {
        let nodes = config.nodes.iter().map(|(name, wish)| Node::new(name, wish, now)).collect();
        let mut leader = Self {
            config,
            nodes,
            phase: Phase::Gathering { until: now + GATHER_MAX },
            acts: VecDeque::new(),
            start: None,
            stops: 0,
            preparation: 0,
            last_end: Nanos::ZERO,
            over_by: Nanos::MAX,
            hurry_by: Nanos::MAX,
            awake: now,
            failure: None,
            agenda: Agenda::default(),
        };
        (0..leader.nodes.len()).for_each(|node| leader.acts.push_back(Act::Connect(node)));
        leader
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// Whether all is over.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The moment of the start, by our clock, once it is fixed.
    pub fn start(&self) -> Option<Nanos> {
        self.start
    }

    /// How often it was asked to stop.
    pub fn stops(&self) -> u32 {
        self.stops
    }

    /// All nodes, in the order of the configuration.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn timeout(&mut self) -> Option<Nanos> {
        self.update_agenda();
        let of_phase = match self.phase {
            Phase::Gathering { until } | Phase::Measuring { until } | Phase::Preparing { until } => until,
            // Pings, every few milliseconds, tell whether clocks are known.
            Phase::Syncing { until } => (until + CLOCKLESS_MAX).min(self.awake + LOOK_EVERY),
            Phase::Running => self.over_by.min(self.hurry_by).min(self.awake + LOOK_EVERY),
            Phase::Over => return None,
        };
        let of_nodes = self.agenda.due.first().map_or(Nanos::MAX, |&(at, _)| at);
        Some(of_phase.min(of_nodes))
    }

    fn update_agenda(&mut self) {
        let mut touched = std::mem::take(&mut self.agenda.touched);
        if self.agenda.phase != Some(self.phase) {
            self.agenda.phase = Some(self.phase);
            self.agenda.of_nodes.resize(self.nodes.len(), Nanos::MAX);
            touched = (0..self.nodes.len()).collect();
        }
        for index in touched.drain(..) {
            let at = self.needs_at(index);
            let stands = &mut self.agenda.of_nodes[index];
            if *stands != at {
                self.agenda.due.remove(&(*stands, index));
                *stands = at;
                if at < Nanos::MAX {
                    self.agenda.due.insert((at, index));
                }
            }
        }
        self.agenda.touched = touched;
    }

    /// When there is something for [`Self::tend`] to do; [`Nanos::MAX`] if never.
    fn needs_at(&self, index: usize) -> Nanos {
        let node = &self.nodes[index];
        let when = |needs: bool, at: Nanos| if needs { at } else { Nanos::MAX };
        if !node.takes_part() {
            return Nanos::MAX;
        }
        let lost = when(self.may_be_lost(index), (node.heard + LOST_AFTER).min(self.mute_at(index)));
        if !node.linked {
            return lost.min(when(!node.over, node.connect_at));
        }
        let ping = when(self.pings(), node.ping_at);
        let gives = node.clock.exchanges() > 0 && node.permit_at < node.answered + SILENT_AFTER;
        let permit = when(self.is_permitted(index) && gives, node.permit_at);
        lost.min(ping).min(permit)
    }

    fn may_be_lost(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        matches!(self.phase, Phase::Syncing { .. } | Phase::Running) && node.lost.is_none() && !node.over
    }

    /// When a node that sends has said nothing of it for too long.
    fn mute_at(&self, index: usize) -> Nanos {
        match (self.phase, self.start) {
            (Phase::Running, Some(start)) => {
                self.nodes[index].told.max(start + self.config.warmup) + MUTE_MAX
            }
            _ => Nanos::MAX,
        }
    }

    fn is_permitted(&self, index: usize) -> bool {
        let node = &self.nodes[index];
        self.phase == Phase::Running && node.state == State::Running && node.lost.is_none()
    }

    /// Lets answers come in and end; asked again, does not wait for them.
    pub fn stop(&mut self, now: Nanos) {
        self.stops += 1;
        if self.stops > 1 {
            self.hurry_by = self.hurry_by.min(now + HURRY);
        }
        let is_before_start = !matches!(self.phase, Phase::Running | Phase::Over);
        if is_before_start {
            self.give_up(Failure::Interrupted);
        } else if self.stops <= 2 {
            self.finish(self.stops > 1);
        }
    }

    /// A link to a node stands.
    pub fn handle_connected(&mut self, index: usize, now: Nanos) {
        self.agenda.touched.push(index);
        let next = self.nodes[index].next;
        let run = self.config.task.run;
        let node = &mut self.nodes[index];
        (node.linked, node.heard) = (true, now);
        if node.state != State::Running {
            return self.say(index, ToAgent::Status);
        }
        self.say(index, ToAgent::Resume { run, next });
        for number in 0..self.nodes[index].offers.len() {
            if !self.nodes[index].offers[number].answered {
                self.say_offer(index, number);
            }
        }
    }

    /// There is no link to a node, or it is no more.
    pub fn handle_closed(&mut self, index: usize, now: Nanos, why: &str) {
        self.agenda.touched.push(index);
        let node = &mut self.nodes[index];
        (node.linked, node.connect_at) = (false, now + RECONNECT_EVERY);
        match node.state {
            State::Connecting | State::Known | State::Measuring | State::Preparing | State::Ready => {
                self.out(index, why.to_owned(), now)
            }
            State::Running if node.lost.is_none() => {
                self.log(index, &format!("the link broke ({why}), reaching for it again"))
            }
            State::Running | State::Ended | State::Out(_) => {}
        }
    }

    /// A pong came.
    pub fn handle_datagram(&mut self, index: usize, now: Nanos, datagram: Datagram) {
        self.agenda.touched.push(index);
        self.wake_up(now);
        let node = &mut self.nodes[index];
        if let Datagram::Pong { t3, cpu, .. } = datagram {
            node.usage.note(t3, cpu);
        }
        if let Some(exchange) = datagram.exchange(now) {
            (node.heard, node.answered) = (now, now);
            node.clock.add(exchange);
            if node.burst > 0 && node.linked {
                node.burst -= 1;
                self.acts.push_back(Act::Ping(index));
            }
        }
        self.start_if_synced(now);
    }

    /// A node says something.
    pub fn handle_message(&mut self, index: usize, now: Nanos, message: ToLeader) {
        self.agenda.touched.push(index);
        let run = self.config.task.run;
        self.wake_up(now);
        let node = &mut self.nodes[index];
        node.heard = now;
        match message {
            ToLeader::Status(status) => {
                let why_not = self.why_not(index, &status);
                let node = &mut self.nodes[index];
                node.status = Some(*status);
                if node.state != State::Connecting {
                    return;
                }
                match why_not {
                    Some(why) => self.out(index, why, now),
                    None => {
                        node.state = State::Known;
                        self.prepare_if_gathered(now);
                    }
                }
            }
            ToLeader::Busy(holder) => self.out(index, busy(&holder.leader, holder.held), now),
            ToLeader::Refused { run: of, why } if of == run => self.out(index, why, now),
            ToLeader::Measured { run: of, rate } if of == run && node.state == State::Measuring => {
                node.state = State::Known;
                node.measured = Some(rate.min(MEASURED_MAX));
                self.prepare_if_measured(now);
            }
            // What was made ready for other shares counts no more.
            ToLeader::Ready { run: of, preparation, facts }
                if of == run && preparation == self.preparation && node.state == State::Preparing =>
            {
                node.state = State::Ready;
                node.ready = Some(*facts);
                self.sync_if_ready(now);
            }
            ToLeader::Delta { run: of, number, delta } if of == run && node.state == State::Running => {
                node.told = now;
                self.take(index, number, delta)
            }
            ToLeader::Ended { run: of, deltas, first, lapsed: _, report }
                if of == run && node.state == State::Running =>
            {
                node.stopped = true;
                node.told = now;
                let broke = report.as_ref().err().map(|why| format!("its run broke: {why}"));
                node.ended = Some(End { deltas, first, report });
                if let Some(why) = broke {
                    self.lose(index, now, &why);
                }
                self.end_if_complete(index, now);
            }
            ToLeader::TookOver { run: of, number, refused } if of == run => {
                self.took_over(index, number as usize, refused);
            }
            ToLeader::Unknown { run: of } if of == run && node.state == State::Running => {
                let why =
                    "its agent has nothing of this run: it was started anew, or somebody else had it since";
                self.lose(index, now, why);
                self.nodes[index].over = true;
                self.end_if_over(now);
            }
            ToLeader::Stopped(_)
            | ToLeader::Refused { .. }
            | ToLeader::Measured { .. }
            | ToLeader::Examined { .. }
            | ToLeader::TookOver { .. }
            | ToLeader::Ready { .. }
            | ToLeader::Delta { .. }
            | ToLeader::Ended { .. }
            | ToLeader::Unknown { .. } => {}
        }
    }

    /// What a node said it saw cannot be: nothing more of it counts, and it is told to stop.
    pub fn refuse(&mut self, index: usize, now: Nanos, why: &str) {
        self.agenda.touched.push(index);
        let run = self.config.task.run;
        self.lose(index, now, why);
        self.nodes[index].over = true;
        self.say(index, ToAgent::Finish { run, now: true });
        self.end_if_over(now);
    }

    /// A node stopped before the end, and nobody here told it to: what it does not send from then on is missing. Either somebody else stopped
    /// it, or it `lapsed`.
    pub fn handle_stopped_early(&mut self, index: usize, now: Nanos, lapsed: bool) {
        let why = if lapsed {
            format!("it heard nothing of this leader, and its permit of {LEASE} ran out")
        } else {
            "it stopped before the end: somebody stopped it (`coordinator stop`), or its agent".to_owned()
        };
        self.agenda.touched.push(index);
        self.nodes[index].stopped = true;
        let told_to = self.stops > 0 || self.failure.is_some();
        if self.phase == Phase::Running && !self.nodes[index].over && !told_to {
            self.lose_one(index, now, &why);
            if lapsed {
                // That was before its end, whenever it is heard of.
                self.fail_if_none_is_left(now, Nanos::ZERO);
            }
        }
    }

    /// Time in which we were not there ourselves is no silence of the nodes'.
    fn wake_up(&mut self, now: Nanos) {
        let away = now.saturating_sub(self.awake);
        self.awake = now;
        if away < AWAY {
            return;
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.heard = (node.heard + away).min(now);
            node.answered = (node.answered + away).min(now);
            node.told = (node.told + away).min(now);
            self.agenda.touched.push(index);
        }
    }

    /// The time of [`Self::timeout`] has come.
    pub fn handle_timeout(&mut self, now: Nanos) {
        self.wake_up(now);
        if self.phase == Phase::Over {
            return;
        }
        self.time_is_up(now);
        self.update_agenda();
        let due: Vec<usize> = self.agenda.due.range(..=(now, usize::MAX)).map(|&(_, index)| index).collect();
        for index in due {
            self.tend(index, now);
            self.agenda.touched.push(index);
        }
        self.start_if_synced(now);
        self.end_if_over(now);
    }

    /// What one node needs now.
    fn tend(&mut self, index: usize, now: Nanos) {
        let pings = self.pings();
        let may_be_lost = self.may_be_lost(index);
        let mute_at = self.mute_at(index);
        let measures = matches!(self.phase, Phase::Measuring { .. });
        let around_start = !measures && self.start.is_none_or(|start| now < start + SYNC_FOR);
        let start = self.start;
        let run = self.config.task.run;
        let node = &mut self.nodes[index];
        if !node.takes_part() {
            return;
        }
        if may_be_lost && now >= node.heard + LOST_AFTER {
            if node.state == State::Running {
                self.lose(index, now, &format!("nothing was heard of it for {LOST_AFTER}"));
            } else {
                return self.out(index, format!("nothing was heard of it for {LOST_AFTER}"), now);
            }
        }
        if may_be_lost && now >= mute_at {
            self.lose(index, now, &format!("it said nothing of its requests for {MUTE_MAX}"));
        }
        let node = &mut self.nodes[index];
        if !node.linked {
            if now >= node.connect_at && !node.over {
                node.connect_at = Nanos::MAX;
                self.acts.push_back(Act::Connect(index));
            }
            return;
        }
        if !pings {
            return;
        }
        if node.clock_at_start.is_none()
            && let Some(start) = start.filter(|start| now >= *start + SYNC_FOR)
        {
            node.clock_at_start = node.clock.fit(start);
        }
        let quiet = start.filter(|&start| now + QUIET_BEFORE >= start && now < start + QUIET_AFTER);
        if let Some(start) = quiet {
            node.ping_at = node.ping_at.max(start + QUIET_AFTER);
            node.permit_at = node.permit_at.max(start + QUIET_AFTER);
        }
        if now >= node.ping_at {
            node.ping_at = now + if around_start { PING_EVERY_SYNC } else { PING_EVERY };
            node.burst = if around_start { BURST - 1 } else { 0 };
            self.acts.push_back(Act::Ping(index));
        }
        if now >= node.permit_at
            && now < node.answered + SILENT_AFTER
            && node.state == State::Running
            && node.lost.is_none()
            && let Some(offset) = node.clock.offset(now + LEASE)
        {
            node.permit_at = now + PERMIT_EVERY;
            node.permit_ends = now + LEASE;
            // By whatever its clock will really show then, it stops no later.
            let until = Nanos(offset.theirs(now + LEASE).0.saturating_sub(offset.bound.0));
            self.say(index, ToAgent::Permit { run, until });
        }
        if self.nodes[index].next > self.nodes[index].heard_said {
            let next = self.nodes[index].next;
            self.nodes[index].heard_said = next;
            self.say(index, ToAgent::Heard { run, next });
        }
    }

    fn pings(&self) -> bool {
        matches!(
            self.phase,
            Phase::Measuring { .. } | Phase::Preparing { .. } | Phase::Syncing { .. } | Phase::Running
        )
    }

    fn take(&mut self, index: usize, number: u32, delta: Box<Delta>) {
        let node = &mut self.nodes[index];
        // What was said twice has the number of something that was heard; a gap cannot be, since links keep order.
        if number != node.next || node.over {
            return;
        }
        node.next += 1;
        self.acts.push_back(Act::Merge(index, delta));
    }

    fn end_if_complete(&mut self, index: usize, now: Nanos) {
        let run = self.config.task.run;
        let node = &mut self.nodes[index];
        if node.ended.as_ref().is_none_or(|end| end.deltas != node.next) || node.over {
            return;
        }
        (node.state, node.over) = (State::Ended, true);
        self.last_end = now;
        self.say(index, ToAgent::Release { run });
        self.end_if_over(now);
    }

    fn end_if_over(&mut self, now: Nanos) {
        if self.phase != Phase::Running {
            return;
        }
        if now >= self.hurry_by {
            for index in 0..self.nodes.len() {
                if self.nodes[index].takes_part() && !self.nodes[index].over {
                    self.lose(index, now, "it was not waited for any longer");
                }
            }
            self.phase = Phase::Over;
            return;
        }
        if now >= self.over_by {
            for index in 0..self.nodes.len() {
                let node = &self.nodes[index];
                if node.takes_part() && !node.over && node.lost.is_none() {
                    self.lose(index, now, "it did not say how its run ended");
                }
            }
        }
        let waits = |node: &&Node| node.takes_part() && !node.over;
        if self.nodes.iter().filter(waits).any(|node| node.lost.is_none()) {
            return;
        }
        let lost_last =
            self.nodes.iter().filter(waits).filter_map(|node| node.lost.as_ref()).map(|(at, _)| *at).max();
        self.over_by = self.last_end.max(lost_last.unwrap_or(Nanos::ZERO)) + FETCH_MAX;
        if lost_last.is_none() || now >= self.over_by {
            self.phase = Phase::Over;
        }
    }

    fn lose(&mut self, index: usize, now: Nanos, why: &str) {
        self.lose_one(index, now, why);
        // When that is found, the run may be over by the clock; what counts is when the last of them stopped.
        let lost = self.nodes.iter().filter(|node| node.takes_part());
        let stopped = lost.map(Node::stops_by).max().unwrap_or(now).min(now);
        self.fail_if_none_is_left(now, stopped.saturating_sub(self.start.unwrap_or(now)));
    }

    /// A run that nobody carries on has failed, unless somebody wanted it to end.
    fn fail_if_none_is_left(&mut self, now: Nanos, stopped: Nanos) {
        let Some(start) = self.start.filter(|_| self.phase == Phase::Running && self.stops == 0) else {
            return;
        };
        if self.nodes.iter().any(Node::goes_on) {
            return;
        }
        if stopped < self.config.length {
            self.failure.get_or_insert(Failure::NoneLeft(now.saturating_sub(start)));
        }
    }

    fn lose_one(&mut self, index: usize, now: Nanos, why: &str) {
        if self.nodes[index].lost.is_some() {
            return;
        }
        self.nodes[index].lost = Some((now, why.to_owned()));
        self.log(index, &format!("lost: {why}"));
        if self.config.on_loss == OnLoss::Fail && self.failure.is_none() {
            self.failure = Some(Failure::Lost { node: self.nodes[index].name.clone(), why: why.to_owned() });
            self.finish(false);
        }
        if self.config.on_loss == OnLoss::Rebalance && self.stops == 0 {
            self.hand_over(index, now);
        }
    }

    /// A node takes no part; the others get ready anew, for other shares, or there is no run.
    fn out(&mut self, index: usize, why: String, now: Nanos) {
        if matches!(self.nodes[index].state, State::Out(_)) {
            return;
        }
        if self.phase == Phase::Running {
            // It has a share by now: what it does not send of that is a gap, and no run without it.
            if !self.nodes[index].over {
                self.refuse(index, now, &why);
            }
            return;
        }
        let was_part_of_it = !matches!(self.nodes[index].state, State::Connecting | State::Known);
        self.nodes[index].state = State::Out(why.clone());
        if !self.are_enough() {
            return self.fail_soon(now);
        }
        self.log(index, &format!("goes without it: {why}"));
        match self.phase {
            Phase::Gathering { .. } => self.prepare_if_gathered(now),
            Phase::Measuring { .. } => self.prepare_if_measured(now),
            Phase::Preparing { .. } | Phase::Syncing { .. } if was_part_of_it => {
                self.preparation += 1;
                self.prepare(now);
            }
            _ => {}
        }
    }

    fn give_up(&mut self, failure: Failure) {
        self.finish(true);
        self.failure.get_or_insert(failure);
        self.phase = Phase::Over;
    }

    fn finish(&mut self, at_once: bool) {
        let run = self.config.task.run;
        for index in 0..self.nodes.len() {
            if self.nodes[index].takes_part() && self.nodes[index].linked {
                self.say(index, ToAgent::Finish { run, now: at_once });
            }
        }
    }

    fn say(&mut self, node: usize, message: ToAgent) {
        self.acts.push_back(Act::Say(node, Box::new(message)));
    }

    fn log(&mut self, node: usize, what: &str) {
        let line = format!("{}: {what}", self.nodes[node].name);
        self.acts.push_back(Act::Log(line));
    }
}
