//! Which machine, as whom, and by which way.

use std::{path::PathBuf, time::Duration};

use super::keys::{HostKey, Identity};

/// A machine that is reached over ssh.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// Its name or address.
    pub host: String,
    /// The port. Default: 22.
    pub port: u16,
    /// The user there. Default: `root`.
    pub user: String,
    /// The key it must prove to have.
    pub host_key: HostKey,
    /// How it is reached.
    pub way: SshWay,
    /// The command that speaks the daemon protocol there. Default: `nix-daemon --stdio`.
    pub daemon: String,
    /// How long nothing may come before the machine is asked for a sign of life. After three without an answer the
    /// connection is given up. Default: 15 s.
    pub keepalive: Duration,
    /// The most channels on one connection; one more opens another connection. Default: 8, as sshd's own default
    /// is 10 sessions.
    pub channels: u32,
}

/// How a machine is reached.
#[derive(Debug, Clone)]
pub enum SshWay {
    /// By croft itself, with this key.
    Native(Identity),
    /// By the user's `ssh`, one process for each channel.
    Command {
        /// The program. Usually `ssh`.
        program: PathBuf,
        /// Its configuration, instead of the user's own.
        config: Option<PathBuf>,
        /// A private key, besides those that it finds itself.
        identity_file: Option<PathBuf>,
    },
}

impl SshTarget {
    /// A machine with defaults for the rest.
    pub fn new(host: &str, host_key: HostKey, way: SshWay) -> Self {
        Self {
            host: host.to_owned(),
            port: 22,
            user: "root".to_owned(),
            host_key,
            way,
            daemon: "nix-daemon --stdio".to_owned(),
            keepalive: Duration::from_secs(15),
            channels: 8,
        }
    }

    /// For messages: `user@host:port`.
    pub(in crate::remote) fn shown(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }
}
