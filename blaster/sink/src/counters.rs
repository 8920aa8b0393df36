//! What a sink counted: exact, each thread for itself, read by any.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pace::Fault;

/// One thread's counters. Only that thread writes, by plain stores once a turn and before the turn's answers are
/// sent: whoever has an answer finds its request counted.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    requests: AtomicU64,
    events: AtomicU64,
    request_bytes: AtomicU64,
    rejected: AtomicU64,
    malformed: AtomicU64,
    connections: AtomicU64,
    connections_cut: AtomicU64,
    events_invalid: AtomicU64,
    occurred_at_skew_ms_max: AtomicU64,
    occurred_at_far: AtomicU64,
    ok: AtomicU64,
    errors: AtomicU64,
    overloads: AtomicU64,
    faults: [AtomicU64; Fault::ALL.len()],
    discarded: AtomicU64,
    retries: AtomicU64,
    queue: AtomicU64,
    stall_ns: AtomicU64,
    held_up_ns: AtomicU64,
    leaked_bytes: AtomicU64,
}

/// Sums over all threads. `/metrics` and `/health` are not counted as requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests received whole.
    pub requests: u64,
    /// Events in requests answered as accepted.
    pub events: u64,
    /// Bytes of those requests, heads and bodies.
    pub request_bytes: u64,
    /// Requests among them answered with 400, 404 or 405.
    pub rejected: u64,
    /// Connections closed because what came was no HTTP request.
    pub malformed: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections among them closed because they did not read their answers.
    pub connections_cut: u64,
    /// With `validate`: events that were not as they should be. A body that is no JSON at all is one.
    pub events_invalid: u64,
    /// With `validate`: the largest distance between a valid event's `occurredAt` and when it came, in milliseconds.
    pub occurred_at_skew_ms_max: u64,
    /// With `validate`: valid events for which it was more than 2 ms.
    pub occurred_at_far: u64,
    /// Answers handed over whole, rejections among them. `requests = ok + errors + overloads + faults + discarded` once nothing
    /// is held back.
    pub ok: u64,
    /// Answers of 500 that were asked for.
    pub errors: u64,
    /// Answers of 429.
    pub overloads: u64,
    /// By [`Fault`].
    pub faults: [u64; Fault::ALL.len()],
    /// Requests whose connection ended before their answer was due.
    pub discarded: u64,
    /// How often impatience added a request's work once more.
    pub retries: u64,
    /// Requests in queue and buffer when somebody last asked.
    pub queue: u64,
    /// Time frozen, in nanoseconds.
    pub stall_ns: u64,
    /// Time in turns that ended over 200 µs later than what they waited for, in nanoseconds: other processes, the hypervisor, or
    /// more to do than fits. What came meanwhile was seen late. Time frozen is not in it.
    pub held_up_ns: u64,
    /// Memory kept for ever.
    pub leaked_bytes: u64,
}

impl Counters {
    /// Publishes a thread's own totals.
    pub(crate) fn publish(&self, totals: &Totals) {
        self.requests.store(totals.requests, Ordering::Relaxed);
        self.events.store(totals.events, Ordering::Relaxed);
        self.request_bytes.store(totals.request_bytes, Ordering::Relaxed);
        self.rejected.store(totals.rejected, Ordering::Relaxed);
        self.malformed.store(totals.malformed, Ordering::Relaxed);
        self.connections.store(totals.connections, Ordering::Relaxed);
        self.connections_cut.store(totals.connections_cut, Ordering::Relaxed);
        self.events_invalid.store(totals.events_invalid, Ordering::Relaxed);
        self.occurred_at_skew_ms_max.store(totals.occurred_at_skew_ms_max, Ordering::Relaxed);
        self.occurred_at_far.store(totals.occurred_at_far, Ordering::Relaxed);
        self.ok.store(totals.ok, Ordering::Relaxed);
        self.errors.store(totals.errors, Ordering::Relaxed);
        self.overloads.store(totals.overloads, Ordering::Relaxed);
        for (shown, count) in self.faults.iter().zip(totals.faults) {
            shown.store(count, Ordering::Relaxed);
        }
        self.discarded.store(totals.discarded, Ordering::Relaxed);
        self.retries.store(totals.retries, Ordering::Relaxed);
        self.queue.store(totals.queue, Ordering::Relaxed);
        self.stall_ns.store(totals.stall_ns, Ordering::Relaxed);
        self.held_up_ns.store(totals.held_up_ns, Ordering::Relaxed);
        self.leaked_bytes.store(totals.leaked_bytes, Ordering::Relaxed);
    }
}

impl Totals {
    /// Sums counters.
    pub fn of(counters: &[Arc<Counters>]) -> Self {
        let mut sum = Self::default();
        for one in counters {
            sum.requests += one.requests.load(Ordering::Relaxed);
            sum.events += one.events.load(Ordering::Relaxed);
            sum.request_bytes += one.request_bytes.load(Ordering::Relaxed);
            sum.rejected += one.rejected.load(Ordering::Relaxed);
            sum.malformed += one.malformed.load(Ordering::Relaxed);
            sum.connections += one.connections.load(Ordering::Relaxed);
            sum.connections_cut += one.connections_cut.load(Ordering::Relaxed);
            sum.events_invalid += one.events_invalid.load(Ordering::Relaxed);
            sum.occurred_at_far += one.occurred_at_far.load(Ordering::Relaxed);
            sum.ok += one.ok.load(Ordering::Relaxed);
            sum.errors += one.errors.load(Ordering::Relaxed);
            sum.overloads += one.overloads.load(Ordering::Relaxed);
            for (sum, add) in sum.faults.iter_mut().zip(&one.faults) {
                *sum += add.load(Ordering::Relaxed);
            }
            sum.discarded += one.discarded.load(Ordering::Relaxed);
            sum.retries += one.retries.load(Ordering::Relaxed);
            sum.queue += one.queue.load(Ordering::Relaxed);
            sum.stall_ns = sum.stall_ns.max(one.stall_ns.load(Ordering::Relaxed));
            sum.held_up_ns += one.held_up_ns.load(Ordering::Relaxed);
            sum.leaked_bytes += one.leaked_bytes.load(Ordering::Relaxed);
            let skew_ms_max = one.occurred_at_skew_ms_max.load(Ordering::Relaxed);
            sum.occurred_at_skew_ms_max = sum.occurred_at_skew_ms_max.max(skew_ms_max);
        }
        sum
    }

