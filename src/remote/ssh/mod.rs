//! Reaching a machine over ssh: a connection that lasts, and channels on it that each run one command.
//!
//! Two transports give the same channels. The native one keeps its keys in memory, knows what went wrong, and has one
//! connection for many channels. The other starts the user's own `ssh`, for machines behind its configuration: jump
//! hosts, agents. In both the host key is known beforehand and never learnt from the machine.

mod command;
mod error;
mod keys;
mod native;
mod said;
mod target;
mod wait;

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use command::says_wrong_host_key;
pub use error::SshError;
pub use keys::{HostKey, HostKeyError, Identity, KeyPair, KeyPairError};
pub(super) use said::Said;
pub use target::{SshTarget, SshWay};
pub use wait::wait_for_ssh;

/// The reading end of a channel.
pub(super) type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// The writing end of a channel.
pub(super) type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// One command on the machine: its input, its output and what it says besides.
pub(super) struct Channel {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// The end of what came on standard error.
    pub(super) said: Said,
    pub(super) hold: Hold,
}

/// Keeps a channel open; dropping it ends the command.
#[derive(Debug)]
pub(super) enum Hold {
    Native(native::Hold),
    Command(command::Hold),
}

impl Hold {
    /// Whether the channel may still be of use.
    pub(super) fn is_alive(&mut self) -> bool {
        match self {
            Self::Native(hold) => hold.is_alive(),
            Self::Command(hold) => hold.is_alive(),
        }
    }
}

/// The way to one machine, shared by all that speak to it.
#[derive(Debug)]
pub(super) enum Transport {
    Native(Box<native::Link>),
    Command(command::Ssh),
}

impl Transport {
    /// A way to `target`. Nothing is sent before a channel is opened.
    pub(super) fn new(target: SshTarget) -> Self {
        match &target.way {
            SshWay::Native(identity) => {
                let identity = identity.clone();
                Self::Native(Box::new(native::Link::new(target, identity)))
            }
            SshWay::Command { program, config, identity_file } => {
                let ssh = command::Ssh::new(&target, program, config.as_deref(), identity_file.as_deref());
                Self::Command(ssh)
            }
        }
    }

    /// Runs `command`, a line for the login shell there.
    pub(super) async fn open(&self, command: &str) -> Result<Channel, SshError> {
        match self {
            Self::Native(link) => link.open(command).await,
            Self::Command(ssh) => ssh.open(command),
        }
    }
}

/// A word for a POSIX shell.
pub(super) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
