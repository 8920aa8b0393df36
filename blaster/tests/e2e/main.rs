//! The real binary, end to end: against servers that misbehave, against the built-in sink, against nginx, and at the
//! command line.
//!
//! Ports are the kernel's choice, servers and children end with their test, and no outcome depends on how fast this machine
//! is: counts are compared with each other and with what the server saw. One crate, so that everything in [`child`],
//! [`report`] and [`server`] is linked once.

mod child;
mod cli;
mod connections;
mod http;
mod nginx;
mod payloads;
mod report;
mod server;
mod sink;
mod sweep;
mod wire;
