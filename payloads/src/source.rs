//! Where a template stands, so that an error in it can be shown there: file or flag, line, column, and the line itself.

use std::ops::Range;
use std::sync::Arc;

use crate::Error;
use crate::error::Located;

/// A text to be parsed, as a part of the file or flag it stands in.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    name: Arc<str>,
    whole: Arc<str>,
    text: Arc<str>,
    /// `(offset in text, offset in whole)`: from there on both go on together. Begins with an entry for 0, and rises.
    runs: Arc<[(usize, usize)]>,
}

/// Most characters of a line that are shown.
const LINE_CHARS_MAX: usize = 100;

impl Source {
    /// All of a file, or of what was typed: `name` is the file's path or the flag.
    pub(crate) fn new(name: &str, whole: &str) -> Self {
        let whole: Arc<str> = whole.into();
        Self { name: name.into(), text: whole.clone(), whole, runs: [(0, 0)].into() }
    }

    /// The same from bytes, which have to be UTF-8. A byte order mark is no part of it.
    pub(crate) fn from_utf8(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let readable = String::from_utf8_lossy(bytes);
                let what = format!(
                    "need UTF-8, got the byte 0x{:02x}: save the file as UTF-8",
                    bytes[error.valid_up_to()]
                );
                // What was valid is unchanged, so the offset is the same.
                Err(Self::new(name, &readable).error(error.valid_up_to(), what))
            }
        }
    }

    /// A part of this.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let first = [(0, self.in_whole(range.start))];
        let later = self.runs.iter().filter(|(from, _)| *from > range.start);
        let runs = first.into_iter().chain(later.map(|(from, to)| (from - range.start, *to))).collect();
        Self { text: self.text[range].into(), runs, ..self.clone() }
    }

    /// A part of this that had to be decoded: `text` is what it says, `runs` how offsets correspond.
    pub(crate) fn decoded(&self, text: &str, runs: Vec<(usize, usize)>) -> Self {
        debug_assert!(runs.first().is_some_and(|(from, _)| *from == 0));
        Self { text: text.into(), runs: runs.into(), ..self.clone() }
    }

    /// What is to be parsed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The file or the flag.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `what` is wrong at this offset of the text.
    pub(crate) fn error(&self, at: usize, what: impl Into<String>) -> Error {
        let at = self.in_whole(at.min(self.text.len())).min(self.whole.len());
        let before = &self.whole[..floor(&self.whole, at)];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before[line_start..].chars().count();
        let line = self.whole[line_start..].lines().next().unwrap_or("");
        let skipped = column.saturating_sub(LINE_CHARS_MAX * 3 / 4);
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        Error::At(Box::new(Located {
            source: self.name.to_string(),
            line: 1 + before.matches('\n').count(),
            column: column + 1,
            what: what.into(),
            text: line.chars().skip(skipped).take(LINE_CHARS_MAX).map(shown).collect(),
            caret: column - skipped,
        }))
    }

    fn in_whole(&self, at: usize) -> usize {
        let run = self.runs.partition_point(|(from, _)| *from <= at) - 1;
        let (from, to) = self.runs[run];
        to + (at - from)
    }
}

/// The start of the character that has this offset.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_line_and_a_caret_under_the_place() {
        let source = Source::new("a.json", "{\n  \"é\": {{uid}}\r\n}");
        let at = source.text().find("uid").unwrap();
        let error = source.error(at, "need a field").to_string();
        assert_eq!(error, "a.json, line 2, column 10: need a field\n  \"é\": {{uid}}\n         ^");
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let source = Source::new("a.json", &"x".repeat(10_000));
        let error = source.error(5_000, "bad").to_string();
        assert!(error.starts_with("a.json, line 1, column 5001: bad\n"), "{error}");
        assert!(error.lines().all(|line| line.chars().count() < 110), "{error}");
        assert_eq!(error.lines().last().unwrap().trim_end().len(), 2 + 75 + 1);
    }

    #[test]
    fn a_part_knows_where_it_stands_in_the_whole() {
        let whole = Source::new("f", "ab\ncdef");
        let part = whole.part(4..7);
        assert_eq!(part.text(), "def");
        assert!(part.error(1, "w").to_string().starts_with("f, line 2, column 3: w\n"));
        assert!(part.error(99, "w").to_string().starts_with("f, line 2, column 5: w\n"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let error = Source::from_utf8("f.json", b"{\n\"a\": \"\xff\"}").unwrap_err().to_string();
        assert!(error.starts_with("f.json, line 2, column 7: need UTF-8, got the byte 0xff: "), "{error}");
        assert_eq!(Source::from_utf8("f", b"\xef\xbb\xbfa").unwrap().text(), "a");
    }
}
