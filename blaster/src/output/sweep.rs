//! A sweep in a terminal: the answers, then the curve, then every load.

use blaster_core::report::units::{percent, rate};
use blaster_core::time::Nanos;

use super::plot;
use super::text::{Paint, columns, cut, hanging, wrap};
use crate::progress::short;
use crate::sweep::view::{Line, Step, Tone, View};

/// The narrowest layout; terminals narrower than this wrap it.
const WIDTH_MIN: usize = 60;

/// Most columns of the labels of the answers.
const LABEL_MAX: usize = 32;

/// All of it, with a newline at its end.
pub fn render(view: &View, width: usize, colour: bool) -> String {
    let (width, paint) = (width.max(WIDTH_MIN), Paint(colour));
    let blocks = [
        wrap(&view.heading, width),
        answers(&view.lines, width, paint),
        plot::render(view, width, paint),
        table(&view.steps, width, paint),
    ];
    let mut text = String::new();
    for block in blocks.iter().filter(|block| !block.is_empty()) {
        if !text.is_empty() {
            text.push('\n');
        }
        for line in block {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn answers(lines: &[Line], width: usize, paint: Paint) -> Vec<String> {
    let longest = lines.iter().map(|line| line.label.chars().count()).max().unwrap_or(0);
    let indent = longest.min(LABEL_MAX).min(width / 2) + 4;
    let line = |line: &Line| {
        let head = format!("{} {}", line.tone.sign(), cut(&line.label, indent - 4));
        let mut lines = hanging(&head, indent, &line.text, width);
        // Painted last: the codes have no width.
        lines[0] = lines[0].replacen(&head, &painted(paint, line.tone, &head), 1);
        lines
    };
    lines.iter().flat_map(line).collect()
}

fn painted(paint: Paint, tone: Tone, text: &str) -> String {
    match tone {
        Tone::Plain => text.to_owned(),
        Tone::Good => paint.good(text),
        Tone::Doubtful => paint.doubtful(text),
        Tone::Bad => paint.bad(text),
    }
}

/// Below this the numbers are shortened.
const WIDE: usize = 100;

fn table(steps: &[Step], width: usize, paint: Paint) -> Vec<String> {
    if steps.is_empty() {
        return Vec::new();
    }
    let number = if width < WIDE { short } else { rate };
    let has_usage = steps.iter().any(|step| step.usage.is_some()) && width >= WIDE;
    let mut heads = vec!["offered/s", "sent/s", "ok/s", "p50", "p99", "errors"];
    if has_usage {
        heads.extend(["target CPUs", "CPU a request"]);
    }
    let mut rows = vec![heads.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for step in steps {
        let mut row = vec![
            number(step.offered),
            number(step.achieved),
            number(step.ok),
            time(step.p50_ns),
            time(step.p99_ns),
            percent(step.errors),
        ];
        if has_usage {
            let usage = step.usage.as_ref();
            let cpus = usage.and_then(|usage| usage.cpus_used).map(|cpus| format!("{cpus:.2}"));
            let each = usage.and_then(|usage| usage.cpu_s_per_request);
            row.push(cpus.unwrap_or_else(|| "–".to_owned()));
            row.push(each.map_or_else(|| "–".to_owned(), |s| Nanos::from_secs_f64(s).to_string()));
        }
        rows.push(row);
    }
    let mut lines = columns(&rows);
    let left = lines[0].chars().count() + 2;
    let is_wide = width >= WIDE;
    let heading = if is_wide { "verdict  decision" } else { "decision" };
    lines[0] = paint.dim(&cut(&format!("{}  {heading}", lines[0]), width));
    for (line, step) in lines[1..].iter_mut().zip(steps) {
        let words = match step.verdict.as_str() {
            verdict if is_wide => format!("{verdict:<7}  {}", step.decision),
            "valid" => step.decision.clone(),
            verdict => format!("{} ({verdict})", step.decision),
        };
        let words = cut(&words, width.saturating_sub(left));
        line.push_str(&format!("  {}", painted(paint, step.tone, &words)));
    }
    lines
}

fn time(ns: Option<u64>) -> String {
    ns.map_or_else(|| "∞".to_owned(), |ns| Nanos(ns).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::plot::tests::view;

    #[test]
    fn the_answers_come_first_and_no_line_is_too_wide() {
        let mut view = view();
        view.lines.push(Line {
            tone: Tone::Bad,
            label: "recovery".to_owned(),
            text: "stuck: after 1.5x for 30 s it did not come back at 70 % of the limit within 300 s, and not before the load fell to 250 req/s"
                .to_owned(),
        });
        for width in [60, 80, 160] {
            let text = render(&view, width, false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
            assert!(
                at("holds 9,900 req/s") < at("p99 response time")
                    && at("p99 response time") < at("offered/s")
            );
            assert!(!text.contains('\x1b'));
        }
        assert!(render(&view, 80, true).contains("\x1b[31m✗ recovery\x1b[0m"));
    }

    #[test]
    fn a_sweep_without_a_single_trial_says_what_it_has() {
        let text = render(&View { heading: "a sweep".to_owned(), ..View::default() }, 80, false);
        assert_eq!(text, "a sweep\n");
    }
}
