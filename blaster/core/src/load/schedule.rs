//! When each request is due: fixed before the run, whatever the target does.
//!
//! A schedule walks its arrival process twice: one cursor counts what has come due, the other tells the intended time of
//! what is sent. What lies between waits; it may be millions, and none of it is stored.

use payloads_fresh::Rng;

use crate::plan::Arrivals;
use crate::plan::lanes::Lanes;
use crate::plan::rate::{Curve, Piece};
use crate::time::Nanos;

/// The intended times of one stream of one shard, since the start of the run.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The next request to come due.
    leading: Cursor,
    /// The next request to be taken.
    trailing: Cursor,
    waiting: u64,
}

impl Schedule {
    /// The part of `curve` that falls to `lanes`.
    ///
    /// Uniform: the n-th request of the whole run is due when the integral of the rate reaches n, and this part takes the
    /// numbers of its lanes. Poisson: the integral of this part's share of the rate reaches sums of independent
    /// Exp(1) gaps (time-rescaling), from a random stream fixed by `seed` and the lanes.
    pub fn new(curve: &Curve, arrivals: Arrivals, lanes: &Lanes, seed: u64) -> Self {
        let cursor = match arrivals {
            Arrivals::Uniform => {
                Cursor::new(curve.pieces(), Process::Uniform { next: 0, lanes: lanes.clone() })
            }
            Arrivals::Poisson => Cursor::new(
                curve.scaled(lanes.fraction()).pieces(),
                Process::Poisson { reached: 0.0, random: Rng::new(seed ^ lanes.fingerprint()) },
            ),
        };
        Self { leading: cursor.clone(), trailing: cursor, waiting: 0 }
    }

    /// The part of `curve` that falls to `lanes` from the moment `from` on: what another was to send and no longer does.
    ///
    /// Uniform: exactly the requests of [`Self::new`] that are not intended before. Poisson: arrivals have no memory, so a stream of its own
    /// that begins there is as good as the rest of the other's.
    pub fn from_moment(curve: &Curve, arrivals: Arrivals, lanes: &Lanes, seed: u64, from: Nanos) -> Self {
        let cursor = match arrivals {
            Arrivals::Uniform => {
                let next = first_not_before(curve.pieces(), lanes, from);
                Cursor::new(curve.pieces(), Process::Uniform { next, lanes: lanes.clone() })
            }
            Arrivals::Poisson => {
                let curve = curve.scaled(lanes.fraction());
                let random = Rng::new(seed ^ lanes.fingerprint() ^ from.0.rotate_left(17));
                Cursor::new(curve.pieces(), Process::Poisson { reached: curve.offered_before(from), random })
            }
        };
        Self { leading: cursor.clone(), trailing: cursor, waiting: 0 }
    }

    /// Takes over the requests of another schedule, none of which has come due: from now on this is both. Where its moments are past by
    /// now they come due at once, late as they are.
    pub fn take_over(&mut self, other: Self) {
        assert_eq!(other.waiting, 0, "nothing of a schedule that is taken over has come due");
        self.leading.join(other.leading);
        self.trailing.join(other.trailing);
    }

    /// Lets everything intended up to `now` come due; returns how many did.
    #[inline]
    pub fn advance(&mut self, now: Nanos) -> u64 {
        let mut due = 0;
        while self.leading.next.is_some_and(|intended| intended <= now) {
            self.leading.step();
            due += 1;
        }
        self.waiting += due;
        due
    }

    /// How many are due and not taken.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Takes the oldest waiting request; its intended time.
    #[inline]
    pub fn take(&mut self) -> Option<Nanos> {
        let intended = self.oldest_waiting()?;
        self.trailing.step();
        self.waiting -= 1;
        Some(intended)
    }

    /// The intended time of the oldest waiting request.
    #[inline]
    pub fn oldest_waiting(&self) -> Option<Nanos> {
        if self.waiting == 0 { None } else { self.trailing.next }
    }

    /// The intended time of the first request that is not due yet; none when the schedule is over.
    #[inline]
    pub fn next_due(&self) -> Option<Nanos> {
        self.leading.next
    }
}

