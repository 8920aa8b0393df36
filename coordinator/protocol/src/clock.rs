//! What another machine's monotonic clock shows, from exchanges of four timestamps.
//!
//! Leader sends at `t1`, the agent receives at `t2` and answers at `t3`, the answer comes at `t4`; `t1`, `t4` are the leader's clock and
//! `t2`, `t3` the agent's. With the agent's clock ahead by θ, `t2 − t1` is the way there plus θ and `t4 − t3` the way back minus θ. Neither
//! way takes less than nothing, so θ lies between `−(t4 − t3)` and `t2 − t1`, whatever the ways are: the least of each direction,
//! of whichever exchanges, bound it, and the middle is the estimate (NTP's on-wire protocol, RFC 5905 section 8, with a minimum a direction).
//! Clocks drift apart, by at most [`DRIFT_PPM_MAX`]; an older exchange says that much less.
//!
//! [`ClockFilter::fit`] knows more: with θ at a moment and a drift d each exchange bounds θ + d·(its distance in time) on either side, give
//! or take what the drift itself may have wandered since, at most [`WANDER_PPM_MAX`]. The pairs (θ, d) that no exchange contradicts make a
//! convex region, and whatever the ways were the truth is one of them: its extent in θ is the bound, its middle in d the drift. It is
//! never wider than without.

use std::collections::VecDeque;

use blaster_core::time::Nanos;

/// One exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The leader sent, by its clock.
    pub t1: Nanos,
    /// The agent received, by its clock.
    pub t2: Nanos,
    /// The agent answered, by its clock.
    pub t3: Nanos,
    /// The leader received, by its clock.
    pub t4: Nanos,
}

/// What the other clock is ahead by, give or take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// In nanoseconds; negative if it is behind.
    pub ahead_ns: i64,
    /// The truth is no further from it than this.
    pub bound: Nanos,
}

impl Offset {
    /// What the other clock shows when ours shows `now`.
    pub fn theirs(self, now: Nanos) -> Nanos {
        Nanos((now.0 as i64).saturating_add(self.ahead_ns).max(0) as u64)
    }

    /// What our clock shows when the other shows `theirs`.
    pub fn ours(self, theirs: Nanos) -> Nanos {
        Nanos((theirs.0 as i64).saturating_sub(self.ahead_ns).max(0) as u64)
    }
}

/// Two clocks drift apart by no more: crystals are within 50 ppm, time services steer by 500 at most (adjtimex), and one clock may gain what
/// the other loses.
pub const DRIFT_PPM_MAX: u64 = 1_100;

/// A drift is not constant: time services steer, crystals warm up. Over what is kept it stays within this of what it is now.
pub const WANDER_PPM_MAX: u64 = 10;

/// Thirty-six years; differences of such times fit.
const UPTIME_MAX: Nanos = Nanos(1 << 60);

/// Exchanges that are kept; of older ones the quicker of each two.
const KEPT_MAX: usize = 128;

/// Halvings of the span of drifts: to a millionth of it, which is a ten-thousandth of a ppm.
const HALVINGS: u32 = 20;

/// Keeps the exchanges with one agent.
#[derive(Clone, Debug, Default)]
pub struct ClockFilter {
    kept: VecDeque<Exchange>,
}

impl ClockFilter {
    /// Takes an exchange in, unless its times are in no possible order, or no machine can have been up for so long.
    pub fn add(&mut self, exchange: Exchange) {
        if exchange.t1 > exchange.t4 || exchange.t2 > exchange.t3 || exchange.t3 > UPTIME_MAX {
            return;
        }
        if self.kept.len() == KEPT_MAX {
            self.thin();
        }
        self.kept.push_back(exchange);
    }

    /// The other clock at the moment `now` of ours; none before the first exchange.
    pub fn offset(&self, now: Nanos) -> Option<Offset> {
        let age = |then: Nanos| now.0.abs_diff(then.0);
        let drift = |then: Nanos| (age(then) * DRIFT_PPM_MAX).div_ceil(1_000_000) as i64;
        let ahead = |theirs: Nanos, ours: Nanos| theirs.0.wrapping_sub(ours.0) as i64;
        let most = self.kept.iter().map(|x| ahead(x.t2, x.t1) + drift(x.t1)).min()?;
        let least = self.kept.iter().map(|x| ahead(x.t3, x.t4) - drift(x.t4)).max()?;
        // Clocks that drift more than is possible contradict themselves; the middle is still the best guess.
        let bound = (most - least).unsigned_abs().div_ceil(2);
        Some(Offset { ahead_ns: least + (most - least) / 2, bound: Nanos(bound) })
    }

