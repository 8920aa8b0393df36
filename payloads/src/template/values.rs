//! Values that are known before anything is drawn, and how they are written where they stand.

use super::escape::{push_json_string, push_percent};

/// A value as a template, a list or a setting gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Literal {
    pub(crate) text: String,
    /// JSON that is no string: a number, `true`, `false`, `null`, an array, an object.
    pub(crate) raw: bool,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// Within the quotes of a JSON string.
    JsonString,
    /// Where JSON has a value.
    JsonBare,
    /// In a request's target.
    Path,
    /// In a header.
    Header,
    /// In the `Host` header.
    Host,
    /// Anywhere else.
    Plain,
}

impl Literal {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), raw: false }
    }

    pub(crate) fn raw(text: impl Into<String>) -> Self {
        Self { text: text.into(), raw: true }
    }

    /// The same percent-encoded, and text from then on.
    pub(crate) fn url(&self) -> Self {
        let mut encoded = Vec::new();
        push_percent(&mut encoded, &self.text);
        Self::text(String::from_utf8(encoded).expect("percent-encoded text is ASCII"))
    }

    /// Appends it so that it cannot break what is around it.
    pub(crate) fn push(&self, out: &mut Vec<u8>, context: Context) {
        match context {
            Context::JsonBare if self.raw => out.extend_from_slice(self.text.as_bytes()),
            Context::JsonBare => {
                out.push(b'"');
                push_json_string(out, &self.text);
                out.push(b'"');
            }
            Context::JsonString => push_json_string(out, &self.text),
            Context::Path => push_percent(out, &self.text),
            Context::Header | Context::Host | Context::Plain => out.extend_from_slice(self.text.as_bytes()),
        }
    }

    /// The first character that cannot stand there, however it is written.
    pub(crate) fn breaks(&self, context: Context) -> Option<char> {
        match context {
            Context::Header => self.text.chars().find(|c| breaks_header(*c)),
            Context::Host => host_breaks(&self.text),
            _ => None,
        }
    }
}

/// What may not stand in a header's value (RFC 9110, 5.5): a line break would begin another header, or a request.
pub(crate) fn breaks_header(c: char) -> bool {
    c.is_ascii_control() && c != '\t'
}

/// The first character that may not stand in a `Host` header (RFC 9110, 7.2), which is a name or address, and a port.
pub(crate) fn host_breaks(host: &str) -> Option<char> {
    host.chars().find(|&c| !(c.is_ascii_alphanumeric() || "-._~:[]%".contains(c)))
}
