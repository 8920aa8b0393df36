//! `blaster sink`: serves the built-in target until interrupted.

use blaster_ring::system::{Limit, allowed_cpus, raise_limit};
use blaster_sink::profile::{Behaviour, Profile};
use blaster_sink::{Sink, SinkConfig, SinkError};

use crate::cli::SinkArgs;
use crate::settings::UsageError;

/// Descriptors left for everything that is no connection.
const DESCRIPTORS_BESIDES: u64 = 64;

/// Most connections a thread is prepared for.
const CONNECTIONS_MAX: u64 = 65_536;

/// What the arguments ask to be answered.
pub fn behaviour(args: &SinkArgs) -> Result<Behaviour, UsageError> {
    if args.validate && args.profile != Profile::EventApi {
        return Err(UsageError::NothingToValidate { profile: args.profile });
    }
    Ok(Behaviour {
        profile: args.profile,
        status: args.status,
        close_after: args.close_after,
        echo: args.echo,
        validate: args.validate,
    })
}

/// Starts a sink where the arguments want it.
pub fn start(args: &SinkArgs, behaviour: Behaviour) -> Result<Sink, SinkError> {
    let cpus = match &args.cores {
        Some(list) => list.0.clone(),
        None => allowed_cpus()[..1].to_vec(),
    };
    Sink::start(&SinkConfig {
        listen: args.listen,
        behaviour,
        connections_per_thread: connections(cpus.len()),
        cpus,
    })
}

/// As many connections a thread as descriptors allow.
pub fn connections(threads: usize) -> u32 {
    let limit = raise_limit(Limit::Descriptors, u64::MAX);
    (limit.saturating_sub(DESCRIPTORS_BESIDES) / threads as u64).clamp(16, CONNECTIONS_MAX) as u32
}
