//! Whether a plan fits through this machine's network, said before the run.

use std::fs;

/// What a request of a plan takes and carries on average, over all targets.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Events a request; none if nobody knows.
    mean_events: Option<f64>,
    /// Of a request, head and body, on average.
    bytes_per_request: f64,
}

/// What goes to one target.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Its share of the requests, next to the others'.
    pub weight: u32,
    /// Events a request; none if nobody knows.
    pub mean_events: Option<f64>,
    /// Of a request, head and body, on average.
    pub bytes_per_request: f64,
}

/// Bits per second of the fastest network interface that is up; none if none of them says.
pub fn fastest_bits() -> Option<f64> {
    let megabits = fs::read_dir("/sys/class/net").ok()?.filter_map(|interface| {
        let path = interface.ok()?.path();
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();
        let is_up = read("operstate")?.trim() == "up";
        // -1 where nobody knows.
        read("speed")?.trim().parse::<i64>().ok().filter(|&speed| is_up && speed > 0)
    });
    megabits.max().map(|megabits| megabits as f64 * 1e6)
}

impl Demand {
    /// Of requests that are shared out by weight.
    pub fn of(flows: &[Flow]) -> Self {
        let whole: f64 = flows.iter().map(|flow| f64::from(flow.weight)).sum();
        let share = |flow: &Flow| f64::from(flow.weight) / whole;
        Self {
            mean_events: flows.iter().map(|flow| Some(flow.mean_events? * share(flow))).sum(),
            bytes_per_request: flows.iter().map(|flow| flow.bytes_per_request * share(flow)).sum(),
        }
    }

    /// Events a request carries on average; none if nobody knows.
    pub fn mean_events(&self) -> Option<f64> {
        self.mean_events
    }

    /// What to tell when a link of so many bits per second cannot carry so many requests per second. Headers below HTTP are left
    /// out: what does not fit without them does not fit.
    pub fn exceeds(&self, peak: f64, link_bits: f64) -> Option<String> {
        let bytes = peak * self.bytes_per_request;
        if bytes * 8.0 <= link_bits {
            return None;
        }
        let load = match self.mean_events {
            Some(events) => format!("{} events/s of this mix", joined(peak * events)),
            None => format!("{} of these requests/s", joined(peak)),
        };
        Some(format!(
            "{load} is {}B/s = {}bit/s; this machine's fastest link is {}bit/s: lower the rate, or share it with more machines",
            spaced(bytes),
            spaced(bytes * 8.0),
            spaced(link_bits),
        ))
    }
}

/// `5M`.
fn joined(value: f64) -> String {
    spaced(value).replace(' ', "")
}

/// `1.6 G`: two digits, or all before the point.
fn spaced(value: f64) -> String {
    let (unit, suffix) = [(1e9, "G"), (1e6, "M"), (1e3, "k")]
        .into_iter()
        .find(|(unit, _)| value >= *unit * 0.9995)
        .unwrap_or((1.0, ""));
    let scaled = value / unit;
    let text = if scaled >= 9.95 { format!("{scaled:.0}") } else { format!("{scaled:.1}") };
    format!("{} {suffix}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_beyond_the_fastest_link_is_told_in_its_own_figures() {
        let flow =
            Flow { weight: 3, mean_events: Some(5_000_000.0 / 1_130_000.0), bytes_per_request: 1_430.0 };
        let demand = Demand::of(&[flow]);
        let warning = demand.exceeds(1_130_000.0, 10e9).unwrap();
        assert!(
            warning.starts_with(
                "5M events/s of this mix is 1.6 GB/s = 13 Gbit/s; this machine's fastest link is 10 Gbit/s:"
            ),
            "{warning}"
        );
        assert_eq!(demand.exceeds(1_130_000.0, 25e9), None);
        // Three quarters of the requests are small events, the rest large and plain.
        let plain = Flow { weight: 1, mean_events: None, bytes_per_request: 395_710.0 };
        let plain = Demand::of(&[flow, plain]);
        assert!(
            plain
                .exceeds(50_000.0, 1e9)
                .unwrap()
                .starts_with("50k of these requests/s is 5 GB/s = 40 Gbit/s")
        );
    }
}
