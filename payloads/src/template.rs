//! Templates: text with fields in `{{ }}`, parsed once, then rendered as often as there are requests.
//!
//! ```text
//! source ── parser ──> Template ── compile ──> Program ── render ──> bytes and places
//!                      pieces       names resolved, values        flat operations,
//!                                   escaped for where they stand  appended in order
//! ```
//!
//! `json` follows whether a field stands inside a JSON string and checks that what comes out is JSON; `names` knows what
//! was bound with `as`; `values` is about literals and how they are written where; `program` is what rendering runs on.

pub(crate) mod compile;
mod draw;
mod emit;
pub(crate) mod escape;
mod json;
pub(crate) mod names;
mod parser;
pub(crate) mod program;
pub(crate) mod render;
mod token;
mod users;
pub(crate) mod values;

use std::ops::Range;

use payloads_fresh::TimeFormat;

use crate::Error;
use crate::source::Source;
pub(crate) use json::{compacted, reason as json_reason};
use values::Literal;

/// A parsed template. That its names exist is known only when it is compiled.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// Where it stands.
    pub(crate) source: Source,
    /// Text and fields in their order.
    pub(crate) pieces: Vec<Piece>,
    /// What surrounds its fields.
    pub(crate) language: Language,
    /// What it is a part of.
    pub(crate) role: Role,
}

/// What a template's text is written in, which says how values are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// JSON.
    Json {
        /// White space outside strings is left out.
        compact: bool,
        /// One value after the other, a line each, rather than one value.
        lines: bool,
    },
    /// The target of a request line.
    Path,
    /// A header's value.
    Header,
    /// The `Host` header's value.
    Host,
    /// Anything else.
    Plain,
}

/// What a template is a part of, which says which words it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Path, header, or a body of the user's own.
    Request,
    /// The body around events.
    Envelope,
    /// An event.
    Event,
    /// The members that a type adds to an event.
    Fields,
}

/// What presets provide for their own templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The event.
    Event,
    /// The event without its outer braces.
    Members,
    /// All events, separated.
    Events,
    /// How many events there are.
    Count,
    /// The name of the event's type.
    Type,
    /// The type's members behind a comma.
    Fields,
}

/// A piece of a template.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Text that stays: a range of the source.
    Text(Range<usize>),
    /// `{{…}}`.
    Field(Field),
}

/// `{{ expression as name }}`.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) expr: Expr,
    pub(crate) bind: Option<Name>,
    /// With its braces.
    pub(crate) span: Range<usize>,
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Range<usize>,
}

/// What an expression gives.
#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Uuid,
    Now(TimeFormat),
    Seq,
    /// `min`, and how many numbers above it may come out.
    Int {
        min: i64,
        above: u64,
    },
    /// In units of the last decimal.
    Decimal {
        min: i64,
        above: u64,
        decimals: u8,
    },
    Choice(Vec<Literal>),
    ChoiceOf(String),
    Weighted(Vec<(Literal, f64)>),
    Pick(String),
    Words(usize),
    Hex(usize),
    User(u64),
    /// The secret, and the claims: pieces of JSON.
    Token(Box<Expr>, Vec<Piece>),
    Basic(Box<Expr>, Box<Expr>),
    Url(Box<Expr>),
    Quoted(String),
    Name(Name),
}

/// A name with its scope, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) scope: Scope,
    /// Without the scope.
    pub(crate) name: String,
    pub(crate) at: usize,
}

/// For how long a bound value stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Within an event.
    Event,
    /// Within a request.
    Request,
    /// For a user, in whatever request.
    User,
}

impl Template {
    /// Parses `source`.
    pub(crate) fn parse(source: Source, language: Language, role: Role) -> Result<Self, Error> {
        let pieces = parser::parse(&source)?;
        Ok(Self { source, pieces, language, role })
    }

    /// The fields, those inside tokens too, from left to right.
    pub(crate) fn fields(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        push_fields(&self.pieces, &mut fields);
        fields
    }

    /// Its text as far as it holds no field, for checks of what may not stand there.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(range) => Some((range.start, &self.source.text()[range.clone()])),
            Piece::Field(_) => None,
        })
    }
}

