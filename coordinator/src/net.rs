//! QUIC between leader and agents: whole messages in one stream, clock exchanges in datagrams. What they mean is the protocol's.
//!
//! Only who proves the secret gets as far as a stream. Before that an agent keeps no state for addresses that have not answered once
//! (a retry, RFC 9000 section 8.1.2, so that it cannot be used to flood others either), and few handshakes at a time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use blaster_core::time::Nanos;
use blaster_ring::system;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, Incoming, ReadExactError, RecvStream,
    SendStream, ServerConfig, TransportConfig, VarInt,
};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::secret::Secret;
use crate::trust;

/// The largest message: the files of a run, or an interval of many classes.
pub const FRAME_BYTES_MAX: usize = 96 << 20;

/// A connection that nothing was heard on for so long is over; a new one takes its place.
const IDLE_MAX_MS: u32 = 4_000;

/// Well below that, so that a lost packet or two end nothing.
const KEEP_ALIVE: Duration = Duration::from_millis(1_000);

/// Longest wait for a handshake; and for that of somebody who may be a stranger.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const STRANGER_MAX: Duration = Duration::from_secs(2);

/// Longest wait for what was said last to arrive.
pub const FAREWELL_MAX: Duration = Duration::from_millis(500);

/// Strangers at the door at a time, of all addresses and of one; those beyond are not heard.
const HANDSHAKES_MAX: usize = 64;
const HANDSHAKES_OF_ONE_MAX: usize = 8;

/// What a link brings.
#[derive(Debug)]
pub enum Heard {
    /// A message.
    Frame(Vec<u8>),
    /// A datagram, and what `CLOCK_MONOTONIC` showed when it came.
    Datagram(Vec<u8>, Nanos),
    /// Nothing more.
    Closed(String),
    /// Nothing more, since what came was no message.
    Malformed(String),
}

/// A connection to the other side, to speak through.
#[derive(Clone, Debug)]
pub struct Link {
    connection: Connection,
    frames: UnboundedSender<Option<Vec<u8>>>,
}

/// Why there is no connection to an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Another secret.
    #[error("it has another secret: copy this one's file there, or name its own with --secret")]
    Secret,
    /// Another protocol.
    #[error("it speaks another version of the protocol: run the same version on all nodes")]
    Version,
    /// Silence.
    #[error(
        "no answer: does `coordinator agent` run there and --listen on that address, and does a firewall let UDP through?"
    )]
    Silent,
    /// A name without address.
    #[error("cannot resolve its name: {0}")]
    Name(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Opens the agent's port.
pub fn listen(address: SocketAddr, secret: &Secret) -> io::Result<Endpoint> {
    let crypto = trust::agent(secret).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport(1)));
    config.max_incoming(HANDSHAKES_MAX * 4).incoming_buffer_size_total(4 << 20).migration(false);
    Endpoint::server(config, address)
}

/// A leader's endpoint, for agents of that family of addresses.
pub fn endpoint(secret: &Secret, v6: bool) -> io::Result<Endpoint> {
    let crypto = trust::leader(secret).map_err(io::Error::other)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(0)));
    let any: SocketAddr = if v6 { "[::]:0".parse() } else { "0.0.0.0:0".parse() }.expect("a constant");
    let mut endpoint = Endpoint::client(any)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

fn transport(streams_of_peer: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_of_peer))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MAX_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE));
    config
}