/// A position in an arrival process.
#[derive(Clone, Debug)]
struct Cursor {
    pieces: Box<[Piece]>,
    /// The piece that the next request falls into.
    piece: usize,
    /// Where that piece ends, in offered requests.
    piece_end: f64,
    process: Process,
    next: Option<Nanos>,
}

#[derive(Clone, Debug)]
enum Process {
    Uniform {
        next: u64,
        lanes: Lanes,
    },
    Poisson {
        reached: f64,
        random: Rng,
    },
    /// Several processes at once; none of these is one like this.
    Joined(Vec<Cursor>),
}

impl Cursor {
    fn new(pieces: &[Piece], process: Process) -> Self {
        let mut cursor =
            Self { piece_end: pieces[0].after(), pieces: pieces.into(), piece: 0, process, next: None };
        cursor.step();
        cursor
    }

    /// Walks another process as well, from where each of them is.
    fn join(&mut self, other: Self) {
        let next = [self.next, other.next].into_iter().flatten().min();
        match &mut self.process {
            Process::Joined(parts) => parts.push(other),
            Process::Uniform { .. } | Process::Poisson { .. } => {
                let nothing = Self {
                    pieces: Box::default(),
                    piece: 0,
                    piece_end: f64::NEG_INFINITY,
                    process: Process::Joined(Vec::new()),
                    next: None,
                };
                let own = std::mem::replace(self, nothing);
                self.process = Process::Joined(vec![own, other]);
            }
        }
        self.next = next;
    }

    /// Moves to the next request.
    #[inline]
    fn step(&mut self) {
        let n = match &mut self.process {
            // From the number, never by adding up: no error grows over a long run.
            Process::Uniform { next, lanes } => {
                let m = *next;
                *next += 1;
                lanes.nth(m) as f64
            }
            Process::Poisson { reached, random } => {
                *reached += exponential(random);
                *reached
            }
            Process::Joined(parts) => {
                if let Some(earliest) =
                    parts.iter_mut().filter(|part| part.next.is_some()).min_by_key(|part| part.next)
                {
                    earliest.step();
                }
                self.next = parts.iter().filter_map(|part| part.next).min();
                return;
            }
        };
        while n >= self.piece_end {
            self.piece += 1;
            let Some(piece) = self.pieces.get(self.piece) else {
                self.next = None;
                // Stays over, also when stepped again.
                self.piece = self.pieces.len() - 1;
                self.piece_end = f64::NEG_INFINITY;
                return;
            };
            self.piece_end = piece.after();
        }
        self.next = Some(Nanos::from_secs_f64(self.pieces[self.piece].instant_s(n)));
    }
}

