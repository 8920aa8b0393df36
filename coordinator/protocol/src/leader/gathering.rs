//! Before the start: nodes say who they are, measure themselves if that decides, get ready for their shares, and have their clocks compared.
//! Whenever one goes out the others get ready anew, for other shares.

use blaster_core::time::Nanos;

use super::node::{Hold, Node};
use super::{Act, CLOCKLESS_MAX, END_MAX, Failure, Leader, Phase, SYNC_FOR, State};
use crate::message::{Status, Task, ToAgent};
use crate::shares::{Part, Wish, by_rate, weights};

/// Of nodes that cannot make a run any more, how long answers are still waited for.
const DOOMED_MAX: Nanos = Nanos::from_secs(1);

/// From then to the start: every node hears of it in time, a second's round trip away.
const COUNTDOWN: Nanos = Nanos::from_millis(600);

/// Exchanges a node's clock is judged by before it may start.
const EXCHANGES_MIN: usize = 16;

/// Longest wait for all nodes to get ready, beside what opening paced connections takes: a large tape takes seconds, connections up
/// to five.
const PREPARE_MAX: Nanos = Nanos::from_secs(60);

impl Leader {
    /// Why a node that is so takes no part, if it does not.
    pub(super) fn why_not(&self, index: usize, status: &Status) -> Option<String> {
        let (theirs, ours) = (&status.version, &self.config.version);
        if theirs != ours {
            return Some(format!(
                "it runs version {theirs}, this is {ours}: run the same version on all nodes"
            ));
        }
        let is_same = |other: &Node| other.status.as_ref().is_some_and(|known| known.agent == status.agent);
        let mut others = self.nodes[..index].iter().chain(&self.nodes[index + 1..]);
        if status.agent != 0
            && let Some(other) = others.find(|other| other.takes_part() && is_same(other))
        {
            return Some(format!("it is the agent that {} is: name it once", other.name));
        }
        let holder = status.holder.as_ref()?;
        Some(busy(&holder.leader, holder.held))
    }

    /// Once every node is known or out: what each can send if that decides, then shares, and the run to all of them.
    pub(super) fn prepare_if_gathered(&mut self, now: Nanos) {
        if !matches!(self.phase, Phase::Gathering { .. })
            || self.nodes.iter().any(|node| node.state == State::Connecting)
        {
            return;
        }
        if self.config.calibrate && self.are_enough() {
            self.measure(now);
        } else {
            self.prepare(now);
        }
    }

    pub(super) fn are_enough(&self) -> bool {
        self.nodes.iter().filter(|node| node.takes_part()).count() >= self.config.nodes_min.max(1)
    }

