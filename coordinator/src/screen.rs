//! What a person sees of a run while it goes on: the live table on a terminal, a line a second elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use blaster::console;
use blaster::progress::Tick;
use blaster::results::Results;
use blaster::settings::Settings;
use blaster_core::load::worker::INTERVAL;
use blaster_core::plan::Load;
use blaster_core::plan::rate::Curve;
use blaster_core::report::collector::{FinishedInterval, IntervalRow};
use blaster_core::report::facts::{AskedRate, PlanFacts};
use blaster_core::report::units;
use blaster_core::time::Nanos;
use coordinator_protocol::leader::{Leader, Node, State};

use crate::gather::Gatherer;
use crate::lead::Onlooker;
use crate::live::{self, P99, Row};

/// Watches a run on behalf of a terminal, a pipe or a file.
pub struct Screen {
    style: Style,
    tags: BTreeMap<String, String>,
    results: Results,
    start: Nanos,
    warmup: Nanos,
    /// With the warm-up.
    total: Nanos,
    open_loop: bool,
    /// Of the whole run; none in closed loop.
    curve: Option<Curve>,
    /// The latest interval that all nodes told of.
    latest: Option<IntervalRow>,
    /// Requests per second asked of the whole, if that is so all the time.
    asked_always: Option<f64>,
    errors_so_far: u64,
    /// Lines of the table that stand on the screen.
    standing: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Nothing while it runs.
    Silent,
    /// A table that is redrawn.
    Live,
    /// A line an interval.
    Plain,
}

/// Lines of a terminal that does not say.
const LINES_DEFAULT: usize = 24;

impl Screen {
    /// Before the run.
    pub fn new(settings: &Settings, results: Results) -> Self {
        let silent = settings.outputs.quiet || settings.outputs.no_progress;
        let style = match (silent, std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Live,
            (false, false) => Style::Plain,
        };
        Self {
            style,
            tags: settings.plan.tags.iter().cloned().collect(),
            results,
            start: Nanos::ZERO,
            warmup: settings.plan.warmup,
            total: settings.plan.length(),
            open_loop: true,
            curve: match &settings.plan.load {
                Load::Open { curve, .. } => Some(curve.clone()),
                Load::Closed => None,
            },
            latest: None,
            asked_always: None,
            errors_so_far: 0,
            standing: 0,
        }
    }

    /// The run is over: wipes the table, hands back where results go.
    pub fn finish(mut self) -> Results {
        self.wipe();
        self.results
    }

    /// Requests per second that the plan has in the latest second that can be told of; none in closed loop.
    fn asked_at(&self, now: Nanos) -> Option<f64> {
        let curve = self.curve.as_ref()?;
        let second = (now.saturating_sub(self.start).min(self.total).0 / INTERVAL.0).saturating_sub(1) as f64;
        Some(curve.offered_by(second + 1.0) - curve.offered_by(second))
    }

    fn row(&self, node: &Node, asked: Option<f64>, gatherer: &Gatherer, index: usize, now: Nanos) -> Row {
        let tally = gatherer.tally(index);
        let requests = &tally.requests;
        // What was said of a second is there well before the next is over.
        let second = now.saturating_sub(self.start + self.warmup).0 / INTERVAL.0;
        let says_nothing = *node.state() == State::Running && u64::from(tally.latest.interval) + 2 < second;
        let is_silent = node.lost().is_some() || !node.takes_part() || says_nothing;
        Row {
            name: node.name().to_owned(),
            asked,
            sent: if is_silent || *node.state() == State::Ended {
                0.0
            } else {
                tally.latest.sent as f64 / INTERVAL.as_secs_f64()
            },
            p99: match tally.latest.p99_ns {
                _ if is_silent => None,
                _ if tally.latest.is_endless() => Some(P99::Endless),
                finite => finite.map(|ns| P99::Of(Nanos(ns))),
            },
            errors: requests.errors.total() + requests.unexpected_status,
            cpus: node.cpus().filter(|_| !is_silent),
            offset: node.offset(now).map(|offset| (offset.ahead_ns, offset.bound.0)),
            state: match (node.state(), node.lost()) {
                (State::Out(_), _) => "out".to_owned(),
                (_, Some(_)) => "lost".to_owned(),
                (State::Ended, None) => "done".to_owned(),
                (_, None) if says_nothing => "silent".to_owned(),
                (_, None) => "running".to_owned(),
            },
        }
    }

