//! Poisson arrivals at one server with a fixed service time: what the client measures is what Lindley's recursion makes
//! of the arrivals that the sink saw, and what Pollaczek and Khinchine expect.

use anyhow::{Result, anyhow};
use benches::truth::queue::{lindley, md1_mean_wait};
use benches::truth::sample::{batch_means, mean, quantile};

use crate::sink::Sink;
use crate::stage::Stage;
use crate::table::{Kind, Table, time};

const SERVICE_NS: f64 = 50_000.0;
const SERVICE: &str = "--profile control --service spin:50us --workers 1";
const BATCHES: usize = 30;
const NS_MAX: f64 = 20_000.0;

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let seconds = stage.pick(4, 60, 600);
    let plan = "--pipeline 1 -c 1000 --path /";
    let sink = Sink::start(stage, SERVICE)?;
    let idle = stage.run(&sink, &format!("--rps 500 -d 2s {plan}"))?.report;
    let floor = idle.response_time_ns.p50.unwrap_or(0) as f64 - SERVICE_NS;
    drop(sink);
    for percent in [50, 70, 90] {
        let rate = f64::from(percent) / 100.0 * 1e9 / SERVICE_NS;
        let sink = Sink::recording(stage, SERVICE)?;
        let run = stage.run(&sink, &format!("--rps {rate} --arrivals poisson -d {seconds}s {plan}"))?;
        let seen: Vec<(u64, u64)> = sink.seen()?.iter().map(|seen| (seen.arrival, seen.service)).collect();
        let waits: Vec<f64> = lindley(&seen).into_iter().map(|wait| wait as f64).collect();
        let mut sorted = waits.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let [Some(first), Some(last)] = [seen.first(), seen.last()] else {
            return Err(anyhow!("the sink recorded nothing"));
        };
        let response = &run.report.response_time_ns;
        let ours = |time: Option<u64>| time.unwrap_or(u64::MAX) as f64 - SERVICE_NS - floor;
        for (name, theory, ours) in [
            ("mean", mean(&waits), ours(response.mean)),
            ("p99", quantile(&sorted, 0.99), ours(response.p99)),
        ] {
            let allowed = NS_MAX.max(theory * 0.01);
            table.row(
                Kind::Times,
                format!("{name} wait at {percent} % load, as Lindley's recursion has it over the arrivals the sink saw"),
                [
                    time(theory),
                    format!("{} (less {} floor)", time(ours), time(floor)),
                    format!("{}, allowed {} ({})", time(ours - theory), time(allowed), run.noise),
                ],
                (ours - theory).abs() <= allowed,
            );
        }
        let service = mean(&seen.iter().map(|(_, service)| *service as f64).collect::<Vec<_>>());
        let load = (seen.len() - 1) as f64 * service / (last.0 - first.0).max(1) as f64;
        let (measured, error) = batch_means(&waits, BATCHES);
        let theory = md1_mean_wait(load, service);
        table.row(
            Kind::Times,
            format!("mean wait of M/D/1 at {percent} % load: ρS / 2(1 − ρ), ρ measured"),
            [
                format!("{} at ρ = {load:.4}", theory.map_or_else(|| "endless".to_owned(), time)),
                time(measured),
                format!(
                    "{:.1} standard errors of {} ({})",
                    theory.map_or(f64::INFINITY, |theory| (measured - theory).abs() / error),
                    time(error),
                    run.noise
                ),
            ],
            theory.is_some_and(|theory| (measured - theory).abs() <= 3.0 * error),
        );
    }
    Ok(())
}
