//! The summary: what a run came to, at a glance, each failure with the next step to take.
//!
//! The verdict comes first, since it says what the other numbers are worth. Lines are at most as wide as asked:
//! explanations stand right of the numbers if there is room, and below them otherwise.

use std::iter::once;

use blaster_core::load::engine::ConnectFailure;
use blaster_core::load::recorder::Failure;
use blaster_core::report::collector::IntervalRow;
use blaster_core::report::confidence::{Ends, samples_wanted};
use blaster_core::report::facts::AskedRate;
use blaster_core::report::latency::Latency;
use blaster_core::report::units::{bytes, grouped, percent, rate};
use blaster_core::report::verdict::Status;
use blaster_core::report::{Class, Report, SloOutcome};
use blaster_core::time::Nanos;

use super::nodes;
use super::text::{Paint, columns, cut, hanging, pad, wrap};

/// The narrowest layout; terminals narrower than this wrap it.
pub const WIDTH_MIN: usize = 60;

/// Explanations need this much room to stand right of the numbers.
const EXPLANATION_MIN: usize = 28;

/// From so many on, how they were opened is a part of the summary.
const MANY_CONNECTIONS: u64 = 1_000;

/// Where the words behind the verdict and the promises begin.
const VERDICT_INDENT: usize = 17;

/// The whole summary, with a newline at its end; no line is wider than `width` or [`WIDTH_MIN`].
pub fn render(report: &Report, width: usize, colour: bool) -> String {
    let page = Page { report, width: width.max(WIDTH_MIN), paint: Paint(colour) };
    let blocks = [
        page.heading(),
        page.verdict(),
        page.counts(),
        page.latencies(),
        page.classes(),
        page.nodes(),
        page.intervals(),
        page.machinery(),
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

struct Page<'a> {
    report: &'a Report,
    width: usize,
    paint: Paint,
}

/// A line of the table of counts.
struct Count {
    label: String,
    count: u64,
    explanation: String,
    tone: Tone,
}

#[derive(Clone, Copy, PartialEq)]
enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
}

impl Count {
    fn new(label: impl Into<String>, count: u64, tone: Tone, explanation: impl Into<String>) -> Self {
        Self { label: label.into(), count, explanation: explanation.into(), tone }
    }
}

