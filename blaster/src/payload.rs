//! What goes to a target, and how it comes onto the tape.

use blaster_core::load::tape::{Cut, Mark, Recording, TAPE_BYTES_MAX};
use blaster_core::plan::statuses::Statuses;
use blaster_core::plan::target::Target;
use payloads::fresh::Place;
use payloads::{Extent, Files, Requests, Wish};

use crate::cli::{PayloadArgs, RunArgs};
use crate::settings::UsageError;

/// What goes to one target.
#[derive(Debug)]
pub struct Payload {
    requests: Requests,
    /// Fresh fields stay as they are serialized.
    stale: bool,
}

/// How much of it comes onto the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapeSize {
    /// `--tape`: so many requests a target; the default is enough for variety, few enough to stay near a CPU and to be made in a
    /// few milliseconds.
    pub requests: Option<usize>,
    /// The most bytes all tapes of the process may take together, rooms for copies of stalled sends aside.
    pub bytes_max: usize,
}

/// Where a target's requests go.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// The server.
    pub target: &'a Target,
    /// Its first class.
    pub first_class: u16,
    /// So many copies of so many sections share the memory.
    pub shares: usize,
    /// Repeats its requests.
    pub seed: u64,
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

/// `--tape` unless told otherwise: the least of these.
const REQUESTS_DEFAULT: usize = 4096;
const BYTES_DEFAULT: usize = 8 << 20;

/// `--tape-memory` unless told otherwise.
pub const TAPE_MEMORY_DEFAULT: usize = 256 << 20;

/// The preset of a target without a path.
const PRESET_DEFAULT: &str = "events";

impl Payload {
    /// A bare `HOST:PORT` gets the `events` preset, and so does what asks for events; a path, method or body make it a plain request.
    pub fn new(args: &RunArgs, target: &Target, files: &dyn Files) -> Result<Self, UsageError> {
        let payload = &args.payload;
        let path = args.path.as_deref().or(target.path.as_deref());
        let is_own = payload.body.is_some() || payload.body_dir.is_some();
        let is_plain = path.is_some() || args.method.is_some();
        let asks_for_events = args.eps.is_some()
            || payload.batch.is_some()
            || payload.events.is_some()
            || !payload.settings.is_empty();
        let default = || (!is_own && (!is_plain || asks_for_events)).then_some(PRESET_DEFAULT);
        let preset = payload.preset.as_deref().or_else(default);
        let wish = Wish { preset, method: args.method.as_deref(), path, ..payload.wish() };
        let requests = Requests::new(&wish, files)?;
        Ok(Self { stale: args.stale || requests.encoding().is_some(), requests })
    }

    /// Statuses that are ok unless told otherwise.
    pub fn ok(&self) -> Result<Statuses, UsageError> {
        self.requests.ok().map_or_else(
            || Ok(Statuses::default()),
            |ok| ok.parse().map_err(|error| UsageError::PresetOk { ok: ok.to_owned(), error }),
        )
    }

    /// What its user should know before a run.
    pub fn remarks(&self) -> impl Iterator<Item = String> {
        let note = self.requests.note().map(|note| format!("note: {note}"));
        let hint = self.requests.hint().map(|hint| format!("warning: {hint}"));
        note.into_iter().chain(hint)
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        self.requests.path()
    }

    /// For the summary: `events, 1 per request`, or the method.
    pub fn describe(&self) -> String {
        let describe = self.requests.describe();
        if self.stale { format!("{describe}, stale") } else { describe }
    }

    /// Its answers have no bodies.
    pub fn answers_to_head(&self) -> bool {
        self.requests.answers_without_body()
    }

    /// The key of an ok answer's JSON that says how many events it takes.
    pub fn count_key(&self) -> Option<&str> {
        self.requests.acknowledged()
    }

    /// Events a request carries on average; none if nobody knows.
    pub fn mean_events(&self) -> Option<f64> {
        self.requests.mean_events()
    }

    /// Appends a section to `recording`. Returns the names of its classes.
    pub fn write(
        &self,
        recording: &mut Recording,
        section: Section<'_>,
        size: TapeSize,
        now_unix_ns: u64,
    ) -> Result<Vec<String>, WriteError> {
        let Section { target, first_class, shares, seed } = section;
        let extent = Extent {
            requests: size.requests.unwrap_or(REQUESTS_DEFAULT),
            bytes: size.requests.map_or(BYTES_DEFAULT.min(size.bytes_max / shares), |_| usize::MAX),
            bytes_max: size.bytes_max.saturating_sub(recording.len()),
        };
        let serialized = self.requests.serialize(&target.host_header(), extent, seed, now_unix_ns)?;
        let cuts = serialized.requests.iter().map(|piece| Cut {
            end: piece.end,
            places_end: if self.stale { 0 } else { piece.places_end as usize },
            mark: Mark { class: first_class + piece.class, events: piece.events },
        });
        if recording.len() + serialized.bytes.len() > TAPE_BYTES_MAX {
            return Err(WriteError::TapeFull);
        }
        let places: Vec<Place> = if self.stale { Vec::new() } else { serialized.places };
        recording.push_section(serialized.bytes, cuts, places);
        Ok(serialized.classes)
    }
}

impl PayloadArgs {
    /// What these arguments alone ask for.
    pub fn wish(&self) -> Wish<'_> {
        Wish {
            preset: self.preset.as_deref(),
            settings: &self.settings,
            mix: self.batch.as_ref(),
            shares: self.events.as_ref(),
            headers: &self.headers,
            body: self.body.as_deref(),
            body_folder: self.body_dir.as_deref(),
            shuffle: self.shuffle,
            encoding: self.encoding,
            ..Wish::default()
        }
    }
}
