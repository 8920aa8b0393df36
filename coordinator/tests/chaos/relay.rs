//! A bad network in user space: a UDP relay between leader and agent that loses, doubles, garbles and delays what passes.

use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What happens to datagrams; chances are per mille, the same in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub lose: u64,
    pub double: u64,
    pub garble: u64,
    /// On the way to the agent.
    pub delay_there: Duration,
    /// On the way back.
    pub delay_back: Duration,
    /// Up to so much more for each datagram, so that they overtake each other.
    pub jitter: Duration,
    /// Nothing passes at all.
    pub cut: bool,
}

/// A relay to one agent; gone when dropped.
pub struct Relay {
    address: SocketAddr,
    weather: Arc<Mutex<Weather>>,
    passed: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn to(agent: SocketAddr, weather: Weather, seed: u64) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = front.local_addr().unwrap();
        let (weather, passed, over) = (Arc::new(Mutex::new(weather)), Arc::default(), Arc::default());
        let pump = Pump {
            agent,
            weather: Arc::clone(&weather),
            passed: Arc::clone(&passed),
            over: Arc::clone(&over),
            random: seed | 1,
            agenda: BinaryHeap::new(),
            order: 0,
        };
        let thread = Some(thread::spawn(move || pump.run(front)));
        Self { address, weather, passed, over, thread }
    }

    /// Where leaders find the agent.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }

    /// Datagrams that got through so far.
    pub fn passed(&self) -> u64 {
        self.passed.load(Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

struct Pump {
    agent: SocketAddr,
    weather: Arc<Mutex<Weather>>,
    passed: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    random: u64,
    agenda: BinaryHeap<Late>,
    order: u64,
}

/// A datagram on its way; the heap's greatest is the next to arrive.
#[derive(PartialEq, Eq)]
struct Late {
    at: Instant,
    order: u64,
    back: bool,
    leader: SocketAddr,
    bytes: Vec<u8>,
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// How long the pump sleeps at most; the least that a delay can be told apart by.
const STEP: Duration = Duration::from_micros(200);

impl Pump {
    fn run(mut self, front: UdpSocket) {
        front.set_read_timeout(Some(STEP)).unwrap();
        // A socket a leader, so that the agent sees leaders apart and answers find back.
        let mut backs: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut buffer = vec![0; 65_536];
        while !self.over.load(Relaxed) {
            if let Ok((length, leader)) = front.recv_from(&mut buffer) {
                backs.entry(leader).or_insert_with(|| {
                    let back = UdpSocket::bind("127.0.0.1:0").unwrap();
                    back.connect(self.agent).unwrap();
                    back.set_nonblocking(true).unwrap();
                    back
                });
                self.take(leader, false, &buffer[..length]);
            }
            for (&leader, back) in &backs {
                while let Ok(length) = back.recv(&mut buffer) {
                    self.take(leader, true, &buffer[..length]);
                }
            }
            while self.agenda.peek().is_some_and(|late| late.at <= Instant::now()) {
                let late = self.agenda.pop().unwrap();
                self.passed.fetch_add(1, Relaxed);
                // Whoever is gone hears nothing, as in any network.
                let _ = if late.back {
                    front.send_to(&late.bytes, late.leader)
                } else {
                    backs[&late.leader].send(&late.bytes)
                };
            }
        }
    }

    fn take(&mut self, leader: SocketAddr, back: bool, bytes: &[u8]) {
        let weather = *self.weather.lock().unwrap();
        if weather.cut || self.chance(weather.lose) {
            return;
        }
        let copies = 1 + u64::from(self.chance(weather.double));
        for _ in 0..copies {
            let mut bytes = bytes.to_vec();
            if self.chance(weather.garble) {
                let at = self.draw() as usize % bytes.len();
                bytes[at] ^= 1 << (self.draw() % 8);
            }
            let delay = if back { weather.delay_back } else { weather.delay_there };
            let jitter = weather.jitter.mul_f64(self.draw() as f64 / u64::MAX as f64);
            self.order += 1;
            self.agenda.push(Late {
                at: Instant::now() + delay + jitter,
                order: self.order,
                back,
                leader,
                bytes,
            });
        }
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.draw() % 1000 < per_mille
    }

    fn draw(&mut self) -> u64 {
        // SplitMix64, so that a seed repeats the weather.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
