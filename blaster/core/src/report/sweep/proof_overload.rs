//! Four hundred targets by seed, half of which get stuck by an overload, and what is said of them.
//!
//! Each is a queue of one server behind so many connections, request by request. One that gets stuck serves who waited too long several
//! times over, for they have asked again meanwhile. The others have what is easily taken for it: rare slow answers, pauses, a queue that
//! takes long to work off, a limit that was found too high.

use std::collections::VecDeque;

use super::overload::{Course, Overload, Second};
use super::search::Said;
use crate::plan::rate::Stages;
use crate::sim::Random;

#[derive(Clone, Copy, Debug)]
struct Target {
    /// Requests per second that it can serve.
    capacity: f64,
    /// Service times are exponential, or all the same.
    is_exponential: bool,
    connections: usize,
    /// Who waited longer is served so many times more.
    impatience: Option<(f64, f64)>,
    /// Who would wait longer is refused.
    refuses_s: Option<f64>,
    /// A share of answers comes so much later, whatever the load.
    tail: (f64, f64),
    /// Every so often it stops for so long.
    pause: Option<(f64, f64)>,
}

/// What must hold: this share of answers within a time, and no more than 1 % refused.
#[derive(Clone, Copy, Debug)]
struct Objective {
    share: f64,
    within_s: f64,
}

/// What ended in a second, or in some of them.
#[derive(Clone, Default)]
struct Ended {
    times_s: Vec<f64>,
    refused: usize,
}

impl Ended {
    fn is_good(&mut self, objective: Objective) -> bool {
        let count = self.times_s.len();
        if count == 0 || self.refused as f64 >= 0.01 * count as f64 {
            return false;
        }
        let rank = (objective.share * count as f64).ceil() as usize - 1;
        *self.times_s.select_nth_unstable_by(rank, f64::total_cmp).1 < objective.within_s
    }
}

/// A target at work.
struct Queue {
    target: Target,
    random: Random,
    free_s: f64,
    /// When the last requests, one for each connection, were answered.
    answered_s: VecDeque<f64>,
    arrived: u64,
    left: u64,
}

fn uniform(random: &mut Random) -> f64 {
    (random.word() >> 11) as f64 / (1_u64 << 53) as f64
}

fn exponential(random: &mut Random) -> f64 {
    -(1.0 - uniform(random)).ln()
}

impl Queue {
    fn new(target: Target, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { target, random, free_s: 0.0, answered_s: VecDeque::new(), arrived: 0, left: 0 }
    }

    /// A request that is due then: when it is answered, and whether it was refused.
    fn serve(&mut self, due_s: f64) -> (f64, bool) {
        let Target { capacity, is_exponential, connections, impatience, refuses_s, tail, pause } =
            self.target;
        let has_room_s =
            if self.answered_s.len() < connections { due_s } else { self.answered_s.pop_front().unwrap() };
        let sent_s = due_s.max(has_room_s);
        let wait_s = (self.free_s - sent_s).max(0.0);
        let is_refused = refuses_s.is_some_and(|most_s| wait_s > most_s);
        let mut answered_s = sent_s;
        if !is_refused {
            let times = impatience.map_or(
                1.0,
                |(patience_s, count)| {
                    if wait_s > patience_s { 1.0 + count } else { 1.0 }
                },
            );
            let spread = if is_exponential { exponential(&mut self.random) } else { 1.0 };
            let mut begins_s = self.free_s.max(sent_s);
            if let Some((every_s, length_s)) = pause
                && begins_s % every_s < length_s
            {
                begins_s += length_s - begins_s % every_s;
            }
            self.free_s = begins_s + times * spread / capacity;
            answered_s = self.free_s;
            if uniform(&mut self.random) < tail.0 {
                answered_s += tail.1;
            }
        }
        self.answered_s.push_back(answered_s);
        (answered_s, is_refused)
    }

    /// One second after another at the rates of `stages`, for as long as they are wanted.
    fn run(&mut self, Stages(stages): &Stages, mut see: impl FnMut(usize, &mut Ended, u64) -> bool) {
        let rates: Vec<f64> = stages
            .iter()
            .flat_map(|stage| std::iter::repeat_n(stage.to, stage.length.as_secs_f64() as usize))
            .collect();
        let mut seconds = vec![Ended::default(); rates.len()];
        for (second, rate) in rates.iter().enumerate() {
            let mut due_s = second as f64 + exponential(&mut self.random) / rate;
            while due_s < second as f64 + 1.0 {
                self.arrived += 1;
                let (answered_s, is_refused) = self.serve(due_s);
                if let Some(ended) = seconds.get_mut(answered_s as usize) {
                    ended.times_s.push(answered_s - due_s);
                    ended.refused += usize::from(is_refused);
                }
                due_s += exponential(&mut self.random) / rate;
            }
            let mut ended = std::mem::take(&mut seconds[second]);
            self.left += ended.times_s.len() as u64;
            if !see(second, &mut ended, self.arrived - self.left) {
                return;
            }
        }
    }
}

