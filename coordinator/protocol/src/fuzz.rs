//! Bodies of fuzz targets, as plain functions so that seeded tests run them too.
//!
//! The claims: bytes are a message that says the same when it is written again, or an error; and whatever is said, in whatever order and by
//! whomever, an agent and a leader go on, and an agent that was given up serves the next.

use blaster_core::load::recorder::Recorder;
use blaster_core::time::Nanos;

use crate::agent::{Act, Agent, Ended};
use crate::delta::Delta;
use crate::leader::{Config, Leader, OnLoss};
use crate::message::{Datagram, First, Ready, RunId, Status, Task, ToAgent, ToLeader, decode, encode};
use crate::shares::{Part, Wish};

/// Any bytes as each kind of message; a delta among them is merged if it can be.
pub fn fuzz_codec(data: &[u8]) {
    if let Ok(message) = decode::<ToAgent>(data) {
        assert_eq!(decode(&encode(&message)), Ok(message));
    }
    if let Ok(datagram) = decode::<Datagram>(data) {
        assert_eq!(decode(&encode(&datagram)), Ok(datagram));
    }
    let Ok(message) = decode::<ToLeader>(data) else { return };
    // Numbers that are none equal nothing, not even themselves.
    assert_eq!(encode(&decode::<ToLeader>(&encode(&message)).expect("it was written")), encode(&message));
    if let ToLeader::Delta { delta, .. } = message
        && delta.check(1).is_ok()
    {
        delta.add_to(&mut Recorder::new(1));
    }
}

/// Two bytes a step: what is done to an agent, and by whom or when.
pub fn fuzz_agent(data: &[u8]) {
    let (mut agent, mut now) = (Agent::new(), Nanos(1));
    let run = |which: u8| RunId(u128::from(which % 3));
    for step in data.chunks_exact(2) {
        let (what, which) = (step[0], step[1]);
        let link = u64::from(which >> 6);
        now += Nanos(u64::from(which) * 40_000_000);
        let message = match what % 17 {
            0 => ToAgent::Status,
            1 => ToAgent::Prepare(Box::new(task(run(which)))),
            2 => ToAgent::Measure(Box::new(task(run(which)))),
            3 => ToAgent::Start { run: run(which), at: now },
            4 => ToAgent::Permit { run: run(which), until: now + Nanos::from_secs(4) },
            5 => ToAgent::Finish { run: run(which), now: which.is_multiple_of(2) },
            6 => ToAgent::Resume { run: run(which), next: u32::from(which) % 5 },
            7 => ToAgent::Heard { run: run(which), next: u32::from(which) },
            8 => ToAgent::Release { run: run(which) },
            9 => ToAgent::Stop,
            10 => {
                let part = Part::default().split(&[1, 2]).swap_remove(usize::from(which) % 2);
                ToAgent::TakeOver { run: run(which), number: u32::from(which) % 4, part, from: now }
            }
            other => {
                match other {
                    11 => agent.handle_closed(link, "cut"),
                    12 => agent.handle_ready(ready()),
                    13 => agent.handle_failed("no".to_owned()),
                    14 => agent.handle_delta(Delta::of(0, &Recorder::new(1))),
                    15 => agent.handle_ended(Ended { first: First::default(), report: Ok(Vec::new()) }),
                    _ => agent.handle_timeout(now),
                }
                while agent.poll().is_some() {}
                continue;
            }
        };
        agent.handle_message(link, "somebody", now, message, &Status::default());
        while agent.poll().is_some() {}
    }
    serves_again(&mut agent, now);
}