impl Page<'_> {
    fn heading(&self) -> Vec<String> {
        let Report { plan, tool, generator, .. } = self.report;
        let load = match (&plan.stages, &plan.rate) {
            (Some(stages), _) => format!("stages {stages}"),
            (None, AskedRate::PerSecond(asked)) => {
                match plan.events_per_request.filter(|&events| events != 1.0) {
                    Some(events) => format!("{} req/s ({} events/s)", rate(*asked), rate(asked * events)),
                    None => format!("{} req/s", rate(*asked)),
                }
            }
            (None, AskedRate::Max(_)) => "as fast as answers come".to_owned(),
        };
        let mut depth = format!("depth {}", plan.depth);
        if plan.depth_auto {
            depth.push_str(" (auto)");
        }
        if let (true, Some(density)) = (generator.packed, generator.requests_per_send) {
            depth.push_str(&format!(", packed {density:.1} a send"));
        }
        let heading = format!(
            "{} {} · {load} for {} -> {} · {} · {}, {}, {depth}",
            tool.name,
            tool.version,
            Nanos(plan.duration_ns),
            plan.targets.join(", "),
            plan.payload,
            counted(plan.threads.into(), "shard"),
            counted(plan.connections.into(), "connection"),
        );
        let mut lines = wrap(&heading, self.width);
        if self.report.interrupted {
            let note = format!(
                "interrupted after {} of {}: all figures cover that time only",
                Nanos::from_secs_f64(self.report.duration_s),
                Nanos(plan.duration_ns),
            );
            lines.extend(self.painted(Tone::Doubtful, wrap(&note, self.width)));
        }
        if self.report.closed_loop() {
            let note = "closed loop (--rps max): response times leave out the waits an open loop would see";
            lines.extend(wrap(note, self.width));
        }
        lines
    }

    fn verdict(&self) -> Vec<String> {
        let verdict = &self.report.verdict;
        let (mark, tone) = match verdict.status {
            Status::Valid => ("✓ VALID", Tone::Good),
            Status::Suspect => ("⚠ SUSPECT", Tone::Doubtful),
            Status::ClientLimited => ("✗ CLIENT-LIMITED", Tone::Bad),
        };
        let mut lines = self.marked(mark, tone, &self.report.headline());
        for reason in &verdict.reasons {
            lines.extend(hanging("  -", 4, &reason.text, self.width));
        }
        for slo in &self.report.slo {
            let (mark, tone) = if slo.ok { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
            lines.extend(self.marked(&format!("{mark} {}", slo.expr), tone, &observed(slo)));
        }
        lines
    }

    /// A mark in its colour, and words behind it.
    fn marked(&self, mark: &str, tone: Tone, words: &str) -> Vec<String> {
        let indent = VERDICT_INDENT.max(mark.chars().count() + 1).min(self.width / 2);
        let mark = cut(mark, indent - 1);
        let mut lines = hanging(&mark, indent, words, self.width);
        // Painted last: the codes have no width.
        lines[0] = lines[0].replacen(&mark, &self.paint(tone, &mark), 1);
        lines
    }

    fn counts(&self) -> Vec<String> {
        let Report { requests, .. } = self.report;
        let mut counts = Vec::new();
        if !self.report.closed_loop() {
            counts.push(Count::new("offered", requests.scheduled + requests.missing, Tone::Plain, ""));
        }
        let nobody = "not sent, or not told of, by nodes that were lost: see the gaps below";
        counts.push(Count::new("missing", requests.missing, Tone::Bad, nobody));
        let sizes =
            format!("{} sent, {} received", bytes(self.report.bytes.sent), bytes(self.report.bytes.received));
        counts.push(Count::new("sent", requests.sent, Tone::Plain, sizes));
        counts.extend(self.unsent());
        counts.extend(self.statuses());
        counts.extend(requests.errors.by_kind().into_iter().map(|(kind, count)| {
            let mut explanation = failure_explanation(kind).to_owned();
            if let (Failure::Malformed, Some(why)) = (kind, &requests.malformed_because) {
                explanation = format!("{explanation}; the first: {why}");
            }
            Count::new(kind.key(), count, Tone::Bad, explanation)
        }));
        counts.push(Count::new(
            "in flight",
            requests.in_flight_at_end,
            Tone::Doubtful,
            if self.report.lost_nodes().next().is_some() {
                "sent, and no answer known of: not waited for any longer, or of a node that was lost"
            } else {
                "sent, and not waited for any longer when the run was stopped"
            },
        ));
        counts.retain(|count| count.count > 0 || matches!(&*count.label, "offered" | "sent"));
        counts.extend(self.events());
        self.count_lines(&counts)
    }

    fn unsent(&self) -> [Count; 2] {
        let unsent = &self.report.requests.unsent;
        let backlog =
            "no connection had room for them up to the end: lower --rps, or give more connections (-c)";
        [
            Count::new("backlog", unsent.backlog, Tone::Bad, backlog),
            Count::new(
                "stopped",
                unsent.stopped,
                Tone::Doubtful,
                "not sent only because the run was stopped",
            ),
        ]
    }

    fn statuses(&self) -> Vec<Count> {
        let requests = &self.report.requests;
        let mut counts: Vec<_> = requests
            .status
            .iter()
            .map(|(status, count)| {
                let tone = match status {
                    200..=299 => Tone::Good,
                    300..=399 => Tone::Doubtful,
                    _ => Tone::Bad,
                };
                Count::new(format!("{status:03}"), *count, tone, status_explanation(*status))
            })
            .collect();
        let note =
            format!("of these answers, with a status that --expect {} leaves out", self.report.plan.expect);
        counts.push(Count::new("unexpected", requests.unexpected_status, Tone::Bad, note));
        counts
    }

    /// Only where it says more than the requests do.
    fn events(&self) -> Option<Count> {
        let Report { events, requests, duration_s, .. } = self.report;
        let differ = events.sent != requests.sent || events.acknowledged != events.sent;
        let how = match (events.acknowledged, events.acknowledged_by_status) {
            (0, _) => String::new(),
            (_, 0) => ", as the answers count them".to_owned(),
            (all, by_status) if all == by_status => ", by the status of their answers".to_owned(),
            (_, some) => format!(", {} of them only by status", grouped(some)),
        };
        let sent = if *duration_s > 0.0 { events.sent as f64 / duration_s } else { 0.0 };
        let note = format!("acknowledged of {} sent ({}/s){how}", grouped(events.sent), rate(sent));
        (events.sent > 0 && differ).then(|| Count::new("events", events.acknowledged, Tone::Plain, note))
    }

    fn count_lines(&self, counts: &[Count]) -> Vec<String> {
        let Report { requests, events, duration_s, .. } = self.report;
        let cells = |count: &Count| {
            let whole =
                if count.label == "events" { events.sent } else { requests.scheduled + requests.missing };
            let per_second = if *duration_s > 0.0 { count.count as f64 / duration_s } else { 0.0 };
            let share = match count.label.as_str() {
                "offered" => String::new(),
                _ if whole == 0 => String::new(),
                _ => percent(count.count as f64 / whole as f64),
            };
            vec![count.label.clone(), grouped(count.count), format!("{}/s", rate(per_second)), share]
        };
        let rows: Vec<_> = counts.iter().map(cells).collect();
        let mut lines = Vec::new();
        for (count, line) in counts.iter().zip(columns(&rows)) {
            let mut block = self.explained(&line, &count.explanation);
            block[0] = block[0].replacen(&count.label, &self.paint(count.tone, &count.label), 1);
            lines.extend(block);
        }
        lines
    }

    /// The explanation right of the numbers, or below them if there is no room.
    fn explained(&self, line: &str, explanation: &str) -> Vec<String> {
        let indent = line.chars().count() + 3;
        if explanation.is_empty() || indent + EXPLANATION_MIN.min(explanation.chars().count()) <= self.width {
            return hanging(line, indent, explanation, self.width);
        }
        let below = hanging("", VERDICT_INDENT, explanation, self.width);
        once(line.trim_end().to_owned()).chain(below).collect()
    }

    fn latencies(&self) -> Vec<String> {
        let Report { response_time_ns, service_time_ns, lateness_ns, connections, connect_time_ns, .. } =
            self.report;
        let mut rows = Vec::new();
        let mut explanations = Vec::new();
        let mut add = |name: &str, latency: &Latency, explanation: String| {
            if latency.count + latency.unanswered > 0 {
                rows.push(latency_cells(name, latency));
                explanations.push(explanation);
            }
        };
        let from = if self.report.closed_loop() { "from the send" } else { "from the intended moment" };
        let endless = match response_time_ns.unanswered {
            0 => String::new(),
            unanswered => format!("; {} never answered rank last (∞)", grouped(unanswered)),
        };
        let sure = match (response_time_ns.supports(99.0), response_time_ns.interval_95.p99) {
            // Endless, and surely so.
            (true, [None, None]) => String::new(),
            (true, ends) => format!("; p99 within {} (95 %)", span(ends)),
            (false, _) => {
                let wanted = grouped(samples_wanted(99.0));
                format!("; {TOO_FEW}: too few requests to say (p99 wants {wanted})")
            }
        };
        add("response time", response_time_ns, format!("{from}{endless}{sure}"));
        let ok = &self.report.response_time_ok_ns;
        if ok.count != response_time_ns.count + response_time_ns.unanswered {
            add("ok answers", ok, "the same of answers with an expected status alone".to_owned());
        }
        if let Some(lateness) = lateness_ns {
            add("service time", service_time_ns, "from the actual send".to_owned());
            let own = match [lateness.own.p50, lateness.own.p99].map(time) {
                _ if lateness.whole.count == 0 => "nothing was sent".to_owned(),
                [p50, p99] => format!("own {p50} / {p99} (p50 / p99)"),
            };
            let rest = match lateness.blocked {
                0 if lateness.whole.count == 0 => String::new(),
                0 if self.report.requests.unsent.backlog > 0 => {
                    ", none of what was sent had waited for a free connection".to_owned()
                }
                0 => ", none waited for a free connection".to_owned(),
                blocked => format!(
                    ", the rest waited for a free connection ({} of the requests)",
                    percent(blocked as f64 / self.report.requests.sent.max(1) as f64)
                ),
            };
            add("lateness", &lateness.whole, format!("{own}{rest}"));
        }
        if connections.reopened > 0 || self.opening_matters() {
            add("connect time", connect_time_ns, "to open a connection".to_owned());
        }
        if rows.is_empty() {
            return Vec::new();
        }
        self.latency_lines(rows, &explanations)
    }

    fn latency_lines(&self, mut rows: Vec<Vec<String>>, explanations: &[String]) -> Vec<String> {
        rows.insert(0, once("").chain(LATENCY_HEADINGS).map(str::to_owned).collect());
        for heading in LATENCY_DROPPED {
            let fits = columns(&rows).iter().all(|line| line.chars().count() <= self.width);
            if let (false, Some(column)) = (fits, rows[0].iter().position(|cell| cell == heading)) {
                rows.iter_mut().for_each(|row| drop(row.remove(column)));
            }
        }
        let mut table = columns(&rows);
        table[0] = self.paint.dim(&table[0]);
        let indent = table[1].chars().count() + 3;
        if indent + EXPLANATION_MIN <= self.width {
            let explained = table[1..]
                .iter()
                .zip(explanations)
                .flat_map(|(line, text)| hanging(line, indent, text, self.width));
            return once(table[0].clone()).chain(explained).collect();
        }
        let below = rows[1..].iter().zip(explanations);
        let below: Vec<_> = below.map(|(row, text)| format!("{}: {text}", row[0].trim_end())).collect();
        table.extend(hanging("", 2, &below.join(" · "), self.width));
        table
    }

    fn classes(&self) -> Vec<String> {
        let classes = &self.report.classes;
        if classes.len() < 2 {
            return Vec::new();
        }
        let name_width = self.width.saturating_sub(CLASS_NUMBERS_WIDTH);
        let heading = ["class", "sent", "ok", "p50", "p99", "p99.9", "max"].map(str::to_owned).to_vec();
        let rows: Vec<_> =
            once(heading).chain(classes.iter().map(|class| class_cells(class, name_width))).collect();
        let mut lines: Vec<_> = columns(&rows).iter().map(|line| cut(line, self.width)).collect();
        lines[0] = self.paint.dim(&lines[0]);
        lines
    }

    fn nodes(&self) -> Vec<String> {
        let mut lines = nodes::lines(self.report, self.width);
        if let Some(heading) = lines.first_mut() {
            *heading = self.paint.dim(heading);
        }
        lines
    }

    /// The seconds that were not valid, or in which a part of the run was missing; the rest is in the report.
    fn intervals(&self) -> Vec<String> {
        let rows = &self.report.intervals;
        let bad: Vec<_> = rows.iter().filter(|row| row.status != Status::Valid || !row.is_whole()).collect();
        // Of a run of one interval the verdict has said all.
        if bad.is_empty() || rows.len() < 2 {
            return Vec::new();
        }
        let heading = ["second", "sent/s", "own p99", "p50", "p99", "max", ""].map(str::to_owned).to_vec();
        let cells = |row: &&IntervalRow| {
            let mark = match row.status {
                _ if row.missing > 0.0 => format!("✗ gap: {} missing", percent(row.missing)),
                _ if row.told_late > 0 => format!("⚠ {} more, told late", grouped(row.told_late)),
                _ if row.of_earlier > 0 => format!("⚠ {} of earlier seconds", grouped(row.of_earlier)),
                Status::Valid => String::new(),
                Status::Suspect => "⚠ suspect".to_owned(),
                Status::ClientLimited => "✗ client-limited".to_owned(),
            };
            let ended = row.completed + row.errors > 0;
            let cell = |value| if ended { time(value) } else { "-".to_owned() };
            let times = [row.p50_ns, row.p99_ns, row.max_ns].map(cell);
            // None where nothing was sent, and in closed loop.
            let own = row.own_p99_ns.map_or_else(|| "-".to_owned(), |ns| time(Some(ns)));
            [format!("{:.0}", row.t_s), grouped(row.sent), own]
                .into_iter()
                .chain(times)
                .chain(once(mark))
                .collect::<Vec<_>>()
        };
        let shown = bad.iter().take(INTERVALS_LISTED_MAX).map(cells);
        let table: Vec<_> = once(heading).chain(shown).collect();
        let mut lines: Vec<_> = columns(&table).iter().map(|line| cut(line.trim_end(), self.width)).collect();
        lines[0] = self.paint.dim(&lines[0]);
        if bad.len() > INTERVALS_LISTED_MAX {
            let more = counted((bad.len() - INTERVALS_LISTED_MAX) as u64, "more interval");
            lines.push(format!(
                "and {more} that {} not valid or not whole: see intervals in --json",
                if bad.len() == INTERVALS_LISTED_MAX + 1 { "was" } else { "were" }
            ));
        }
        lines
    }

    /// Connections, the generator itself, and the warm-up.
    fn machinery(&self) -> Vec<String> {
        let mut lines = self.connections();
        lines.extend(self.item("generator", &self.generator()));
        lines.extend(self.item("wire", &self.wire()));
        lines.extend(self.item("seed", &self.report.seed.to_string()));
        if !self.report.tags.is_empty() {
            let tags: Vec<_> = self.report.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            lines.extend(self.item("tags", &tags.join(" · ")));
        }
        if let Some(warmup) = &self.report.warmup {
            let text = format!(
                "{} before: {}, {} sent, {} ok; in no other figure",
                Nanos::from_secs_f64(warmup.duration_s),
                counted(warmup.requests.scheduled, "request"),
                grouped(warmup.requests.sent),
                grouped(warmup.requests.ok),
            );
            lines.extend(self.item("warm-up", &text));
        }
        lines
    }

    /// Whether the reader wants to know how connections were opened: they are many, or were paced.
    fn opening_matters(&self) -> bool {
        let Report { plan, connections, .. } = self.report;
        plan.connect_rate.is_some() || connections.opened >= MANY_CONNECTIONS
    }

    fn connections(&self) -> Vec<String> {
        let connections = &self.report.connections;
        let mut text = format!("{} opened", grouped(connections.opened));
        if let Some(took) = connections.opening_ns.filter(|_| self.opening_matters()) {
            text.push_str(&format!(" in {}", Nanos(took)));
        }
        if connections.reopened > 0 {
            text.push_str(&format!(", {} reopened", grouped(connections.reopened)));
        }
        let failed: Vec<_> =
            connections.failed.by_kind().into_iter().filter(|(_, count)| *count > 0).collect();
        if !failed.is_empty() {
            let total: u64 = failed.iter().map(|(_, count)| count).sum();
            text.push_str(&format!(", {} failed", counted(total, "attempt")));
        }
        if let Some(answers) = connections.answers_before_close {
            text.push_str(&format!("; the target closes each after {}", counted(answers, "answer")));
        }
        if let Some(tcp) = &self.report.generator.machine.tcp {
            text.push_str(&format!(
                " · round trip {}, {}, window {} segments",
                Nanos(tcp.rtt_ns),
                self.report.environment.congestion_control,
                tcp.congestion_window
            ));
        }
        let mut lines = self.item("connections", &text);
        for (kind, count) in failed {
            let text = format!("{} {}: {}", grouped(count), kind.key(), connect_explanation(kind));
            let indent = ITEM_INDENT + 2;
            let mut block = hanging("", indent, &text, self.width);
            block[0] = block[0].replacen(kind.key(), &self.paint(Tone::Bad, kind.key()), 1);
            lines.extend(block);
        }
        lines
    }

    fn generator(&self) -> String {
        let generator = &self.report.generator;
        let mut parts = Vec::new();
        parts.extend(self.cores_busy());
        if let Some(cpu) = generator.cpu_ns_per_request {
            parts.push(format!("{} CPU a request", Nanos(cpu.round() as u64)));
        }
        if let Some(density) = generator.requests_per_send {
            parts.push(match generator.packed {
                true => format!("packed {density:.1} a send"),
                false => format!("{density:.1} requests a send"),
            });
        }
        let machine = &generator.machine;
        for (share, what) in [
            (generator.steal, "of the CPU stolen by the hypervisor"),
            (machine.waited, "of the time waited behind other processes"),
            (machine.throttled, "of the time stopped by a CPU limit"),
        ] {
            if let Some(share) = share.filter(|share| *share >= SHARE_SHOWN_MIN) {
                parts.push(format!("{} {what}", percent(share)));
            }
        }
        if let Some(retransmits) = generator.retransmits.filter(|count| *count > 0) {
            parts.push(format!("{} retransmitted by this machine", counted(retransmits, "segment")));
        }
        parts.join(" · ")
    }

    fn wire(&self) -> String {
        let wire = &self.report.generator.wire;
        match &wire.unavailable {
            Some(why) => format!("the kernel timed no request: {why}"),
            None if wire.samples == 0 => String::new(),
            None => format!(
                "{} timed by the kernel: before the wire {} / {} (p50 / p99) · after it {} / {}",
                counted(wire.samples, "request"),
                time(wire.before_ns.p50),
                time(wire.before_ns.p99),
                time(wire.after_ns.p50),
                time(wire.after_ns.p99),
            ),
        }
    }

    fn cores_busy(&self) -> Option<String> {
        let cores = &self.report.generator.cores;
        let percents = cores.iter().map(|core| core.busy * 100.0);
        if cores.len() > CORES_LISTED_MAX {
            let (least, most) = (percents.clone().reduce(f64::min)?, percents.reduce(f64::max)?);
            return Some(format!("{} cores {least:.0}-{most:.0} % busy", cores.len()));
        }
        let listed: Vec<_> = cores
            .iter()
            .zip(percents)
            .map(|(core, busy)| format!("core {} {busy:.0} %", core.core))
            .collect();
        (!listed.is_empty()).then(|| format!("{} busy", listed.join(", ")))
    }

    fn item(&self, name: &str, text: &str) -> Vec<String> {
        let mut lines = hanging(name, ITEM_INDENT, text, self.width);
        lines[0] = lines[0].replacen(name, &self.paint.bold(name), 1);
        if text.is_empty() { Vec::new() } else { lines }
    }

    fn painted(&self, tone: Tone, lines: Vec<String>) -> impl Iterator<Item = String> {
        lines.into_iter().map(move |line| self.paint(tone, &line))
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        match tone {
            Tone::Plain => text.to_owned(),
            Tone::Good => self.paint.good(text),
            Tone::Doubtful => self.paint.doubtful(text),
            Tone::Bad => self.paint.bad(text),
        }
    }
}

