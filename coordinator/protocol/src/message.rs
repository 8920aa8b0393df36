//! What is said. Every message is a byte of [`VERSION`] and the rest in postcard; whoever hears something else refuses it.

use blaster_core::time::Nanos;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Exchange;
use crate::delta::Delta;
use crate::shares::Part;

/// Of all that is said here; a change that the other side would misunderstand changes it.
pub const VERSION: u8 = 5;

/// A run, unlike any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunId(pub u128);

/// What a leader says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToAgent {
    /// Who are you? Answered with [`ToLeader::Status`].
    Status,
    /// Find out what this node can send of a run, against a target of its own. Answered with [`ToLeader::Measured`] or
    /// [`ToLeader::Refused`].
    Measure(Box<Task>),
    /// Is your machine ready for your part of such a run? Answered with [`ToLeader::Examined`] or [`ToLeader::Refused`].
    Examine {
        /// Of all nodes.
        task: Box<Task>,
        /// So many new connections a second are this node's.
        new_connections: u64,
    },
    /// Get ready for a run, in place of one of the same leader that was not started. Answered with [`ToLeader::Ready`] or
    /// [`ToLeader::Refused`].
    Prepare(Box<Task>),
    /// Request times count from `at`, by the agent's clock.
    Start {
        /// Which run.
        run: RunId,
        /// By the agent's clock.
        at: Nanos,
    },
    /// Send until then, and longer only if told so before.
    Permit {
        /// Which run.
        run: RunId,
        /// By the agent's clock.
        until: Nanos,
    },
    /// Send this part of the run as well: who was to send it does no longer. Answered with [`ToLeader::TookOver`]; said again after a link
    /// broke, and done once.
    TakeOver {
        /// Which run.
        run: RunId,
        /// Counted from 0 for each node.
        number: u32,
        /// Of the whole run's requests.
        part: Part,
        /// Those that are intended then or later, counted from the start.
        from: Nanos,
    },
    /// Stop sending and wait for answers; `now`: do not wait.
    Finish {
        /// Which run.
        run: RunId,
        /// Whether what is in flight is given up.
        now: bool,
    },
    /// I am back: say what I have not heard, from this number on.
    Resume {
        /// Which run.
        run: RunId,
        /// The first delta that is wanted.
        next: u32,
    },
    /// All deltas below this number have come.
    Heard {
        /// Which run.
        run: RunId,
        /// The first that has not.
        next: u32,
    },
    /// The leader has all it wants.
    Release {
        /// Which run.
        run: RunId,
    },
    /// Stop whatever run there is, whoever leads it. Answered with [`ToLeader::Stopped`].
    Stop,
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToLeader {
    /// Who it is.
    Status(Box<Status>),
    /// It has a run of somebody else's.
    Busy(Holder),
    /// It will not, or cannot; why.
    Refused {
        /// Which run.
        run: RunId,
        /// Why.
        why: String,
    },
    /// It can send so much of the run.
    Measured {
        /// Which run.
        run: RunId,
        /// Requests per second, whole: a rate is no more exact than that.
        rate: u64,
    },
    /// How it stands with its machine.
    Examined {
        /// Which run.
        run: RunId,
        /// As its shell packs it.
        diagnosis: Vec<u8>,
    },
    /// Its connections are open.
    Ready {
        /// Which run.
        run: RunId,
        /// For which of its preparations.
        preparation: u32,
        /// What is about to be done, for the report.
        facts: Box<Ready>,
    },
    /// It sends that part as well; or why not.
    TookOver {
        /// Which run.
        run: RunId,
        /// Which of those it was told to.
        number: u32,
        /// What is in the way, if something is.
        refused: Option<String>,
    },
    /// What a shard saw in an interval.
    Delta {
        /// Which run.
        run: RunId,
        /// Counted from 0; each number once, however often it is said.
        number: u32,
        /// What it saw.
        delta: Box<Delta>,
    },
    /// The run is over here.
    Ended {
        /// Which run.
        run: RunId,
        /// So many deltas there are.
        deltas: u32,
        /// When its first request was intended and sent.
        first: First,
        /// Its permit ran out: it heard nothing of its leader for too long.
        lapsed: bool,
        /// The agent's own report, without histograms; or why there is none.
        report: Result<Vec<u8>, String>,
    },
    /// It has no such run.
    Unknown {
        /// Which.
        run: RunId,
    },
    /// The run it had is stopped, if it had one.
    Stopped(Option<Holder>),
}

/// A node's first request, by its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// Its intended time; none in closed loop.
    pub due: Option<Nanos>,
    /// When it was sent; none if there was none.
    pub sent: Option<Nanos>,
}

/// Who has an agent's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// Where the leader is.
    pub leader: String,
    /// For how long.
    pub held: Nanos,
}

