//! Known latencies: the client's response times are those that follow from when the sink says it answered, and the way there
//! and back.

use anyhow::Result;
use benches::truth::sample::quantile;
use blaster_core::plan::Arrivals;

use crate::pairs::{self, pair};
use crate::sink::Sink;
use crate::stage::{Runs, Stage};
use crate::table::{Kind, Table, time};

const LATENCIES: [&str; 3] = ["fixed:5ms", "exp:5ms", "lognormal:5ms,0.5"];
/// Under it the way there and back is all that a quantile is made of, besides what the sink says.
const LATENCY_OF_FLOOR: &str = "fixed:1ms";
const NS_MAX: f64 = 20_000.0;
/// So many that neither side ever sleeps: how long a sleeping CPU takes to wake up is a matter of the machine, and varies.
const RATE: u32 = 20_000;
const CONNECTIONS: u32 = 2_000;
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// Quantiles of a run in nanoseconds, as the sink and as the client have them.
struct Sides {
    sink: [f64; 3],
    client: [f64; 3],
}

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let (wanted, seconds) = stage.pick((1, 2), (5, 3), (25, 10));
    for depth in [1, 8] {
        let plan =
            format!("--rps {RATE} -d {seconds}s --pipeline {depth} -c {} --path /", CONNECTIONS / depth);
        let floor =
            measure(stage, LATENCY_OF_FLOOR, &plan, seconds, 3)?.median(|run| run.client[0] - run.sink[0]);
        for latency in LATENCIES {
            let runs = measure(stage, latency, &plan, seconds, wanted)?;
            let theory = [0, 1, 2].map(|at| runs.median(|run| run.sink[at] + floor));
            let measured = [0, 1, 2].map(|at| runs.median(|run| run.client[at]));
            let errors = [0, 1, 2].map(|at| runs.median(|run| run.client[at] - run.sink[at] - floor));
            let excess =
                errors.iter().zip(theory).map(|(error, theory)| error.abs() / NS_MAX.max(theory * 0.01));
            let list = |values: [f64; 3]| values.map(time).join(" · ");
            table.row(
                Kind::Times,
                format!("response time, {latency}, depth {depth}: p50, p99, p99.9 by when the sink answered, and the floor; medians"),
                [
                    format!("{} (floor {})", list(theory), time(floor)),
                    list(measured),
                    format!("{}, allowed 20 µs or 1 % ({runs})", list(errors)),
                ],
                excess.fold(0.0, f64::max) <= 1.0,
            );
        }
    }
    Ok(())
}

/// Runs against fresh sinks with this latency.
fn measure(stage: &Stage, latency: &str, plan: &str, seconds: u32, wanted: usize) -> Result<Runs<Sides>> {
    Runs::quiet(stage, wanted, |_| {
        let sink = Sink::recording(stage, &format!("--profile control --latency {latency}"))?;
        let run = stage.run(&sink, plan)?;
        let times = pairs::intended(Arrivals::Uniform, RATE.into(), seconds.into(), stage.seed)?;
        let theirs = pairs::times(&pair(&sink.seen()?, &times)?);
        let ours = &run.report.response_time_ns;
        let client = [ours.p50, ours.p99, ours.p99_9].map(|time| time.unwrap_or(u64::MAX) as f64);
        Ok((Sides { sink: QUANTILES.map(|at| quantile(&theirs, at)), client }, run.noise))
    })
}
