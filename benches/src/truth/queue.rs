//! Queues that can be computed: one server, any arrivals, a pause.

/// Waiting times of customers of one first-come-first-served server, in the order of their arrival: Lindley's recursion,
/// W(n+1) = max(0, W(n) + S(n) − (A(n+1) − A(n))). Arrivals and services are nanoseconds; arrivals never fall.
pub fn lindley(customers: &[(u64, u64)]) -> Vec<u64> {
    let mut free = 0;
    let wait = |&(arrival, service): &(u64, u64)| {
        let start = arrival.max(free);
        free = start + service;
        start - arrival
    };
    customers.iter().map(wait).collect()
}

/// Mean wait of an M/D/1 queue, in the unit of `service`: ρS / 2(1 − ρ) (Pollaczek and Khinchine); none if the load is 1
/// or more.
pub fn md1_mean_wait(load: f64, service: f64) -> Option<f64> {
    (load < 1.0).then(|| load * service / (2.0 * (1.0 - load)))
}

/// A server that pauses once, under an even load.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// Requests intended a second.
    pub rate: f64,
    /// Requests that the server answers a second while it drains what had piled up; more than `rate`.
    pub drain: f64,
    /// Seconds.
    pub length: f64,
}

impl Pause {
    /// What a request intended `at` seconds after the start of the pause waits: the rest of the pause, and those before it.
    pub fn wait(&self, at: f64) -> f64 {
        (self.length + self.rate * at / self.drain - at).max(0.0)
    }

    /// The times that `requests` requests wait, sorted, if the pause with its drain falls into their run; the first that
    /// it meets is intended as it begins.
    pub fn waits(&self, requests: u64) -> Vec<f64> {
        let mut waits: Vec<f64> = (0..requests).map(|n| self.wait(n as f64 / self.rate)).collect();
        waits.sort_unstable_by(f64::total_cmp);
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_waits_for_those_before_it_and_an_idle_server_for_nobody() {
        assert_eq!(lindley(&[(0, 10), (4, 10), (5, 10), (100, 10)]), [0, 6, 15, 0]);
        assert_eq!(lindley(&[]), [0; 0]);
    }

    #[test]
    fn half_a_load_waits_half_a_service() {
        assert_eq!(md1_mean_wait(0.5, 50.0), Some(25.0));
        assert_eq!(md1_mean_wait(1.0, 50.0), None);
    }

    #[test]
    fn requests_intended_during_a_pause_wait_for_its_end_and_for_those_before_them() {
        let pause = Pause { rate: 10.0, drain: 100.0, length: 1.0 };
        assert_eq!(pause.wait(0.0), 1.0);
        assert!((pause.wait(0.5) - 0.55).abs() < 1e-12);
        assert!((pause.wait(1.0) - 0.1).abs() < 1e-12);
        assert_eq!(pause.wait(2.0), 0.0);
        let waits = pause.waits(40);
        // 1 / (1 − 0.1) s of ten a second: intended at 0, 0.1 … 1.1.
        assert_eq!(waits.iter().filter(|wait| **wait > 1e-9).count(), 12);
        assert_eq!(waits.last(), Some(&1.0));
    }
}
