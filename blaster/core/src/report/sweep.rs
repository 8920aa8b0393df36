//! The search for a limit: what trials said goes in, the next trial comes out.
//!
//! [`search`] says what to try next and what is known; [`belief`] is what it goes by, a probability of where the limit lies. Both are
//! functions of the trials alone: no clock, no randomness, nothing kept that the trials do not say again.

pub mod belief;
pub mod search;

#[cfg(test)]
mod proof;
