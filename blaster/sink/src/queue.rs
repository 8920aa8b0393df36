//! Queues in virtual time: what they say of a request follows from its arrival alone, to the nanosecond.

use blaster_core::time::Nanos;

use crate::pace::{Capacity, Service};

/// First come, first served, by a number of workers with the same service time: G/D/N.
#[derive(Debug)]
pub(crate) struct Queue {
    service: Nanos,
    /// When each worker is free; the next request takes the earliest.
    free_at: Vec<Nanos>,
}

impl Queue {
    pub(crate) fn new(service: Service) -> Self {
        Self { service: service.time, free_at: vec![Nanos::ZERO; service.workers as usize] }
    }

    /// When a request that arrives now is done. Arrivals come in order.
    pub(crate) fn done(&mut self, arrival: Nanos) -> Nanos {
        let earliest = self.free_at.iter_mut().min().expect("a queue has a worker");
        *earliest = arrival.max(*earliest) + self.service;
        *earliest
    }

    /// Whether a worker is busy.
    pub(crate) fn is_busy(&self, now: Nanos) -> bool {
        self.free_at.iter().any(|free_at| *free_at > now)
    }
}

/// A buffer that holds so many requests and is drained at a steady rate (a leaky bucket).
#[derive(Debug)]
pub(crate) struct Bucket {
    drain_ps: u128,
    buffer: u64,
    /// When it is empty, if nothing more comes.
    empty_at_ps: u128,
}

/// A nanosecond is too coarse for what a request takes at millions a second.
const PS_PER_NS: u128 = 1_000;

impl Bucket {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self { drain_ps: (1e12 / capacity.rate) as u128, buffer: capacity.buffer, empty_at_ps: 0 }
    }

    /// Takes a request that arrives now, if there is room for it.
    pub(crate) fn take(&mut self, arrival: Nanos) -> bool {
        let now_ps = u128::from(arrival.0) * PS_PER_NS;
        let held = self.empty_at_ps.saturating_sub(now_ps).div_ceil(self.drain_ps);
        if held >= u128::from(self.buffer) {
            return false;
        }
        self.empty_at_ps = self.empty_at_ps.max(now_ps) + self.drain_ps;
        true
    }
}

#[cfg(test)]
mod tests {
    use payloads_fresh::Rng;

    use super::*;

    #[test]
    fn one_worker_obeys_lindleys_recursion() {
        let service = Nanos(50_000);
        let mut queue = Queue::new(Service { time: service, workers: 1 });
        let mut random = Rng::new(7);
        let (mut arrival, mut wait) = (Nanos::ZERO, 0_u64);
        for _ in 0..10_000 {
            let done = queue.done(arrival);
            assert_eq!(done - arrival, Nanos(wait) + service);
            let gap = random.below(120_000);
            wait = (wait + service.0).saturating_sub(gap);
            arrival += Nanos(gap);
        }
    }

    #[test]
    fn two_workers_serve_two_at_a_time() {
        let mut queue = Queue::new(Service { time: Nanos(10), workers: 2 });
        let done: Vec<_> = [0, 0, 0, 25].map(|arrival| queue.done(Nanos(arrival)).0).into();
        assert_eq!(done, [10, 10, 20, 35]);
        assert!(queue.is_busy(Nanos(34)) && !queue.is_busy(Nanos(35)));
    }

    #[test]
    fn a_buffer_takes_its_capacity_and_what_it_holds_and_no_more() {
        let mut bucket = Bucket::new(Capacity { rate: 3_000.0, buffer: 10 });
        // 10,000 a second for 2 s.
        let taken = (0..20_000_u64).filter(|n| bucket.take(Nanos(n * 100_000))).count();
        assert!((6_009..=6_011).contains(&taken), "{taken}");
        // Once drained it holds all again.
        let later = Nanos::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 10);
    }
}
