//! A leader that is told anything by all of its nodes.

use blaster_core::time::Nanos;

use super::source::{RUN, Source};
use crate::leader::{Act, Config, Leader, OnLoss, State};
use crate::message::{Datagram, Task, ToLeader};
use crate::shares::Wish;

const NODES: u8 = 3;

/// An hour: no moment is before it.
const EPOCH: Nanos = Nanos::from_secs(3_600);

/// However long it takes to gather, measure, prepare, run and fetch: no run of these takes longer.
const END_MAX: Nanos = Nanos::from_secs(300);

/// Each byte, and some of those behind it, is something that happens; then nothing does but time.
pub fn fuzz_leader(data: &[u8]) {
    let mut source = Source(data);
    let mut now = EPOCH;
    let config = config(&mut source);
    let mut leader = Leader::new(config, now);
    let mut merged = [0_u32; NODES as usize];
    while !source.is_empty() && !leader.is_over() {
        now += Nanos::from_millis(u64::from(source.below(32)) * 8);
        happen(&mut leader, now, &mut source);
        act(&mut leader, now, &mut source, &mut merged);
    }
    let end_by = now + END_MAX;
    while let Some(at) = leader.timeout() {
        now = now.max(at);
        assert!(now < end_by, "it does not end: {leader:?}");
        leader.handle_timeout(now);
        act(&mut leader, now, &mut source, &mut merged);
        assert!(leader.timeout().is_none_or(|next| next > now), "it turns on the spot: {leader:?}");
    }
    assert!(leader.is_over());
    assert!(leader.start().is_some() || leader.failure().is_some(), "a run that did not start has failed");
}

fn config(source: &mut Source) -> Config {
    let on_loss = [OnLoss::Fail, OnLoss::Degrade, OnLoss::Rebalance];
    let task = source.task(RUN);
    let wish = |source: &mut Source| Wish {
        weight: 1 + u32::from(source.below(5)),
        rate_max: (source.below(4) == 0).then_some(50.0),
    };
    Config {
        nodes: (0..NODES).map(|node| (format!("n{node}"), wish(source))).collect(),
        task: Task { weights: Vec::new(), ..task },
        rate_max: (source.below(4) > 0).then_some(100.0),
        length: Nanos::from_secs(source.below(8).into()),
        warmup: Nanos::ZERO,
        version: String::new(),
        timeout: Nanos::from_secs(1),
        nodes_min: source.below(NODES + 1).into(),
        opening: Nanos::ZERO,
        calibrate: source.below(3) == 0,
        on_loss: on_loss[usize::from(source.below(3))],
    }
}

fn happen(leader: &mut Leader, now: Nanos, source: &mut Source) {
    let index = usize::from(source.below(NODES));
    match source.below(24) {
        0..3 => leader.handle_connected(index, now),
        3 => leader.handle_closed(index, now, "gone"),
        4 => leader.handle_datagram(index, now, Datagram::Ping { t1: now }),
        5..8 => leader.handle_datagram(index, now, source.pong(now)),
        8 if source.below(16) == 0 => leader.stop(now),
        9 if *leader.nodes()[index].state() == State::Running => leader.refuse(index, now, "it cannot be"),
        10..14 => {
            if leader.timeout().is_some_and(|at| at <= now) {
                leader.handle_timeout(now);
            }
        }
        14 => {
            // As far as runs get when nobody lies.
            leader.handle_message(index, now, ToLeader::Status(Box::default()));
            let facts = Box::new(source.ready());
            leader.handle_message(index, now, ToLeader::Ready { run: RUN, preparation: 0, facts });
        }
        _ => leader.handle_message(index, now, source.word_to_leader()),
    }
}

fn act(leader: &mut Leader, now: Nanos, source: &mut Source, merged: &mut [u32]) {
    while let Some(act) = leader.poll() {
        match act {
            // Answers come while there is something to draw them from.
            Act::Ping(index) if !source.is_empty() => {
                let pong = source.pong(now);
                leader.handle_datagram(index, now, pong);
            }
            Act::Connect(index) if !source.is_empty() && source.below(4) > 0 => {
                leader.handle_connected(index, now);
            }
            Act::Connect(index) => leader.handle_closed(index, now, "no answer"),
            Act::Merge(index, _) => {
                merged[index] += 1;
                assert!(leader.start().is_some(), "nothing is seen before the start");
            }
            Act::Starting(start) => assert!(start > now && leader.start() == Some(start)),
            Act::Ping(_) | Act::Say(..) | Act::Log(_) => {}
        }
    }
}