const LATENCY_HEADINGS: [&str; 6] = ["p50", "p90", "p99", "p99.9", "max", "mean"];

/// What gives way first on a narrow terminal.
const LATENCY_DROPPED: [&str; 3] = ["p90", "mean", "p99.9"];

/// A smaller share of the time is not worth a word.
const SHARE_SHOWN_MIN: f64 = 0.0001;

/// More cores than this are shown as a range.
const CORES_LISTED_MAX: usize = 8;

/// Most intervals listed that were not valid.
const INTERVALS_LISTED_MAX: usize = 8;

/// Where words behind an item's name begin.
const ITEM_INDENT: usize = 14;

/// Room of the class table's numbers at their widest.
const CLASS_NUMBERS_WIDTH: usize = 58;

fn latency_cells(name: &str, latency: &Latency) -> Vec<String> {
    let percentiles = [(50.0, latency.p50), (90.0, latency.p90), (99.0, latency.p99), (99.9, latency.p99_9)];
    let times = percentiles.map(|(percent, ns)| percentile(latency, percent, ns));
    // With endless times among them the mean is endless too; with none at all there is no mean.
    let mean = match latency.mean {
        _ if latency.unanswered > 0 => "∞".to_owned(),
        Some(mean) => Nanos(mean).to_string(),
        None => "-".to_owned(),
    };
    once(pad(name, ITEM_INDENT)).chain(times).chain([time(latency.max), mean]).collect()
}

