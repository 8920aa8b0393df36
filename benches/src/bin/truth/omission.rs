//! Coordinated omission: what a sink that stops for a second does to those who would have come meanwhile.

use anyhow::Result;
use benches::truth::queue::Pause;
use benches::truth::sample::quantile;
use blaster_core::report::encoding::decode;

use crate::sink::Sink;
use crate::stage::{Stage, command};
use crate::table::{Kind, Table, time};

const RATE: f64 = 2_000.0;
/// A share of the theory's value within which a quantile must lie, unless the floor is wider.
const TOLERANCE: f64 = 0.01;

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let (stall, seconds) = stage.pick(("1s@1s", 4), ("1s@3s", 20), ("1s@3s", 20));
    for (connections, how) in [(2_500, "none waits for a connection"), (64, "most wait for a connection")] {
        let load = format!("--pipeline 1 -c {connections} --path /");
        let plan = format!("--rps {RATE} -d {seconds}s {load}");
        // The floor and the speed of draining are taken from the same sink, awake.
        let sink = Sink::start(stage, "--profile control")?;
        let floor = stage.run(&sink, &plan)?.report.response_time_ns.p99_9.unwrap_or(0) as f64;
        let drain = stage.run(&sink, &format!("--rps max -d 1s {load}"))?.report.rate.completed;
        drop(sink);

        let sink = Sink::start(stage, &format!("--profile control --stall {stall}"))?;
        let run = stage.run(&sink, &plan)?;
        let length = sink.counts()?.value("stall_ns_total")? / 1e9;
        let measured = decode(&run.report.histograms.response_time)?;
        let waits = Pause { rate: RATE, drain, length }.waits(run.report.requests.scheduled);
        // The stall begins somewhere between two intended times.
        let phase = 1e9 / RATE;
        let worst = (1..1000)
            .map(|step| {
                let at = f64::from(step) / 1000.0;
                let (theory, measured) = (quantile(&waits, at) * 1e9, measured.value_at_quantile(at) as f64);
                let allowed = (theory * TOLERANCE).max(floor + phase);
                ((measured - theory).abs() / allowed, at, theory, measured, allowed)
            })
            .max_by(|left, right| left.0.total_cmp(&right.0))
            .expect("999 steps");
        let (excess, at, theory, value, allowed) = worst;
        let unanswered = run.report.response_time_ns.unanswered;
        table.row(
            Kind::Times,
            format!("every response time to p99.9 in steps of 0.1 %: {RATE} requests/s into a stall of {length:.4} s, {connections} connections ({how})"),
            [
                format!("p{:.1} {}, p99 {}", at * 100.0, time(theory), time(quantile(&waits, 0.99) * 1e9)),
                format!("p{:.1} {}, p99 {}", at * 100.0, time(value), time(measured.value_at_quantile(0.99) as f64)),
                format!(
                    "worst of 999: {}, allowed {} (1 %, or floor {} + {}) ({})",
                    time(value - theory), time(allowed), time(floor), time(phase), run.noise
                ),
            ],
            excess <= 1.0 && unanswered == 0,
        );
        drop(sink);
        if connections == 64 {
            let theory = quantile(&waits, 0.99) * 1e9;
            closed_loop(stage, table, stall, seconds, theory)?;
            wrk(stage, table, stall, seconds, theory)?;
        }
    }
    Ok(())
}

/// What a client that waits with its target sees of the same stall: hardly anything.
fn closed_loop(stage: &Stage, table: &mut Table, stall: &str, seconds: u32, theory: f64) -> Result<()> {
    let sink = Sink::start(stage, &format!("--profile control --stall {stall}"))?;
    let run = stage.run(&sink, &format!("--rps max -d {seconds}s --pipeline 1 -c 64 --path /"))?;
    let p99 = run.report.service_time_ns.p99.unwrap_or(u64::MAX) as f64;
    table.row(
        Kind::Times,
        "a closed loop misses the same stall: p99 of blaster --rps max".into(),
        [
            format!("p99 {} by the schedule", time(theory)),
            format!("p99 {}", time(p99)),
            format!("{:.0} times too short ({})", theory / p99, run.noise),
        ],
        p99 < theory / 2.0,
    );
    Ok(())
}

/// What wrk makes of it: it sends in closed loop too, and afterwards adds the requests that it supposes were missing
/// (`stats_correct` in its `wrk.c`, from the mean interval of a connection).
fn wrk(stage: &Stage, table: &mut Table, stall: &str, seconds: u32, theory: f64) -> Result<()> {
    let claim = "wrk, a closed loop that corrects its times afterwards, at the same stall".to_owned();
    if command(&["sh", "-c", "command -v wrk"]).is_err() {
        table.skipped(claim, "wrk is not installed");
        return Ok(());
    }
    let sink = Sink::start(stage, &format!("--profile control --stall {stall}"))?;
    let (url, duration) = (format!("http://{}/", sink.host), format!("{seconds}s"));
    let words =
        ["taskset", "-c", &stage.client_cpu, "wrk", "-t1", "-c64", "-d", &duration, "--latency", &url];
    let said = command(&words)?;
    let p99 = said.lines().find_map(|line| line.trim().strip_prefix("99%")).unwrap_or("nothing").trim();
    table.shown(
        claim,
        [
            format!("p99 {} by the schedule", time(theory)),
            format!("p99 {p99}, as wrk says"),
            p99_ns(p99).map_or_else(|| "not read".to_owned(), |ns| time(ns - theory)),
        ],
    );
    Ok(())
}

/// Nanoseconds of a time as wrk writes it.
fn p99_ns(text: &str) -> Option<f64> {
    let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let scale = match &text[unit..] {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        assert_eq!(p99_ns("812.00us"), Some(812e3));
        assert_eq!(p99_ns("1.02s"), Some(1.02e9));
        assert_eq!(p99_ns("nothing"), None);
    }
}