/// Takes in leaders that prove the secret, one after another, each as a link whose words go to `heard` under a number of its own.
/// `log` hears of those who do not.
pub async fn accept(
    endpoint: Endpoint,
    heard: Sender<(u64, Heard)>,
    links: UnboundedSender<(u64, SocketAddr, Link)>,
    log: impl Fn(String) + Clone + Send + 'static,
) {
    let door = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut doors: HashMap<IpAddr, Arc<Semaphore>> = HashMap::new();
    let mut number = 0;
    while let Some(incoming) = endpoint.accept().await {
        if !incoming.remote_address_validated() {
            // It comes again with a token, if it is where it says it is.
            let _ = incoming.retry();
            continue;
        }
        // Whoever is not at the door has no place to keep.
        doors.retain(|_, door| Arc::strong_count(door) > 1);
        let own = doors.entry(incoming.remote_address().ip());
        let own = Arc::clone(own.or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES_OF_ONE_MAX))));
        let (Ok(own), Ok(place)) = (own.try_acquire_owned(), Arc::clone(&door).try_acquire_owned()) else {
            incoming.ignore();
            continue;
        };
        number += 1;
        let (heard, links, log) = (heard.clone(), links.clone(), log.clone());
        tokio::spawn(async move {
            let from = incoming.remote_address();
            let shaken = timeout(STRANGER_MAX, welcome(incoming)).await;
            drop((own, place));
            match shaken {
                Ok(Ok(shaken)) => {
                    let link = Link::run(number, shaken, heard);
                    let _ = links.send((number, from, link));
                }
                Ok(Err(error)) => log(format!("refused {from}: {}", refusal(&error))),
                Err(_) => log(format!("refused {from}: no handshake in time")),
            }
        });
    }
}

async fn welcome(incoming: Incoming) -> Result<Shaken, ConnectionError> {
    let connection = incoming.accept()?.await?;
    let streams = connection.accept_bi().await?;
    Ok((connection, streams))
}

/// A connection that stands, and the stream to talk over.
pub type Shaken = (Connection, (SendStream, RecvStream));

/// Connects to an agent; [`Link::run`] goes on with that.
pub async fn connect(endpoint: &Endpoint, address: SocketAddr) -> Result<Shaken, ConnectError> {
    let connecting =
        endpoint.connect(address, trust::AGENT).map_err(|error| ConnectError::Other(error.to_string()))?;
    let shaken = timeout(HANDSHAKE_MAX, async {
        let connection = connecting.await?;
        let streams = connection.open_bi().await?;
        Ok((connection, streams))
    });
    match shaken.await {
        Ok(shaken) => shaken.map_err(|error| ConnectError::of(&error)),
        Err(_) => Err(ConnectError::Silent),
    }
}

impl Link {
    /// Says a message.
    pub fn send(&self, frame: Vec<u8>) {
        // A closed link tells so by what is heard from it.
        let _ = self.frames.send(Some(frame));
    }

    /// Says something that may get lost.
    pub fn send_datagram(&self, bytes: Vec<u8>) {
        let _ = self.connection.send_datagram(bytes.into());
    }

    /// Waits a moment until the other side has what was said.
    pub async fn finish(&self) {
        let _ = self.frames.send(None);
        let _ = timeout(FAREWELL_MAX, self.frames.closed()).await;
    }

    /// Ends it; the other side hears why.
    pub fn close(&self, why: &str) {
        self.connection.close(VarInt::from_u32(0), why.as_bytes());
    }

    /// Takes a connection up. What the other side says goes to `heard` under `number`.
    pub fn run(number: u64, shaken: Shaken, heard: Sender<(u64, Heard)>) -> Self {
        let (frames, outbox) = unbounded_channel();
        let (connection, (sending, receiving)) = shaken;
        tokio::spawn(write(sending, outbox));
        tokio::spawn(read_datagrams(number, connection.clone(), heard.clone()));
        tokio::spawn(read(number, connection.clone(), receiving, heard));
        Self { connection, frames }
    }
}

async fn write(mut stream: SendStream, mut outbox: UnboundedReceiver<Option<Vec<u8>>>) {
    while let Some(Some(frame)) = outbox.recv().await {
        let length = (frame.len() as u32).to_le_bytes();
        if stream.write_all(&length).await.is_err() || stream.write_all(&frame).await.is_err() {
            return;
        }
    }
    let _ = stream.finish();
    let _ = stream.stopped().await;
}

