//! From what goes to the targets to the tape, within the memory it may take.

use blaster_core::load::tape::{Recording, TAPE_BYTES_MAX};
use blaster_ring::system;

use crate::link::{Demand, Flow};
use crate::payload::{Section, WriteError};
use crate::settings::{Settings, UsageError};

/// All requests of a run.
pub struct Recorded {
    /// Their bytes, and where each is.
    pub recording: Recording,
    /// The names of their classes.
    pub classes: Vec<String>,
    /// What one of them takes and carries on average.
    pub demand: Demand,
}

/// Why requests cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// They cannot be serialized.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// They do not fit on a tape.
    #[error(
        "the requests to {targets} targets take more than the {TAPE_BYTES_MAX} bytes a tape holds: use smaller bodies or fewer targets"
    )]
    TooLarge {
        /// How many.
        targets: usize,
    },
    /// One copy of them is more than the memory they may take.
    #[error("{0}, or raise --tape-memory")]
    OverMemory(Box<payloads::Error>),
    /// One for each thread is.
    #[error(
        "the requests take {each_mib} MiB for each of {copies} threads, which write ids and times of their own, and all together \
         may take {limit_mib} MiB: raise --tape-memory, or use fewer threads, requests (--tape) or events a request"
    )]
    CopiesOverMemory {
        /// A thread's.
        each_mib: usize,
        /// Threads with a copy of their own.
        copies: usize,
        /// What is allowed.
        limit_mib: usize,
    },
}

/// Serializes what goes to each target.
pub fn record(settings: &mut Settings, shards: usize) -> Result<Recorded, TapeError> {
    let (mut recording, mut classes) = (Recording::new(), Vec::new());
    let targets = settings.plan.targets.clone();
    let mut flows = Vec::new();
    for (index, (target, payload)) in targets.iter().zip(&settings.payloads).enumerate() {
        let section = Section {
            target,
            first_class: classes.len() as u16,
            shares: shards * targets.len(),
            seed: settings.part_seed().wrapping_add(index as u64),
        };
        let bytes_before = recording.len();
        let names = match payload.write(&mut recording, section, settings.tape, system::unix_time_ns()) {
            Ok(names) => names,
            Err(WriteError::Payload(error @ payloads::Error::TooLarge { .. })) => {
                return Err(TapeError::OverMemory(Box::new(error)));
            }
            Err(WriteError::Payload(error)) => return Err(UsageError::Payload(error).into()),
            Err(WriteError::TapeFull) => return Err(TapeError::TooLarge { targets: targets.len() }),
        };
        let requests = recording.last_section_len() as f64;
        flows.push(Flow {
            weight: target.weight,
            bytes_per_request: (recording.len() - bytes_before) as f64 / requests,
            // Of what is on the tape: a short one may not hold a mixture's sizes in their shares.
            mean_events: payload.mean_events().map(|_| recording.last_section_events() as f64 / requests),
        });
        let several = targets.len() > 1;
        let place = |name: String| if several { format!("{} {name}", target.host_header()) } else { name };
        classes.extend(names.into_iter().map(place));
    }
    let copies = if recording.is_fresh() { shards } else { 1 };
    if recording.len() * copies > settings.tape.bytes_max {
        let (each_mib, limit_mib) = (recording.len().div_ceil(1 << 20), settings.tape.bytes_max >> 20);
        return Err(TapeError::CopiesOverMemory { each_mib, copies, limit_mib });
    }
    system::trim_memory();
    let demand = Demand::of(&flows);
    settings.aim_at_events(demand.mean_events())?;
    Ok(Recorded { recording, classes, demand })
}
