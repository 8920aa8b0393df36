//! The search for limits, carried out: the core says what to try, and what is known; here it becomes trials of so many seconds.
//!
//! A search begins with the target at rest, and after a load that was too much waits until it is again: what piled up there would be held
//! against the next trial. That is found out with short probes at the lowest rate, which count for nothing else.

use blaster_core::plan::slo::Slos;
use blaster_core::report::Report;
use blaster_core::report::sweep::search::{Bounds, End, Finding, Next, Said, Search, Trial};
use blaster_core::report::units::rate;
use blaster_core::report::verdict::{Limiter, Status};
use blaster_core::time::Nanos;

use super::found::{Answer, LimitedBy};
use super::journal::Entry;
use super::objective_text;
use super::overload::is_overload;
use super::sitting::{Sitting, Stopped};
use super::trial::Load;
use super::view::Tone;
use crate::cli::SweepArgs;

/// Fewer hardly overload a target that holds requests for a while.
const CONNECTIONS_DEFAULT: u32 = 256;

/// Warm-up and length of a trial that raises the load.
pub const DOUBLING: (Nanos, Nanos) = (Nanos::from_millis(500), Nanos::from_millis(2_500));

/// Of one that closes in on the limit, and of one that makes sure of it.
pub const CLOSING: (Nanos, Nanos) = (Nanos::from_secs(1), Nanos::from_secs(5));
const CONFIRMING: (Nanos, Nanos) = (Nanos::from_secs(1), Nanos::from_secs(10));

/// Of a probe of a target that may be at rest.
const PROBE: (Nanos, Nanos) = (Nanos::ZERO, Nanos::from_secs(1));

/// Probes before a search, and after a load that was too much, at most.
const STEADY_PROBES_MAX: usize = 5;
const DRAIN_PROBES_MAX: usize = 10;

/// Medians of two probes one after another that differ by no more are steady; one that is above the steady one by no more is that of a target
/// at rest.
const STEADY: f64 = 1.25;
const AT_REST: f64 = 2.0;

/// Differences below this are noise.
const NOISE_NS: u64 = 200_000;

const FROM_DEFAULT: f64 = 100.0;

/// No machine offers more.
const RATE_MAX: f64 = 100e6;

const PRECISION_DEFAULT: f64 = 0.02;

/// More connections than that help no further.
pub const DOUBLINGS_MAX: usize = 6;

/// Where a sweep begins, if nothing is said: not above where it is to end.
pub fn from_default(args: &SweepArgs) -> f64 {
    args.to.map_or(FROM_DEFAULT, |to| to.per_second().min(FROM_DEFAULT))
}

/// Between which rates, and how closely.
pub fn bounds(args: &SweepArgs) -> Bounds {
    Bounds {
        from: args.from.map_or_else(|| from_default(args), |rate| rate.per_second()),
        to: args.to.map_or(RATE_MAX, |rate| rate.per_second()),
        precision: args.precision.unwrap_or(PRECISION_DEFAULT),
    }
}

/// Whether it is one of the trials that a search goes by: not an overload, not a probe.
pub fn is_trial(entry: &Entry) -> bool {
    !is_overload(entry) && !is_probe(entry)
}

/// Whether it only looked for whether the target is at rest.
pub fn is_probe(entry: &Entry) -> bool {
    entry.report.asked_rate().is_some() && entry.report.plan.duration_ns < DOUBLING.1.0
}

/// The search for an objective after all trials so far.
pub fn search(entries: &[Entry], args: &SweepArgs, slos: &Slos) -> Search {
    Search::of(bounds(args), trials(entries, slos))
}

/// Those that say something of a limit. What comes after an overload says how the target took that.
fn trials<'e>(entries: &'e [Entry], slos: &'e Slos) -> impl Iterator<Item = Trial> + 'e {
    let before = entries.iter().take_while(|entry| !is_overload(entry));
    before.filter(|entry| is_trial(entry)).map(|entry| trial(entry, slos))
}

/// As the search takes it in.
fn trial(entry: &Entry, slos: &Slos) -> Trial {
    Trial {
        rate: entry.report.asked_rate().unwrap_or_default(),
        said: said(&entry.report, slos),
        is_long: entry.report.plan.duration_ns >= CONFIRMING.1.0,
    }
}

