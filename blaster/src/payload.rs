//! What goes to a target, and how it comes onto the tape.

use std::io;

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
    /// The most bytes all tapes of the process may take together.
    pub bytes_max: usize,
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
    pub fn new(args: &RunArgs, target: &Target) -> Result<Self, UsageError> {
        let payload = &args.payload;
        let path = args.path.as_deref().or(target.path.as_deref());
        let is_own = payload.body.is_some() || payload.body_dir.is_some();
        if payload.preset.is_some() && is_own {
            return Err(UsageError::PresetAndBody);
        }
        if let Some(flag) = payload.events_flag(args.eps.is_some()).filter(|_| is_own) {
            return Err(UsageError::EventsAndBody { flag });
        }
        let is_plain = path.is_some() || args.method.is_some() || is_own;
        let asks_for_events = payload.events_flag(args.eps.is_some()).is_some();
        let preset =
            payload.preset.as_deref().or_else(|| (!is_plain || asks_for_events).then_some(PRESET_DEFAULT));
        let wish = Wish { preset, method: args.method.as_deref(), path, ..payload.wish() };
        let requests = Requests::new(&wish, &Disk)?;
        Ok(Self { stale: args.stale || requests.encoding().is_some(), requests })
    }

    /// Statuses that are ok unless told otherwise.
    pub fn ok(&self) -> Result<Statuses, UsageError> {
        self.requests.ok().map_or_else(
            || Ok(Statuses::default()),
            |ok| ok.parse().map_err(|error| UsageError::PresetOk { ok: ok.to_owned(), error }),
        )
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

    /// Appends a section to `recording`; its classes are numbered from `first_class`. Returns their names.
    pub fn write(
        &self,
        recording: &mut Recording,
        target: &Target,
        size: TapeSize,
        first_class: u16,
        seed: u64,
        now_unix_ns: u64,
    ) -> Result<Vec<String>, WriteError> {
        let extent = Extent {
            requests: size.requests.unwrap_or(REQUESTS_DEFAULT),
            bytes: if size.requests.is_some() { usize::MAX } else { BYTES_DEFAULT },
            bytes_max: size.bytes_max,
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

    /// The first flag that only makes sense for events.
    fn events_flag(&self, eps: bool) -> Option<&'static str> {
        let flags = [
            (eps, "--eps"),
            (self.batch.is_some(), "--batch"),
            (self.events.is_some(), "--events"),
            (!self.settings.is_empty(), "--set"),
        ];
        flags.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag))
    }
}

/// This machine's files.
#[derive(Debug)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        // Before a file that does not end, or fills the memory, is read.
        let meta = std::fs::metadata(path)?;
        if meta.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if meta.len() > payloads::BYTES_MAX as u64 {
            let limit = payloads::BYTES_MAX >> 20;
            return Err(io::Error::other(format!("it has {} bytes, the limit is {limit} MiB", meta.len())));
        }
        std::fs::read(path)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                let name = path.to_str().ok_or_else(|| {
                    io::Error::other(format!("the name of {} is not UTF-8", path.display()))
                })?;
                paths.push(name.to_owned());
            }
        }
        Ok(paths)
    }
}
