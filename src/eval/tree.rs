//! Trees in plain folders that were locked before: known again by their content, without a child.

use std::{
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    EvalSettings, Fingerprint, FlakeRef, LockedFlake,
    lock::{PlainTree, Target},
    nix::Nix,
};
use crate::nix::{StorePath, nar};

/// The most bytes and entries of a tree that croft reads itself. To read a larger one twice, when it is not known, is
/// worse than to start Nix.
const MAX_BYTES: u64 = 16 << 20;
const MAX_ENTRIES: usize = 4_000;

/// A tree as it is now, and the name of everything that decides what Nix locks it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    name: Fingerprint,
    plain: PlainTree,
}

impl Tree {
    /// Equal names are locked to the same.
    pub fn name(&self) -> Fingerprint {
        self.name
    }

    /// Reads the folder of a `path:` reference. None for what croft cannot name as Nix would: another kind of
    /// reference, a tree that is large or strange, one that changes. Blocks.
    pub(super) fn read(nix: &Nix, settings: &EvalSettings, flake: &FlakeRef) -> Option<Self> {
        let path = flake.as_str().strip_prefix("path:").filter(|path| !path.contains(['?', '%']))?;
        let folder = Path::new(path);
        let last_modified = newest(folder).ok()??;
        let nar_hash = nar::hash_path(folder, MAX_BYTES).ok()?.to_sri();
        let plain = PlainTree { nar_hash, last_modified };
        let mut hash = Sha256::new();
        hash.update(b"croft tree 1");
        hash.update(nix.identity().ok()?);
        let own = [flake.as_str(), &plain.nar_hash, &format!("{last_modified} {:?}", settings.store)];
        let env = nix.env().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
        for part in own.into_iter().map(str::as_bytes).chain(env) {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Some(Self { name: Fingerprint::new(hash.finalize().into()), plain })
    }
}

/// The time of the newest entry, in seconds since 1970, as Nix takes it for the tree's. None if there are too many.
fn newest(folder: &Path) -> io::Result<Option<u64>> {
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    let (mut newest, mut entries) = (0, 0);
    while let Some(path) = open.pop() {
        entries += 1;
        if entries > MAX_ENTRIES {
            return Ok(None);
        }
        let meta = std::fs::symlink_metadata(&path)?;
        newest = newest.max(u64::try_from(meta.mtime()).unwrap_or(0));
        if meta.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                open.push(entry?.path());
            }
        }
    }
    Ok(Some(newest))
}

/// What Nix locked a tree to, to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockRecord {
    url: String,
    source: String,
    last_modified: u64,
    fingerprint: Fingerprint,
    target: String,
}

impl LockRecord {
    /// What is to be kept of `locked` under the name of `tree`. None if Nix has read another tree than croft, or if
    /// its lock says something of places outside the tree.
    pub fn of(locked: &LockedFlake, tree: &Tree) -> Option<Self> {
        let Target::Exact(target) = &locked.target else { return None };
        if locked.plain.as_ref() != Some(&tree.plain) {
            return None;
        }
        Some(Self {
            url: locked.url.clone(),
            source: locked.source.to_basename(),
            last_modified: tree.plain.last_modified,
            fingerprint: locked.fingerprint,
            target: target.clone(),
        })
    }

    /// The flake that was locked then. None if the record is damaged.
    pub fn restore(self, flake: &FlakeRef) -> Option<LockedFlake> {
        Some(LockedFlake {
            flake: flake.clone(),
            url: self.url,
            revision: None,
            last_modified: Some(self.last_modified),
            source: StorePath::from_basename(self.source.as_bytes()).ok()?,
            fingerprint: self.fingerprint,
            target: Target::Exact(self.target),
            overrides: Vec::new(),
            plain: None,
        })
    }
}
