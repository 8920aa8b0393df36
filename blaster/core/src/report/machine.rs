//! What the machine's own counters say of the time of a run: evidence for the verdict, and keys of the report.
//!
//! The shell reads them before and after; here are the differences. A counter that the kernel does not show is none, and
//! accuses nobody. Those of the network are of the whole network namespace: where a target shares it, they are of both.

use serde::{Deserialize, Serialize};

/// Counters of the machine over the time of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Share of the time that the generator's threads were ready to run and waited for their CPU.
    pub waited: Option<f64>,
    /// Times that a thread of the generator was taken off its CPU while it wanted to go on.
    pub involuntary_switches: Option<u64>,
    /// Share of the time that the control group's CPU limit stopped its threads.
    pub throttled: Option<f64>,
    /// Turns in which the completion queue had overflowed: the kernel kept the rest for the next.
    pub completion_overflows: u64,
    /// Receives that found no free buffer, and were armed again.
    pub buffers_starved: u64,
    /// TCP segments sent.
    pub segments_sent: Option<u64>,
    /// TCP segments received.
    pub segments_received: Option<u64>,
    /// Packets dropped because a CPU's input queue was full.
    pub softnet_drops: Option<u64>,
    /// Connections that a listening socket had no room for.
    pub listen_overflows: Option<u64>,
    /// Times that a socket's receive window went to zero.
    pub zero_windows: Option<u64>,
    /// Times that segments in a receive queue were dropped or squeezed together for want of room.
    pub receive_pruned: Option<u64>,
    /// Largest receive buffer of a TCP socket, in bytes; the kernel uses half of it or less for data.
    pub receive_buffer_max: Option<u64>,
    /// File descriptors of the generator when its connections were open.
    pub descriptors: Option<Usage>,
    /// Local ports in use or waiting (TIME_WAIT) at the end, against those there are to the targets' addresses.
    pub ports: Option<Usage>,
    /// Parts per million that the clock of all times ran faster than the raw hardware clock.
    pub clock_drift_ppm: Option<f64>,
    /// How far the wall clock was moved, in nanoseconds.
    pub wall_clock_step_ns: Option<i64>,
    /// What the kernel says of the connections that were open at the end.
    pub tcp: Option<Tcp>,
}

/// A part of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// In use.
    pub used: u64,
    /// In all.
    pub limit: u64,
}

impl Usage {
    /// The part in use.
    pub fn share(self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64
    }
}

/// Sums over some of the connections, from `TCP_INFO` (Linux 4.9 and newer).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tcp {
    /// Connections looked at.
    pub connections: u64,
    /// Median of their smoothed round-trip times.
    pub rtt_ns: u64,
    /// Median of their congestion windows, in segments.
    pub congestion_window: u64,
    /// Time with something to send or unacknowledged.
    pub busy_ns: u64,
    /// Of it, while the target's receive window was full: the target read too slowly.
    pub receive_window_limited_ns: u64,
    /// Of it, while this side's send buffer was full.
    pub send_buffer_limited_ns: u64,
    /// Segments they sent again.
    pub retransmits: u64,
}
