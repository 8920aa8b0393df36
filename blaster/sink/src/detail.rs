//! What a thread saw in more detail than its counters: how long requests took, and how many events they carried.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use blaster_core::load::recorder::histogram;
use blaster_core::report::latency::percentiles;
use blaster_core::report::spectrum;
use hdrhistogram::Histogram;

/// Batches of at least this many events are counted together.
pub(crate) const EVENTS_MAX: usize = 1024;

/// One thread's.
#[derive(Clone, Debug)]
pub struct Detail {
    /// From a request's last byte to its answer being handed over, in nanoseconds.
    pub times: Histogram<u64>,
    /// Requests by the number of their events.
    pub by_events: Box<[u64; EVENTS_MAX + 1]>,
}

/// What a thread has shown to the others.
pub(crate) type Shown = Arc<Mutex<Detail>>;

impl Detail {
    pub(crate) fn new() -> Self {
        Self { times: histogram(), by_events: Box::new([0; EVENTS_MAX + 1]) }
    }

    /// Shows all to the other threads.
    pub(crate) fn show(&self, shown: &Shown) {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.times.clone_from(&self.times);
        shown.by_events.clone_from(&self.by_events);
    }

    /// The sum of what all threads have shown.
    pub(crate) fn of(all: &[Shown]) -> Self {
        let mut sum = Self::new();
        for shown in all {
            let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            sum.times.add(&shown.times).expect("all histograms have the same bounds");
            for (sum, add) in sum.by_events.iter_mut().zip(shown.by_events.iter()) {
                *sum += add;
            }
        }
        sum
    }

    /// The percentile text of the times.
    pub fn hgrm(&self) -> String {
        spectrum::render(&self.times, 0)
    }

    /// Lines of the Prometheus text.
    pub(crate) fn prometheus(&self) -> String {
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").expect("a string takes all");
        let name = "sink_time_seconds";
        line(format_args!("# HELP {name} From a request's last byte to its answer being handed over."));
        line(format_args!("# TYPE {name} summary"));
        let quantiles = percentiles(&self.times, 0, [50.0, 90.0, 99.0, 99.9, 100.0]);
        for (quantile, ns) in ["0.5", "0.9", "0.99", "0.999", "1"].iter().zip(quantiles) {
            if let Some(ns) = ns {
                line(format_args!("{name}{{quantile=\"{quantile}\"}} {}", ns as f64 / 1e9));
            }
        }
        let sum = self.times.mean() * self.times.len() as f64 / 1e9;
        line(format_args!("{name}_sum {sum}"));
        line(format_args!("{name}_count {}", self.times.len()));
        if self.by_events.iter().any(|count| *count > 0) {
            let name = "sink_requests_by_events_total";
            line(format_args!(
                "# HELP {name} Requests by the number of their events; {EVENTS_MAX} is that and more."
            ));
            line(format_args!("# TYPE {name} counter"));
            for (events, count) in self.by_events.iter().enumerate().filter(|(_, count)| **count > 0) {
                line(format_args!("{name}{{events=\"{events}\"}} {count}"));
            }
        }
        text
    }
}
