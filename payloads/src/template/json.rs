//! JSON around fields: whether a field stands inside a string, white space that can go, and whether what comes out is JSON.

use serde_json::Value;

use super::values::Context;
use crate::Error;
use crate::source::{Source, floor};

/// Follows the text of a JSON template.
#[derive(Debug)]
pub(super) struct Scan {
    compact: bool,
    lines: bool,
    in_string: bool,
    escaped: bool,
    depth: usize,
    /// Something other than white space was seen.
    started: bool,
    /// A line break between two values waits for the second.
    line_break: bool,
}

impl Scan {
    /// `compact` leaves white space out; with `lines` a line break between values stays.
    pub(super) fn new(compact: bool, lines: bool) -> Self {
        Self { compact, lines, in_string: false, escaped: false, depth: 0, started: false, line_break: false }
    }

    /// What follows is inside a string.
    pub(super) fn in_string() -> Self {
        Self { in_string: true, ..Self::new(true, false) }
    }

    /// Appends text of the template's own.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, text: &str) {
        for &byte in text.as_bytes() {
            if self.compact && !self.in_string && byte.is_ascii_whitespace() {
                self.line_break |= byte == b'\n' && self.lines && self.depth == 0 && self.started;
                continue;
            }
            self.begin(out);
            out.push(byte);
            self.follow(byte);
        }
    }

    /// Something is about to be written that is not white space.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) {
        self.started = true;
        if std::mem::take(&mut self.line_break) {
            out.push(b'\n');
        }
    }

    /// Where a field stands that comes now.
    pub(super) fn context(&self) -> Context {
        if self.in_string { Context::JsonString } else { Context::JsonBare }
    }

    /// A backslash stands right before.
    pub(super) fn is_escaped(&self) -> bool {
        self.escaped
    }

    fn follow(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// JSON without the white space that means nothing.
pub(crate) fn compacted(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len());
    Scan::new(true, false).push(&mut out, json);
    String::from_utf8(out).expect("only ASCII was left out")
}

/// What a template comes to with simple values in its fields, and where each piece of that stands in the source.
#[derive(Debug, Default)]
pub(super) struct Sample {
    json: String,
    marks: Vec<Mark>,
}

#[derive(Debug)]
struct Mark {
    from: usize,
    source: usize,
    /// All of it is one place in the source.
    is_field: bool,
}

impl Sample {
    /// Text of the template's own, which stands there in the source.
    pub(super) fn text(&mut self, text: &str, source: usize) {
        self.marks.push(Mark { from: self.json.len(), source, is_field: false });
        self.json.push_str(text);
    }

    /// The value of the field that stands there in the source.
    pub(super) fn field(&mut self, value: &str, source: usize) {
        self.marks.push(Mark { from: self.json.len(), source, is_field: true });
        self.json.push_str(value);
    }

    /// Whether it is JSON: one value, or with `lines` one or more. An error shows the place in the source.
    pub(super) fn check(&self, source: &Source, lines: bool) -> Result<(), Error> {
        let result = if lines {
            let mut values = serde_json::Deserializer::from_str(&self.json).into_iter::<Value>();
            match values.next() {
                None => return Err(source.error(0, "need JSON, got nothing: write a value")),
                Some(first) => first.and_then(|_| values.try_for_each(|value| value.map(drop))),
            }
        } else {
            serde_json::from_str::<Value>(&self.json).map(drop)
        };
        result.map_err(|error| {
            let what = format!("need JSON, {}: correct the template", reason(&error));
            source.error(self.in_source(offset(&self.json, &error)), what)
        })
    }

    fn in_source(&self, at: usize) -> usize {
        let index = self.marks.partition_point(|mark| mark.from <= at);
        index.checked_sub(1).map_or(0, |index| {
            let mark = &self.marks[index];
            if mark.is_field { mark.source } else { mark.source + (at - mark.from) }
        })
    }
}

/// What is wrong, without the place.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |end| text[..end].to_owned())
}

/// Where in `json` the error is. The column counts the bytes of the line up to and with the offending one.
fn offset(json: &str, error: &serde_json::Error) -> usize {
    let line_start: usize =
        json.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let at = line_start + error.column().saturating_sub(1);
    floor(json, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str, lines: bool) -> String {
        let mut out = Vec::new();
        let mut scan = Scan::new(true, lines);
        scan.push(&mut out, text);
        scan.begin(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn white_space_goes_outside_strings_only() {
        assert_eq!(scanned(" { \"a b\\\" c\" :\n\t[ 1 , \"\\\\\" ] }\r\n", false), r#"{"a b\" c":[1,"\\"]}"#);
    }

    #[test]
    fn a_line_break_between_values_stays_where_lines_are_meant() {
        let text = "\n{\"index\":\n {}}\n\n { \"a\": 1 }\n";
        assert_eq!(scanned(text, true), "{\"index\":{}}\n{\"a\":1}\n");
        assert_eq!(scanned(text, false), "{\"index\":{}}{\"a\":1}");
    }

    #[test]
    fn it_is_known_whether_a_string_is_open() {
        let mut scan = Scan::new(true, false);
        let mut context = |text| {
            scan.push(&mut Vec::new(), text);
            (scan.context(), scan.is_escaped())
        };
        assert_eq!(context("{\"a"), (Context::JsonString, false));
        assert_eq!(context("\\"), (Context::JsonString, true));
        assert_eq!(context("\"\\\\"), (Context::JsonString, false));
        assert_eq!(context("\":"), (Context::JsonBare, false));
    }

    #[test]
    fn a_mistake_is_found_in_the_source() {
        let source = Source::new("t", "[{{x}},]");
        let mut sample = Sample::default();
        sample.text("[", 0);
        sample.field("\"long value\"", 1);
        sample.text(",]", 6);
        let error = sample.check(&source, false).unwrap_err().to_string();
        assert!(error.starts_with("t, line 1, column 8: need JSON, trailing comma: correct"), "{error}");
    }

    #[test]
    fn one_value_or_many_are_told_apart() {
        let source = Source::new("t", "{}\n{}");
        let mut sample = Sample::default();
        sample.text("{}\n{}", 0);
        assert!(sample.check(&source, true).is_ok());
        let error = sample.check(&source, false).unwrap_err().to_string();
        assert!(error.starts_with("t, line 2, column 1: need JSON, trailing characters"), "{error}");
        assert!(Sample::default().check(&source, true).is_err());
    }
}
