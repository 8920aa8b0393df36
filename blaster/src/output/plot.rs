//! A sweep drawn in characters: response time above, goodput below, over one axis of the offered rate.
//!
//! Rates are linear, so that the straight part, the bend and the fall look like what they are; times are logarithmic, because they
//! explode.

use blaster_core::time::Nanos;

use super::scale::ticks;
use super::text::{Paint, cut};
use crate::progress::short;
use crate::sweep::view::{Mark, Step, Tone, View};

/// Rows of each panel.
const ROWS: usize = 10;

/// Columns of the numbers at the left.
const MARGIN: usize = 10;

/// Narrower than this nothing can be seen.
const WIDTH_MIN: usize = 40;

/// Both panels, their axis and what is marked on it; nothing where there are fewer than two loads.
pub(super) fn render(view: &View, width: usize, paint: Paint) -> Vec<String> {
    if view.steps.len() < 2 || width < WIDTH_MIN {
        return Vec::new();
    }
    let plot = Plot { view, columns: width - MARGIN - 2, paint, rate_max: rate_max(view) };
    let mut lines = vec![plot.title("p99 response time")];
    lines.extend(plot.latency());
    lines.push(plot.title("answered as wanted, per second, by the rate offered (· as many as offered)"));
    lines.extend(plot.goodput());
    lines.push(plot.axis());
    lines.extend(plot.marks());
    lines
}

/// The end of the axis of rates.
pub(crate) fn rate_max(view: &View) -> f64 {
    let rates = view.steps.iter().map(|step| step.offered).chain(view.marks.iter().map(|mark| mark.rate));
    rates.fold(0.0, f64::max) * 1.02
}

struct Plot<'a> {
    view: &'a View,
    columns: usize,
    paint: Paint,
    rate_max: f64,
}

/// Rows of characters, the highest first, each with a tone.
struct Grid {
    rows: Vec<Vec<(char, Tone)>>,
}

impl Grid {
    fn new(columns: usize) -> Self {
        Self { rows: vec![vec![(' ', Tone::Plain); columns]; ROWS] }
    }

    /// `height` from 0 (bottom) to 1.
    fn put(&mut self, column: usize, height: f64, sign: char, tone: Tone) {
        let row = ((1.0 - height.clamp(0.0, 1.0)) * (ROWS - 1) as f64).round() as usize;
        self.rows[row][column] = (sign, tone);
    }
}

