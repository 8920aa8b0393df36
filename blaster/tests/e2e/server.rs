//! An HTTP server that does what a test tells it to, right or wrong.
//!
//! A script is a function that is run on a thread for every connection; it reads requests off a [`Peer`], framed exactly and
//! counted, and writes whatever bytes it likes, in pieces of its choice. When it returns, the connection is closed.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;

/// A server on a free port of the loopback interface, gone with its test.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    requests: AtomicU64,
    connections: AtomicU64,
    stop: AtomicBool,
    /// To wake what parks, and to end what reads or writes.
    stopped: (Mutex<bool>, Condvar),
    streams: Mutex<Vec<Weak<TcpStream>>>,
}

/// A connection, seen from the server.
pub struct Peer {
    stream: Arc<TcpStream>,
    shared: Arc<Shared>,
    /// How many connections were accepted before it.
    pub index: u64,
    /// Received and not yet taken as a request.
    unread: Vec<u8>,
}

/// A request, as received.
#[derive(Debug)]
pub struct Request {
    /// Up to the empty line and with it.
    pub head: String,
    pub body: Vec<u8>,
}

impl Server {
    /// Runs the script for each connection.
    pub fn start(script: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let (shared, script) = (shared.clone(), Arc::new(script));
            move || accept(&listener, &shared, &script)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Gives every request the answer that `answer` has for it, by its number on its connection.
    pub fn answering(answer: impl Fn(u64, &Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |peer| {
            let mut number = 0;
            while let Some(request) = peer.request()? {
                peer.send(&answer(number, &request))?;
                number += 1;
            }
            Ok(())
        })
    }

    /// For the command line: a plain request's target.
    pub fn target(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Requests received whole.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        *self.shared.stopped.0.lock().expect("no script panics while it holds it") = true;
        self.shared.stopped.1.notify_all();
        for stream in self.shared.streams.lock().expect("likewise").iter().filter_map(Weak::upgrade) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The acceptor wakes for one more connection.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

fn accept<S>(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<S>)
where
    S: Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
{
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        let Ok(stream) = stream.map(Arc::new) else { continue };
        // Every write is to leave at once, alone.
        stream.set_nodelay(true).expect("a TCP socket");
        shared.streams.lock().expect("no script panics while it holds it").push(Arc::downgrade(&stream));
        let index = shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut peer = Peer { stream, shared: shared.clone(), index, unread: Vec::new() };
        let script = script.clone();
        // A client that goes away in the middle is what many tests are about.
        threads.push(thread::spawn(move || drop(script(&mut peer))));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

impl Peer {
    /// The next request, whole; none when the client has closed.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.head()? else { return Ok(None) };
        let length = content_length(&head);
        while self.unread.len() < length {
            if !self.read()? {
                return Ok(None);
            }
        }
        let body = self.unread.drain(..length).collect();
        self.shared.requests.fetch_add(1, Ordering::SeqCst);
        Ok(Some(Request { head, body }))
    }

    /// The head of the next request; its body, which is not counted as received, stays where it is.
    pub fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.unread.drain(..at + 4).collect();
                return Ok(Some(String::from_utf8(head).expect("the blaster's heads are text")));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Takes the body that belongs to a head: then the request is received.
    pub fn body(&mut self, head: &str) -> io::Result<()> {
        let mut left = content_length(head);
        loop {
            let taken = left.min(self.unread.len());
            self.unread.drain(..taken);
            left -= taken;
            if left == 0 {
                self.shared.requests.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            if !self.read()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// All requests that are here already, and at least one; none when the client has closed.
    pub fn batch(&mut self) -> io::Result<usize> {
        let mut count = 0;
        loop {
            if self.request()?.is_none() {
                return Ok(count);
            }
            count += 1;
            if self.unread.is_empty() {
                return Ok(count);
            }
        }
    }

    /// Where the client connects from.
    pub fn address(&self) -> SocketAddr {
        self.stream.peer_addr().expect("it is connected")
    }

    /// One write.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&*self.stream).write_all(bytes)
    }

    /// A write for every piece of at most `size` bytes.
    pub fn send_in_pieces(&mut self, bytes: &[u8], size: usize) -> io::Result<()> {
        bytes.chunks(size).try_for_each(|piece| self.send(piece))
    }

    /// Closes in good order: ends its own side, and counts what the client had already sent.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        while self.request()?.is_some() {}
        Ok(())
    }

    /// Makes the close that follows a reset.
    pub fn reset(&mut self) -> io::Result<()> {
        SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Does nothing until the test is over; not even reads.
    pub fn park(&mut self) -> io::Result<()> {
        let (stopped, wake) = &self.shared.stopped;
        drop(wake.wait_while(stopped.lock().expect("nobody panics while holding it"), |stopped| !*stopped));
        Ok(())
    }

    /// Whether anything came before the end of the stream.
    fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64 * 1024];
        let count = (&*self.stream).read(&mut bytes)?;
        self.unread.extend_from_slice(&bytes[..count]);
        Ok(count > 0)
    }
}

fn content_length(head: &str) -> usize {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().expect("the blaster's lengths are numbers"))
}

/// An answer with a length: what most servers say.
pub fn answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The same, and the last one.
pub fn last_answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Whatever\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}
