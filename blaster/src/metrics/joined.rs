//! A target's metrics joined with the load they were read under: what a request costs, and what runs out first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::resources::Resources;

/// A page of metrics, and when it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Seconds since the first.
    pub at_s: f64,
    /// What it said.
    pub resources: Resources,
}

/// What a target took during one trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// How often it was read.
    pub readings: u64,
    /// CPUs' worth of time, on average.
    pub cpus_used: Option<f64>,
    /// CPU time for each request that was answered, in seconds.
    pub cpu_s_per_request: Option<f64>,
    /// CPUs it may use, as it says.
    pub cpus: Option<f64>,
    /// Most memory in RAM.
    pub memory_bytes_max: Option<f64>,
    /// Memory it may use, as it says.
    pub memory_limit_bytes: Option<f64>,
    /// Most descriptors open.
    pub descriptors_max: Option<f64>,
    /// Descriptors it may open, as it says.
    pub descriptors_limit: Option<f64>,
    /// The highest value of each gauge of a queue.
    pub queues_max: BTreeMap<String, f64>,
}

impl Usage {
    /// What these readings come to, of a target that answered `completed` requests a second. None without a reading.
    pub fn of(readings: &[Reading], completed: f64) -> Option<Self> {
        let last = &readings.last()?.resources;
        let most = |value: fn(&Resources) -> Option<f64>| {
            readings.iter().filter_map(|reading| value(&reading.resources)).reduce(f64::max)
        };
        let cpus_used = cpus_used(readings);
        let mut queues_max: BTreeMap<String, f64> = BTreeMap::new();
        for (name, value) in readings.iter().flat_map(|reading| &reading.resources.queues) {
            let highest = queues_max.entry(name.clone()).or_insert(*value);
            *highest = highest.max(*value);
        }
        Some(Self {
            readings: readings.len() as u64,
            cpus_used,
            cpu_s_per_request: cpus_used.filter(|_| completed > 0.0).map(|used| used / completed),
            cpus: last.cpus,
            memory_bytes_max: most(|resources| resources.memory_bytes),
            memory_limit_bytes: last.memory_limit_bytes,
            descriptors_max: most(|resources| resources.descriptors),
            descriptors_limit: last.descriptors_limit,
            queues_max,
        })
    }
}

/// Over the longest stretch in which the counter did not fall: one that falls is a target that was started again.
fn cpus_used(readings: &[Reading]) -> Option<f64> {
    let counted: Vec<(f64, f64)> =
        readings.iter().filter_map(|reading| Some((reading.at_s, reading.resources.cpu_s?))).collect();
    let stretches = counted.chunk_by(|(_, before), (_, after)| after >= before);
    let of = |stretch: &[(f64, f64)]| {
        let ((from_s, from), (to_s, to)) = (*stretch.first()?, *stretch.last()?);
        (to_s > from_s).then(|| (to_s - from_s, (to - from) / (to_s - from_s)))
    };
    stretches.filter_map(of).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, used)| used)
}

/// A resource, and the load at which it would be used up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunsOut {
    /// `cpu`, `memory` or `descriptors`.
    pub resource: String,
    /// Requests per second, by the line through the trials that the target held.
    pub at_rps: f64,
    /// Share of it that is used at the limit.
    pub used_at_limit: f64,
}

/// Fewer loads than these make no line.
const LOADS_MIN: usize = 3;

