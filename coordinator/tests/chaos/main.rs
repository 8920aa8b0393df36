//! Whole runs with real processes, over real sockets, while things go wrong.

mod door;
mod loss;
mod namespaces;
mod relay;
mod runs;
mod sweeps;
mod weather;
mod world;