    /// Makes room: of two neighbours in the older half the quicker stays, so that what is kept reaches far back.
    fn thin(&mut self) {
        let way = |x: &Exchange| (x.t4 - x.t1).0.saturating_sub((x.t3 - x.t2).0);
        let newer = self.kept.split_off(KEPT_MAX / 2);
        let older: Vec<Exchange> = self.kept.drain(..).collect();
        let quicker = |pair: &[Exchange]| pair.iter().copied().min_by_key(way).expect("a pair is not empty");
        self.kept = older.chunks(2).map(quicker).chain(newer).collect();
    }

    /// The other clock at the moment `now` of ours, and its drift in parts per billion: what all exchanges together leave possible. Takes
    /// some ten microseconds.
    pub fn fit(&self, now: Nanos) -> Option<(Offset, i64)> {
        let plain = self.offset(now)?;
        // Nanoseconds from the plain estimate, and seconds before `now`: small numbers, exact enough as floating-point ones.
        let beyond =
            |theirs: Nanos, ours: Nanos| (theirs.0.wrapping_sub(ours.0) as i64 - plain.ahead_ns) as f64;
        let before = |then: Nanos| (now.0 as i64 - then.0 as i64) as f64 / 1e9;
        let wander = |then: Nanos| before(then).abs() * WANDER_PPM_MAX as f64 * 1e3;
        let most: Vec<_> =
            self.kept.iter().map(|x| (beyond(x.t2, x.t1) + wander(x.t1), before(x.t1))).collect();
        let least: Vec<_> =
            self.kept.iter().map(|x| (beyond(x.t3, x.t4) - wander(x.t4), before(x.t4))).collect();
        // With that drift, in ns/s, the other clock is ahead by no more than one and no less than the other.
        let at_most = |drift: f64| most.iter().map(|(ns, s)| ns + drift * s).fold(f64::INFINITY, f64::min);
        let at_least =
            |drift: f64| least.iter().map(|(ns, s)| ns + drift * s).fold(f64::NEG_INFINITY, f64::max);
        let room = |drift: f64| at_most(drift) - at_least(drift);
        let limit = DRIFT_PPM_MAX as f64 * 1e3;
        let possible = peak(room, -limit, limit);
        if room(possible) <= 0.0 {
            // Clocks that drift more than is possible contradict themselves.
            return Some((plain, 0));
        }
        let [low, high] = [-limit, limit].map(|end| last_with_room(room, possible, end));
        let lowest = at_least(peak(|drift| -at_least(drift), low, high));
        let highest = at_most(peak(at_most, low, high));
        let bound = Nanos((((highest - lowest) / 2.0).ceil() as u64 + 1).min(plain.bound.0));
        let ahead_ns = plain.ahead_ns + ((highest + lowest) / 2.0).round() as i64;
        Some((Offset { ahead_ns, bound }, ((low + high) / 2.0).round() as i64))
    }

    /// How many exchanges it goes by.
    pub fn exchanges(&self) -> usize {
        self.kept.len()
    }

