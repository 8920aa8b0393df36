//! The shell of a sweep: runs the trials that are asked for, keeps each as soon as it is done, and shows what they came to.
//!
//! [`limit`] searches for one, [`overload`] finds out whether a target comes back from beyond it, [`ladder`] names loads by itself. [`sitting`] carries them out through [`trial`] and keeps them in the [`journal`]; [`found`] is what
//! they come to in numbers, [`told`] in words, [`view`] is what all outputs draw from.

pub mod found;
pub mod journal;
pub mod ladder;
pub mod limit;
pub mod live;
pub mod overload;
pub mod results;
pub mod sitting;
pub mod told;
pub mod trial;
pub mod view;

use std::error::Error;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use blaster_core::plan::slo::{Slo, Slos};
use blaster_core::report::units::rate;
use blaster_core::report::{Report, Tool};
use blaster_core::time::Nanos;

use crate::cli::SweepArgs;
use crate::exit;
use crate::metrics::joined::first_to_run_out;
use crate::metrics::{MetricsError, Watched};
use crate::run::timestamp;
use crate::settings::UsageError;
use found::{Answer, Found, LimitedBy, SCHEMA, Sizing, StepRecord, by_rate};
use journal::{Header, Journal, JournalError};
use ladder::{Grade, Ladder};
use live::Live;
use overload::Seen;
use sitting::{Sitting, Stopped};
use trial::{Asked, Load, TrialError, Trials};
use view::{Aftermath, Tone, View};

/// What must hold, if nothing is said.
const SLO_DEFAULT: &str = "p99<500ms,errors<1%";

/// Where multiplying ends, if nothing is said.
const UNTIL_DEFAULT: &str = "errors>10%";

const FACTOR_DEFAULT: f64 = 2.0;
const BUDGET_DEFAULT: Nanos = Nanos::from_secs(600);

/// Of a step of a ladder.
const WARMUP: Nanos = Nanos::from_secs(1);
const LENGTH: Nanos = Nanos::from_secs(5);

/// A sweep that is over.
pub struct Swept {
    /// In numbers.
    pub found: Found,
    /// As it is shown.
    pub view: View,
    /// The exit status it deserves.
    pub status: u8,
    /// Why it could not go on, if it could not.
    pub stopped: Option<Stopped>,
    /// Where its trials are.
    pub journal: PathBuf,
}

/// Why there is no sweep at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The arguments cannot be.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// Likewise.
    #[error("{0}")]
    Arguments(String),
    /// Nothing could be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The target's metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// What is to carry the trials out cannot.
    #[error(transparent)]
    Trials(Box<dyn Error + Send + Sync>),
    /// Not one trial was done.
    #[error(transparent)]
    Nothing(Stopped),
}

impl SweepError {
    /// The exit status it deserves.
    pub fn status(&self) -> u8 {
        match self {
            Self::Nothing(Stopped::Trial(TrialError::Interrupted)) => exit::INTERRUPTED,
            Self::Nothing(Stopped::Trial(TrialError::Run(error))) => exit::of_error(error),
            Self::Nothing(_) => exit::FAILED,
            _ => exit::USAGE,
        }
    }
}

/// What a sweep is to do, understood.
struct Plan {
    args: SweepArgs,
    header: Header,
    journal: Journal,
    known: Vec<journal::Entry>,
    slos: Vec<Slos>,
}

/// Carries a sweep out. `typed` is what its user typed, as [`SweepArgs::list`] has it; `seed` is used if none was given.
pub fn sweep(
    args: &SweepArgs,
    typed: Vec<String>,
    seed: u64,
    trials: &mut dyn Trials,
    live: &mut Live,
) -> Result<Swept, SweepError> {
    let tool = trials.tool();
    let mut plan = Plan::new(args, typed, seed, tool)?;
    let metrics = plan.args.target_metrics.as_ref().map(Watched::start).transpose()?;
    let mut run_args = plan.args.run.clone();
    run_args.slo = plan.slos.clone();
    let until = plan.until();
    run_args.slo.extend(until.clone().map(|until| Slos(vec![until])));
    let list = SweepArgs::of_run(&plan.header.args);
    trials.prepare(&Asked { args: &run_args, list, seed: plan.header.seed }).map_err(SweepError::Trials)?;
    let command = trials.command();
    let known = std::mem::take(&mut plan.known);
    if !known.is_empty() {
        live.tell(&format!("going on after {} trials of {}", known.len(), plan.journal.path().display()));
    }
    let journal = plan.journal.path().to_owned();
    let (args, header, slos) = (plan.args, plan.header, plan.slos);
    let mut sitting = Sitting::new(trials, live, plan.journal, known, metrics);
    let outcome =
        if is_ladder(&args) { climb(&mut sitting, &args, until) } else { search(&mut sitting, &args, &slos) };
    let ended = match outcome {
        Err(why) if sitting.entries().is_empty() => {
            // There is nothing in it to go on from.
            let _ = std::fs::remove_file(&journal);
            return Err(SweepError::Nothing(why));
        }
        ended => ended,
    };
    Ok(sum_up(&sitting, &args, header, &slos, ended, journal, &command))
}

