//! A sweep while it goes on: signals in; what is tried, why, and how it goes, out.

use blaster_core::report::Report;
use blaster_core::report::collector::FinishedInterval;
use blaster_core::report::facts::PlanFacts;
use blaster_core::report::units::{percent, rate};
use blaster_core::report::verdict::Status;
use blaster_core::time::Nanos;
use signal_hook::iterator::Signals;

use crate::console::{Screen, Style, stopping, width};
use crate::output::cut;
use crate::progress::short;
use crate::run::{Observer, Watch};

/// Watches the trials of a sweep on behalf of whoever waits for it.
pub struct Live {
    signals: Signals,
    /// How often it was asked to stop.
    interrupts: u32,
    screen: Screen,
    /// What the trial under way is for.
    purpose: String,
    length: Nanos,
    warmup: Nanos,
    /// Says of each second of a trial whether that was enough.
    enough: Option<Enough>,
    is_enough: bool,
    said: Vec<String>,
}

/// Looks at each second of a trial, and says whether it has seen enough.
pub type Enough = Box<dyn FnMut(&FinishedInterval) -> bool>;

impl Live {
    /// Takes over SIGINT and SIGTERM.
    pub fn new(silent: bool) -> std::io::Result<Self> {
        Ok(Self {
            signals: Signals::new(stopping())?,
            interrupts: 0,
            screen: Screen::new(silent),
            purpose: String::new(),
            length: Nanos::ZERO,
            warmup: Nanos::ZERO,
            enough: None,
            is_enough: false,
            said: Vec::new(),
        })
    }

    /// A trial is about to begin.
    pub fn begin(&mut self, purpose: &str, enough: Option<Enough>) {
        self.purpose = purpose.to_owned();
        (self.enough, self.is_enough) = (enough, false);
        match self.screen.style {
            Style::Live => self.screen.show(&cut(&self.purpose, width())),
            Style::Plain | Style::Silent => {}
        }
    }

    /// The trial is over: a line on it stays.
    pub fn ended(&mut self, report: &Report) {
        let times = &report.response_time_ns;
        let time = |ns: Option<u64>| ns.map_or_else(|| "∞".to_owned(), |ns| Nanos(ns).to_string());
        let verdict = match report.verdict.status {
            Status::Valid => "",
            Status::Suspect => " · suspect",
            Status::ClientLimited => " · client-limited",
        };
        let line = format!(
            "{} · ok {}/s · p50 {} · p99 {} · {} errors{verdict}",
            self.purpose,
            rate(report.rate.ok),
            time(times.p50),
            time(times.p99),
            percent(report.requests.error_rate().unwrap_or(0.0)),
        );
        self.tell(&line);
    }

    /// A line that stays, unless nothing is to be said.
    pub fn tell(&mut self, line: &str) {
        if self.screen.style != Style::Silent {
            self.screen.say(line);
        }
    }

    /// A line that stays, whatever is to be said.
    pub fn warn(&mut self, line: &str) {
        self.screen.say(line);
    }

    /// The user wants it to end.
    pub fn is_interrupted(&mut self) -> bool {
        self.hear();
        self.interrupts > 0
    }

    /// No live line any more, and some room before what follows it on a terminal.
    pub fn finish(mut self) {
        self.screen.wipe();
        if self.screen.style == Style::Live {
            self.screen.say("");
        }
    }

    fn hear(&mut self) {
        let heard = self.signals.pending().count() as u32;
        if heard > 0 {
            self.interrupts += heard;
            if self.interrupts == 1 && self.screen.style != Style::Silent {
                self.screen.say("stopping: what is known follows (Ctrl-C again: don't wait for answers)");
            }
        }
    }
}

impl Watch for Live {
    fn stops(&mut self) -> u32 {
        self.hear();
        self.interrupts + u32::from(self.is_enough && self.interrupts == 0)
    }

    /// Each remark once, not once a trial.
    fn say(&mut self, line: &str) {
        if !self.said.iter().any(|said| said == line) {
            self.said.push(line.to_owned());
            self.screen.say(line);
        }
    }
}

impl Observer for Live {
    fn starting(&mut self, facts: &PlanFacts) {
        (self.warmup, self.length) = (Nanos(facts.warmup_ns), Nanos(facts.warmup_ns + facts.duration_ns));
    }

    fn interval(&mut self, interval: &FinishedInterval) {
        if let Some(enough) = &mut self.enough {
            self.is_enough |= enough(interval);
        }
        if self.screen.style != Style::Live {
            return;
        }
        let row = &interval.row;
        let elapsed =
            Nanos::from_secs_f64((self.warmup.as_secs_f64() + row.t_s + 1.0).min(self.length.as_secs_f64()));
        let time = |ns: Option<u64>| match ns {
            Some(ns) => Nanos(ns).to_string(),
            None if row.completed + row.errors > 0 => "∞".to_owned(),
            None => "-".to_owned(),
        };
        let failed = row.errors + row.unexpected_status;
        let failed = if failed > 0 { format!(" · {} failed", short(failed as f64)) } else { String::new() };
        let line = format!(
            "{} · {:.0}/{:.0} s · ok {}/s · p99 {}{failed}",
            self.purpose,
            elapsed.as_secs_f64(),
            self.length.as_secs_f64(),
            short(row.ok as f64),
            time(row.p99_ns),
        );
        self.screen.show(&cut(&line, width()));
    }
}
