//! Requests of the user's own: no body, one, one a line, or one a file.

use payloads_fresh::Rng;
use serde_json::Value;

use crate::encoding::Encoding;
use crate::head::Head;
use crate::source::Source;
use crate::tape::{Kind, Tape};
use crate::template::compile::{Compiler, Environment};
use crate::template::names::Names;
use crate::template::render::{Renderer, Shape, Stream};
use crate::template::{Language, Role, Template};
use crate::{Error, Extent, FileKind, Files, Serialized, files, template};

const JSON: &str = "application/json";

/// How a file's fields are filled in.
pub(crate) const NAME_IT_JSON: &str = "name it .json to have it filled in";

/// What a file's name says about its content.
const CONTENT_TYPES: [(&str, &str); 16] = [
    ("json", JSON),
    ("jsonl", JSON),
    ("ndjson", "application/x-ndjson"),
    ("xml", "application/xml"),
    ("txt", "text/plain"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("css", "text/css"),
    ("js", "text/javascript"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("svg", "image/svg+xml"),
    ("pdf", "application/pdf"),
];

/// The bodies of requests of the user's own.
#[derive(Debug)]
pub(crate) struct Bodies {
    /// Empty when there is no body at all.
    bodies: Vec<Body>,
    hint: Option<String>,
}

#[derive(Debug)]
struct Body {
    content: Content,
    content_type: Option<&'static str>,
}

#[derive(Debug)]
enum Content {
    Raw(Vec<u8>),
    Template(Box<Template>),
}

/// Requests that can be sent.
#[derive(Debug)]
pub(crate) struct Own {
    shapes: Vec<Shape>,
    /// Sent in turn.
    cycle: Vec<Request>,
    shuffle: bool,
    class: String,
    encoding: Option<Encoding>,
    /// What the user most likely did not mean, and the next step.
    pub(crate) hint: Option<String>,
}

#[derive(Debug)]
struct Request {
    shape: usize,
    /// The body unless the shape has one.
    raw: Option<Vec<u8>>,
}

impl Bodies {
    /// No body.
    pub(crate) fn none() -> Self {
        Self { bodies: Vec::new(), hint: None }
    }

    /// Text as it was typed, or `@FILE`.
    pub(crate) fn typed(text: &str, files: &dyn Files) -> Result<Self, Error> {
        let (mut bodies, hint) = match text.strip_prefix('@') {
            Some(path) => {
                let content = files::read(files, path)?;
                let hint = hint_of_file(path, &content);
                (of_file(path, content)?, hint)
            }
            None => {
                let next = "put it into a .json file and give --body @FILE";
                let hint = field_hint("the body", text.as_bytes(), next);
                (vec![Body { content: Content::Raw(text.into()), content_type: None }], hint)
            }
        };
        for body in &mut bodies {
            body.content_type = body.content_type.or(body.looks_like());
        }
        Ok(Self { bodies, hint })
    }

    /// The files of a folder, in the order of their names.
    pub(crate) fn folder(folder: &str, files: &dyn Files) -> Result<Self, Error> {
        let (mut bodies, mut hint) = (Vec::new(), None);
        for path in files::list(files, folder)? {
            let content = files::read(files, &path)?;
            hint = hint.or_else(|| hint_of_file(&path, &content));
            bodies.extend(of_file(&path, content)?);
        }
        Ok(Self { bodies, hint })
    }

    /// Whether there is none.
    pub(crate) fn is_none(&self) -> bool {
        self.bodies.is_empty()
    }

    /// Requests with these bodies.
    pub(crate) fn compile(
        self,
        head: &Head,
        path: &Template,
        shuffle: bool,
        encoding: Option<Encoding>,
        files: &dyn Files,
    ) -> Result<Own, Error> {
        let mut own = Own {
            shapes: Vec::new(),
            cycle: Vec::new(),
            shuffle,
            class: format!("{} {}", head.method(), path.source.text()),
            encoding,
            hint: self.hint.clone(),
        };
        let shape = |body: Option<&Template>, content_type, encoding| {
            shape(head, path, body, content_type, encoding, files)
        };
        if self.is_none() {
            own.shapes.push(shape(None, None, None)?);
            own.cycle.push(Request { shape: 0, raw: None });
        }
        // Bodies that are sent as they are share a shape with all others of their content type.
        let mut raw_shapes: Vec<(Option<&str>, usize)> = Vec::new();
        for body in self.bodies {
            let known = raw_shapes.iter().find(|(content_type, _)| *content_type == body.content_type);
            let request = match (body.content, known) {
                (Content::Raw(raw), Some((_, shape))) => Request { shape: *shape, raw: Some(raw) },
                (Content::Raw(raw), None) => {
                    raw_shapes.push((body.content_type, own.shapes.len()));
                    own.shapes.push(shape(None, body.content_type, encoding)?);
                    Request { shape: own.shapes.len() - 1, raw: Some(raw) }
                }
                (Content::Template(template), _) => {
                    own.shapes.push(shape(Some(&template), body.content_type, encoding)?);
                    Request { shape: own.shapes.len() - 1, raw: None }
                }
            };
            own.cycle.push(request);
        }
        Ok(own)
    }
}

impl Body {
    /// What begins like a JSON object or array is called so, because most servers would not look at it otherwise.
    fn looks_like(&self) -> Option<&'static str> {
        let Content::Raw(bytes) = &self.content else { return Some(JSON) };
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        first.is_some_and(|byte| b"{[".contains(byte)).then_some(JSON)
    }
}

fn of_file(path: &str, content: Vec<u8>) -> Result<Vec<Body>, Error> {
    let extension = files::extension(path);
    let content_type =
        CONTENT_TYPES.iter().find(|(known, _)| *known == extension).map(|(_, content_type)| *content_type);
    let contents = match FileKind::of(path) {
        FileKind::Json => {
            vec![Content::Template(Box::new(json_template(Source::from_utf8(path, &content)?)?))]
        }
        FileKind::Lines => {
            json_lines(&Source::from_utf8(path, &content)?)?.into_iter().map(Content::Raw).collect()
        }
        FileKind::Preset | FileKind::Raw => vec![Content::Raw(content)],
    };
    Ok(contents.into_iter().map(|content| Body { content, content_type }).collect())
}

/// Says that a file holds a field which nobody fills in there, if it does.
fn hint_of_file(path: &str, content: &[u8]) -> Option<String> {
    match FileKind::of(path) {
        FileKind::Json => None,
        FileKind::Lines => {
            field_hint(path, content, "put each line into a .json file of its own and give --body-dir FOLDER")
        }
        FileKind::Preset | FileKind::Raw => field_hint(path, content, NAME_IT_JSON),
    }
}

/// `whose` body holds a field: what to do to have it filled in.
pub(crate) fn field_hint(whose: &str, content: &[u8], next: &str) -> Option<String> {
    let field = template::field_in(content)?;
    Some(format!("{whose} holds {field}, which is sent as it is: {next}"))
}

/// What a `.json` file is.
pub(crate) fn json_template(source: Source) -> Result<Template, Error> {
    Template::parse(source, Language::Json { compact: false, lines: false }, Role::Request)
}

/// The lines of a file, each of them JSON. Blank lines and line ends (LF or CRLF) are no part of it.
pub(crate) fn json_lines(source: &Source) -> Result<Vec<Vec<u8>>, Error> {
    let mut lines = Vec::new();
    for (index, line) in source.text().lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        // As a value, because half a surrogate pair and numbers beyond any reader show only then.
        serde_json::from_str::<Value>(line).map_err(|error| Error::JsonLine {
            path: source.name().to_owned(),
            line: index + 1,
            reason: format!("{} in column {}", template::json_reason(&error), error.column().max(1)),
        })?;
        lines.push(line.as_bytes().to_vec());
    }
    if lines.is_empty() {
        return Err(Error::NoLines(source.name().to_owned()));
    }
    Ok(lines)
}

