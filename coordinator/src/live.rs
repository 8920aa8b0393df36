//! The live table of a run: a row a node, and the total. Pure text from numbers.

use blaster_core::report::units::rate;
use blaster_core::time::Nanos;

/// One line of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Of the node, or `total`.
    pub name: String,
    /// Requests per second asked of it; none in closed loop.
    pub asked: Option<f64>,
    /// Requests per second sent in the last interval.
    pub sent: f64,
    /// 99th percentile of response times that ended in it; none if nothing did.
    pub p99: Option<P99>,
    /// Errors and unexpected statuses since the start.
    pub errors: u64,
    /// CPUs' worth of time the agent used; none of the total.
    pub cpus: Option<f64>,
    /// What its clock is ahead of the leader's, and how wrong that may be; none of the total.
    pub offset: Option<(i64, u64)>,
    /// In a word: `running`, `lost`.
    pub state: String,
}

/// A percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum P99 {
    /// So long.
    Of(Nanos),
    /// Among what was never answered.
    Endless,
}

/// The table for a terminal of so many columns, at most `lines` of them: rows beyond are counted in one line.
pub fn table(clock: &str, rows: &[Row], total: &Row, width: usize, lines: usize) -> Vec<String> {
    let room = lines.saturating_sub(2).max(1);
    let wide = width >= WIDE_MIN;
    let shown = if rows.len() > room { room - 1 } else { rows.len() };
    let name_width =
        rows[..shown].iter().chain([total]).map(|row| row.name.chars().count()).max().unwrap_or(0);
    let name_width = name_width.clamp(5, if wide { 40 } else { 20 });
    let mut table = vec![head(clock, name_width, wide)];
    table.extend(rows[..shown].iter().map(|row| line(row, name_width, wide)));
    if shown < rows.len() {
        table.push(format!("… and {} more nodes", rows.len() - shown));
    }
    table.push(line(total, name_width, wide));
    table.iter().map(|line| cut(line, width)).collect()
}

/// From so many columns on numbers are written out.
const WIDE_MIN: usize = 120;

fn head(clock: &str, name_width: usize, wide: bool) -> String {
    let name = format!("{:<name_width$}", cut(clock, name_width));
    if wide {
        format!(
            "{name}  {:>13}  {:>13}  {:>9}  {:>12}  {:>6}  {:>22}  state",
            "asked/s", "sent/s", "p99", "errors", "CPU", "clock offset"
        )
    } else {
        format!(
            "{name} {:>6} {:>6} {:>7} {:>6} {:>5} {:>7} state",
            "asked", "sent/s", "p99", "errors", "CPU", "offset"
        )
    }
}

fn line(row: &Row, name_width: usize, wide: bool) -> String {
    let name = format!("{:<name_width$}", cut(&row.name, name_width));
    let number = |value: f64| if wide { rate(value) } else { short(value) };
    let asked = row.asked.map_or("max".to_owned(), number);
    let sent = number(row.sent);
    let p99 = match row.p99 {
        None => "-".to_owned(),
        Some(P99::Of(time)) => time.to_string(),
        Some(P99::Endless) => "∞".to_owned(),
    };
    let errors = number(row.errors as f64);
    let cpu = row.cpus.map_or(String::new(), |cpus| format!("{:.0} %", cpus * 100.0));
    if wide {
        let offset = row
            .offset
            .map_or(String::new(), |(offset, bound)| format!("{} ± {}", signed(offset), Nanos(bound)));
        format!(
            "{name}  {asked:>13}  {sent:>13}  {p99:>9}  {errors:>12}  {cpu:>6}  {offset:>22}  {}",
            row.state
        )
    } else {
        let offset =
            row.offset.map_or(String::new(), |(_, bound)| format!("±{}", Nanos(bound)).replace(' ', ""));
        let (p99, cpu) = (p99.replace(' ', ""), cpu.replace(' ', ""));
        format!("{name} {asked:>6} {sent:>6} {p99:>7} {errors:>6} {cpu:>5} {offset:>7} {}", row.state)
    }
}

fn signed(ns: i64) -> String {
    format!("{}{}", if ns < 0 { "−" } else { "+" }, Nanos(ns.unsigned_abs()))
}

/// Three digits and a suffix: `850`, `12.3k`, `1M`.
fn short(number: f64) -> String {
    blaster::progress::short(number)
}

fn cut(text: &str, width: usize) -> String {
    blaster::output::cut(text, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<Row> {
        (0..count)
            .map(|index| Row {
                name: format!("load-{index}.example.org:7400"),
                asked: Some(2_500_000.0),
                sent: 2_499_871.0,
                p99: Some(P99::Of(Nanos(3_910_000))),
                errors: 12_345,
                cpus: Some(0.61),
                offset: Some((-1_234_567_891, 41_000)),
                state: "running".to_owned(),
            })
            .collect()
    }

    fn total() -> Row {
        Row { name: "total".to_owned(), cpus: None, offset: None, ..rows(1).remove(0) }
    }

    #[test]
    fn eighty_columns_hold_every_figure() {
        let table = table("12s/1m30s", &rows(2), &total(), 80, 24);
        assert_eq!(table.len(), 4);
        assert!(table.iter().all(|line| line.chars().count() <= 80), "{table:#?}");
        for figure in ["2.5M", "3.91ms", "12.3k", "61%", "±41µs", "running"] {
            assert!(table[1].contains(figure), "{figure} in {}", table[1]);
        }
    }

    #[test]
    fn a_wide_terminal_has_whole_numbers_and_offsets() {
        let table = table("12s/1m30s", &rows(2), &total(), 160, 24);
        for figure in
            ["load-0.example.org:7400", "2,500,000", "2,499,871", "3.91 ms", "12,345", "−1.23 s ± 41 µs"]
        {
            assert!(table[1].contains(figure), "{figure} in {}", table[1]);
        }
        assert!(table.iter().all(|line| line.chars().count() <= 160));
    }

    #[test]
    fn more_nodes_than_lines_are_counted() {
        let table = table("1s", &rows(1000), &total(), 100, 24);
        assert_eq!(table.len(), 24);
        assert_eq!(table[22], "… and 979 more nodes");
        assert!(table[23].starts_with("total"));
        for (width, lines) in [(0, 0), (1, 1), (10, 2)] {
            assert!(
                super::table("1s", &rows(3), &total(), width, lines)
                    .iter()
                    .all(|line| line.chars().count() <= width)
            );
        }
    }
}
