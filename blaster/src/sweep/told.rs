//! What was found, in sentences and marks.

use blaster_core::plan::slo::Slo;
use blaster_core::report::sweep::overload::{Recovery, Unknown};
use blaster_core::report::units::{grouped, percent, rate};
use blaster_core::time::Nanos;

use super::found::{Answer, Found, LimitedBy, StepRecord};
use super::limit::is_spoiled;
use super::view::{Aftermath, Line, Mark, Tone, View, limit_ns};
use crate::metrics::joined::RunsOut;

/// All that is to be seen of it. `slos` are those of the first answer.
pub fn view(found: &Found, slos: &[Slo], aftermaths: Vec<Aftermath>) -> View {
    let mut lines: Vec<Line> = found.answers.iter().map(|answer| told(answer, found)).collect();
    lines.extend(found.sizing.as_ref().map(|sizing| {
        let is_known = found.answers.first().is_some_and(|answer| answer.limited_by == LimitedBy::Target);
        let text = format!(
            "{}{} such targets for {} req/s, at {:.0} % headroom",
            if is_known { "" } else { "at most " },
            grouped(sizing.targets),
            rate(sizing.need_rps),
            sizing.headroom * 100.0
        );
        line(Tone::Plain, "sizing", text)
    }));
    lines.extend(curve(found));
    lines.extend(found.recovery.iter().map(recovery));
    lines.extend(found.runs_out.as_ref().map(runs_out));
    lines.push(line(
        if found.interrupted { Tone::Doubtful } else { Tone::Plain },
        "ended",
        found.ended.clone(),
    ));
    View {
        heading: heading(found),
        lines,
        steps: found.steps.iter().map(StepRecord::row).collect(),
        marks: marks(found),
        bracket: found.answers.first().and_then(|answer| answer.interval[0].zip(answer.interval[1])),
        limit_ns: limit_ns(slos),
        recoveries: aftermaths,
        runs_out: found.runs_out.clone(),
    }
}

fn heading(found: &Found) -> String {
    let report = found.steps.iter().flat_map(|step| &step.trials).next();
    let what = report.map_or_else(String::new, |report| {
        format!(" of {} · {}", report.plan.targets.join(", "), report.plan.payload)
    });
    let trials: usize = found.steps.iter().map(|step| step.trials.len()).sum();
    let took = Nanos::from_secs_f64(found.duration_s.round());
    let s = if trials == 1 { "" } else { "s" };
    format!("{} {} · sweep{what} · {trials} trial{s} in {took}", found.tool.name, found.tool.version)
}

fn line(tone: Tone, label: &str, text: String) -> Line {
    Line { tone, label: label.to_owned(), text }
}

fn told(answer: &Answer, found: &Found) -> Line {
    if found.steps.is_empty() {
        return line(Tone::Doubtful, &answer.slo, "not known: no load was tried".to_owned());
    }
    let Some(holds) = answer.holds_rps else {
        match answer.limited_by {
            LimitedBy::Target | LimitedBy::Reach => {}
            LimitedBy::Client => {
                let why =
                    spoiled_by(found).map_or_else(String::new, |why| format!(". The last trial: {why}"));
                let text = format!("not known: this machine could not try it even at the lowest rate{why}");
                return line(Tone::Doubtful, &answer.slo, text);
            }
            LimitedBy::Budget => {
                let text = "not known: the lowest rate was not seen to hold, and the sweep ended before that was sure";
                return line(Tone::Doubtful, &answer.slo, text.to_owned());
            }
        }
        let lowest = answer.interval[1].map_or_else(String::new, |rate_| format!(", {} req/s", rate(rate_)));
        return line(Tone::Bad, &answer.slo, format!("not even at the lowest rate{lowest}"));
    };
    let sure = answer.confidence.map_or_else(String::new, |share| format!(", {:.0} %", share * 100.0));
    let between = match answer.interval {
        [Some(low), Some(high)] => format!(" ({}-{}{sure})", rate(low), rate(high)),
        _ => String::new(),
    };
    let holds = rate(holds);
    let (tone, text) = match answer.limited_by {
        LimitedBy::Target => (Tone::Good, format!("holds {holds} req/s{between}")),
        LimitedBy::Budget if between.is_empty() => {
            let text = match failed_above(answer, found) {
                Some(failed) => format!(
                    "at least {holds} req/s; {} req/s failed once, and the sweep ended before that was sure",
                    rate(failed)
                ),
                None => format!("at least {holds} req/s: the sweep ended before anything failed"),
            };
            (Tone::Doubtful, text)
        }
        LimitedBy::Budget => (
            Tone::Doubtful,
            format!("holds {holds} req/s{between}: the sweep ended before the limit was closer"),
        ),
        LimitedBy::Client => {
            let why = spoiled_by(found).map_or_else(String::new, |why| format!(". The last trial: {why}"));
            (
                Tone::Doubtful,
                format!("at least {holds} req/s (client-limited: this machine could not do more){why}"),
            )
        }
        LimitedBy::Reach => {
            (Tone::Good, format!("at least {holds} req/s: nothing failed up to the highest rate"))
        }
    };
    let doubts = match (answer.drifts, answer.unsteady) {
        (false, false) => return line(tone, &answer.slo, text),
        (true, false) => "it moves: the interval is of the end of the sweep",
        (false, true) => "unsteady: it fails at lower loads as well, now and then",
        (true, true) => "it moves, and fails at lower loads as well, now and then",
    };
    line(Tone::Doubtful, &answer.slo, format!("{text}; {doubts}"))
}

