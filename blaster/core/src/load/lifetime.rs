//! Learns that a server closes its connections after K answers.
//!
//! nginx closes after 1000, Apache after 100, and what is pipelined behind the last answer is lost. Two
//! connections ended by the server after the same number of answers are taken as proof (one may be chance:
//! an error answer, an idle limit); from then on a connection is given at most K requests. A close before
//! that shows that it was chance after all: the limit is forgotten, and more closes alike are wanted the next
//! time. Without this a server that closes at random would end up with a connection for every request.

/// What is known of a server's habit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifetime {
    last: Option<u64>,
    /// Closes in a row after `last` answers.
    alike: u32,
    limit: Option<u64>,
    /// Limits that turned out to be chance.
    mistakes: u32,
}

/// After each mistake twice as many closes alike are wanted, up to this power of two.
const DOUBLINGS_MAX: u32 = 3;

impl Lifetime {
    /// The server ended a connection, in good order, after `answers` answers.
    pub(crate) fn handle_close(&mut self, answers: u64) {
        if answers == 0 {
            return;
        }
        self.alike = if self.last == Some(answers) { self.alike + 1 } else { 1 };
        self.last = Some(answers);
        if self.limit.is_some_and(|limit| answers < limit) {
            // A server that counts does not close before its time.
            self.limit = None;
            self.mistakes += 1;
        }
        // Nothing closes before a limit of one, so nothing could disprove it.
        let doublings = if answers == 1 { DOUBLINGS_MAX } else { self.mistakes.min(DOUBLINGS_MAX) };
        if self.limit.is_none() && self.alike >= 2 << doublings {
            self.limit = Some(answers);
        }
    }

    /// The most answers a connection gives, once learnt.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// How many more requests a connection may be given that was given `given` so far.
    #[inline]
    pub(crate) fn left(&self, given: u64) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_close_teaches_nothing_and_two_alike_teach_the_limit() {
        let mut lifetime = Lifetime::default();
        lifetime.handle_close(1000);
        assert_eq!(lifetime.limit(), None);
        assert_eq!(lifetime.left(5000), u64::MAX);
        lifetime.handle_close(1000);
        assert_eq!(lifetime.limit(), Some(1000));
        assert_eq!(lifetime.left(990), 10);
        assert_eq!(lifetime.left(1001), 0);
    }

    #[test]
    fn a_close_before_the_limit_disproves_it_and_more_proof_is_wanted_the_next_time() {
        let mut lifetime = Lifetime::default();
        let mut after = |answers: &[u64]| {
            answers.iter().for_each(|&answers| lifetime.handle_close(answers));
            lifetime.limit()
        };
        assert_eq!(after(&[9, 9]), Some(9));
        assert_eq!(after(&[4]), None);
        assert_eq!(after(&[4, 4]), None);
        assert_eq!(after(&[4]), Some(4));
        assert_eq!(after(&[7, 7, 7]), Some(4));
        assert_eq!(after(&[1; 15]), None);
        assert_eq!(after(&[1]), Some(1));
    }

    #[test]
    fn closes_at_random_counts_teach_nothing() {
        let mut lifetime = Lifetime::default();
        for answers in [3, 18, 7, 0, 0, 18, 3] {
            lifetime.handle_close(answers);
        }
        assert_eq!(lifetime.limit(), None);
    }
}