/// A percentile, or a dash where there are too few samples to say.
fn percentile(latency: &Latency, percent: f64, ns: Option<u64>) -> String {
    if latency.supports(percent) { time(ns) } else { TOO_FEW.to_owned() }
}

/// Stands for a percentile of too few samples.
const TOO_FEW: &str = "–";

fn class_cells(class: &Class, name_width: usize) -> Vec<String> {
    let Class { name, requests, response_time_ns: times, .. } = class;
    let ok = if requests.scheduled == 0 { 0.0 } else { requests.ok as f64 / requests.scheduled as f64 };
    let nothing = times.count + times.unanswered == 0;
    let cell = |value| if nothing { "-".to_owned() } else { time(value) };
    let percentiles = [(50.0, times.p50), (99.0, times.p99), (99.9, times.p99_9)];
    let numbers = percentiles
        .map(|(percent, ns)| if nothing { "-".to_owned() } else { percentile(times, percent, ns) })
        .into_iter()
        .chain(once(cell(times.max)));
    [cut(name, name_width), grouped(requests.sent), percent(ok)].into_iter().chain(numbers).collect()
}

/// A time, or `∞` for what was never answered.
fn time(ns: Option<u64>) -> String {
    ns.map_or("∞".to_owned(), |ns| Nanos(ns).to_string())
}

