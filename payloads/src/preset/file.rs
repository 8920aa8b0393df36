//! A preset's file as it is written: TOML, with the place of everything that is parsed further.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use toml::Spanned;

use crate::Error;
use crate::source::Source;

/// The keys of a preset's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) about: String,
    #[serde(default)]
    pub(super) documentation: Vec<String>,
    pub(super) method: Option<Spanned<String>>,
    pub(super) path: Spanned<String>,
    pub(super) ok: Option<Spanned<String>>,
    pub(super) acknowledged: Option<String>,
    pub(super) content_type: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) headers: Vec<Spanned<String>>,
    pub(super) note: Option<String>,
    #[serde(default)]
    pub(super) limits: FileLimits,
    #[serde(default)]
    pub(super) settings: InOrder<Spanned<toml::Value>>,
    #[serde(default)]
    pub(super) lists: BTreeMap<Spanned<String>, Spanned<Vec<toml::Value>>>,
    pub(super) single: Option<FileEnvelope>,
    pub(super) batch: Option<FileEnvelope>,
    pub(super) event: Option<FileEvent>,
    #[serde(default)]
    pub(super) types: InOrder<FileType>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLimits {
    pub(super) events: Option<Spanned<u32>>,
    pub(super) event_bytes: Option<usize>,
    pub(super) request_bytes: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEnvelope {
    pub(super) path: Option<Spanned<String>>,
    pub(super) body: Option<Spanned<String>>,
    pub(super) separator: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEvent {
    pub(super) body: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileType {
    pub(super) weight: Option<Spanned<f64>>,
    pub(super) fields: Option<Spanned<String>>,
}

/// A table whose entries stay in the order of the file.
#[derive(Debug)]
pub(super) struct InOrder<T>(pub(super) Vec<(Spanned<String>, T)>);

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder<T>, A::Error> {
                let mut entries: Vec<(Spanned<String>, T)> = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                entries.sort_by_key(|(name, _)| name.span().start);
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

impl File {
    /// Reads a file; anything that is no preset is shown where it stands.
    pub(super) fn parse(source: &Source) -> Result<Self, Error> {
        toml::from_str(source.text()).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', ", ");
            source.error(at, format!("need a preset's file, {message}: correct it"))
        })
    }
}

/// The text of a TOML string, which knows where each character stands in the file.
pub(super) fn text(file: &Source, value: &Spanned<String>) -> Source {
    let span = value.span();
    file.decoded(value.get_ref(), runs(&file.text()[span.clone()], value.get_ref(), span.start))
}

/// Offsets in `decoded` and where the same stands in the file, for each piece that reads as it is written: `raw` is the string
/// with its quotes, and starts at `start`.
fn runs(raw: &str, decoded: &str, start: usize) -> Vec<(usize, usize)> {
    let has_escapes = raw.starts_with('"');
    let mut at = opening(raw);
    let mut runs = vec![(0, start + at)];
    for (index, c) in decoded.char_indices() {
        let rest = &raw[at..];
        if rest.starts_with(c) && !(has_escapes && c == '\\') {
            at += c.len_utf8();
            continue;
        }
        let Some(skipped) = skipped(rest, c, has_escapes) else { break };
        let escaped = &rest[skipped..];
        let written = if escaped.starts_with(c) && c != '\\' { c.len_utf8() } else { escape(escaped) };
        runs.push((index, start + at + skipped));
        at += skipped + written;
        runs.push((index + c.len_utf8(), start + at));
    }
    // Of several for one offset the last says where the character itself stands.
    runs.reverse();
    runs.dedup_by_key(|(from, _)| *from);
    runs.reverse();
    runs
}

/// Bytes before the first character of a string.
fn opening(raw: &str) -> usize {
    if !(raw.starts_with("'''") || raw.starts_with("\"\"\"")) {
        return usize::from(raw.starts_with(['\'', '"']));
    }
    3 + match &raw.as_bytes()[3..] {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => 0,
    }
}

/// Bytes that stand for nothing before what gives `c`: line ends that a backslash takes away, and a CR before LF.
fn skipped(rest: &str, c: char, has_escapes: bool) -> Option<usize> {
    if c == '\n' && rest.starts_with("\r\n") {
        return Some(1);
    }
    let mut skipped = 0;
    while has_escapes && rest[skipped..].starts_with('\\') {
        let after = &rest[skipped + 1..];
        let space = after.len() - after.trim_start().len();
        if !after[..space].contains('\n') {
            return Some(skipped);
        }
        skipped += 1 + space;
    }
    (skipped > 0).then_some(skipped)
}

/// Bytes of the escape at the start of `text`.
fn escape(text: &str) -> usize {
    let length = match text.as_bytes().get(1) {
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 2,
    };
    length.min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where in a file the first `x` of the value of `key` is said to stand.
    fn found(toml: &str) -> usize {
        #[derive(Deserialize)]
        struct One {
            key: Spanned<String>,
        }
        let source = Source::new("f", toml);
        let one: One = toml::from_str(toml).unwrap();
        let text = text(&source, &one.key);
        let error = text.error(text.text().find('x').unwrap(), "").to_string();
        let numbers: Vec<usize> = error
            .lines()
            .next()
            .unwrap()
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse().ok())
            .collect();
        let line_start: usize = toml.split_inclusive('\n').take(numbers[0] - 1).map(str::len).sum();
        line_start + numbers[1] - 1
    }

    #[test]
    fn every_character_of_a_string_is_found_in_the_file() {
        for toml in [
            "key = 'x'",
            "key = \"abx\"",
            "a = 1\nkey = '''\nab\n x'''",
            "a = 1\r\nkey = '''\r\nab\r\n x'''",
            "key = '''abx'''",
            "key = \"a\\\\b\\t\\\"x\"",
            "key = \"\\u0041\\U00000041x\"",
            "key = \"\"\"\n a \\\n   b \\\r\n\n  c\\nx\"\"\"",
            "key = \"\"\"\\\n   x\"\"\"",
        ]
        .iter()
        .map(|toml| toml.replace("a = 1", "# 1"))
        {
            assert_eq!(found(&toml), toml.rfind('x').unwrap(), "{toml:?}");
        }
    }
}
