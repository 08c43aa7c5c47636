//! The guest: the files that a virtual machine boots from.

use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::fleet::{Class, ProviderError};

const CHUNK: usize = 64 * 1024;

/// A folder that `nix/guest/build` has made.
#[derive(Debug)]
pub(super) struct Image {
    folder: PathBuf,
}

impl Image {
    /// The guest in `folder`, if all of it is there.
    pub(super) fn open(folder: &Path, doing: &str) -> Result<Self, ProviderError> {
        let absent = |name: &str| {
            let message = format!(
                "there is no guest in {}: {name} is missing. Run `nix/guest/build {0}`, or `make guest` and set pool.qemu.image",
                folder.display()
            );
            ProviderError::new(Class::Invalid, doing, message)
        };
        let folder = fs_err::canonicalize(folder).map_err(|_| absent("the folder"))?;
        for name in ["vmlinux", "initrd.cpio", "root.ext4", "scratch.ext4", "manifest.json"] {
            if !folder.join(name).is_file() {
                return Err(absent(name));
            }
        }
        Ok(Self { folder })
    }

    /// The kernel.
    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The first file system, in memory.
    pub(super) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd.cpio")
    }

    /// The root disk, which all guests share and none writes.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root.ext4")
    }

    /// Makes a disk for a guest's store, of `size` bytes; blocks that are empty take no room.
    pub(super) fn make_disk(&self, target: &Path, size: u64) -> io::Result<()> {
        let mut source = fs_err::File::open(self.folder.join("scratch.ext4"))?;
        let mut disk = fs_err::File::create(target)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = source.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            if chunk[..count].iter().all(|byte| *byte == 0) {
                disk.seek(SeekFrom::Current(i64::try_from(count).unwrap_or(0)))?;
            } else {
                disk.write_all(&chunk[..count])?;
            }
        }
        let least = source.metadata()?.len();
        disk.set_len(size.max(least))
    }
}
