//! From a preset's file to a preset: everything in it that can be wrong by itself is found here.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::file::{File, FileEnvelope, FileType, text};
use super::{Envelope, Limits, Preset, PresetInfo, Type};
use crate::Error;
use crate::head::{self, Header};
use crate::source::Source;
use crate::template::values::{Literal, breaks_header};
use crate::template::{self, Language, Piece, Role, Template};

const METHOD: &str = "POST";
const CONTENT_TYPE: &str = "application/json";
const SEPARATOR: &str = ",";

impl Preset {
    /// The preset `name` from its file.
    pub(crate) fn parse(name: &str, source: &Source) -> Result<Self, Error> {
        let file = File::parse(source)?;
        let method = match &file.method {
            Some(method) => head::checked_method(method.get_ref()).map_err(at(source, method.span()))?,
            None => METHOD.to_owned(),
        };
        let path = parse_path(source, &file.path)?;
        let headers = file.headers.iter().map(|line| parse_header(source, line)).collect::<Result<_, _>>()?;
        let content_type = content_type(source, file.content_type.as_ref())?;
        let format = content_type.to_ascii_lowercase();
        let lines = ["ndjson", "jsonl"].iter().any(|lines| format.contains(lines));
        let language = |lines| match format.contains("json") {
            true => Language::Json { compact: true, lines },
            false => Language::Plain,
        };
        let envelope = |envelope: &FileEnvelope| {
            let separator = envelope.separator.as_deref().unwrap_or(SEPARATOR);
            parse_envelope(source, envelope, language(lines || is_line_break(separator)), separator)
        };
        let event = |body| Template::parse(text(source, body), language(lines), Role::Event);
        let types = parse_types(source, &file.types.0, language(false))?;
        let first_type = file.types.0.first().map_or(0, |(name, _)| name.span().start);
        let settings = parse_settings(source, &file.settings.0)?;
        let preset = Self {
            info: PresetInfo {
                name: name.to_owned(),
                about: file.about,
                method,
                path: String::new(),
                documentation: file.documentation,
                ok: file.ok.map(Spanned::into_inner),
                acknowledged: file.acknowledged,
                limits: Limits {
                    events: file.limits.events.map(Spanned::into_inner),
                    event_bytes: file.limits.event_bytes,
                    request_bytes: file.limits.request_bytes,
                },
                types: types.iter().map(|each| (each.name.clone(), each.weight)).collect(),
                settings: settings
                    .iter()
                    .map(|(name, literal)| (name.clone(), literal.text.clone()))
                    .collect(),
                note: file.note,
            },
            path,
            headers,
            settings: settings.into_iter().collect(),
            lists: parse_lists(source, &file.lists)?,
            single: file.single.as_ref().map(envelope).transpose()?,
            batch: file.batch.as_ref().map(envelope).transpose()?,
            event: file.event.as_ref().map(|each| event(&each.body)).transpose()?,
            types,
            content_type,
            source: source.clone(),
        };
        preset.complete(first_type)
    }

    /// What is missing is filled in where there is only one thing it can be, and an error where there is none. `first_type` is
    /// where the first type stands.
    fn complete(mut self, first_type: usize) -> Result<Self, Error> {
        if self.event.is_none() && !self.types.is_empty() {
            return Err(self
                .source
                .error(first_type, "need an [event] for the [types] to be part of: add it"));
        }
        if self.event.is_some() && self.single.is_none() && self.batch.is_none() {
            let event = Source::new(self.source.name(), "{{event}}");
            let language = self.event.as_ref().map_or(Language::Plain, |event| event.language);
            let body = Some(Template::parse(event, language, Role::Envelope)?);
            self.single = Some(Envelope { path: None, body, separator: SEPARATOR.to_owned() });
        }
        if let Some(Envelope { body, .. }) = &self.batch {
            let Some(body) = body else {
                return Err(self.source.error(0, "need a body in [batch]: add body = '[{{events}}]'"));
            };
            if !uses(body, "events") || uses(body, "event") || uses(body, "members") {
                let what = "need {{events}} in the body of [batch], and neither {{event}} nor {{members}}: write [{{events}}]";
                return Err(body.source.error(0, what));
            }
        }
        self.info.path = self.path_for(1).source.text().to_owned();
        Ok(self)
    }
}

/// Whether a template has the field `word`.
fn uses(template: &Template, word: &str) -> bool {
    let text = template.source.text();
    template
        .pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Field(field) if text[field.expr.span.clone()].trim() == word))
}

fn parse_envelope(
    source: &Source,
    envelope: &FileEnvelope,
    language: Language,
    separator: &str,
) -> Result<Envelope, Error> {
    Ok(Envelope {
        path: envelope.path.as_ref().map(|path| parse_path(source, path)).transpose()?,
        body: envelope
            .body
            .as_ref()
            .map(|body| Template::parse(text(source, body), language, Role::Envelope))
            .transpose()?,
        separator: separator.to_owned(),
    })
}

