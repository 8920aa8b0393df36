//! What keeps a sweep from being lost: a file that every trial is appended to as soon as it is done, a line of JSON each.
//!
//! The first line says what is swept, by its arguments. A search is a function of its trials, so going on is to feed it those of the file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use blaster_core::report::Report;
use serde::{Deserialize, Serialize};

use crate::metrics::joined::Usage;

/// The number of the file's layout.
pub const SCHEMA: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Who sweeps; journals that do not say so are blaster's.
    #[serde(default = "blaster")]
    pub tool: String,
    /// Of the tool.
    pub version: String,
    /// When the sweep began, as RFC 3339.
    pub started_at: String,
    /// Repeats payloads and arrivals.
    pub seed: u64,
    /// What was typed.
    pub args: Vec<String>,
}

fn blaster() -> String {
    "blaster".to_owned()
}

/// Any other line: a trial that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it began, in seconds of sweeping: the times in between sittings do not count.
    pub began_s: f64,
    /// When it was over, likewise.
    pub ended_s: f64,
    /// What came of it.
    pub report: Report,
    /// What the target took, if it says so.
    #[serde(default)]
    pub usage: Option<Usage>,
}

/// Why a journal cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Not to be opened.
    #[error(
        "cannot open the journal {path}: {error}: choose another with --journal, or go on with it by --resume"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not to be written.
    #[error("cannot write the journal {path}: {error}: make room; what stands there can be resumed")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No journal.
    #[error("{path} is no journal of a sweep ({problem}): give --resume the file that the sweep named")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A journal being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Begins a new one; one that stands there is not touched.
    pub fn create(path: &Path, header: &Header) -> Result<Self, JournalError> {
        let opened = OpenOptions::new().append(true).create_new(true).open(path);
        let file = opened.map_err(|error| JournalError::Open { path: path.to_owned(), error })?;
        let mut journal = Self { path: path.to_owned(), file };
        journal.append(header)?;
        Ok(journal)
    }

    /// Reads one, and goes on with it. A last line that was cut short is dropped: its trial was not done.
    pub fn resume(path: &Path) -> Result<(Header, Vec<Entry>, Self), JournalError> {
        let opened = OpenOptions::new().read(true).append(true).open(path);
        let file = opened.map_err(|error| JournalError::Open { path: path.to_owned(), error })?;
        let wrong = |problem: String| JournalError::Unreadable { path: path.to_owned(), problem };
        let mut lines = BufReader::new(&file);
        let mut line = String::new();
        let (mut header, mut entries, mut whole_bytes) = (None, Vec::new(), 0_u64);
        loop {
            line.clear();
            let count = lines.read_line(&mut line).map_err(|error| wrong(error.to_string()))?;
            if count == 0 || !line.ends_with('\n') {
                break;
            }
            let number = entries.len() + 1 + usize::from(header.is_some());
            let in_line = |error: serde_json::Error| wrong(format!("line {number}: {error}"));
            if header.is_none() {
                header = Some(serde_json::from_str::<Header>(&line).map_err(in_line)?);
            } else {
                entries.push(serde_json::from_str(&line).map_err(in_line)?);
            }
            whole_bytes += count as u64;
        }
        let header = header.ok_or_else(|| wrong("it is empty".to_owned()))?;
        if header.schema != SCHEMA {
            return Err(wrong(format!(
                "its layout is number {}, this version knows {SCHEMA}",
                header.schema
            )));
        }
        file.set_len(whole_bytes).map_err(|error| JournalError::Write { path: path.to_owned(), error })?;
        Ok((header, entries, Self { path: path.to_owned(), file }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a trial; it is on the disk when this returns.
    pub fn add(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.append(entry)
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), JournalError> {
        let mut bytes = serde_json::to_vec(line).expect("only plain values and string keys");
        bytes.push(b'\n');
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| JournalError::Write { path: self.path.clone(), error })
    }
}
