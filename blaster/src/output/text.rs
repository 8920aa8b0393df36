//! Laying out text: wrapping, columns that are as wide as they must be, colours.

/// Breaks `text` into lines of at most `width` characters; a longer word is cut.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        for character in word.chars().map(printable) {
            if length == width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            line.push(character);
            length += 1;
        }
    }
    if length > 0 {
        lines.push(line);
    }
    lines
}

/// What a target sent may be shown, but may not steer the terminal.
fn printable(character: char) -> char {
    if character.is_control() { '\u{fffd}' } else { character }
}

/// `head`, and behind it `text`, which is wrapped to stay right of `indent`.
pub(crate) fn hanging(head: &str, indent: usize, text: &str, width: usize) -> Vec<String> {
    let mut lines = wrap(text, width.saturating_sub(indent));
    if lines.is_empty() {
        return vec![head.trim_end().to_owned()];
    }
    for (index, line) in lines.iter_mut().enumerate() {
        let margin = if index == 0 { head } else { "" };
        *line = format!("{}{line}", pad(margin, indent));
    }
    lines
}

/// A cell that may not be narrower; spaces go behind it.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

/// At most `width` characters; the end gives way to an ellipsis.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.chars().map(printable).collect();
    }
    let mut kept: String = text.chars().map(printable).take(width.saturating_sub(1)).collect();
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// Rows of cells, the first column to the left and the others to the right, each as wide as its widest cell.
pub(super) fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 {
                line.push_str(&pad(cell, *width));
            } else {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        line
    };
    rows.iter().map(line).collect()
}

/// Colours, if wanted.
#[derive(Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn doubtful(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_longer_than_a_line_are_cut() {
        assert_eq!(wrap("ab abcdefgh i", 3), ["ab", "abc", "def", "gh", "i"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert!(wrap("", 5).is_empty());
    }

    #[test]
    fn wrapped_text_stays_right_of_its_indent() {
        assert_eq!(hanging("x", 3, "aa bb", 5), ["x  aa", "   bb"]);
        assert_eq!(hanging("x  ", 3, "", 5), ["x"]);
    }

    #[test]
    fn columns_fit_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["bbb".to_owned(), "22".to_owned()]];
        assert_eq!(columns(&rows), ["a     1", "bbb  22"]);
    }

    #[test]
    fn what_is_cut_ends_in_an_ellipsis() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abc", 3), "abc");
    }
}
