//! HTTP/1.1 off the wire: incremental readers over bytes they do not own.
//!
//! A connection hands every buffer the kernel filled to [`ResponseReader::receive`] and hears,
//! through [`OnResponse`], of each response that came to its end. The built-in server and the
//! simulator have the mirror image, [`RequestReader`]. Messages may be cut anywhere; the readers
//! say the same whatever the cuts.
//!
//! What keeps it fast:
//! - Bodies are counted off where they lie. Only a head that is split across buffers is ever
//!   copied.
//! - A server answers the same request with the same head, but for the digits of its
//!   `Content-Length`. A template ([`HeadTemplate`], [`RequestTemplate`]), shared by all
//!   connections of a worker, remembers the last few heads: one comparison then does the work of a
//!   parser. It changes the cost, never the result.
//! - Neither reader allocates, unless a head of more than [`CARRY_BYTES`] is split across buffers.
//!
//! ```text
//! bytes ─► template knows the head? ── yes ──────────────► body: count it off ─► finished
//!              └ no ─► carry: a whole head? ─► httparse ─► framing ─┘
//! ```
//!
//! Rules of framing are those of RFC 9112 §6 and §7, strict where leniency could put a reader out
//! of step with its peer.

mod body;
mod carry;
#[doc(hidden)]
pub mod fuzz;
mod head;
mod malformed;
mod request;
mod response;
mod template;

pub use head::{CARRY_BYTES, HEAD_BYTES_MAX, HEADERS_MAX};
pub use malformed::{Excerpt, Malformed};
pub use request::{OnRequest, Request, RequestReader};
pub use response::{EndOfStream, OnResponse, Response, ResponseReader};
pub use template::{HeadTemplate, RequestTemplate};
