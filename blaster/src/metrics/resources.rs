//! What a server can run out of, found in its metrics by the names that are in use: Prometheus' own clients (Go, Python, Node.js, Java,
//! Rust), Micrometer, cAdvisor. Sums over labels.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::exposition::Sample;

/// One reading. None: the page says nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU time so far, in seconds.
    pub cpu_s: Option<f64>,
    /// CPUs it may use.
    pub cpus: Option<f64>,
    /// Memory in RAM.
    pub memory_bytes: Option<f64>,
    /// Memory it may use.
    pub memory_limit_bytes: Option<f64>,
    /// File descriptors open, connections among them.
    pub descriptors: Option<f64>,
    /// Descriptors it may open.
    pub descriptors_limit: Option<f64>,
    /// Gauges whose names have one of `QUEUE_WORDS` in them.
    pub queues: BTreeMap<String, f64>,
}

/// Counters of CPU seconds, the first that is there.
const CPU_SECONDS: [&str; 3] =
    ["process_cpu_seconds_total", "process_cpu_seconds", "container_cpu_usage_seconds_total"];

/// The same in nanoseconds.
const CPU_NANOSECONDS: &str = "process_cpu_time_ns_total";

const CPUS: [&str; 3] = ["go_sched_gomaxprocs_threads", "system_cpu_count", "process_cpu_limit_cores"];

const MEMORY: [&str; 3] =
    ["process_resident_memory_bytes", "container_memory_working_set_bytes", "jvm_memory_used_bytes"];

const MEMORY_LIMIT: [&str; 2] = ["container_spec_memory_limit_bytes", "jvm_memory_max_bytes"];

const DESCRIPTORS: [&str; 2] = ["process_open_fds", "process_files_open_files"];

const DESCRIPTORS_LIMIT: [&str; 2] = ["process_max_fds", "process_files_max_files"];

/// In the name of a gauge that counts what waits.
const QUEUE_WORDS: [&str; 6] = ["queue", "backlog", "buffer", "inflight", "in_flight", "pending"];

/// Endings of names that count since the start, or are pieces of a distribution: no gauges.
const NOT_GAUGES: [&str; 6] = ["_total", "_count", "_sum", "_bucket", "_created", "_info"];

/// Most gauges that are kept: a page may have one for each of thousands of things.
const QUEUES_MAX: usize = 16;

impl Resources {
    /// Those of a page.
    pub fn of(samples: &[Sample<'_>]) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| sum(samples, name));
        let positive = |value: Option<f64>| value.filter(|&value| value > 0.0);
        Self {
            cpu_s: first(&CPU_SECONDS).or_else(|| sum(samples, CPU_NANOSECONDS).map(|ns| ns / 1e9)),
            cpus: positive(first(&CPUS)).or_else(|| cpu_quota(samples)),
            memory_bytes: first(&MEMORY),
            memory_limit_bytes: positive(first(&MEMORY_LIMIT)),
            descriptors: first(&DESCRIPTORS),
            descriptors_limit: positive(first(&DESCRIPTORS_LIMIT)),
            queues: queues(samples),
        }
    }

    /// Whether it says nothing that a sweep could use.
    pub fn is_empty(&self) -> bool {
        self.cpu_s.is_none()
            && self.memory_bytes.is_none()
            && self.descriptors.is_none()
            && self.queues.is_empty()
    }
}

/// Over all labels; none if there is no such metric.
fn sum(samples: &[Sample<'_>], name: &str) -> Option<f64> {
    samples
        .iter()
        .filter(|sample| sample.name == name)
        .map(|sample| sample.value)
        .reduce(|sum, value| sum + value)
}

/// What a container may use, by its bandwidth limit.
fn cpu_quota(samples: &[Sample<'_>]) -> Option<f64> {
    let quota = sum(samples, "container_spec_cpu_quota")?;
    let period = sum(samples, "container_spec_cpu_period")?;
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

fn queues(samples: &[Sample<'_>]) -> BTreeMap<String, f64> {
    let is_queue = |name: &str| {
        let lower = name.to_ascii_lowercase();
        QUEUE_WORDS.iter().any(|word| lower.contains(word))
            && !NOT_GAUGES.iter().any(|end| lower.ends_with(end))
    };
    let names: BTreeSet<&str> =
        samples.iter().map(|sample| sample.name).filter(|name| is_queue(name)).take(QUEUES_MAX).collect();
    names.into_iter().filter_map(|name| Some((name.to_owned(), sum(samples, name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::exposition::parse;
    use super::*;

    #[test]
    fn a_page_of_an_ordinary_client_is_understood() {
        let text = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.5\nprocess_resident_memory_bytes 1.2e8\n\
             process_open_fds 12\nprocess_max_fds 1024\nhttp_requests_inflight{route=\"/a\"} 3\nhttp_requests_inflight{route=\"/b\"} 4\n\
             job_queue_wait_seconds_sum 9\njob_queue_length 7\nqueue_pushes_total 99\ngo_sched_gomaxprocs_threads 4\n";
        let found = Resources::of(&parse(text));
        assert_eq!((found.cpu_s, found.cpus, found.memory_bytes), (Some(12.5), Some(4.0), Some(1.2e8)));
        assert_eq!((found.descriptors, found.descriptors_limit), (Some(12.0), Some(1024.0)));
        let queues: Vec<_> = found.queues.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(queues, [("http_requests_inflight", 7.0), ("job_queue_length", 7.0)]);
    }

    #[test]
    fn a_container_s_quota_is_its_cpus_and_an_endless_limit_is_none() {
        let text = "container_cpu_usage_seconds_total{cpu=\"0\"} 1\ncontainer_cpu_usage_seconds_total{cpu=\"1\"} 2\n\
             container_spec_cpu_quota 150000\ncontainer_spec_cpu_period 100000\ncontainer_spec_memory_limit_bytes 0\n";
        let found = Resources::of(&parse(text));
        assert_eq!((found.cpu_s, found.cpus, found.memory_limit_bytes), (Some(3.0), Some(1.5), None));
    }

    #[test]
    fn a_page_of_other_things_is_empty() {
        assert!(Resources::of(&parse("http_requests_total 5\nup 1\n")).is_empty());
    }
}
