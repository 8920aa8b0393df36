//! Child processes that cannot outlive their test, and the load run that most tests want.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Report;

/// The binary under test.
pub const BLASTER: &str = env!("CARGO_BIN_EXE_blaster");

/// What a run may take beyond its duration and timeout, by contract.
const CONTRACT: Duration = Duration::from_secs(2);

/// And what a loaded machine may take to start a process and to let it speak.
pub const ALLOWANCE: Duration = Duration::from_secs(10);

/// A run of the blaster; what a test does not say is small and short.
pub struct Load<'a> {
    pub targets: Vec<String>,
    /// `--rps`.
    pub rate: &'a str,
    pub duration: Duration,
    pub timeout: Duration,
    pub connections: u32,
    pub depth: u32,
    pub seed: &'a str,
    /// Further flags.
    pub flags: &'a [&'a str],
}

impl Default for Load<'_> {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            rate: "500",
            duration: Duration::from_millis(300),
            timeout: Duration::from_millis(500),
            connections: 4,
            depth: 1,
            seed: "1",
            flags: &[],
        }
    }
}

impl<'a> Load<'a> {
    /// So many requests are due at the default rate and duration.
    pub const SCHEDULED: u64 = 150;

    /// At this target.
    pub fn at(target: impl Into<String>) -> Self {
        Self { targets: vec![target.into()], ..Self::default() }
    }

    /// As fast as answers come, so that pipelines are full.
    pub fn pipelined(target: impl Into<String>) -> Self {
        Self {
            rate: "max",
            connections: 2,
            depth: 16,
            duration: Duration::from_millis(150),
            ..Self::at(target)
        }
    }

    /// Runs it to its end, within its duration, its timeout and two seconds, and checks that its report adds up.
    pub fn run(&self) -> Outcome {
        let directory = Directory::new();
        let json = directory.path("report.json");
        let ended = Running::start(&mut self.command(&json))
            .within(self.duration + self.timeout + CONTRACT + ALLOWANCE);
        let text = std::fs::read_to_string(&json).unwrap_or_default();
        let Ok(value) = serde_json::from_str(&text) else { panic!("no report; {ended:#?}") };
        let report = Report::new(value);
        report.check_identities();
        Outcome { report, ended }
    }

    /// The command that runs it.
    pub fn command(&self, json: &Path) -> Command {
        let mut command = Command::new(BLASTER);
        command.args(["--quiet", "--allow-invalid", "--seed", self.seed, "--rps", self.rate]);
        command.args(["-d", &millis(self.duration), "--timeout", &millis(self.timeout)]);
        command.args(["-c", &self.connections.to_string(), "-p", &self.depth.to_string()]);
        command.arg("--json").arg(json).args(self.flags).args(&self.targets);
        command
    }
}

fn millis(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// A run that left a report.
#[derive(Debug)]
pub struct Outcome {
    pub report: Report,
    pub ended: Ended,
}

/// A child that has ended.
#[derive(Debug)]
pub struct Ended {
    /// None if a signal ended it.
    pub status: Option<i32>,
    /// What was not read before, line by line.
    pub stdout: String,
    pub stderr: String,
}

/// A running child: nothing to read for it, all it says is caught, and it is killed if its test ends first.
pub struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let stdout = lines(child.stdout.take().expect("caught"));
        let stderr = lines(child.stderr.take().expect("caught"));
        Self { child, stdout, stderr }
    }

    /// The next line of its standard output.
    pub fn line(&self) -> String {
        self.stdout.recv_timeout(ALLOWANCE).expect("it says something")
    }

    /// The next line of its standard error.
    pub fn error_line(&self) -> String {
        self.stderr.recv_timeout(ALLOWANCE).expect("it says something")
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success(), "it has already ended");
    }

    /// Waits for the end; fails with its output if that takes longer than `limit`, or if it panicked.
    pub fn within(mut self, limit: Duration) -> Ended {
        let deadline = Instant::now() + limit;
        let (stderr, first_in_time) = rest(&self.stderr, deadline);
        let (stdout, second_in_time) = rest(&self.stdout, deadline);
        if !(first_in_time && second_in_time) {
            let _ = self.child.kill();
            panic!("it still runs after {limit:?}\nstdout: {stdout}\nstderr: {stderr}");
        }
        let status = self.child.wait().expect("it is ours").code();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ended { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything up to the end of the stream, and whether that came in time.
fn rest(lines: &Receiver<String>, deadline: Instant) -> (String, bool) {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => text += &line,
            Err(RecvTimeoutError::Disconnected) => return (text, true),
            Err(RecvTimeoutError::Timeout) => return (text, false),
        }
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// A directory of its own for a test, gone with it.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the target directory can be written");
        Self(path)
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says loudly that a test could not do its work here; past the test runner, which hides what passing tests print.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "{why}");
}
