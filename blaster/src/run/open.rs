//! Opening all connections, before anything is sent.

use std::collections::HashSet;
use std::sync::mpsc::RecvTimeoutError;

use blaster_core::load::engine::ConnectFailure;
use blaster_core::report::units::grouped;
use blaster_core::time::Nanos;
use blaster_ring::Clock;
use blaster_ring::socket::Route;

use super::{LOOK_EVERY, RunError, Watch};
use crate::limits::Demand;
use crate::settings::Settings;
use crate::shards::{Message, Shards};

/// Longest wait for the first connection to a target, and for those that are late when all should be open: the run starts
/// without the missing ones.
const OPENING_MAX: Nanos = Nanos::from_secs(5);

/// Connections a second that are waited for where they are not paced.
const UNPACED_RATE_MIN: f64 = 5_000.0;

/// Opening that takes longer than this is announced.
const ANNOUNCED_FROM: Nanos = Nanos::from_secs(2);

/// Says what is worth knowing before connections are opened: from where, if that was left open, and how long that takes.
pub(super) fn tell_of_opening(
    settings: &Settings,
    routes: &[Vec<Route>],
    demands: &[Demand],
    watch: &mut impl Watch,
) {
    let sources: HashSet<_> = routes.iter().flatten().flat_map(|route| &route.from).collect();
    if sources.len() > 1 {
        watch.say(&format!("connecting from {} addresses of this machine", sources.len()));
    }
    if let Some(demand) = demands.iter().find(|demand| demand.makes_ports_scarce()) {
        watch.say(&format!(
            "warning: {} connections to {} take more than half of the local ports, and the search for a free one gets slow: \
             connect from more addresses of this machine, as with --source-ips auto",
            grouped(demand.connections),
            demand.address,
        ));
    }
    if let Some(takes) = settings.opening_takes().filter(|takes| *takes > ANNOUNCED_FROM) {
        let connections = grouped(settings.plan.connections.into());
        watch.say(&format!("opening {connections} connections at the rate asked for takes {takes}"));
    }
}

/// How long until so many connections should be open, if their targets take them.
fn expected(settings: &Settings, connections: u32) -> Nanos {
    let rate = settings.connect_rate().unwrap_or(UNPACED_RATE_MIN);
    Nanos::from_secs_f64(f64::from(connections) / rate)
}

/// What a shard last said: whether all were tried; by target, connections open, and why the last failed one did.
type Told = (bool, Vec<(u32, Option<ConnectFailure>)>);

fn of_target(latest: &[Told], target: usize) -> impl Iterator<Item = &(u32, Option<ConnectFailure>)> {
    latest.iter().filter_map(move |(_, streams)| streams.get(target))
}

fn none_is_open(latest: &[Told], target: usize) -> bool {
    of_target(latest, target).all(|(open, _)| *open == 0)
}

/// Waits until all shards have their connections, or have tried.
pub(super) fn open_connections(
    shards: &Shards,
    clock: Clock,
    settings: &Settings,
    watch: &mut impl Watch,
) -> Result<(), RunError> {
    let plan = &settings.plan;
    let shards_and_targets = (shards.count() * plan.targets.len()) as u32;
    let first_by = clock.now() + plan.timeout.min(OPENING_MAX) + expected(settings, shards_and_targets);
    let all_by = first_by + expected(settings, plan.connections);
    let mut latest: Vec<Told> = vec![(false, Vec::new()); shards.count()];
    while latest.iter().any(|(all_tried, _)| !all_tried) {
        let now = clock.now();
        if now >= all_by
            || now >= first_by && (0..plan.targets.len()).any(|target| none_is_open(&latest, target))
        {
            break;
        }
        if watch.stops() > 0 {
            return Err(RunError::Interrupted);
        }
        match shards.messages().recv_timeout(LOOK_EVERY) {
            Ok((shard, Message::Opening { all_tried, streams })) => latest[shard] = (all_tried, streams),
            Ok((_, Message::Failed(error))) => return Err(RunError::Shard(error.to_string())),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(RunError::Shard("it ended by itself".to_owned()));
            }
        }
    }
    for (index, target) in plan.targets.iter().enumerate() {
        if none_is_open(&latest, index) {
            let failure = of_target(&latest, index).find_map(|(_, failure)| *failure);
            let target = target.to_string();
            let none_failed = failure.is_none() && latest.iter().all(|(all_tried, _)| *all_tried);
            return Err(if none_failed {
                RunError::ClosedAtOnce { target }
            } else {
                RunError::NoConnection { target, failure }
            });
        }
    }
    Ok(())
}
