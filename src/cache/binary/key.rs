//! The key that signs what is written, and those that are trusted.

use std::{
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::error::CacheError;
use crate::{
    config::CacheSettings,
    nix::{
        hash,
        signature::{PublicKey, SecretKey},
    },
};

/// The key's file in the state directory.
const FILE: &str = "cache-key.secret";

/// Where a signing key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrigin {
    /// It was there.
    Found(PathBuf),
    /// It was made just now.
    Made(PathBuf),
}

/// The key that signs what is written to the cache: that of `key_file`, or that of the state directory, which is made
/// at first use. Blocks.
pub fn signing_key(settings: &CacheSettings, state_dir: &Path) -> Result<(SecretKey, KeyOrigin), CacheError> {
    if let Some(path) = &settings.key_file {
        return Ok((read(path)?, KeyOrigin::Found(path.clone())));
    }
    let path = state_dir.join(FILE);
    let origin = if path.exists() { KeyOrigin::Found(path.clone()) } else { make(state_dir, &path)? };
    Ok((read(&path)?, origin))
}

/// The public keys of the configuration.
pub(super) fn trusted(texts: &[String]) -> Result<Vec<PublicKey>, CacheError> {
    let parse = |text: &String| {
        let cause = |error| format!("{text:?} is no public key NAME:BASE64: {error}");
        text.parse().map_err(|error| CacheError::Settings { key: "trusted_keys", cause: cause(error) })
    };
    texts.iter().map(parse).collect()
}

fn read(path: &Path) -> Result<SecretKey, CacheError> {
    let failed =
        |source| CacheError::File { doing: "reading the cache's secret key", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    if std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!("{} can be read by others than its owner; `chmod 600` it", path.display());
    }
    SecretKey::parse(&text).map_err(|error| failed(std::io::Error::other(error)))
}

/// Makes a key. Of several processes that do so at once, one wins; the others use its key.
fn make(state_dir: &Path, path: &Path) -> Result<KeyOrigin, CacheError> {
    let failed =
        |source| CacheError::File { doing: "making the cache's secret key", path: path.to_owned(), source };
    fs_err::create_dir_all(state_dir).map_err(failed)?;
    let mut seed = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut seed).map_err(|_| failed(std::io::Error::other("the system has no random bytes")))?;
    // Nix tells keys apart by their names, so that of each farm is its own.
    let public = SecretKey::from_seed("", seed).public_key();
    let name = format!("croft-{}", hash::to_base16(&public.key.as_bytes()[..4]));
    let key = SecretKey::from_seed(&name, seed);
    let staged = state_dir.join(format!("{FILE}.{name}"));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&staged).map_err(failed)?;
    let written = writeln!(file, "{}", key.reveal()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| std::fs::hard_link(&staged, path));
    fs_err::remove_file(&staged).ok();
    match linked {
        Ok(()) => Ok(KeyOrigin::Made(path.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Ok(KeyOrigin::Found(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let state = tempfile::tempdir().unwrap();
        let settings = CacheSettings::default();
        let make = || signing_key(&settings, state.path()).unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let path = state.path().join(FILE);
        let (key, origin) = make();
        assert_eq!(origin, KeyOrigin::Found(path.clone()));
        assert!(made.iter().all(|(other, _)| other.public_key() == key.public_key()));
        assert_eq!(made.iter().filter(|(_, origin)| *origin == KeyOrigin::Made(path.clone())).count(), 1);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
        let secret = key.reveal();
        assert!(!format!("{key:?}").contains(secret.split_once(':').unwrap().1));
    }
}