async fn read(number: u64, connection: Connection, mut stream: RecvStream, heard: Sender<(u64, Heard)>) {
    let over = loop {
        match frame(&mut stream).await {
            Ok(frame) => {
                if heard.send((number, Heard::Frame(frame))).await.is_err() {
                    return;
                }
            }
            Err(NoFrame::TooLarge(length)) => {
                connection.close(VarInt::from_u32(1), b"a message is too large");
                break Heard::Malformed(format!(
                    "a message of {length} bytes came, {FRAME_BYTES_MAX} are the most"
                ));
            }
            Err(NoFrame::Truncated) => {
                connection.close(VarInt::from_u32(1), b"a message is not whole");
                break Heard::Malformed("a message ended before its end".to_owned());
            }
            Err(NoFrame::Over) => break Heard::Closed(farewell(&connection.closed().await)),
        }
    };
    let _ = heard.send((number, over)).await;
}

/// Why there is no next message.
enum NoFrame {
    /// Of so many bytes.
    TooLarge(usize),
    /// Its sender ended it too early.
    Truncated,
    /// There is no more.
    Over,
}

/// The next message.
async fn frame(stream: &mut RecvStream) -> Result<Vec<u8>, NoFrame> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(read) if read > 0 => NoFrame::Truncated,
        _ => NoFrame::Over,
    })?;
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(NoFrame::TooLarge(length));
    }
    // It grows with what really comes.
    let mut frame = Vec::new();
    while frame.len() < length {
        match stream.read_chunk(length - frame.len(), true).await {
            Ok(Some(chunk)) => frame.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err(NoFrame::Truncated),
            Err(_) => return Err(NoFrame::Over),
        }
    }
    Ok(frame)
}

async fn read_datagrams(number: u64, connection: Connection, heard: Sender<(u64, Heard)>) {
    while let Ok(bytes) = connection.read_datagram().await {
        let at = system::monotonic();
        if heard.send((number, Heard::Datagram(bytes.into(), at))).await.is_err() {
            return;
        }
    }
}

/// Alerts of TLS (RFC 8446, section 6) that say that a certificate is not what was wanted, and that there is no common protocol.
const ALERTS_CERTIFICATE: [u64; 8] = [42, 43, 44, 46, 48, 49, 51, 116];
const ALERT_PROTOCOL: u64 = 120;

/// The TLS alert that ended a connection, whichever side found fault.
fn alert(error: &ConnectionError) -> Option<u64> {
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => return None,
    };
    (code & !0xff == 0x100).then_some(code & 0xff)
}

impl ConnectError {
    /// In words of ours.
    pub fn of(error: &ConnectionError) -> Self {
        match (alert(error), error) {
            (Some(alert), _) if ALERTS_CERTIFICATE.contains(&alert) => Self::Secret,
            (Some(ALERT_PROTOCOL), _) | (_, ConnectionError::VersionMismatch) => Self::Version,
            (_, ConnectionError::TimedOut) => Self::Silent,
            (_, error) => Self::Other(error.to_string()),
        }
    }
}

/// Why somebody was not let in.
fn refusal(error: &ConnectionError) -> String {
    match ConnectError::of(error) {
        ConnectError::Secret => "it does not prove the secret".to_owned(),
        ConnectError::Version => "it speaks another version of the protocol".to_owned(),
        ConnectError::Silent => "no handshake in time".to_owned(),
        other => other.to_string(),
    }
}

/// Why a connection is over.
fn farewell(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => format!("nothing was heard for {} s", IDLE_MAX_MS / 1_000),
        ConnectionError::ApplicationClosed(close) => String::from_utf8_lossy(&close.reason).into_owned(),
        ConnectionError::Reset => "it knows nothing of this connection any more".to_owned(),
        error => match ConnectError::of(error) {
            ConnectError::Silent => "nothing was heard".to_owned(),
            other => other.to_string(),
        },
    }
}