impl Plot<'_> {
    fn title(&self, text: &str) -> String {
        format!("{:MARGIN$} {}", "", self.paint.dim(&cut(text, self.columns)))
    }

    fn column(&self, rate: f64) -> usize {
        let share = (rate / self.rate_max).clamp(0.0, 1.0);
        (share * (self.columns - 1) as f64).round() as usize
    }

    /// The ends of the bracket of the limit; points stand in front of them.
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(self.columns);
        if let Some((low, high)) = self.view.bracket {
            for row in &mut grid.rows {
                for end in [low, high] {
                    row[self.column(end)] = ('┊', Tone::Plain);
                }
            }
        }
        grid
    }

    fn latency(&self) -> Vec<String> {
        let times =
            || self.view.steps.iter().filter_map(|step| step.p99_ns).map(|ns| (ns.max(1) as f64).log10());
        let limit = self.view.limit_ns.map(|ns| ns.max(1.0).log10());
        let lowest = times().chain(limit).fold(f64::INFINITY, f64::min);
        let highest = times().chain(limit).fold(f64::NEG_INFINITY, f64::max);
        if !lowest.is_finite() {
            return vec![self.title("(nothing was answered)")];
        }
        let span = (highest - lowest).max(0.3);
        let height = |log: f64| (log - lowest) / span;
        let mut grid = self.grid();
        if let Some(limit) = limit {
            (0..self.columns).step_by(2).for_each(|column| grid.put(column, height(limit), '╌', Tone::Plain));
        }
        for step in &self.view.steps {
            // What was never answered stands at the top.
            let at = step.p99_ns.map_or(1.0, |ns| height((ns.max(1) as f64).log10()));
            let sign = if step.p99_ns.is_none() { '∞' } else { sign(step) };
            grid.put(self.column(step.offered), at, sign, step.tone);
        }
        let time = |share: f64| Nanos(10_f64.powf(lowest + share * span) as u64).to_string();
        self.lines(&grid, time)
    }

    fn goodput(&self) -> Vec<String> {
        let highest = self.view.steps.iter().map(|step| step.ok).fold(0.0, f64::max).max(1.0) * 1.1;
        let mut grid = self.grid();
        for column in 0..self.columns {
            let offered = column as f64 / (self.columns - 1) as f64 * self.rate_max;
            if offered <= highest && column % 2 == 0 {
                grid.put(column, offered / highest, '·', Tone::Plain);
            }
        }
        for step in &self.view.steps {
            grid.put(self.column(step.offered), step.ok / highest, sign(step), step.tone);
        }
        self.lines(&grid, |share| short(share * highest))
    }

    /// The panel with numbers at the top, the middle and the bottom.
    fn lines(&self, grid: &Grid, number: impl Fn(f64) -> String) -> Vec<String> {
        let line = |(row, cells): (usize, &Vec<(char, Tone)>)| {
            let share = 1.0 - row as f64 / (ROWS - 1) as f64;
            let is_labelled = row % 3 == 0;
            let label = if is_labelled { number(share) } else { String::new() };
            let tick = if is_labelled { '┤' } else { '│' };
            format!("{label:>MARGIN$} {tick}{}", self.painted(cells)).trim_end().to_owned()
        };
        grid.rows.iter().enumerate().map(line).collect()
    }

    fn painted(&self, cells: &[(char, Tone)]) -> String {
        cells
            .iter()
            .map(|&(sign, tone)| {
                let text = sign.to_string();
                match tone {
                    _ if sign == ' ' => text,
                    Tone::Good => self.paint.good(&text),
                    Tone::Doubtful => self.paint.doubtful(&text),
                    Tone::Bad => self.paint.bad(&text),
                    Tone::Plain => self.paint.dim(&text),
                }
            })
            .collect()
    }

    fn axis(&self) -> String {
        let mut rule = vec!['─'; self.columns];
        let mut numbers = vec![' '; self.columns];
        for rate in ticks(self.rate_max) {
            let at = self.column(rate);
            rule[at] = '┴';
            place(&mut numbers, at, &short(rate));
        }
        let rule: String = rule.into_iter().collect();
        let numbers: String = numbers.into_iter().collect();
        format!("{:MARGIN$} └{rule}\n{:MARGIN$}  {}", "", "", numbers.trim_end())
    }

    /// Each mark under its rate, on the first row where it has room.
    fn marks(&self) -> Vec<String> {
        let mut rows: Vec<Vec<char>> = Vec::new();
        let mut marks: Vec<&Mark> = self.view.marks.iter().collect();
        marks.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        for mark in marks {
            let text = format!("▲ {}", mark.label);
            let at = self.column(mark.rate);
            let length = text.chars().count();
            // Left of its arrow where there is no room to the right.
            let (text, at) = if at + length <= self.columns {
                (text, at)
            } else {
                (format!("{} ▲", mark.label), (at + 1).saturating_sub(length))
            };
            let has_room = |row: &Vec<char>| {
                let from = at.saturating_sub(1);
                row[from..(at + length + 1).min(self.columns)].iter().all(|c| *c == ' ')
            };
            let row = rows.iter().position(has_room).unwrap_or_else(|| {
                rows.push(vec![' '; self.columns]);
                rows.len() - 1
            });
            for (cell, letter) in rows[row][at..].iter_mut().zip(text.chars()) {
                *cell = letter;
            }
        }
        let line = |row: Vec<char>| {
            let text: String = row.into_iter().collect();
            format!("{:MARGIN$}  {}", "", text.trim_end())
        };
        rows.into_iter().map(line).collect()
    }
}

