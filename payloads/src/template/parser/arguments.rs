//! What stands between a field's brackets. Whatever is wrong there is told with how the field is called.

use payloads_fresh::TimeFormat;
use serde::de::IgnoredAny;

use super::{FUNCTIONS, Parser, push_text};
use crate::Error;
use crate::shares::positive;
use crate::template::values::Literal;
use crate::template::{Expr, ExprKind, Piece};

/// Most characters of one field.
const LENGTH_MAX: u64 = 1 << 20;

/// Most digits behind the point.
const DECIMALS_MAX: u64 = 9;

impl<'a> Parser<'a> {
    /// The function `name`, which began at `start`; what is behind its name and white space is next.
    pub(super) fn function(&mut self, name: &str, start: usize) -> Result<ExprKind, Error> {
        match name {
            "uuid" => return Ok(ExprKind::Uuid),
            "seq" => return Ok(ExprKind::Seq),
            "now" if self.peek() != Some('(') => return Ok(ExprKind::Now(TimeFormat::Iso)),
            _ => {}
        }
        self.open(name)?;
        let kind = match name {
            "now" => self.time_format()?,
            "int" => self.int(start)?,
            "float" => self.float(start)?,
            "choice" => self.choice()?,
            "weighted" => self.weighted()?,
            "pick" => ExprKind::Pick(self.quoted_argument("pick")?),
            "text" => ExprKind::Words(self.length("text")?),
            "hex" => ExprKind::Hex(self.length("hex")?),
            "user" => ExprKind::User(self.unsigned("user", 1, u64::MAX)?),
            "jwt" => self.token()?,
            "basic" => self.basic()?,
            _ => ExprKind::Url(Box::new(self.expr()?)),
        };
        self.close(name)?;
        Ok(kind)
    }

    fn open(&mut self, name: &str) -> Result<(), Error> {
        self.skip_space();
        if self.eat("(") { Ok(()) } else { Err(self.wrong(name, "(")) }
    }

    fn close(&mut self, name: &str) -> Result<(), Error> {
        self.skip_space();
        if self.eat(")") { Ok(()) } else { Err(self.wrong(name, ")")) }
    }

    fn comma(&mut self, name: &str) -> Result<(), Error> {
        self.skip_space();
        if self.eat(",") { Ok(()) } else { Err(self.wrong(name, ",")) }
    }

    /// Something else than `wanted` stands here.
    fn wrong(&self, name: &str, wanted: &str) -> Error {
        self.wrong_at(self.at, name, wanted, &self.found())
    }

    fn wrong_at(&self, at: usize, name: &str, wanted: &str, found: &str) -> Error {
        let usage = FUNCTIONS.iter().find(|(known, _)| *known == name).map_or(name, |(_, usage)| usage);
        self.source.error(at, format!("need {wanted}, got {found}: write {usage}"))
    }

    fn time_format(&mut self) -> Result<ExprKind, Error> {
        self.skip_space();
        let start = self.at;
        let word = self.word();
        match TimeFormat::ALL.iter().find(|(name, _)| *name == word) {
            Some((_, format)) => Ok(ExprKind::Now(*format)),
            None => {
                let found = if word.is_empty() { self.found() } else { word.to_owned() };
                Err(self.wrong_at(start, "now", "a format", &found))
            }
        }
    }

    fn int(&mut self, start: usize) -> Result<ExprKind, Error> {
        let min: i64 = self.whole("int")?;
        self.comma("int")?;
        let max: i64 = self.whole("int")?;
        if min > max {
            let what = format!("need int(a,b) with a <= b, got int({min},{max}): write int({max},{min})");
            return Err(self.source.error(start, what));
        }
        Ok(ExprKind::Int { min, above: max.abs_diff(min) })
    }

    fn float(&mut self, start: usize) -> Result<ExprKind, Error> {
        self.skip_space();
        let min_at = self.at;
        let min = self.number_token();
        self.comma("float")?;
        self.skip_space();
        let max_at = self.at;
        let max = self.number_token();
        self.comma("float")?;
        let decimals = self.unsigned("float", 0, DECIMALS_MAX)? as u8;
        let units = |text: &str, at| {
            scaled_up(text, decimals).ok_or_else(|| {
                let found = if text.is_empty() { "something else".to_owned() } else { format!("{text:?}") };
                self.wrong_at(at, "float", "a decimal number that fits in 64 bits", &found)
            })
        };
        let (first, end) = (units(min, min_at)?, units(max, max_at)?);
        if first >= end {
            let what = format!(
                "need float(a,b,decimals) with a number of {decimals} decimals from a to below b, got float({min},{max},{decimals}): raise b or the decimals"
            );
            return Err(self.source.error(start, what));
        }
        Ok(ExprKind::Decimal { min: first, above: first.abs_diff(end) - 1, decimals })
    }

