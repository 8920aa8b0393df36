//! Making a machine ready for a plan, and putting it back: the scripts of the folder `tuning`, which are part of this binary.
//!
//! They are the only ones that know what matters (`knobs.conf`), read it and write it, so that a bare machine without the binary
//! and a run with `--tune` do the same. [`scripts`] runs them, [`tuned`] does so around a run.

pub mod scripts;
pub mod tuned;

/// What a plan needs of a machine, in the numbers that the scripts take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Needs {
    /// Requests a second at most; none in closed loop.
    pub rps: Option<u64>,
    /// All connections.
    pub connections: u64,
    /// Pairs of an address of this machine and one of the target that they share.
    pub addresses: u64,
    /// New connections a second to one address, all along.
    pub new_connections: u64,
    /// Threads that send.
    pub cores: u64,
    /// The built-in target runs in the same process.
    pub sink: bool,
    /// The target is on this machine.
    pub local: bool,
    /// At addresses of loopback alone.
    pub loopback: bool,
}

/// Closed loop is as fast as answers come; the scripts want a number.
const RPS_OF_CLOSED_LOOP: u64 = 100_000;

impl Needs {
    /// As the scripts' arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut list: Vec<String> = [
            ("--rps", self.rps.unwrap_or(RPS_OF_CLOSED_LOOP * self.cores)),
            ("--connections", self.connections),
            ("--addresses", self.addresses),
            ("--new-connections", self.new_connections),
            ("--cores", self.cores),
        ]
        .into_iter()
        .flat_map(|(flag, number)| [flag.to_owned(), number.to_string()])
        .collect();
        let place = match (self.sink, self.local, self.loopback) {
            (true, ..) => Some("--sink"),
            (false, true, true) => Some("--local"),
            (false, true, false) => Some("--own-address"),
            (false, false, _) => None,
        };
        list.extend(place.map(str::to_owned));
        list
    }
}
