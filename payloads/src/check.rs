//! Checks a file without sending anything.

use crate::body::{NAME_IT_JSON, field_hint, json_lines, json_template, shape};
use crate::error::thousands;
use crate::head::{self, Head};
use crate::preset::{Preset, stem};
use crate::requests::{Requests, Wish};
use crate::source::Source;
use crate::tape::{Kind, Tape};
use crate::template::render::{Renderer, Shape, Stream};
use crate::{Error, Extent, FileKind, Files, Mix, files};

/// Requests that averages are taken over.
const SAMPLE: usize = 256;

const SEED: u64 = 1;

/// 2026-01-01T00:00:00Z. Which moment it is changes no length.
const NOW_UNIX_NS: u64 = 1_767_225_600_000_000_000;

/// Events of the batches that are tried.
const BATCH: u32 = 10;

/// Most bytes of a sample.
const BYTES: usize = files::BYTES_MAX;

/// Checks a file by its name: `.toml` a preset, `.json` a template, `.jsonl` bodies, anything else a body as it is. `Ok` is a line
/// on what it is.
pub fn check(name: &str, content: &[u8], files: &dyn Files) -> Result<String, Error> {
    files::check_size(name, content)?;
    let source = || Source::from_utf8(name, content);
    match FileKind::of(name) {
        FileKind::Preset => check_preset(&source()?, files),
        FileKind::Json => check_template(source()?, files),
        FileKind::Lines => check_lines(&source()?),
        FileKind::Raw => Ok(raw(content)),
    }
}

fn raw(content: &[u8]) -> String {
    let hint = field_hint("it", content, NAME_IT_JSON).map_or(String::new(), |hint| format!("; {hint}"));
    let bytes = content.len() as u64;
    let plural = if bytes == 1 { "" } else { "s" };
    format!("a body of {} byte{plural}, sent as it is{hint}", thousands(bytes))
}

fn check_preset(source: &Source, files: &dyn Files) -> Result<String, Error> {
    let parse = || Preset::parse(&stem(source.name()), source);
    let preset = parse()?;
    let mut sizes = vec![1];
    if preset.takes_batches() {
        sizes.push(preset.info.limits.events.unwrap_or(BATCH).clamp(1, BATCH));
    }
    for events in sizes {
        let wish = Wish { mix: Some(&Mix::of(events)), ..Wish::default() };
        let extent = Extent { requests: SAMPLE, bytes: BYTES, bytes_max: BYTES };
        Requests::of_preset(parse()?, &wish, files)?.serialize("localhost", extent, SEED, NOW_UNIX_NS)?;
    }
    let head = Head::new(&preset.info.method, preset.headers(), Vec::new())?;
    let shape = preset.shape(&head, None, 1, None, files)?;
    let sample = Sample::of(&shape);
    let types = match preset.types() {
        0 => String::new(),
        1 => ", 1 type".to_owned(),
        types => format!(", {types} types"),
    };
    // Without an event of its own, the whole body is it.
    let (bytes, events) = if sample.events == 0 {
        (sample.body_bytes, sample.requests)
    } else {
        (sample.event_bytes, sample.events)
    };
    Ok(format!("preset{types}, {} B an event on average", mean(bytes, events)))
}

fn check_lines(source: &Source) -> Result<String, Error> {
    let lines = json_lines(source)?;
    let bytes: usize = lines.iter().map(Vec::len).sum();
    let plural = if lines.len() == 1 { "" } else { "s" };
    let (count, bytes) = (lines.len() as u64, bytes as u64);
    Ok(format!("{} line{plural}, {} B on average", thousands(count), mean(bytes, count)))
}

fn check_template(source: Source, files: &dyn Files) -> Result<String, Error> {
    let template = json_template(source)?;
    let head = Head::new("POST", &[], Vec::new())?;
    let shape = shape(&head, &head::path(Source::new("--path", "/"))?, Some(&template), None, None, files)?;
    let sample = Sample::of(&shape);
    let fields = template.fields().len();
    let plural = if fields == 1 { "" } else { "s" };
    let (fresh, mean) = (sample.fresh, mean(sample.body_bytes, sample.requests));
    Ok(format!("template with {fields} field{plural}, {fresh} fresh, {mean} B on average"))
}

/// What requests of one shape come to.
struct Sample {
    requests: u64,
    body_bytes: u64,
    /// Fresh fields of the first of them.
    fresh: usize,
    events: u64,
    event_bytes: u64,
}

impl Sample {
    fn of(shape: &Shape) -> Self {
        let mut tape = Tape::new(None, SAMPLE, BYTES, BYTES);
        let mut renderer = Renderer::new(shape);
        let mut stream = Stream::new(SEED, NOW_UNIX_NS, "localhost");
        let mut body_bytes = 0;
        while tape.requests() < SAMPLE && tape.bytes() < BYTES {
            let kind = Kind { class: 0, events: shape.events };
            body_bytes += tape.push(&mut renderer, &mut stream, None, kind) as u64;
        }
        let requests = tape.requests() as u64;
        let fresh = tape.finish(Vec::new()).places_of(0).len();
        let (events, event_bytes) = (renderer.events, renderer.event_bytes);
        Self { requests, body_bytes, fresh, events, event_bytes }
    }
}

fn mean(bytes: u64, of: u64) -> String {
    thousands(bytes / of)
}
