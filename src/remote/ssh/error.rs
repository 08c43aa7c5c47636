//! What can go wrong on the way to a machine.

use std::{io, path::PathBuf};

/// Why a machine cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// Nobody listens there.
    #[error("cannot reach {target}: {source}. Check that the machine is up and its sshd listens")]
    Connect {
        /// The machine.
        target: String,
        /// Why not.
        source: io::Error,
    },
    /// It took too long.
    #[error("{target} did not answer within {seconds} s while {doing}")]
    Silent {
        /// The machine.
        target: String,
        /// What was being done.
        doing: &'static str,
        /// How long that may take.
        seconds: u64,
    },
    /// The machine proved another key than it should have. It may be another machine.
    #[error(
        "{target} has the host key {found}, not the known {known}: it may be another machine. It is not used; if its key was changed on purpose, change the configuration"
    )]
    HostKey {
        /// The machine.
        target: String,
        /// What it should have: a fingerprint.
        known: String,
        /// What it has: a fingerprint, or that none of the known kind was offered.
        found: String,
    },
    /// It does not let us in.
    #[error("{target} refuses the key {key}; add it to authorized_keys of that user")]
    Refused {
        /// The machine.
        target: String,
        /// The fingerprint of our key.
        key: String,
    },
    /// The private key cannot be read.
    #[error("reading the private key {path}: {reason}. Only keys without a passphrase can be used")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No further command can be run.
    #[error("{target} opens no further channel: {reason}")]
    Channel {
        /// The machine.
        target: String,
        /// Why not.
        reason: String,
    },
    /// The conversation broke.
    #[error("speaking ssh to {target}: {reason}")]
    Broken {
        /// The machine.
        target: String,
        /// How.
        reason: String,
    },
    /// `ssh` could not be started.
    #[error(
        "cannot start {program} for {target}: {source}. Install an OpenSSH client, or name it in the configuration"
    )]
    Program {
        /// The program.
        program: PathBuf,
        /// The machine.
        target: String,
        /// Why not.
        source: io::Error,
    },
}