impl Plan {
    fn new(args: &SweepArgs, typed: Vec<String>, seed: u64, tool: &str) -> Result<Self, SweepError> {
        if let Some(path) = &args.resume {
            return Self::resume(args, typed, path, tool);
        }
        let seed = args.run.seed.unwrap_or(seed);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let started_at = timestamp(SystemTime::now());
        let tool = tool.to_owned();
        let header = Header { schema: journal::SCHEMA, tool, version, started_at, seed, args: typed };
        let slos = objectives(args)?;
        refuse(args)?;
        let journal = new_journal(args, &header)?;
        Ok(Self { args: args.clone(), header, journal, known: Vec::new(), slos })
    }

    /// The sweep of a journal; what may be other in this sitting is.
    fn resume(args: &SweepArgs, typed: Vec<String>, path: &Path, tool: &str) -> Result<Self, SweepError> {
        if let Some(other) = typed.first() {
            return Err(SweepError::Arguments(format!(
                "--resume goes on with the arguments of {}: leave out {other}; only --budget, --allow-invalid and outputs may be given anew",
                path.display()
            )));
        }
        let (header, known, journal) = Journal::resume(path)?;
        if header.tool != tool {
            return Err(SweepError::Arguments(format!(
                "{path} is of a sweep by {other}, whose trials are others: go on with `{other} sweep --resume {path}`",
                path = path.display(),
                other = header.tool
            )));
        }
        let mut before = SweepArgs::from_list(&header.args).map_err(|error| {
            let problem = error.to_string().lines().next().unwrap_or_default().to_owned();
            JournalError::Unreadable { path: path.to_owned(), problem }
        })?;
        before.budget = args.budget;
        before.html.clone_from(&args.html);
        before.run.json.clone_from(&args.run.json);
        before.run.allow_invalid = args.run.allow_invalid;
        let slos = objectives(&before)?;
        Ok(Self { args: before, header, journal, known, slos })
    }

    fn until(&self) -> Option<Slo> {
        let is_multiplied = self.args.factor.is_some() || self.args.until.is_some();
        let default = || UNTIL_DEFAULT.parse().expect("a constant");
        is_multiplied.then(|| self.args.until.clone().unwrap_or_else(default))
    }
}

/// One for each `--slo`.
fn objectives(args: &SweepArgs) -> Result<Vec<Slos>, SweepError> {
    let slos = match args.run.slo.as_slice() {
        [] => vec![SLO_DEFAULT.parse().expect("a constant")],
        given => given.to_vec(),
    };
    for Slos(group) in &slos {
        for (index, slo) in group.iter().enumerate() {
            if let Some(other) = group[..index].iter().find(|other| slo.contradicts(other)) {
                return Err(SweepError::Arguments(format!(
                    "{} and {} cannot both hold: leave one of them out, or give each a --slo of its own",
                    other.text, slo.text
                )));
            }
        }
    }
    Ok(slos)
}

