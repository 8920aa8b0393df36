//! `--local N`: agents and a target on this machine, for a run that needs nothing else.
//!
//! Agents are child processes that are told a secret of their own on standard input, and end when that does: nothing outlives this
//! process, however it dies. They do not hear the terminal's Ctrl-C: whom it stops is the leader's affair.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blaster_ring::system;

use crate::hosts::Host;
use crate::plan::random;
use crate::secret::Secret;

/// Agents on this machine; gone when dropped.
pub struct Local {
    agents: Vec<Child>,
    hosts: Vec<Host>,
    secret: Secret,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No process, or no way to talk to it.
    #[error("cannot start agents on this machine")]
    Io(#[from] io::Error),
    /// One that ended at once.
    #[error("agent {index} on this machine did not start: {said}")]
    Ended {
        /// Which.
        index: usize,
        /// The last it said.
        said: String,
    },
}

/// Who runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// By agent.
    pub agents: Vec<Vec<usize>>,
    /// Of the target.
    pub sink: Vec<usize>,
    /// Whether agents and target have CPUs in common.
    pub shared: bool,
}

impl Places {
    /// Shares CPUs out. With more of them than agents the target has some to itself, about as many as all agents; else every agent
    /// has one, and the target takes what they leave.
    pub fn share(cpus: &[usize], agents: usize, with_sink: bool) -> Self {
        let of_sink = if !with_sink || cpus.len() <= agents {
            0
        } else {
            (cpus.len() / 2).clamp(1, cpus.len() - agents)
        };
        let (sink, rest) = cpus.split_at(of_sink);
        let of_agent = |index: usize| match rest.len() / agents {
            0 => vec![rest[rest.len() - 1 - index % rest.len()]],
            each => {
                let more = rest.len() % agents;
                let first = index * each + index.min(more);
                rest[first..first + each + usize::from(index < more)].to_vec()
            }
        };
        Self {
            agents: (0..agents).map(of_agent).collect(),
            sink: if of_sink == 0 { cpus.to_vec() } else { sink.to_vec() },
            shared: with_sink && of_sink == 0,
        }
    }
}

impl Local {
    /// Starts an agent for each place.
    pub fn start(places: &Places) -> Result<Self, LocalError> {
        let mut local = Self { agents: Vec::new(), hosts: Vec::new(), secret: Secret::random() };
        let cpus = system::allowed_cpus();
        for (index, place) in places.agents.iter().enumerate() {
            // An agent that has its CPU from a mask knows that a target on this machine shares it; from a flag, that it does not.
            let started = if places.shared {
                system::pin_thread(place)?;
                let started = local.spawn(index, &[]);
                system::pin_thread(&cpus)?;
                started
            } else {
                let list: Vec<_> = place.iter().map(usize::to_string).collect();
                local.spawn(index, &["--cores", &list.join(",")])
            };
            started?;
        }
        Ok(local)
    }

    /// Where they listen.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What lets a leader in.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Their process ids, in the order of the hosts.
    pub fn processes(&self) -> Vec<u32> {
        self.agents.iter().map(Child::id).collect()
    }

    fn spawn(&mut self, index: usize, flags: &[&str]) -> Result<(), LocalError> {
        let mut log = nameless_file()?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["agent", "--child", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .process_group(0)
            .spawn()?;
        let stdout = child.stdout.take().expect("it is piped");
        // One that has ended already says why.
        let _ = self.secret.write_line(child.stdin.as_ref().expect("it is piped"));
        self.agents.push(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let Ok(address) = line.trim().parse::<SocketAddr>() else {
            let mut text = String::new();
            log.rewind()?;
            let _ = log.read_to_string(&mut text);
            let said = text.lines().last().unwrap_or("it said nothing").to_owned();
            return Err(LocalError::Ended { index, said });
        };
        self.hosts.push(Host {
            host: address.ip().to_string(),
            port: address.port(),
            weight: 1,
            max_rps: None,
        });
        Ok(())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            // Its end is what tells it to end.
            drop(agent.stdin.take());
        }
        let until = Instant::now() + END_MAX;
        for agent in &mut self.agents {
            while let Ok(None) = agent.try_wait() {
                if Instant::now() >= until {
                    // One that is frozen does not hear.
                    let _ = agent.kill();
                    let _ = agent.wait();
                    break;
                }
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }
}

/// How long agents have to end once they are told to, and how often that is looked for.
const END_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A file that is gone with its last user.
fn nameless_file() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("coordinator-{:032x}.log", random()));
    let opened = File::options().read(true).write(true).create_new(true).open(&path);
    let file = opened.map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}: TMPDIR names another place", path.display()))
    })?;
    fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_agents_on_two_cpus_have_one_each_and_share_them_with_the_target() {
        let places = Places::share(&[0, 1], 2, true);
        assert_eq!(places, Places { agents: vec![vec![0], vec![1]], sink: vec![0, 1], shared: true });
    }

    #[test]
    fn with_cpus_to_spare_the_target_has_its_own() {
        let places = Places::share(&[0, 1, 2, 3], 2, true);
        assert_eq!(places, Places { agents: vec![vec![2], vec![3]], sink: vec![0, 1], shared: false });
        let places = Places::share(&[0, 1, 2], 2, true);
        assert_eq!(places, Places { agents: vec![vec![1], vec![2]], sink: vec![0], shared: false });
        let places = Places::share(&(0..9).collect::<Vec<_>>(), 2, true);
        assert_eq!((places.agents, places.sink.len()), (vec![vec![4, 5, 6], vec![7, 8]], 4));
    }

    #[test]
    fn without_a_target_agents_share_all() {
        let places = Places::share(&[0, 1, 2], 2, false);
        assert_eq!((places.agents, places.shared), (vec![vec![0, 1], vec![2]], false));
        assert_eq!(Places::share(&[5], 3, false).agents, vec![vec![5]; 3]);
    }
}
