//! Known latencies: the client's service times are those the sink says it took, and the way there and back.

use anyhow::Result;

use crate::sink::Sink;
use crate::stage::Stage;
use crate::table::{Kind, Table, time};

const LATENCIES: [&str; 3] = ["fixed:5ms", "exp:5ms", "lognormal:5ms,0.5"];
const NS_MAX: f64 = 20_000.0;

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let seconds = stage.pick(3, 20, 200);
    for depth in [1, 8] {
        let plan = format!("--rps 2000 -d {seconds}s --pipeline {depth} -c {} --path /", 256 / depth);
        let sink = Sink::start(stage, "--profile control")?;
        let floor = stage.run(&sink, &plan)?.report.service_time_ns.p50.unwrap_or(0) as f64;
        drop(sink);
        for latency in LATENCIES {
            let sink = Sink::start(stage, &format!("--profile control --latency {latency}"))?;
            let run = stage.run(&sink, &plan)?;
            let counts = sink.counts()?;
            let service = &run.report.service_time_ns;
            let quantiles = [("0.5", service.p50), ("0.99", service.p99), ("0.999", service.p99_9)];
            let mut worst = 0.0_f64;
            let (mut theory, mut ours, mut errors) = (Vec::new(), Vec::new(), Vec::new());
            for (quantile, measured) in quantiles {
                let theirs = counts.value(&format!("time_seconds{{quantile=\"{quantile}\"}}"))? * 1e9 + floor;
                let measured = measured.unwrap_or(u64::MAX) as f64;
                worst = worst.max((measured - theirs).abs() / NS_MAX.max(theirs * 0.01));
                theory.push(time(theirs));
                ours.push(time(measured));
                errors.push(time(measured - theirs));
            }
            table.row(
                Kind::Times,
                format!("service time, {latency}, depth {depth}: p50, p99, p99.9 as the sink has them, and the floor"),
                [
                    format!("{} (floor {})", theory.join(" · "), time(floor)),
                    ours.join(" · "),
                    format!("{}, allowed 20 µs or 1 % ({})", errors.join(" · "), run.noise),
                ],
                worst <= 1.0,
            );
        }
    }
    Ok(())
}
