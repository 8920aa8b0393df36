//! Many blasters act as one: a leader (`coordinator run`) commands agents (`coordinator agent`) over QUIC.

pub mod agent;
pub mod allowed;
pub mod ask;
pub mod cli;
pub mod doctor;
pub mod drive;
pub mod facts;
pub mod gather;
pub mod hosts;
pub mod lead;
pub mod live;
pub mod local;
pub mod measure;
pub mod net;
pub mod nodes;
pub mod plan;
pub mod screen;
pub mod secret;
pub mod sweep;
pub mod trust;
