//! A leader's links to its nodes: opened when asked, by name, and told apart however often they break.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use blaster_core::time::Nanos;
use blaster_ring::system;
use coordinator_protocol::message::{Datagram, ToAgent, ToLeader, decode, encode};
use quinn::Endpoint;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::hosts::Host;
use crate::net::{self, ConnectError, Heard, Link};
use crate::secret::Secret;

/// Words of agents that wait to be heard; beyond them agents wait.
const HEARD_MAX: usize = 4096;

/// Between the attempts to reach a node at one of its addresses and at the next.
const ATTEMPT_EVERY: Duration = Duration::from_millis(250);

/// Links to all nodes.
pub struct Nodes {
    hosts: Vec<Host>,
    v4: Endpoint,
    v6: Option<Endpoint>,
    /// By node: the number of its latest link, and the link if it stands.
    links: Vec<(u64, Option<Link>)>,
    /// By number of a link: its node.
    of_number: HashMap<u64, usize>,
    numbers: u64,
    heard_in: Sender<(u64, Heard)>,
    heard: Receiver<(u64, Heard)>,
    opened_in: UnboundedSender<(u64, Result<Link, ConnectError>)>,
    opened: UnboundedReceiver<(u64, Result<Link, ConnectError>)>,
}

/// What happened to a node's link.
#[derive(Debug)]
pub enum Word {
    /// It stands.
    Connected,
    /// It cannot be opened, or broke.
    Closed(String),
    /// A message.
    Message(Box<ToLeader>),
    /// A datagram, and when it came.
    Datagram(Datagram, Nanos),
}

impl Nodes {
    /// Opens nothing yet.
    pub fn new(hosts: Vec<Host>, secret: &Secret) -> io::Result<Self> {
        let (heard_in, heard) = channel(HEARD_MAX);
        let (opened_in, opened) = unbounded_channel();
        Ok(Self {
            links: hosts.iter().map(|_| (0, None)).collect(),
            hosts,
            v4: net::endpoint(secret, false)?,
            // A machine may have none.
            v6: net::endpoint(secret, true).ok(),
            of_number: HashMap::new(),
            numbers: 0,
            heard_in,
            heard,
            opened_in,
            opened,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    /// Opens a link to a node.
    pub fn connect(&mut self, node: usize) {
        self.numbers += 1;
        let number = self.numbers;
        self.of_number.insert(number, node);
        self.links[node] = (number, None);
        let host = self.hosts[node].clone();
        let (v4, v6) = (self.v4.clone(), self.v6.clone());
        let (heard, opened) = (self.heard_in.clone(), self.opened_in.clone());
        tokio::spawn(async move {
            let link = open(&host, &v4, v6.as_ref(), number, heard).await;
            let _ = opened.send((number, link));
        });
    }

    /// What happens next, and to which node.
    pub async fn next(&mut self) -> (usize, Word) {
        loop {
            let (number, word) = tokio::select! {
                biased;
                Some((number, opened)) = self.opened.recv() => (number, match opened {
                    Ok(link) => {
                        if let Some((latest, slot)) = self.of_number.get(&number).map(|&node| &mut self.links[node])
                            && *latest == number
                        {
                            *slot = Some(link);
                        }
                        Word::Connected
                    }
                    Err(error) => Word::Closed(error.to_string()),
                }),
                Some((number, heard)) = self.heard.recv() => (number, understand(heard)),
            };
            let Some(&node) = self.of_number.get(&number) else { continue };
            if self.links[node].0 != number {
                // Of a link that another has taken the place of.
                continue;
            }
            if matches!(word, Word::Closed(_)) {
                self.of_number.remove(&number);
                if let Some(link) = self.links[node].1.take() {
                    link.close("it made no sense");
                }
            }
            return (node, word);
        }
    }

    /// Says something to a node, if there is a link.
    pub fn say(&self, node: usize, message: &ToAgent) {
        if let Some(link) = &self.links[node].1 {
            link.send(encode(message));
        }
    }

    /// Asks a node for the time.
    pub fn ping(&self, node: usize) {
        if let Some(link) = &self.links[node].1 {
            link.send_datagram(encode(&Datagram::Ping { t1: system::monotonic() }));
        }
    }

    /// Lets what was said leave, then closes all links.
    pub async fn close(self) {
        let mut farewells = JoinSet::new();
        for link in self.links.into_iter().filter_map(|(_, link)| link) {
            farewells.spawn(async move { link.finish().await });
        }
        farewells.join_all().await;
        let endpoints = [Some(self.v4), self.v6];
        for endpoint in endpoints.iter().flatten() {
            endpoint.close(0_u32.into(), b"the leader is done");
        }
        for endpoint in endpoints.iter().flatten() {
            // Whoever is frozen does not say that it heard.
            let _ = timeout(net::FAREWELL_MAX, endpoint.wait_idle()).await;
        }
    }
}

/// Tries the addresses of a name, each a moment after the one before, and takes the first that answers (as RFC 8305 does it for TCP).
async fn open(
    host: &Host,
    v4: &Endpoint,
    v6: Option<&Endpoint>,
    number: u64,
    heard: Sender<(u64, Heard)>,
) -> Result<Link, ConnectError> {
    let addresses = tokio::net::lookup_host((host.host.as_str(), host.port))
        .await
        .map_err(|error| ConnectError::Name(error.to_string()))?;
    let mut attempts = JoinSet::new();
    for address in addresses {
        let Some(endpoint) = (if address.is_ipv6() { v6 } else { Some(v4) }).cloned() else { continue };
        let wait = ATTEMPT_EVERY * attempts.len() as u32;
        attempts.spawn(async move {
            sleep(wait).await;
            net::connect(&endpoint, address).await
        });
    }
    let mut latest = ConnectError::Name("it has no address".to_owned());
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            // The others are given up with the set.
            Ok(Ok(shaken)) => return Ok(Link::run(number, shaken, heard)),
            Ok(Err(error)) => latest = error,
            Err(_) => {}
        }
    }
    Err(latest)
}

fn understand(heard: Heard) -> Word {
    match heard {
        Heard::Frame(bytes) => decode(&bytes).map_or_else(
            |error| Word::Closed(format!("it said {error}")),
            |message| Word::Message(Box::new(message)),
        ),
        Heard::Datagram(bytes, at) => decode(&bytes).map_or_else(
            |error| Word::Closed(format!("it said {error}")),
            |datagram| Word::Datagram(datagram, at),
        ),
        Heard::Closed(why) | Heard::Malformed(why) => Word::Closed(why),
    }
}
