//! Keys: those that machines must prove to have, and those by which croft shows who it is.

use std::{fmt, path::PathBuf, sync::Arc};

use russh::keys::{
    Algorithm, HashAlg, PrivateKey, PublicKey,
    known_hosts::known_host_keys_path,
    ssh_key::{
        LineEnding,
        private::{Ed25519Keypair, KeypairData},
    },
};

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shown:?} is no ssh public key ({reason}); it looks like `ssh-ed25519 AAAA…`")]
pub struct HostKeyError {
    shown: String,
    reason: String,
}

/// The public key that a machine must prove to have.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey(PublicKey);

impl HostKey {
    /// Reads a line as in `/etc/ssh/ssh_host_ed25519_key.pub`, or as `ssh-keyscan` prints it, with the host first; a
    /// comment at its end is ignored.
    pub fn parse(line: &str) -> Result<Self, HostKeyError> {
        let line = line.trim();
        let after_host = line.split_once(' ').map(|(_, rest)| rest.trim_start());
        let is_key = |text: &str| ["ssh-", "ecdsa-", "sk-"].iter().any(|start| text.starts_with(start));
        let key = after_host.filter(|rest| !is_key(line) && is_key(rest)).unwrap_or(line);
        let mut key = PublicKey::from_openssh(key).map_err(|error| HostKeyError {
            shown: line.chars().take(60).collect(),
            reason: error.to_string(),
        })?;
        key.set_comment("");
        Ok(Self(key))
    }

    /// The key by which the user's or the system's `known_hosts` know a machine; an ed25519 one if there are several.
    pub fn known(host: &str, port: u16) -> Option<Self> {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ssh/known_hosts"));
        let files = home.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]);
        let keys = files.filter_map(|file| known_host_keys_path(host, port, file).ok()).flatten();
        let mut keys: Vec<PublicKey> = keys.map(|(_, key)| key).collect();
        keys.sort_by_key(|key| key.algorithm() != Algorithm::Ed25519);
        keys.into_iter().next().map(|mut key| {
            key.set_comment("");
            Self(key)
        })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    pub(super) fn is(&self, key: &PublicKey) -> bool {
        self.0.key_data() == key.key_data()
    }

    pub(super) fn line(&self) -> Option<String> {
        self.0.to_openssh().ok()
    }

    /// Its fingerprint: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

/// By which key croft shows who it is.
#[derive(Debug, Clone)]
pub enum Identity {
    /// One in memory.
    Key(Arc<KeyPair>),
    /// A file in the format of OpenSSH, without a passphrase. Read at each new connection.
    File(PathBuf),
}

/// Why a key pair cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyPairError {
    /// The system gives no random bytes.
    #[error("reading random bytes for an ssh key: {0}")]
    Random(#[from] std::io::Error),
    /// The key cannot be written, or read.
    #[error("an ssh key: {0}")]
    Format(#[from] russh::keys::ssh_key::Error),
}

/// An ed25519 key pair: of croft itself, or a host key for a machine that croft launches.
pub struct KeyPair(Arc<PrivateKey>);

impl KeyPair {
    /// A new one. Reads the system's random source, which does not block once the system is up.
    pub fn generate(comment: &str) -> Result<Self, KeyPairError> {
        let mut seed = [0; 32];
        std::io::Read::read_exact(&mut fs_err::File::open("/dev/urandom")?, &mut seed)?;
        let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
        Ok(Self(Arc::new(PrivateKey::new(pair, comment)?)))
    }

    /// Reads a private key in the format of OpenSSH, without a passphrase.
    pub fn from_openssh(text: &str) -> Result<Self, KeyPairError> {
        Ok(Self(Arc::new(PrivateKey::from_openssh(text)?)))
    }

    /// The private key in the format of OpenSSH. A secret.
    pub fn private_text(&self) -> Result<String, KeyPairError> {
        Ok(self.0.to_openssh(LineEnding::LF)?.to_string())
    }

    /// The line for `authorized_keys` or a `.pub` file, without a newline.
    pub fn public_line(&self) -> Result<String, KeyPairError> {
        Ok(self.0.public_key().to_openssh()?)
    }

    /// The public key, for a machine that has this pair as its host key.
    pub fn host_key(&self) -> HostKey {
        let mut key = self.0.public_key().clone();
        key.set_comment("");
        HostKey(key)
    }

    pub(super) fn private(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for KeyPair {
    /// Never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.0.fingerprint(HashAlg::Sha256))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_survives_being_written_and_read() {
        let pair = KeyPair::generate("croft").unwrap();
        let again = KeyPair::from_openssh(&pair.private_text().unwrap()).unwrap();
        assert_eq!(again.host_key(), pair.host_key());
        let line = pair.public_line().unwrap();
        assert!(line.starts_with("ssh-ed25519 AAAA") && line.ends_with(" croft"), "{line}");
        assert_eq!(HostKey::parse(&line).unwrap(), pair.host_key());
        assert_eq!(HostKey::parse(&format!("big.example.org {line}")).unwrap(), pair.host_key());
        assert_ne!(KeyPair::generate("croft").unwrap().host_key(), pair.host_key());
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_is_no_key_is_refused_with_an_example() {
        let error = HostKey::parse("scratchy.example").unwrap_err().to_string();
        assert!(error.contains("scratchy.example") && error.contains("ssh-ed25519 AAAA"), "{error}");
    }
}