    fn choice(&mut self) -> Result<ExprKind, Error> {
        self.skip_space();
        let start = self.at;
        let word = self.word();
        if !word.is_empty() && !matches!(word, "true" | "false" | "null") && crate::template::is_name(word) {
            return Ok(ExprKind::ChoiceOf(word.to_owned()));
        }
        self.at = start;
        let mut of = vec![self.literal("choice")?];
        while self.more() {
            of.push(self.literal("choice")?);
        }
        Ok(ExprKind::Choice(of))
    }

    fn weighted(&mut self) -> Result<ExprKind, Error> {
        let mut of = vec![self.weighted_literal()?];
        while self.more() {
            of.push(self.weighted_literal()?);
        }
        Ok(ExprKind::Weighted(of))
    }

    fn weighted_literal(&mut self) -> Result<(Literal, f64), Error> {
        let literal = self.literal("weighted")?;
        self.skip_space();
        if !self.eat(":") {
            return Err(self.wrong("weighted", ": and a weight"));
        }
        self.skip_space();
        let at = self.at;
        let digits = self.number_token();
        match positive(digits) {
            Some(weight) => Ok((literal, weight)),
            None => {
                let found = if digits.is_empty() { self.found() } else { digits.to_owned() };
                Err(self.wrong_at(at, "weighted", "a weight above 0", &found))
            }
        }
    }

    /// Whether a comma says that another argument follows.
    fn more(&mut self) -> bool {
        self.skip_space();
        self.eat(",")
    }

    /// Quoted text, or JSON that is no string.
    fn literal(&mut self, name: &str) -> Result<Literal, Error> {
        self.skip_space();
        if matches!(self.peek(), Some('\'' | '"')) {
            return Ok(Literal::text(self.quoted()?));
        }
        let start = self.at;
        let is_json = if matches!(self.peek(), Some('[' | '{')) {
            let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<IgnoredAny>();
            let is_json = values.next().is_some_and(|value| value.is_ok());
            self.at += values.byte_offset();
            is_json
        } else {
            let rest = self.rest();
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
            self.at += end.unwrap_or(rest.len());
            serde_json::from_str::<IgnoredAny>(&self.text[start..self.at]).is_ok()
        };
        if is_json {
            return Ok(Literal::raw(crate::template::json::compacted(&self.text[start..self.at])));
        }
        self.at = start;
        Err(self.wrong(name, "a quoted text, a number, true, false, null, an array or an object"))
    }

    fn quoted_argument(&mut self, name: &str) -> Result<String, Error> {
        self.skip_space();
        if matches!(self.peek(), Some('\'' | '"')) {
            self.quoted()
        } else {
            Err(self.wrong(name, "a quoted text"))
        }
    }

    fn length(&mut self, name: &str) -> Result<usize, Error> {
        Ok(self.unsigned(name, 1, LENGTH_MAX)? as usize)
    }

    fn token(&mut self) -> Result<ExprKind, Error> {
        let secret = self.text_or_name("jwt")?;
        self.comma("jwt")?;
        self.skip_space();
        if self.peek() != Some('{') {
            return Err(self.wrong("jwt", "claims in { }"));
        }
        Ok(ExprKind::Token(Box::new(secret), self.claims()?))
    }

    /// A JSON object up to its closing brace, with fields in it.
    fn claims(&mut self) -> Result<Vec<Piece>, Error> {
        let object = self.at;
        let mut pieces = Vec::new();
        let mut text_start = self.at;
        let mut depth = 0_usize;
        let mut in_string = false;
        loop {
            // The object's own brace may stand right before a field's.
            if self.at > object && self.rest().starts_with("{{") {
                push_text(&mut pieces, text_start..self.at);
                pieces.push(Piece::Field(self.field()?));
                text_start = self.at;
                continue;
            }
            match self.bump() {
                Some('"') => in_string = !in_string,
                Some('\\') if in_string => drop(self.bump()),
                Some('{') if !in_string => depth += 1,
                Some('}') if !in_string => depth -= 1,
                Some(_) => {}
                None => return Err(self.wrong_at(object, "jwt", "} at the end of the claims", "the end")),
            }
            if depth == 0 {
                push_text(&mut pieces, text_start..self.at);
                return Ok(pieces);
            }
        }
    }

