//! An agent that is told anything, on a machine that does as it is asked.

use blaster_core::time::Nanos;

use super::source::{RUN, Source};
use crate::agent::{ABANDON_AFTER, Act, Agent, Ended, LinkId};
use crate::message::{First, Holder, Ready, RunId, Status, Task, ToAgent, ToLeader};
use crate::shares::Part;

/// An hour: no moment is before it.
const EPOCH: Nanos = Nanos::from_secs(3_600);

/// Each byte, and some of those behind it, is something that happens; then a leader comes that does everything right.
pub fn fuzz_agent(data: &[u8]) {
    let mut source = Source(data);
    let mut machine = Machine { agent: Agent::new(), now: EPOCH, job: Job::None, permitted: false, asked: 0 };
    while !source.is_empty() {
        machine.happen(&mut source);
        let _ = machine.act();
    }
    machine.serve_a_good_leader();
}

/// What the blaster beside the agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    None,
    Measuring,
    Preparing,
    Ready,
    Running,
}

struct Machine {
    agent: Agent,
    now: Nanos,
    job: Job,
    permitted: bool,
    /// Parts to take over, not answered yet.
    asked: u32,
}

impl Machine {
    fn happen(&mut self, source: &mut Source) {
        match source.below(12) {
            0..5 => {
                let message = source.word_to_agent();
                self.hear(source.below(3).into(), message);
            }
            5 => self.agent.handle_closed(source.below(3).into(), "gone"),
            6 => self.agent.handle_ping(source.below(3).into(), self.now),
            7 => self.wait(Nanos::from_millis(u64::from(source.byte()) * 40)),
            8 => self.agent.handle_malformed(),
            9 if self.asked > 0 => {
                self.asked -= 1;
                self.agent.handle_took_over((source.below(2) == 0).then(|| source.text()));
            }
            _ => self.work(source),
        }
    }

    /// What the blaster comes to.
    fn work(&mut self, source: &mut Source) {
        match (self.job, source.below(4)) {
            (Job::None, _) => {}
            (Job::Measuring | Job::Preparing, 0) => {
                self.job = Job::None;
                self.agent.handle_failed(source.text());
            }
            (Job::Measuring, _) => {
                self.job = Job::None;
                match source.below(2) {
                    0 => self.agent.handle_measured(source.number()),
                    _ => self.agent.handle_examined(Vec::new()),
                }
            }
            (Job::Preparing, _) => {
                self.job = Job::Ready;
                self.agent.handle_ready(source.ready());
            }
            (Job::Ready, _) => {}
            (Job::Running, 0) => self.end(),
            (Job::Running, _) => self.agent.handle_delta(source.delta()),
        }
    }

    fn end(&mut self) {
        (self.job, self.asked) = (Job::None, 0);
        self.agent.handle_ended(Ended { first: First::default(), lapsed: false, report: Ok(Vec::new()) });
    }

    fn wait(&mut self, span: Nanos) {
        self.now += span;
        self.agent.handle_timeout(self.now);
    }

    fn hear(&mut self, link: LinkId, message: ToAgent) {
        self.agent.handle_message(link, "a leader", self.now, message, &Status::default());
    }

    /// Does what is asked, if that makes sense now; says what was said.
    fn act(&mut self) -> Vec<(LinkId, ToLeader)> {
        let mut said = Vec::new();
        while let Some(act) = self.agent.poll() {
            match act {
                Act::Say(link, message) => said.push((link, *message)),
                Act::Prepare(_) => self.begin(Job::Preparing),
                Act::Measure(_) | Act::Examine(..) => self.begin(Job::Measuring),
                Act::Permit(_) => {
                    assert!(matches!(self.job, Job::Ready | Job::Running), "permitted in {:?}", self.job);
                    self.permitted = true;
                }
                Act::Start(_) => {
                    assert!(self.job == Job::Ready && self.permitted, "started in {:?}", self.job);
                    self.job = Job::Running;
                }
                Act::TakeOver(..) => {
                    assert_eq!(self.job, Job::Running);
                    self.asked += 1;
                }
                Act::Stop => assert_eq!(self.job, Job::Running),
                Act::Abandon => {
                    assert_ne!(self.job, Job::None);
                    (self.job, self.asked) = (Job::None, 0);
                }
                Act::Log(_) => {}
            }
        }
        said
    }

    fn begin(&mut self, job: Job) {
        assert_eq!(self.job, Job::None, "one thing at a time");
        (self.job, self.permitted) = (job, false);
    }

    fn serve_a_good_leader(&mut self) {
        const LINK: LinkId = 100;
        const ITS_RUN: RunId = RunId(RUN.0 + 100);
        // Whoever led before is silent; what still runs is stopped.
        self.wait(ABANDON_AFTER);
        self.hear(LINK, ToAgent::Stop);
        assert!(matches!(self.act()[..], [.., (LINK, ToLeader::Stopped(_))]));
        if self.job == Job::Running {
            self.end();
        }
        let _ = self.act();
        let task = Task { run: ITS_RUN, ..Source(&[]).task(RUN) };
        self.hear(LINK, ToAgent::Prepare(Box::new(task)));
        let _ = self.act();
        assert_eq!(self.job, Job::Preparing);
        self.job = Job::Ready;
        self.agent.handle_ready(Ready {
            facts: Vec::new(),
            classes: Vec::new(),
            shards: 1,
            remarks: Vec::new(),
        });
        assert!(matches!(self.act()[..], [(LINK, ToLeader::Ready { run: ITS_RUN, .. })]));
        let until = self.now + Nanos::from_secs(4);
        self.hear(LINK, ToAgent::Permit { run: ITS_RUN, until });
        self.hear(LINK, ToAgent::Start { run: ITS_RUN, at: self.now });
        assert_eq!(self.act(), []);
        assert_eq!(self.job, Job::Running);
        // The second comes before the first is done.
        for number in 0..2 {
            let (part, from) = (Part::default(), Nanos::ZERO);
            self.hear(LINK, ToAgent::TakeOver { run: ITS_RUN, number, part, from });
            let _ = self.act();
        }
        for number in 0..2 {
            self.agent.handle_took_over(None);
            let took_over = ToLeader::TookOver { run: ITS_RUN, number, refused: None };
            assert_eq!(self.act(), [(LINK, took_over)]);
        }
        self.agent.handle_delta(Source(&[]).delta());
        assert!(matches!(self.act()[..], [(LINK, ToLeader::Delta { run: ITS_RUN, number: 0, .. })]));
        self.end();
        assert!(matches!(self.act()[..], [(LINK, ToLeader::Ended { run: ITS_RUN, deltas: 1, .. })]));
        self.hear(LINK, ToAgent::Release { run: ITS_RUN });
        self.hear(LINK, ToAgent::Status);
        let [(LINK, ToLeader::Status(status))] = &self.act()[..] else { panic!("it says who it is") };
        assert_eq!(status.holder, None::<Holder>);
    }
}
