//! The builder on this machine.

use std::{collections::BTreeSet, path::PathBuf};

use tokio_util::sync::CancellationToken;

use super::{
    dial::StoreAccess,
    pool::Pool,
    realise::{Ask, BuildLog, Limits, Realised, realise},
};
/// Less free space than this, in bytes, is a full disk.
const LOW_BYTES: u64 = 32 << 20;
/// Fewer free inodes than this is a full disk too.
const LOW_INODES: u64 = 512;

/// The daemon of the local store, as a builder.
#[derive(Debug, Clone)]
pub struct LocalBuilder {
    pool: Pool,
    slots: u32,
}

impl LocalBuilder {
    /// The builder behind `access`, and how many builds it runs at once.
    pub fn new(access: StoreAccess, slots: u32) -> Self {
        Self { pool: Pool::new(access), slots }
    }

    /// How many builds it runs at once.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Its connections, for asking about paths.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Carries out `ask`. When the future is dropped or `cancel` fires, the build is ended.
    pub async fn realise<L: BuildLog>(
        &self,
        ask: &Ask,
        limits: Limits,
        log: L,
        cancel: &CancellationToken,
    ) -> Realised<L> {
        realise(&self.pool, ask, limits, log, || self.disk_is_full(), cancel).await
    }

    fn disk_is_full(&self) -> bool {
        let nix = self.pool.access().settings();
        let dirs: BTreeSet<PathBuf> =
            [nix.physical("/nix/store"), nix.physical("/nix/var/nix"), std::env::temp_dir()].into();
        dirs.iter().any(|dir| {
            // A file system that reports no inodes at all has no limit on them.
            rustix::fs::statvfs(dir).is_ok_and(|fs| {
                fs.f_bavail * fs.f_frsize < LOW_BYTES || (fs.f_files > 0 && fs.f_favail < LOW_INODES)
            })
        })
    }
}