fn push_fields<'a>(pieces: &'a [Piece], fields: &mut Vec<&'a Field>) {
    for piece in pieces {
        if let Piece::Field(field) = piece {
            fields.push(field);
            field.expr.visit(&mut |expr| {
                if let ExprKind::Token(_, claims) = &expr.kind {
                    push_fields(claims, fields);
                }
            });
        }
    }
}

impl Expr {
    /// This and the expressions it is made of, but not those in fields of a token's claims.
    pub(crate) fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        match &self.kind {
            ExprKind::Token(inner, _) | ExprKind::Url(inner) => inner.visit(see),
            ExprKind::Basic(user, password) => {
                user.visit(see);
                password.visit(see);
            }
            _ => {}
        }
    }
}

impl Role {
    const ALL: [Self; 4] = [Self::Request, Self::Envelope, Self::Event, Self::Fields];

    /// The word of that name, if it may stand here.
    pub(crate) fn word(self, name: &str) -> Option<Word> {
        self.words().iter().find(|(known, _)| *known == name).map(|(_, word)| *word)
    }

    /// The words that may stand here.
    pub(crate) fn words(self) -> &'static [(&'static str, Word)] {
        match self {
            Self::Request => &[],
            Self::Envelope => &[
                ("event", Word::Event),
                ("members", Word::Members),
                ("events", Word::Events),
                ("count", Word::Count),
            ],
            Self::Event => &[("type", Word::Type), ("fields", Word::Fields)],
            Self::Fields => &[("type", Word::Type)],
        }
    }

    /// It is rendered once an event.
    pub(crate) fn is_of_event(self) -> bool {
        matches!(self, Self::Event | Self::Fields)
    }
}

impl Name {
    /// As it is written.
    pub(crate) fn shown(&self) -> String {
        match self.scope {
            Scope::Event => self.name.clone(),
            Scope::Request => format!("request.{}", self.name),
            Scope::User => format!("user.{}", self.name),
        }
    }
}

/// Names that mean something already, so that neither a setting nor a bound name may be called so.
pub(crate) fn is_taken(name: &str) -> bool {
    let is_word = |role: &Role| role.word(name).is_some();
    parser::FUNCTIONS.iter().any(|(function, _)| *function == name) || Role::ALL.iter().any(is_word)
}

/// Most bytes of a field that is looked for in what is no template: longer ones are rare, and nobody wants to read them.
const FIELD_BYTES_MAX: usize = 80;

/// The first field in a text that is no template, as it stands there. Names are none: other template languages have those too.
pub(crate) fn field_in(content: &[u8]) -> Option<String> {
    let mut rest = content;
    while let Some(start) = find(rest, b"{{") {
        rest = &rest[start..];
        let near = &rest[..rest.len().min(FIELD_BYTES_MAX)];
        if let Some(end) = find(near, b"}}")
            && let Ok(text) = str::from_utf8(&near[..end + 2])
            && let Ok(pieces) = parser::parse(&Source::new("", text))
            && let [Piece::Field(Field { expr, .. })] = pieces.as_slice()
            && !matches!(expr.kind, ExprKind::Name(_) | ExprKind::Quoted(_))
        {
            return Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        rest = &rest[1..];
    }
    None
}

fn find(bytes: &[u8], pair: &[u8; 2]) -> Option<usize> {
    bytes.windows(2).position(|window| window == pair)
}

/// Letters, digits and `_`, not beginning with a digit.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(fits) && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_in_what_is_no_template() {
        for (text, found) in [
            ("{\"id\":\"{{uuid}}\"}", Some("{{uuid}}")),
            ("\u{e9}{{{ uuid\n as id }}", Some("{{ uuid as id }}")),
            ("{{name}} {{#each}} {{'x'}} {{int(5,1)}} {{int(1,5)}}", Some("{{int(1,5)}}")),
            ("{{jwt('s',{\"a\":{{user(9)}}})}}", Some("{{user(9)}}")),
            ("{{name}} {{uuid", None),
            ("", None),
        ] {
            assert_eq!(field_in(text.as_bytes()).as_deref(), found, "{text}");
        }
        assert_eq!(field_in(b"\xff{{now}}\xff").as_deref(), Some("{{now}}"));
    }
}