    /// Requests that came to an answer or a fault.
    pub fn ended(&self) -> u64 {
        self.ok + self.errors + self.overloads + self.faults.iter().sum::<u64>()
    }

    /// The Prometheus text exposition format, version 0.0.4; what validation found only if there was one.
    pub fn prometheus(&self, is_validated: bool) -> String {
        let mut text = String::new();
        for (name, help, value) in [
            ("requests", "Requests received whole, without /metrics and /health.", self.requests),
            ("events", "Events in requests answered as accepted.", self.events),
            ("request_bytes", "Bytes of these requests, heads and bodies.", self.request_bytes),
            ("requests_rejected", "Requests among them answered with 400, 404 or 405.", self.rejected),
            ("malformed", "Connections closed because what came was no HTTP request.", self.malformed),
            ("connections", "Connections accepted.", self.connections),
            (
                "connections_cut",
                "Connections closed because they did not read their answers.",
                self.connections_cut,
            ),
        ] {
            push_metric(&mut text, "counter", &format!("{name}_total"), help, value);
        }
        push_labelled(
            &mut text,
            "answers_total",
            "Answers handed over whole.",
            &[("ok", self.ok), ("error", self.errors), ("overload", self.overloads)],
        );
        let faults = Fault::ALL.map(|fault| (fault.name(), self.faults[fault as usize]));
        push_labelled(&mut text, "faults_total", "Requests that got a fault instead of an answer.", &faults);
        let help = "Requests whose connection ended before their answer was due.";
        push_metric(&mut text, "counter", "discarded_total", help, self.discarded);
        let help =
            "Work that was done once more because a request had waited longer than its user's patience.";
        push_metric(&mut text, "counter", "retries_total", help, self.retries);
        push_metric(&mut text, "gauge", "queue", "Requests in the queue and the buffer.", self.queue);
        push_metric(&mut text, "counter", "stall_ns_total", "Time frozen, in nanoseconds.", self.stall_ns);
        let help = "Time in turns that ended over 200 us later than what they waited for, in nanoseconds.";
        push_metric(&mut text, "counter", "held_up_ns_total", help, self.held_up_ns);
        push_metric(&mut text, "gauge", "leaked_bytes", "Memory kept for ever.", self.leaked_bytes);
        if is_validated {
            let help = "Events that were not as they should be.";
            push_metric(&mut text, "counter", "events_invalid_total", help, self.events_invalid);
            let help = "Largest distance between a valid event's occurredAt and when it came.";
            let skew_ms_max = self.occurred_at_skew_ms_max;
            push_metric(&mut text, "gauge", "occurred_at_skew_ms_max", help, skew_ms_max);
            let help = "Valid events whose occurredAt was more than 2 ms from when they came.";
            push_metric(&mut text, "counter", "occurred_at_over_2ms_total", help, self.occurred_at_far);
        }
        text
    }
}

fn push_labelled(text: &mut String, name: &str, help: &str, counts: &[(&str, u64)]) {
    writeln!(text, "# HELP sink_{name} {help}\n# TYPE sink_{name} counter").expect("a string takes all");
    for (kind, count) in counts {
        writeln!(text, "sink_{name}{{kind=\"{kind}\"}} {count}").expect("a string takes all");
    }
}

fn push_metric(text: &mut String, kind: &str, name: &str, help: &str, value: u64) {
    writeln!(text, "# HELP sink_{name} {help}\n# TYPE sink_{name} {kind}\nsink_{name} {value}")
        .expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_the_sum_of_what_threads_published() {
        let counters = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        counters[0].publish(&Totals { requests: 3, events: 5, ..Totals::default() });
        counters[1].publish(&Totals { requests: 4, request_bytes: 9, ..Totals::default() });
        let sum = Totals::of(&counters);
        assert_eq!((sum.requests, sum.events, sum.request_bytes), (7, 5, 9));
        assert!(sum.prometheus(false).contains("\nsink_requests_total 7\n"));
        assert!(!sum.prometheus(false).contains("invalid") && !sum.prometheus(false).contains("skew"));
    }

    #[test]
    fn skew_is_the_largest_of_all_threads() {
        let counters = [Arc::new(Counters::default()), Arc::new(Counters::default())];
        for (counters, skew_ms_max) in counters.iter().zip([4, 3]) {
            let found =
                Totals { events_invalid: 2, occurred_at_skew_ms_max: skew_ms_max, ..Totals::default() };
            counters.publish(&found);
        }
        let text = Totals::of(&counters).prometheus(true);
        assert!(text.contains("# TYPE sink_occurred_at_skew_ms_max gauge\nsink_occurred_at_skew_ms_max 4\n"));
        assert!(text.contains("\nsink_events_invalid_total 4\n"), "{text}");
    }
}
