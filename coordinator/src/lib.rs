//! Many blasters act as one: a leader (`coordinator run`) commands agents (`coordinator agent`) over QUIC.

pub mod allowed;
pub mod cli;
pub mod hosts;
pub mod live;
pub mod local;
pub mod net;
pub mod secret;
pub mod trust;