    fn measure(&mut self, now: Nanos) {
        self.phase = Phase::Measuring { until: now + PREPARE_MAX };
        let nodes: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].takes_part()).collect();
        for (position, &index) in nodes.iter().enumerate() {
            self.nodes[index].state = State::Measuring;
            let weights = vec![1; nodes.len()];
            let task = Task { index: position as u32, weights, ..self.config.task.clone() };
            self.say(index, ToAgent::Measure(Box::new(task)));
        }
    }

    pub(super) fn prepare_if_measured(&mut self, now: Nanos) {
        if !matches!(self.phase, Phase::Measuring { .. })
            || self.nodes.iter().any(|node| node.state == State::Measuring)
        {
            return;
        }
        let there = || self.nodes.iter().filter(|node| node.takes_part());
        let rates: Vec<u64> = there().map(|node| node.measured.unwrap_or(0)).collect();
        let whole: u64 = rates.iter().sum();
        if let Some(asked) = self.config.rate_max.filter(|&asked| asked > whole as f64) {
            let line = format!(
                "warning: {asked:.0} requests/s are asked, and the nodes measured {whole} together: expect a client-limited run"
            );
            self.acts.push_back(Act::Log(line));
        }
        let mut weights = by_rate(&rates).into_iter();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let Some(rate) = node.measured.filter(|_| node.takes_part()) else { continue };
            node.wish.weight = weights.next().expect("one for each that measured");
            self.log(index, &format!("measured {rate} requests/s"));
        }
        self.prepare(now);
    }

    pub(super) fn prepare(&mut self, now: Nanos) {
        if !self.are_enough() {
            return self.give_up(self.too_few());
        }
        let nodes: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].takes_part()).collect();
        let wishes: Vec<Wish> = nodes.iter().map(|&node| self.nodes[node].bounded_wish()).collect();
        let weights = match weights(&wishes, self.config.rate_max) {
            Ok(weights) => weights,
            Err(error) => return self.give_up(error.into()),
        };
        self.phase = Phase::Preparing { until: now + self.prepare_max() };
        let parts = Part::default().split(&weights);
        let preparation = self.preparation;
        for (position, &index) in nodes.iter().enumerate() {
            let node = &mut self.nodes[index];
            (node.state, node.weight, node.ready) = (State::Preparing, weights[position], None);
            node.holds = vec![Hold { part: parts[position].clone(), from: Nanos::ZERO }];
            let weights = weights.clone();
            let task = Task { preparation, index: position as u32, weights, ..self.config.task.clone() };
            self.say(index, ToAgent::Prepare(Box::new(task)));
        }
    }

    fn prepare_max(&self) -> Nanos {
        PREPARE_MAX + self.config.opening
    }

    pub(super) fn sync_if_ready(&mut self, now: Nanos) {
        let all_ready =
            self.nodes.iter().filter(|node| node.takes_part()).all(|node| node.state == State::Ready);
        if matches!(self.phase, Phase::Preparing { .. }) && all_ready {
            if !self.are_enough() {
                return self.give_up(self.too_few());
            }
            self.phase = Phase::Syncing { until: now + SYNC_FOR };
            for node in &mut self.nodes {
                (node.heard, node.ping_at) = (now, now);
            }
        }
    }

    pub(super) fn start_if_synced(&mut self, now: Nanos) {
        let Phase::Syncing { until } = self.phase else { return };
        let knows_clock = |node: &Node| node.clock.exchanges() >= EXCHANGES_MIN;
        if now < until || !self.nodes.iter().filter(|node| node.takes_part()).all(knows_clock) {
            return;
        }
        let start = now + COUNTDOWN;
        self.start = Some(start);
        self.over_by = start + self.config.length + self.config.timeout + END_MAX;
        self.phase = Phase::Running;
        self.acts.push_back(Act::Starting(start));
        let run = self.config.task.run;
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            if !node.takes_part() {
                continue;
            }
            node.state = State::Running;
            (node.permit_at, node.heard, node.answered) = (now, now, now);
            let (offset, _) = node.clock.fit(start).expect("it was compared");
            node.start_bound = offset.bound;
            self.tend(index, now);
            self.say(index, ToAgent::Start { run, at: offset.theirs(start) });
        }
    }

    /// Whoever has not answered in the time that he has is out.
    pub(super) fn time_is_up(&mut self, now: Nanos) {
        match self.phase {
            Phase::Measuring { until } | Phase::Preparing { until } if now >= until && !self.are_enough() => {
                self.give_up(self.too_few());
            }
            Phase::Gathering { until } if now >= until => {
                for index in 0..self.nodes.len() {
                    if self.nodes[index].state == State::Connecting {
                        self.out(index, "no answer".to_owned(), now);
                    }
                }
            }
            Phase::Measuring { until } if now >= until => {
                for index in 0..self.nodes.len() {
                    if self.nodes[index].state == State::Measuring {
                        self.out(index, format!("it measured for more than {PREPARE_MAX}"), now);
                    }
                }
            }
            Phase::Preparing { until } if now >= until => {
                for index in 0..self.nodes.len() {
                    if self.nodes[index].state == State::Preparing {
                        self.out(index, format!("it was not ready within {}", self.prepare_max()), now);
                    }
                }
            }
            Phase::Syncing { until } if now >= until + CLOCKLESS_MAX => {
                for index in 0..self.nodes.len() {
                    let node = &self.nodes[index];
                    if node.takes_part() && node.clock.exchanges() < EXCHANGES_MIN {
                        let why = "its clock cannot be compared: what it says of the time makes no sense";
                        self.out(index, why.to_owned(), now);
                    }
                }
            }
            _ => {}
        }
    }

    /// There are too few nodes. All that can be said is said at once, so that whoever reads it mends all of it: others may have something
    /// to say, too, and are waited for a little.
    pub(super) fn fail_soon(&mut self, now: Nanos) {
        if self.nodes.iter().any(|node| node.state.has_to_answer()) {
            match &mut self.phase {
                Phase::Measuring { until } | Phase::Preparing { until } => {
                    *until = (*until).min(now + DOOMED_MAX);
                }
                _ => {}
            }
            return;
        }
        self.give_up(self.too_few());
    }

    pub(super) fn too_few(&self) -> Failure {
        let why = |node: &Node| match &node.state {
            State::Out(why) => Some((node.name.clone(), why.clone())),
            _ => None,
        };
        let outs: Vec<_> = self.nodes.iter().filter_map(why).collect();
        let others = self.nodes.len() - outs.len();
        Failure::Nodes { outs, others }
    }
}

pub(super) fn busy(leader: &str, held: Nanos) -> String {
    format!("{leader} has its run, for {held}: wait for it, or `coordinator stop` it")
}
