//! A sweep as one HTML file that needs nothing else: no network, no script. Drawn here as SVG; light or dark as its reader likes.

use std::fmt::Write;

use blaster_core::report::units::{bytes, percent, rate};
use blaster_core::time::Nanos;

use super::plot::rate_max;
use super::scale::ticks;
use crate::metrics::joined::Usage;
use crate::progress::short;
use crate::sweep::view::{Aftermath, Mark, Step, Tone, View};

/// The whole page.
pub fn render(view: &View) -> String {
    let mut out = String::new();
    let title = escaped(&view.heading);
    push(&mut out, format_args!("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"));
    push(&mut out, format_args!("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"));
    push(&mut out, format_args!("<title>{title}</title>\n<style>{STYLE}</style></head><body><main>\n"));
    push(&mut out, format_args!("<p class=\"heading\">{title}</p>\n<ul class=\"answers\">\n"));
    for line in &view.lines {
        let (class, sign) = (class(line.tone), line.tone.sign());
        let (label, text) = (escaped(&line.label), escaped(&line.text));
        push(
            &mut out,
            format_args!("<li class=\"{class}\"><b>{sign} {label}</b> <span>{text}</span></li>\n"),
        );
    }
    out.push_str("</ul>\n");
    if view.steps.len() > 1 {
        let axis = Axis { max: rate_max(view) };
        section(&mut out, "Response time", LATENCY_KEY, &latency(view, axis));
        section(&mut out, "Answered as wanted", GOODPUT_KEY, &goodput(view, axis));
        for (name, panel) in resources(view, axis) {
            section(&mut out, &name, "", &panel);
        }
    }
    for aftermath in &view.recoveries {
        section(&mut out, "After an overload", &escaped(&aftermath.label), &recovery(aftermath));
    }
    table(&mut out, view);
    out.push_str("</main></body></html>\n");
    out
}

const LATENCY_KEY: &str = "<i class=\"key p99\"></i> p99 <i class=\"key p50\"></i> p50, from the intended moment; the dashed line is the \
                           objective; ∞ was not answered";

