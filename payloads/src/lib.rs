//! Requests to send, serialized before the run: whole HTTP/1.1 requests lying one behind the other, so that a run of them
//! is one contiguous slice and one send.
//!
//! ```text
//! Wish ── Requests::new ──> Requests ── serialize(host, extent, seed, now) ──> Serialized
//!          preset, template,              bytes, where each request ends,
//!          headers, body: checked         and where its fresh fields stand
//! ```
//!
//! Whatever a user typed or put into a file becomes [`Requests`] first, and those cannot be wrong: bad input is an [`Error`]
//! there. Files are read through [`Files`] alone; no clock is read here and no randomness taken from outside: the same
//! arguments give the same bytes.
//!
//! ```
//! use payloads::{Extent, NoFiles, Requests, Wish};
//!
//! let headers = ["X-Request: {{uuid}}".to_owned()];
//! let wish = Wish { preset: Some("events"), headers: &headers, ..Wish::default() };
//! let requests = Requests::new(&wish, &NoFiles)?;
//! let extent = Extent { requests: 1_000, bytes: 8 << 20, bytes_max: payloads::BYTES_MAX };
//! let tape = requests.serialize("api:3000", extent, 42, 1_767_225_600_000_000_000)?;
//! assert!(tape.request(999).starts_with(b"POST /events HTTP/1.1\r\nHost: api:3000\r\n"));
//! # Ok::<(), payloads::Error>(())
//! ```

#![forbid(unsafe_code)]

mod batches;
mod body;
mod check;
mod encoding;
mod error;
mod files;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod mix;
mod nearest;
mod preset;
mod requests;
mod serialized;
mod shares;
mod source;
mod tape;
mod template;

pub use payloads_fresh as fresh;

pub use check::check;
pub use encoding::Encoding;
pub use error::{Error, Located};
pub use files::{BYTES_MAX, FileKind, Files, NoFiles};
pub use mix::Mix;
pub use preset::{Limits, PresetInfo, presets};
pub use requests::{Requests, Wish};
pub use serialized::{Extent, Piece, Serialized};
pub use shares::Shares;
