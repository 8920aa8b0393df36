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

/// Retransmitted TCP segments of this network namespace since it began; none where the kernel does not say.
pub fn retransmits() -> Option<u64> {
    field(&fs::read_to_string("/proc/net/snmp").ok()?, "Tcp:", "RetransSegs")
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
}