    fn basic(&mut self) -> Result<ExprKind, Error> {
        let user = self.text_or_name("basic")?;
        self.comma("basic")?;
        let password = self.text_or_name("basic")?;
        Ok(ExprKind::Basic(Box::new(user), Box::new(password)))
    }

    fn text_or_name(&mut self, function: &str) -> Result<Expr, Error> {
        self.skip_space();
        let start = self.at;
        if !self.peek().is_some_and(|c| c.is_ascii_alphabetic() || "_'\"".contains(c)) {
            return Err(self.wrong(function, "a quoted text or a name"));
        }
        let expr = self.expr()?;
        match expr.kind {
            ExprKind::Quoted(_) | ExprKind::Name(_) => Ok(expr),
            _ => {
                let found = self.text[expr.span].to_owned();
                Err(self.wrong_at(start, function, "a quoted text or a name", &found))
            }
        }
    }

    fn whole(&mut self, name: &str) -> Result<i64, Error> {
        self.skip_space();
        let at = self.at;
        let digits = self.number_token();
        digits.parse().map_err(|_| self.wrong_number(at, name, "a whole number that fits in 64 bits", digits))
    }

    fn unsigned(&mut self, name: &str, min: u64, max: u64) -> Result<u64, Error> {
        self.skip_space();
        let at = self.at;
        let digits = self.number_token();
        match digits.parse() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(self.wrong_number(at, name, &format!("a whole number from {min} to {max}"), digits)),
        }
    }

    fn wrong_number(&self, at: usize, name: &str, wanted: &str, digits: &str) -> Error {
        let found = if digits.is_empty() { self.found() } else { digits.to_owned() };
        self.wrong_at(at, name, wanted, &found)
    }

    /// Digits, points and a sign, as many as there are.
    fn number_token(&mut self) -> &'a str {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let length =
            rest[sign..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len() - sign);
        let start = self.at;
        self.at += sign + length;
        &self.text[start..self.at]
    }
}

