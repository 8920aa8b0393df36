//! Presets: requests as one well-known API takes them, described in a TOML file.

mod embedded;
mod file;
mod parse;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::head::Header;
use crate::nearest::did_you_mean;
use crate::source::Source;
use crate::template::values::Literal;
use crate::template::{self, Template};
use crate::{Error, FileKind, Files, Shares, files};
use embedded::EMBEDDED;

/// What a preset is, for lists and help.
#[derive(Debug, Clone, PartialEq)]
pub struct PresetInfo {
    /// What `--preset` calls it.
    pub name: String,
    /// What it sends, in a line.
    pub about: String,
    /// The method such an API takes.
    pub method: String,
    /// The path such an API listens on for single events, as a template.
    pub path: String,
    /// What it was checked against.
    pub documentation: Vec<String>,
    /// The statuses that count as ok, as `--expect` takes them.
    pub ok: Option<String>,
    /// The key of the number in an ok answer's JSON that says how many events were taken.
    pub acknowledged: Option<String>,
    /// What such an API takes at most.
    pub limits: Limits,
    /// Its types of events with their weights, in its own order.
    pub types: Vec<(String, f64)>,
    /// The words that `--set NAME=VALUE` replaces, with their values.
    pub settings: Vec<(String, String)>,
    /// What a user should know besides.
    pub note: Option<String>,
}

/// What an API takes at most; what it does not say is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Events a request.
    pub events: Option<u32>,
    /// Bytes of an event.
    pub event_bytes: Option<usize>,
    /// Bytes of a body, before it is compressed.
    pub request_bytes: Option<usize>,
}

/// The embedded presets: `events` first, then by name.
pub fn presets() -> Vec<PresetInfo> {
    let mut presets: Vec<_> = EMBEDDED.iter().map(|(name, _)| embedded(name).info).collect();
    presets.sort_by(|a, b| (a.name != "events", &a.name).cmp(&(b.name != "events", &b.name)));
    presets
}

/// A preset's file, parsed.
#[derive(Debug)]
pub(crate) struct Preset {
    pub(crate) info: PresetInfo,
    /// Everything in the file.
    source: Source,
    path: Template,
    headers: Vec<Header>,
    content_type: String,
    settings: BTreeMap<String, Literal>,
    lists: BTreeMap<String, Arc<[Literal]>>,
    single: Option<Envelope>,
    batch: Option<Envelope>,
    event: Option<Template>,
    types: Vec<Type>,
}

/// What is around events.
#[derive(Debug)]
struct Envelope {
    path: Option<Template>,
    body: Option<Template>,
    separator: String,
}

/// A type of events.
#[derive(Debug)]
struct Type {
    name: String,
    weight: f64,
    fields: Template,
}

impl Preset {
    /// By its name, or by its file's path, which ends in `.toml` or has a slash in it.
    pub(crate) fn find(name: &str, files: &dyn Files) -> Result<Self, Error> {
        if name.contains('/') || FileKind::of(name) == FileKind::Preset {
            return Self::parse(&stem(name), &files::read_text(files, name)?);
        }
        if EMBEDDED.iter().any(|(known, _)| *known == name) {
            return Ok(embedded(name));
        }
        let known = presets().into_iter().map(|preset| preset.name).collect::<Vec<_>>();
        Err(Error::UnknownPreset {
            name: name.to_owned(),
            hint: did_you_mean(name, known.iter().map(String::as_str)),
            known: known.join(", "),
        })
    }

    /// Replaces settings by `(name, value)`.
    pub(crate) fn set(&mut self, settings: &[(String, String)]) -> Result<(), Error> {
        for (name, value) in settings {
            let Some(setting) = self.settings.get_mut(name) else { return Err(self.unknown_setting(name)) };
            *setting = replaced(setting, value);
        }
        Ok(())
    }

    fn unknown_setting(&self, name: &str) -> Error {
        let known: Vec<&str> = self.info.settings.iter().map(|(name, _)| name.as_str()).collect();
        Error::UnknownSetting {
            preset: self.info.name.clone(),
            name: name.to_owned(),
            hint: did_you_mean(name, known.iter().copied()),
            known: use_one_of(&known, "it has no settings, leave --set out"),
        }
    }

    /// Takes the shares of types from `shares`: types that are not in there do not occur.
    pub(crate) fn weigh(&mut self, shares: &Shares) -> Result<(), Error> {
        for (name, _) in shares.types() {
            if !self.types.iter().any(|each| each.name == *name) {
                return Err(self.unknown_type(name));
            }
        }
        let weight =
            |name: &str| shares.types().iter().find(|(other, _)| other == name).map(|(_, weight)| *weight);
        self.types.retain_mut(|each| {
            let weight = weight(&each.name);
            each.weight = weight.unwrap_or(0.0);
            weight.is_some()
        });
        Ok(())
    }

    fn unknown_type(&self, name: &str) -> Error {
        let known: Vec<&str> = self.types.iter().map(|each| each.name.as_str()).collect();
        Error::UnknownType {
            preset: self.info.name.clone(),
            name: name.to_owned(),
            hint: did_you_mean(name, known.iter().copied()),
            known: use_one_of(&known, "it has no types, leave --events out"),
        }
    }

    /// How many types there are.
    pub(crate) fn types(&self) -> usize {
        self.types.len()
    }

    /// It takes more than one event a request.
    pub(crate) fn takes_batches(&self) -> bool {
        self.batch.is_some()
    }

    /// Headers of its own.
    pub(crate) fn headers(&self) -> &[Header] {
        &self.headers
    }
}

/// A preset of that name, which is one of them.
fn embedded(name: &str) -> Preset {
    let (_, content) = EMBEDDED.iter().find(|(known, _)| *known == name).expect("the caller saw it");
    let parsed = Preset::parse(name, &Source::new(&format!("{name}.toml"), content));
    parsed.unwrap_or_else(|error| panic!("a test parses every embedded preset: {error}"))
}

/// The name of a file without folder and ending.
pub(crate) fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match FileKind::of(name) {
        FileKind::Preset => name[..name.len() - ".toml".len()].to_owned(),
        _ => name.to_owned(),
    }
}

/// What replaces a setting is JSON like it, or else text. Line breaks in JSON would break a body of lines apart.
fn replaced(setting: &Literal, value: &str) -> Literal {
    let is_json = serde_json::from_str::<serde_json::Value>(value).is_ok_and(|value| !value.is_string());
    if setting.raw && is_json { Literal::raw(template::compacted(value)) } else { Literal::text(value) }
}

fn use_one_of(known: &[&str], none: &str) -> String {
    if known.is_empty() { none.to_owned() } else { format!("use one of {}", known.join(", ")) }
}
