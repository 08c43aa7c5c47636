//! The keys of a farm: its own, by which it enters the machines it launches, and one for each of them.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    fleet::{Identity, Secret},
    remote::{KeyPair, KeyPairError},
};

/// The farm's own key pair.
#[derive(Debug, Clone)]
pub struct FarmKey(Arc<KeyPair>);

/// A key that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error("the farm's ssh key {path}: {source}; check the owner and the mode of the state directory")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It holds no key, or none can be made.
    #[error(
        "the farm's ssh key {path}: {source}; move the file away, and croft makes another: machines that run now cannot be entered then and end themselves"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyPairError,
    },
}

impl FarmKey {
    /// The key in `<state>/fleet/id_ed25519`, made at first use, for its owner alone.
    pub fn in_state_dir(state: &Path) -> Result<Self, IdentityError> {
        let path = state.join("fleet/id_ed25519");
        let key = |source| IdentityError::Key { path: path.clone(), source };
        let file = |source| IdentityError::File { path: path.clone(), source };
        match fs_err::read_to_string(&path) {
            Ok(text) => Ok(Self(Arc::new(KeyPair::from_openssh(&text).map_err(key)?))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let pair = KeyPair::generate("croft").map_err(key)?;
                write_new(&path, &pair.private_text().map_err(key)?).map_err(file)?;
                // Another process may have been quicker: what the file holds now counts for both.
                let text = fs_err::read_to_string(&path).map_err(file)?;
                Ok(Self(Arc::new(KeyPair::from_openssh(&text).map_err(key)?)))
            }
            Err(error) => Err(file(error)),
        }
    }

    pub(super) fn pair(&self) -> Arc<KeyPair> {
        Arc::clone(&self.0)
    }

    /// The identity of a new machine that this farm may enter.
    pub(super) fn invite(&self) -> Result<Identity, KeyPairError> {
        let host = KeyPair::generate("croft machine")?;
        Ok(Identity {
            host_key: Secret::new(host.private_text()?),
            host_key_public: host.public_line()?,
            authorized_key: self.0.public_line()?,
        })
    }
}

/// Writes a file as a whole, unless it is there already.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(dir)?;
    let draft = dir.join(format!(".id_ed25519.{}", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs_err::hard_link(&draft, path);
    fs_err::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_farm_keeps_its_key_to_itself() {
        let state = tempfile::tempdir().unwrap();
        let first = FarmKey::in_state_dir(state.path()).unwrap();
        let again = FarmKey::in_state_dir(state.path()).unwrap();
        assert_eq!(first.0.public_line().unwrap(), again.0.public_line().unwrap());
        let mode = fs_err::metadata(state.path().join("fleet/id_ed25519")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs_err::read_dir(state.path().join("fleet")).unwrap().count(), 1);
    }

    #[test]
    fn a_machine_has_a_key_of_its_own() {
        let state = tempfile::tempdir().unwrap();
        let farm = FarmKey::in_state_dir(state.path()).unwrap();
        let (one, other) = (farm.invite().unwrap(), farm.invite().unwrap());
        assert_ne!(one.host_key_public, other.host_key_public);
        assert_eq!(one.authorized_key, other.authorized_key);
        assert!(!format!("{one:?}").contains("PRIVATE"));
    }
}
