//! Poisson arrivals at one server with a fixed service time: what the client measures is what Lindley's recursion makes
//! of the arrivals and services that the sink saw, and what Pollaczek and Khinchine expect.

use anyhow::{Result, anyhow};
use benches::truth::queue::{lindley, md1_mean_wait};
use benches::truth::sample::{batch_means, mean, quantile};
use blaster_core::plan::Arrivals;
use blaster_core::report::latency::Latency;

use crate::pairs::{self, pair};
use crate::sink::Sink;
use crate::stage::{Noise, Runs, Stage};
use crate::table::{Kind, Table, time};

const SERVICE_NS: f64 = 50_000.0;
const SERVICE: &str = "--profile control --service spin:50us --workers 1";
const PLAN: &str = "--pipeline 1 -c 1000 --path /";
const BATCHES: usize = 30;
const NS_MAX: f64 = 20_000.0;

/// Where the recursion takes arrivals from. What comes while a sink is held up is seen late; the schedule says when it came.
const ARRIVALS: [&str; 2] = ["the sink recorded", "the schedule has"];

/// Mean and p99 of times beyond service: at the sink, and as the client has them.
#[derive(Clone, Copy)]
struct Sides {
    theory: [f64; 2],
    measured: [f64; 2],
}

/// A run: times are nanoseconds.
struct Round {
    /// Waits by each of [`ARRIVALS`], if every service takes what it shall.
    waits: [Vec<f64>; 2],
    /// What theory and the client say, by each of [`ARRIVALS`].
    by_arrivals: [Sides; 2],
    /// Share of the time that the sink was busy.
    load: f64,
}

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    let (wanted, seconds) = stage.pick((1, 2), (5, 4), (25, 20));
    // Evenly spaced at half the load nothing waits, and both sides are as awake as under the loads that follow.
    let floors = Runs::quiet(stage, 3, |_| {
        let sink = Sink::recording(stage, SERVICE)?;
        let (rate, seconds) = (0.5e9 / SERVICE_NS, 2);
        let run = stage.run(&sink, &format!("--rps {rate} -d {seconds}s {PLAN}"))?;
        let intended = pairs::intended(Arrivals::Uniform, rate, seconds.into(), stage.seed)?;
        let from_the_schedule =
            pairs::floor(run.report.response_time_ns.p50, &pair(&sink.seen()?, &intended)?)?;
        let p50 = run.report.service_time_ns.p50.ok_or_else(|| anyhow!("no answer without load"))?;
        Ok(([p50 as f64 - SERVICE_NS, from_the_schedule], run.noise))
    })?;
    let floors = [0, 1].map(|by| floors.median(|floor: &[f64; 2]| floor[by]));
    for percent in [50, 70, 90] {
        let rounds = Runs::quiet(stage, wanted, |number| round(stage, percent, seconds, number, floors))?;
        for (by, arrivals) in ARRIVALS.into_iter().enumerate() {
            for (at, name) in ["mean", "p99"].into_iter().enumerate() {
                let sides = |round: &Round| round.by_arrivals[by];
                let theory = rounds.median(|round| sides(round).theory[at]);
                let measured = rounds.median(|round| sides(round).measured[at]);
                let error = rounds.median(|round| sides(round).measured[at] - sides(round).theory[at]);
                let allowed = NS_MAX.max(theory * 0.01);
                table.row(
                    Kind::Times,
                    format!(
                        "{name} wait at {percent} % load, as Lindley's recursion has it over the arrivals that {arrivals} \
                         and the services that the sink recorded; medians"
                    ),
                    [
                        time(theory),
                        format!("{} (less {} floor)", time(measured), time(floors[by])),
                        format!("{}, allowed {} ({rounds})", time(error), time(allowed)),
                    ],
                    error.abs() <= allowed,
                );
            }
        }
        let load = mean(&rounds.runs.iter().map(|round| round.load).collect::<Vec<_>>());
        let theory = md1_mean_wait(load, SERVICE_NS);
        for (by, arrivals) in ARRIVALS.into_iter().enumerate() {
            let waits: Vec<f64> =
                rounds.runs.iter().flat_map(|round| round.waits[by].iter().copied()).collect();
            let (measured, error) = batch_means(&waits, BATCHES);
            let errors = theory.map_or(f64::INFINITY, |theory| (measured - theory).abs() / error);
            table.row(
                Kind::Times,
                format!(
                    "mean wait of M/D/1 at {percent} % load over the arrivals that {arrivals}: ρS / 2(1 − ρ), ρ measured"
                ),
                [
                    format!("{} at ρ = {load:.4}", theory.map_or_else(|| "endless".to_owned(), time)),
                    time(measured),
                    format!("{errors:.1} standard errors of {} ({rounds})", time(error)),
                ],
                errors <= 3.0,
            );
        }
    }
    Ok(())
}

