//! How a run is shared out: whole weights, none above what its node may send; and who takes over what a lost node was to send.

use blaster_core::plan::lanes::{Lanes, cuts, share_out};
use serde::{Deserialize, Serialize};

/// A part of a run's requests: of every `of` those from `first` on, `width` of them, and of these again, from the outermost cut on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    cuts: Vec<(u64, u64, u64)>,
}

impl Part {
    /// Of this part, what falls to each when it is split by `weights`, all above 0.
    pub fn split(&self, weights: &[u32]) -> Vec<Self> {
        let of_cut = |cut| {
            let mut part = self.clone();
            part.cuts.push(cut);
            part
        };
        cuts(weights).into_iter().map(of_cut).collect()
    }

    /// Which requests these are; none if a cut is none.
    pub fn lanes(&self) -> Option<Lanes> {
        self.cuts.iter().try_fold(Lanes::whole(), |lanes, &(first, width, of)| lanes.part(first, width, of))
    }

    /// The share of all requests that it is.
    pub fn fraction(&self) -> f64 {
        self.cuts.iter().map(|&(_, width, of)| width as f64 / of as f64).product()
    }
}

/// Who takes over how much of a rate: weights, and that of what nobody has room for.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// In the order of the wishes; 0 for who has no room.
    pub weights: Vec<u32>,
    /// What is left.
    pub nobody: u32,
}

/// Spreads `rate` over nodes by weight, to none more than its `rate_max`, which is what it has room for.
pub fn spread(rooms: &[Wish], rate: f64) -> Spread {
    let round = round(rooms.len());
    let most = |node: &Wish| (node.rate_max.unwrap_or(f64::INFINITY) / rate).clamp(0.0, 1.0);
    let mut parts = vec![0; rooms.len()];
    let mut is_full = vec![false; rooms.len()];
    loop {
        let free: Vec<usize> = (0..rooms.len()).filter(|&node| !is_full[node]).collect();
        let left =
            round - (0..rooms.len()).filter(|&node| is_full[node]).map(|node| parts[node]).sum::<u32>();
        if free.is_empty() {
            return Spread { weights: parts, nobody: left };
        }
        let weights: Vec<u32> = free.iter().map(|&node| rooms[node].weight).collect();
        let mut fits = true;
        for (&node, share) in free.iter().zip(share_out(left.into(), &weights)) {
            let room = (most(&rooms[node]) * f64::from(round)) as u32;
            parts[node] = (share as u32).min(room);
            if share as u32 > room {
                (is_full[node], fits) = (true, false);
            }
        }
        if fits {
            return Spread { weights: parts, nobody: 0 };
        }
    }
}

/// A node, and what it may be given.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Its share, next to the others'; above 0.
    pub weight: u32,
    /// Most requests per second, if that is bounded.
    pub rate_max: Option<f64>,
}

impl Wish {
    /// What it may be given, without end if that is not bounded.
    pub fn room(&self) -> f64 {
        self.rate_max.unwrap_or(f64::INFINITY)
    }
}

/// The nodes together may not send what is asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", too_much_text(self))]
pub struct TooMuch {
    /// All bounds together.
    pub most: f64,
    /// The highest rate of the run.
    pub asked: f64,
}

fn too_much_text(too_much: &TooMuch) -> String {
    let TooMuch { most, asked } = too_much;
    if most > asked {
        return format!(
            "a node's max-rps is too small a part of the {asked:.0} requests/s that are asked: raise it, or leave the node out"
        );
    }
    let [most, asked] = [most, asked].map(|rate| (rate * 10.0).round() / 10.0);
    format!(
        "the nodes may send {most} requests/s together (max-rps), {asked} are asked: lower --rps, or raise max-rps or the number of nodes"
    )
}

