//! The primitives of the daemon protocol: little-endian integers, padded strings, counted lists, frames.
//!
//! Layer 0; bytes only through `AsyncRead` and `AsyncWrite`. What the other side declares is never believed: lengths
//! and counts are bounded, and memory grows with what has arrived, not with what was announced.

mod encoder;
mod frames;
mod reader;

pub use encoder::Encoder;
pub use frames::{FRAME_BYTES, Frames};
pub use reader::Reader;

/// Bounds for what one message may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one string. Default: 64 MiB.
    pub string_bytes: u64,
    /// Items of one list. Default: 4 million.
    pub items: u64,
    /// Bytes of all strings of one message or reply. Default: 512 MiB.
    pub message_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { string_bytes: 64 << 20, items: 4 << 20, message_bytes: 512 << 20 }
    }
}

/// Why bytes could not be read as what the protocol says should be there.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream ended.
    #[error("the connection ended while reading {what}")]
    Closed {
        /// What was being read.
        what: &'static str,
    },
    /// The stream failed.
    #[error("reading {what}: {source}")]
    Io {
        /// What was being read.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// A length or count is above its limit.
    #[error("{what} announces {announced} bytes or items; at most {limit} are accepted")]
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// The announced number.
        announced: u64,
        /// The limit.
        limit: u64,
    },
    /// A value that the protocol does not allow here.
    #[error("{what} is not valid: {shown}")]
    BadValue {
        /// What was being read.
        what: &'static str,
        /// The value, escaped and shortened.
        shown: String,
    },
}

impl WireError {
    /// A bad value, shown escaped and shortened.
    pub fn bad_value(what: &'static str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let shown = &value[..value.len().min(120)];
        Self::BadValue { what, shown: format!("\"{}\"", shown.escape_ascii()) }
    }

    /// A bad number.
    pub fn bad_number(what: &'static str, value: u64) -> Self {
        Self::BadValue { what, shown: format!("{value:#x}") }
    }
}