/// A run of Poisson arrivals, each number with its own.
fn round(stage: &Stage, percent: u32, seconds: u32, number: u64, floors: [f64; 2]) -> Result<(Round, Noise)> {
    let rate = f64::from(percent) / 100.0 * 1e9 / SERVICE_NS;
    let stage = Stage { seed: stage.seed + number, ..stage.clone() };
    let sink = Sink::recording(&stage, SERVICE)?;
    let run = stage.run(&sink, &format!("--rps {rate} --arrivals poisson -d {seconds}s {PLAN}"))?;
    let seen = sink.seen()?;
    let [Some(first), Some(last)] = [seen.first(), seen.last()] else {
        return Err(anyhow!("the sink recorded nothing"));
    };
    let intended = pairs::intended(Arrivals::Poisson, rate, seconds.into(), stage.seed)?;
    let scheduled: Vec<_> = pair(&seen, &intended)?.iter().map(|pair| (pair.there, pair.answered)).collect();
    let recorded: Vec<_> = seen.iter().map(|seen| (seen.arrival, seen.answered)).collect();
    let sides = |arrivals: &[(u64, u64)], ours: &Latency, floor: f64| {
        let mut theory = beyond_service(arrivals);
        theory.sort_unstable_by(f64::total_cmp);
        let less = |time: Option<u64>| time.unwrap_or(u64::MAX) as f64 - SERVICE_NS - floor;
        Sides {
            theory: [mean(&theory), quantile(&theory, 0.99)],
            measured: [less(ours.mean), less(ours.p99)],
        }
    };
    // What a request waited before its send is not in the arrivals that the sink recorded.
    let by_arrivals = [
        sides(&recorded, &run.report.service_time_ns, floors[0]),
        sides(&scheduled, &run.report.response_time_ns, floors[1]),
    ];
    let waits = [&recorded, &scheduled].map(|requests| {
        let nominal: Vec<_> = requests.iter().map(|(arrival, _)| (*arrival, SERVICE_NS as u64)).collect();
        lindley(&nominal).into_iter().map(|wait| wait as f64).collect()
    });
    let round = Round {
        waits,
        by_arrivals,
        load: (seen.len() - 1) as f64 * SERVICE_NS / (last.arrival - first.arrival).max(1) as f64,
    };
    Ok((round, run.noise))
}

/// How much longer than its service each request was at the sink, by Lindley's recursion over arrivals and the time that each
/// really occupied the worker: until its answer was handed over, from when the one before it was. Given are arrivals and answers.
fn beyond_service(requests: &[(u64, u64)]) -> Vec<f64> {
    let mut free = 0;
    let occupied = |&(arrival, answered): &(u64, u64)| {
        let start = arrival.max(free);
        free = answered;
        (arrival, answered.saturating_sub(start))
    };
    let customers: Vec<_> = requests.iter().map(occupied).collect();
    let beyond = |(wait, (_, service)): (u64, &(u64, u64))| (wait + service) as f64 - SERVICE_NS;
    lindley(&customers).into_iter().zip(&customers).map(beyond).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_leaves_late_holds_up_those_behind_it() {
        let requests = [(0, 50_000), (60_000, 130_000), (70_000, 180_000)];
        assert_eq!(beyond_service(&requests), [0.0, 20_000.0, 60_000.0]);
    }
}