/// A decimal number in units of its `decimals`th decimal, rounded up: the first such number that is not below it.
fn scaled_up(text: &str, decimals: u8) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_whole = !digits.contains('.');
    if !is_number(whole) || !(is_whole || is_number(fraction)) {
        return None;
    }
    let (kept, cut) = fraction.split_at(fraction.len().min(decimals.into()));
    let scale = 10_i128.checked_pow(u32::from(decimals) - kept.len() as u32)?;
    let mut units = format!("{whole}{kept}").parse::<i128>().ok()?.checked_mul(scale)?;
    let is_cut = cut.bytes().any(|byte| byte != b'0');
    if negative {
        units = -units;
    } else if is_cut {
        units += 1;
    }
    // Room for the sign and the scale whatever is drawn.
    i64::try_from(units).ok().filter(|units| units.unsigned_abs() <= i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::template::parser::parse;

    fn kind(text: &str) -> ExprKind {
        let text = format!("{{{{{text}}}}}");
        match parse(&Source::new("t", &text)).unwrap().swap_remove(0) {
            Piece::Field(field) => field.expr.kind,
            Piece::Text(_) => panic!("{text}"),
        }
    }

    fn error(text: &str) -> String {
        let error = parse(&Source::new("t", &format!("{{{{{text}}}}}"))).unwrap_err().to_string();
        error.lines().next().unwrap().strip_prefix("t, line 1, ").unwrap().to_owned()
    }

    #[test]
    fn decimals_are_scaled_to_the_first_number_not_below() {
        for (text, decimals, units) in [
            ("1", 2, Some(100)),
            ("1.5", 2, Some(150)),
            ("1.001", 2, Some(101)),
            ("1.000", 2, Some(100)),
            ("-1.001", 2, Some(-100)),
            ("-0.5", 0, Some(0)),
            ("0.5", 0, Some(1)),
            ("9223372036854775807", 0, Some(i64::MAX)),
            ("9223372036854775808", 0, None),
            ("1e5", 2, None),
            ("1.", 2, None),
            (".5", 2, None),
            ("", 2, None),
            ("-", 2, None),
            ("1.5.5", 2, None),
            ("99999999999999999999999999999999999999999999", 9, None),
        ] {
            assert_eq!(scaled_up(text, decimals), units, "{text}");
        }
    }

    #[test]
    fn arguments_are_read_as_they_are_meant() {
        assert!(matches!(kind("int(-5,-5)"), ExprKind::Int { min: -5, above: 0 }));
        assert!(matches!(
            kind("int(-9223372036854775808,9223372036854775807)"),
            ExprKind::Int { min: i64::MIN, above: u64::MAX }
        ));
        assert!(matches!(
            kind("float(1,1000,2)"),
            ExprKind::Decimal { min: 100, above: 99_899, decimals: 2 }
        ));
        assert!(matches!(kind("now(unix_ms)"), ExprKind::Now(TimeFormat::UnixMs)));
        assert!(matches!(kind("choice(list)"), ExprKind::ChoiceOf(list) if list == "list"));
        assert!(matches!(kind("pick('a/b.txt')"), ExprKind::Pick(file) if file == "a/b.txt"));
        assert!(matches!(kind("url(choice('a'))"), ExprKind::Url(_)));
    }

    #[test]
    fn literals_are_text_or_json() {
        let ExprKind::Choice(of) =
            kind(r#"choice('a', "b", 1.5e3, -2, true, null, [1, "x y"], {"k": "}}"})"#)
        else {
            panic!();
        };
        let shown: Vec<_> = of.iter().map(|literal| (literal.text.as_str(), literal.raw)).collect();
        let raw = ["1.5e3", "-2", "true", "null", "[1,\"x y\"]", "{\"k\":\"}}\"}"].map(|text| (text, true));
        assert_eq!(shown[..2], [("a", false), ("b", false)]);
        assert_eq!(shown[2..], raw);
        let ExprKind::Weighted(of) = kind("weighted('a':70, 1 : 0.5, [1]:2)") else { panic!() };
        assert_eq!(of.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [70.0, 0.5, 2.0]);
    }

    #[test]
    fn wrong_arguments_are_told_how_the_field_is_called() {
        for (text, says) in [
            ("int", "column 6: need (, got '}': write int(a,b), whole numbers with a <= b"),
            ("int(5,1)", "column 3: need int(a,b) with a <= b, got int(5,1): write int(1,5)"),
            ("int(5)", "column 8: need ,, got ')'"),
            ("int('a',5)", "column 7: need a whole number that fits in 64 bits, got '\\''"),
            ("int(1.5,5)", "column 7: need a whole number that fits in 64 bits, got 1.5"),
            ("int(1,9223372036854775808)", "column 9: need a whole number that fits in 64 bits"),
            ("float(1,2)", "column 12: need ,, got ')'"),
            ("float(1,2,10)", "column 13: need a whole number from 0 to 9, got 10"),
            ("float(2,1,2)", "column 3: need float(a,b,decimals) with"),
            ("float(0.1,0.9,0)", "column 3: need float(a,b,decimals) with"),
            ("float(x,1,2)", "column 9: need a decimal number that fits in 64 bits, got \"x\""),
            ("now(rfc)", "column 7: need a format, got rfc: write now or now(iso)"),
            ("choice()", "column 10: need a quoted text, a number"),
            ("choice('a',)", "column 14: need a quoted text, a number"),
            ("choice('a' 'b')", "column 14: need ), got '\\''"),
            ("choice([1,)", "column 10: need a quoted text, a number"),
            ("weighted('a')", "column 15: need : and a weight, got ')': write weighted('a':70,'b':5)"),
            ("weighted('a':0)", "column 16: need a weight above 0, got 0"),
            ("weighted('a':-1)", "column 16: need a weight above 0, got -1"),
            ("text(0)", "column 8: need a whole number from 1 to 1048576, got 0"),
            ("hex(1048577)", "column 7: need a whole number from 1 to 1048576"),
            ("user(0)", "column 8: need a whole number from 1"),
            ("pick(file)", "column 8: need a quoted text, got 'f': write pick('file')"),
            ("jwt({})", "column 7: need a quoted text or a name, got '{'"),
            ("jwt('s')", "column 10: need ,, got ')'"),
            ("jwt('s',1)", "column 11: need claims in { }, got '1'"),
            ("jwt('s',{\"a\":{\"b\":{", "column 11: need } at the end of the claims, got the end"),
            ("basic('a',uuid)", "column 13: need a quoted text or a name, got uuid"),
            ("uuid()", "column 7: need }}, got '('"),
        ] {
            assert!(error(text).starts_with(says), "{text}: {}", error(text));
        }
    }
}