/// Looks for the limit of an objective. Whether there was time for it.
pub fn find(sitting: &mut Sitting<'_>, args: &SweepArgs, slos: &Slos) -> Result<bool, Stopped> {
    if !begin_at_rest(sitting, args)? {
        return Ok(false);
    }
    let mut search = search(sitting.entries(), args, slos);
    loop {
        let known = match search.finding().interval {
            [Some(low), Some(high)] => {
                format!("the limit is probably between {} and {}", rate(low), rate(high))
            }
            _ => "closing in on the limit".to_owned(),
        };
        let (at, times, why) = match search.next() {
            Next::Double(at) => (at, DOUBLING, "doubling until it fails".to_owned()),
            Next::Close(at) => (at, CLOSING, known),
            Next::CloseLong(at) => (at, CONFIRMING, known),
            Next::Confirm(at) => (at, CONFIRMING, "making sure of the answer".to_owned()),
            Next::Done(_) => return Ok(true),
        };
        if !one_trial(sitting, args, at, times, &why)? {
            return Ok(false);
        }
        let last = trial(sitting.entries().last().expect("it was just done"), slos);
        search.learn(last);
        if last.said == Said::Bad && !drain(sitting, args)? {
            return Ok(false);
        }
    }
}

fn medians(sitting: &Sitting<'_>) -> Vec<u64> {
    let probes = sitting.entries().iter().filter(|entry| is_probe(entry));
    probes.map(|entry| entry.report.response_time_ns.p50.unwrap_or(u64::MAX)).collect()
}

fn differs(ns: u64, from: u64, by: f64) -> bool {
    ns.saturating_sub(from) > NOISE_NS && ns as f64 > from as f64 * by
}

