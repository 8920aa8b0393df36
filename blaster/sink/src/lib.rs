//! The built-in target server: counts exactly what arrives and answers from prepared bytes, on the same ring as
//! the blaster, so that it can be outrun by nothing that is measured against it.
//!
//! [`profile`] says what is answered, `server` is one thread's loop, [`counters`] are what it did, and
//! [`Sink`] holds the threads together.

#![forbid(unsafe_code)]

mod answers;
pub mod counters;
pub mod detail;
mod events;
mod held;
mod kept;
mod outbox;
pub mod pace;
mod pacer;
mod process;
pub mod profile;
mod queue;
mod server;
mod validate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use blaster_ring::{Clock, ProbeError, probe, socket, system};

use blaster_core::time::Nanos;
use counters::{Counters, Totals};
use detail::{Detail, Shown};
use profile::Behaviour;
use server::Server;

/// What a sink is to be.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What to answer.
    pub behaviour: Behaviour,
    /// A thread on each of these CPUs.
    pub cpus: Vec<usize>,
    /// Most connections a thread holds; further ones are closed at once.
    pub connections_per_thread: u32,
}

/// A running server.
pub struct Sink {
    address: SocketAddr,
    counters: Vec<Arc<Counters>>,
    stop: Arc<AtomicBool>,
    details: Vec<Shown>,
    threads: Vec<JoinHandle<Vec<Record>>>,
}

/// One request, as it was served; times since the sink started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When its last byte was seen.
    pub arrival: Nanos,
    /// How long it occupied a worker.
    pub service: Nanos,
    /// When its answer was handed over.
    pub answered: Nanos,
}

/// Why a sink could not start.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The kernel does not allow what it needs.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {error}: choose another address with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A thread could not be set up.
    #[error("cannot start the sink: {0}")]
    Start(io::Error),
}

/// Not as a source, which would be told twice.
impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self::Start(error)
    }
}

impl Sink {
    /// Listens, and serves on threads of its own until dropped.
    pub fn start(config: &SinkConfig) -> Result<Self, SinkError> {
        assert!(!config.cpus.is_empty(), "a sink needs a CPU");
        probe()?;
        if !socket::is_free(&config.listen) {
            let error = io::Error::from(io::ErrorKind::AddrInUse);
            return Err(SinkError::Listen { address: config.listen, error });
        }
        let listen =
            |address| socket::listener(&address).map_err(|error| SinkError::Listen { address, error });
        let first = listen(config.listen)?;
        let address = first.local_addr()?.as_socket().expect("a TCP listener has an internet address");
        let mut listeners = vec![first];
        for _ in 1..config.cpus.len() {
            listeners.push(listen(address)?);
        }
        let counters: Vec<_> = config.cpus.iter().map(|_| Arc::new(Counters::default())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let clock = Clock::start();
        let (ready, started) = std::sync::mpsc::channel();
        let details: Vec<_> = config.cpus.iter().map(|_| Arc::new(Mutex::new(Detail::new()))).collect();
        let first_request = Arc::new(AtomicU64::new(0));
        let mut sink = Self { address, counters, stop, details, threads: Vec::new() };
        for ((index, listener), &cpu) in listeners.into_iter().enumerate().zip(&config.cpus) {
            let (config, ready) = (config.clone(), ready.clone());
            let (counters, stop) = (sink.counters.clone(), sink.stop.clone());
            let (details, first_request) = (sink.details.clone(), first_request.clone());
            sink.threads.push(std::thread::Builder::new().name(format!("sink-{index}")).spawn(
                move || {
                    let server = system::pin_thread(&[cpu]).and_then(|()| {
                        Server::new(&config, clock, listener, counters, details, first_request, index)
                    });
                    match server {
                        Ok(mut server) => {
                            let _ = ready.send(Ok(()));
                            while !stop.load(Ordering::Relaxed) {
                                server.turn();
                            }
                            server.take_records()
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                            Vec::new()
                        }
                    }
                },
            )?);
        }
        for result in started.iter().take(config.cpus.len()) {
            result?;
        }
        Ok(sink)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all threads; what they recorded, if they were told to.
    pub fn finish(&mut self) -> Vec<Record> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).flat_map(|thread| thread.join().unwrap_or_default()).collect()
    }

    /// How long requests took, as far as threads have shown it: all of it once they are idle or ended.
    pub fn detail(&self) -> Detail {
        Detail::of(&self.details)
    }

    /// What all threads have counted so far.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.counters)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.finish();
    }
}
