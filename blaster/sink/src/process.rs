//! What the process takes, as Prometheus' own clients tell it: for whoever asks what a request costs.

use std::fmt::Write;

/// What `/proc` counts CPU time in, whatever the kernel's own tick (`USER_HZ`, time(7)).
const TICKS_PER_S: f64 = 100.0;

/// Lines of the Prometheus text; what the kernel does not show is left out.
pub(crate) fn prometheus() -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let mut text = String::new();
    if let Some(ticks) = cpu_ticks(&read("stat")) {
        let seconds = ticks as f64 / TICKS_PER_S;
        push(&mut text, "cpu_seconds_total", "counter", "User and system CPU time of the process.", seconds);
    }
    if let Some(kib) = resident_kib(&read("status")) {
        let bytes = (kib * 1024) as f64;
        push(&mut text, "resident_memory_bytes", "gauge", "Memory that the process has in RAM.", bytes);
    }
    text
}

fn push(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    writeln!(text, "# HELP process_{name} {help}\n# TYPE process_{name} {kind}\nprocess_{name} {value}")
        .expect("a string takes all");
}

/// User and system time of `/proc/PID/stat`; the name before them may have spaces of its own.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 123 45 0 0 20 0 3 0 999 1000 200";
        assert_eq!(cpu_ticks(stat), Some(168));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn memory_is_what_is_resident() {
        assert_eq!(resident_kib("Name:\tx\nVmSize:\t  999 kB\nVmRSS:\t   1234 kB\n"), Some(1234));
        assert_eq!(resident_kib("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_takes_something() {
        let text = prometheus();
        assert!(
            text.contains("\nprocess_cpu_seconds_total ") && text.contains("process_resident_memory_bytes ")
        );
    }
}
