//! Queues in virtual time: what they say of a request follows from its arrival alone, to the nanosecond.

use blaster_core::time::Nanos;

use crate::pace::{Capacity, Retries, Service};

/// First come, first served, by a number of workers with the same service time: G/D/N. With retries, who waits too long takes longer.
#[derive(Debug)]
pub(crate) struct Queue {
    service: Nanos,
    retries: Option<Retries>,
    /// When each worker is free; the next request takes the earliest.
    free_at: Vec<Nanos>,
}

impl Queue {
    pub(crate) fn new(service: Service, retries: Option<Retries>) -> Self {
        Self { service: service.time, retries, free_at: vec![Nanos::ZERO; service.workers as usize] }
    }

    /// Whether a request that arrives now finds so long a queue that it is refused.
    pub(crate) fn is_full(&self, arrival: Nanos) -> bool {
        let wait = self.free_at.iter().min().map_or(Nanos::ZERO, |earliest| earliest.saturating_sub(arrival));
        self.retries.is_some_and(|retries| wait.0 >= PATIENCES_MAX * retries.patience.0)
    }

    /// Takes in a request that arrives now. Arrivals come in order.
    pub(crate) fn take(&mut self, arrival: Nanos) -> Served {
        let earliest = self.free_at.iter_mut().min().expect("a queue has a worker");
        let wait = earliest.saturating_sub(arrival);
        let retried =
            self.retries.filter(|retries| wait > retries.patience).map_or(0, |retries| retries.count);
        let service = Nanos(self.service.0 * (1 + u64::from(retried)));
        *earliest = arrival.max(*earliest) + service;
        Served { done: *earliest, service, retried }
    }

    /// What is not done, in requests that nobody retries.
    pub(crate) fn waiting(&self, now: Nanos) -> u64 {
        self.free_at.iter().map(|free_at| free_at.saturating_sub(now).0.div_ceil(self.service.0)).sum()
    }

    /// Whether a worker is busy.
    pub(crate) fn is_busy(&self, now: Nanos) -> bool {
        self.free_at.iter().any(|free_at| *free_at > now)
    }
}

/// What becomes of a request that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) done: Nanos,
    /// How long it occupies a worker, with all its retries.
    pub(crate) service: Nanos,
    pub(crate) retried: u32,
}

/// A queue of so many times what its users have patience for takes no more.
const PATIENCES_MAX: u64 = 2;

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

fn ps(time: Nanos) -> u128 {
    u128::from(time.0) * PS_PER_NS
}

impl Bucket {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self { drain_ps: (1e12 / capacity.rate) as u128, buffer: capacity.buffer, empty_at_ps: 0 }
    }

    /// Takes a request that arrives now, if there is room for it.
    pub(crate) fn take(&mut self, arrival: Nanos) -> bool {
        if self.held(arrival) >= self.buffer {
            return false;
        }
        self.empty_at_ps = self.empty_at_ps.max(ps(arrival)) + self.drain_ps;
        true
    }

    /// Requests in it.
    pub(crate) fn held(&self, now: Nanos) -> u64 {
        self.empty_at_ps.saturating_sub(ps(now)).div_ceil(self.drain_ps) as u64
    }
}

#[cfg(test)]
mod tests {
    use payloads_fresh::Rng;

    use super::*;

    #[test]
    fn one_worker_obeys_lindleys_recursion() {
        let service = Nanos(50_000);
        let mut queue = Queue::new(Service { time: service, workers: 1 }, None);
        let mut random = Rng::new(7);
        let (mut arrival, mut wait) = (Nanos::ZERO, 0_u64);
        for _ in 0..10_000 {
            let done = queue.take(arrival).done;
            assert_eq!(done - arrival, Nanos(wait) + service);
            let gap = random.below(120_000);
            wait = (wait + service.0).saturating_sub(gap);
            arrival += Nanos(gap);
        }
    }

    #[test]
    fn two_workers_serve_two_at_a_time() {
        let mut queue = Queue::new(Service { time: Nanos(10), workers: 2 }, None);
        let done: Vec<_> = [0, 0, 0, 25].map(|arrival| queue.take(Nanos(arrival)).done.0).into();
        assert_eq!(done, [10, 10, 20, 35]);
        assert!(queue.is_busy(Nanos(34)) && !queue.is_busy(Nanos(35)));
    }

    /// Requests of so many a second for so many seconds, from `at_s` on: those taken, those among them that waited longer than 200 ms.
    fn offer(queue: &mut Queue, at_s: u64, length_s: u64, rate: u64) -> (u64, u64) {
        let (mut taken, mut late) = (0, 0);
        for n in 0..length_s * rate {
            let arrival = Nanos::from_secs(at_s) + Nanos(n * 1_000_000_000 / rate);
            if !queue.is_full(arrival) {
                taken += 1;
                late += u64::from(queue.take(arrival).done > arrival + Nanos::from_millis(201));
            }
        }
        (taken, late)
    }

    #[test]
    fn with_retries_a_queue_once_overloaded_stays_so_until_it_is_offered_its_capacity_by_one_and_retries() {
        let service = Service { time: Nanos::from_millis(1), workers: 1 };
        let retries = Retries { count: 3, patience: Nanos::from_millis(200) };
        let mut queue = Queue::new(service, Some(retries));
        assert_eq!(offer(&mut queue, 0, 10, 990), (9_900, 0), "it holds what it can");
        assert_eq!(offer(&mut queue, 10, 10, 700), (7_000, 0));
        offer(&mut queue, 20, 10, 1_500);
        for at_s in [30, 40] {
            let (taken, late) = offer(&mut queue, at_s, 10, 700);
            assert!((2_450..=2_600).contains(&taken) && late == taken, "stuck: {taken} taken, {late} late");
        }
        let (taken, late) = offer(&mut queue, 50, 30, 260);
        assert!(taken < 7_800 && late == taken, "above 250/s it stays so: {taken} taken, {late} late");
        offer(&mut queue, 80, 30, 240);
        assert_eq!(offer(&mut queue, 110, 10, 990), (9_900, 0), "below that it comes back");
    }

    #[test]
    fn without_retries_a_queue_comes_back_by_itself() {
        let mut queue = Queue::new(Service { time: Nanos::from_millis(1), workers: 1 }, None);
        offer(&mut queue, 0, 2, 1_500);
        offer(&mut queue, 2, 4, 700);
        assert_eq!(offer(&mut queue, 6, 10, 990), (9_900, 0));
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