fn observed(slo: &SloOutcome) -> String {
    let is_fraction = slo.expr.starts_with("errors") || slo.expr.starts_with("achieved");
    match slo.observed {
        None if is_fraction => "no request".to_owned(),
        None if slo.decided => "∞ (never answered)".to_owned(),
        None => format!("∞{}", within(slo)),
        Some(fraction) if is_fraction => percent(fraction),
        Some(ns) => format!("{}{}", Nanos(ns.round() as u64), within(slo)),
    }
}

/// The interval of a percentile, and whether it says the same at both ends.
fn within(slo: &SloOutcome) -> String {
    let Some(ends) = slo.interval_95 else { return String::new() };
    let undecided = if slo.decided { "" } else { ": not decided by these samples, run longer" };
    format!(" ({}{undecided})", span(ends))
}

/// Both ends of an interval, and the unit once if they share it.
fn span([low, high]: Ends) -> String {
    if let (Some(low), None) = (low, high) {
        return format!("{} or more", Nanos(low));
    }
    let (low, high) = (time(low), time(high));
    if low == high {
        return low;
    }
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number}-{high}"),
        _ => format!("{low} - {high}"),
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// What a status means to somebody who tests a server, and what to do next.
fn status_explanation(status: u16) -> &'static str {
    match status {
        100..=299 => "",
        300..=399 => "redirects are reported, never followed: point --target at the final URL",
        400 => "the target does not understand the request: check --path, --header and --body",
        401 | 403 => "the target wants credentials: give them with --header 'authorization: …'",
        404 => {
            "there is nothing at that path: check --path (a bare HOST:PORT gets POST /events, a URL with a path GET)"
        }
        405 => "the path does not take that method: check --method",
        408 => "the target waited too long for the request: it is overloaded, or the network is slow",
        409 => "the target saw a conflict: if that is expected, add 409 to --expect",
        411 | 413 | 415 | 422 => "the target refuses the body: check --body and its content-type",
        429 => "the target says it is full: lower the rate or add instances",
        _ if status / 100 == 4 => {
            "the target refuses the request: check --path, --method, --header and --body"
        }
        502 | 504 => "a proxy got no answer from the server behind it: look at that server",
        503 => "the target is overloaded or not ready: lower the rate or add instances",
        _ if status / 100 == 5 => "the target failed: look at its log",
        _ => "no known class of status: check that the target speaks HTTP/1.1",
    }
}

fn failure_explanation(kind: Failure) -> &'static str {
    match kind {
        Failure::Reset => {
            "the target reset connections that had requests in flight: look for a crash or a limit in its log"
        }
        Failure::Closed => {
            "the target closed connections that had requests in flight: look at its keep-alive limits"
        }
        Failure::Timeout => "no answer within --timeout: the target is overloaded or stuck; lower the rate",
        Failure::Malformed => {
            "the answer is no HTTP/1.1 that can be read: check that host and port are the right ones"
        }
        Failure::Aborted => "lost with their connection, for another request's timeout or malformed answer",
    }
}

fn connect_explanation(kind: ConnectFailure) -> &'static str {
    match kind {
        ConnectFailure::Refused => "nothing accepts there: start the target, or check its host and port",
        ConnectFailure::Timeout => {
            "no answer to the attempt: check address and firewall, or the target's listen queue"
        }
        ConnectFailure::Unreachable => "no route to the address: check the address and the network",
        ConnectFailure::Limits => {
            "out of ports, descriptors or memory here: raise `ulimit -n`, connect from more addresses (--source-ips auto), or lower -c"
        }
        ConnectFailure::Other => "reset while connecting, or another error: look at the target's log",
    }
}
