//! Learns that a server closes its connections after K answers.
//!
//! nginx closes after 1000, Apache after 100, and what is pipelined behind the last answer is lost. Two
//! connections ended by the server after the same number of answers are taken as proof (one may be chance:
//! an error answer, an idle limit); from then on a connection is given at most K requests.

/// What is known of a server's habit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifetime {
    last: Option<u64>,
    limit: Option<u64>,
}

impl Lifetime {
    /// The server ended a connection, in good order, after `answers` answers.
    pub(crate) fn handle_close(&mut self, answers: u64) {
        if answers == 0 {
            return;
        }
        if self.last == Some(answers) {
            self.limit = Some(self.limit.map_or(answers, |limit| limit.min(answers)));
        }
        self.last = Some(answers);
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
    fn closes_at_random_counts_teach_nothing() {
        let mut lifetime = Lifetime::default();
        for answers in [3, 18, 7, 0, 0, 18, 3] {
            lifetime.handle_close(answers);
        }
        assert_eq!(lifetime.limit(), None);
    }
}
