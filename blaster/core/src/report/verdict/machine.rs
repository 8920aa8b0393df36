//! Rules over what the machine itself counted: each names what was found, what it is held against, and the next step.

use super::{Evidence, Finding, Limiter, SAMPLES_MIN, Status, own_lateness};
use crate::load::engine::ConnectFailure;
use crate::report::units::{bytes, grouped, percent};
use crate::time::Nanos;

/// A greater share of CPU time stolen, waited for or forbidden is named beside a lateness that it may explain.
const LOST_MENTIONED: f64 = 0.001;

/// A greater share of CPU time lost makes a closed loop doubtful, in which nothing is ever late.
const LOST_MAX: f64 = 0.01;

/// A greater share of the time stopped by a CPU limit is a reason of its own.
const THROTTLED_MAX: f64 = 0.01;

/// A turn longer than this is named beside a lateness that it may explain.
const TURN_NS_MENTIONED: u64 = 1_000_000;

/// A greater share of segments sent again touches the tail of what is measured (p99.9).
const RETRANSMITS_MAX: f64 = 0.001;

/// More closed windows or squeezed queues for a segment received than this are no start-up effect.
const RECEIVE_PRESSURE_MAX: f64 = 0.001;

/// A greater share of receives without a buffer costs turns.
const STARVED_MAX: f64 = 0.01;

/// A greater part of the descriptors or ports in use is near the end of them.
const USED_MAX: f64 = 0.9;

/// Beyond the three digits of the histograms.
const DRIFT_PPM_MAX: f64 = 1_000.0;

/// Twice what three digits can round off.
const LITTLES_LAW_MAX: f64 = 0.002;

/// What took the CPU away, in words to stand behind a lateness; empty if nothing is known.
pub(super) fn why_late(evidence: &Evidence) -> String {
    let machine = &evidence.machine;
    let mut causes = Vec::new();
    let mut lost = |share: Option<f64>, what: &str| {
        if let Some(share) = share.filter(|share| *share >= LOST_MENTIONED) {
            causes.push(format!("{what} {} of its CPU time", percent(share)));
        }
    };
    lost(evidence.steal, "the hypervisor took");
    // A thread that a limit has stopped waits for its CPU, too.
    let waited = machine.waited.map(|waited| waited - machine.throttled.unwrap_or(0.0));
    lost(waited, "other processes took");
    lost(machine.throttled, "a CPU limit took");
    if let Some(turn) = evidence.turn_ns_max.filter(|turn| *turn > TURN_NS_MENTIONED) {
        causes.push(format!("its longest turn took {}", Nanos(turn)));
    }
    if causes.is_empty() { String::new() } else { format!(" ({} meanwhile)", causes.join(", ")) }
}

/// All that the machine's counters give reason to say.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    [
        throttled(evidence),
        contended(evidence),
        near_the_end(evidence),
        congestion_control(evidence),
        retransmits(evidence),
        receive_buffer(evidence),
        buffers_starved(evidence),
        softnet_drops(evidence),
        clock_drift(evidence),
        littles_law(evidence),
        listen_overflows(evidence),
        intervals(evidence),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn throttled(evidence: &Evidence) -> Option<Finding> {
    let share = evidence.machine.throttled.filter(|share| *share > THROTTLED_MAX)?;
    let text = format!(
        "a CPU limit stopped the generator for {} of the time, the most that goes unnoticed is {}: \
         raise the limit of its control group or container (cpu.max, --cpus), or lower --rps",
        percent(share),
        percent(THROTTLED_MAX),
    );
    Some(Finding::new(Status::Suspect, Limiter::Client, "cpu_throttled", share, THROTTLED_MAX, text))
}

