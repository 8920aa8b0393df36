//! What this machine allows, checked before the run: a plan that cannot work is told so, with the next step.

use std::fs;
use std::net::SocketAddr;

use blaster_ring::system::{Limit, raise_limit};
use blaster_ring::{ProbeError, probe};

/// Why the plan cannot work here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// io_uring.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// Descriptors.
    #[error(
        "need {need} file descriptors, the limit is {limit}: raise it with `ulimit -n {need}` (as root, or in \
         /etc/security/limits.conf) or lower --connections"
    )]
    Descriptors {
        /// For connections, rings and the rest.
        need: u64,
        /// After raising the soft limit to the hard one.
        limit: u64,
    },
    /// Local ports.
    #[error(
        "need {need} local ports to {address}, there are {ports} (net.ipv4.ip_local_port_range): connect from more addresses of this \
         machine with --source-ips auto, widen the range with `sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`, or lower \
         --connections"
    )]
    Ports {
        /// Connections to that address.
        need: u64,
        /// The address.
        address: SocketAddr,
        /// In the range.
        ports: u64,
    },
    /// Local ports, of all addresses that were asked for or found.
    #[error(
        "need {need} local ports to {address}, and {} to connect from {} {ports} (net.ipv4.ip_local_port_range): it takes {wanted} \
         addresses: {}, widen the range with `sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`, or lower --connections",
        if *.sources == 1 { "the one address".to_owned() } else { format!("the {} addresses", .sources) },
        if *.sources == 1 { "has" } else { "have" },
        if *.auto { "give the interface more with `ip address add`" } else { "name more with --source-ips, or say auto" }
    )]
    SourcePorts {
        /// Connections to that address.
        need: u64,
        /// The address.
        address: SocketAddr,
        /// Of all sources together.
        ports: u64,
        /// Addresses to connect from.
        sources: u64,
        /// As many as it takes.
        wanted: u64,
        /// They were found, not named.
        auto: bool,
    },
    /// Locked memory.
    #[error(
        "need {need} KiB of locked memory for the executors' rings, the limit is {limit} KiB: raise it with \
         `ulimit -l {need}` (containers: --ulimit memlock=-1)"
    )]
    LockedMemory {
        /// KiB.
        need: u64,
        /// KiB.
        limit: u64,
    },
}

/// Descriptors a process needs besides its connections: rings, files, standard streams.
const DESCRIPTORS_BESIDES: u64 = 64;
const DESCRIPTORS_PER_SHARD: u64 = 16;

/// What glommio asks for before it starts an executor.
const LOCKED_KIB: u64 = 512;

/// An address of a target, and what is to connect to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The address.
    pub address: SocketAddr,
    /// Connections to it.
    pub connections: u64,
    /// Addresses of this machine that they come from; 0: from the one that the kernel chooses.
    pub sources: u64,
    /// `--source-ips auto`.
    pub auto: bool,
}

impl Demand {
    /// The kernel looks at every second port first, and at the others only after all of these: from there on it takes a
    /// millisecond, not microseconds.
    pub fn makes_ports_scarce(&self) -> bool {
        self.connections * 2 > local_ports() * self.sources.max(1)
    }

    fn check(self, ports_of_each: u64) -> Result<(), LimitError> {
        let Self { address, connections: need, sources, auto } = self;
        let ports = ports_of_each * sources.max(1);
        let wanted = need.div_ceil(ports_of_each.max(1));
        match sources {
            _ if need <= ports => Ok(()),
            0 if !auto => Err(LimitError::Ports { need, address, ports }),
            _ => Err(LimitError::SourcePorts { need, address, ports, sources: sources.max(1), wanted, auto }),
        }
    }
}

/// Descriptors that a process with so many shards needs besides its connections.
pub(crate) fn descriptors_besides(shards: u64) -> u64 {
    DESCRIPTORS_BESIDES + DESCRIPTORS_PER_SHARD * shards
}

/// Checks everything that can be known before anything is started.
pub fn check(shards: u32, connections: u32, demands: &[Demand]) -> Result<(), LimitError> {
    probe()?;
    // The ring's file table counts as many as there are connections, not more than the limit allows.
    let need = u64::from(connections) + descriptors_besides(shards.into());
    let limit = raise_limit(Limit::Descriptors, need);
    if limit < need {
        return Err(LimitError::Descriptors { need, limit });
    }
    let ports = local_ports();
    demands.iter().try_for_each(|demand| demand.check(ports))?;
    let limit = raise_limit(Limit::LockedMemory, LOCKED_KIB * 1024) / 1024;
    if limit < LOCKED_KIB {
        let need = LOCKED_KIB;
        return Err(LimitError::LockedMemory { need, limit });
    }
    Ok(())
}

/// How many local ports connections to one address may use.
pub(crate) fn local_ports() -> u64 {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    ports_of(&read("ip_local_port_range"), &read("ip_local_reserved_ports"))
}

/// For so many seconds a closed connection's port cannot be had for another to the same address (TIME_WAIT; net.ipv4.tcp_tw_reuse, which
/// takes timestamps).
pub(crate) fn port_is_taken_for_s(target_is_loopback: bool) -> u64 {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    if read("tcp_timestamps").trim() == "0" {
        return 60;
    }
    match (read("tcp_tw_reuse").trim(), target_is_loopback) {
        ("1", _) | ("2", true) => 1,
        _ => 60,
    }
}

/// Those of the range that are not reserved, as the kernel writes both; of a range that is none the kernel's default.
fn ports_of(range: &str, reserved: &str) -> u64 {
    let mut numbers = range.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(low)), Some(Ok(high))) = (numbers.next(), numbers.next()) else { return 28_232 };
    let taken = reserved.trim().split(',').filter_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.parse::<u64>().ok()?.max(low), to.parse::<u64>().ok()?.min(high));
        Some((to + 1).saturating_sub(from))
    });
    (high.saturating_sub(low) + 1).saturating_sub(taken.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_not_to_be_had() {
        assert_eq!(ports_of("32768\t60999\n", "\n"), 28_232);
        assert_eq!(ports_of("20000 20999", "20000-20799,20805,30000-30010,1-5\n"), 1_000 - 800 - 1);
        assert_eq!(ports_of("", ""), 28_232);
    }

    #[test]
    fn ports_are_counted_for_each_address_to_connect_from() {
        let demand = |connections, sources, auto| Demand {
            address: "127.0.0.1:3000".parse().unwrap(),
            connections,
            sources,
            auto,
        };
        let check = |connections, sources, auto| demand(connections, sources, auto).check(28_000);
        assert!(check(28_000, 0, false).is_ok() && check(56_000, 2, false).is_ok());
        let error = |connections, sources, auto| check(connections, sources, auto).unwrap_err().to_string();
        let without = error(28_001, 0, false);
        assert!(
            without.starts_with("need 28001 local ports to 127.0.0.1:3000, there are 28000"),
            "{without}"
        );
        assert!(without.contains("--source-ips auto"), "{without}");
        let listed = error(200_000, 2, false);
        assert!(listed.contains("the 2 addresses to connect from have 56000"), "{listed}");
        assert!(
            listed.contains("it takes 8 addresses: name more with --source-ips, or say auto"),
            "{listed}"
        );
        let found = error(200_000, 1, true);
        assert!(found.contains("the one address to connect from has 28000"), "{found}");
        assert!(found.contains("it takes 8 addresses: give the interface more"), "{found}");
    }
}
