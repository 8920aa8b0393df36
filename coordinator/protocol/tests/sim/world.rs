//! Everything around the state machines: time, links, mishaps, and the promises that are held against what came of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Instant;

use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;
use coordinator_protocol::leader::{Act, Config, LEASE, Leader, OnLoss, State};
use coordinator_protocol::message::{Datagram, RunId, Task, ToAgent, decode, encode};
use coordinator_protocol::shares::Wish;

use crate::node::{Clock, Node, Whole, said};

/// A link that nothing comes through for so long is over, as in the shell.
const IDLE_NS: u64 = 4_000_000_000;
const HANDSHAKE_MAX_NS: u64 = 5_000_000_000;
const LEADER_TURN_NS: u64 = 10_000_000;
const SECOND: u64 = 1_000_000_000;

/// A world, but for what is drawn.
#[derive(Clone, Debug)]
pub struct Setting {
    pub seed: u64,
    pub nodes: usize,
    pub rate: f64,
    pub length_s: u64,
    pub turn_ms: u64,
    pub mishaps: Mishaps,
    pub sabotage: Option<Sabotage>,
}

/// What goes wrong, how often, at moments that are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Mishaps {
    /// Nodes that die, and are started anew a while later.
    pub kills: usize,
    /// Nodes that freeze for a while.
    pub freezes: usize,
    /// Links through which nothing passes for a while.
    pub cuts: usize,
    /// Datagrams lost and doubled, per mille.
    pub weather: u64,
    /// The leader dies.
    pub leader_dies: bool,
    /// The user stops the run.
    pub stop: bool,
}

/// A promise broken on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    NoLease,
    MergeTwice,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Story {
    pub lost: usize,
    pub fetched: usize,
    pub handed: usize,
    pub failed: bool,
    pub asked: u64,
    pub sent: u64,
    pub events: u64,
    /// Time the leader took.
    pub leader_s: f64,
}

impl Mishaps {
    pub fn none() -> Self {
        Self { kills: 0, freezes: 0, cuts: 0, weather: 0, leader_dies: false, stop: false }
    }

    pub fn of(seed: u64) -> Self {
        let mut draw = Draw(seed ^ 0x5bd1_e995);
        Self {
            kills: draw.below(3) as usize / 2,
            freezes: draw.below(3) as usize / 2,
            cuts: draw.below(4) as usize / 2,
            weather: draw.below(3) * 40,
            leader_dies: draw.below(12) == 0,
            stop: draw.below(12) == 0,
        }
    }
}

/// Numbers from a seed (xorshift64*; Vigna 2016).
#[derive(Clone, Copy, Debug)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }
}

#[derive(Clone, Debug)]
enum Event {
    LeaderTurn,
    NodeTurn(usize),
    Connected(usize, u64),
    NoConnection(usize, u64),
    ToNode(usize, u64, Vec<u8>),
    ToLeader(usize, u64, Vec<u8>),
    PingTo(usize, u64, Nanos),
    PongTo(usize, u64, Datagram),
    Ready(usize, u64, Box<Task>),
    Kill(usize),
    Freeze(usize, u64),
    Thaw(usize),
    Cut(usize, u64),
    Mend(usize),
    CheckIdle(usize, u64, u64),
    LeaderDies,
    UserStops,
}

/// Whom an event happened to: nobody else has anything to say.
#[derive(Clone, Copy, Debug)]
enum Touched {
    All,
    One(usize),
}

impl Event {
    fn node(&self) -> Touched {
        match *self {
            Self::LeaderTurn | Self::LeaderDies | Self::UserStops => Touched::All,
            Self::NodeTurn(index)
            | Self::Connected(index, _)
            | Self::NoConnection(index, _)
            | Self::ToNode(index, ..)
            | Self::ToLeader(index, ..)
            | Self::PingTo(index, ..)
            | Self::PongTo(index, ..)
            | Self::Ready(index, ..)
            | Self::Kill(index)
            | Self::Freeze(index, _)
            | Self::Thaw(index)
            | Self::Cut(index, _)
            | Self::Mend(index)
            | Self::CheckIdle(index, ..) => Touched::One(index),
        }
    }
}

