//! What a target says of itself (`--target-metrics`): read once a second on a thread of its own, so that a target that does not answer
//! holds up nothing.
//!
//! [`exposition`] understands the text, [`resources`] finds in it what a server can run out of, [`joined`] makes of what was read during a
//! step what its requests cost. Here is the only clock and the only socket.

pub mod exposition;
pub mod joined;
pub mod resources;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use blaster_core::load::http1::{EndOfStream, HeadTemplate, OnResponse, Response, ResponseReader};
use blaster_core::plan::target::Target;

use crate::resolve::{ResolveError, resolve};
use joined::Reading;
use resources::Resources;

/// How often a target is asked.
const EVERY: Duration = Duration::from_secs(1);

/// The longest wait for an answer: to connect, and for each piece of it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A longer text is no page of metrics.
const BYTES_MAX: usize = 16 << 20;

/// Where to read if the URL has no path.
const PATH_DEFAULT: &str = "/metrics";

/// A target's metrics, being read.
pub struct Watched {
    log: Arc<Mutex<Log>>,
    started: Instant,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Log {
    readings: Vec<Reading>,
    failures: u64,
    last_failure: Option<String>,
}

/// Why metrics cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// No address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No page.
    #[error(
        "cannot read metrics from {url}: {error}: give --target-metrics the URL that Prometheus would scrape"
    )]
    Read {
        /// Asked.
        url: String,
        /// What went wrong.
        error: io::Error,
    },
    /// A page that says nothing of use.
    #[error(
        "{url} has no metric that a sweep can use: it looks for process_cpu_seconds_total, process_resident_memory_bytes, and names \
         with queue, backlog, buffer or inflight"
    )]
    Useless {
        /// Asked.
        url: String,
    },
}

impl Watched {
    /// Reads once, to find out whether that works, and then goes on until dropped.
    pub fn start(target: &Target) -> Result<Self, MetricsError> {
        let addresses = resolve(target)?;
        let path = target.path.clone().unwrap_or_else(|| PATH_DEFAULT.to_owned());
        let page = Page { addresses, host: target.host_header(), path };
        let url = || format!("http://{}{}", page.host, page.path);
        let first = page.read().map_err(|error| MetricsError::Read { url: url(), error })?;
        if first.is_empty() {
            return Err(MetricsError::Useless { url: url() });
        }
        let started = Instant::now();
        let log = Arc::new(Mutex::new(Log::default()));
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .readings
            .push(Reading { at_s: 0.0, resources: first });
        let (stop, stopped) = channel();
        let shared = log.clone();
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || watch(&page, started, &stopped, &shared))
            .map_err(|error| MetricsError::Read { url: target.to_string(), error })?;
        Ok(Self { log, started, stop: Some(stop), thread: Some(thread) })
    }

    /// This moment, on the clock of the readings.
    pub fn now_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// All readings between two moments.
    pub fn between(&self, from_s: f64, to_s: f64) -> Vec<Reading> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.readings.iter().filter(|reading| (from_s..=to_s).contains(&reading.at_s)).cloned().collect()
    }

    /// How often it could not be read, and why the last time.
    pub fn failures(&self) -> (u64, Option<String>) {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        (log.failures, log.last_failure.clone())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(page: &Page, started: Instant, stopped: &Receiver<()>, log: &Mutex<Log>) {
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        let asked_s = started.elapsed().as_secs_f64();
        let read = page.read();
        // Its numbers are of some moment between question and answer.
        let at_s = (asked_s + started.elapsed().as_secs_f64()) / 2.0;
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(resources) => log.readings.push(Reading { at_s, resources }),
            Err(error) => {
                log.failures += 1;
                log.last_failure = Some(error.to_string());
            }
        }
    }
}

/// A page of metrics.
struct Page {
    addresses: Vec<SocketAddr>,
    host: String,
    path: String,
}

impl Page {
    fn read(&self) -> io::Result<Resources> {
        let text = self.get()?;
        Ok(Resources::of(&exposition::parse(&text)))
    }

    /// The body of an answer of 200.
    fn get(&self) -> io::Result<String> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let Self { host, path, .. } = self;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/plain;version=0.0.4\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let body = receive(&mut stream, Instant::now() + PATIENCE)?;
        match body.status {
            Some(200) => Ok(String::from_utf8_lossy(&body.bytes).into_owned()),
            Some(status) => Err(io::Error::other(format!("it answers {status}"))),
            None => Err(io::Error::other("it closes the connection without a whole answer")),
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut outcome = Err(io::Error::other("it has no address"));
        for address in &self.addresses {
            outcome = TcpStream::connect_timeout(address, PATIENCE);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// One answer.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    status: Option<u16>,
}

impl OnResponse for Body {
    fn body(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn finished(&mut self, response: Response) -> ControlFlow<()> {
        self.status = Some(response.status);
        ControlFlow::Break(())
    }
}

/// Reads one answer, of at most [`BYTES_MAX`], until `deadline`.
fn receive(stream: &mut impl Read, deadline: Instant) -> io::Result<Body> {
    let (mut reader, mut template) = (ResponseReader::new(false), HeadTemplate::default());
    let (mut body, mut room) = (Body::default(), vec![0; 64 * 1024]);
    while body.status.is_none() {
        let count = stream.read(&mut room)?;
        if count == 0 {
            if reader.end_of_stream(&mut body) != EndOfStream::Finished {
                break;
            }
            continue;
        }
        reader
            .receive(&mut template, &room[..count], &mut body)
            .map_err(|error| io::Error::other(error.to_string()))?;
        if body.bytes.len() > BYTES_MAX {
            return Err(io::Error::other(format!("its answer is longer than {} MiB", BYTES_MAX >> 20)));
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its answer takes too long"));
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(answer: &[u8]) -> io::Result<(Option<u16>, String)> {
        let body = receive(&mut &answer[..], Instant::now() + PATIENCE)?;
        Ok((body.status, String::from_utf8(body.bytes).unwrap()))
    }

    #[test]
    fn an_answer_is_read_whatever_its_framing() {
        let page = Ok((Some(200), "a 1\n".to_owned()));
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na 1\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na \r\n2\r\n1\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\na 1\n",
        ] {
            assert_eq!(received(answer.as_bytes()).map_err(|error| error.to_string()), page);
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_none() {
        assert_eq!(received(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\na 1\n").unwrap().0, None);
        assert_eq!(received(b"").unwrap().0, None);
        assert!(received(b"220 smtp ready\r\n").is_err());
    }
}
