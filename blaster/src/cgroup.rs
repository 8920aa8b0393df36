//! The CPU limit of this process's control group, in both layouts that Linux has (cgroup v2, and v1 with its `cpu` controller).

use std::fs;
use std::path::{Path, PathBuf};

use blaster_core::time::Nanos;

/// The group's folder, and how its files are named.
enum Group {
    V2(PathBuf),
    V1(PathBuf),
}

/// CPUs' worth of time that this process may use, if that is limited: by its group or any above it.
pub fn cpu_quota() -> Option<f64> {
    let of_group = |group: &Group| match group {
        Group::V2(folder) => {
            let text = read(folder, "cpu.max")?;
            let (quota, period) = text.trim().split_once(' ')?;
            share(quota, period)
        }
        Group::V1(folder) => share(&read(folder, "cpu.cfs_quota_us")?, &read(folder, "cpu.cfs_period_us")?),
    };
    groups("cpu").iter().filter_map(of_group).reduce(f64::min)
}

/// How long the limit has stopped threads of the group so far; none if nothing is limited.
pub fn throttled() -> Option<Nanos> {
    groups("cpu").iter().find_map(|group| match group {
        Group::V2(folder) => Some(Nanos(stat(&read(folder, "cpu.stat")?, "throttled_usec")? * 1_000)),
        Group::V1(folder) => Some(Nanos(stat(&read(folder, "cpu.stat")?, "throttled_time")?)),
    })
}

/// Bytes that this process's group, or any above it, still lets it take, if that is limited. What files have of it is given up when it is
/// wanted.
pub fn memory_left() -> Option<u64> {
    let left = |folder: &Path, limit: &str, used: &str, of_all: &str| -> Option<u64> {
        let limit: u64 = read(folder, limit)?.trim().parse().ok()?;
        let used: u64 = read(folder, used)?.trim().parse().ok()?;
        let stats = read(folder, "memory.stat").unwrap_or_default();
        let of_files = |kind: &str| stat(&stats, &format!("{of_all}{kind}_file ")).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(of_files("inactive") + of_files("active"))))
    };
    let of_group = |group: &Group| match group {
        Group::V2(folder) => left(folder, "memory.max", "memory.current", ""),
        Group::V1(folder) => left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    };
    groups("memory").iter().filter_map(of_group).min()
}

/// This process's own groups of a controller, the innermost first. Inside a container the root shows the container's.
fn groups(controller: &str) -> Vec<Group> {
    fs::read_to_string("/proc/self/cgroup").map_or_else(|_| Vec::new(), |text| groups_of(&text, controller))
}

fn groups_of(text: &str, wanted: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let inner = Path::new(path).ancestors().map(|path| path.to_string_lossy().into_owned());
        if controllers.is_empty() {
            groups.extend(inner.map(|path| Group::V2(format!("/sys/fs/cgroup{path}").into())));
        } else if controllers.split(',').any(|controller| controller == wanted) {
            groups.extend(inner.map(|path| Group::V1(format!("/sys/fs/cgroup/{wanted}{path}").into())));
        }
    }
    groups
}

fn read(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok()
}

/// None for `max` and -1, which are no limit.
fn share(quota: &str, period: &str) -> Option<f64> {
    let quota = quota.trim().parse::<f64>().ok().filter(|quota| *quota > 0.0)?;
    Some(quota / period.trim().parse::<f64>().ok()?)
}

fn stat(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_share_of_a_cpu_and_none_is_none() {
        assert_eq!(share("20000\n", "100000\n"), Some(0.2));
        assert_eq!((share("-1\n", "100000\n"), share("max", "100000")), (None, None));
    }

    #[test]
    fn both_layouts_are_found_from_the_inside_out() {
        let folders = |controller: &str| -> Vec<_> {
            let groups = groups_of("4:memory:/a\n3:cpu,cpuacct:/a/b\n0::/c\n", controller);
            groups
                .iter()
                .map(|group| match group {
                    Group::V1(folder) | Group::V2(folder) => folder.to_string_lossy().into_owned(),
                })
                .collect()
        };
        let v1 = ["/sys/fs/cgroup/cpu/a/b", "/sys/fs/cgroup/cpu/a", "/sys/fs/cgroup/cpu/"];
        assert_eq!(folders("cpu")[..3], v1);
        assert_eq!(folders("cpu")[3..], ["/sys/fs/cgroup/c", "/sys/fs/cgroup/"]);
        // Each controller may have put the process elsewhere.
        assert_eq!(folders("memory")[..2], ["/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory/"]);
    }

    #[test]
    fn a_number_of_the_statistics_is_found_by_its_name() {
        let text = "nr_periods 5\nnr_throttled 2\nthrottled_time 1234\n";
        assert_eq!((stat(text, "throttled_time"), stat(text, "throttled_usec")), (Some(1234), None));
    }
}
