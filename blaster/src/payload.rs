//! What goes to a target, and how it comes onto the tape.

use blaster_core::load::tape::{Cut, Mark, Recording, TAPE_BYTES_MAX};
use blaster_core::plan::statuses::Statuses;
use blaster_core::plan::target::Target;
use payloads::{Body, Extent, Head, Header, Preset};

use crate::cli::RunArgs;
use crate::settings::UsageError;

/// What the command line asks for, for one target.
pub struct PayloadWish<'a> {
    args: &'a RunArgs,
    target: &'a Target,
}

/// What goes to one target.
#[derive(Debug)]
pub struct Payload {
    source: Source,
    method: String,
    path: String,
    headers: Vec<Header>,
}

/// Why requests did not come onto the tape.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// They cannot be serialized.
    #[error(transparent)]
    Payload(#[from] payloads::Error),
    /// They are too many bytes.
    #[error("the tape is full")]
    TapeFull,
}

#[derive(Debug)]
enum Source {
    Preset(&'static Preset),
    Own(Body),
}

/// Requests on a target's piece of the tape: enough for variety, few enough to stay in a CPU's cache and to be made in a few
/// milliseconds.
const REQUESTS: Extent = Extent { requests: 4096, bytes: 64 << 20 };

impl<'a> PayloadWish<'a> {
    /// The wish of these arguments.
    pub fn of(args: &'a RunArgs, target: &'a Target) -> Self {
        Self { args, target }
    }
}

impl Payload {
    /// A bare `HOST:PORT` gets the `events` preset; a path, method or body make it a plain request.
    pub fn new(wish: &PayloadWish<'_>) -> Result<Self, UsageError> {
        let PayloadWish { args, target } = wish;
        let path = args.path.as_ref().or(target.path.as_ref());
        let plain = path.is_some() || args.method.is_some() || args.body.is_some();
        let source = match &args.preset {
            Some(_) if args.body.is_some() => return Err(UsageError::PresetAndBody),
            Some(name) => Source::Preset(payloads::preset(name)?),
            None if plain => Source::Own(args.body.as_deref().map_or_else(|| Ok(Body::none()), body)?),
            None => Source::Preset(payloads::preset("events")?),
        };
        let (method, default_path) = match &source {
            Source::Preset(preset) => (preset.method, preset.path),
            Source::Own(_) if args.body.is_some() => ("POST", "/"),
            Source::Own(_) => ("GET", "/"),
        };
        let payload = Self {
            method: args.method.clone().unwrap_or_else(|| method.to_owned()),
            path: path.cloned().unwrap_or_else(|| default_path.to_owned()),
            headers: args.headers.clone(),
            source,
        };
        // Whatever is wrong with it is a usage error, found now.
        payload.head(target)?;
        Ok(payload)
    }

    /// Statuses that are ok unless told otherwise.
    pub fn ok(&self) -> Statuses {
        match &self.source {
            Source::Preset(preset) => preset.ok.parse().expect("a preset's statuses are well-formed"),
            Source::Own(_) => Statuses::default(),
        }
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// For the summary: `events, 1 per request`, or the method.
    pub fn describe(&self) -> String {
        match &self.source {
            Source::Preset(preset) => format!("{}, 1 per request", preset.name),
            Source::Own(_) => self.method.clone(),
        }
    }

    /// Its answers have no bodies.
    pub fn answers_to_head(&self) -> bool {
        self.method.eq_ignore_ascii_case("HEAD")
    }

    fn head(&self, target: &Target) -> Result<Head, payloads::Error> {
        Head::new(&self.method, &target.host_header(), &self.path, &self.headers)
    }

    /// Appends a section to `recording`; its classes are numbered from `first_class`. Returns their names.
    pub fn write(
        &self,
        recording: &mut Recording,
        target: &Target,
        first_class: u16,
        seed: u64,
        now_unix_ms: u64,
    ) -> Result<Vec<String>, WriteError> {
        let head = self.head(target)?;
        let serialized = match &self.source {
            Source::Preset(preset) => preset.serialize(&head, REQUESTS, seed, now_unix_ms),
            Source::Own(body) => body.serialize(&head, REQUESTS)?,
        };
        let cuts = serialized.requests.iter().map(|piece| {
            let mark = Mark { class: first_class + piece.class, events: piece.events };
            Cut { end: piece.end, places_end: 0, mark }
        });
        if recording.len() + serialized.bytes.len() > TAPE_BYTES_MAX {
            return Err(WriteError::TapeFull);
        }
        recording.push_section(serialized.bytes, cuts, []);
        Ok(serialized.classes)
    }
}

fn body(text: &str) -> Result<Body, UsageError> {
    let Some(path) = text.strip_prefix('@') else { return Ok(Body::bytes(text.as_bytes().to_vec())) };
    let bytes = std::fs::read(path).map_err(|error| UsageError::Body { path: path.to_owned(), error })?;
    if path.ends_with(".jsonl") { Ok(Body::lines(&bytes)?) } else { Ok(Body::bytes(bytes)) }
}