    fn wipe(&mut self) {
        if self.standing > 0 {
            put(&format!("\x1b[{}A\x1b[J", self.standing));
            self.standing = 0;
        }
    }
}

impl Onlooker for Screen {
    fn say(&mut self, line: &str) {
        self.wipe();
        put(&format!("{line}\n"));
    }

    fn stopping(&mut self, stops: u32) {
        if self.style == Style::Silent {
            return;
        }
        let line = match stops {
            1 => "stopping: waiting for answers (Ctrl-C again: don't wait)",
            _ => "stopped",
        };
        self.say(line);
    }

    fn starting(&mut self, facts: &PlanFacts, start: Nanos, measured_from_s: f64) {
        self.start = start;
        self.open_loop = matches!(facts.rate, AskedRate::PerSecond(_));
        self.results.begin_log(measured_from_s, !self.open_loop, &self.tags);
        let rate = match facts.rate {
            AskedRate::PerSecond(rate) => {
                self.asked_always = facts.stages.is_none().then_some(rate);
                format!("{} req/s", units::rate(rate))
            }
            AskedRate::Max(_) => "as fast as answers come (closed loop)".to_owned(),
        };
        if self.style != Style::Silent {
            self.say(&format!("{rate} for {} -> {}", Nanos(facts.duration_ns), facts.targets.join(", ")));
        }
    }

    fn interval(&mut self, interval: &FinishedInterval) {
        self.results.log(interval);
        // What is drained after the end makes a last, short interval that is no second of the run.
        let began = self.warmup + Nanos::from_secs_f64(interval.row.t_s);
        let length = INTERVAL.min(self.total.saturating_sub(began));
        let row = &interval.row;
        self.latest = Some(row.clone());
        self.errors_so_far += row.errors + row.unexpected_status;
        if length == Nanos::ZERO || self.style != Style::Plain {
            return;
        }
        let tick = Tick {
            elapsed: began + length,
            total: self.total,
            // What the plan asks, also of nodes that are not there any more.
            asked: self.asked_always.or(self.open_loop.then(|| row.scheduled as f64 / length.as_secs_f64())),
            interval: length,
            row,
            errors_so_far: self.errors_so_far,
        };
        put(&format!("{}\n", tick.plain_line()));
    }

    fn show(&mut self, leader: &Leader, gatherer: &Gatherer, now: Nanos) {
        if self.style != Style::Live || now < self.start {
            return;
        }
        let nodes = leader.nodes();
        let asked = self.asked_at(now);
        let rows: Vec<Row> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| {
                self.row(node, asked.map(|asked| asked * node.share()), gatherer, index, now)
            })
            .collect();
        let total = Row {
            name: "total".to_owned(),
            asked,
            sent: rows.iter().map(|row| row.sent).sum(),
            p99: self.latest.as_ref().and_then(|latest| match latest.p99_ns {
                Some(ns) => Some(P99::Of(Nanos(ns))),
                None => (latest.completed + latest.errors > 0).then_some(P99::Endless),
            }),
            errors: rows.iter().map(|row| row.errors).sum(),
            state: String::new(),
            ..Row::default()
        };
        let elapsed = now.saturating_sub(self.start).min(self.total);
        let clock =
            format!("{}/{}", Nanos::from_secs(elapsed.0 / 1_000_000_000), self.total).replace(' ', "");
        let lines = terminal_size::terminal_size_of(std::io::stderr())
            .map_or(LINES_DEFAULT, |(_, lines)| usize::from(lines.0));
        let table = live::table(&clock, &rows, &total, console::width(), lines.saturating_sub(1));
        self.wipe();
        self.standing = table.len();
        put(&(table.join("\n") + "\n"));
    }
}

/// A closed standard error is no reason to end a run.
fn put(text: &str) {
    let mut screen = std::io::stderr().lock();
    let _ = screen.write_all(text.as_bytes()).and_then(|()| screen.flush());
}
