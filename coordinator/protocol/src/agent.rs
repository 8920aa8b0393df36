//! The agent's side: one run at a time, of one leader, kept until that leader has all of it or another takes its place.

use std::collections::VecDeque;

use blaster_core::time::Nanos;

use crate::delta::Delta;
use crate::message::{First, Holder, Ready, RunId, Status, Task, ToAgent, ToLeader};
use crate::shares::Part;

/// A connection of a leader's, by the shell's number.
pub type LinkId = u64;

/// A run that is ready and whose leader is silent for so long is given up: it was never permitted to send.
pub const ABANDON_AFTER: Nanos = Nanos::from_secs(5);

/// A permit that ends later than that ends then, whoever gives it: within it, an agent that lost its leader stops.
pub const PERMIT_MAX: Nanos = Nanos::from_secs(5);

/// A leader that is there is heard of several times in this.
const SILENT_AFTER: Nanos = Nanos::from_secs(2);

/// What an agent knows.
#[derive(Debug)]
pub struct Agent {
    run: Option<Held>,
    acts: VecDeque<Act>,
    runs: u64,
    refused: u64,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Act {
    /// Say it to a leader.
    Say(LinkId, Box<ToLeader>),
    /// Get ready for a run; answered with [`Agent::handle_ready`] or [`Agent::handle_failed`].
    Prepare(Box<Task>),
    /// Find out what this machine can send of it; answered with [`Agent::handle_measured`] or [`Agent::handle_failed`].
    Measure(Box<Task>),
    /// Find out whether this machine is ready for it and for so many new connections a second; answered with [`Agent::handle_examined`] or
    /// [`Agent::handle_failed`].
    Examine(Box<Task>, u64),
    /// Request times count from then, by this machine's clock.
    Start(Nanos),
    /// Send until then.
    Permit(Nanos),
    /// Send this part of the run as well, from that moment of it on; answered with [`Agent::handle_took_over`].
    TakeOver(Part, Nanos),
    /// Stop sending; said again, do not wait for answers.
    Stop,
    /// Forget the run as it is; [`Agent::handle_ended`] is not expected.
    Abandon,
    /// Something for the log.
    Log(String),
}

#[derive(Debug)]
struct Held {
    id: RunId,
    link: Option<LinkId>,
    leader: String,
    since: Nanos,
    /// The latest word from its leader.
    heard: Nanos,
    /// Whether it may send at all.
    permitted: bool,
    phase: Phase,
    /// Which of the run's preparations.
    preparation: u32,
    /// Deltas that its leader may not have, the first with number `first`.
    kept: VecDeque<Delta>,
    first: u32,
    /// What became of the parts it was told to take over.
    took_over: Vec<Option<String>>,
    /// So many more are being done, in the order that they came in.
    taking_over: usize,
    ended: Option<Ended>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Measuring,
    Preparing,
    Ready,
    Running,
    Over,
}

impl Phase {
    fn is_before_start(self) -> bool {
        matches!(self, Self::Measuring | Self::Preparing | Self::Ready)
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Its first request.
    pub first: First,
    /// Its permit ran out.
    pub lapsed: bool,
    /// Its own report; or why there is none.
    pub report: Result<Vec<u8>, String>,
}

impl Agent {
    /// Without a run.
    pub fn new() -> Self {
        Self { run: None, acts: VecDeque::new(), runs: 0, refused: 0 }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called; none while there is nothing to wait for.
    pub fn timeout(&self) -> Option<Nanos> {
        let held = self.run.as_ref()?;
        held.phase.is_before_start().then(|| held.heard + ABANDON_AFTER)
    }

    /// What it says of itself, on top of what the shell knows.
    pub fn status(&self, now: Nanos, of_machine: Status) -> Status {
        Status { holder: self.holder(now), runs: self.runs, refused: self.refused, ..of_machine }
    }

    /// Something came that was no message.
    pub fn handle_malformed(&mut self) {
        self.refused += 1;
    }

    /// A leader says something. `from` is where it is, `of_machine` what the shell knows of this node.
    pub fn handle_message(
        &mut self,
        link: LinkId,
        from: &str,
        now: Nanos,
        message: ToAgent,
        of_machine: &Status,
    ) {
        match message {
            ToAgent::Status => {
                let status = self.status(now, of_machine.clone());
                self.say(link, ToLeader::Status(Box::new(status)));
            }
            ToAgent::Measure(task) => {
                if self.hold(link, from, now, &task, Phase::Measuring) {
                    self.acts.push_back(Act::Measure(task));
                }
            }
            ToAgent::Examine { task, new_connections } => {
                if self.hold(link, from, now, &task, Phase::Measuring) {
                    self.acts.push_back(Act::Examine(task, new_connections));
                }
            }
            ToAgent::Prepare(task) => {
                if self.hold(link, from, now, &task, Phase::Preparing) {
                    self.acts.push_back(Act::Prepare(task));
                }
            }
            ToAgent::Stop => self.stop(link, from, now),
            ToAgent::Resume { run, next } => self.resume(link, now, run, next),
            ToAgent::Start { run, at } => self.start(link, now, run, at),
            ToAgent::Permit { run, until } => {
                let held = self.held_by(link, run, now);
                if let Some(held) = held.filter(|held| matches!(held.phase, Phase::Ready | Phase::Running)) {
                    held.permitted = true;
                    self.acts.push_back(Act::Permit(until.min(now + PERMIT_MAX)));
                }
            }
            ToAgent::TakeOver { run, number, part, from } => {
                self.take_over(link, now, run, number, part, from);
            }
            ToAgent::Finish { run, now: at_once } => {
                match self.held_by(link, run, now).map(|held| held.phase) {
                    Some(Phase::Running) => {
                        self.acts.push_back(Act::Stop);
                        if at_once {
                            self.acts.push_back(Act::Stop);
                        }
                    }
                    Some(Phase::Measuring | Phase::Preparing | Phase::Ready) => {
                        self.drop_run("its leader wants it no more");
                    }
                    Some(Phase::Over) | None => {}
                }
            }
            ToAgent::Heard { run, next } => {
                if let Some(held) = self.held_by(link, run, now) {
                    while held.first < next && held.kept.pop_front().is_some() {
                        held.first += 1;
                    }
                }
            }
            ToAgent::Release { run } => {
                if self.held_by(link, run, now).is_some() {
                    self.drop_run("its leader has all of it");
                }
            }
        }
    }

    /// A leader is gone, or seems to be. Its run goes on until its permit ends.
    pub fn handle_closed(&mut self, link: LinkId, why: &str) {
        if let Some(held) = self.run.as_mut().filter(|held| held.link == Some(link)) {
            held.link = None;
            let what = match held.phase {
                Phase::Measuring | Phase::Preparing | Phase::Ready => "given up unless it comes back",
                Phase::Running => "the run stops when its permit ends, unless it comes back",
                Phase::Over => "its results are kept",
            };
            self.log(format!("lost the leader: {why}; {what}"));
        }
    }

    /// What this machine can send of it is known; the run itself is another matter.
    pub fn handle_measured(&mut self, rate: u64) {
        let Some(held) = self.run.take_if(|held| held.phase == Phase::Measuring) else { return };
        self.log(format!("measured {rate} requests/s"));
        self.say_if(held.link, ToLeader::Measured { run: held.id, rate });
    }

    /// How it stands with this machine is known, likewise.
    pub fn handle_examined(&mut self, diagnosis: Vec<u8>) {
        let Some(held) = self.run.take_if(|held| held.phase == Phase::Measuring) else { return };
        self.log("examined this machine".to_owned());
        self.say_if(held.link, ToLeader::Examined { run: held.id, diagnosis });
    }

    /// The run is ready.
    pub fn handle_ready(&mut self, facts: Ready) {
        let Some(held) = self.run.as_mut().filter(|held| held.phase == Phase::Preparing) else { return };
        held.phase = Phase::Ready;
        let (run, preparation, link) = (held.id, held.preparation, held.link);
        self.say_if(link, ToLeader::Ready { run, preparation, facts: Box::new(facts) });
    }

    /// The run cannot be prepared.
    pub fn handle_failed(&mut self, why: String) {
        let Some(held) = self.run.take() else { return };
        self.log(format!("refused the run: {why}"));
        self.say_if(held.link, ToLeader::Refused { run: held.id, why });
    }

    /// It sends the earliest part that it was told to take over and has not answered for; or why not.
    pub fn handle_took_over(&mut self, refused: Option<String>) {
        let Some(held) = self.run.as_mut().filter(|held| held.taking_over > 0) else { return };
        held.taking_over -= 1;
        held.took_over.push(refused.clone());
        let (run, link, number) = (held.id, held.link, held.took_over.len() as u32 - 1);
        if let Some(why) = &refused {
            self.log(format!("takes over nothing: {why}"));
        }
        self.say_if(link, ToLeader::TookOver { run, number, refused });
    }

    /// A shard has seen another interval.
    pub fn handle_delta(&mut self, delta: Delta) {
        let Some(held) = &mut self.run else { return };
        let number = held.first + held.kept.len() as u32;
        held.kept.push_back(delta.clone());
        let (run, link) = (held.id, held.link);
        self.say_if(link, ToLeader::Delta { run, number, delta: Box::new(delta) });
    }

    /// The run is over.
    pub fn handle_ended(&mut self, ended: Ended) {
        let Some(held) = &mut self.run else { return };
        held.phase = Phase::Over;
        held.ended = Some(ended);
        self.runs += 1;
        self.say_end();
        self.log("the run is over".to_owned());
    }

    /// Whoever runs this agent ends it: a run that goes on stops; said again, without waiting for answers.
    pub fn handle_end(&mut self) {
        if self.sends() {
            self.acts.push_back(Act::Stop);
            self.log("stops the run, since it is to end itself".to_owned());
        }
    }

    /// Whether a run goes on that has still to say how it ended.
    pub fn sends(&self) -> bool {
        self.run.as_ref().is_some_and(|held| held.phase == Phase::Running)
    }

    /// The time of [`Self::timeout`] has come.
    pub fn handle_timeout(&mut self, now: Nanos) {
        if self.timeout().is_some_and(|at| now >= at) {
            self.drop_run("its leader is silent, and it was not started");
        }
    }

    /// Whether the run is this leader's now; one that cannot have it is told.
    fn hold(&mut self, link: LinkId, from: &str, now: Nanos, task: &Task, phase: Phase) -> bool {
        if let Some(held) = &self.run {
            let is_others = held.link != Some(link);
            let keeps_others_out = match held.phase {
                Phase::Running => true,
                Phase::Measuring | Phase::Preparing | Phase::Ready => is_others,
                // Results that a leader is still there to fetch are not lost to another.
                Phase::Over => is_others && held.is_led(now),
            };
            if keeps_others_out {
                let holder =
                    self.holder(now).unwrap_or(Holder { leader: from.to_owned(), held: Nanos::ZERO });
                self.log(format!("told {from} that {} has the run", holder.leader));
                self.say(link, ToLeader::Busy(holder));
                return false;
            }
            self.drop_run("another takes its place");
        }
        let run = task.run;
        self.log(format!("{from} has a run for this node: {}", told(&task.args)));
        self.run = Some(Held {
            id: run,
            link: Some(link),
            leader: from.to_owned(),
            since: now,
            heard: now,
            permitted: false,
            phase,
            preparation: task.preparation,
            kept: VecDeque::new(),
            first: 0,
            took_over: Vec::new(),
            taking_over: 0,
            ended: None,
        });
        true
    }

    /// A start that cannot be obeyed is refused: who gave it counts on this node.
    fn start(&mut self, link: LinkId, now: Nanos, run: RunId, at: Nanos) {
        match self.held_by(link, run, now) {
            Some(held) if held.phase == Phase::Ready && held.permitted => {
                held.phase = Phase::Running;
                self.acts.push_back(Act::Start(at));
                self.log("the run begins".to_owned());
            }
            // Said twice, or it broke since and that is told already.
            Some(held) if matches!(held.phase, Phase::Running | Phase::Over) => {}
            Some(_) => {
                let why = "it was told to start before it was ready".to_owned();
                self.drop_run(&why);
                self.say(link, ToLeader::Refused { run, why });
            }
            None => self.say(link, ToLeader::Unknown { run }),
        }
    }

    fn stop(&mut self, link: LinkId, from: &str, now: Nanos) {
        let holder = self.holder(now);
        match self.run.as_ref().map(|held| held.phase) {
            Some(Phase::Running) => {
                self.log(format!("{from} stops the run"));
                self.acts.push_back(Act::Stop);
            }
            Some(Phase::Measuring | Phase::Preparing | Phase::Ready) => {
                let held = self.run.as_ref().expect("there is a run");
                let (run, leader) = (held.id, held.link);
                self.say_if(leader, ToLeader::Refused { run, why: format!("{from} stopped it") });
                self.drop_run("it was stopped");
            }
            Some(Phase::Over) | None => {}
        }
        self.say(link, ToLeader::Stopped(holder));
    }

    fn take_over(&mut self, link: LinkId, now: Nanos, run: RunId, number: u32, part: Part, from: Nanos) {
        let Some(held) = self.held_by(link, run, now) else { return };
        if let Some(refused) = held.took_over.get(number as usize).cloned() {
            // Said before, and the answer got lost with a link.
            return self.say(link, ToLeader::TookOver { run, number, refused });
        }
        if number as usize != held.took_over.len() + held.taking_over {
            // Said twice before it was done.
            return;
        }
        let refused = match (held.phase, part.lanes()) {
            (Phase::Running, Some(_)) => {
                held.taking_over += 1;
                self.acts.push_back(Act::TakeOver(part, from));
                return self.log(format!("takes over a part of the run from {from} on"));
            }
            (Phase::Running, None) => "it is no part of a run".to_owned(),
            _ => "its run is over".to_owned(),
        };
        self.log(format!("takes over nothing: {refused}"));
        self.say(link, ToLeader::TookOver { run, number, refused: Some(refused) });
    }

    fn resume(&mut self, link: LinkId, now: Nanos, run: RunId, next: u32) {
        let Some(held) = self.run.as_mut().filter(|held| held.id == run) else {
            return self.say(link, ToLeader::Unknown { run });
        };
        (held.link, held.heard) = (Some(link), now);
        while held.first < next && held.kept.pop_front().is_some() {
            held.first += 1;
        }
        let missing: Vec<_> = (held.first..).zip(held.kept.iter().cloned()).collect();
        self.log("the leader is back".to_owned());
        for (number, delta) in missing {
            self.say(link, ToLeader::Delta { run, number, delta: Box::new(delta) });
        }
        self.say_end();
    }

    fn say_end(&mut self) {
        let Some(Held { id, link, first: next, kept, ended: Some(ended), .. }) = &self.run else { return };
        let Ended { first, lapsed, report } = ended.clone();
        let deltas = next + kept.len() as u32;
        let message = ToLeader::Ended { run: *id, deltas, first, lapsed, report };
        self.say_if(*link, message);
    }

    fn drop_run(&mut self, why: &str) {
        let Some(held) = self.run.take() else { return };
        if held.phase != Phase::Over {
            self.acts.push_back(Act::Abandon);
        }
        self.log(format!("let go of the run: {why}"));
    }

    fn holder(&self, now: Nanos) -> Option<Holder> {
        let held = self.run.as_ref().filter(|held| held.phase != Phase::Over || held.is_led(now))?;
        Some(Holder { leader: held.leader.clone(), held: now.saturating_sub(held.since) })
    }

    fn held_by(&mut self, link: LinkId, run: RunId, now: Nanos) -> Option<&mut Held> {
        let held = self.run.as_mut().filter(|held| held.id == run && held.link == Some(link))?;
        held.heard = now;
        Some(held)
    }

    /// A datagram of this leader's came.
    pub fn handle_ping(&mut self, link: LinkId, now: Nanos) {
        if let Some(held) = self.run.as_mut().filter(|held| held.link == Some(link)) {
            held.heard = now;
        }
    }

    fn say(&mut self, link: LinkId, message: ToLeader) {
        self.acts.push_back(Act::Say(link, Box::new(message)));
    }

    fn say_if(&mut self, link: Option<LinkId>, message: ToLeader) {
        if let Some(link) = link {
            self.say(link, message);
        }
    }

    fn log(&mut self, line: String) {
        self.acts.push_back(Act::Log(line));
    }
}

/// What a log may know of a run's arguments: where it goes and how much. Headers and bodies have keys in them; and an event is one line.
fn told(args: &[String]) -> String {
    const TOLD: [&str; 6] = ["--target=", "--rps=", "--eps=", "--duration=", "--stages=", "--connections="];
    let told = args.iter().filter(|arg| TOLD.iter().any(|flag| arg.starts_with(flag)));
    told.map(|arg| arg.replace(char::is_control, " ")).collect::<Vec<_>>().join(" ")
}

impl Held {
    /// Whether its leader is there.
    fn is_led(&self, now: Nanos) -> bool {
        self.link.is_some() && now < self.heard + SILENT_AFTER
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self::new()
    }
}