/// A node's way to the leader.
#[derive(Clone, Debug, Default)]
struct Line {
    /// The number of the link that stands, for the leader and for the agent.
    of_leader: Option<u64>,
    of_agent: Option<u64>,
    cut: bool,
    frozen: bool,
    /// Since when nothing passes, if nothing does.
    dead_since: Option<u64>,
    /// What waits for the line to be mended, or the node to thaw.
    held: Vec<Event>,
    /// Nothing said later arrives earlier, in each direction.
    last_there: u64,
    last_back: u64,
    /// Ways that differ.
    there_ns: u64,
    back_ns: u64,
    /// Counts the lives of the agent.
    life: u64,
}

/// See the module.
pub struct World {
    setting: Setting,
    draw: Draw,
    now: u64,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    events: HashMap<u64, Event>,
    order: u64,
    leader: Option<Leader>,
    leader_clock: Clock,
    nodes: Vec<Node>,
    lines: Vec<Line>,
    whole: Whole,
    scratch: Recorder,
    links: u64,
    /// By node: until when, truly, it may send at most.
    leases: Vec<u64>,
    /// By node: deltas and requests that were merged.
    merged: Vec<(u32, u64)>,
    asked_to_stop: bool,
    story: Story,
    broken: Option<String>,
}

impl World {
    /// Lives through it; the error is the promise that was broken.
    pub fn run(setting: &Setting) -> Result<Story, String> {
        let mut world = Self::new(setting);
        let limit = (setting.length_s + 120) * SECOND;
        while let Some((at, event)) = world.next_event() {
            world.now = at;
            world.story.events += 1;
            let touched = event.node();
            world.handle(event);
            world.act(touched);
            if let Some(broken) = world.broken.take() {
                return Err(broken);
            }
            if matches!(touched, Touched::All) && world.is_quiet() {
                break;
            }
            if world.now > limit {
                let left = world.nodes.iter().filter(|node| node.worker.is_some()).map(|node| &node.agent);
                let over = world.leader.as_ref().map(Leader::is_over);
                return Err(format!(
                    "it does not end: leader {over:?}, agents {:?}",
                    left.collect::<Vec<_>>()
                ));
            }
        }
        world.judge()
    }

