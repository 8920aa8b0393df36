//! From text to pieces. Names are not resolved here, and nothing is known of what surrounds a field.

mod arguments;

use std::ops::Range;

use super::{Expr, ExprKind, Field, Name, Piece, Scope};
use crate::Error;
use crate::nearest::did_you_mean;
use crate::source::Source;

/// Every field there is, and how it is called.
pub(super) const FUNCTIONS: [(&str, &str); 14] = [
    ("uuid", "uuid"),
    ("now", "now or now(iso), with one of iso, datetime, unix, unix_ms, unix_us, unix_ns"),
    ("seq", "seq"),
    ("int", "int(a,b), whole numbers with a <= b"),
    ("float", "float(a,b,decimals), numbers with a < b and 0 to 9 decimals"),
    ("choice", "choice('a','b') or choice(list)"),
    ("weighted", "weighted('a':70,'b':5)"),
    ("pick", "pick('file')"),
    ("text", "text(n), n from 1 to 1048576"),
    ("hex", "hex(n), n from 1 to 1048576"),
    ("user", "user(n), n at least 1"),
    ("jwt", "jwt('secret', {\"sub\":\"…\"})"),
    ("basic", "basic('user','password')"),
    ("url", "url(field)"),
];

/// Functions within functions, so that no input can exhaust the stack.
const DEPTH_MAX: usize = 16;

/// Text and fields of a source.
pub(super) fn parse(source: &Source) -> Result<Vec<Piece>, Error> {
    let mut parser = Parser { source, text: source.text(), at: 0, depth: 0 };
    let mut pieces = Vec::new();
    while let Some(to_field) = parser.rest().find("{{") {
        push_text(&mut pieces, parser.at..parser.at + to_field);
        parser.at += to_field;
        pieces.push(Piece::Field(parser.field()?));
    }
    push_text(&mut pieces, parser.at..parser.text.len());
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, range: Range<usize>) {
    if !range.is_empty() {
        pieces.push(Piece::Text(range));
    }
}

