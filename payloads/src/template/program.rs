//! What rendering runs on: operations in a row, with every value that is known in advance already escaped for its place.

use std::ops::Range;

use payloads_fresh::TimeFormat;

use super::Word;
use super::token::Token;

/// A compiled template.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    pub(crate) ops: Vec<Op>,
    /// The text that [`Op::Text`] refers to.
    pub(crate) text: Vec<u8>,
    pub(crate) draws: Vec<Draw>,
    pub(crate) tables: Vec<Table>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// Appends a range of the program's text.
    Text(Range<usize>),
    /// Draws one of the program's values, and appends it.
    Draw { draw: usize, write: Write },
    /// Appends a bound value, drawing it if its scope has none yet.
    Slot { slot: usize, write: Write },
    /// Appends what a preset provides.
    Word(Word),
    /// Appends the name of the event's type.
    TypeName { table: usize },
    /// Appends what the `Host` header says.
    Host,
}

/// How a drawn value is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// As it is: it cannot break anything where it stands.
    Plain,
    /// Percent-encoded.
    Percent,
    /// It is the number of an entry of this table.
    Table(usize),
}

/// How a value comes about.
#[derive(Clone, Debug)]
pub(crate) enum Draw {
    Uuid,
    Now(TimeFormat),
    Seq,
    /// From `min` on, `above` more.
    Int {
        min: i64,
        above: u64,
    },
    /// The same in units of the last decimal.
    Decimal {
        min: i64,
        above: u64,
        decimals: u8,
    },
    /// One of so many, evenly.
    Even(usize),
    /// One by weight: entry `i` when 64 random bits are below threshold `i` and no earlier one.
    Weighted(Box<[u64]>),
    Words(usize),
    Hex(usize),
    /// The number of the user whose turn it is.
    User,
    Token(Box<Token>),
    /// What the program gives, in base64.
    Base64(Box<Program>),
}

/// Values that are known in advance, as they are appended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Program {
    /// Appends text, to the text before it if that came last.
    pub(crate) fn push_text(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let start = self.text.len();
        self.text.extend_from_slice(text);
        match self.ops.last_mut() {
            Some(Op::Text(range)) => range.end = self.text.len(),
            _ => self.ops.push(Op::Text(start..self.text.len())),
        }
    }

    /// Keeps a draw, and says which it is.
    pub(crate) fn push_draw(&mut self, draw: Draw) -> usize {
        self.draws.push(draw);
        self.draws.len() - 1
    }

    /// Keeps a table, and says which it is.
    pub(crate) fn push_table(&mut self, table: Table) -> usize {
        self.tables.push(table);
        self.tables.len() - 1
    }

    /// The same without its first and last byte, if those are these and the template's own.
    pub(crate) fn without_ends(&self, first: u8, last: u8) -> Option<Self> {
        let mut inner = self.clone();
        match inner.ops.first_mut() {
            Some(Op::Text(range)) if range.start < range.end && self.text[range.start] == first => {
                range.start += 1
            }
            _ => return None,
        }
        match inner.ops.last_mut() {
            Some(Op::Text(range)) if range.start < range.end && self.text[range.end - 1] == last => {
                range.end -= 1
            }
            _ => return None,
        }
        Some(inner)
    }

    /// All it gives if that is always the same.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        match self.ops.as_slice() {
            [] => Some(b""),
            [Op::Text(range)] => Some(&self.text[range.clone()]),
            _ => None,
        }
    }
}

impl Draw {
    /// By these weights, all above 0.
    pub(crate) fn weighted(weights: &[f64]) -> Self {
        if weights.iter().all(|weight| *weight == weights[0]) {
            return Self::Even(weights.len());
        }
        // Relative to the largest, so that no sum can overflow.
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let total: f64 = weights.iter().map(|weight| weight / largest).sum();
        let mut sum = 0.0;
        let mut thresholds: Box<[u64]> = weights
            .iter()
            .map(|weight| {
                sum += weight / largest;
                // Saturates at u64::MAX.
                (sum / total * 2_f64.powi(64)) as u64
            })
            .collect();
        if let Some(last) = thresholds.last_mut() {
            *last = u64::MAX;
        }
        Self::Weighted(thresholds)
    }
}

impl Table {
    /// Appends an entry: what `push` appends.
    pub(crate) fn push(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        push(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// An entry.
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_text_is_one_operation() {
        let mut program = Program::default();
        for text in ["a", "", "bc"] {
            program.push_text(text.as_bytes());
        }
        assert_eq!(program.ops, [Op::Text(0..3)]);
        assert_eq!(program.constant(), Some(b"abc".as_slice()));
    }

    #[test]
    fn the_outer_braces_can_be_left_out() {
        let mut program = Program::default();
        program.push_text(b"{}");
        assert_eq!(program.without_ends(b'{', b'}').unwrap().constant(), Some(b"".as_slice()));
        assert!(program.without_ends(b'[', b']').is_none());
        let mut one = Program::default();
        one.push_text(b"{");
        assert!(one.without_ends(b'{', b'{').is_none());
    }

    #[test]
    fn thresholds_part_the_range_by_weight() {
        let Draw::Weighted(thresholds) = Draw::weighted(&[1.0, 2.0, 1.0]) else { panic!() };
        assert_eq!(*thresholds, [1 << 62, 3 << 62, u64::MAX]);
        assert!(matches!(Draw::weighted(&[3.0, 3.0]), Draw::Even(2)));
        let Draw::Weighted(huge) = Draw::weighted(&[f64::MAX, f64::MIN_POSITIVE]) else { panic!() };
        assert_eq!(*huge, [u64::MAX, u64::MAX]);
        // Their sum is beyond what a number can be.
        let Draw::Weighted(endless) = Draw::weighted(&[f64::MAX, f64::MAX, 1.0]) else { panic!() };
        assert_eq!(*endless, [1 << 63, u64::MAX, u64::MAX]);
    }
}
