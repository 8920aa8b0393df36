//! What this machine allows, checked before the run: a plan that cannot work is told so, with the next step.

use std::fs;

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
        "need {need} local ports to {address}, there are {ports} (net.ipv4.ip_local_port_range): widen it with \
         `sysctl net.ipv4.ip_local_port_range=\"1024 65535\"`, lower --connections, or give the target more addresses"
    )]
    Ports {
        /// Connections to that address.
        need: u64,
        /// The address.
        address: String,
        /// In the range.
        ports: u64,
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

/// Checks everything that can be known before anything is started. `per_address` is each address with its connections.
pub fn check(shards: u32, connections: u32, per_address: &[(String, u64)]) -> Result<(), LimitError> {
    probe()?;
    // The ring's file table counts as many as there are connections, not more than the limit allows.
    let need = u64::from(connections) + DESCRIPTORS_BESIDES + DESCRIPTORS_PER_SHARD * u64::from(shards);
    let limit = raise_limit(Limit::Descriptors, need);
    if limit < need {
        return Err(LimitError::Descriptors { need, limit });
    }
    let ports = local_ports();
    if let Some((address, need)) = per_address.iter().find(|(_, need)| *need > ports) {
        return Err(LimitError::Ports { need: *need, address: address.clone(), ports });
    }
    let limit = raise_limit(Limit::LockedMemory, LOCKED_KIB * 1024) / 1024;
    if limit < LOCKED_KIB {
        let need = LOCKED_KIB;
        return Err(LimitError::LockedMemory { need, limit });
    }
    Ok(())
}

/// How many local ports connections to one address may use.
pub(crate) fn local_ports() -> u64 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| {
            let mut numbers = text.split_whitespace().map(str::parse::<u64>);
            let (low, high) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            Some(high.saturating_sub(low) + 1)
        })
        .unwrap_or(28_232)
}
