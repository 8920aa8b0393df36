//! Answers in their wire form: those given over and over are serialized once.

use crate::profile::{Behaviour, Profile, answer};

/// The most events of a batch whose answer is kept.
const KEPT_COUNT_MAX: usize = 1024;

/// What a thread answers.
pub(crate) struct Answers {
    usual: Vec<u8>,
    usual_last: Vec<u8>,
    /// To batches, by count; empty until one is asked for.
    accepted: Box<[Vec<u8>]>,
    status: u16,
}

impl Answers {
    pub(crate) fn new(behaviour: &Behaviour) -> Self {
        Self {
            usual: usual_answer(behaviour, false),
            usual_last: usual_answer(behaviour, true),
            accepted: vec![Vec::new(); KEPT_COUNT_MAX + 1].into(),
            status: behaviour.status.unwrap_or(202),
        }
    }

    /// The answer of the profile to what is nothing special.
    #[inline]
    pub(crate) fn usual(&self, last: bool) -> &[u8] {
        if last { &self.usual_last } else { &self.usual }
    }

    /// Appends that of `event-api` to so many events.
    #[inline]
    pub(crate) fn push_accepted(&mut self, count: u64, last: bool, out: &mut Vec<u8>) {
        match self.accepted.get_mut(count as usize) {
            Some(kept) if !last => {
                if kept.is_empty() {
                    *kept = accepted_answer(self.status, count, false);
                }
                out.extend_from_slice(kept);
            }
            _ => out.extend_from_slice(&accepted_answer(self.status, count, last)),
        }
    }
}

/// What [`Answers::usual`] says.
pub(crate) fn usual_answer(behaviour: &Behaviour, last: bool) -> Vec<u8> {
    match behaviour.profile {
        Profile::Null => answer(behaviour.status.unwrap_or(200), "", "", last),
        Profile::Control
        | Profile::HighLatency
        | Profile::HighCpu
        | Profile::MemoryLeak
        | Profile::Metastable => {
            answer(behaviour.status.unwrap_or(200), "application/json", "{\"status\":\"ok\"}", last)
        }
        Profile::EventApi => accepted_answer(behaviour.status.unwrap_or(202), 1, last),
    }
}

fn accepted_answer(status: u16, count: u64, last: bool) -> Vec<u8> {
    answer(status, "application/json", &format!("{{\"message\":\"accepted\",\"count\":{count}}}"), last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_answers_are_those_that_would_be_made() {
        let mut answers = Answers::new(&Behaviour { status: Some(201), ..Behaviour::of(Profile::EventApi) });
        let largest = KEPT_COUNT_MAX as u64;
        for count in [0, 1, 100, 100, largest, largest + 1, u64::MAX] {
            for last in [false, true] {
                let mut out = b"before".to_vec();
                answers.push_accepted(count, last, &mut out);
                assert_eq!(out[6..], accepted_answer(201, count, last));
            }
        }
        assert_eq!(answers.usual(true), accepted_answer(201, 1, true));
    }
}