/// Flags of a run that a sweep sets itself, and limits that leave nothing to do.
fn refuse(args: &SweepArgs) -> Result<(), SweepError> {
    let run = &args.run;
    let own = [
        (run.rps.is_some(), "--rps", "it begins at --from"),
        (run.eps.is_some(), "--eps", "it begins at --from, in requests"),
        (run.stages.is_some(), "--stages", "give the loads with --steps"),
        (
            run.duration.is_some() && !is_ladder(args),
            "--duration",
            "give the time for all of it with --budget",
        ),
        (run.warmup.is_some() && !is_ladder(args), "--warmup", "each trial has one already"),
        (run.tune, "--tune", "run `blaster doctor --fix` with its highest rate before"),
        (run.hgrm.is_some(), "--hgrm", "every trial's histograms are in --json"),
        (run.hlog.is_some(), "--hlog", "every trial's histograms are in --json"),
    ];
    if let Some((_, flag, instead)) = own.into_iter().find(|(is_given, ..)| *is_given) {
        return Err(SweepError::Arguments(format!(
            "a sweep chooses its loads itself and knows no {flag}: {instead}"
        )));
    }
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return Err(SweepError::Arguments(format!(
            "--from {} is above --to {}: there is nothing between them",
            rate(from.per_second()),
            rate(to.per_second())
        )));
    }
    let (warmup, length) = step_times(args);
    if let Some(budget) = args.budget.filter(|&budget| budget < warmup + length) {
        return Err(SweepError::Arguments(format!(
            "--budget {budget} is too short for one step: give at least {}, and minutes for an answer",
            warmup + length
        )));
    }
    let on_stdout =
        [&run.json, &args.html].into_iter().flatten().filter(|path| path.as_os_str() == "-").count();
    if on_stdout > 1 {
        return Err(UsageError::TwoOnStdout.into());
    }
    Ok(())
}

/// The loads are named beforehand.
fn is_ladder(args: &SweepArgs) -> bool {
    !args.steps.is_empty() || args.factor.is_some() || args.until.is_some()
}

/// Of a step of a ladder: what is not measured, and what is.
fn step_times(args: &SweepArgs) -> (Nanos, Nanos) {
    (args.run.warmup.unwrap_or(WARMUP), args.run.duration.unwrap_or(LENGTH))
}

/// A new journal: where it was asked for, else beside the report, else named by the time. Where an earlier sweep's stands in the way of a
/// place that nobody asked for, it gets a number.
fn new_journal(args: &SweepArgs, header: &Header) -> Result<Journal, JournalError> {
    if let Some(path) = &args.journal {
        return Journal::create(path, header);
    }
    let name = match &args.run.json {
        Some(json) if json.as_os_str() != "-" => {
            let mut name = json.clone().into_os_string();
            name.push(".journal");
            name
        }
        _ => format!("{}-sweep-{}.journal", header.tool, header.started_at.replace([':', '.'], "-")).into(),
    };
    let mut path = PathBuf::from(&name);
    for number in 2.. {
        match Journal::create(&path, header) {
            Err(JournalError::Open { error, .. }) if error.kind() == ErrorKind::AlreadyExists => {
                let mut numbered = name.clone();
                numbered.push(format!(".{number}"));
                path = numbered.into();
            }
            outcome => return outcome,
        }
    }
    unreachable!("numbers do not end")
}

/// How a sweep ended that nothing stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// There was nothing more to try.
    Done,
    /// There was no time for more.
    Budget,
}

/// Shares of the limit that the curve is drawn through, whatever the search has tried.
const CURVE: [f64; 4] = [0.25, 0.5, 0.75, 0.9];

/// Looks for the limit of every objective, draws the curve below it, and overloads the target.
fn search(sitting: &mut Sitting<'_>, args: &SweepArgs, slos: &[Slos]) -> Result<Ended, Stopped> {
    let mut is_in_time = true;
    for slos in slos {
        is_in_time &= limit::find(sitting, args, slos)?;
    }
    let finding = limit::search(sitting.entries(), args, &slos[0]).finding();
    let (Some(limit), [Some(_), Some(_)]) = (finding.holds, finding.interval) else {
        return Ok(if is_in_time { Ended::Done } else { Ended::Budget });
    };
    for share in CURVE {
        is_in_time &=
            limit::one_trial(sitting, args, limit * share, limit::DOUBLING, "the curve below the limit")?;
    }
    is_in_time &= overload::find(sitting, args, &slos[0], limit)?;
    is_in_time &= sitting.elapsed_s() < budget_s(args);
    Ok(if is_in_time { Ended::Done } else { Ended::Budget })
}

fn budget_s(args: &SweepArgs) -> f64 {
    args.budget.unwrap_or(BUDGET_DEFAULT).as_secs_f64()
}

