//! What can be wrong with what a user asked to send: what was wanted, what is, and the next step.

/// A request that cannot be built. Control characters in the offending text are shown escaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// A file of lines with nothing in it.
    #[error("need one request body a line, got no line that is not blank: check the file")]
    NoLines,
    /// The shortest tape this body allows is over [`crate::BYTES_MAX`].
    #[error(
        "need {needed} bytes to hold each body once with its head, the limit is {limit}: send a smaller body or fewer lines"
    )]
    TooLarge {
        /// Bytes it would take.
        needed: usize,
        /// [`crate::BYTES_MAX`].
        limit: usize,
    },
    /// No preset of that name.
    #[error("there is no preset {name:?}: use one of {known}")]
    UnknownPreset {
        /// The name as given.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
}