    fn new(setting: &Setting) -> Self {
        let mut draw = Draw(setting.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let whole = Whole { rate: setting.rate, length: Nanos::from_secs(setting.length_s) };
        let clock = |draw: &mut Draw| Clock {
            ahead_ns: draw.below(40_000) * SECOND,
            drift_ppb: draw.below(1_000_001) as i64 - 500_000,
        };
        let leader_clock = Clock { drift_ppb: 0, ..clock(&mut draw) };
        let heeds_lease = setting.sabotage != Some(Sabotage::NoLease);
        let nodes: Vec<Node> = (0..setting.nodes)
            .map(|_| Node::new(clock(&mut draw), setting.turn_ms >= 500, heeds_lease))
            .collect();
        let lines = (0..setting.nodes).map(|_| Line {
            there_ns: 20_000 + draw.below(3_000_000),
            back_ns: 20_000 + draw.below(3_000_000),
            ..Line::default()
        });
        let lines = lines.collect();
        let on_loss =
            [OnLoss::Degrade, OnLoss::Rebalance, OnLoss::Rebalance, OnLoss::Fail][draw.below(4) as usize];
        let on_loss = if setting.nodes > 100 { OnLoss::Rebalance } else { on_loss };
        let wish = |draw: &mut Draw| Wish { weight: 1 + draw.below(3) as u32, rate_max: None };
        let config = Config {
            nodes: (0..setting.nodes).map(|node| (format!("n{node}"), wish(&mut draw))).collect(),
            task: Task {
                run: RunId(7),
                preparation: 0,
                args: Vec::new(),
                files: Vec::new(),
                seed: 1,
                index: 0,
                weights: Vec::new(),
            },
            rate_max: Some(setting.rate),
            length: whole.length,
            warmup: Nanos::ZERO,
            version: String::new(),
            timeout: Nanos::from_secs(1),
            nodes_min: if draw.below(2) == 0 || setting.nodes > 100 { 1 } else { setting.nodes },
            opening: Nanos::ZERO,
            calibrate: draw.below(3) == 0,
            on_loss,
        };
        let mut world = Self {
            setting: setting.clone(),
            draw,
            now: 0,
            agenda: BinaryHeap::new(),
            events: HashMap::new(),
            order: 0,
            leader: Some(Leader::new(config, leader_clock.of(0))),
            leader_clock,
            leases: vec![0; setting.nodes],
            merged: vec![(0, 0); setting.nodes],
            nodes,
            lines,
            whole,
            scratch: Recorder::new(1),
            links: 0,
            asked_to_stop: false,
            story: Story::default(),
            broken: None,
        };
        world.plan_mishaps();
        world.at(0, Event::LeaderTurn);
        (0..setting.nodes).for_each(|node| world.at(0, Event::NodeTurn(node)));
        world.act(Touched::All);
        world
    }

    fn plan_mishaps(&mut self) {
        let mishaps = self.setting.mishaps;
        let span = (self.setting.length_s + 3) * SECOND;
        for _ in 0..mishaps.kills {
            let (at, node) = (self.draw.below(span), self.any_node());
            self.at(at, Event::Kill(node));
        }
        for _ in 0..mishaps.freezes {
            let (at, node, length) = (self.draw.below(span), self.any_node(), self.draw.below(9 * SECOND));
            self.at(at, Event::Freeze(node, length));
        }
        for _ in 0..mishaps.cuts {
            let (at, node, length) = (self.draw.below(span), self.any_node(), self.draw.below(9 * SECOND));
            self.at(at, Event::Cut(node, length));
        }
        if mishaps.leader_dies {
            let at = self.draw.below(span);
            self.at(at, Event::LeaderDies);
        }
        if mishaps.stop {
            let at = self.draw.below(span);
            self.at(at, Event::UserStops);
        }
    }

    fn any_node(&mut self) -> usize {
        self.draw.below(self.setting.nodes as u64) as usize
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.agenda.push(Reverse((at.max(self.now), self.order)));
        self.events.insert(self.order, event);
    }

    fn next_event(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, order)) = self.agenda.pop()?;
        Some((at, self.events.remove(&order).expect("every moment has its event")))
    }

    /// Nobody will do anything any more.
    fn is_quiet(&self) -> bool {
        self.leader.as_ref().is_none_or(Leader::is_over)
            && self.nodes.iter().all(|node| node.worker.is_none())
    }

    fn handle(&mut self, event: Event) {
        let now = self.leader_clock.of(self.now);
        match event {
            Event::LeaderTurn => {
                if let Some(leader) = &mut self.leader {
                    let began = Instant::now();
                    if leader.timeout().is_some_and(|at| now >= at) {
                        leader.handle_timeout(now);
                    }
                    self.story.leader_s += began.elapsed().as_secs_f64();
                }
                self.at(self.now + LEADER_TURN_NS, Event::LeaderTurn);
            }
            Event::NodeTurn(index) => {
                if !self.lines[index].frozen {
                    let node = &mut self.nodes[index];
                    let clock = node.clock.of(self.now);
                    node.agent.handle_timeout(clock);
                    node.turn(self.now, &mut self.scratch);
                    self.watch_sends(index);
                }
                // Turns of different nodes fall to different moments.
                let turn = self.setting.turn_ms * 1_000_000;
                let turn = turn - self.draw.below(turn / 10 + 1);
                self.at(self.now + turn, Event::NodeTurn(index));
            }
            Event::Connected(index, link) => self.connected(index, link),
            Event::NoConnection(index, link) => {
                if self.lines[index].of_leader == Some(link) {
                    self.lines[index].of_leader = None;
                    self.leader_does(|leader| leader.handle_closed(index, now, "no answer"));
                }
            }
            Event::ToNode(index, link, bytes) => {
                if self.holds(index, || Event::ToNode(index, link, bytes.clone())) {
                    return;
                }
                if self.lines[index].of_agent == Some(link) {
                    self.nodes[index].hear(link, self.now, &bytes);
                }
            }
            Event::ToLeader(index, link, bytes) => {
                if self.lines[index].cut {
                    return self.lines[index].held.push(Event::ToLeader(index, link, bytes));
                }
                if self.lines[index].of_leader == Some(link) {
                    self.leader_does(|leader| {
                        leader.handle_message(index, now, decode(&bytes).expect("agents make sense"));
                    });
                }
            }
            Event::PingTo(index, link, t1) => {
                let line = &self.lines[index];
                if line.cut || line.frozen || line.of_agent != Some(link) {
                    return;
                }
                let t2 = self.nodes[index].clock.of(self.now);
                let t3 = t2 + Nanos(self.draw.below(200_000));
                self.nodes[index].agent.handle_ping(link, t3);
                let delay = (t3 - t2).0 + self.way(self.lines[index].back_ns);
                self.datagram(delay, Event::PongTo(index, link, Datagram::Pong { t1, t2, t3, cpu: t3 }));
            }
            Event::PongTo(index, link, pong) => {
                if !self.lines[index].cut && self.lines[index].of_leader == Some(link) {
                    self.leader_does(|leader| leader.handle_datagram(index, now, pong));
                }
            }
            Event::Ready(index, preparation, task) => {
                if self.lines[index].frozen {
                    return self.at(self.now + SECOND / 10, Event::Ready(index, preparation, task));
                }
                if self.nodes[index].preparation == preparation {
                    self.nodes[index].ready(&task, self.whole);
                }
            }
            Event::Kill(index) => self.kill(index),
            Event::Freeze(index, length) => {
                self.lines[index].frozen = true;
                self.dies(index);
                self.at(self.now + length, Event::Thaw(index));
            }
            Event::Thaw(index) => {
                self.lines[index].frozen = false;
                self.revives(index);
            }
            Event::Cut(index, length) => {
                self.lines[index].cut = true;
                self.dies(index);
                self.at(self.now + length, Event::Mend(index));
            }
            Event::Mend(index) => {
                self.lines[index].cut = false;
                self.revives(index);
            }
            Event::CheckIdle(index, since, life) => self.check_idle(index, since, life),
            Event::LeaderDies => {
                self.leader = None;
                for index in 0..self.nodes.len() {
                    if let Some(link) = self.lines[index].of_agent.take() {
                        self.nodes[index].agent.handle_closed(link, "the leader is gone");
                    }
                }
            }
            Event::UserStops => {
                self.asked_to_stop = true;
                let now = self.leader_clock.of(self.now);
                self.leader_does(|leader| leader.stop(now));
            }
        }
    }

    /// Keeps what cannot arrive now.
    fn holds(&mut self, index: usize, event: impl FnOnce() -> Event) -> bool {
        let line = &mut self.lines[index];
        if line.cut || line.frozen {
            line.held.push(event());
        }
        line.cut || line.frozen
    }

    fn dies(&mut self, index: usize) {
        let (now, life) = (self.now, self.lines[index].life);
        let since = *self.lines[index].dead_since.get_or_insert(now);
        self.at(since + IDLE_NS, Event::CheckIdle(index, since, life));
    }

    fn revives(&mut self, index: usize) {
        let line = &mut self.lines[index];
        if line.cut || line.frozen {
            return;
        }
        line.dead_since = None;
        for event in std::mem::take(&mut line.held) {
            self.at(self.now, event);
        }
    }

    /// A link through which nothing came for too long is over, for both sides.
    fn check_idle(&mut self, index: usize, since: u64, life: u64) {
        let line = &mut self.lines[index];
        if line.dead_since != Some(since) || line.life != life {
            return;
        }
        line.held.clear();
        let (of_leader, of_agent) = (line.of_leader.take(), line.of_agent.take());
        let now = self.leader_clock.of(self.now);
        if of_leader.is_some() {
            self.leader_does(|leader| leader.handle_closed(index, now, "nothing was heard"));
        }
        if let Some(link) = of_agent {
            self.nodes[index].agent.handle_closed(link, "nothing was heard");
        }
    }

    /// The agent's process is gone, and another takes its place; the leader hears of it when nothing comes any more.
    fn kill(&mut self, index: usize) {
        let (clock, counts_only, heeds_lease) =
            (self.nodes[index].clock, self.nodes[index].counts_only, self.nodes[index].heeds_lease);
        // The agent forgets; the world does not.
        let last = self.nodes[index].seen().cloned();
        let preparation = self.nodes[index].preparation + 1;
        self.nodes[index] = Node { last, preparation, ..Node::new(clock, counts_only, heeds_lease) };
        let line = &mut self.lines[index];
        line.life += 1;
        line.of_agent = None;
        line.held.clear();
        if let Some(link) = line.of_leader {
            // A started-anew process answers the old link with a reset.
            self.at(self.now + SECOND, Event::NoConnection(index, link));
        }
    }

    fn connected(&mut self, index: usize, link: u64) {
        let line = &mut self.lines[index];
        if line.of_leader != Some(link) {
            return;
        }
        if line.cut || line.frozen {
            return self.at(self.now + HANDSHAKE_MAX_NS, Event::NoConnection(index, link));
        }
        if let Some(old) = line.of_agent.replace(link) {
            self.nodes[index].agent.handle_closed(old, "another link took its place");
        }
        let now = self.leader_clock.of(self.now);
        self.leader_does(|leader| leader.handle_connected(index, now));
    }

    fn leader_does(&mut self, what: impl FnOnce(&mut Leader)) {
        if let Some(leader) = &mut self.leader {
            let began = Instant::now();
            what(leader);
            self.story.leader_s += began.elapsed().as_secs_f64();
        }
    }

    /// Carries out what leader and agents want.
    fn act(&mut self, touched: Touched) {
        while let Some(act) = self.leader.as_mut().and_then(Leader::poll) {
            self.act_for_leader(act);
        }
        let touched = match touched {
            Touched::All => 0..self.nodes.len(),
            Touched::One(index) => index..index + 1,
        };
        for index in touched {
            while let Some(act) = self.nodes[index].agent.poll() {
                match said(act) {
                    Ok((link, message)) => {
                        let line = &self.lines[index];
                        let delay = self.way(line.back_ns);
                        let at = (self.now + delay).max(self.lines[index].last_back);
                        self.lines[index].last_back = at;
                        self.at(at, Event::ToLeader(index, link, encode(&*message)));
                    }
                    Err(act) => {
                        if let Some(task) = self.nodes[index].act(act, self.whole) {
                            let at = self.now + self.draw.below(300_000_000);
                            self.at(at, Event::Ready(index, self.nodes[index].preparation, task));
                        }
                    }
                }
            }
        }
    }

    fn act_for_leader(&mut self, act: Act) {
        match act {
            Act::Connect(index) => {
                self.links += 1;
                self.lines[index].of_leader = Some(self.links);
                let delay = self.way(self.lines[index].there_ns) + self.way(self.lines[index].back_ns);
                self.at(self.now + delay, Event::Connected(index, self.links));
            }
            Act::Say(index, message) => {
                self.note_said(index, &message);
                let Some(link) = self.lines[index].of_leader else { return };
                let delay = self.way(self.lines[index].there_ns);
                let at = (self.now + delay).max(self.lines[index].last_there);
                self.lines[index].last_there = at;
                self.at(at, Event::ToNode(index, link, encode(&*message)));
            }
            Act::Ping(index) => {
                let Some(link) = self.lines[index].of_leader else { return };
                let t1 = self.leader_clock.of(self.now);
                let delay = self.way(self.lines[index].there_ns);
                self.datagram(delay, Event::PingTo(index, link, t1));
            }
            Act::Merge(index, delta) => {
                let began = Instant::now();
                self.scratch.clear();
                delta.check(1).expect("agents make sense");
                delta.add_counts_to(&mut self.scratch);
                self.story.leader_s += began.elapsed().as_secs_f64();
                let times = if self.setting.sabotage == Some(Sabotage::MergeTwice) { 2 } else { 1 };
                self.merged[index].0 += times;
                self.merged[index].1 += u64::from(times) * self.scratch.classes[0].sent;
            }
            Act::Starting(_) | Act::Log(_) => {}
        }
    }

    /// What the leader's words promise.
    fn note_said(&mut self, index: usize, message: &ToAgent) {
        match message {
            ToAgent::Permit { .. } => self.leases[index] = self.now + LEASE.0,
            ToAgent::Start { at, .. } => {
                let leader = self.leader.as_ref().expect("it speaks");
                let start = leader.start().expect("it starts");
                let bound = leader.nodes()[index].start_bound();
                let (truth, wanted) = (self.nodes[index].clock.truth(*at), self.leader_clock.truth(start));
                if truth.abs_diff(wanted) > bound.0 + 10 {
                    self.broken =
                        Some(format!("node {index} starts {} ns off, bound {bound}", truth.abs_diff(wanted)));
                }
            }
            _ => {}
        }
    }

    fn watch_sends(&mut self, index: usize) {
        let Some(&(intended, at)) = self.nodes[index].seen().and_then(|seen| seen.requests.last()) else {
            return;
        };
        if at == self.now && self.now > self.leases[index] {
            let late = Nanos(self.now - self.leases[index]);
            self.broken =
                Some(format!("node {index} sends {late} after its lease, what was due at {intended}"));
        }
    }

    fn datagram(&mut self, delay: u64, event: Event) {
        let weather = self.setting.mishaps.weather;
        if self.draw.below(1000) < weather {
            return;
        }
        if self.draw.below(1000) < weather {
            let again = delay + self.draw.below(5_000_000);
            self.at(self.now + again, event.clone());
        }
        self.at(self.now + delay, event);
    }

    /// A way of at least so long.
    fn way(&mut self, least: u64) -> u64 {
        least + self.draw.below(if self.draw.0.is_multiple_of(16) { 4_000_000 } else { 60_000 })
    }

    /// Holds what came of it to what was promised.
    fn judge(mut self) -> Result<Story, String> {
        let (Some(leader), story) = (self.leader.take(), &mut self.story) else {
            // Whoever led is gone: that all have stopped in time is what was promised, and watched.
            self.story.failed = true;
            return Ok(self.story);
        };
        story.failed = leader.failure().is_some();
        if self.setting.nodes > 100 && story.failed {
            return Err(format!("it failed: {}", leader.failure().expect("it did")));
        }
        story.asked = (self.setting.rate * self.setting.length_s as f64) as u64;
        let mut last_handover = Nanos::ZERO;
        let mut all_is_somebodys = !story.failed && !self.asked_to_stop && leader.start().is_some();
        for (index, node) in leader.nodes().iter().enumerate() {
            let (deltas, sent) = self.merged[index];
            let seen = self.nodes[index].seen().cloned().unwrap_or_default();
            let is_lost = node.lost().is_some();
            story.lost += usize::from(is_lost);
            story.handed += node.handed().iter().filter(|part| part.until.is_some()).count();
            story.sent += seen.sent;
            if *node.state() == State::Ended {
                story.fetched += usize::from(is_lost);
                if (deltas, sent) != (seen.deltas, seen.sent) {
                    return Err(format!(
                        "node {index} saw {} in {} deltas, {sent} in {deltas} were merged",
                        seen.sent, seen.deltas
                    ));
                }
            } else if node.takes_part() && leader.start().is_some() && !is_lost && !story.failed {
                return Err(format!("node {index} is {:?} at the end, and not lost", node.state()));
            }
            if seen.ended && sent > seen.sent {
                return Err(format!("node {index} saw {}, {sent} were merged", seen.sent));
            }
            for part in node.handed() {
                match part.until {
                    Some((taker, from)) => {
                        last_handover = last_handover.max(from);
                        all_is_somebodys &= leader.nodes()[taker].lost().is_none();
                    }
                    None => all_is_somebodys = false,
                }
            }
            all_is_somebodys &= !is_lost || node.unhanded().next().is_none();
        }
        if self.setting.turn_ms < 500 {
            self.judge_requests(all_is_somebodys.then_some(last_handover))?;
        }
        Ok(self.story)
    }

    /// No request is sent twice, and where all was somebody's from a moment on, all are sent from there.
    fn judge_requests(&self, complete_from: Option<Nanos>) -> Result<(), String> {
        let asked = self.story.asked as usize;
        let mut times = vec![0_u8; asked + 2];
        for seen in self.nodes.iter().filter_map(Node::seen) {
            for &(intended, _) in &seen.requests {
                let number = (intended.as_secs_f64() * self.setting.rate).round() as usize;
                times[number] += 1;
                if times[number] > 1 {
                    return Err(format!("request {number} is sent twice"));
                }
            }
        }
        let Some(from) = complete_from else { return Ok(()) };
        let first = (from.as_secs_f64() * self.setting.rate).ceil() as usize;
        match times[..asked].iter().skip(first).position(|&times| times == 0) {
            Some(missing) => Err(format!(
                "request {} of {asked} is nobody's, all from {first} on are somebody's",
                first + missing
            )),
            None => Ok(()),
        }
    }
}
