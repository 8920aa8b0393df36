//! What is drawn from a fuzzer's bytes; zeros when they are used up.

use std::sync::LazyLock;

use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;

use crate::delta::Delta;
use crate::message::{
    Datagram, First, Holder, Ready, RunId, Status, Task, ToAgent, ToLeader, VERSION, decode, encode,
};
use crate::shares::Part;

/// Bytes that are left.
pub(super) struct Source<'a>(pub(super) &'a [u8]);

/// The run that is led, where one is.
pub(super) const RUN: RunId = RunId(7);

impl Source<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(super) fn below(&mut self, limit: u8) -> u8 {
        self.byte() % limit
    }

    /// Small ones mostly, and those at the ends.
    pub(super) fn number(&mut self) -> u64 {
        match self.byte() {
            0xff => u64::MAX - u64::from(self.byte()),
            0xfe => (1 << 63) + u64::from(self.byte()),
            0xfd => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            small => u64::from(small % 8),
        }
    }

    fn run(&mut self) -> RunId {
        if self.below(8) == 0 { RunId(8) } else { RUN }
    }

    pub(super) fn text(&mut self) -> String {
        "x".repeat(usize::from(self.below(3)))
    }

    /// A moment of another's clock, or anything.
    fn moment(&mut self) -> Nanos {
        if self.below(2) == 0 { Nanos(self.number()) } else { Nanos::from_secs(self.byte().into()) }
    }

    /// One that another may say: not only what a split makes.
    fn part(&mut self) -> Part {
        let cuts: Vec<(u64, u64, u64)> =
            (0..self.below(4)).map(|_| (self.number(), self.number(), self.number())).collect();
        decode(&encode(&cuts)).expect("a part is its cuts")
    }

    pub(super) fn word_to_agent(&mut self) -> ToAgent {
        let run = self.run();
        match self.below(15) {
            14 => ToAgent::Examine { task: Box::new(self.task(run)), new_connections: self.number() },
            0 => ToAgent::Status,
            1 => ToAgent::Measure(Box::new(self.task(run))),
            2 | 3 => ToAgent::Prepare(Box::new(self.task(run))),
            4 | 5 => ToAgent::Start { run, at: self.moment() },
            6 | 7 => ToAgent::Permit { run, until: self.moment() },
            8 => ToAgent::TakeOver {
                run,
                number: self.number() as u32,
                part: self.part(),
                from: self.moment(),
            },
            9 => ToAgent::Finish { run, now: self.below(2) == 0 },
            10 => ToAgent::Resume { run, next: self.number() as u32 },
            11 => ToAgent::Heard { run, next: self.number() as u32 },
            12 => ToAgent::Release { run },
            _ => decode(&self.raw()).unwrap_or(ToAgent::Stop),
        }
    }

    pub(super) fn word_to_leader(&mut self) -> ToLeader {
        let run = self.run();
        match self.below(15) {
            14 => ToLeader::Examined { run, diagnosis: Vec::new() },
            0 | 1 => ToLeader::Status(Box::new(self.status())),
            2 => ToLeader::Busy(self.holder()),
            3 => ToLeader::Refused { run, why: self.text() },
            4 => ToLeader::Measured { run, rate: self.number() },
            5 | 6 => {
                ToLeader::Ready { run, preparation: self.below(3).into(), facts: Box::new(self.ready()) }
            }
            7 => ToLeader::TookOver {
                run,
                number: self.number() as u32,
                refused: (self.below(2) == 0).then(|| self.text()),
            },
            8 | 9 => ToLeader::Delta { run, number: self.number() as u32, delta: Box::new(self.delta()) },
            10 => self.ended(run),
            11 => ToLeader::Unknown { run },
            _ => decode(&self.raw()).unwrap_or(ToLeader::Stopped(None)),
        }
    }

    pub(super) fn ended(&mut self, run: RunId) -> ToLeader {
        let first = First { due: None, sent: Some(self.moment()) };
        let lapsed = self.below(2) == 0;
        ToLeader::Ended { run, deltas: self.number() as u32, first, lapsed, report: Err(self.text()) }
    }

    pub(super) fn delta(&mut self) -> Delta {
        static EMPTY: LazyLock<Delta> = LazyLock::new(|| Delta::of(0, &Recorder::new(0)));
        let interval = (self.below(3) > 0).then(|| self.number() as u32);
        let mut delta = EMPTY.clone();
        (delta.shard, delta.interval) = (self.byte().into(), interval);
        delta
    }

    /// An answer to a ping of then; or lies.
    pub(super) fn pong(&mut self, then: Nanos) -> Datagram {
        let t1 = if self.below(4) == 0 { Nanos(self.number()) } else { then };
        let t2 = if self.below(4) == 0 { Nanos(self.number()) } else { then + self.moment_of_ours() };
        let t3 = if self.below(4) == 0 { Nanos(self.number()) } else { t2 };
        Datagram::Pong { t1, t2, t3, cpu: Nanos(self.number()) }
    }

    fn moment_of_ours(&mut self) -> Nanos {
        Nanos::from_secs(self.byte().into())
    }

    pub(super) fn task(&mut self, run: RunId) -> Task {
        Task {
            run,
            preparation: 0,
            args: vec![self.text()],
            files: Vec::new(),
            seed: 1,
            index: 0,
            weights: vec![1, 1],
        }
    }

    pub(super) fn ready(&mut self) -> Ready {
        let shards = self.number() as u32;
        Ready { facts: Vec::new(), classes: vec![self.text()], shards, remarks: Vec::new() }
    }

    fn status(&mut self) -> Status {
        let max_rps = [None, Some(0.0), Some(-1.0), Some(5.0), Some(f64::NAN), Some(f64::INFINITY)];
        let holder = (self.below(16) == 0).then(|| self.holder());
        Status { max_rps: max_rps[usize::from(self.below(6))], holder, ..Status::default() }
    }

    fn holder(&mut self) -> Holder {
        Holder { leader: self.text(), held: self.moment() }
    }

    /// Some bytes behind a right version.
    fn raw(&mut self) -> Vec<u8> {
        let length = self.0.len().min(usize::from(self.below(40)));
        [VERSION].into_iter().chain((0..length).map(|_| self.byte())).collect()
    }
}