/// A request that is its own event.
pub(crate) fn shape(
    head: &Head,
    path: &Template,
    body: Option<&Template>,
    content_type: Option<&str>,
    encoding: Option<Encoding>,
    files: &dyn Files,
) -> Result<Shape, Error> {
    let (settings, lists) = Default::default();
    let environment = Environment::new(&settings, &lists, &[], "", files);
    let templates: Vec<&Template> = [path].into_iter().chain(head.templates()).chain(body).collect();
    let names = Names::collect(&templates, &[], &templates, false)?;
    let mut compiler = Compiler::new(&environment, &names);
    let program = head.compile(&mut compiler, path, content_type, encoding)?;
    let body = body.map(|body| compiler.compile(body)).transpose()?;
    Ok(Shape {
        head: program,
        body,
        event: None,
        separator: String::new(),
        events: 0,
        tells_missing_body: head.tells_missing_body(),
        slots: compiler.into_slots(),
        users: names.users,
        user_of_request: names.user_of_request,
    })
}

impl Own {
    /// Always whole turns of the bodies, so that each is sent as often as the others; at least one turn.
    pub(crate) fn serialize(
        &self,
        stream: &mut Stream,
        extent: Extent,
        seed: u64,
    ) -> Result<Serialized, Error> {
        let known_bytes: usize =
            self.cycle.iter().filter_map(|request| request.raw.as_ref()).map(Vec::len).sum();
        if known_bytes > extent.bytes_max && self.encoding.is_none() {
            return Err(too_large(known_bytes, asked(extent), extent));
        }
        if extent.asks_too_many() {
            let sample = self.serialize(stream, extent.least(), seed)?;
            let mean = sample.bytes.len() / sample.requests.len();
            return Err(too_large(mean.saturating_mul(extent.requests), asked(extent), extent));
        }
        let turns = (extent.requests_max() / self.cycle.len()).max(1);
        let mut tape = Tape::new(self.encoding, turns * self.cycle.len(), extent.bytes, extent.bytes_max);
        let mut renderers: Vec<_> = self.shapes.iter().map(Renderer::new).collect();
        let mut order: Vec<usize> = (0..self.cycle.len()).collect();
        let mut rng = Rng::new(!seed);
        for turn in 0..turns {
            if self.shuffle {
                shuffle(&mut order, &mut rng);
            }
            let whole_turns = tape.requests();
            for &index in &order {
                let Request { shape, raw } = &self.cycle[index];
                let renderer = &mut renderers[*shape];
                let body_bytes = tape.push(renderer, stream, raw.as_deref(), Kind { class: 0, events: 0 });
                if tape.body_too_large() {
                    return Err(too_large(body_bytes, "a body before it is compressed", extent));
                }
                if tape.repeats_too_far() {
                    return Err(Error::RepeatTooFar);
                }
                let bytes = tape.bytes();
                if bytes > extent.bytes_max && (turn == 0 || extent.bytes == usize::MAX) {
                    let requests = if turn == 0 { order.len() } else { turns * order.len() };
                    return Err(too_large(bytes / tape.requests() * requests, asked(extent), extent));
                }
                if turn > 0 && bytes > extent.bytes.min(extent.bytes_max) {
                    tape.truncate(whole_turns);
                    return Ok(tape.finish(vec![self.class.clone()]));
                }
            }
        }
        Ok(tape.finish(vec![self.class.clone()]))
    }
}

/// What has to fit, however little room there is.
fn asked(extent: Extent) -> &'static str {
    if extent.bytes == usize::MAX { "all requests" } else { "each body once with its head" }
}

fn too_large(needed: usize, what: &str, extent: Extent) -> Error {
    Error::TooLarge {
        needed,
        limit: extent.bytes_max,
        what: what.to_owned(),
        next: "send smaller bodies or fewer lines and files".to_owned(),
    }
}

/// Fisher and Yates, as Durstenfeld has it (CACM 7(7), 1964).
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for end in (2..=items.len()).rev() {
        items.swap(end - 1, rng.below(end as u64) as usize);
    }
}
