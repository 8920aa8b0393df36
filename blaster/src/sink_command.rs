//! `blaster sink`: serves the built-in target until interrupted.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use blaster_core::time::Nanos;
use blaster_ring::system::{Limit, allowed_cpus, raise_limit};
use blaster_sink::pace::{Capacity, Fault, Pace, Retries, Service};
use blaster_sink::profile::{Behaviour, Profile};
use blaster_sink::{Sink, SinkConfig, SinkError};

use crate::cli::SinkArgs;
use crate::limits::LimitError;
use crate::settings::UsageError;

/// Descriptors left for everything that is no connection.
const DESCRIPTORS_BESIDES: u64 = 64;

/// Most connections a thread is prepared for unless told otherwise.
const CONNECTIONS_MAX: u64 = 65_536;

/// What the arguments ask to be answered.
pub fn behaviour(args: &SinkArgs) -> Result<Behaviour, UsageError> {
    if args.validate && args.profile != Profile::EventApi {
        return Err(UsageError::NothingToValidate { profile: args.profile });
    }
    let threads = args.cores.as_ref().map_or(1, |cores| cores.0.len());
    let mut behaviour = Behaviour {
        status: args.status,
        close_after: args.close_after,
        echo: args.echo,
        validate: args.validate,
        stalls: args.stalls.clone(),
        seed: args.seed,
        record: args.record.is_some(),
        ..Behaviour::of(args.profile)
    };
    let pace = &mut behaviour.pace;
    if let Some(latency) = args.latency {
        (pace.latency, pace.service) = (Some(latency), None);
    }
    if let Some(time) = args.service {
        (pace.service, pace.latency) = (Some(Service { time, workers: 1 }), None);
    }
    match (args.workers, &mut pace.service) {
        (Some(workers), Some(service)) => service.workers = workers,
        (Some(_), None) => return Err(UsageError::WorkersOfNothing),
        (None, _) => {}
    }
    pace.retries = retries(args, pace)?;
    let buffer = args.buffer.unwrap_or(BUFFER_DEFAULT);
    pace.capacity = args.capacity.map(|rate| Capacity { rate: rate.per_second(), buffer });
    pace.faults = args.faults.unwrap_or_default();
    pace.faults.error = args.error_rate;
    pace.faults.shares[Fault::Reset as usize] += args.reset_rate;
    let faults = pace.faults.total();
    let is_one = [
        (pace.service.is_some(), "--service"),
        (pace.capacity.is_some(), "--capacity"),
        (args.record.is_some(), "--record"),
    ];
    if faults > 1.0 {
        return Err(UsageError::FaultsTooMany(faults * 100.0));
    }
    if let (true, Some((_, flag))) = (threads > 1, is_one.into_iter().find(|(is_set, _)| *is_set)) {
        return Err(UsageError::OneThread(flag));
    }
    Ok(behaviour)
}

/// What waiting does to requests that are served one after another.
fn retries(args: &SinkArgs, pace: &Pace) -> Result<Option<Retries>, UsageError> {
    let own = pace.retries.filter(|_| pace.service.is_some());
    let count = args.retries.or(own.map(|retries| retries.count)).unwrap_or(0);
    let patience = args.patience.or(own.map(|retries| retries.patience)).unwrap_or(PATIENCE_DEFAULT);
    match (count, pace.service) {
        (0, _) if args.patience.is_some() => Err(UsageError::PatienceOfNobody),
        (0, _) => Ok(None),
        (_, None) => Err(UsageError::RetriesOfNothing),
        _ => Ok(Some(Retries { count, patience })),
    }
}

/// How long a request waits before it is sent again, as in a profile that retries.
const PATIENCE_DEFAULT: Nanos = Nanos::from_millis(200);

/// What the event API of the guides buffers.
const BUFFER_DEFAULT: u64 = 10_000;

/// Ends the sink and writes what it is to leave behind; the first error after having tried all. A record that does not hold all
/// requests is said to `warn`.
pub fn write_results(args: &SinkArgs, sink: &mut Sink, warn: impl FnOnce(&str)) -> io::Result<()> {
    let records = sink.finish();
    let (kept, ended) = (records.len(), sink.totals().ended());
    if args.record.is_some() && (kept as u64) < ended {
        warn(&format!("warning: the record holds the first {kept} of {ended} requests: no more fit"));
    }
    let in_file = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
    };
    let mut result = Ok(());
    if let Some(path) = &args.hgrm {
        result = fs::write(path, sink.detail().hgrm()).map_err(|error| in_file(path, error));
    }
    if let Some(path) = &args.record {
        let write = || {
            let mut file = BufWriter::new(File::create(path)?);
            for record in &records {
                for time in [record.arrival, record.service, record.answered] {
                    file.write_all(&time.0.to_le_bytes())?;
                }
            }
            file.flush()
        };
        result = result.and(write().map_err(|error| in_file(path, error)));
    }
    result
}

/// Starts a sink where the arguments want it.
pub fn start(args: &SinkArgs, behaviour: Behaviour) -> Result<Sink, SinkError> {
    let cpus = match &args.cores {
        Some(list) => list.0.clone(),
        None => allowed_cpus()[..1].to_vec(),
    };
    let connections_per_thread = match args.connections {
        Some(asked) => may_hold(asked, cpus.len()).map_err(io::Error::other)?,
        None => connections(cpus.len()),
    };
    Sink::start(&SinkConfig { listen: args.listen, behaviour, connections_per_thread, cpus })
}

/// So many connections a thread, if descriptors allow.
fn may_hold(connections: u32, threads: usize) -> Result<u32, LimitError> {
    let need = u64::from(connections) * threads as u64 + DESCRIPTORS_BESIDES;
    let limit = raise_limit(Limit::Descriptors, need);
    if limit < need { Err(LimitError::Descriptors { need, limit }) } else { Ok(connections) }
}

/// As many connections a thread as descriptors allow.
pub fn connections(threads: usize) -> u32 {
    let limit = raise_limit(Limit::Descriptors, u64::MAX);
    (limit.saturating_sub(DESCRIPTORS_BESIDES) / threads as u64).clamp(16, CONNECTIONS_MAX) as u32
}