    /// Forgets all: the other side was started anew.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}

/// Where a concave function is highest.
fn peak(of: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..2 * HALVINGS {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if of(a) < of(b) { low = a } else { high = b }
    }
    (low + high) / 2.0
}

/// From a point where a concave function is positive towards `end`: just beyond the last where it is, or the end.
fn last_with_room(room: impl Fn(f64) -> f64, mut inside: f64, end: f64) -> f64 {
    if room(end) >= 0.0 {
        return end;
    }
    let mut outside = end;
    for _ in 0..HALVINGS {
        let middle = (inside + outside) / 2.0;
        if room(middle) >= 0.0 { inside = middle } else { outside = middle }
    }
    outside
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Exchanges every 10 ms over such ways, by clocks that are `ahead` apart at the beginning and drift.
    fn filter(ahead: i64, drift_ppm: i64, ways: &[(u64, u64)]) -> (ClockFilter, Nanos) {
        let theirs = |ours: u64| Nanos((ours as i64 + ahead + ours as i64 / 1_000_000 * drift_ppm) as u64);
        let mut filter = ClockFilter::default();
        let mut now = 10_000_000_000;
        for &(there, back) in ways {
            now += 10_000_000;
            let exchange = Exchange {
                t1: Nanos(now),
                t2: theirs(now + there),
                t3: theirs(now + there),
                t4: Nanos(now + there + back),
            };
            filter.add(exchange);
        }
        (filter, Nanos(now + 10_000_000))
    }

    proptest! {
        #[test]
        fn the_truth_is_within_the_bound_however_crooked_the_ways(
            ahead in prop::num::i64::ANY.prop_map(|ns| ns % 100_000_000_000_000),
            drift_ppm in -1_050_i64..=1_050,
            ways in prop::collection::vec((0_u64..50_000_000, 0_u64..50_000_000), 1..200),
        ) {
            let ahead = ahead.abs();
            let (filter, now) = filter(ahead, drift_ppm, &ways);
            let truth = ahead + now.0 as i64 / 1_000_000 * drift_ppm;
            let offset = filter.offset(now).unwrap();
            prop_assert!(offset.ahead_ns.abs_diff(truth) <= offset.bound.0 + 100, "{offset:?}, truth {truth}");
            prop_assert!(offset.ours(offset.theirs(now)) == now);
            let (fitted, _) = filter.fit(now).unwrap();
            prop_assert!(fitted.bound <= offset.bound);
            prop_assert!(fitted.ahead_ns.abs_diff(truth) <= fitted.bound.0 + 100, "{fitted:?}, truth {truth}");
        }
    }

    proptest! {
        /// The other clock is steered once a second, up and down, as a time service does it.
        #[test]
        fn a_drift_that_wanders_stays_within_the_bound(
            drift_ppb in -50_000_i64..=50_000,
            steered_ppb in prop::collection::vec(-4_900_i64..=4_900, 30),
            ways in prop::collection::vec((0_u64..2_000_000, 0_u64..2_000_000), 50..400),
            later_ms in 0_u64..2_000,
        ) {
            // Around the drift of now, whatever that is.
            let ahead = |ours: u64| {
                let whole: i64 = (0..ours / 1_000_000_000).map(|s| drift_ppb + steered_ppb[s as usize]).sum();
                let part = (ours % 1_000_000_000) as i64;
                5_000_000_000 + whole + (drift_ppb + steered_ppb[(ours / 1_000_000_000) as usize]) * part / 1_000_000_000
            };
            let theirs = |ours: u64| Nanos((ours as i64 + ahead(ours)) as u64);
            let mut filter = ClockFilter::default();
            let mut now = 1_000_000_000;
            for &(there, back) in &ways {
                now += 40_000_000;
                let (t2, t4) = (theirs(now + there), Nanos(now + there + back));
                filter.add(Exchange { t1: Nanos(now), t2, t3: t2, t4 });
            }
            let now = now + later_ms * 1_000_000;
            let (fitted, _) = filter.fit(Nanos(now)).unwrap();
            prop_assert!(fitted.ahead_ns.abs_diff(ahead(now)) <= fitted.bound.0 + 100, "{fitted:?}, truth {}", ahead(now));
        }
    }

    #[test]
    fn the_least_way_of_each_direction_bounds_the_offset_not_the_best_exchange() {
        // Never both ways quick in the same exchange.
        let ways = [(10_000, 3_000_000), (2_000_000, 12_000), (900_000, 900_000)];
        let (filter, now) = filter(5_000_000, 0, &ways);
        let offset = filter.offset(now).unwrap();
        assert!(offset.bound < Nanos(11_000 + 40 * DRIFT_PPM_MAX), "40 ms of drift: {offset:?}");
    }

    #[test]
    fn over_a_long_window_the_drift_is_found_and_the_bound_shrinks() {
        for drift_ppm in [-1_000, -50, 0, 37] {
            // Every 10 ms for 20 s, ways of 50 µs and up; a hundred exchanges of it are kept.
            let ways: Vec<(u64, u64)> = (0..2_000_u64)
                .map(|n| (50_000 + n * 7_919 % 200_000, 50_000 + n * 104_729 % 300_000))
                .collect();
            let (filter, now) = filter(7_000_000_000, drift_ppm, &ways);
            assert!(filter.exchanges() <= KEPT_MAX);
            let later = now + Nanos::from_secs(2);
            let truth = 7_000_000_000 + later.0 as i64 / 1_000_000 * drift_ppm;
            let (fitted, found_ppb) = filter.fit(later).unwrap();
            assert!((found_ppb - drift_ppm * 1_000).abs() < 15_000, "{found_ppb} of {drift_ppm} ppm");
            assert!(fitted.ahead_ns.abs_diff(truth) <= fitted.bound.0 + 100, "{fitted:?}, truth {truth}");
            let plain = filter.offset(later).unwrap();
            assert!(fitted.bound.0 * 5 < plain.bound.0 * 4, "{fitted:?}, {plain:?}");
        }
    }

    #[test]
    fn what_is_known_grows_old() {
        let (filter, now) = filter(0, 0, &[(1_000, 1_000)]);
        let later = now + Nanos::from_secs(10);
        let [young, old] = [now, later].map(|at| filter.offset(at).unwrap().bound);
        assert_eq!(old.0 - young.0, 10_000 * DRIFT_PPM_MAX, "so many ppm of 10 s");
    }

    #[test]
    fn impossible_exchanges_are_left_out() {
        let mut filter = ClockFilter::default();
        filter.add(Exchange { t1: Nanos(5), t2: Nanos(1), t3: Nanos(1), t4: Nanos(4) });
        filter.add(Exchange { t1: Nanos(4), t2: Nanos(2), t3: Nanos(1), t4: Nanos(5) });
        filter.add(Exchange { t1: Nanos(4), t2: Nanos(2), t3: Nanos::MAX, t4: Nanos(5) });
        assert_eq!((filter.exchanges(), filter.offset(Nanos(9))), (0, None));
    }
}