fn is_line_break(separator: &str) -> bool {
    separator.trim().is_empty() && separator.contains('\n')
}

fn parse_types(
    source: &Source,
    types: &[(Spanned<String>, FileType)],
    language: Language,
) -> Result<Vec<Type>, Error> {
    let parse = |(name, each): &(Spanned<String>, FileType)| {
        let weight = each.weight.as_ref().map_or(1.0, |weight| *weight.get_ref());
        if !(weight.is_finite() && weight > 0.0) {
            let at = each.weight.as_ref().map_or(0, |weight| weight.span().start);
            return Err(source.error(
                at,
                format!("need a weight above 0, got {weight}: leave the type out if it must not occur"),
            ));
        }
        let fields = match &each.fields {
            Some(fields) => text(source, fields),
            None => Source::new(source.name(), ""),
        };
        Ok(Type {
            name: name.get_ref().clone(),
            weight,
            fields: Template::parse(fields, language, Role::Fields)?,
        })
    };
    types.iter().map(parse).collect()
}

fn parse_settings(
    source: &Source,
    settings: &[(Spanned<String>, Spanned<toml::Value>)],
) -> Result<Vec<(String, Literal)>, Error> {
    let parse = |(name, value): &(Spanned<String>, Spanned<toml::Value>)| {
        check_name(source, name)?;
        Ok((name.get_ref().clone(), literal(value.get_ref()).map_err(wrong_value(source, value.span()))?))
    };
    settings.iter().map(parse).collect()
}

fn parse_lists(
    source: &Source,
    lists: &BTreeMap<Spanned<String>, Spanned<Vec<toml::Value>>>,
) -> Result<BTreeMap<String, Arc<[Literal]>>, Error> {
    let parse = |(name, values): (&Spanned<String>, &Spanned<Vec<toml::Value>>)| {
        check_name(source, name)?;
        if values.get_ref().is_empty() {
            return Err(source
                .error(values.span().start, "need something to choose from, got an empty list: fill it"));
        }
        let literals: Result<Arc<[Literal]>, String> = values.get_ref().iter().map(literal).collect();
        Ok((name.get_ref().clone(), literals.map_err(wrong_value(source, values.span()))?))
    };
    lists.iter().map(parse).collect()
}

fn check_name(source: &Source, name: &Spanned<String>) -> Result<(), Error> {
    if !template::is_name(name.get_ref()) {
        let what = format!("need a name of letters, digits and _, got {:?}: rename it", name.get_ref());
        return Err(source.error(name.span().start, what));
    }
    if template::is_taken(name.get_ref()) {
        let what = format!("need a name of your own, got {}, which is a field: rename it", name.get_ref());
        return Err(source.error(name.span().start, what));
    }
    Ok(())
}

/// Text, or JSON of anything else.
fn literal(value: &toml::Value) -> Result<Literal, String> {
    match value {
        toml::Value::String(text) => Ok(Literal::text(text)),
        other => Ok(Literal::raw(json(other)?.to_string())),
    }
}

fn json(value: &toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(*number).ok_or_else(|| number.to_string())?.into()
        }
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        toml::Value::Table(table) => {
            let members = table.iter().map(|(name, value)| Ok((name.clone(), json(value)?)));
            serde_json::Value::Object(members.collect::<Result<_, String>>()?)
        }
    })
}

fn wrong_value(source: &Source, span: Range<usize>) -> impl FnOnce(String) -> Error {
    move |found| {
        source.error(span.start, format!("need values that JSON has, got {found}: use another number"))
    }
}

/// Any error, shown at its place in the file.
fn at(source: &Source, span: Range<usize>) -> impl FnOnce(Error) -> Error {
    move |error| match error {
        Error::At(_) => error,
        other => source.error(span.start, other.to_string()),
    }
}

fn parse_path(source: &Source, path: &Spanned<String>) -> Result<Template, Error> {
    head::path(text(source, path)).map_err(at(source, path.span()))
}

fn parse_header(source: &Source, line: &Spanned<String>) -> Result<Header, Error> {
    Header::parse(&text(source, line)).map_err(at(source, line.span()))
}

fn content_type(source: &Source, given: Option<&Spanned<String>>) -> Result<String, Error> {
    let Some(given) = given else { return Ok(CONTENT_TYPE.to_owned()) };
    if given.get_ref().is_empty() || given.get_ref().chars().any(breaks_header) {
        let what =
            format!("need a content type such as application/json, got {:?}: correct it", given.get_ref());
        return Err(source.error(given.span().start, what));
    }
    Ok(given.get_ref().clone())
}
