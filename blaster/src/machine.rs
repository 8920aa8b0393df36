//! What the kernel counts of this machine and its network, read before and after a run.

use std::fs;

use blaster_core::report::machine::{Machine, Tcp, Usage};
use blaster_core::time::Nanos;
use blaster_ring::system::{self, Limit, raise_limit};

use crate::cgroup;
use crate::environment;
use crate::limits;
use crate::shards::ShardFacts;

/// Counters at one moment.
pub struct Counters {
    stolen_ns: Option<u64>,
    throttled: Option<Nanos>,
    retransmits: Option<u64>,
    segments_sent: Option<u64>,
    segments_received: Option<u64>,
    softnet_drops: Option<u64>,
    listen_overflows: Option<u64>,
    zero_windows: Option<u64>,
    receive_pruned: Option<u64>,
    descriptors: Option<Usage>,
    monotonic: Nanos,
    raw: Nanos,
    wall_ns: u64,
}

impl Counters {
    /// Reads all; `cpus` are those of the shards.
    pub fn read(cpus: &[usize]) -> Self {
        let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        let tcp = |name| field(&snmp, "Tcp:", name);
        let extended = |names: &[&str]| sum(names.iter().map(|name| field(&netstat, "TcpExt:", name)));
        let (monotonic, raw) = system::monotonic_and_raw();
        Self {
            stolen_ns: cpus.iter().map(|&cpu| environment::stolen_ns(cpu)).sum(),
            throttled: cgroup::throttled(),
            retransmits: tcp("RetransSegs"),
            segments_sent: tcp("OutSegs"),
            segments_received: tcp("InSegs"),
            softnet_drops: fs::read_to_string("/proc/net/softnet_stat")
                .ok()
                .and_then(|text| softnet_drops(&text)),
            listen_overflows: extended(&["ListenOverflows"]),
            zero_windows: extended(&["TCPToZeroWindowAdv", "TCPWantZeroWindowAdv"]),
            receive_pruned: extended(&["PruneCalled", "RcvPruned", "TCPRcvCollapsed", "TCPRcvQDrop"]),
            descriptors: descriptors(),
            monotonic,
            raw,
            wall_ns: system::unix_time_ns(),
        }
    }

    /// Share of the CPU time of the shards' CPUs that the hypervisor gave to others.
    pub fn steal(&self, after: &Self, wall: Nanos, cpus: usize) -> Option<f64> {
        let stolen = difference(self.stolen_ns, after.stolen_ns)?;
        (wall > Nanos::ZERO).then(|| stolen as f64 / (wall.0 as f64 * cpus as f64))
    }

    /// Segments sent again.
    pub fn retransmits(&self, after: &Self) -> Option<u64> {
        difference(self.retransmits, after.retransmits)
    }

    /// The rest, with what the shards know of themselves. `port_spaces`: pairs of addresses that were connected, each with all local ports.
    pub fn machine(&self, after: &Self, wall: Nanos, shards: &[ShardFacts], port_spaces: u64) -> Machine {
        let thread_time = wall.0 as f64 * shards.len() as f64;
        let of_time = |time: Nanos| (thread_time > 0.0).then(|| time.0 as f64 / thread_time);
        let waited: Option<u64> = shards.iter().map(|shard| Some(shard.waited?.0)).sum();
        let throttled = difference(self.throttled.map(|time| time.0), after.throttled.map(|time| time.0));
        let raw = after.raw.saturating_sub(self.raw);
        let monotonic = after.monotonic.saturating_sub(self.monotonic);
        Machine {
            waited: waited.map(Nanos).and_then(of_time),
            involuntary_switches: Some(shards.iter().map(|shard| shard.involuntary_switches).sum()),
            throttled: throttled.map(Nanos).and_then(of_time),
            completion_overflows: shards.iter().map(|shard| shard.pressure.completion_overflows).sum(),
            buffers_starved: shards.iter().map(|shard| shard.pressure.buffers_starved).sum(),
            segments_sent: difference(self.segments_sent, after.segments_sent),
            segments_received: difference(self.segments_received, after.segments_received),
            softnet_drops: difference(self.softnet_drops, after.softnet_drops),
            listen_overflows: difference(self.listen_overflows, after.listen_overflows),
            zero_windows: difference(self.zero_windows, after.zero_windows),
            receive_pruned: difference(self.receive_pruned, after.receive_pruned),
            receive_buffer_max: receive_buffer_max(),
            // At the end the connections are closed already.
            descriptors: self.descriptors,
            ports: ports(port_spaces),
            clock_drift_ppm: drift_ppm(monotonic, raw),
            wall_clock_step_ns: Some(
                (after.wall_ns.wrapping_sub(self.wall_ns) as i64).wrapping_sub(monotonic.0 as i64),
            ),
            tcp: together(shards.iter().filter_map(|shard| shard.tcp)),
        }
    }
}