const GOODPUT_KEY: &str = "per second; the dotted line is as many as offered";

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fdfcf9;--ink:#1d1f21;--soft:#70757a;--rule:#dcdad2;--good:#12805c;--bad:#c03221;--doubtful:#b27400;--blue:#2b62b5;--shade:#2b62b522}
@media(prefers-color-scheme:dark){:root{--paper:#15171a;--ink:#e6e4df;--soft:#989ca1;--rule:#33373c;--good:#4cc38a;--bad:#ff7a66;--doubtful:#f0b429;--blue:#7eb0ff;--shade:#7eb0ff2b}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px 20px 60px}h2{font-size:16px;margin:34px 0 2px}.note{color:var(--soft);font-size:13px;margin:0 0 4px}
.heading{color:var(--soft);margin:0 0 14px}.answers{list-style:none;margin:0;padding:0}.answers li{padding:3px 0;display:grid;grid-template-columns:minmax(8em,15em) 1fr;gap:1em}
.good b,td.good{color:var(--good)}.bad b,td.bad{color:var(--bad)}.doubtful b,td.doubtful{color:var(--doubtful)}
svg{width:100%;height:auto;display:block;font:12px system-ui,sans-serif}svg text{fill:var(--soft)}.grid{stroke:var(--rule)}.shade{fill:var(--shade)}
.line{fill:none;stroke-width:1.5}.p99,.ok{stroke:var(--blue)}.p50{stroke:var(--soft)}.bound{stroke:var(--bad);stroke-dasharray:6 4}.ideal{stroke:var(--soft);stroke-dasharray:1 5;stroke-linecap:round}
.mark{stroke:var(--soft);stroke-dasharray:3 3}circle.good{fill:var(--good)}circle.bad{fill:var(--bad)}circle.doubtful{fill:var(--doubtful)}circle.plain{fill:var(--soft)}
svg text.good{fill:var(--good)}svg text.bad{fill:var(--bad)}svg text.doubtful{fill:var(--doubtful)}.key{display:inline-block;width:18px;border-top:2px solid;vertical-align:middle}.key.p99{border-color:var(--blue)}.key.p50{border-color:var(--soft)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px;width:100%}th{color:var(--soft);font-weight:500}
th,td{text-align:right;padding:3px 10px;border-bottom:1px solid var(--rule);white-space:nowrap}th:last-child,td:last-child{text-align:left}";

/// Of a panel, in units of the drawing.
const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 24.0;

/// Room for a row of labels of marks, and what a letter of them takes at most.
const LABEL_ROW: f64 = 16.0;
const LETTER: f64 = 7.0;

/// The axis of rates, the same in all panels; or of time.
#[derive(Clone, Copy)]
struct Axis {
    max: f64,
}

impl Axis {
    fn x(self, rate: f64) -> f64 {
        LEFT + (rate / self.max).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }
}

/// Height of a share of the panel, 0 at its bottom.
fn y(share: f64) -> f64 {
    TOP + (1.0 - share.clamp(0.0, 1.0)) * (HEIGHT - TOP - BOTTOM)
}

fn latency(view: &View, axis: Axis) -> String {
    let log = |ns: u64| (ns.max(1) as f64).log10();
    let times = view.steps.iter().flat_map(|step| [step.p50_ns, step.p99_ns]).flatten().map(log);
    let times: Vec<f64> = times.chain(view.limit_ns.map(|ns| ns.max(1.0).log10())).collect();
    let lowest = times.iter().copied().fold(f64::INFINITY, f64::min).floor();
    let highest = times.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil().max(lowest + 1.0);
    if !lowest.is_finite() {
        return "<p class=\"note\">nothing was answered</p>".to_owned();
    }
    let height = |log: f64| y((log - lowest) / (highest - lowest));
    let mut panel = Panel::new(view, axis);
    for decade in lowest as i32..=highest as i32 {
        panel.tick(height(decade.into()), &Nanos(10_f64.powi(decade) as u64).to_string());
    }
    if let Some(limit) = view.limit_ns {
        let at = height(limit.max(1.0).log10());
        panel.add(format_args!("<path class=\"line bound\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT));
    }
    let median = view.steps.iter().map(|step| (step.offered, step.p50_ns));
    let tail = view.steps.iter().map(|step| (step.offered, step.p99_ns));
    let placed = |(rate, ns): (f64, Option<u64>)| Some((axis.x(rate), height(log(ns?))));
    panel.line("p50", median.filter_map(placed));
    panel.line("p99", tail.filter_map(placed));
    for step in &view.steps {
        let at = step.p99_ns.map(|ns| height(log(ns)));
        panel.point(step, at.unwrap_or(TOP));
        if at.is_none() {
            panel.add(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\">∞</text>",
                axis.x(step.offered) + 6.0,
                TOP + 4.0
            ));
        }
    }
    panel.finish(true)
}

fn goodput(view: &View, axis: Axis) -> String {
    let highest = view.steps.iter().map(|step| step.ok).fold(0.0, f64::max).max(1.0) * 1.1;
    let mut panel = Panel::new(view, axis);
    panel.ticks(highest, short);
    let end = highest.min(axis.max);
    panel.line("ideal", [(axis.x(0.0), y(0.0)), (axis.x(end), y(end / highest))]);
    panel.line("ok", view.steps.iter().map(|step| (axis.x(step.offered), y(step.ok / highest))));
    for step in &view.steps {
        panel.point(step, y(step.ok / highest));
    }
    panel.finish(true)
}

/// A panel for each resource that the target told of.
fn resources(view: &View, axis: Axis) -> Vec<(String, String)> {
    let usages = || view.steps.iter().filter_map(|step| step.usage.as_ref());
    let mut queues: Vec<&String> = usages().flat_map(|usage| usage.queues_max.keys()).collect();
    queues.sort();
    queues.dedup();
    let mut panels = Vec::new();
    let mut add = |name: &str,
                   value: &dyn Fn(&Usage) -> Option<f64>,
                   limit: &dyn Fn(&Usage) -> Option<f64>,
                   text: fn(f64) -> String| {
        let points: Vec<_> =
            view.steps.iter().filter_map(|step| Some((step, value(step.usage.as_ref()?)?))).collect();
        let Some(most) = points.iter().map(|(_, value)| *value).reduce(f64::max).filter(|most| *most > 0.0)
        else {
            return;
        };
        // A limit far above all that is used would flatten the curve.
        let limit = usages().find_map(limit).filter(|limit| *limit <= most * 4.0);
        let highest = most.max(limit.unwrap_or(0.0)) * 1.1;
        let mut panel = Panel::new(view, axis);
        panel.ticks(highest, text);
        if let Some(limit) = limit {
            let at = y(limit / highest);
            panel
                .add(format_args!("<path class=\"line bound\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT));
        }
        panel.line("ok", points.iter().map(|(step, value)| (axis.x(step.offered), y(value / highest))));
        for (step, value) in points {
            panel.point(step, y(value / highest));
        }
        panels.push((name.to_owned(), panel.finish(false)));
    };
    add("Target: CPUs used", &|usage| usage.cpus_used, &|usage| usage.cpus, |value| format!("{value:.2}"));
    add("Target: memory", &|usage| usage.memory_bytes_max, &|usage| usage.memory_limit_bytes, |value| {
        bytes(value as u64)
    });
    add("Target: descriptors", &|usage| usage.descriptors_max, &|usage| usage.descriptors_limit, short);
    for queue in queues {
        add(&format!("Target: {queue}"), &|usage| usage.queues_max.get(queue).copied(), &|_| None, short);
    }
    panels
}

/// Offered and answered, second by second.
fn recovery(aftermath: &Aftermath) -> String {
    let end = aftermath.seconds.last().map_or(1.0, |(t_s, ..)| t_s + 1.0);
    let highest = aftermath.seconds.iter().map(|(_, offered, ok)| offered.max(*ok)).fold(1.0, f64::max) * 1.1;
    let x = |t_s: f64| Axis { max: end }.x(t_s);
    let mut panel = Panel { out: String::new(), axis: Axis { max: end }, marks: Vec::new() };
    panel.ticks(highest, short);
    panel.line("ideal", aftermath.seconds.iter().map(|(t_s, offered, _)| (x(*t_s), y(offered / highest))));
    panel.line("ok", aftermath.seconds.iter().map(|(t_s, _, ok)| (x(*t_s), y(ok / highest))));
    for t_s in ticks(end) {
        let (at, text) = (x(t_s), format!("{t_s:.0} s"));
        panel.add(format_args!(
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
            HEIGHT - 6.0
        ));
    }
    panel.finish(false)
}

/// A drawing under way.
struct Panel {
    out: String,
    axis: Axis,
    /// Where, what, in which tone.
    marks: Vec<(f64, String, Tone)>,
}

impl Panel {
    /// With the axis of rates, and the bracket as a shade.
    fn new(view: &View, axis: Axis) -> Self {
        let mut marks: Vec<&Mark> = view.marks.iter().collect();
        marks.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let marks =
            marks.into_iter().map(|mark| (axis.x(mark.rate), mark.label.clone(), mark.tone)).collect();
        let mut panel = Self { out: String::new(), axis, marks };
        if let Some((low, high)) = view.bracket {
            let (from, to) = (axis.x(low), axis.x(high));
            // Never so narrow that it cannot be seen.
            let (width, height) = ((to - from).max(2.0), HEIGHT - TOP - BOTTOM);
            panel.add(format_args!(
                "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"><title>between {} and {} req/s</title></rect>",
                rate(low),
                rate(high),
            ));
        }
        for rate in ticks(axis.max) {
            let (at, text) = (axis.x(rate), short(rate));
            panel.add(format_args!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                HEIGHT - 6.0
            ));
        }
        panel
    }

    fn add(&mut self, args: std::fmt::Arguments<'_>) {
        push(&mut self.out, args);
        self.out.push('\n');
    }

    fn tick(&mut self, at: f64, text: &str) {
        self.add(format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT));
        self.add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            LEFT - 6.0,
            at + 4.0
        ));
    }

    fn ticks(&mut self, highest: f64, text: impl Fn(f64) -> String) {
        for value in ticks(highest) {
            self.tick(y(value / highest), &text(value));
        }
    }

    fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let points: Vec<_> = points.into_iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!("<polyline class=\"line {class}\" points=\"{}\"/>", points.join(" ")));
    }

    /// What it says when the pointer rests on it is the row of the table.
    fn point(&mut self, step: &Step, at: f64) {
        let title = format!(
            "{} req/s: {}/s ok, p50 {}, p99 {}, {} errors, {}",
            rate(step.offered),
            rate(step.ok),
            time(step.p50_ns),
            time(step.p99_ns),
            percent(step.errors),
            step.decision
        );
        let x = self.axis.x(step.offered);
        self.add(format_args!(
            "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{at:.1}\" r=\"4\"><title>{}</title></circle>",
            class(step.tone),
            escaped(&title)
        ));
    }

    fn finish(mut self, is_labelled: bool) -> String {
        let mut rows: Vec<f64> = Vec::new();
        for (at, label, tone) in std::mem::take(&mut self.marks) {
            self.add(format_args!("<path class=\"mark\" d=\"M{at:.1} {TOP}V{}\"/>", HEIGHT - BOTTOM));
            if !is_labelled {
                continue;
            }
            let length = label.chars().count() as f64 * LETTER;
            let (anchor, from) = if at + length > WIDTH { ("end", at - length) } else { ("start", at) };
            let row = rows.iter().position(|end| *end < from).unwrap_or_else(|| {
                rows.push(0.0);
                rows.len() - 1
            });
            rows[row] = from + length + LETTER;
            let (label_y, class) = (HEIGHT + 8.0 + row as f64 * LABEL_ROW, class(tone));
            let label = escaped(&label);
            self.add(format_args!("<text class=\"{class}\" x=\"{at:.1}\" y=\"{label_y:.1}\" text-anchor=\"{anchor}\">{label}</text>"));
        }
        let height = HEIGHT + rows.len() as f64 * LABEL_ROW;
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n{}</svg>\n", self.out)
    }
}

