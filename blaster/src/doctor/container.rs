//! What a container, or whoever started this process, keeps from it.

use std::fs;
use std::path::Path;

use blaster_core::report::units::grouped;
use blaster_ring::probe::probe;
use blaster_ring::system::{self, Limit};

use super::Memory;
use crate::cgroup;
use crate::limits;
use crate::tuning::Needs;

/// A limit of CPU below this share of what is allowed is worth a line.
const CPU_SHARE: f64 = 0.99;

/// Whether this is a container, as far as those who make them say.
fn is_container() -> bool {
    Path::new("/.dockerenv").exists()
        || Path::new("/run/.containerenv").exists()
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Bytes that the machine has left.
pub fn memory_available() -> Option<u64> {
    available(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// What to add to the command, or the pod, that started it; a line each.
pub(super) fn advice(needs: &Needs, allowed: usize, memory: Memory) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(cpus) = cgroup::cpu_quota().filter(|cpus| *cpus < allowed as f64 * CPU_SHARE) {
        lines.push(format!(
            "its control group gives it {cpus:.1} CPUs of {allowed}, in slices: threads are stopped in between, and that is in every \
             latency. docker run: --cpuset-cpus instead of --cpus; pod: whole CPUs as both request and limit, with the static CPU manager"
        ));
    }
    if let (Some(left), Some(wanted)) = (memory.left_by_group, memory.wanted)
        && left < wanted
    {
        lines.push(format!(
            "its control group leaves it {} MiB of memory, {} connections want about {}: docker run: --memory; pod: resources.limits.memory",
            left >> 20,
            grouped(needs.connections),
            wanted >> 20,
        ));
    }
    // The error itself is told where the plan is judged.
    if probe().is_err() && seccomp_filters() {
        lines.push(
                "a seccomp filter keeps it from io_uring. docker run: --security-opt seccomp=unconfined, or a profile that also allows \
                 io_uring_setup, io_uring_enter and io_uring_register; pod: securityContext.seccompProfile.type: Unconfined, or Localhost with \
                 such a profile"
                    .to_owned(),
            );
    }
    let descriptors = system::hard_limit(Limit::Descriptors);
    if is_container() && descriptors < needs.connections + limits::descriptors_besides(needs.cores) {
        lines.push(format!(
            "{} descriptors are all it may have. docker run: --ulimit nofile=1048576:1048576; pod: the node's container runtime sets it",
            grouped(descriptors)
        ));
    }
    if is_container() && !may_write_sysctls() {
        lines.push(
            "sysctls cannot be written here: --fix and --tune need root and a writable /proc/sys. docker run: --sysctl NAME=VALUE for those of the \
             network; pod: securityContext.sysctls"
                .to_owned(),
        );
    }
    lines
}

/// Whether system calls of this process go through a filter.
fn seccomp_filters() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")).is_some_and(|mode| mode.trim() == "2")
}

fn may_write_sysctls() -> bool {
    fs::OpenOptions::new().write(true).open("/proc/sys/net/ipv4/ip_local_port_range").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available(""), None);
    }
}