/// The lowest load above what holds at which an objective of the answer was not kept.
fn failed_above(answer: &Answer, found: &Found) -> Option<f64> {
    let is_ours = |expr: &str| answer.slo.split(", ").any(|slo| slo == expr);
    let failed = |step: &&StepRecord| {
        step.trials.iter().any(|report| report.slo.iter().any(|slo| !slo.ok && is_ours(&slo.expr)))
    };
    let above = found.steps.iter().filter(|step| Some(step.offered) > answer.holds_rps);
    above.filter(failed).map(|step| step.offered).reduce(f64::min)
}

/// Why the generator was the limit, in the words of the highest load's last trial.
fn spoiled_by(found: &Found) -> Option<&str> {
    let last = found
        .steps
        .iter()
        .rev()
        .find_map(|step| step.trials.iter().rev().find(|report| is_spoiled(report)))?;
    last.verdict.reasons.first().map(|reason| reason.text.as_str())
}

fn curve(found: &Found) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(knee) = found.knee_rps {
        let text = format!("{} req/s: beyond it more load costs more latency than it brings", rate(knee));
        lines.push(line(Tone::Plain, "knee", text));
    }
    if let Some(peak) = found.peak_goodput_rps {
        let kept = found.kept_at_twice.map_or_else(String::new, |kept| {
            format!("; at twice the limit {} of the limit is still answered as wanted", percent(kept))
        });
        lines.push(line(Tone::Plain, "peak", format!("{} answered as wanted a second{kept}", rate(peak))));
    }
    if let Some(collapse) = found.collapse_rps {
        let text = format!("at {} req/s: less is answered as wanted than at lower rates", rate(collapse));
        lines.push(line(Tone::Bad, "collapse", text));
    }
    lines
}

/// A sentence on what happened after an overload.
pub fn recovery(recovery: &Recovery) -> Line {
    let back = recovery.seconds.map(|seconds| Nanos::from_secs_f64(seconds).to_string());
    let released = recovery.released_at_rps.map(rate);
    let (tone, text) = match (recovery.metastable, back, released) {
        (Some(true), _, Some(released)) => (
            Tone::Bad,
            format!(
                "it is stuck at a load that it held before (metastable), and comes back at {released} req/s"
            ),
        ),
        (Some(true), ..) => (Tone::Bad, "it is stuck at a load that it held before (metastable)".to_owned()),
        (Some(false), Some(_), None) if recovery.seconds <= Some(0.0) => {
            (Tone::Good, "it is back at once".to_owned())
        }
        (Some(false), Some(back), None) => (Tone::Good, format!("it is back in {back}")),
        (Some(false), ..) => (
            Tone::Doubtful,
            "it works off what piled up, but was not through with it at 70 % of the limit in 100 s"
                .to_owned(),
        ),
        (None, ..) => (Tone::Doubtful, unknown(recovery)),
    };
    line(tone, "recovery", format!("after {}x the limit {text}", recovery.overload))
}

fn unknown(recovery: &Recovery) -> String {
    match recovery.unknown {
        Some(Unknown::NotWell) => "not known: it was not well before either, at half of it",
        Some(Unknown::HoldsLess) => {
            "it did not come back, and holds less than before even when relieved: its limit has moved, or was found too high"
        }
        Some(Unknown::CutShort) | None => "not known: the sweep ended before that could be told",
    }
    .to_owned()
}

fn runs_out(first: &RunsOut) -> Line {
    let text = format!(
        "{} runs out first, at {} req/s; at the limit {} of it is used",
        first.resource,
        rate(first.at_rps),
        percent(first.used_at_limit)
    );
    line(Tone::Plain, "resources", text)
}

fn marks(found: &Found) -> Vec<Mark> {
    let mark = |tone, word: &str, at: f64| Mark { rate: at, label: format!("{word} {}", rate(at)), tone };
    let holds = found.answers.first().and_then(|answer| answer.holds_rps);
    let mut marks: Vec<Mark> = holds.map(|at| mark(Tone::Good, "holds", at)).into_iter().collect();
    marks.extend(found.knee_rps.map(|at| mark(Tone::Plain, "knee", at)));
    marks.extend(found.collapse_rps.map(|at| mark(Tone::Bad, "collapse", at)));
    let stuck = found.recovery.iter().find_map(|recovery| recovery.released_at_rps);
    marks.extend(stuck.map(|at| mark(Tone::Bad, "comes back", at)));
    marks
}
