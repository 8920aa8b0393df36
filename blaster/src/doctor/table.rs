//! A diagnosis, for people.

use blaster_core::report::units::{grouped, rate};

use super::{Diagnosis, End};
use crate::output::hanging;
use crate::tuning::scripts::{Finding, State};

const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// A measurement that others took more of is worth measuring again.
const DISTURBED: f64 = 0.05;

/// Columns of the labels.
const LABEL: usize = 14;

/// All of it, at so many columns.
pub fn render(diagnosis: &Diagnosis, width: usize, colour: bool) -> String {
    let mut text = String::new();
    let mut add = |mark: Option<(&str, &str)>, indent: usize, line: &str| {
        let head = mark.map_or("", |(mark, _)| mark);
        for (index, mut line) in hanging(head, indent, line, width).into_iter().enumerate() {
            if let Some((mark, tone)) = mark.filter(|(_, tone)| colour && index == 0 && !tone.is_empty()) {
                line = line.replacen(mark, &format!("{tone}{mark}{PLAIN}"), 1);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    };
    let plan = &diagnosis.plan;
    let asked =
        plan.rps.map_or("as fast as answers come".to_owned(), |rps| format!("{} req/s", grouped(rps)));
    let heading = format!(
        "{} {} · doctor: {asked} over {} connections -> {} · {}",
        diagnosis.tool.name,
        diagnosis.tool.version,
        grouped(plan.connections),
        diagnosis.targets.join(", "),
        many(plan.cores, "thread"),
    );
    add(None, 0, &heading);
    add(None, 0, "");
    for finding in diagnosis.findings.iter().filter(|finding| finding.state != State::Ok) {
        let mark = if finding.state == State::Stops { ("✗", RED) } else { ("⚠", YELLOW) };
        let head = format!("{}: {}, wanted {}", finding.knob, number(&finding.now), number(&finding.wanted));
        add(Some(mark), 2, &head);
        add(None, 4, &finding.text);
    }
    let fine: Vec<&str> =
        diagnosis.findings.iter().filter(|finding| finding.state == State::Ok).map(knob).collect();
    if !fine.is_empty() {
        add(Some(("✓", GREEN)), 2, &format!("{} as wanted: {}", fine.len(), fine.join(", ")));
    }
    diagnosis.container.iter().for_each(|line| add(Some(("⚠", YELLOW)), 2, line));
    add(None, 0, "");
    for (label, line) in prediction(diagnosis) {
        add(Some((label, "")), LABEL, &line);
    }
    add(None, 0, "");
    match (diagnosis.ready, &diagnosis.refused) {
        (true, _) => add(Some(("✓", GREEN)), 2, "ready: the plan can work on this machine"),
        (false, Some(why)) => add(Some(("✗", RED)), 2, &format!("not ready: {why}")),
        (false, None) => add(Some(("✗", RED)), 2, &format!("not ready: {}", next_step(diagnosis))),
    }
    text
}

fn next_step(diagnosis: &Diagnosis) -> &'static str {
    let mut stops = diagnosis.findings.iter().filter(|finding| finding.state == State::Stops).peekable();
    if stops.peek().is_none() {
        "what gives out first is not there for all of the plan: lower it, ask more at once of a connection (-p) if it is CPU, or take more \
         machines (`coordinator`)"
    } else if stops.any(|finding| finding.settable) {
        "`blaster doctor --fix` with the same plan, as root, sets what can be set; the rest is said above"
    } else {
        "what stops it no script can set: what to do is said above"
    }
}

fn knob(finding: &Finding) -> &str {
    &finding.knob
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Numbers with their thousands apart; -1 is what the kernel has for no limit.
fn number(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(number) => grouped(number),
        Err(_) if text == "-1" => "unlimited".to_owned(),
        Err(_) => text.to_owned(),
    }
}

fn prediction(diagnosis: &Diagnosis) -> Vec<(&'static str, String)> {
    let prediction = &diagnosis.prediction;
    let mut lines = Vec::new();
    if let Some(rps) = prediction.rps {
        let disturbed =
            prediction.disturbed.filter(|&share| share > DISTURBED).map_or_else(String::new, |share| {
                format!(
                    "; others had its CPUs for {:.0} % of that time: ask again when the machine is quiet",
                    share * 100.0
                )
            });
        lines.push((
            "can send",
            format!(
                "{} req/s of this plan (measured for 2 s against a target within itself{disturbed})",
                rate(round(rps))
            ),
        ));
    }
    let ends: Vec<String> = prediction.ends.iter().map(end).collect();
    if let Some(why) = &prediction.not_measured {
        lines.push(("can send", format!("not measured: {why}")));
    }
    lines.push(("ends", ends.join(" · ")));
    if let Some(first) = prediction.ends.iter().find(|end| Some(&end.what) == prediction.first.as_ref()) {
        let times = first.times.unwrap_or_default();
        let line = if times < 1.0 {
            format!("{}: there for {:.0} % of the plan", name(first), (times * 100.0).floor())
        } else {
            format!("{}, at {} what the plan asks", name(first), multiple(times))
        };
        lines.push(("gives out", format!("first: {line}")));
    }
    lines
}

/// To three digits: more is not known.
pub fn round(number: f64) -> f64 {
    if number <= 0.0 {
        return 0.0;
    }
    let unit = 10_f64.powf(number.log10().floor() - 2.0);
    (number / unit).round() * unit
}

fn multiple(times: f64) -> String {
    if times < 10.0 { format!("{times:.1}x") } else { format!("{:.0}x", round(times)) }
}

fn name(end: &End) -> &str {
    match end.what.as_str() {
        "cpu" => "CPU",
        "link" => "the network link",
        "ports" => "ports to the target",
        other => other,
    }
}

fn end(end: &End) -> String {
    format!("{} at {} {}", name(end), rate(round(end.at)), end.of)
}

#[cfg(test)]
mod tests {
    use blaster_core::report::Tool;

    use super::*;
    use crate::doctor::Prediction;
    use crate::tuning::Needs;

    fn diagnosis() -> Diagnosis {
        let finding = |state, knob: &str, text: &str| Finding {
            state,
            knob: knob.to_owned(),
            now: "28232".to_owned(),
            wanted: "40000".to_owned(),
            settable: true,
            text: text.to_owned(),
        };
        let end = |what: &str, at, times| End {
            what: what.to_owned(),
            at,
            of: "connections".to_owned(),
            times: Some(times),
        };
        Diagnosis {
            schema: 1,
            tool: Tool { name: "blaster".to_owned(), version: "0.1.0".to_owned() },
            ready: false,
            plan: Needs {
                rps: Some(100_000),
                connections: 40_000,
                addresses: 1,
                new_connections: 0,
                cores: 1,
                sink: false,
                local: false,
                loopback: false,
            },
            targets: vec!["http://api:3000/events".to_owned()],
            findings: vec![
                finding(
                    State::Stops,
                    "net.ipv4.ip_local_port_range",
                    "28,232 ports to one address: at most 28,232 connections at a time",
                ),
                finding(State::Ok, "descriptors", ""),
            ],
            refused: None,
            container: vec!["a container's limit, and how to get more of it".to_owned()],
            prediction: Prediction {
                rps: Some(1_234_567.0),
                not_measured: None,
                disturbed: Some(0.3),
                ends: vec![end("ports", 28_232.0, 0.7058), end("descriptors", 1e6, 25.0)],
                first: Some("ports".to_owned()),
            },
        }
    }

    #[test]
    fn the_worst_comes_first_and_no_line_is_too_wide() {
        for width in [60, 80, 160] {
            let text = render(&diagnosis(), width, false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            for part in [
                "✗ net.ipv4.ip_local_port_range: 28,232, wanted 40,000",
                "✓ 1 as wanted: descriptors",
                "1,230,000 req/s",
                "30 %",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert!(text.contains("70 %") && text.contains("not ready"), "{text}");
        }
    }

    #[test]
    fn nobody_is_sent_to_a_script_that_cannot_help() {
        let mut diagnosis = diagnosis();
        assert!(render(&diagnosis, 160, false).contains("--fix"));
        diagnosis.findings[0].settable = false;
        assert!(!render(&diagnosis, 160, false).contains("--fix"));
    }
}
