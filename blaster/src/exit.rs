//! What the exit status says.

use blaster_core::report::Report;
use blaster_core::report::verdict::Status;

use crate::run::RunError;

/// Done, and nothing to complain about.
pub const DONE: u8 = 0;
/// The run failed, or not one answer came.
pub const FAILED: u8 = 1;
/// The command line, or the plan, cannot be.
pub const USAGE: u8 = 2;
/// This machine was the limit; outranks [`SLO`].
pub const CLIENT_LIMITED: u8 = 3;
/// A promise was not kept.
pub const SLO: u8 = 99;
/// Stopped by the user.
pub const INTERRUPTED: u8 = 130;

/// The status of a run without a report: plans that cannot be are [`USAGE`], all else is [`FAILED`].
pub fn of_error(error: &RunError) -> u8 {
    match error {
        RunError::Usage(_)
        | RunError::Limit(_)
        | RunError::Source(_)
        | RunError::Cores { .. }
        | RunError::Tape(_) => USAGE,
        RunError::Interrupted => INTERRUPTED,
        _ => FAILED,
    }
}

/// The status that a run's report deserves.
pub fn status(report: &Report, allow_invalid: bool) -> u8 {
    if report.interrupted {
        INTERRUPTED
    } else if report.requests.ok + report.requests.unexpected_status == 0 {
        FAILED
    } else if report.verdict.status == Status::ClientLimited && !allow_invalid {
        CLIENT_LIMITED
    } else if report.slo.iter().any(|slo| !slo.ok) {
        SLO
    } else {
        DONE
    }
}