/// Where bounds bind, shares of so many nodes are rounded to this part of the whole: the requests of a round are dealt out in turn, so that
/// fewer make for less even times.
fn round(nodes: usize) -> u32 {
    (nodes.clamp(1, NODES_MAX) as u32) * PARTS_A_NODE
}

/// An even share is known to a thousandth.
const PARTS_A_NODE: u32 = 1000;

/// Beyond, shares are coarser: their sums must fit.
const NODES_MAX: usize = 100_000;

/// Weights in the proportion of measured rates, a thousand a node together; the least is 1.
pub fn by_rate(rates: &[u64]) -> Vec<u32> {
    let round = round(rates.len());
    let whole = rates.iter().sum::<u64>().max(1) as f64;
    rates.iter().map(|&rate| (rate as f64 / whole * f64::from(round)).round().max(1.0) as u32).collect()
}

/// Weights for a run of `rate` requests per second at its peak; none in closed loop, where no bound can be kept by sharing.
/// They are the wishes' own unless a bound is in the way; then that node has its bound, and the others share the rest.
pub fn weights(wishes: &[Wish], rate: Option<f64>) -> Result<Vec<u32>, TooMuch> {
    let own: Vec<u32> = wishes.iter().map(|wish| wish.weight).collect();
    let Some(rate) = rate.filter(|rate| *rate > 0.0) else { return Ok(own) };
    let whole: f64 = own.iter().map(|&weight| f64::from(weight)).sum();
    let most = |wish: &Wish| wish.rate_max.unwrap_or(f64::INFINITY);
    if wishes.iter().all(|wish| f64::from(wish.weight) / whole * rate <= most(wish)) {
        return Ok(own);
    }
    let too_much = || TooMuch { most: wishes.iter().map(most).sum(), asked: rate };
    let round = round(wishes.len());
    let parts_max = |wish: &Wish| (most(wish) / rate * f64::from(round)).min(f64::from(round)) as u32;
    let mut parts: Vec<Option<u32>> = vec![None; wishes.len()];
    loop {
        let free: Vec<usize> = (0..wishes.len()).filter(|&node| parts[node].is_none()).collect();
        let left = round - parts.iter().flatten().sum::<u32>();
        if free.is_empty() {
            return if left == 0 { Ok(parts.into_iter().flatten().collect()) } else { Err(too_much()) };
        }
        let weights: Vec<u32> = free.iter().map(|&node| own[node]).collect();
        let shares = share_out(left.into(), &weights);
        let over = |(&node, &share): (&usize, &u64)| share as u32 > parts_max(&wishes[node]);
        let bound: Vec<usize> =
            free.iter().zip(&shares).filter(|&pair| over(pair)).map(|(&node, _)| node).collect();
        if bound.is_empty() {
            free.iter().zip(&shares).for_each(|(&node, &share)| parts[node] = Some(share as u32));
            let parts: Vec<u32> = parts.into_iter().flatten().collect();
            return if parts.contains(&0) { Err(too_much()) } else { Ok(parts) };
        }
        for node in bound {
            parts[node] = Some(parts_max(&wishes[node]));
            if parts[node] == Some(0) {
                return Err(too_much());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_taken_over_stays_within_the_rooms_and_the_rest_is_nobodys() {
        let spread_out = |rooms: &[(u32, Option<f64>)], rate| {
            let Spread { weights, nobody } = spread(&wishes(rooms), rate);
            (weights, nobody)
        };
        assert_eq!(spread_out(&[(1, None), (3, None)], 100.0), (vec![500, 1500], 0));
        assert_eq!(spread_out(&[(1, None), (3, Some(50.0))], 100.0), (vec![1000, 1000], 0));
        assert_eq!(spread_out(&[(1, Some(10.0)), (3, Some(50.0))], 100.0), (vec![200, 1000], 800));
        assert_eq!(spread_out(&[(1, Some(0.0)), (1, Some(-5.0))], 100.0), (vec![0, 0], 2000));
        assert_eq!(spread_out(&[], 100.0), (vec![], 1000));
    }

    #[test]
    fn bounds_are_kept_closely_however_many_nodes_there_are() {
        let even = |count: usize, rate_max| vec![Wish { weight: 1, rate_max }; count];
        assert!(weights(&even(1001, Some(5_000.0)), Some(5e6)).is_ok());
        let mut nodes = even(600, None);
        nodes[0].rate_max = Some(7_500.0);
        let parts = weights(&nodes, Some(5e6)).unwrap();
        let (least, most) = (parts[1..].iter().min().unwrap(), parts[1..].iter().max().unwrap());
        assert!(most - least <= 1 && f64::from(parts[0]) / 600_000.0 * 5e6 <= 7_500.0, "{least} to {most}");
        let mut thirds = even(3, Some(333.4));
        thirds[0].weight = 2;
        assert_eq!(weights(&thirds, Some(1000.0)), Ok(vec![1000; 3]));
        let small = weights(&wishes(&[(1, Some(0.1)), (1, None)]), Some(2000.0)).unwrap_err();
        assert!(small.to_string().contains("too small a part"), "{small}");
    }

    #[test]
    fn a_part_of_a_part_is_the_requests_of_both_splits() {
        let part = Part::default().split(&[1, 3]).swap_remove(1).split(&[4, 2]).swap_remove(0);
        assert_eq!(part.lanes(), Some(Lanes::whole().split(&[1, 3])[1].split(&[2, 1])[0].clone()));
        assert!((part.fraction() - 0.5).abs() < 1e-12);
        for wrong in [(0, 0, 1), (1, 1, 1), (u64::MAX, 1, 5), (0, 0, 0)] {
            assert_eq!(Part { cuts: vec![wrong] }.lanes(), None);
        }
    }

    fn wishes(of: &[(u32, Option<f64>)]) -> Vec<Wish> {
        of.iter().map(|&(weight, rate_max)| Wish { weight, rate_max }).collect()
    }

    #[test]
    fn weights_are_as_written_unless_a_bound_is_in_the_way() {
        assert_eq!(weights(&wishes(&[(1, None), (3, Some(75.0))]), Some(100.0)), Ok(vec![1, 3]));
        assert_eq!(weights(&wishes(&[(1, None), (3, Some(50.0))]), Some(100.0)), Ok(vec![1000, 1000]));
        assert_eq!(weights(&wishes(&[(1, None), (3, Some(50.0))]), None), Ok(vec![1, 3]));
    }

    #[test]
    fn what_all_bounds_together_do_not_let_through_is_refused() {
        let error =
            weights(&wishes(&[(1, Some(10.0)), (3, Some(50.0))]), Some(100.0)).unwrap_err().to_string();
        assert!(
            error.starts_with("the nodes may send 60 requests/s together (max-rps), 100 are asked"),
            "{error}"
        );
    }

    #[test]
    fn measured_rates_become_weights_in_their_proportion() {
        assert_eq!(by_rate(&[1_000_000, 3_000_000]), [500, 1500]);
        assert_eq!(by_rate(&[1, 999_999_999]), [1, 2000], "who can send anything sends something");
        assert_eq!(by_rate(&[0, 0]), [1, 1]);
    }

    proptest! {
        #[test]
        fn shares_are_the_whole_and_none_is_above_its_bound(
            nodes in prop::collection::vec((1_u32..50, prop::option::of(1.0_f64..1e6)), 1..20),
            rate in 1.0_f64..1e7,
        ) {
            let wishes = wishes(&nodes);
            if let Ok(weights) = weights(&wishes, Some(rate)) {
                let whole: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
                for (wish, weight) in wishes.iter().zip(weights) {
                    let share = rate * f64::from(weight) / whole;
                    prop_assert!(weight > 0 && share <= wish.rate_max.unwrap_or(f64::INFINITY) * (1.0 + 1e-9));
                }
            }
        }
    }
}