/// What a node is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The run.
    pub run: RunId,
    /// Counted from 0: whenever a node goes out before the start, the others get ready anew.
    pub preparation: u32,
    /// The arguments of the whole run, as typed.
    pub args: Vec<String>,
    /// The files they name, as the shell packs them.
    pub files: Vec<u8>,
    /// Repeats payloads and arrivals.
    pub seed: u64,
    /// Which node it is.
    pub index: u32,
    /// The shares of all nodes, in proportion.
    pub weights: Vec<u32>,
}

/// What a node is about to do, for the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// The plan's and the machine's facts, as the shell packs them.
    pub facts: Vec<u8>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How many shards say deltas.
    pub shards: u32,
    /// What the user should know.
    pub remarks: Vec<String>,
}

/// Who a node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its process, unlike any other: one agent under two names is one node.
    pub agent: u64,
    /// Of the program.
    pub version: String,
    /// Of the kernel.
    pub kernel: String,
    /// CPUs its runs may use.
    pub cores: u32,
    /// Most requests per second, if that is bounded.
    pub max_rps: Option<f64>,
    /// Whom it may load; empty is anybody.
    pub allowed: Vec<String>,
    /// What would stop a run.
    pub problems: Vec<String>,
    /// Who has its run.
    pub holder: Option<Holder>,
    /// Runs since it was started.
    pub runs: u64,
    /// Messages refused since then.
    pub refused: u64,
}

/// A clock exchange, in datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datagram {
    /// The leader's.
    Ping {
        /// Sent, by the leader's clock.
        t1: Nanos,
    },
    /// The agent's answer.
    Pong {
        /// As it came.
        t1: Nanos,
        /// The ping received, by the agent's clock.
        t2: Nanos,
        /// The answer sent, by the agent's clock.
        t3: Nanos,
        /// CPU time that its process has used until about then.
        cpu: Nanos,
    },
}

impl Datagram {
    /// The exchange that an answer, received at `t4`, completes.
    pub fn exchange(self, t4: Nanos) -> Option<Exchange> {
        match self {
            Self::Ping { .. } => None,
            Self::Pong { t1, t2, t3, .. } => Some(Exchange { t1, t2, t3, t4 }),
        }
    }
}

/// What cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Nothing.
    #[error("an empty message")]
    Empty,
    /// Another version.
    #[error(
        "a message of version {0} of the protocol, this is version {VERSION}: run the same version on all nodes"
    )]
    Version(u8),
    /// No message.
    #[error("no message of this protocol: {0}")]
    Malformed(String),
    /// A message, and something behind it.
    #[error("a message with {0} bytes too many")]
    Trailing(usize),
}

/// The bytes of a message.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION])
        .expect("a message has only plain values, and memory does not fail")
}

/// The message of bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    let (&version, rest) = bytes.split_first().ok_or(MessageError::Empty)?;
    if version != VERSION {
        return Err(MessageError::Version(version));
    }
    let (message, rest) =
        postcard::take_from_bytes(rest).map_err(|error| MessageError::Malformed(error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(MessageError::Trailing(rest.len())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let run = RunId(u128::MAX - 5);
        let messages = [
            ToAgent::Status,
            ToAgent::Start { run, at: Nanos(7) },
            ToAgent::Prepare(Box::new(Task {
                run,
                preparation: 1,
                args: vec!["--rps=5m".into()],
                files: vec![0, 255],
                seed: 3,
                index: 1,
                weights: vec![1, 2],
            })),
        ];
        for message in messages {
            assert_eq!(decode::<ToAgent>(&encode(&message)), Ok(message));
        }
    }

    #[test]
    fn other_versions_and_trailing_bytes_are_refused() {
        let mut bytes = encode(&ToAgent::Stop);
        bytes.push(0);
        assert_eq!(decode::<ToAgent>(&bytes), Err(MessageError::Trailing(1)));
        bytes[0] = 9;
        assert_eq!(decode::<ToAgent>(&bytes), Err(MessageError::Version(9)));
        assert_eq!(decode::<ToAgent>(&[]), Err(MessageError::Empty));
        let long = encode(&ToLeader::Refused { run: RunId(1), why: "no".into() });
        for cut in 1..long.len() {
            assert!(matches!(decode::<ToLeader>(&long[..cut]), Err(MessageError::Malformed(_))), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), first in any::<bool>()) {
            let mut bytes = bytes;
            if first && !bytes.is_empty() {
                bytes[0] = VERSION;
            }
            let _ = decode::<ToAgent>(&bytes);
            let _ = decode::<Datagram>(&bytes);
            if let Ok(message) = decode::<ToLeader>(&bytes) {
                let again: ToLeader = decode(&encode(&message)).unwrap();
                prop_assert_eq!(encode(&again), encode(&message));
            }
        }
    }
}
