//! What can go wrong between a client and a daemon.
//!
//! Layer 0.

use super::version::ProtocolVersion;
use crate::nix::StorePath;
use crate::nix::wire::WireError;

/// An error that the daemon reported. Its texts are what Nix and builders wrote: not UTF-8 by right, with ANSI codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonError {
    /// Nix's verbosity level of the message; 0 is an error.
    pub level: u64,
    /// The message.
    pub message: Vec<u8>,
    /// The traces, outermost last.
    pub traces: Vec<Vec<u8>>,
}

impl std::fmt::Display for DaemonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.message.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' => f.write_str("\n")?,
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => write!(f, "{c}")?,
                }
            }
            if !chunk.invalid().is_empty() {
                write!(f, "{}", chunk.invalid().escape_ascii())?;
            }
        }
        Ok(())
    }
}

pub(super) const SENDING: &str = "sending to the Nix daemon";

/// Why an operation failed. After any of them but [`ClientError::NotValid`] and [`ClientError::NotTrusted`] the
/// connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The stream to the daemon, or a stream given by the caller, failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The daemon does not say what the protocol wants.
    #[error("talking to the Nix daemon: {0}")]
    Protocol(#[from] WireError),
    /// The daemon reported an error.
    #[error("the Nix daemon says: {0}")]
    Daemon(DaemonError),
    /// The other end is something else than a daemon, such as a login message of a shell.
    #[error(
        "the other end does not speak the Nix daemon protocol; it said {shown}. If it is reached over ssh, look for output of its shell start-up files"
    )]
    NotADaemon {
        /// The start of what it said, escaped.
        shown: String,
    },
    /// The daemon is too old.
    #[error(
        "the Nix daemon speaks protocol {found}; croft needs {needed} or newer, which Nix 2.8 and later have. Upgrade Nix on that machine"
    )]
    UnsupportedVersion {
        /// What the daemon offers.
        found: ProtocolVersion,
        /// The least that is needed.
        needed: ProtocolVersion,
    },
    /// The connection was broken or left in the middle by an earlier operation.
    #[error("this connection to the Nix daemon was left by a failed or cancelled operation; open a new one")]
    Poisoned,
    /// The path was asked for, but is not valid in that store.
    #[error("store path {0} is not valid in that store")]
    NotValid(StorePath),
    /// The daemon does not trust this client enough.
    #[error("the Nix daemon does not trust this user to {0}; add the user to trusted-users of its nix.conf")]
    NotTrusted(&'static str),
    /// The content of a path is not what was announced.
    #[error("the NAR of {path} is not what was announced: {reason}")]
    Corrupt {
        /// Whose NAR.
        path: StorePath,
        /// What differs.
        reason: String,
    },
}

impl ClientError {
    pub(super) fn sending(source: std::io::Error) -> Self {
        Self::Io { doing: SENDING, source }
    }
}
