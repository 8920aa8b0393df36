//! Overloads, carried out: the core says what load, and what it came to; here it becomes trials.

use std::time::{Duration, Instant};

use blaster_core::plan::slo::Slos;
use blaster_core::report::Report;
use blaster_core::report::sweep::overload::{Course, Overload, Recovery, Second, Unknown};
use blaster_core::report::units::rate;
use blaster_core::time::Nanos;

use super::journal::Entry;
use super::limit;
use super::live::Enough;
use super::sitting::{Sitting, Stopped};
use super::trial::Load;
use crate::cli::SweepArgs;

/// Multiples of the limit that a target shall come back from.
const FACTORS: [f64; 2] = [1.5, 2.0];

/// An overload that has no more time than this before the budget ends says nothing.
const LENGTH_S_MIN: f64 = 40.0;

/// An overload that was tried, and what came of it.
pub struct Seen<'e> {
    /// What was asked.
    pub overload: Overload,
    /// What was measured.
    pub report: &'e Report,
    /// What it says.
    pub recovery: Recovery,
}

/// Overloads the target, and sees whether it comes back. Whether there was time for it.
pub fn find(
    sitting: &mut Sitting<'_>,
    args: &SweepArgs,
    slos: &Slos,
    limit_rps: f64,
) -> Result<bool, Stopped> {
    for factor in FACTORS {
        let overload = Overload { limit_rps, factor };
        if limit_rps * factor > limit::bounds(args).to {
            // Nobody is to send that much.
            break;
        }
        let Some(course) = watch(sitting, args, slos, &overload)? else { return Ok(false) };
        if course.seems_stuck(&overload) {
            let why = "relieved, does it hold that again?";
            return Ok(limit::drain(sitting, args)?
                && limit::one_trial(sitting, args, overload.after_rps(), limit::CLOSING, why)?);
        }
        if !course.is_back() {
            break;
        }
    }
    Ok(true)
}

/// One overload, to its end; none if there is no time for that. What an earlier sitting had no time for is done anew.
fn watch(
    sitting: &mut Sitting<'_>,
    args: &SweepArgs,
    slos: &Slos,
    overload: &Overload,
) -> Result<Option<Course>, Stopped> {
    let load = Load {
        rate: overload.before_rps(),
        stages: Some(overload.stages()),
        warmup: Nanos::ZERO,
        length: Nanos::from_secs(overload.length_s()),
        connections: limit::connections(sitting, args),
    };
    let Overload { limit_rps, factor } = *overload;
    let purpose = format!("{factor}x the limit of {} req/s, then back: does it recover?", rate(limit_rps));
    loop {
        let left_s = sitting.left_s(args);
        if left_s < LENGTH_S_MIN {
            return Ok(None);
        }
        // What an earlier sitting has done has no end to come.
        let ends_at = Duration::try_from_secs_f64(left_s).ok().map(|left| Instant::now() + left);
        let entry = sitting.trial(&load, &purpose, Some(enough(slos.0.len(), ends_at)))?;
        let course = course(&entry.report, slos);
        let is_cut_short = course.recovery(overload, None).unknown == Some(Unknown::CutShort);
        if !is_cut_short || course.seems_stuck(overload) {
            return Ok(Some(course));
        }
    }
}

/// Ends a trial as soon as the target is back.
fn enough(objectives: usize, ends_at: Option<Instant>) -> Enough {
    let mut course = Course::default();
    Box::new(move |interval| {
        course.learn(Second::of(&interval.row, objectives));
        course.is_back() || ends_at.is_some_and(|at| Instant::now() >= at)
    })
}

fn course(report: &Report, slos: &Slos) -> Course {
    // What is drained after the end is no second of it.
    let rows = report.intervals.iter().filter(|row| row.t_s + 1.0 <= report.duration_s);
    Course::of(rows.map(|row| Second::of(row, slos.0.len())))
}

/// Whether it is one.
pub fn is_overload(entry: &Entry) -> bool {
    entry.report.plan.stages.is_some()
}

/// The last of each. `slos` come first of all that were judged.
pub fn seen<'e>(entries: &'e [Entry], slos: &Slos) -> Vec<Seen<'e>> {
    let of = |(index, entry): (usize, &'e Entry)| {
        let stages = entry.report.plan.stages.as_ref()?.parse().ok()?;
        let overload = Overload::of_stages(&stages)?;
        let relieved = entries[index + 1..].iter().find(|entry| limit::is_trial(entry));
        let said = relieved.map(|entry| limit::said(&entry.report, slos));
        let recovery = course(&entry.report, slos).recovery(&overload, said);
        Some(Seen { overload, report: &entry.report, recovery })
    };
    let mut seen: Vec<Seen<'_>> = entries.iter().enumerate().filter_map(of).collect();
    seen.dedup_by(|later, earlier| {
        let is_same = later.overload.factor == earlier.overload.factor;
        if is_same {
            std::mem::swap(later, earlier);
        }
        is_same
    });
    seen
}