/// In open loop lateness tells what lost time did; in closed loop nothing does.
fn contended(evidence: &Evidence) -> Option<Finding> {
    let lost = evidence.steal.unwrap_or(0.0) + evidence.machine.waited.unwrap_or(0.0);
    if !evidence.closed_loop || lost <= LOST_MAX {
        return None;
    }
    let text = format!(
        "the generator went without its CPU for {} of the time, the limit is {} (stolen by the hypervisor {}, waited for behind \
         other processes {}): give it CPUs of its own",
        percent(lost),
        percent(LOST_MAX),
        percent(evidence.steal.unwrap_or(0.0)),
        percent(evidence.machine.waited.unwrap_or(0.0)),
    );
    Some(Finding::new(Status::Suspect, Limiter::Client, "cpu_contended", lost, LOST_MAX, text))
}

/// A word of warning while all is still well.
fn near_the_end(evidence: &Evidence) -> Option<Finding> {
    if evidence.connect_failures[ConnectFailure::Limits as usize] > 0 {
        return None;
    }
    let machine = &evidence.machine;
    let ports = machine.ports.filter(|_| evidence.reopened > 0);
    let (code, used, text) = [
        (
            "descriptors_near_end",
            machine.descriptors,
            "file descriptors are in use: raise `ulimit -n` before adding connections",
        ),
        (
            "ports_near_end",
            ports,
            "local ports to the target are in use or waiting to be used again: keep connections alive, \
             connect from more addresses (--source-ips auto), widen net.ipv4.ip_local_port_range, or set \
             net.ipv4.tcp_tw_reuse=1",
        ),
    ]
    .into_iter()
    .find_map(|(code, used, text)| Some((code, used.filter(|used| used.share() > USED_MAX)?, text)))?;
    let text = format!("{} of {} {text}", grouped(used.used), grouped(used.limit));
    Some(Finding::new(
        Status::Valid,
        Limiter::None,
        code,
        used.used as f64,
        used.limit as f64 * USED_MAX,
        text,
    ))
}

fn congestion_control(evidence: &Evidence) -> Option<Finding> {
    let paced_by_qdisc = evidence.queue_discipline.as_deref() == Some("fq");
    if evidence.congestion_control != "bbr" || paced_by_qdisc {
        return None;
    }
    let text = "congestion control is bbr without the fq queue discipline: it paces every connection by a timer of its own, and \
                those waits are in the times: leave --congestion at cubic, or `sysctl net.core.default_qdisc=fq` and \
                reset the interface's queue discipline"
        .to_owned();
    Some(Finding::new(Status::Suspect, Limiter::Network, "congestion_control", 1.0, 0.0, text))
}

fn retransmits(evidence: &Evidence) -> Option<Finding> {
    let segments = evidence.machine.segments_sent.filter(|segments| *segments >= SAMPLES_MIN)?;
    let share = evidence.retransmits? as f64 / segments as f64;
    if share <= RETRANSMITS_MAX {
        return None;
    }
    let text = format!(
        "{} of the TCP segments had to be sent again, the limit is {}: each waited for a timeout or for duplicate \
         acknowledgements; look for drops on the way (ip -s link, ethtool -S, nstat) or lower --rps",
        percent(share),
        percent(RETRANSMITS_MAX),
    );
    Some(Finding::new(Status::Suspect, Limiter::Network, "retransmits", share, RETRANSMITS_MAX, text))
}

/// A buffer that does not hold the answers to a pipeline makes the target wait for the generator to read; so does one that was
/// seen to run out.
fn receive_buffer(evidence: &Evidence) -> Option<Finding> {
    let machine = &evidence.machine;
    let next_step = "raise net.ipv4.tcp_rmem (and net.core.rmem_max), or pipeline less (-p)";
    let answers = evidence.answers_bytes;
    if let Some(room) = machine.receive_buffer_max.map(|bytes| bytes / 2).filter(|room| *room < answers) {
        let text = format!(
            "receive buffers hold {} of data, the answers that a connection may have in flight are {}, so that the target had \
             to wait for them to be read: {next_step}",
            bytes(room),
            bytes(answers),
        );
        let (value, limit) = (answers as f64, room as f64);
        return Some(Finding::new(Status::Suspect, Limiter::Network, "receive_buffer", value, limit, text));
    }
    let received = machine.segments_received.filter(|segments| *segments >= SAMPLES_MIN)?;
    let pressed = machine.zero_windows.unwrap_or(0) + machine.receive_pruned.unwrap_or(0);
    let share = pressed as f64 / received as f64;
    if share <= RECEIVE_PRESSURE_MAX {
        return None;
    }
    let text = format!(
        "sockets on this machine ran out of receive buffer {} times ({} a segment, the limit is {}), so that senders had to wait: \
         {next_step}",
        grouped(pressed),
        percent(share),
        percent(RECEIVE_PRESSURE_MAX),
    );
    Some(Finding::new(Status::Suspect, Limiter::Network, "receive_buffer", share, RECEIVE_PRESSURE_MAX, text))
}