/// Probes until two in a row agree. Whether there was time for it; a search that goes on has begun before.
fn begin_at_rest(sitting: &mut Sitting<'_>, args: &SweepArgs) -> Result<bool, Stopped> {
    let has_begun = |sitting: &Sitting<'_>| sitting.entries().iter().any(is_trial);
    while !has_begun(sitting) {
        let medians = medians(sitting);
        let is_steady = medians
            .windows(2)
            .next_back()
            .is_some_and(|pair| !differs(pair[0], pair[1], STEADY) && !differs(pair[1], pair[0], STEADY));
        if is_steady || medians.len() >= STEADY_PROBES_MAX {
            break;
        }
        if !one_trial(sitting, args, bounds(args).from, PROBE, "the target at rest")? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Waits until the target is at rest. Whether there was time for it.
pub fn drain(sitting: &mut Sitting<'_>, args: &SweepArgs) -> Result<bool, Stopped> {
    let Some(at_rest) = medians(sitting).into_iter().min() else { return Ok(true) };
    for _ in 0..DRAIN_PROBES_MAX {
        if !one_trial(sitting, args, bounds(args).from, PROBE, "is the target at rest again?")? {
            return Ok(false);
        }
        if medians(sitting).last().is_some_and(|&ns| !differs(ns, at_rest, AT_REST)) {
            break;
        }
    }
    Ok(true)
}

/// What a report says of an objective.
pub fn said(report: &Report, slos: &Slos) -> Said {
    let is_client_s = report.verdict.limiter == Limiter::Client && report.verdict.status != Status::Valid;
    match holds(report, slos) {
        _ if is_spoiled(report) => Said::Spoiled,
        // What is late through us may have failed through us; what held all the same held.
        false if is_client_s => Said::Spoiled,
        true if is_rising(report) => Said::Bad,
        true => Said::Good,
        false => Said::Bad,
    }
}

/// Whether a load was held only as long as the trial lasted.
fn deceived(report: &Report, slos: &Slos) -> bool {
    said(report, slos) == Said::Bad && holds(report, slos)
}

/// Whether waiting grew from second to second: a load that is held as long as a trial lasts, and no longer.
fn is_rising(report: &Report) -> bool {
    let whole = report.intervals.iter().filter(|row| row.t_s >= 0.0 && row.t_s + 1.0 <= report.duration_s);
    let medians: Vec<u64> = whole.filter_map(|row| row.p50_ns).collect();
    let (Some(first), Some(last)) = (medians.first(), medians.last()) else { return false };
    medians.len() >= RISING_MIN
        && medians.windows(2).all(|pair| pair[0] < pair[1])
        && *last >= 2 * first
        && last - first >= RISING_NS_MIN
}

/// Fewer seconds may rise by chance; a rise of less may be noise.
const RISING_MIN: usize = 4;
const RISING_NS_MIN: u64 = 2_000_000;

/// The code of the reason that asks for more connections.
const PLAN_LIMITED: &str = "plan_limited";

fn holds(report: &Report, Slos(slos): &Slos) -> bool {
    let is_ours = |expr: &str| slos.iter().any(|slo| slo.text == expr);
    report.slo.iter().all(|slo| slo.ok || !is_ours(&slo.expr))
}

/// Tries a load, if there is time for it.
pub fn one_trial(
    sitting: &mut Sitting<'_>,
    args: &SweepArgs,
    at: f64,
    (warmup, length): (Nanos, Nanos),
    why: &str,
) -> Result<bool, Stopped> {
    let is_in_time = (warmup + length).as_secs_f64() <= sitting.left_s(args);
    if is_in_time {
        let load = Load { rate: at, stages: None, warmup, length, connections: connections(sitting, args) };
        sitting.trial(&load, &format!("{} req/s: {why}", rate(at)), None)?;
    }
    Ok(is_in_time)
}

/// Twice as many for every trial that had too few.
pub fn connections(sitting: &Sitting<'_>, args: &SweepArgs) -> Option<u32> {
    Some(args.run.connections.unwrap_or(CONNECTIONS_DEFAULT) << doublings(sitting))
}

/// How often there were too few connections, as far as that helps.
pub fn doublings(sitting: &Sitting<'_>) -> usize {
    let entries = sitting.entries().iter();
    entries.filter(|entry| had_too_few(&entry.report)).count().min(DOUBLINGS_MAX)
}

/// Whether connections were what it had too few of.
pub fn had_too_few(report: &Report) -> bool {
    report.verdict.reasons.iter().any(|reason| reason.code == PLAN_LIMITED)
}

/// Whether it says nothing of the target, whatever the objective.
pub fn is_spoiled(report: &Report) -> bool {
    had_too_few(report) || report.verdict.status == Status::ClientLimited
}

/// What was made of the trials of a load, for an objective.
pub fn decision(slos: &Slos, entries: &[&Entry]) -> (String, Tone) {
    let count = |wanted: Said| entries.iter().filter(|entry| said(&entry.report, slos) == wanted).count();
    let (good, bad) = (count(Said::Good), count(Said::Bad));
    let (word, tone) = match (good, bad) {
        (0, 0) => ("spoiled", Tone::Doubtful),
        (_, 0) => ("held", Tone::Good),
        (0, _) => ("failed", Tone::Bad),
        _ => ("undecided", Tone::Doubtful),
    };
    let count = if good + bad == 0 { String::new() } else { format!(", {good} of {}", good + bad) };
    let rising = entries.iter().any(|entry| deceived(&entry.report, slos));
    (format!("{word}{count}{}", if rising { ": waits kept growing" } else { "" }), tone)
}

/// What the search for it came to.
pub fn answer(entries: &[Entry], args: &SweepArgs, slos: &Slos) -> Answer {
    let mut search = Search::new(bounds(args));
    // A search that was over stays so: later trials, of the curve or of other objectives, were not its own.
    let mut end = None;
    for trial in trials(entries, slos) {
        search.learn(trial);
        end = end.or(match search.next() {
            Next::Done(end) => Some(end),
            Next::Double(_) | Next::Close(_) | Next::CloseLong(_) | Next::Confirm(_) => None,
        });
    }
    let Finding { holds, interval, confidence, drifts, unsteady } = search.finding();
    Answer {
        slo: objective_text(slos),
        holds_rps: holds,
        interval,
        confidence,
        drifts,
        unsteady,
        limited_by: match end {
            Some(End::Known | End::Never) => LimitedBy::Target,
            Some(End::Reach) => LimitedBy::Reach,
            Some(End::Client) => LimitedBy::Client,
            None => LimitedBy::Budget,
        },
    }
}
