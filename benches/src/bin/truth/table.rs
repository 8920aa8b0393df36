//! The table of claims: what theory says, what was measured, and whether they agree.

use std::fmt;

/// What a claim is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counts: exact on any machine.
    Counts,
    /// Times: a busy machine may spoil them.
    Times,
}

/// Whether a row passed.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Pass,
    Fail(Kind),
    /// Cannot be tried on this machine.
    Skipped,
    /// No claim: beside others, for comparison.
    Shown,
}

#[derive(Clone, Debug)]
struct Row {
    cells: [String; 4],
    outcome: Outcome,
}

/// Rows of claims.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// A claim with its cells: theory, measured, error.
    pub fn row(&mut self, kind: Kind, claim: String, [theory, measured, error]: [String; 3], pass: bool) {
        let outcome = if pass { Outcome::Pass } else { Outcome::Fail(kind) };
        self.push([claim, theory, measured, error], outcome);
    }

    /// A claim that this machine cannot try.
    pub fn skipped(&mut self, claim: String, why: &str) {
        self.push([claim, String::new(), why.to_owned(), String::new()], Outcome::Skipped);
    }

    /// What stands beside a claim for comparison, and is none.
    pub fn shown(&mut self, what: String, [theory, measured, error]: [String; 3]) {
        self.push([what, theory, measured, error], Outcome::Shown);
    }

    /// A proof that could not be led to its end; fails like counts that are wrong.
    pub fn broken(&mut self, claim: &str, why: &str) {
        self.push(
            [claim.to_owned(), String::new(), why.to_owned(), String::new()],
            Outcome::Fail(Kind::Counts),
        );
    }

    /// Whether something failed, or, if `counts_alone`, a count did.
    pub fn failed(&self, counts_alone: bool) -> bool {
        self.rows.iter().any(|row| match row.outcome {
            Outcome::Fail(kind) => kind == Kind::Counts || !counts_alone,
            Outcome::Pass | Outcome::Skipped | Outcome::Shown => false,
        })
    }

    fn push(&mut self, cells: [String; 4], outcome: Outcome) {
        let row = Row { cells, outcome };
        eprintln!("truth: {row}");
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| claim | theory | measured | error | pass |\n|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cell in &self.cells {
            write!(f, "| {} ", cell.replace('|', "\\|").replace('\n', " "))?;
        }
        let pass = match self.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail(_) => "**FAIL**",
            Outcome::Skipped => "not tried",
            Outcome::Shown => "shown",
        };
        write!(f, "| {pass} |")
    }
}

/// Nanoseconds for people.
pub fn time(ns: f64) -> String {
    match ns.abs() {
        size if size < 1e3 => format!("{ns:.0} ns"),
        size if size < 1e6 => format!("{:.1} µs", ns / 1e3),
        size if size < 1e9 => format!("{:.3} ms", ns / 1e6),
        _ => format!("{:.4} s", ns / 1e9),
    }
}

/// A count with its thousands set apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fail_a_run_always_and_times_only_where_asked() {
        let mut table = Table::default();
        let cells = || ["1".to_owned(), "1".to_owned(), "0".to_owned()];
        table.row(Kind::Times, "late".into(), cells(), false);
        table.skipped("bbr".into(), "no such module");
        assert_eq!((table.failed(true), table.failed(false)), (false, true));
        table.row(Kind::Counts, "sent | received".into(), cells(), false);
        assert!(table.failed(true));
        assert!(table.to_string().contains("| sent \\| received | 1 | 1 | 0 | **FAIL** |"));
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([10.0, 1500.0, 2.5e6, 1e9].map(time), ["10 ns", "1.5 µs", "2.500 ms", "1.0000 s"]);
    }
}
