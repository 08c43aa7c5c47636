//! How a machine is told apart at its provider, and how it is reached.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A provider's own name of an instance, such as `i-0abc…`. Opaque; ASCII letters, digits and `-_.:/` only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(String);

impl InstanceId {
    /// The longest name.
    const MAX: usize = 200;

    /// The id, if the text is one.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        let fits = !text.is_empty() && text.len() <= Self::MAX && text.chars().all(is_plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where a machine's sshd listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// How the builder of a machine is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Over ssh.
    Ssh(Address),
    /// It is the daemon of the machine that croft runs on: what a pretended machine builds with.
    Local,
}

impl Reach {
    /// Where its sshd listens; none if it is this machine.
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Ssh(address) => Some(address),
            Self::Local => None,
        }
    }
}

impl From<Address> for Reach {
    fn from(address: Address) -> Self {
        Self::Ssh(address)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}
