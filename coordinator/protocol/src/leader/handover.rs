//! What becomes of a lost node's share: who of the others takes it over, and from when.

use std::collections::BTreeSet;

use blaster_core::time::Nanos;

use super::Leader;
use super::node::{Handed, Hold, Node, Offer};
use crate::message::ToAgent;
use crate::shares::{Part, Spread, Wish, spread};

/// A node hears of what it takes over so long before.
const NOTICE: Nanos = Nanos::from_secs(1);

/// A part is small if it is less than one in so many of what each of the others would have of the whole.
const SMALL: f64 = 4.0;

/// Nodes named in a line.
const NAMED_MAX: usize = 4;

impl Leader {
    /// Gives what a lost node was to send to the others, from when it must have stopped.
    ///
    /// One that said so has stopped. Of any other: by its own clock it sends nothing that is intended after its permit's end, and that end is at [`Node::permit_ends`] of our clock at the
    /// latest. It counts from its own start, which is no further from the common one than its clock was known then.
    pub(super) fn hand_over(&mut self, lost: usize, now: Nanos) {
        let (Some(start), Some(rate)) = (self.start, self.config.rate_max) else { return };
        let node = &self.nodes[lost];
        let stopped = if node.stopped { now } else { node.stops_by() };
        let from = stopped.max(now + NOTICE).saturating_sub(start);
        if from >= self.config.length {
            return;
        }
        let others: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].goes_on()).collect();
        let mut rooms: Vec<Wish> = others.iter().map(|&node| self.nodes[node].room(rate)).collect();
        let mut held: Vec<f64> = others.iter().map(|&node| self.nodes[node].held()).collect();
        for hold in std::mem::take(&mut self.nodes[lost].holds) {
            let share = hold.part.fraction();
            // What is small next to what each of the others has goes to one of them: parts of parts would soon be without number.
            let is_small = share * others.len() as f64 * SMALL < 1.0;
            let more_room = |&a: &usize, &b: &usize| {
                rooms[a].room().total_cmp(&rooms[b].room()).then_with(|| held[b].total_cmp(&held[a]))
            };
            let roomiest = (0..rooms.len()).filter(|_| is_small).max_by(more_room);
            let shared: Vec<(Part, Option<usize>)> = match roomiest {
                Some(one) if rooms[one].room() >= rate * share => vec![(hold.part, Some(one))],
                _ => share_of(&hold.part, &spread(&rooms, rate * share)),
            };
            for (part, taker) in shared {
                if let Some(taker) = taker {
                    held[taker] += part.fraction();
                    rooms[taker].rate_max = rooms[taker].rate_max.map(|room| room - rate * part.fraction());
                }
                self.hand(lost, hold.from, part, taker.map(|taker| others[taker]), from.max(hold.from));
            }
        }
        self.log_handed(lost);
    }

    /// Gives a part that a lost node held since `held_from` to another, or nobody.
    fn hand(&mut self, lost: usize, held_from: Nanos, part: Part, taker: Option<usize>, from: Nanos) {
        let until = taker.map(|taker| (taker, from));
        self.nodes[lost].handed.push(Handed { share: part.fraction(), held_from, until });
        let Some(taker) = taker else { return };
        let of = (lost, self.nodes[lost].handed.len() - 1);
        let node = &mut self.nodes[taker];
        node.holds.push(Hold { part: part.clone(), from });
        node.offers.push(Offer { part, from, of, answered: false });
        let number = node.offers.len() - 1;
        self.say_offer(taker, number);
    }

    fn log_handed(&mut self, lost: usize) {
        let handed = &self.nodes[lost].handed;
        let share = |taken: bool| -> f64 {
            handed.iter().filter(|part| part.until.is_some() == taken).map(|part| part.share).sum()
        };
        let (taken, nobodys) = (share(true) * 100.0, share(false) * 100.0);
        let takers: BTreeSet<usize> = handed.iter().filter_map(|part| Some(part.until?.0)).collect();
        let names: Vec<&str> =
            takers.iter().take(NAMED_MAX).map(|&taker| &self.nodes[taker].name[..]).collect();
        let more = takers.len().saturating_sub(NAMED_MAX);
        let names = names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() };
        if let Some(from) = handed.iter().filter_map(|part| Some(part.until?.1)).max() {
            self.log(lost, &format!("{taken:.1} % of the run go to {names} from {from} on"));
        }
        if nobodys > 0.0 {
            let why = if self.nodes.iter().any(Node::goes_on) {
                "no node has room for them (max-rps)"
            } else {
                "no node is left"
            };
            self.log(lost, &format!("{nobodys:.1} % of the run stay a gap: {why}"));
        }
    }

    pub(super) fn say_offer(&mut self, node: usize, number: usize) {
        let run = self.config.task.run;
        let Offer { part, from, .. } = self.nodes[node].offers[number].clone();
        self.say(node, ToAgent::TakeOver { run, number: number as u32, part, from });
    }

    /// What nobody said that he took over is nobody's: to be called when the run is over. What was offered to one who was lost then
    /// was his to leave, and is told of there.
    pub fn settle_offers(&mut self) {
        let unanswered: Vec<(usize, usize)> = self
            .nodes
            .iter()
            .filter(|node| node.lost.is_none())
            .flat_map(|node| &node.offers)
            .filter(|offer| !offer.answered)
            .map(|offer| offer.of)
            .collect();
        for (lost, which) in unanswered {
            self.nodes[lost].handed[which].until = None;
        }
    }

    pub(super) fn took_over(&mut self, index: usize, number: usize, refused: Option<String>) {
        let node = &mut self.nodes[index];
        let Some(offer) = node.offers.get_mut(number).filter(|offer| !offer.answered) else { return };
        offer.answered = true;
        let (offer, Some(why)) = (offer.clone(), refused) else { return };
        let held = node.holds.len();
        node.holds.retain(|hold| hold.part != offer.part);
        // What it was lost with went on to others, and is told of there.
        if node.holds.len() < held {
            let (lost, which) = offer.of;
            self.nodes[lost].handed[which].until = None;
        }
        self.log(index, &format!("takes over nothing: {why}"));
    }
}

/// The pieces of a part and who takes each, counted among those it was spread over; none takes what nobody has room for.
fn share_of(part: &Part, spread: &Spread) -> Vec<(Part, Option<usize>)> {
    let takers = (0..spread.weights.len()).map(Some).chain([None]);
    let all = spread.weights.iter().copied().chain([spread.nobody]).zip(takers);
    let (weights, takers): (Vec<u32>, Vec<_>) = all.filter(|(weight, _)| *weight > 0).unzip();
    part.split(&weights).into_iter().zip(takers).collect()
}