fn section(out: &mut String, title: &str, note: &str, panel: &str) {
    push(out, format_args!("<h2>{}</h2>\n<p class=\"note\">{note}</p>\n{panel}", escaped(title)));
}

fn table(out: &mut String, view: &View) {
    let has_usage = view.steps.iter().any(|step| step.usage.is_some());
    out.push_str("<h2>Loads</h2>\n<div class=\"scroll\"><table>\n<tr><th>offered/s</th><th>sent/s</th><th>ok/s</th><th>p50</th><th>p99</th><th>errors</th>");
    if has_usage {
        out.push_str("<th>target CPUs</th><th>CPU a request</th>");
    }
    out.push_str("<th>trials</th><th>verdict</th><th>decision</th></tr>\n");
    for step in &view.steps {
        let mut cells = vec![
            rate(step.offered),
            rate(step.achieved),
            rate(step.ok),
            time(step.p50_ns),
            time(step.p99_ns),
            percent(step.errors),
        ];
        if has_usage {
            let usage = step.usage.as_ref();
            let shown =
                |value: Option<f64>, text: fn(f64) -> String| value.map_or_else(|| "–".to_owned(), text);
            cells.push(shown(usage.and_then(|usage| usage.cpus_used), |cpus| format!("{cpus:.2}")));
            cells.push(shown(usage.and_then(|usage| usage.cpu_s_per_request), |s| {
                Nanos::from_secs_f64(s).to_string()
            }));
        }
        cells.extend([step.trials.to_string(), step.verdict.clone()]);
        out.push_str("<tr>");
        for cell in cells {
            push(out, format_args!("<td>{}</td>", escaped(&cell)));
        }
        push(out, format_args!("<td class=\"{}\">{}</td></tr>\n", class(step.tone), escaped(&step.decision)));
    }
    out.push_str("</table></div>\n");
}

