//! What is intended is what was asked, and it is sent.

use anyhow::Result;
use benches::truth::sample::{dispersion, dispersion_error, exponential, ks_distance, uniform};
use blaster_core::plan::Arrivals;

use crate::pairs;
use crate::sink::Sink;
use crate::stage::{SEED, Stage};
use crate::table::{Kind, Table, count};

const KS_MAX: f64 = 0.01;
/// Enough that a right sample of random times lies nearer than [`KS_MAX`]: 1.95 / √n is exceeded once in a thousand.
const SAMPLE: f64 = 200_000.0;
const RATES: [f64; 4] = [33.3, 1_000.0, 12_345.6, 100_000.0];
/// More than a send and its receipt take: requests due closer together than they take come at one moment, or that long apart.
const SENDING_S: f64 = 20e-6;
const BINS_S: [f64; 2] = [0.01, 0.1];

pub fn prove(stage: &Stage, table: &mut Table) -> Result<()> {
    for arrivals in [Arrivals::Uniform, Arrivals::Poisson] {
        for (seed, rate) in (SEED..).zip(RATES) {
            intended(table, arrivals, rate, seed)?;
            sent(stage, table, arrivals, rate)?;
        }
        actual(stage, table, arrivals)?;
    }
    Ok(())
}

/// The intended times themselves.
fn intended(table: &mut Table, arrivals: Arrivals, rate: f64, seed: u64) -> Result<()> {
    let seconds = (SAMPLE / rate).ceil();
    let times = pairs::intended(arrivals, rate, seconds, seed)?;
    let name = word(arrivals);
    let gaps = matches!(arrivals, Arrivals::Poisson).then_some(1.0 / rate);
    distances(
        table,
        &format!("intended times, {name}, {rate}/s"),
        &times,
        seconds,
        gaps,
        Kind::Counts,
        "no clock, no socket",
    );
    if gaps.is_some() {
        dispersions(table, &format!("intended times, {name}, {rate}/s"), &times, seconds, Kind::Counts);
    }
    Ok(())
}

/// As many are sent as the schedule has.
fn sent(stage: &Stage, table: &mut Table, arrivals: Arrivals, rate: f64) -> Result<()> {
    let seconds = stage.pick(2, 60, 60);
    let sink = Sink::start(stage, "--profile control")?;
    let name = word(arrivals);
    let plan = format!("--rps {rate} --arrivals {name} -d {seconds}s --pipeline 8 --path /");
    let run = stage.run(&sink, &plan)?;
    let theory = pairs::intended(arrivals, rate, f64::from(seconds), stage.seed)?.len() as u64;
    let requests = &run.report.requests;
    let (scheduled, sent) = (requests.scheduled, requests.sent);
    let accounted = sent + requests.unsent.backlog + requests.unsent.stopped;
    table.row(
        Kind::Counts,
        format!("scheduled, and sent or told as unsent, {name}, {rate}/s for {seconds} s"),
        [
            count(theory),
            [scheduled, accounted].map(count).join(" · "),
            format!("{} · {}", scheduled.abs_diff(theory), accounted.abs_diff(theory)),
        ],
        scheduled == theory && accounted == theory,
    );
    // That takes a machine that is fast enough, and left alone.
    table.row(
        Kind::Times,
        format!("sent, {name}, {rate}/s for {seconds} s"),
        [count(theory), count(sent), format!("{} ({})", sent.abs_diff(theory), run.noise)],
        sent == theory,
    );
    Ok(())
}

/// When requests really came, as a sink saw it that never sleeps long.
fn actual(stage: &Stage, table: &mut Table, arrivals: Arrivals) -> Result<()> {
    let (rate, seconds) = (10_000.0, stage.pick(5, 60, 600));
    // It spins rather than sleeps; what is recorded is when a request came, not when it was served.
    let sink = Sink::recording(stage, "--profile control --service spin:1us --workers 1")?;
    let name = word(arrivals);
    let plan = format!("--rps {rate} --arrivals {name} -d {seconds}s --pipeline 1 -c 2000 --path /");
    let run = stage.run(&sink, &plan)?;
    let seen = sink.seen()?;
    let first = seen.first().map_or(0, |seen| seen.arrival);
    let times: Vec<f64> = seen.iter().map(|seen| (seen.arrival - first) as f64 / 1e9).collect();
    let end = f64::from(seconds);
    let claim = format!("arrivals at the sink, {name}, {rate}/s, depth 1");
    let gaps = matches!(arrivals, Arrivals::Poisson).then_some(1.0 / rate);
    distances(table, &claim, &times, end, gaps, Kind::Times, &run.noise.to_string());
    if let Some(gap) = gaps {
        let longer: Vec<f64> =
            times.windows(2).map(|pair| pair[1] - pair[0] - SENDING_S).filter(|gap| *gap >= 0.0).collect();
        let distance = ks_distance(&longer, exponential(gap));
        table.row(
            Kind::Times,
            format!("{claim}: gaps are exponential beyond {} µs (KS); shorter ones a send of its own each cannot keep", SENDING_S * 1e6),
            [format!("distance ≤ {KS_MAX}"), format!("{distance:.5}"), run.noise.to_string()],
            distance <= KS_MAX,
        );
        dispersions(table, &claim, &times, end, Kind::Times);
    }
    Ok(())
}

/// Times are spread evenly, and the gaps of random ones exponentially.
fn distances(
    table: &mut Table,
    claim: &str,
    times: &[f64],
    end: f64,
    gap: Option<f64>,
    kind: Kind,
    noise: &str,
) {
    let mut row = |what: &str, distance: f64| {
        let cells = [format!("distance ≤ {KS_MAX}"), format!("{distance:.5}"), noise.to_owned()];
        table.row(kind, format!("{claim}: {what} (KS)"), cells, distance <= KS_MAX);
    };
    row("times are uniform over the run", ks_distance(times, uniform(end)));
    if let Some(gap) = gap {
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        row("gaps are exponential", ks_distance(&gaps, exponential(gap)));
    }
}

fn dispersions(table: &mut Table, claim: &str, times: &[f64], end: f64, kind: Kind) {
    for bin in BINS_S {
        let Some((index, bins)) = dispersion(times, bin, end) else { continue };
        let allowed = 3.0 * dispersion_error(bins);
        table.row(
            kind,
            format!("{claim}: dispersion of counts in {} ms", bin * 1e3),
            [format!("1 ± {allowed:.4}"), format!("{index:.4}"), format!("{:+.4}", index - 1.0)],
            (index - 1.0).abs() <= allowed,
        );
    }
}

fn word(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Uniform => "uniform",
        Arrivals::Poisson => "poisson",
    }
}
