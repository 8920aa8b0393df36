//! The live line of a run: pure text from the numbers of its last interval.

use blaster_core::report::collector::IntervalRow;
use blaster_core::report::units::{grouped, rate};
use blaster_core::report::verdict::Status;
use blaster_core::time::Nanos;

use crate::output::cut;

/// What the line is about.
#[derive(Clone, Debug)]
pub struct Tick<'a> {
    /// Since the start, with the warm-up.
    pub elapsed: Nanos,
    /// What the run was asked to take, with the warm-up.
    pub total: Nanos,
    /// The rate asked for at this moment; none in closed loop.
    pub asked: Option<f64>,
    /// Length of the interval.
    pub interval: Nanos,
    /// Its numbers.
    pub row: &'a IntervalRow,
    /// Errors and unexpected statuses since the start.
    pub errors_so_far: u64,
}

impl Tick<'_> {
    /// For a terminal of that width, without a newline; shortened if need be, then cut at the end.
    pub fn live_line(&self, width: usize) -> String {
        let line = self.plain_line();
        if line.chars().count() <= width { line } else { cut(&self.short_line(), width) }
    }

    fn short_line(&self) -> String {
        let Self { row, .. } = self;
        let per_second = |count: u64| short(count as f64 / self.interval.as_secs_f64());
        let asked = self.asked.map_or(String::new(), |asked| format!(" of {}", short(asked)));
        format!(
            "{}/{} · sent {} done {}{asked}/s · p50 {} p99 {} · {} err {} conn",
            clock(self.elapsed),
            clock(self.total),
            per_second(row.sent),
            per_second(row.completed),
            time(row, row.p50_ns),
            time(row, row.p99_ns),
            short(self.errors_so_far as f64),
            grouped(row.connections),
        ) + if row.status == Status::Valid { "" } else { " ⚠ late" }
    }

    /// For a file or a pipe, without a newline.
    pub fn plain_line(&self) -> String {
        let seconds = self.interval.as_secs_f64();
        let per_second = |count: u64| rate(if seconds > 0.0 { count as f64 / seconds } else { 0.0 });
        let Self { row, .. } = self;
        let asked = self.asked.map_or(String::new(), |asked| format!(" of {}", rate(asked)));
        let mut line = format!(
            "{}/{} · sent {}{asked}/s · completed {}/s · p50 {} · p99 {} · {} errors · {} connections",
            clock(self.elapsed),
            clock(self.total),
            per_second(row.sent),
            per_second(row.completed),
            time(row, row.p50_ns),
            time(row, row.p99_ns),
            grouped(self.errors_so_far),
            grouped(row.connections),
        );
        if row.status != Status::Valid {
            line.push_str(&format!(" · ⚠ own lateness p99 {}", time(row, row.own_p99_ns)));
        }
        // What came due in the last millisecond of an interval is on its way.
        if row.backlog_end as f64 > row.scheduled as f64 * 0.001 {
            line.push_str(&format!(" · backlog {}", grouped(row.backlog_end)));
        }
        line
    }
}

/// Three digits and a suffix: `850`, `12.3k`, `1M`.
pub fn short(number: f64) -> String {
    let (value, suffix) = match number {
        number if number < 999.5 => return format!("{number:.0}"),
        number if number < 999_500.0 => (number / 1e3, "k"),
        number if number < 999.5e6 => (number / 1e6, "M"),
        number => (number / 1e9, "G"),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

/// `300ms`, `12s`, `1m05s`, `2h00m05s`.
fn clock(time: Nanos) -> String {
    if time < Nanos::from_secs(1) {
        return time.to_string().replace(' ', "");
    }
    let seconds = time.0 / 1_000_000_000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes:02}m{seconds:02}s"),
    }
}

/// Endless, or unknown if nothing ended in the interval.
fn time(row: &IntervalRow, ns: Option<u64>) -> String {
    match ns {
        Some(ns) => Nanos(ns).to_string(),
        None if row.completed + row.errors + row.unsent > 0 => "∞".to_owned(),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> IntervalRow {
        IntervalRow {
            sent: 1_000_000,
            completed: 998_001,
            p50_ns: Some(412_000),
            p99_ns: Some(3_910_000),
            connections: 64,
            ..IntervalRow::default()
        }
    }

    fn tick(row: &IntervalRow) -> Tick<'_> {
        Tick {
            elapsed: Nanos::from_secs(12),
            total: Nanos::from_secs(90),
            asked: Some(1e6),
            interval: Nanos::from_secs(1),
            row,
            errors_so_far: 0,
        }
    }

    #[test]
    fn the_line_holds_sent_and_completed_against_the_asked_rate() {
        assert_eq!(
            tick(&row()).plain_line(),
            "12s/1m30s · sent 1,000,000 of 1,000,000/s · completed 998,001/s · \
             p50 412 µs · p99 3.91 ms · 0 errors · 64 connections"
        );
    }

    #[test]
    fn the_live_line_is_cut_to_the_terminal() {
        for width in [0, 1, 20, 80, 200] {
            assert!(tick(&row()).live_line(width).chars().count() <= width);
        }
    }

    #[test]
    fn eighty_columns_hold_errors_and_connections_too() {
        assert_eq!(
            tick(&row()).live_line(80),
            "12s/1m30s · sent 1M done 998k of 1M/s · p50 412 µs p99 3.91 ms · 0 err 64 conn"
        );
    }

    #[test]
    fn backlog_is_shown_when_there_is_one_and_closed_loop_asks_for_nothing() {
        let row = IntervalRow { backlog_end: 5_000, ..row() };
        assert!(tick(&row).plain_line().ends_with("· backlog 5,000"));
        assert!(Tick { asked: None, ..tick(&row) }.plain_line().contains("sent 1,000,000/s"));
    }

    #[test]
    fn what_was_not_answered_is_endless_and_what_did_not_happen_unknown() {
        let silent = IntervalRow::default();
        assert!(tick(&silent).plain_line().contains("p50 - · p99 -"));
        let late = IntervalRow { errors: 3, ..IntervalRow::default() };
        assert!(tick(&late).plain_line().contains("p50 ∞ · p99 ∞"));
    }
}
