//! Coordinated omission: what a sink that stops for a second does to those who would have come meanwhile.

use std::ops::Range;

use anyhow::{Result, anyhow};
use benches::truth::queue::Pause;
use benches::truth::sample::quantile;
use blaster_core::plan::Arrivals;
use blaster_core::report::encoding::decode;

use crate::pairs::{Pair, intended, pair};
use crate::sink::Sink;
use crate::stage::{Noise, Runs, Stage, command};
use crate::table::{Kind, Table, time};

const RATE: f64 = 2_000.0;
/// A share of the theory's value within which a quantile must lie, unless that is less than a gap of the schedule.
const TOLERANCE: f64 = 0.01;

/// Finer than a request in the run that they describe.
const CALM_STEPS: u32 = 100_000;

/// A run through a stall: quantiles of the response time in steps of 0.1 %, in nanoseconds.
struct Stalled {
    measured: Vec<f64>,
    /// By the mixture of those that the stall held up and those that it did not.
    mixture: Vec<f64>,
    /// By the sink's record.
    record: Vec<f64>,
    /// Seconds, and requests a second after it.
    length: f64,
    drain: f64,
    unanswered: u64,
}

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let (stall, seconds) = stage.pick(("1s@1s", 4), ("1s@3s", 20), ("1s@3s", 20));
    let wanted = stage.pick(1, 1, 3);
    for (connections, how) in [(2_500, "none waits for a connection"), (64, "most wait for a connection")] {
        let plan = format!("--rps {RATE} -d {seconds}s --pipeline 1 -c {connections} --path /");
        let calm = Runs::quiet(stage, 1, |_| {
            let sink = Sink::start(stage, "--profile control")?;
            let run = stage.run(&sink, &plan)?;
            let times = decode(&run.report.histograms.response_time)?;
            let every = (0..CALM_STEPS).map(|step| f64::from(step) / f64::from(CALM_STEPS));
            Ok((every.map(|at| times.value_at_quantile(at) as f64).collect::<Vec<_>>(), run.noise))
        })?;
        let runs = Runs::quiet(stage, wanted, |_| through(stage, stall, &plan, seconds, &calm.runs[0]))?;
        let (length, drain) = (runs.median(|run| run.length), runs.median(|run| run.drain));
        let of =
            format!("{RATE} requests/s into a stall of {length:.4} s, {connections} connections ({how})");
        compare(
            table,
            &runs,
            format!(
                "every response time to p99.9 in steps of 0.1 %, by the mixture of a run without a stall and the line that \
                 the stall and {drain:.0} answers/s after it make: {of}"
            ),
            |run| &run.mixture,
        );
        let claim = "the same, request by request: from when each was intended to when the sink answered it";
        compare(table, &runs, format!("{claim}: {of}"), |run| &run.record);
        if connections == 64 {
            let theory = runs.median(|run| run.mixture[989]);
            closed_loop(stage, table, stall, seconds, theory)?;
            wrk(stage, table, stall, seconds, theory)?;
        }
    }
    Ok(())
}

fn through(stage: &Stage, stall: &str, plan: &str, seconds: u32, calm: &[f64]) -> Result<(Stalled, Noise)> {
    let sink = Sink::recording(stage, &format!("--profile control --stall {stall}"))?;
    let run = stage.run(&sink, plan)?;
    let length = sink.counts()?.value("stall_ns_total")? / 1e9;
    let requests = pair(&sink.seen()?, &intended(Arrivals::Uniform, RATE, seconds.into(), stage.seed)?)?;
    let drain = drain(&requests)?;
    let floor = quantile(calm, 0.5);
    let held = Pause { rate: RATE, drain, length }.waits(run.report.requests.scheduled);
    let free = held.iter().filter(|wait| **wait == 0.0).count();
    let not_held = (0..free).map(|n| quantile(calm, (n as f64 + 0.5) / free as f64));
    let held = held.iter().filter(|wait| **wait > 0.0).map(|wait| wait * 1e9 + floor);
    let measured = decode(&run.report.histograms.response_time)?;
    let stalled = Stalled {
        measured: STEPS.map(|step| measured.value_at_quantile(share(step)) as f64).collect(),
        mixture: quantiles(not_held.chain(held).collect()),
        record: quantiles(requests.iter().map(|request| request.ns() + floor).collect()),
        length,
        drain,
        unanswered: run.report.response_time_ns.unanswered,
    };
    Ok((stalled, run.noise))
}

const STEPS: Range<u32> = 1..1000;

fn share(step: u32) -> f64 {
    f64::from(step) / 1000.0
}

fn quantiles(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    STEPS.map(|step| quantile(&values, share(step))).collect()
}

/// Holds all quantiles of runs, each the median of the runs, against those of `theory`.
fn compare(table: &mut Table, runs: &Runs<Stalled>, claim: String, theory: impl Fn(&Stalled) -> &Vec<f64>) {
    // The stall begins somewhere between two intended times.
    let phase = 1e9 / RATE;
    let compared = |step: u32| {
        let at = step as usize - 1;
        let expected = runs.median(|run| theory(run)[at]);
        let error = runs.median(|run| run.measured[at] - theory(run)[at]);
        (error, (expected * TOLERANCE).max(phase), step)
    };
    let (error, allowed, step) = STEPS
        .map(compared)
        .max_by(|left, right| (left.0.abs() / left.1).total_cmp(&(right.0.abs() / right.1)))
        .expect("999 steps");
    let shown = |of: &dyn Fn(&Stalled) -> &Vec<f64>| {
        let [worst, p99] = [step, 990].map(|step| time(runs.median(|run| of(run)[step as usize - 1])));
        format!("p{:.1} {worst}, p99 {p99}", share(step) * 100.0)
    };
    table.row(
        Kind::Times,
        claim,
        [
            shown(&theory),
            shown(&|run| &run.measured),
            format!(
                "worst of 999: {}, allowed {} (1 %, or a gap of the schedule) ({runs})",
                time(error),
                time(allowed)
            ),
        ],
        error.abs() <= allowed && runs.runs.iter().all(|run| run.unanswered == 0),
    );
}

/// Requests answered a second from the end of the stall until none waited: as fast as the sink went.
fn drain(requests: &[Pair]) -> Result<f64> {
    let gap = |pair: &[Pair]| pair[1].answered.saturating_sub(pair[0].answered);
    let stalled = requests.windows(2).enumerate().max_by_key(|(_, pair)| gap(pair));
    let (before, _) = stalled.ok_or_else(|| anyhow!("the sink recorded no stall"))?;
    let after = &requests[before + 1..];
    let drained = after.iter().position(|request| request.ns() < 1e9 / RATE).unwrap_or(after.len() - 1);
    Ok(drained as f64 * 1e9 / (after[drained].answered - after[0].answered).max(1) as f64)
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