struct Parser<'a> {
    source: &'a Source,
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// From `{{` to `}}`.
    fn field(&mut self) -> Result<Field, Error> {
        let start = self.at;
        self.at += 2;
        let expr = self.expr()?;
        self.skip_space();
        let bind = if self.eat_word("as") { Some(self.bound_name()?) } else { None };
        self.skip_space();
        if !self.eat("}}") {
            return Err(self.unclosed(start));
        }
        Ok(Field { expr, bind, span: start..self.at })
    }

    fn unclosed(&self, start: usize) -> Error {
        if self.rest().is_empty() {
            return self
                .source
                .error(start, "need }} at the end of this field, got the end of the text: add }}");
        }
        let next = "close the field with }}, or name its value with `as NAME`";
        self.source.error(self.at, format!("need }}}}, got {}: {next}", self.found()))
    }

    fn expr(&mut self) -> Result<Expr, Error> {
        self.skip_space();
        if self.depth == DEPTH_MAX {
            let what = format!("need at most {DEPTH_MAX} fields within each other: use fewer");
            return Err(self.source.error(self.at, what));
        }
        self.depth += 1;
        let start = self.at;
        let kind = match self.peek() {
            Some('\'' | '"') => ExprKind::Quoted(self.quoted()?),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.named()?,
            _ => {
                let next = "write a field such as {{uuid}}, or {{'{{'}} for two braces";
                return Err(self.source.error(start, format!("need a field, got {}: {next}", self.found())));
            }
        };
        self.depth -= 1;
        Ok(Expr { kind, span: start..self.at })
    }

    /// A function with its arguments, or a name.
    fn named(&mut self) -> Result<ExprKind, Error> {
        let start = self.at;
        let word = self.word();
        if let Some(scope) = scope(word).filter(|_| self.peek() == Some('.')) {
            self.at += 1;
            return Ok(ExprKind::Name(self.name_in(scope, start)?));
        }
        let after_word = self.at;
        self.skip_space();
        if FUNCTIONS.iter().any(|(name, _)| *name == word) {
            return self.function(word, start);
        }
        if self.peek() == Some('(') {
            return Err(self.source.error(start, unknown_function(word)));
        }
        self.at = after_word;
        Ok(ExprKind::Name(Name { scope: Scope::Event, name: word.to_owned(), at: start }))
    }

    /// What stands behind `as`.
    fn bound_name(&mut self) -> Result<Name, Error> {
        self.skip_space();
        let start = self.at;
        let word = self.word();
        if let Some(scope) = scope(word).filter(|_| self.peek() == Some('.')) {
            self.at += 1;
            return self.name_in(scope, start);
        }
        self.name(word, Scope::Event, start)
    }

    fn name_in(&mut self, scope: Scope, start: usize) -> Result<Name, Error> {
        let word = self.word();
        self.name(word, scope, start)
    }

    fn name(&self, word: &str, scope: Scope, start: usize) -> Result<Name, Error> {
        if !super::is_name(word) {
            let what = format!(
                "need a name of letters, digits and _, got {}: write id, request.id or user.id",
                self.found()
            );
            return Err(self.source.error(self.at, what));
        }
        if scope == Scope::Event && super::is_taken(word) {
            return Err(self.source.error(
                start,
                format!("need a name of your own, got {word}, which is a field: choose another"),
            ));
        }
        Ok(Name { scope, name: word.to_owned(), at: start })
    }

    fn quoted(&mut self) -> Result<String, Error> {
        let start = self.at;
        let quote = self.bump().expect("the caller saw a quote");
        let mut text = String::new();
        loop {
            match self.bump() {
                Some(c) if c == quote => return Ok(text),
                Some('\\') => match self.bump() {
                    Some(c @ ('\'' | '"' | '\\')) => text.push(c),
                    other => {
                        let got = other.map_or("the end".to_owned(), |c| format!("\\{c}"));
                        let at = self.at - other.map_or(0, char::len_utf8) - 1;
                        let what = format!("need \\', \\\" or \\\\, got {got}: write \\\\ for a backslash");
                        return Err(self.source.error(at, what));
                    }
                },
                Some(c) => text.push(c),
                None => {
                    let what = format!("need {quote} at the end of this text, got the end: add {quote}");
                    return Err(self.source.error(start, what));
                }
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let start = self.at;
        let found = self.word() == word;
        if !found {
            self.at = start;
        }
        found
    }

    /// Letters, digits and `_`, as many as there are.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// What stands here, for errors.
    fn found(&self) -> String {
        self.peek().map_or("the end".to_owned(), |c| format!("{c:?}"))
    }
}

fn scope(word: &str) -> Option<Scope> {
    match word {
        "request" => Some(Scope::Request),
        "user" => Some(Scope::User),
        _ => None,
    }
}

fn unknown_function(word: &str) -> String {
    let names = FUNCTIONS.map(|(name, _)| name);
    let hint = did_you_mean(word, names);
    format!("there is no field {word}(…){hint}: use one of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<Piece> {
        parse(&Source::new("t", text)).unwrap()
    }

    fn kind(text: &str) -> ExprKind {
        match parsed(text).swap_remove(0) {
            Piece::Field(field) => field.expr.kind,
            Piece::Text(range) => panic!("{text}: text {range:?}"),
        }
    }

    fn error(text: &str) -> String {
        let error = parse(&Source::new("t", text)).unwrap_err().to_string();
        error.lines().next().unwrap().strip_prefix("t, line 1, ").unwrap().to_owned()
    }

    #[test]
    fn text_without_fields_is_one_piece() {
        for text in ["a", "{", "}", "}}", "{ {", "{\"a\":{\"b\":{}}}", "é→"] {
            assert!(matches!(parsed(text).as_slice(), [Piece::Text(range)] if *range == (0..text.len())));
        }
        assert!(parsed("").is_empty());
    }

    #[test]
    fn space_inside_braces_is_free() {
        for text in ["{{uuid}}", "{{ uuid }}", "{{\n uuid\t}}"] {
            assert!(matches!(kind(text), ExprKind::Uuid), "{text}");
        }
        for text in ["{{int(1,5)}}", "{{ int ( 1 , 5 ) }}", "{{int(\n1,\n5\n)}}"] {
            assert!(matches!(kind(text), ExprKind::Int { min: 1, above: 4 }), "{text}");
        }
    }

    #[test]
    fn names_have_a_scope() {
        for (text, scope, name) in [
            ("{{uuid as id}}", Scope::Event, "id"),
            ("{{uuid as request.id}}", Scope::Request, "id"),
            ("{{ uuid as  user.a_1 }}", Scope::User, "a_1"),
            ("{{uuid as request.uuid}}", Scope::Request, "uuid"),
        ] {
            let pieces = parsed(text);
            let [Piece::Field(Field { bind: Some(bind), .. })] = pieces.as_slice() else { panic!("{text}") };
            assert_eq!((bind.scope, bind.name.as_str()), (scope, name));
        }
        assert!(matches!(kind("{{request.id}}"), ExprKind::Name(Name { scope: Scope::Request, .. })));
        assert!(matches!(kind("{{assets}}"), ExprKind::Name(_)));
    }

    #[test]
    fn quotes_are_escaped_with_a_backslash() {
        for (text, meant) in [
            ("{{'{{'}}", "{{"),
            ("{{'}}'}}", "}}"),
            (r#"{{"a'b"}}"#, "a'b"),
            (r#"{{'a\'b\\c\"d'}}"#, r#"a'b\c"d"#),
            ("{{''}}", ""),
        ] {
            assert!(matches!(kind(text), ExprKind::Quoted(quoted) if quoted == meant), "{text}");
        }
    }

    #[test]
    fn claims_of_a_token_end_with_their_own_brace() {
        let text = r#"{{jwt('s', {"a":{"b":"}}\"{"},"sub":"user_{{user(9)}}","iat":{{now(unix)}}})}}x"#;
        let pieces = parsed(text);
        let [Piece::Field(field), Piece::Text(_)] = pieces.as_slice() else { panic!("{pieces:?}") };
        let ExprKind::Token(_, claims) = &field.expr.kind else { panic!("{field:?}") };
        assert_eq!(claims.len(), 5);
    }

    #[test]
    fn errors_point_at_the_place_and_say_what_to_do() {
        for (text, says) in [
            ("a{{uuid", "column 2: need }} at the end of this field, got the end of the text: add }}"),
            ("{{uuid}", "column 7: need }}, got '}': close the field with }}"),
            ("{{}}", "column 3: need a field, got '}': write a field such as {{uuid}}"),
            ("{{uuid now}}", "column 8: need }}, got 'n': close the field with }}"),
            ("{{uid()}}", "column 3: there is no field uid(…), did you mean uuid?: use one of uuid, now,"),
            ("{{uuid as}}", "column 10: need a name of letters, digits and _, got '}'"),
            ("{{uuid as 1a}}", "column 13: need a name"),
            ("{{uuid as int}}", "column 11: need a name of your own, got int, which is a field"),
            ("{{uuid as user}}", "column 11: need a name of your own, got user, which is a field"),
            ("{{'a}}", "column 3: need ' at the end of this text, got the end: add '"),
            (r"{{'\n'}}", r#"column 4: need \', \" or \\, got \n"#),
        ] {
            assert!(error(text).starts_with(says), "{text}: {}", error(text));
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{{{{{}uuid{}}}}}", "url(".repeat(100_000), ")".repeat(100_000));
        assert!(error(&deep).contains("need at most 16 fields within each other"));
    }
}