/// Whatever was before: stopped, and its shell done with what was to do, an agent takes a run.
fn serves_again(agent: &mut Agent, now: Nanos) {
    agent.handle_message(90, "the last", now, ToAgent::Stop, &Status::default());
    agent.handle_ended(Ended { first: First::default(), report: Ok(Vec::new()) });
    (0..4).for_each(|link| agent.handle_closed(link, "gone"));
    while agent.poll().is_some() {}
    let prepare = ToAgent::Prepare(Box::new(task(RunId(99))));
    agent.handle_message(91, "the next", now + Nanos::from_secs(60), prepare, &Status::default());
    let acts: Vec<Act> = std::iter::from_fn(|| agent.poll()).collect();
    assert!(acts.iter().any(|act| matches!(act, Act::Prepare(_))), "{acts:?}");
}

/// Two bytes a step: what a leader of three nodes hears, and from whom or when.
pub fn fuzz_leader(data: &[u8]) {
    let mut now = Nanos(1);
    let on_loss = match data.first() {
        Some(0..85) => OnLoss::Fail,
        Some(85..170) => OnLoss::Degrade,
        _ => OnLoss::Rebalance,
    };
    let mut leader = Leader::new(config(on_loss), now);
    let delta = Delta::of(0, &Recorder::new(1));
    for step in data.chunks_exact(2) {
        let (what, which) = (step[0], step[1]);
        let node = usize::from(which % 3);
        let run = RunId(u128::from(!what.is_multiple_of(16)));
        let message = match what % 14 {
            0 => ToLeader::Status(Box::default()),
            1 => ToLeader::Ready { run, facts: Box::new(ready()) },
            2 => ToLeader::Refused { run, why: "no".to_owned() },
            3 => ToLeader::Measured { run, rate: u64::from(which) << (which % 56) },
            4 => ToLeader::Delta { run, number: u32::from(which >> 2) % 4, delta: Box::new(delta.clone()) },
            5 => {
                let deltas = u32::from(which >> 2) % 4;
                ToLeader::Ended { run, deltas, first: First::default(), report: Ok(Vec::new()) }
            }
            6 => ToLeader::Unknown { run },
            7 => ToLeader::TookOver {
                run,
                number: u32::from(which >> 4),
                refused: which.is_multiple_of(5).then(String::new),
            },
            other => {
                match other {
                    8 => leader.handle_connected(node, now),
                    9 => leader.handle_closed(node, now, "cut"),
                    10 => {
                        let t2 = Nanos(u64::from(which) << (which % 60));
                        leader.handle_datagram(
                            node,
                            now,
                            Datagram::Pong { t1: Nanos(now.0 / 2), t2, t3: t2 },
                        );
                    }
                    11 if which == 255 => leader.stop(),
                    _ => {
                        now += Nanos(u64::from(which) * 20_000_000);
                        leader.handle_timeout(now);
                    }
                }
                while leader.poll().is_some() {}
                continue;
            }
        };
        leader.handle_message(node, now, message);
        while leader.poll().is_some() {}
    }
    // Whatever it heard, a leader ends: once nothing more comes, after the run's own length and its waits.
    for _ in 0..400 {
        now += Nanos::from_secs(1);
        leader.handle_timeout(now);
        while leader.poll().is_some() {}
    }
    assert!(leader.is_over(), "{leader:?}");
}

fn task(run: RunId) -> Task {
    Task { run, args: Vec::new(), files: Vec::new(), seed: 1, index: 0, weights: vec![1, 1] }
}

fn ready() -> Ready {
    Ready { facts: Vec::new(), classes: vec!["x".to_owned()], shards: 1, remarks: Vec::new() }
}

fn config(on_loss: OnLoss) -> Config {
    let wish = |weight, rate_max| Wish { weight, rate_max };
    let wishes = [wish(1, None), wish(2, Some(80.0)), wish(1, None)];
    Config {
        nodes: wishes.into_iter().enumerate().map(|(node, wish)| (format!("n{node}"), wish)).collect(),
        task: task(RunId(1)),
        rate_max: Some(100.0),
        length: Nanos::from_secs(10),
        timeout: Nanos::from_secs(1),
        nodes_min: 1,
        calibrate: on_loss == OnLoss::Rebalance,
        on_loss,
    }
}