fn time(ns: Option<u64>) -> String {
    ns.map_or_else(|| "∞".to_owned(), |ns| Nanos(ns).to_string())
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Doubtful => "doubtful",
        Tone::Bad => "bad",
    }
}

/// What others have written may be read, not run.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn push(out: &mut String, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::plot::tests::view;

    #[test]
    fn a_page_needs_nothing_but_itself() {
        let page = render(&view());
        for outside in ["http://www", "https://", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<circle").count(), 20, "two panels of ten loads");
        assert!(page.contains("holds 9,900 req/s") && page.contains("collapses 10,200"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn what_a_target_is_called_cannot_run() {
        let mut view = view();
        view.heading = "<script>alert(1)</script>".to_owned();
        view.steps[0].usage =
            Some(Usage { queues_max: [("<b>".to_owned(), 1.0)].into(), ..Usage::default() });
        let page = render(&view);
        assert!(!page.contains("<script") && !page.contains("<b>\u{3c}"), "{page}");
        assert!(page.contains("Target: &lt;b&gt;"));
    }

    #[test]
    fn what_a_target_took_has_panels_and_columns_of_its_own() {
        let mut view = view();
        for (step, n) in view.steps.iter_mut().zip(1..) {
            let n = f64::from(n);
            step.usage = Some(Usage {
                cpus_used: Some(0.1 * n),
                cpus: Some(2.0),
                cpu_s_per_request: Some(1e-4),
                memory_bytes_max: Some(1e8 + n),
                ..Usage::default()
            });
        }
        view.recoveries = vec![Aftermath {
            label: "1.5x for 5 s: back after 2 s".to_owned(),
            tone: Tone::Good,
            seconds: (0..20).map(|t| (f64::from(t), 100.0, 90.0)).collect(),
        }];
        let page = render(&view);
        for text in
            ["Target: CPUs used", "Target: memory", "CPU a request", "After an overload", "back after 2 s"]
        {
            assert!(page.contains(text), "{text}");
        }
        assert!(!page.contains("NaN"), "{page}");
    }
}
