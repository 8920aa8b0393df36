//! The shell of a sweep.

pub mod view;
