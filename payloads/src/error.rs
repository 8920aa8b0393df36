//! What can be wrong with what a user asked to send: what was wanted, what is, and the next step.

use std::fmt;

/// A request that cannot be built. Control characters in the offending text are shown escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is wrong at one place of a file or of a flag's text.
    #[error("{0}")]
    At(Box<Located>),

    /// The method is no token (RFC 9110, 5.6.2).
    #[error("need a method of letters such as GET or POST, got {0:?}: remove spaces and control characters")]
    Method(String),
    /// `CONNECT` would turn the connection into a tunnel, on which nothing more can be measured.
    #[error("method CONNECT opens a tunnel and cannot be load-tested: use another method")]
    Connect,
    /// The host cannot stand in a `Host` header.
    #[error("need a host such as api:3000 or [::1]:3000, got {0:?}: give only the name and the port")]
    Host(String),
    /// The path does not begin with a slash.
    #[error("need a path such as /events, got {0:?}: begin it with / and leave out scheme and host")]
    PathStart(String),
    /// The path holds a character that may not stand in a request line.
    #[error(
        "path {path:?} holds {found:?} at byte {at}, which cannot be sent as it is: percent-encode it as {encoded}"
    )]
    Path {
        /// The path as given.
        path: String,
        /// The first such character.
        found: char,
        /// Its offset in bytes.
        at: usize,
        /// The same character as it may be written.
        encoded: String,
    },
    /// A header line without a colon.
    #[error("need a header as \"Name: value\", got {0:?}: put a colon after the name")]
    HeaderShape(String),
    /// A header name that is no token (RFC 9110, 5.1).
    #[error(
        "need a header name of letters, digits and dashes, got {0:?}: remove spaces, separators and control characters"
    )]
    HeaderName(String),
    /// A header value with a control character: a line break there would smuggle in a header or a request.
    #[error("the value of header {name} holds {found:?}, which would break the request apart: remove it")]
    HeaderValue {
        /// The header's name.
        name: String,
        /// The first such character.
        found: char,
    },
    /// A header that says where the request ends. It is always written right, and a wrong one would ruin the connection.
    #[error("header {0} cannot be set: the length of every body is sent right by itself, so leave it out")]
    Framing(String),
    /// More than one `Host`, which servers must refuse (RFC 9112, 3.2).
    #[error("need one Host header, got several: leave one of them")]
    HostTwice,

    /// A file or folder that cannot be read.
    #[error("cannot read {path}: {reason}: check the path and its permissions")]
    Read {
        /// Its path.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A file with nothing in it.
    #[error("need something to send, {0} is empty: fill it or leave it out")]
    EmptyFile(String),
    /// A folder without files.
    #[error("need a file for each request, there is none in {0}: put some there or name another folder")]
    EmptyFolder(String),
    /// A file over [`crate::BYTES_MAX`].
    #[error("need a file of at most {limit} bytes, {path} has {bytes}: split it or leave lines out")]
    HugeFile {
        /// Its path.
        path: String,
        /// Its size.
        bytes: usize,
        /// [`crate::BYTES_MAX`].
        limit: usize,
    },
    /// A file of lines with nothing in it.
    #[error("need one request body a line, {0} has no line that is not blank: check the file")]
    NoLines(String),
    /// A line that is no JSON.
    #[error(
        "{path}, line {line}: need JSON, {reason}: correct or remove the line, or give the file another name than .jsonl"
    )]
    JsonLine {
        /// The file.
        path: String,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it, and in which column.
        reason: String,
    },
    /// Both a preset and a body of one's own.
    #[error("need a preset or a body of your own, got both: leave one of them out")]
    PresetAndBody,
    /// A body typed and a folder of bodies.
    #[error("need one body or a folder of bodies, got both: leave one of them out")]
    BodyAndFolder,
    /// Something only presets have, wished for requests of one's own.
    #[error("{0} is for presets: name one with --preset, or leave it out")]
    OnlyPresets(&'static str),

    /// No preset of that name.
    #[error(
        "there is no preset {name:?}{hint}: use one of {known}, or the path of a file that ends in .toml"
    )]
    UnknownPreset {
        /// The name as given.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// `--set` names a word that the preset does not have.
    #[error("preset {preset} has no setting {name:?}{hint}: {known}")]
    UnknownSetting {
        /// The preset.
        preset: String,
        /// The name as given.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
        /// What there is.
        known: String,
    },
    /// `--events` names a type that the preset does not have.
    #[error("preset {preset} has no events of type {name:?}{hint}: {known}")]
    UnknownType {
        /// The preset.
        preset: String,
        /// The name as given.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
        /// What there is.
        known: String,
    },
    /// A batch of more events than the API takes.
    #[error(
        "{preset} takes at most {limit} events a request, --batch asks {asked}: use {limit} or fewer, or correct [limits] in the preset's file"
    )]
    BatchOverLimit {
        /// The preset.
        preset: String,
        /// Most events, with thousands separated.
        limit: String,
        /// Events asked for, with thousands separated.
        asked: String,
    },
    /// A batch for an API that takes none.
    #[error(
        "{preset} takes one event a request, --batch asks {asked}: use 1, or add [batch] to the preset's file"
    )]
    NoBatches {
        /// The preset.
        preset: String,
        /// Events asked for, with thousands separated.
        asked: String,
    },
    /// A body over what the API takes.
    #[error("{preset} takes bodies of at most {limit} bytes, a batch of {events} came to {bytes}: {next}")]
    RequestOverLimit {
        /// The preset.
        preset: String,
        /// Most bytes, with thousands separated.
        limit: String,
        /// Events in it, with thousands separated.
        events: String,
        /// Its bytes, with thousands separated.
        bytes: String,
        /// The largest batch that surely fits.
        next: String,
    },
    /// An event over what the API takes.
    #[error(
        "{preset} takes events of at most {limit} bytes, one came to {bytes}: shorten it, or leave its type out with --events"
    )]
    EventOverLimit {
        /// The preset.
        preset: String,
        /// Most bytes, with thousands separated.
        limit: String,
        /// Its bytes, with thousands separated.
        bytes: String,
    },

    /// A mixture of batch sizes that is none.
    #[error(
        "need events per request such as 10, or sizes with weights such as 1:100,10:10,100:3, got {given:?}: {next}"
    )]
    Mix {
        /// As given.
        given: String,
        /// What to change.
        next: String,
    },
    /// Shares of types that are none.
    #[error("need types with weights such as page_view:70,purchase:5, got {given:?}: {next}")]
    Shares {
        /// As given.
        given: String,
        /// What to change.
        next: String,
    },
    /// An encoding that is none.
    #[error("need gzip or zstd, got {0:?}: use one of them")]
    Encoding(String),

    /// An encoding for requests without a body.
    #[error("--encoding compresses bodies, and these requests have none: leave it out")]
    NothingToCompress,
    /// A header that calls compressed bodies something else.
    #[error(
        "--encoding {encoding} and the header Content-Encoding both say how bodies are encoded: leave one out"
    )]
    EncodingTwice {
        /// The encoding asked for.
        encoding: String,
    },

    /// The shortest tape of such requests is over the limit.
    #[error("need {needed} bytes to hold {what}, the limit is {limit}: {next}")]
    TooLarge {
        /// Bytes it would take, about.
        needed: usize,
        /// [`crate::Extent::bytes_max`].
        limit: usize,
        /// What it holds.
        what: String,
        /// What to change.
        next: String,
    },
    /// A value that is new in every send is repeated too far from where it stood last.
    #[error(
        "a fresh value can be repeated over at most 65535 fresh fields, a request has more between two places of one: use smaller batches, or a name of its own for the later place"
    )]
    RepeatTooFar,
}

/// Something wrong at one place of a file or of a flag's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The file, or the flag.
    pub source: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What was wanted, what is, and the next step.
    pub what: String,
    /// The line, or the part of it around the place.
    pub text: String,
    /// How many characters of `text` stand before the place.
    pub caret: usize,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, line, column, what, text, caret } = self;
        let indent = text.chars().take_while(|c| c.is_whitespace()).count();
        let before = (*caret).saturating_sub(indent);
        write!(f, "{source}, line {line}, column {column}: {what}\n  {}\n  {:before$}^", text.trim(), "")
    }
}

/// `2,500`: a number as people read it.
pub(crate) fn thousands(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let first = digits.len() % 3;
    let mut out = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !out.is_empty() {
            out.push(',');
        }
        out.extend(group.iter().map(|&digit| char::from(digit)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown = [0_u64, 7, 999, 1_000, 12_345, 2_500_000].map(thousands);
        assert_eq!(shown, ["0", "7", "999", "1,000", "12,345", "2,500,000"]);
    }
}
