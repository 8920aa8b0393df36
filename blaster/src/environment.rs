//! Where the run takes place.

use std::fs;

/// The CPU's name, as the kernel knows it.
pub fn cpu_name() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line =
                text.lines().find(|line| line.starts_with("model name") || line.starts_with("Model"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Time stolen by the hypervisor from one CPU, in nanoseconds since boot.
pub fn stolen_ns(cpu: usize) -> Option<u64> {
    // Clock ticks of 1/100 s, as /proc shows them on every architecture Linux runs on today.
    const NS_PER_TICK: u64 = 10_000_000;
    let text = fs::read_to_string("/proc/stat").ok()?;
    let name = format!("cpu{cpu} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name))?;
    Some(line.split_whitespace().nth(7)?.parse::<u64>().ok()? * NS_PER_TICK)
}

/// Queue discipline that new network interfaces get; none where the kernel does not say.
pub fn queue_discipline() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/net/core/default_qdisc").ok()?.trim().to_owned())
}
