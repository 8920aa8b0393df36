//! The search for a limit: what trials said goes in, the next trial comes out.
//!
//! [`search`] says what to try next and what is known; [`belief`] is what it goes by, a probability of where the limit lies. [`overload`]
//! goes beyond the limit, and says whether the target came back. All are functions of the trials alone: no clock, no randomness, nothing
//! kept that the trials do not say again.

pub mod belief;
pub mod overload;
pub mod search;

#[cfg(test)]
mod proof;
#[cfg(test)]
mod proof_overload;