fn buffers_starved(evidence: &Evidence) -> Option<Finding> {
    let starved = evidence.machine.buffers_starved;
    let share = starved as f64 / evidence.receives.max(1) as f64;
    if share <= STARVED_MAX {
        return None;
    }
    let text = format!(
        "{} receives found no free buffer in the generator's ring ({} an answer, the limit is {}): give more threads (-t) or \
         pipeline less (-p)",
        grouped(starved),
        percent(share),
        percent(STARVED_MAX),
    );
    Some(Finding::new(Status::Suspect, Limiter::Client, "buffers_starved", share, STARVED_MAX, text))
}

/// Seen where the target shares this machine's network.
fn listen_overflows(evidence: &Evidence) -> Option<Finding> {
    let overflows = evidence.machine.listen_overflows.filter(|overflows| *overflows > 0)?;
    let text = format!(
        "a listen queue on this machine had no room for {} connections: raise the target's backlog and net.core.somaxconn",
        grouped(overflows),
    );
    Some(Finding::new(Status::Valid, Limiter::Target, "listen_overflows", overflows as f64, 0.0, text))
}

fn softnet_drops(evidence: &Evidence) -> Option<Finding> {
    let drops = evidence.machine.softnet_drops.filter(|drops| *drops > 0)?;
    let text = format!(
        "this machine dropped {} packets because a CPU's input queue was full: raise net.core.netdev_max_backlog, spread \
         interrupts over more CPUs, or lower --rps",
        grouped(drops),
    );
    Some(Finding::new(Status::Suspect, Limiter::Network, "softnet_drops", drops as f64, 0.0, text))
}

fn clock_drift(evidence: &Evidence) -> Option<Finding> {
    let drift = evidence.machine.clock_drift_ppm.filter(|drift| drift.abs() > DRIFT_PPM_MAX)?;
    let text = format!(
        "the clock ran {drift:+.0} parts per million off the hardware's, the limit is {DRIFT_PPM_MAX:.0}: times and rates are off by \
         as much; wait until the time service has settled, or correct it (chronyc tracking)"
    );
    Some(Finding::new(Status::Suspect, Limiter::Client, "clock_drift", drift, DRIFT_PPM_MAX, text))
}

fn littles_law(evidence: &Evidence) -> Option<Finding> {
    let excess = evidence.littles_law_excess;
    if excess <= LITTLES_LAW_MAX {
        return None;
    }
    let text = format!(
        "service times add up to {} more than the time requests were in flight, which cannot be (Little's law): \
         please report this as a bug, with the report",
        percent(excess),
    );
    Some(Finding::new(Status::Suspect, Limiter::Client, "littles_law", excess, LITTLES_LAW_MAX, text))
}

/// Some seconds of a run that is as good as a whole.
fn intervals(evidence: &Evidence) -> Option<Finding> {
    let Evidence { intervals, intervals_not_valid: bad, .. } = *evidence;
    // Of a run that was late as a whole the verdict has said so.
    if bad == 0 || own_lateness(evidence).is_some() {
        return None;
    }
    let text = format!(
        "in {} of {} intervals the generator was late by itself{}: they are marked in the report's intervals; the others stand",
        grouped(bad),
        grouped(intervals),
        why_late(evidence),
    );
    Some(Finding::new(Status::Valid, Limiter::None, "intervals_not_valid", bad as f64, 0.0, text))
}