/// Which request of `lanes`, counted within them, is the first that is not intended before `from`.
fn first_not_before(pieces: &[Piece], lanes: &Lanes, from: Nanos) -> u64 {
    let is_before = |m: u64| {
        let n = lanes.nth(m) as f64;
        let piece = pieces.iter().find(|piece| n < piece.after());
        piece.is_some_and(|piece| Nanos::from_secs_f64(piece.instant_s(n)) < from)
    };
    // Numbers of lanes rise, and so do moments with numbers.
    let (mut low, mut high) = (0, pieces.last().map_or(0, |piece| piece.after() as u64 + 1));
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// A sample of Exp(1): -ln(u) with u in (0, 1].
#[inline]
fn exponential(random: &mut Rng) -> f64 {
    let u = ((random.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -u.ln()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::rate::{Rate, Stage, Stages};

    fn constant(rate: f64, secs: u64) -> Curve {
        Curve::constant(Rate::new(rate).unwrap(), Nanos::from_secs(secs))
    }

    fn all(curve: &Curve, arrivals: Arrivals, lanes: &Lanes, seed: u64) -> Vec<u64> {
        drain(Schedule::new(curve, arrivals, lanes, seed))
    }

    fn drain(mut schedule: Schedule) -> Vec<u64> {
        schedule.advance(Nanos::MAX);
        std::iter::from_fn(|| schedule.take()).map(|intended| intended.0).collect()
    }

    #[test]
    fn a_constant_rate_spaces_requests_evenly_however_long_the_run() {
        let curve = constant(3.0, 1_000_000);
        let piece = curve.pieces()[0];
        for n in [0_u64, 1, 2, 2_999_998] {
            let exact = (n as u128 * 1_000_000_000 + 1) / 3;
            assert!(
                (Nanos::from_secs_f64(piece.instant_s(n as f64)).0 as i128 - exact as i128).abs() <= 1,
                "{n}"
            );
        }
        assert_eq!(all(&constant(1e6, 1), Arrivals::Uniform, &Lanes::whole(), 0)[999_999], 999_999_000);
    }

    #[test]
    fn a_jump_and_a_pause_are_followed_exactly() {
        let curve = Curve::stages(None, &"1s:=2,1s:=0,1s:=4".parse().unwrap()).unwrap();
        let ms: Vec<_> =
            all(&curve, Arrivals::Uniform, &Lanes::whole(), 0).iter().map(|ns| ns / 1_000_000).collect();
        assert_eq!(ms, [0, 500, 2000, 2250, 2500, 2750]);
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_variance_of_an_exponential() {
        let times = all(&constant(10_000.0, 100), Arrivals::Poisson, &Lanes::whole(), 7);
        let count = times.len() as f64;
        assert!((count - 1e6).abs() < 5.0 * 1e3, "{count}");
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.01);
        // The index of dispersion of counts in bins scatters by sqrt(2 / (bins - 1)).
        let mut bins = vec![0.0_f64; 1000];
        times.iter().for_each(|ns| bins[(ns / 100_000_000) as usize] += 1.0);
        let mean = bins.iter().sum::<f64>() / 1000.0;
        let dispersion = bins.iter().map(|bin| (bin - mean).powi(2)).sum::<f64>() / 999.0 / mean;
        assert!((dispersion - 1.0).abs() < 5.0 * (2.0_f64 / 999.0).sqrt(), "{dispersion}");
    }

    #[test]
    fn a_seed_repeats_poisson_arrivals_and_lanes_differ() {
        let curve = constant(1000.0, 1);
        let parts = Lanes::whole().split(&[1, 1]);
        let times = |seed, lanes| all(&curve, Arrivals::Poisson, lanes, seed);
        assert_eq!(times(1, &parts[0]), times(1, &parts[0]));
        assert_ne!(times(1, &parts[0]), times(2, &parts[0]));
        assert_ne!(times(1, &parts[0]), times(1, &parts[1]));
    }

    fn curves() -> impl Strategy<Value = Curve> {
        let stage = (1_u64..2000, prop_oneof![Just(0.0), 1.0..5000.0], any::<bool>())
            .prop_map(|(ms, to, jump)| Stage { length: Nanos::from_millis(ms), to, jump });
        (prop::option::of(1.0..5000.0), prop::collection::vec(stage, 1..5))
            .prop_filter_map("sends nothing", |(start, stages)| {
                Curve::stages(start.map(|rate| Rate::new(rate).unwrap()), &Stages(stages)).ok()
            })
    }

    proptest! {
        #[test]
        fn what_comes_due_is_what_is_taken_whenever_it_is_asked_for(
            curve in curves(),
            poisson in any::<bool>(),
            steps in prop::collection::vec((0_u64..300_000_000, 0_u64..400), 1..40),
        ) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Uniform };
            let expected = all(&curve, arrivals, &Lanes::whole(), 3);
            let mut schedule = Schedule::new(&curve, arrivals, &Lanes::whole(), 3);
            let (mut now, mut due, mut taken) = (Nanos::ZERO, 0, Vec::new());
            for (wait, take) in steps {
                now += Nanos(wait);
                due += schedule.advance(now);
                for _ in 0..take {
                    let Some(intended) = schedule.take() else { break };
                    prop_assert!(intended <= now);
                    taken.push(intended.0);
                }
                prop_assert_eq!(schedule.waiting(), due - taken.len() as u64);
                prop_assert!(schedule.next_due().is_none_or(|next| next > now));
            }
            due += schedule.advance(Nanos::MAX);
            taken.extend(std::iter::from_fn(|| schedule.take()).map(|intended| intended.0));
            prop_assert_eq!(due, expected.len() as u64);
            prop_assert!(taken.is_sorted());
            prop_assert!(taken.last().is_none_or(|last| *last <= curve.length().0));
            prop_assert_eq!(taken, expected);
            if !poisson {
                prop_assert!((due as f64 - curve.offered()).abs() <= 1.0);
            }
        }

        #[test]
        fn the_parts_of_a_split_are_the_whole(
            curve in curves(),
            nodes in prop::collection::vec(1_u32..4, 1..4),
            shards in prop::collection::vec(1_u32..3, 1..3),
        ) {
            let whole = all(&curve, Arrivals::Uniform, &Lanes::whole(), 0);
            let mut union: Vec<u64> = Lanes::whole()
                .split(&nodes)
                .iter()
                .flat_map(|node| node.split(&shards))
                .flat_map(|lanes| all(&curve, Arrivals::Uniform, &lanes, 0))
                .collect();
            union.sort_unstable();
            prop_assert_eq!(union, whole);
        }

        #[test]
        fn what_others_take_over_of_a_lost_part_is_all_of_it_from_then_on(
            curve in curves(),
            nodes in prop::collection::vec(1_u32..4, 2..4),
            survivors in prop::collection::vec(1_u32..4, 1..3),
            from in 0_u64..10_000_000_000,
        ) {
            let from = Nanos(from);
            let lost = Lanes::whole().split(&nodes).swap_remove(0);
            let wanted: Vec<u64> =
                all(&curve, Arrivals::Uniform, &lost, 0).into_iter().filter(|&due| due >= from.0).collect();
            let mut taken: Vec<u64> = lost
                .split(&survivors)
                .iter()
                .flat_map(|lanes| drain(Schedule::from_moment(&curve, Arrivals::Uniform, lanes, 0, from)))
                .collect();
            taken.sort_unstable();
            prop_assert_eq!(taken, wanted);
        }

        #[test]
        fn a_schedule_that_took_over_is_both_whenever_it_did(
            curve in curves(),
            poisson in any::<bool>(),
            from in 0_u64..5_000_000_000,
            taken_before in 0_usize..500,
            times in 1_usize..4,
        ) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Uniform };
            let parts = Lanes::whole().split(&[3, 1, 2, 2]);
            let mut both = Schedule::new(&curve, arrivals, &parts[0], 5);
            let mut expected = all(&curve, arrivals, &parts[0], 5);
            both.advance(Nanos(from / 2));
            let mut got: Vec<u64> = (0..taken_before).map_while(|_| both.take()).map(|due| due.0).collect();
            for lanes in &parts[1..=times] {
                let others = || Schedule::from_moment(&curve, arrivals, lanes, 5, Nanos(from));
                expected.extend(drain(others()));
                both.take_over(others());
            }
            let waiting = both.waiting();
            prop_assert_eq!(both.advance(Nanos::MAX) + waiting, (expected.len() - got.len()) as u64);
            let rest: Vec<u64> = std::iter::from_fn(|| both.take()).map(|due| due.0).collect();
            prop_assert!(rest.is_sorted());
            got.extend(rest);
            got.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
            prop_assert!(both.next_due().is_none() && both.oldest_waiting().is_none());
        }
    }

    /// A rate that is taken over at a moment is a rate from that moment on.
    #[test]
    fn taken_over_poisson_arrivals_have_their_rate_and_begin_then() {
        let from = Nanos::from_secs(40);
        let lanes = Lanes::whole().split(&[1, 3]).swap_remove(0);
        let times =
            drain(Schedule::from_moment(&constant(10_000.0, 100), Arrivals::Poisson, &lanes, 7, from));
        assert!(times[0] >= from.0 && times[0] < from.0 + 10_000_000);
        let (count, wanted) = (times.len() as f64, 2_500.0 * 60.0);
        assert!((count - wanted).abs() < 5.0 * wanted.sqrt(), "{count}");
        let first = |from| {
            drain(Schedule::from_moment(&constant(10_000.0, 100), Arrivals::Poisson, &lanes, 7, from))[0]
                - from.0
        };
        assert_ne!(first(Nanos::from_secs(40)), first(Nanos::from_secs(50)), "gaps are drawn anew");
    }
}