fn sign(step: &Step) -> char {
    match step.tone {
        Tone::Good => '●',
        Tone::Bad => '×',
        Tone::Plain | Tone::Doubtful => '○',
    }
}

/// Writes `text` around a column, within the row.
fn place(row: &mut [char], at: usize, text: &str) {
    let length = text.chars().count();
    let from = at.saturating_sub(length / 2).min(row.len().saturating_sub(length));
    for (cell, letter) in row[from..].iter_mut().zip(text.chars()) {
        *cell = letter;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A server of 10,000/s that falls to a tenth beyond that.
    pub(crate) fn view() -> View {
        let step = |offered: f64| {
            let is_good = offered <= 10_000.0;
            let ok = if is_good { offered } else { 1_000.0 };
            Step {
                offered,
                achieved: offered,
                ok,
                p50_ns: Some(100_000),
                p99_ns: if offered > 15_000.0 {
                    None
                } else {
                    Some((2e6 / (1.0 - offered / 16_000.0)) as u64)
                },
                errors: 1.0 - ok / offered,
                trials: 2,
                verdict: "valid".to_owned(),
                decision: if is_good { "good" } else { "bad" }.to_owned(),
                tone: if is_good { Tone::Good } else { Tone::Bad },
                usage: None,
            }
        };
        let mark = |rate: f64, label: &str, tone| Mark { rate, label: label.to_owned(), tone };
        View {
            heading: "blaster 0.1.0 · sweep of http://api:3000/events".to_owned(),
            lines: vec![Line {
                tone: Tone::Good,
                label: "p99<500ms".to_owned(),
                text: "holds 9,900 req/s (9,800-10,000, 95 %)".to_owned(),
            }],
            steps: [1000.0, 2000.0, 4000.0, 8000.0, 9000.0, 9800.0, 10_200.0, 12_000.0, 16_000.0, 20_000.0]
                .map(step)
                .into(),
            marks: vec![
                mark(7_000.0, "knee 7,000", Tone::Plain),
                mark(9_900.0, "holds 9,900", Tone::Good),
                mark(10_200.0, "collapses 10,200", Tone::Bad),
                mark(19_900.0, "twice 19,900", Tone::Plain),
            ],
            bracket: Some((9_800.0, 10_200.0)),
            limit_ns: Some(500e6),
            ..View::default()
        }
    }

    use crate::sweep::view::Line;

    #[test]
    fn it_fits_its_width_and_is_plain_text_without_colour() {
        for width in [40, 80, 160] {
            let lines = render(&view(), width, Paint(false)).join("\n");
            for line in lines.lines() {
                assert!(line.chars().count() <= width.max(60), "{width}: {line}");
            }
            assert!(
                !lines.contains('\x1b') && lines.contains('●') && lines.contains('×') && lines.contains('∞'),
                "{lines}"
            );
        }
        assert!(render(&view(), 80, Paint(true)).concat().contains("\x1b[32m●"));
    }

    #[test]
    fn every_mark_is_told_at_any_width() {
        for width in [60, 80, 160] {
            let lines = render(&view(), width, Paint(false)).join("\n");
            for mark in &view().marks {
                assert!(lines.contains(&mark.label), "{width}: {}\n{lines}", mark.label);
            }
        }
    }

    #[test]
    fn one_load_is_no_curve_and_silence_is_said() {
        let mut one = view();
        one.steps.truncate(1);
        assert!(render(&one, 80, Paint(false)).is_empty());
        let mut silent = view();
        silent.limit_ns = None;
        for step in &mut silent.steps {
            (step.p50_ns, step.p99_ns, step.ok) = (None, None, 0.0);
        }
        assert!(render(&silent, 80, Paint(false)).concat().contains("nothing was answered"));
    }
}
