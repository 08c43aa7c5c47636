//! Whether a disk of this machine is full.

use std::{collections::BTreeSet, path::PathBuf};

use super::health::is_low;
use crate::config::NixSettings;

/// Whether the store, its state or the folder of builds has no room.
pub(super) fn is_full(nix: &NixSettings) -> bool {
    let dirs: BTreeSet<PathBuf> =
        [nix.physical("/nix/store"), nix.physical("/nix/var/nix"), std::env::temp_dir()].into();
    dirs.iter().any(|dir| {
        rustix::fs::statvfs(dir)
            .is_ok_and(|fs| is_low(fs.f_bavail.saturating_mul(fs.f_frsize), fs.f_files, fs.f_favail))
    })
}