/// What is said of it after an overload, as a sweep goes about it.
fn is_stuck(target: Target, objective: Objective, overload: Overload, seed: u64) -> Option<bool> {
    let mut course = Course::default();
    Queue::new(target, seed).run(&overload.stages(), |second, ended, waiting| {
        course.learn(Second { t_s: second as f64, is_good: ended.is_good(objective), waiting });
        !course.is_back()
    });
    let relieved = course.seems_stuck(&overload).then(|| {
        let stages = format!("6s:={}", overload.after_rps()).parse().expect("it can be");
        let mut all = Ended::default();
        Queue::new(target, !seed).run(&stages, |second, ended, _| {
            if second > 0 {
                all.times_s.append(&mut ended.times_s);
                all.refused += ended.refused;
            }
            true
        });
        if all.is_good(objective) { Said::Good } else { Said::Bad }
    });
    course.recovery(&overload, relieved).metastable
}

fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    (low.ln() + (high / low).ln() * uniform(random)).exp()
}

/// A target, what is asked of it, and a limit that was found.
fn case(seed: u64, gets_stuck: bool) -> (Target, Objective, f64) {
    let random = &mut Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(gets_stuck));
    let capacity = between(random, 100.0, 500.0);
    let share = random.pick(&[0.5, 0.9, 0.99, 0.999]);
    // Long for a queue that is not full.
    let objective = Objective { share, within_s: between(random, 20.0, 60.0) / capacity };
    let patience_s = between(random, 1.5, 8.0) * objective.within_s;
    // Enough that more can wait than anybody has patience for.
    let waits = between(random, 2.5, 10.0);
    let connections = (waits * patience_s * capacity) as usize + 1;
    let refuses = random.chance(500);
    let mut target = Target {
        capacity,
        is_exponential: random.chance(500),
        connections,
        impatience: None,
        refuses_s: refuses.then_some(2.0 * patience_s),
        tail: (0.0, 0.0),
        pause: None,
    };
    // Answers of a queue of one server that are later than a time: exp(-(capacity - rate) * time), and about the square of it where
    // service times are all the same.
    let exponent = if target.is_exponential { 1.0 } else { 2.0 };
    let mut limit = capacity + (1.0 - share).ln() / (exponent * objective.within_s);
    if gets_stuck {
        // What it serves once it is stuck is less than 70 % of the limit.
        target.impatience = Some((patience_s, f64::from(random.between(2, 8) as u32)));
        return (target, objective, limit);
    }
    match seed % 4 {
        // Found too high, by two fifths at most: 70 % of it is then all that can be held.
        0 => limit *= 1.0 + 0.4 * uniform(random),
        // As many slow answers as may be, but for a tenth.
        1 => target.tail = ((1.0 - share) * (0.5 + 0.4 * uniform(random)), 2.0 * objective.within_s),
        2 => {
            let every_s = between(random, 1.5, 6.0);
            target.pause = Some((every_s, between(random, 0.5, 2.0) * objective.within_s));
        }
        _ => {}
    }
    (target, objective, limit)
}

/// What is said of two hundred targets: stuck if it is after either overload, unknown if that is not known of both.
fn two_hundred(gets_stuck: bool, from: u64) -> Vec<(u64, Option<bool>)> {
    let half = |seeds: std::ops::Range<u64>| {
        move || -> Vec<_> {
            let said = |seed| {
                let (target, objective, limit_rps) = case(seed, gets_stuck);
                let [half_more, twice] = [1.5, 2.0]
                    .map(|factor| is_stuck(target, objective, Overload { limit_rps, factor }, seed));
                if half_more == Some(true) {
                    half_more
                } else {
                    twice.and_then(|twice| half_more.map(|_| twice))
                }
            };
            seeds.map(|seed| (seed, said(seed))).collect()
        }
    };
    let other = std::thread::spawn(half(from + 100..from + 200));
    let mut all = half(from..from + 100)();
    all.extend(other.join().expect("it ends"));
    all
}

#[test]
fn a_target_that_gets_stuck_is_caught_every_time() {
    let mut all = two_hundred(true, 100_000);
    all.retain(|(_, said)| *said != Some(true));
    assert!(all.is_empty(), "missed {all:?}");
}

#[test]
fn a_healthy_target_is_never_called_stuck() {
    let all = two_hundred(false, 100_000);
    let wronged: Vec<_> = all.iter().filter(|(_, said)| *said == Some(true)).collect();
    assert!(wronged.is_empty(), "{wronged:?}");
    // What says nothing of all proves nothing.
    let well = all.iter().filter(|(_, said)| *said == Some(false)).count();
    assert!(well >= 180, "{well} of 200 are known to be well");
}

#[test]
#[ignore = "a minute: seeds that nobody looked at while constants were chosen"]
fn of_thousands_of_others_too() {
    let mut counts = [[0; 3]; 2];
    for (row, gets_stuck) in [true, false].into_iter().enumerate() {
        for from in (1_000_000..1_004_000).step_by(200) {
            for (seed, said) in two_hundred(gets_stuck, from) {
                let column = said.map_or(2, |said| usize::from(!said));
                counts[row][column] += 1;
                if column != row {
                    println!("{seed} {gets_stuck}: {said:?}");
                }
            }
        }
    }
    println!("stuck, well, not known: {counts:?}");
    // Chance frees one in two thousand of those whose queue is short: they do come back.
    assert!(counts[0][0] >= 3_995 && counts[0][2] == 0 && counts[1][0] == 0);
}
