//! Agents, leaders and a target for a test; all of them gone with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use blaster_ring::system;
use blaster_sink::profile::{Behaviour, Profile};
use blaster_sink::{Sink, SinkConfig};
use serde_json::Value;

/// The binary under test.
pub const COORDINATOR: &str = env!("CARGO_BIN_EXE_coordinator");

/// What a loaded machine may take for anything.
pub const ALLOWANCE: Duration = Duration::from_secs(30);

/// A folder with a secret, and a target that counts.
pub struct World {
    folder: PathBuf,
    pub sink: Sink,
}

impl World {
    pub fn new() -> Self {
        Self::at("127.0.0.1")
    }

    /// With its target at this address of the machine.
    pub fn at(address: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = Command::new(COORDINATOR).arg("secret").arg(folder.join("secret")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let sink = Sink::start(&SinkConfig {
            listen: format!("{address}:0").parse().unwrap(),
            behaviour: Behaviour::of(Profile::EventApi),
            cpus: vec![system::allowed_cpus()[0]],
            connections_per_thread: 256,
        });
        Self { folder, sink: sink.unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn secret(&self) -> PathBuf {
        self.path("secret")
    }

    /// An agent on a port of its own.
    pub fn agent(&self, flags: &[&str]) -> Agent {
        Agent::start(&self.secret(), "127.0.0.1:0", flags)
    }

    /// Writes a hosts file.
    pub fn hosts(&self, nodes: &[SocketAddr]) -> PathBuf {
        let text: String = nodes.iter().map(|node| format!("{node}\n")).collect();
        let path = self.path("hosts.txt");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A run over these nodes, small unless its flags say otherwise.
    pub fn run(&self, nodes: &[SocketAddr], flags: &[&str]) -> Process {
        let json = self.path("report.json");
        let _ = std::fs::remove_file(&json);
        let mut command = Command::new(COORDINATOR);
        command.arg("run").arg("--nodes").arg(self.hosts(nodes)).arg("--secret").arg(self.secret());
        command
            .args(["--target", &self.sink.address().to_string(), "-c", "8", "--timeout", "1s", "--json"])
            .arg(json);
        Process::start(command.args(flags))
    }

    /// The report of the latest run.
    pub fn report(&self) -> Report {
        let text = std::fs::read_to_string(self.path("report.json")).unwrap();
        Report(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// Waits until the target has seen so many requests.
    pub fn until_seen(&self, requests: u64) {
        until("the target sees requests", || self.sink.totals().requests >= requests);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits for something that must come.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + ALLOWANCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {ALLOWANCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// An agent that listens.
pub struct Agent {
    pub process: Process,
    pub address: SocketAddr,
}

impl Agent {
    pub fn start(secret: &Path, listen: &str, flags: &[&str]) -> Self {
        Self::of(Command::new(COORDINATOR), secret, listen, flags)
    }

    /// By a command that runs another.
    pub fn of(mut command: Command, secret: &Path, listen: &str, flags: &[&str]) -> Self {
        command.args(["agent", "--child", "--listen", listen, "--secret"]).arg(secret).args(flags);
        let process = Process::start(&mut command);
        until("the agent says where it listens", || process.stdout().contains('\n') || process.has_ended());
        let address = process.stdout().trim().parse();
        let address =
            address.unwrap_or_else(|error| panic!("{error}: {:?} {}", process.stdout(), process.stderr()));
        Self { process, address }
    }
}

/// A child whose words are caught, and that ends with its test at the latest.
pub struct Process {
    child: Child,
    texts: [Arc<Mutex<String>>; 2],
    readers: Vec<JoinHandle<()>>,
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (stdout, out) = catch(child.stdout.take().unwrap());
        let (stderr, err) = catch(child.stderr.take().unwrap());
        Self { child, texts: [stdout, stderr], readers: vec![out, err] }
    }

    pub fn stdout(&self) -> String {
        self.texts[0].lock().unwrap().clone()
    }

    pub fn stderr(&self) -> String {
        self.texts[1].lock().unwrap().clone()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.unwrap().success(), "it has already ended: {}", self.stderr());
    }

    /// Waits until it has said this on standard error.
    pub fn until_said(&self, words: &str) {
        until(words, || {
            let said = self.stderr().contains(words);
            assert!(said || !self.has_ended(), "it ended without saying {words:?}: {}", self.stderr());
            said
        });
    }

    /// Whether nobody writes its output any more.
    pub fn has_ended(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    pub fn end(mut self) -> Ended {
        until("it ends", || self.has_ended());
        let status = self.child.wait().unwrap().code();
        let (stdout, stderr) = (self.stdout(), self.stderr());
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ended { status, stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn catch(stream: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let caught = Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            caught.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    (text, reader)
}

/// A report, as programs read it.
#[derive(Debug)]
pub struct Report(pub Value);

impl Report {
    pub fn count(&self, path: &str) -> u64 {
        self.at(path).as_u64().unwrap_or_else(|| panic!("{path} is {}", self.at(path)))
    }

    pub fn at(&self, path: &str) -> &Value {
        self.0.pointer(path).unwrap_or_else(|| panic!("no {path} in the report"))
    }

    pub fn nodes(&self) -> &Vec<Value> {
        self.at("/nodes").as_array().unwrap()
    }

    /// The states of all nodes.
    pub fn states(&self) -> Vec<&str> {
        self.nodes().iter().map(|node| node["state"].as_str().unwrap()).collect()
    }

    /// Holds sums to their parts: of outcomes, of nodes, of intervals.
    pub fn assert_adds_up(&self) {
        assert_adds_up(self.at("/requests"));
        for key in ["scheduled", "sent", "ok", "completed", "in_flight_at_end"] {
            let whole = self.count(&format!("/requests/{key}"));
            let nodes: u64 = self.nodes().iter().map(|node| node["requests"][key].as_u64().unwrap()).sum();
            assert_eq!(nodes, whole, "{key} of all nodes");
        }
        let rows = self.at("/intervals").as_array().unwrap();
        for key in ["scheduled", "sent", "ok"] {
            let rows: u64 = rows.iter().map(|row| row[key].as_u64().unwrap()).sum();
            assert_eq!(rows, self.count(&format!("/requests/{key}")), "{key} of all intervals");
        }
        self.nodes().iter().for_each(|node| assert_adds_up(&node["requests"]));
    }

    /// Every clock is known as well as it says: on one machine the truth is no difference.
    pub fn assert_clocks(&self, truth_ns: i64) {
        self.nodes().iter().for_each(|node| assert_clock(node, truth_ns));
    }

    pub fn reasons(&self) -> Vec<&str> {
        self.at("/verdict/reasons")
            .as_array()
            .unwrap()
            .iter()
            .map(|reason| reason["code"].as_str().unwrap())
            .collect()
    }

    /// The share that was missing in each interval.
    pub fn missing(&self) -> Vec<f64> {
        let rows = self.at("/intervals").as_array().unwrap();
        rows.iter().map(|row| row["missing"].as_f64().unwrap_or(0.0)).collect()
    }
}

/// A node's clock is known as well as it says; nothing is said of one that was never compared.
pub fn assert_clock(node: &Value, truth_ns: i64) {
    let clock = &node["clock"];
    let (Some(ahead), Some(bound)) = (clock["ahead_ns"].as_i64(), clock["bound_ns"].as_u64()) else { return };
    assert!(ahead.abs_diff(truth_ns) <= bound, "{ahead} ± {bound}, the truth is {truth_ns}");
}

/// Says loudly that a test could not do its work here; past the test runner, which hides what passing tests print.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

fn assert_adds_up(requests: &Value) {
    let of = |path: &str| requests.pointer(path).and_then(Value::as_u64).unwrap();
    let errors =
        ["reset", "closed", "timeout", "malformed", "aborted"].map(|kind| of(&format!("/errors/{kind}")));
    assert_eq!(of("/scheduled"), of("/sent") + of("/unsent/backlog") + of("/unsent/stopped"), "{requests}");
    let out = of("/ok") + of("/unexpected_status") + errors.iter().sum::<u64>() + of("/in_flight_at_end");
    assert_eq!(of("/sent"), out, "{requests}");
}
