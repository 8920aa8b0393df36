//! The protocol in a world of its own: virtual time, true to the nanosecond, in which clocks are hours apart and drift, links lose and delay,
//! and nodes die, freeze and come back. Everything is drawn from a seed, and a world that breaks a promise says which seed it was.
//!
//! A thousand nodes for an hour: `cargo test --release -p coordinator-protocol --test sim -- --ignored --nocapture`.

mod node;
mod world;

use std::ops::Range;
use std::time::Instant;

use world::{Mishaps, Sabotage, Setting, World};

/// So many seeds from the first on; more with `SIM_SEEDS=10000`.
fn seeds(count: u64) -> Range<u64> {
    0..asked("SIM_SEEDS", count)
}

fn asked(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A small world of this seed.
fn small(seed: u64) -> Setting {
    Setting {
        seed,
        nodes: 1 + (seed % 5) as usize,
        rate: 50.0 + (seed % 7) as f64 * 30.0,
        length_s: 6 + seed % 9,
        turn_ms: 20,
        mishaps: Mishaps::of(seed),
        sabotage: None,
    }
}

#[test]
fn whatever_happens_the_numbers_are_right_and_nobody_sends_beyond_its_lease() {
    let (mut lost, mut handed, mut fetched, mut failed) = (0, 0, 0, 0);
    for seed in seeds(120) {
        let story = World::run(&small(seed)).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        lost += story.lost;
        handed += story.handed;
        fetched += story.fetched;
        failed += usize::from(story.failed);
    }
    // The worlds are worth something only if such things happen in them.
    assert!(lost > 10 && fetched > 5 && handed > 5 && failed > 5, "{lost} {fetched} {handed} {failed}");
}

#[test]
fn without_mishaps_every_request_is_sent_once_and_no_node_is_lost() {
    for seed in 0..30 {
        let setting = Setting { mishaps: Mishaps::none(), ..small(seed) };
        let story = World::run(&setting).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        assert_eq!((story.lost, story.failed), (0, false), "seed {seed}");
        assert_eq!(story.sent, story.asked, "seed {seed}");
    }
}

#[test]
fn an_agent_that_does_not_heed_its_lease_is_caught() {
    let caught = (0..30).filter(|&seed| {
        let setting = Setting { sabotage: Some(Sabotage::NoLease), ..small(seed) };
        World::run(&setting).is_err_and(|broken| broken.contains("after its lease"))
    });
    assert!(caught.count() > 1);
}

#[test]
fn a_leader_that_counts_twice_is_caught() {
    let setting = Setting { mishaps: Mishaps::none(), sabotage: Some(Sabotage::MergeTwice), ..small(3) };
    assert!(World::run(&setting).unwrap_err().contains("merged"));
}

#[test]
#[ignore = "takes a minute in release"]
fn a_thousand_nodes_for_an_hour() {
    let setting = Setting {
        seed: 1,
        nodes: 1000,
        rate: 1_000_000.0,
        length_s: asked("SIM_SECONDS", 3600),
        turn_ms: 1000,
        mishaps: Mishaps { kills: 20, freezes: 20, cuts: 40, ..Mishaps::none() },
        sabotage: None,
    };
    let began = Instant::now();
    let story = World::run(&setting).unwrap_or_else(|broken| panic!("{broken}"));
    let took = began.elapsed().as_secs_f64();
    println!(
        "1000 nodes, 3600 s of run: {took:.1} s; {} events; {} lost, {} fetched, {} shares handed over; the leader took {:.2} % of a core \
         (small deltas; with large ones see `cargo bench -p benches -- leader`)",
        story.events,
        story.lost,
        story.fetched,
        story.handed,
        story.leader_s / 3600.0 * 100.0
    );
    assert!(story.lost > 10 && !story.failed);
}
