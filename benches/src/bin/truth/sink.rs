//! The sink on its CPU, and what it counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::stage::{Stage, command, last_lines};

/// A running sink; it ends with this.
#[derive(Debug)]
pub struct Sink {
    child: Child,
    /// Where it listens.
    pub host: String,
    record: PathBuf,
}

/// What the sink counted, by name with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts(BTreeMap<String, f64>);

/// A request as the sink saw it, in nanoseconds of its clock.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// It was whole.
    pub arrival: u64,
    /// Its answer was handed over.
    pub answered: u64,
}

/// Where the search for free ports goes on; below those that clients are given.
static PORT: AtomicU16 = AtomicU16::new(20_000);
const PORT_END: u16 = 32_000;

/// A sink that has not answered by then will not.
const PATIENCE: Duration = Duration::from_secs(10);

impl Sink {
    /// Starts one with these flags, words apart by blanks.
    pub fn start(stage: &Stage, flags: &str) -> Result<Self> {
        Self::start_in(stage, &[], flags)
    }

    /// Starts one that keeps a record of requests.
    pub fn recording(stage: &Stage, flags: &str) -> Result<Self> {
        let record = stage.work.join("record");
        Self::start(stage, &format!("{flags} --record {}", record.display()))
    }

    /// Starts one through `wrapper`, a command that runs another.
    pub fn start_in(stage: &Stage, wrapper: &[&str], flags: &str) -> Result<Self> {
        let host = format!("127.0.0.1:{}", free_port()?);
        let log = stage.work.join("sink.log");
        let out = File::create(&log).context("cannot write the sink's log")?;
        let mut words: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        words.push(stage.blaster.to_string_lossy().into_owned());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .args(["sink", "--listen", &host, "--cores", &stage.sink_cpu])
            .args(flags.split_whitespace())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .context("cannot start the sink")?;
        let mut sink = Self { child, host, record: stage.work.join("record") };
        let start = Instant::now();
        // From another network namespace it cannot be asked; what it says as it listens is a sign everywhere.
        while fs::read(&log)?.is_empty() || (wrapper.is_empty() && sink.get("/metrics").is_err()) {
            if sink.child.try_wait()?.is_some() || start.elapsed() > PATIENCE {
                bail!("the sink does not answer with {flags}: {}", last_lines(&fs::read(&log)?));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(sink)
    }

    /// Number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has counted once it is idle: when it counts no more.
    pub fn counts(&self) -> Result<Counts> {
        let start = Instant::now();
        let mut last = self.counts_now()?;
        loop {
            std::thread::sleep(Duration::from_millis(150));
            let now = self.counts_now()?;
            if now.without_scrapes() == last.without_scrapes() {
                return Ok(now);
            }
            if start.elapsed() > PATIENCE {
                bail!("the sink goes on counting without a client");
            }
            last = now;
        }
    }

    /// What it has counted so far.
    pub fn counts_now(&self) -> Result<Counts> {
        let text = self.get("/metrics")?;
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(Counts(text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()))
    }

    /// Ends it; what it recorded.
    pub fn seen(mut self) -> Result<Vec<Seen>> {
        self.end();
        let bytes = fs::read(&self.record).context("the sink left no record")?;
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let seen = |row: &[u8]| Seen { arrival: word(&row[..8]), answered: word(&row[16..]) };
        let mut seen: Vec<Seen> = bytes.chunks_exact(24).map(seen).collect();
        seen.sort_by_key(|seen| seen.arrival);
        Ok(seen)
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host)?;
        let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
        loop {
            if let Some(body) = body(&bytes) {
                return Ok(String::from_utf8_lossy(body).into_owned());
            }
            match stream.read(&mut part)? {
                0 => bail!("the sink closed instead of answering {path}"),
                count => bytes.extend_from_slice(&part[..count]),
            }
        }
    }

    fn end(&mut self) {
        let _ = command(&["kill", "-INT", &self.pid().to_string()]);
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

impl Counts {
    /// One value, by its name without `sink_`, with labels.
    pub fn value(&self, name: &str) -> Result<f64> {
        let name = format!("sink_{name}");
        self.0.get(&name).copied().ok_or_else(|| anyhow!("the sink does not count {name}"))
    }

    /// One count.
    pub fn count(&self, name: &str) -> Result<u64> {
        Ok(self.value(name)? as u64)
    }

    /// The sum of a count over all its labels; it must be there.
    pub fn sum(&self, name: &str) -> Result<u64> {
        let prefix = format!("sink_{name}{{");
        let mut values = self.0.iter().filter(|(name, _)| name.starts_with(&prefix)).peekable();
        if values.peek().is_none() {
            bail!("the sink does not count {prefix}…}}");
        }
        Ok(values.map(|(_, value)| *value as u64).sum())
    }

    /// Without what asking for them changes.
    fn without_scrapes(&self) -> Vec<(&String, &f64)> {
        self.0.iter().filter(|(name, _)| *name != "sink_connections_total").collect()
    }
}

/// The body of an answer with a `content-length`, once it is whole.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    bytes[head..].get(..length)
}

fn free_port() -> Result<u16> {
    loop {
        let port = PORT.fetch_add(1, Ordering::Relaxed);
        if port >= PORT_END {
            bail!("no port is free below {PORT_END}");
        }
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}
