//! The scripts, in a folder of their own for as long as they are needed.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const FILES: [(&str, &str); 5] = [
    ("lib.sh", include_str!("../../../tuning/lib.sh")),
    ("check.sh", include_str!("../../../tuning/check.sh")),
    ("apply.sh", include_str!("../../../tuning/apply.sh")),
    ("revert.sh", include_str!("../../../tuning/revert.sh")),
    ("knobs.conf", include_str!("../../../tuning/knobs.conf")),
];

/// The scripts, written out; gone when dropped.
pub struct Scripts {
    folder: PathBuf,
}

/// What a script said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// Lines of its standard output.
    pub lines: Vec<String>,
    /// Of its standard error.
    pub complaint: String,
}

/// One thing of a machine that matters to a plan.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// How it stands.
    pub state: State,
    /// What it is.
    pub knob: String,
    /// What is there.
    pub now: String,
    /// What is wanted.
    pub wanted: String,
    /// Whether `--fix` sets it.
    pub settable: bool,
    /// What it comes to for this plan, and what to do; empty if it is as wanted.
    pub text: String,
}

/// How a knob stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The plan cannot work like that.
    Stops,
    /// It works, but worse.
    Costs,
    /// As wanted.
    Ok,
}

impl Scripts {
    /// Writes them out.
    pub fn new() -> io::Result<Self> {
        // Nobody can have guessed the name; a folder that is there already would not be written into.
        let folder = std::env::temp_dir().join(format!("blaster-tuning-{:016x}", crate::random_seed()));
        let named = |error: io::Error| {
            let path = folder.display();
            io::Error::new(error.kind(), format!("cannot write {path}: {error}: TMPDIR names another place"))
        };
        DirBuilder::new().mode(0o700).create(&folder).map_err(named)?;
        let scripts = Self { folder: folder.clone() };
        for (name, text) in FILES {
            fs::write(scripts.folder.join(name), text).map_err(named)?;
        }
        Ok(scripts)
    }

    /// Runs one of them, to its end: what a terminal sends to whoever runs it, as by Ctrl-C, it does not hear.
    pub fn run(&self, script: &str, arguments: &[String]) -> io::Result<Said> {
        let output = Command::new("/bin/sh")
            .arg(self.folder.join(script))
            .args(arguments)
            .stdin(Stdio::null())
            .process_group(0)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Said {
            status: output.status.code(),
            lines: text.lines().map(str::to_owned).collect(),
            complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// What the machine is like for a plan, the worst first.
    pub fn check(&self, arguments: &[String]) -> io::Result<Vec<Finding>> {
        let pid = ["--pid".to_owned(), std::process::id().to_string(), "--tsv".to_owned()];
        let said = self.run("check.sh", &[arguments, &pid].concat())?;
        if !matches!(said.status, Some(0 | 1)) {
            return Err(io::Error::other(said.complaint));
        }
        let mut findings: Vec<Finding> = said.lines.iter().filter_map(|line| finding(line)).collect();
        findings.sort_by_key(|finding| finding.state);
        Ok(findings)
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn finding(line: &str) -> Option<Finding> {
    let mut parts = line.split('\t').map(str::to_owned);
    let state = match parts.next()?.as_str() {
        "stops" => State::Stops,
        "costs" => State::Costs,
        "ok" => State::Ok,
        _ => return None,
    };
    Some(Finding {
        state,
        knob: parts.next()?,
        now: parts.next()?,
        wanted: parts.next()?,
        settable: parts.next()? == "apply",
        text: parts.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::Needs;

    const NEEDS: Needs = Needs {
        rps: Some(1_000_000),
        connections: 40_000,
        addresses: 1,
        new_connections: 0,
        cores: 2,
        sink: false,
        local: true,
        loopback: true,
    };

    #[test]
    fn the_scripts_understand_what_they_are_asked_and_are_gone_afterwards() {
        let scripts = Scripts::new().unwrap();
        let folder = scripts.folder.clone();
        let findings = scripts.check(&NEEDS.arguments()).unwrap();
        assert!(findings.len() > 8, "{findings:?}");
        let ports = findings.iter().find(|finding| finding.knob == "net.ipv4.ip_local_port_range").unwrap();
        assert_eq!(ports.wanted, "40000", "a connection a port");
        assert!(findings.is_sorted_by_key(|finding| finding.state));
        drop(scripts);
        assert!(!folder.exists());
    }

    #[test]
    fn more_addresses_need_fewer_ports_each() {
        let needs = Needs { addresses: 4, ..NEEDS };
        let findings = Scripts::new().unwrap().check(&needs.arguments()).unwrap();
        let ports = findings.iter().find(|finding| finding.knob == "net.ipv4.ip_local_port_range").unwrap();
        assert_eq!(ports.wanted, "10000");
    }

    #[test]
    fn a_line_that_is_none_is_left_out() {
        assert_eq!(finding("hello"), None);
        let found = finding("ok\ta\t1\t1\tapply\t").unwrap();
        assert_eq!((found.state, found.settable), (State::Ok, true));
    }
}
