//! What a run came to, for people and for programs; all but the interval log is written from the report alone.
//!
//! Nothing here prints or opens files: it makes text.

pub mod hgrm;
pub mod hlog;
pub mod json;
mod nodes;
pub mod page;
mod plot;
mod scale;
pub mod summary;
pub mod sweep;
mod text;

pub use text::cut;
pub(crate) use text::{hanging, pad};