/// Shorter than this, the time between two readings of two clocks is drift enough.
const DRIFT_TIME_MIN: Nanos = Nanos(500_000_000);

fn drift_ppm(monotonic: Nanos, raw: Nanos) -> Option<f64> {
    (raw >= DRIFT_TIME_MIN).then(|| (monotonic.0 as f64 - raw.0 as f64) / raw.0 as f64 * 1e6)
}

fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

/// Of those that are known; none if none is.
fn sum(mut values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values
        .try_fold(None, |sum, value| Some(value.map_or(sum, |value| Some(sum.unwrap_or(0) + value))))
        .flatten()
}

/// Sums add up; of medians the largest stands for all.
fn together(infos: impl Iterator<Item = Tcp>) -> Option<Tcp> {
    infos.reduce(|sum, one| Tcp {
        connections: sum.connections + one.connections,
        rtt_ns: sum.rtt_ns.max(one.rtt_ns),
        congestion_window: sum.congestion_window.max(one.congestion_window),
        busy_ns: sum.busy_ns + one.busy_ns,
        receive_window_limited_ns: sum.receive_window_limited_ns + one.receive_window_limited_ns,
        send_buffer_limited_ns: sum.send_buffer_limited_ns + one.send_buffer_limited_ns,
        retransmits: sum.retransmits + one.retransmits,
    })
}

/// The last of the three sizes up to which the kernel tunes receive buffers.
fn receive_buffer_max() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").ok()?;
    text.split_whitespace().nth(2)?.parse().ok()
}

fn descriptors() -> Option<Usage> {
    // Since Linux 6.2 the folder's size is their number; reading it with 200,000 of them takes a tenth of a second and more.
    let folder = "/proc/self/fd";
    let used = match fs::metadata(folder).ok()?.len() {
        0 => fs::read_dir(folder).ok()?.count() as u64,
        used => used,
    };
    Some(Usage { used, limit: raise_limit(Limit::Descriptors, 0) })
}

/// Connections and those in TIME_WAIT, all of the network namespace: an upper bound for those to the targets.
fn ports(spaces: u64) -> Option<Usage> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let words: Vec<_> = line.split_whitespace().collect();
    let value = |name| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    Some(Usage { used: value("inuse")? + value("tw")?, limit: limits::local_ports() * spaces.max(1) })
}

/// The second column of every CPU's line, hexadecimal.
fn softnet_drops(text: &str) -> Option<u64> {
    text.lines().map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok()).sum()
}

/// A named number of a table whose header and values stand on two lines with the same prefix.
fn field(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let at = lines.next()?.split_whitespace().position(|header| header == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_header() {
        let text = "Ip: A B\nIp: 1 2\nTcp: RtoMin RetransSegs\nTcp: 200 17\n";
        assert_eq!(field(text, "Tcp:", "RetransSegs"), Some(17));
        assert_eq!(field(text, "Tcp:", "Nope"), None);
    }

    #[test]
    fn counters_that_a_kernel_lacks_leave_the_others() {
        assert_eq!(sum([Some(2), None, Some(3)].into_iter()), Some(5));
        assert_eq!(sum([None, None].into_iter()), None);
    }

    #[test]
    fn drops_are_hexadecimal_and_of_all_cpus() {
        let text = "0000ffff 00000010 00000000\n00000001 0000000a 00000000\n";
        assert_eq!(softnet_drops(text), Some(26));
    }

    #[test]
    fn drift_is_told_of_times_long_enough_to_measure_it() {
        let drift = drift_ppm(Nanos(10_001_000_000), Nanos(10_000_000_000)).unwrap();
        assert!((drift - 100.0).abs() < 1e-6);
        assert_eq!(drift_ppm(Nanos(1_000), Nanos(1_001)), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let before = Counters::read(&system::allowed_cpus());
        let after = Counters::read(&system::allowed_cpus());
        let machine = before.machine(&after, Nanos(1_000_000), &[], 1);
        assert!(machine.descriptors.is_some_and(|used| 0 < used.used && used.used <= used.limit));
        assert!(machine.segments_sent.is_some());
    }
}
