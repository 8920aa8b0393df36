//! Where results go: files opened before the run, so that a path that cannot be written is found in time, and
//! written after it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use blaster_core::load::worker::INTERVAL;
use blaster_core::report::Report;
use blaster_core::report::collector::FinishedInterval;

use crate::output::hlog::IntervalLog;
use crate::output::{hgrm, json};
use crate::settings::Outputs;

/// The files of `--json`, `--hgrm` and `--hlog`.
pub struct Results {
    json: Option<Destination>,
    hgrm: Option<Destination>,
    hlog: Option<Destination>,
    log: Option<IntervalLog<Box<dyn Write>>>,
    /// The first thing that went wrong with the log; the run goes on.
    log_error: Option<ResultError>,
}

/// A result that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Found before the run.
    #[error("cannot write {path}: {error}: choose another path")]
    Open {
        /// Which.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Found after it.
    #[error("cannot write {path}: {error}{}", kept(.rescued))]
    Write {
        /// Which.
        path: String,
        /// What the system said.
        error: io::Error,
        /// Where the same bytes are now.
        rescued: Option<PathBuf>,
    },
}

fn kept(rescued: &Option<PathBuf>) -> String {
    rescued.as_ref().map_or_else(
        || ": nothing could be kept".to_owned(),
        |path| format!(": kept in {} instead", path.display()),
    )
}

/// A file, or standard output for `-`.
pub struct Destination {
    path: PathBuf,
    file: Option<File>,
}

impl Results {
    /// Opens what is asked for.
    pub fn open(outputs: &Outputs) -> Result<Self, ResultError> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(Destination::open).transpose();
        Ok(Self {
            json: open(&outputs.json)?,
            hgrm: open(&outputs.hgrm)?,
            hlog: open(&outputs.hlog)?,
            log: None,
            log_error: None,
        })
    }

    /// Whether one of them is standard output, so that all else belongs to standard error.
    pub fn take_stdout(&self) -> bool {
        [&self.json, &self.hgrm, &self.hlog]
            .into_iter()
            .flatten()
            .any(|destination| destination.file.is_none())
    }

    /// Writes the head of the interval log. `start_epoch_s`: seconds since 1970.
    pub fn begin_log(&mut self, start_epoch_s: f64, closed_loop: bool, tags: &BTreeMap<String, String>) {
        let Some(destination) = &self.hlog else { return };
        let begun = destination.writer().and_then(|out| {
            IntervalLog::begin(out, env!("CARGO_PKG_VERSION"), start_epoch_s, INTERVAL, closed_loop, tags)
        });
        match begun {
            Ok(log) => self.log = Some(log),
            Err(error) => self.log_error = destination.outcome(Err(error)).err(),
        }
    }

    /// Adds an interval to the log.
    pub fn log(&mut self, interval: &FinishedInterval) {
        let (Some(log), Some(destination)) = (&mut self.log, &self.hlog) else { return };
        if let Err(error) = log.write(interval) {
            self.log_error = destination.outcome(Err(error)).err();
            self.log = None;
        }
    }

    /// Writes everything. Returns the last line of the summary, which names the files written
    /// (`report: run.json · spectrum: run.hgrm`), and every failure; what can be is kept elsewhere.
    pub fn write(mut self, report: &Report) -> (Option<String>, Vec<ResultError>) {
        let log = match (self.log_error.take(), self.log.take(), &self.hlog) {
            (Some(error), ..) => Err(error),
            (None, Some(mut log), Some(destination)) => {
                let marked = log.mark_gaps(&report.intervals);
                destination.outcome(marked.and_then(|()| log.finish().map(drop)))
            }
            _ => Ok(()),
        };
        let json = self.json.as_ref().map_or(Ok(()), |destination| destination.write(&json::render(report)));
        let hgrm = self.hgrm.as_ref().map_or(Ok(()), |destination| match hgrm::render(report) {
            Ok(text) => destination.write(&text),
            Err(error) => destination.outcome(Err(io::Error::other(error.to_string()))),
        });
        let (mut files, mut errors) = (Vec::new(), Vec::new());
        let outcomes =
            [("report", &self.json, json), ("spectrum", &self.hgrm, hgrm), ("intervals", &self.hlog, log)];
        for (name, destination, outcome) in outcomes {
            match (outcome, destination) {
                (Err(error), _) => errors.push(error),
                (Ok(()), Some(Destination { path, file: Some(_) })) => {
                    files.push(format!("{name}: {}", path.display()))
                }
                (Ok(()), _) => {}
            }
        }
        ((!files.is_empty()).then(|| files.join(" · ")), errors)
    }
}

impl Destination {
    /// Opens for writing; what stands there is kept until there is something to replace it.
    pub fn open(path: &Path) -> Result<Self, ResultError> {
        if path.as_os_str() == "-" {
            return Ok(Self { path: path.to_owned(), file: None });
        }
        match OpenOptions::new().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file: Some(file) }),
            Err(error) => Err(ResultError::Open { path: path.display().to_string(), error }),
        }
    }

    fn writer(&self) -> io::Result<Box<dyn Write>> {
        match &self.file {
            Some(file) => {
                // A pipe or a device has no length to cut.
                if file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                Ok(Box::new(BufWriter::new(file.try_clone()?)))
            }
            None => Ok(Box::new(io::stdout())),
        }
    }

    /// Replaces what stands there; what cannot be written there is kept elsewhere, if it can be.
    pub fn write(&self, text: &str) -> Result<(), ResultError> {
        let written =
            self.writer().and_then(|mut out| out.write_all(text.as_bytes()).and_then(|()| out.flush()));
        match written {
            Err(error) if self.has_seen_enough(&error) => Ok(()),
            Err(error) => {
                Err(ResultError::Write { path: self.name(), error, rescued: rescue(&self.path, text) })
            }
            Ok(()) => Ok(()),
        }
    }

    fn name(&self) -> String {
        if self.file.is_some() { self.path.display().to_string() } else { "standard output".to_owned() }
    }

    /// An error told with the path, if it is one.
    fn outcome(&self, result: io::Result<()>) -> Result<(), ResultError> {
        match result {
            Err(error) if !self.has_seen_enough(&error) => {
                Err(ResultError::Write { path: self.name(), error, rescued: None })
            }
            _ => Ok(()),
        }
    }

    /// Whoever reads standard output may stop when they like.
    fn has_seen_enough(&self, error: &io::Error) -> bool {
        self.file.is_none() && error.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes to the directory for temporary files what could not be written where it was wanted.
fn rescue(path: &Path, text: &str) -> Option<PathBuf> {
    let named = path.file_name().filter(|name| *name != "-");
    let name = named.map_or_else(|| "result".into(), |name| name.to_string_lossy().into_owned());
    let rescued = std::env::temp_dir().join(format!("blaster-{}-{name}", std::process::id()));
    std::fs::write(&rescued, text).ok().map(|()| rescued)
}