fn objective_text(Slos(slos): &Slos) -> String {
    slos.iter().map(|slo| slo.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// Tries loads one after another.
fn climb(sitting: &mut Sitting<'_>, args: &SweepArgs, until: Option<Slo>) -> Result<Ended, Stopped> {
    let from = args.from.map_or_else(|| limit::from_default(args), |rate| rate.per_second());
    let mut ladder = if args.steps.is_empty() {
        let until = until.unwrap_or_else(|| UNTIL_DEFAULT.parse().expect("a constant"));
        Ladder::multiples(
            from,
            args.factor.unwrap_or(FACTOR_DEFAULT),
            args.to.map(|to| to.per_second()),
            until,
        )
    } else {
        Ladder::named(args.steps.iter().map(|rate| rate.per_second()).collect())
    };
    let (warmup, length) = step_times(args);
    let mut connections = None;
    while let Some(rate_) = ladder.next() {
        if (warmup + length).as_secs_f64() > sitting.left_s(args) {
            return Ok(Ended::Budget);
        }
        let doublings = limit::doublings(sitting);
        let load = Load { rate: rate_, stages: None, warmup, length, connections };
        let entry = sitting.trial(&load, &format!("{} req/s", rate(rate_)), None)?;
        // One that had too few connections is done anew with more.
        if limit::had_too_few(&entry.report) && doublings < limit::DOUBLINGS_MAX {
            connections = Some(entry.report.plan.connections * 2);
        } else {
            ladder.learn(&entry.report);
        }
    }
    Ok(Ended::Done)
}

fn sum_up(
    sitting: &Sitting<'_>,
    args: &SweepArgs,
    header: Header,
    slos: &[Slos],
    ended: Result<Ended, Stopped>,
    journal: PathBuf,
    command: &str,
) -> Swept {
    let is_done = matches!(ended, Ok(Ended::Done));
    let is_step = |entry: &&journal::Entry| is_ladder(args) || limit::is_trial(entry);
    let steps: Vec<StepRecord> = by_rate(sitting.entries().iter().filter(is_step))
        .into_iter()
        .map(|(offered, entries)| {
            let (decision, tone) = match is_ladder(args) {
                true => grade(&entries),
                false => limit::decision(&slos[0], &entries),
            };
            StepRecord {
                offered,
                decision,
                tone,
                target: entries.iter().rev().find_map(|entry| entry.usage.clone()),
                trials: entries.iter().map(|entry| entry.report.clone()).collect(),
            }
        })
        .collect();
    let answers: Vec<Answer> = slos
        .iter()
        .map(|slos| match is_ladder(args) {
            true => answer(slos, &steps, is_done),
            false => limit::answer(sitting.entries(), args, slos),
        })
        .collect();
    let holds = answers.first().and_then(|answer| answer.holds_rps);
    let is_interrupted = matches!(ended, Err(Stopped::Trial(TrialError::Interrupted)));
    let held: Vec<_> = steps
        .iter()
        .filter(|step| holds.is_some_and(|holds| step.offered <= holds))
        .filter_map(|step| Some((step.trials.last()?.rate.completed, step.target.as_ref()?)))
        .collect();
    let runs_out = holds.and_then(|holds| first_to_run_out(&held, holds, args.target_cpus));
    let why = match &ended {
        Ok(Ended::Done) if is_ladder(args) => "all loads were tried".to_owned(),
        Ok(Ended::Done) => "all that was asked is known".to_owned(),
        Ok(Ended::Budget) => "the budget is used up: give more with --budget".to_owned(),
        Err(why) => format!("{why}: go on with {command} --resume {}", journal.display()),
    };
    let counted = steps.iter().filter(|step| step.counts());
    let peak = counted.map(|step| (step.offered, step.row().ok)).max_by(|a, b| a.1.total_cmp(&b.1));
    let overloads = if is_ladder(args) { Vec::new() } else { overload::seen(sitting.entries(), &slos[0]) };
    let found = Found {
        schema: SCHEMA,
        tool: Tool { name: header.tool, version: header.version },
        started_at: header.started_at,
        duration_s: sitting.elapsed_s(),
        interrupted: is_interrupted,
        ended: why,
        args: header.args,
        seed: header.seed,
        knee_rps: holds.filter(|_| !is_ladder(args)).and_then(|holds| knee(&steps, holds)),
        peak_goodput_rps: peak.map(|(_, ok)| ok),
        collapse_rps: collapse(&steps, peak, &overloads),
        kept_at_twice: overloads
            .iter()
            .find(|seen| seen.overload.factor == 2.0)
            .and_then(|seen| seen.overload.kept(&seen.report.intervals)),
        recovery: overloads.iter().map(|seen| seen.recovery.clone()).collect(),
        sizing: args.need.zip(holds).map(|(need, holds)| Sizing::of(need.per_second(), holds)),
        runs_out,
        answers,
        overloads: overloads.iter().map(|seen| seen.report.clone()).collect(),
        probes: if is_ladder(args) { Vec::new() } else { probes(sitting) },
        steps,
    };
    let aftermaths =
        overloads.iter().map(|seen| Aftermath::of(seen.report, told::recovery(&seen.recovery))).collect();
    let view = told::view(&found, &slos[0].0, aftermaths);
    let stopped = ended.err();
    let status = status(&found, stopped.as_ref(), args.run.allow_invalid);
    Swept { found, view, status, stopped, journal }
}

fn grade(entries: &[&journal::Entry]) -> (String, Tone) {
    let grade = entries.last().map_or(Grade::Critical, |entry| Grade::of(&entry.report));
    (grade.name().to_owned(), grade.tone())
}

fn probes(sitting: &Sitting<'_>) -> Vec<Report> {
    let probes = sitting.entries().iter().filter(|entry| limit::is_probe(entry));
    probes.map(|entry| entry.report.clone()).collect()
}

/// The load with the most goodput for its latency (Kleinrock's power), of those that held; none if that is the highest of them: nothing
/// bends below it.
fn knee(steps: &[StepRecord], holds: f64) -> Option<f64> {
    let power = |step: &StepRecord| {
        let means = step.trials.iter().filter_map(|report| report.response_time_ns.mean);
        let mean = means.min()?;
        Some((step.offered, step.row().ok / mean.max(1) as f64))
    };
    let held = steps.iter().filter(|step| step.offered <= holds && step.counts());
    let held: Vec<_> = held.filter_map(power).collect();
    let highest = held.last()?.0;
    let best = held.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?.0;
    (best < highest).then_some(best)
}

/// Less than this of the peak is a collapse.
const COLLAPSED: f64 = 0.8;

/// The lowest load beyond the peak at which so much less is answered as wanted.
fn collapse(steps: &[StepRecord], peak: Option<(f64, f64)>, overloads: &[Seen<'_>]) -> Option<f64> {
    let (peak_at, peak) = peak?;
    let beyond = steps.iter().filter(|step| step.offered > peak_at && step.counts());
    let of_steps = beyond.map(|step| (step.offered, step.row().ok));
    let of_overloads = overloads.iter().filter_map(|Seen { overload, report, .. }| {
        let kept = overload.kept(&report.intervals)?;
        Some((overload.factor * overload.limit_rps, kept * overload.limit_rps))
    });
    let collapsed = of_steps.chain(of_overloads).filter(|(_, ok)| *ok < COLLAPSED * peak);
    collapsed.map(|(rate, _)| rate).reduce(f64::min)
}

/// The highest load up to which each held.
fn answer(objective @ Slos(slos): &Slos, steps: &[StepRecord], is_done: bool) -> Answer {
    let holds = |step: &&StepRecord| {
        let is_ours = |expr: &str| slos.iter().any(|slo| slo.text == expr);
        let mut counted = step.trials.iter().filter(|report| !limit::is_spoiled(report)).peekable();
        counted.peek().is_some()
            && counted.all(|report| report.slo.iter().all(|slo| slo.ok || !is_ours(&slo.expr)))
    };
    let held = steps.iter().take_while(holds).count();
    let last = held.checked_sub(1).map(|last| &steps[last]);
    let next = steps.get(held);
    let is_client = next.is_some_and(|step| !step.counts());
    Answer {
        slo: objective_text(objective),
        holds_rps: last.map(|step| step.offered),
        interval: [last, next].map(|step| step.map(|step| step.offered)),
        confidence: None,
        drifts: false,
        unsteady: false,
        limited_by: match next {
            _ if is_client => LimitedBy::Client,
            Some(_) => LimitedBy::Target,
            None if is_done => LimitedBy::Reach,
            None => LimitedBy::Budget,
        },
    }
}

fn status(found: &Found, stopped: Option<&Stopped>, allow_invalid: bool) -> u8 {
    let answered =
        found.steps.iter().flat_map(|step| &step.trials).any(|report| report.requests.completed > 0);
    match stopped {
        Some(Stopped::Trial(TrialError::Interrupted)) => exit::INTERRUPTED,
        Some(_) => exit::FAILED,
        None if !answered => exit::FAILED,
        None if !allow_invalid
            && found.answers.iter().any(|answer| answer.limited_by == LimitedBy::Client) =>
        {
            exit::CLIENT_LIMITED
        }
        None if found.answers.iter().any(|answer| {
            answer.holds_rps.is_none() && matches!(answer.limited_by, LimitedBy::Target | LimitedBy::Reach)
        }) =>
        {
            exit::SLO
        }
        None => exit::DONE,
    }
}
