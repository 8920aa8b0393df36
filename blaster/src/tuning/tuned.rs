//! `--tune`: makes the machine ready, and puts it back: when the run is over, or, if it was killed, at the next start.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Needs;
use super::scripts::Scripts;

/// Of these runs alone: what somebody applied by hand stays as it is.
const STATE: &str = "run.state";

/// Longest wait for a script to end that somebody else began, and how often it is looked for.
const SCRIPT_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where records are kept, unless the environment says.
const FOLDER: &str = "/var/lib/blaster";

/// A machine that was made ready, and is put back when this is dropped.
pub struct Tuned {
    scripts: Scripts,
    state: PathBuf,
    /// What was set, a line each: `name: was -> is`.
    pub changes: Vec<String>,
    is_put_back: bool,
}

/// Why a machine is not made ready, or not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The scripts cannot be run.
    #[error("cannot run the tuning scripts: {0}")]
    Scripts(io::Error),
    /// They could not, or would not.
    #[error("--tune: {0}")]
    Refused(String),
    /// Another run has.
    #[error("process {pid} has tuned this machine for a run of its own: wait until it is over")]
    Taken {
        /// Of that run.
        pid: u32,
    },
    /// Not all is as it was.
    #[error("the machine could not be put back: {0}")]
    NotPutBack(String),
}

impl From<io::Error> for TuneError {
    fn from(error: io::Error) -> Self {
        Self::Scripts(error)
    }
}

fn state_path() -> PathBuf {
    std::env::var_os("BLASTER_STATE").map_or_else(|| PathBuf::from(FOLDER), PathBuf::from).join(STATE)
}

impl Tuned {
    /// Makes the machine ready for a plan.
    pub fn apply(needs: &Needs) -> Result<Self, TuneError> {
        let state = state_path();
        if let Some(pid) = owner(&state) {
            return Err(TuneError::Taken { pid });
        }
        let scripts = Scripts::new()?;
        let own = std::process::id().to_string();
        let mut arguments = needs.arguments();
        for (flag, value) in
            [("--pid", own.as_str()), ("--owner", own.as_str()), ("--state", &state.to_string_lossy())]
        {
            arguments.extend([flag.to_owned(), value.to_owned()]);
        }
        let said = scripts.run("apply.sh", &arguments)?;
        if said.status != Some(0) {
            let why = said.complaint.strip_prefix("apply.sh: ").unwrap_or(&said.complaint);
            return Err(TuneError::Refused(in_own_words(why)));
        }
        Ok(Self { scripts, state, changes: changes(&said.lines), is_put_back: false })
    }

    /// Puts it back.
    pub fn put_back(mut self) -> Result<(), TuneError> {
        self.is_put_back = true;
        revert(&self.scripts, &self.state).map(drop)
    }
}

impl Drop for Tuned {
    fn drop(&mut self) {
        if !self.is_put_back {
            let _ = revert(&self.scripts, &self.state);
        }
    }
}

/// What a script advises, as it is done from here.
pub fn in_own_words(said: &str) -> String {
    let script = |word: &str| word.starts_with("revert.sh");
    let words = said
        .replace("say --allow-shared", "do it once with `blaster doctor --fix --allow-shared`")
        .replace("; or raise it otherwise and --skip it here", "")
        .replace("--state FILE", "BLASTER_STATE=FOLDER")
        .replace("--state", "BLASTER_STATE=FOLDER");
    // In a path it is a file.
    let own = |word: &str| word.replacen("revert.sh", "blaster doctor --undo", usize::from(script(word)));
    words.split_inclusive(char::is_whitespace).map(own).collect()
}

/// What apply.sh says it set.
fn changes(lines: &[String]) -> Vec<String> {
    lines.iter().filter_map(|line| line.strip_prefix("set ")).map(|change| change.trim().to_owned()).collect()
}

fn revert(scripts: &Scripts, state: &Path) -> Result<Vec<String>, TuneError> {
    wait_for_script(state);
    if !state.exists() {
        return Ok(Vec::new());
    }
    let arguments = ["--state".to_owned(), state.to_string_lossy().into_owned()];
    let said = scripts.run("revert.sh", &arguments)?;
    if said.status == Some(0) {
        return Ok(said.lines);
    }
    let why = if said.complaint.is_empty() { "revert.sh was ended" } else { &said.complaint };
    Err(TuneError::NotPutBack(format!("{} (recorded in {})", in_own_words(why), state.display())))
}

/// A run that was killed may have left a script behind that is still at work.
fn wait_for_script(state: &Path) {
    let mut lock = state.as_os_str().to_owned();
    lock.push(".lock/pid");
    let is_at_work = || {
        let text = fs::read_to_string(&lock).unwrap_or_default();
        let mut words = text.split_whitespace();
        let (pid, started, boot) = (words.next(), words.next(), words.next());
        pid.zip(started).is_some_and(|(pid, started)| is_alive(pid, started, boot))
    };
    let until = Instant::now() + SCRIPT_MAX;
    while is_at_work() && Instant::now() < until {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Puts back what a run left behind that was killed. What was put back, a line each.
pub fn restore() -> Result<Vec<String>, TuneError> {
    let state = state_path();
    if owner(&state).is_some() {
        return Ok(Vec::new());
    }
    // What is just being tuned has no owner yet, nor a record; what a killed run has just begun ends, and leaves one.
    wait_for_script(&state);
    if !state.exists() || owner(&state).is_some() {
        return Ok(Vec::new());
    }
    revert(&Scripts::new()?, &state)
}

/// The run that has tuned this machine and is not over.
pub fn taken() -> Result<(), TuneError> {
    owner(&state_path()).map_or(Ok(()), |pid| Err(TuneError::Taken { pid }))
}

/// The process that tuned the machine, if it is still there.
fn owner(state: &Path) -> Option<u32> {
    let text = fs::read_to_string(state).ok()?;
    let mut parts = text.lines().find_map(|line| line.strip_prefix("owner|"))?.split('|');
    let (pid, started) = (parts.next()?, parts.next()?);
    let boot = text.lines().rev().find_map(|line| line.strip_prefix("boot|"));
    if is_alive(pid, started, boot) { pid.parse().ok() } else { None }
}

/// Whether it is still there, and not only its number, or its body that nobody has buried.
fn is_alive(pid: &str, started: &str, boot: Option<&str>) -> bool {
    let this_boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have anything in it: how it stands, and as the 20th when it began, in ticks since the boot.
    let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
    let is_dead = fields.starts_with(['Z', 'X']);
    !is_dead && fields.split(' ').nth(19) == Some(started) && boot == Some(this_boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_told_apart_from_what_was_not() {
        let lines = ["set        net.core.somaxconn: 4096 -> 9000", "left alone x: y", "nothing to change"]
            .map(str::to_owned);
        assert_eq!(changes(&lines), ["net.core.somaxconn: 4096 -> 9000"]);
    }

    #[test]
    fn a_state_file_that_is_none_has_no_owner() {
        let path = std::env::temp_dir().join(format!("blaster-no-state-{}", std::process::id()));
        for text in ["", "owner|", "owner|1", "owner|1|0\nboot|x", "owner|999999999|5\nboot|x"] {
            fs::write(&path, text).unwrap();
            assert_eq!(owner(&path), None, "{text}");
        }
        fs::remove_file(&path).unwrap();
    }
}