/// What runs out first, of trials that the target held (answered requests per second and what they took) and a limit found in them; `cpus`
/// is what the user says the target has, which outranks what the target says. None where no limit of any resource is known, or none
/// grows with the load.
pub fn first_to_run_out(trials: &[(f64, &Usage)], limit_rps: f64, cpus: Option<f64>) -> Option<RunsOut> {
    type Get = fn(&Usage) -> Option<f64>;
    let resources: [(&str, Get, Get); 3] = [
        ("cpu", |usage| usage.cpus_used, |usage| usage.cpus),
        ("memory", |usage| usage.memory_bytes_max, |usage| usage.memory_limit_bytes),
        ("descriptors", |usage| usage.descriptors_max, |usage| usage.descriptors_limit),
    ];
    let candidates = resources.into_iter().filter_map(|(name, used, limit)| {
        let given = cpus.filter(|_| name == "cpu");
        let available = given.or_else(|| trials.iter().rev().find_map(|(_, usage)| limit(usage)))?;
        let points: Vec<_> = trials.iter().filter_map(|(rps, usage)| Some((*rps, used(usage)?))).collect();
        let (base, slope) = line(&points)?;
        let used_at_limit = (base + slope * limit_rps) / available;
        (slope > 0.0).then(|| RunsOut {
            resource: name.to_owned(),
            at_rps: ((available - base) / slope).max(0.0),
            used_at_limit,
        })
    });
    candidates.min_by(|a, b| a.at_rps.total_cmp(&b.at_rps))
}

/// The least-squares line through points of at least [`LOADS_MIN`] loads: where it begins, how it rises.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mut loads: Vec<f64> = points.iter().map(|(x, _)| *x).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    if loads.len() < LOADS_MIN {
        return None;
    }
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
    (spread > 0.0).then_some((mean_y - slope * mean_x, slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(at_s: f64, cpu_s: f64) -> Reading {
        Reading { at_s, resources: Resources { cpu_s: Some(cpu_s), ..Resources::default() } }
    }

    #[test]
    fn cost_is_cpu_time_over_requests() {
        let usage = Usage::of(&[cpu(0.0, 10.0), cpu(1.0, 10.4), cpu(2.0, 11.0)], 1000.0).unwrap();
        assert_eq!((usage.cpus_used, usage.cpu_s_per_request, usage.readings), (Some(0.5), Some(0.000_5), 3));
        assert_eq!(Usage::of(&[], 1000.0), None);
        assert_eq!(Usage::of(&[cpu(0.0, 10.0)], 1000.0).unwrap().cpus_used, None, "one reading is no rate");
    }

    #[test]
    fn a_target_that_was_started_again_is_counted_from_there() {
        let usage = Usage::of(&[cpu(0.0, 10.0), cpu(1.0, 0.1), cpu(2.0, 0.3), cpu(3.0, 0.5)], 1.0).unwrap();
        assert!((usage.cpus_used.unwrap() - 0.2).abs() < 1e-9, "{usage:?}");
    }

    #[test]
    fn queues_are_told_at_their_longest() {
        let queue = |at_s, length| {
            let queues = [("q".to_owned(), length)].into();
            Reading { at_s, resources: Resources { queues, ..Resources::default() } }
        };
        assert_eq!(
            Usage::of(&[queue(0.0, 1.0), queue(1.0, 9.0), queue(2.0, 2.0)], 1.0).unwrap().queues_max["q"],
            9.0
        );
    }

    #[test]
    fn the_first_resource_to_run_out_is_the_one_whose_line_ends_first() {
        let usages: Vec<_> = (1..=4)
            .map(|n| {
                let n = f64::from(n);
                Usage {
                    cpus_used: Some(0.1 + 0.2 * n),
                    cpus: Some(2.0),
                    memory_bytes_max: Some(100.0 + n),
                    memory_limit_bytes: Some(1000.0),
                    ..Usage::default()
                }
            })
            .collect();
        let trials: Vec<_> =
            usages.iter().zip(1..).map(|(usage, n)| (1000.0 * f64::from(n), usage)).collect();
        let first = first_to_run_out(&trials, 4000.0, None).unwrap();
        assert_eq!(first.resource, "cpu");
        assert!(
            (first.at_rps - 9_500.0).abs() < 1e-6 && (first.used_at_limit - 0.45).abs() < 1e-9,
            "{first:?}"
        );
        let first = first_to_run_out(&trials, 4000.0, Some(1.0)).unwrap();
        assert!((first.at_rps - 4_500.0).abs() < 1e-6, "{first:?}");
        assert_eq!(first_to_run_out(&trials[..2], 4000.0, None), None, "two loads make no line");
    }
}
