//! The run as a person sees it: signals in, the live line out.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use blaster_core::load::worker::INTERVAL;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::{AskedRate, PlanFacts};
use blaster_core::report::units;
use blaster_core::time::Nanos;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::progress::Tick;
use crate::results::Results;
use crate::run::{Observer, Watch};

/// Watches a run on behalf of a terminal, a pipe or a file.
pub struct Console {
    signals: Signals,
    stops: u32,
    screen: Screen,
    warmup: Nanos,
    /// With the warm-up.
    total: Nanos,
    open_loop: bool,
    errors_so_far: u64,
    tags: BTreeMap<String, String>,
    results: Results,
}

/// Standard error while something goes on.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) style: Style,
    /// A live line stands there and must be wiped before anything else is printed.
    line_stands: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Nothing while it runs.
    Silent,
    /// A line that is redrawn.
    Live,
    /// A line an interval.
    Plain,
}

/// Width to assume where none is known.
pub const WIDTH_DEFAULT: usize = 80;

/// Prints a text; whoever closed the pipe has seen enough.
pub fn print(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

impl Console {
    /// Takes over SIGINT and SIGTERM. `silent`: no progress. `tags` go to the interval log.
    pub fn new(silent: bool, tags: BTreeMap<String, String>, results: Results) -> std::io::Result<Self> {
        let signals = Signals::new(stopping())?;
        Ok(Self {
            signals,
            stops: 0,
            screen: Screen::new(silent),
            warmup: Nanos::ZERO,
            total: Nanos::ZERO,
            open_loop: true,
            errors_so_far: 0,
            tags,
            results,
        })
    }

    /// The run is over: wipes the live line, hands back where results go.
    pub fn finish(mut self) -> Results {
        self.screen.wipe();
        self.results
    }
}

impl Screen {
    pub(crate) fn new(silent: bool) -> Self {
        let style = match (silent, std::io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Live,
            (false, false) => Style::Plain,
        };
        Self { style, line_stands: false }
    }

    /// A line that goes when the next one comes; one of many where there is no terminal.
    pub(crate) fn show(&mut self, line: &str) {
        let mut screen = std::io::stderr().lock();
        // A closed standard error is no reason to end a run.
        let _ = match self.style {
            Style::Silent => Ok(()),
            Style::Live => write!(screen, "\r\x1b[K{line}").and_then(|()| screen.flush()),
            Style::Plain => writeln!(screen, "{line}"),
        };
        self.line_stands = self.style == Style::Live;
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, line: &str) {
        self.wipe();
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    pub(crate) fn wipe(&mut self) {
        if self.line_stands {
            let mut screen = std::io::stderr().lock();
            let _ = write!(screen, "\r\x1b[K").and_then(|()| screen.flush());
            self.line_stands = false;
        }
    }
}

impl Watch for Console {
    fn stops(&mut self) -> u32 {
        let heard = self.signals.pending().count() as u32;
        if heard > 0 {
            self.stops += heard;
            if self.screen.style == Style::Silent {
                return self.stops;
            }
            self.screen.say(if self.stops == 1 {
                "stopping: waiting for answers (Ctrl-C again: don't wait)"
            } else {
                "stopped"
            });
        }
        self.stops
    }

    fn say(&mut self, line: &str) {
        self.screen.say(line);
    }
}

impl Observer for Console {
    fn starting(&mut self, facts: &PlanFacts) {
        self.warmup = Nanos(facts.warmup_ns);
        self.total = Nanos(facts.warmup_ns + facts.duration_ns);
        self.open_loop = matches!(facts.rate, AskedRate::PerSecond(_));
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let measured_from = since_epoch.as_secs_f64() + self.warmup.as_secs_f64();
        self.results.begin_log(measured_from, !self.open_loop, &self.tags);
        let rate = match facts.rate {
            AskedRate::PerSecond(rate) => format!("{} req/s", units::rate(rate)),
            AskedRate::Max(_) => "as fast as answers come (closed loop)".to_owned(),
        };
        let targets = facts.targets.join(", ");
        self.screen.show(&format!("{rate} for {} -> {targets}", Nanos(facts.duration_ns)));
    }

    fn interval(&mut self, interval: &FinishedInterval) {
        self.results.log(interval);
        // What is drained after the end makes a last, short interval that is no second of the run.
        let began = self.warmup + Nanos::from_secs_f64(interval.row.t_s);
        let length = INTERVAL.min(self.total.saturating_sub(began));
        if length == Nanos::ZERO {
            return;
        }
        let elapsed = began + length;
        let row = &interval.row;
        self.errors_so_far += row.errors + row.unexpected_status;
        let tick = Tick {
            elapsed,
            total: self.total,
            // What came due in the interval is what the schedule asked of it, on a ramp too.
            asked: self.open_loop.then(|| row.scheduled as f64 / length.as_secs_f64()),
            interval: length,
            row,
            errors_so_far: self.errors_so_far,
        };
        let line = match self.screen.style {
            Style::Silent => return,
            Style::Live => tick.live_line(width()),
            Style::Plain => tick.plain_line(),
        };
        self.screen.show(&line);
    }
}

/// Columns of the terminal; [`WIDTH_DEFAULT`] where there is none.
pub fn width() -> usize {
    let size = terminal_size::terminal_size_of(std::io::stdout())
        .or_else(|| terminal_size::terminal_size_of(std::io::stderr()));
    size.map_or(WIDTH_DEFAULT, |(terminal_size::Width(columns), _)| usize::from(columns))
}
/// Signals that ask for the end: a terminal that hangs up is one of them, unless whoever started this (`nohup`) does not care.
pub fn stopping() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let hears_hangup = mask & 1 << (SIGHUP - 1) == 0;
    [SIGINT, SIGTERM].into_iter().chain(hears_hangup.then_some(SIGHUP)).collect()
}
