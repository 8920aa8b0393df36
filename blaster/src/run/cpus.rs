//! Which CPUs are whose: the shards', the built-in target's, everybody else's.

use blaster_ring::system;

use super::RunError;
use crate::settings::Settings;

/// Which CPU does what.
pub(super) struct Cpus {
    /// Those the process may use.
    pub(super) allowed: Vec<usize>,
    /// Those shards may be put on.
    pub(super) usable: Vec<usize>,
    /// The user said which.
    pub(super) explicit: bool,
}

impl Cpus {
    pub(super) fn choose(settings: &Settings) -> Result<Self, RunError> {
        let allowed = system::allowed_cpus();
        let usable = settings.cores.clone().unwrap_or_else(|| allowed.clone());
        match usable.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(&cpu) => Err(RunError::Cores { cpu, allowed }),
            None => Ok(Self { allowed, usable, explicit: settings.cores.is_some() }),
        }
    }

    /// From the last on: the first CPU is where interrupts and other people's processes tend to be.
    pub(super) fn for_shards(&self, shards: usize) -> Vec<usize> {
        self.usable.iter().rev().cycle().take(shards).copied().collect()
    }

    pub(super) fn off_shards(&self, shard_cpus: &[usize]) -> Vec<usize> {
        let free: Vec<_> = self.allowed.iter().filter(|cpu| !shard_cpus.contains(cpu)).copied().collect();
        if free.is_empty() { self.allowed.clone() } else { free }
    }

    /// As many as there are shards, where there are.
    pub(super) fn for_sink(&self, shard_cpus: &[usize]) -> Vec<usize> {
        let mut free = self.off_shards(shard_cpus);
        free.truncate(shard_cpus.len());
        free
    }
}
