//! Files of the store that are read directly: derivations, and the reports that passing cells leave.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::{
    config::NixSettings,
    graph::{GraphError, Missing},
    nix::{Derivation, DrvPath, StoreDir, StorePath},
};

/// Where a cell's report is below its output.
const REPORT: &str = "croft/report.xml";
/// The largest report that is read, in bytes.
const MAX_REPORT: u64 = 64 << 20;

/// The files of the local store.
#[derive(Debug, Clone)]
pub struct StoreFiles {
    store_dir: StoreDir,
    settings: NixSettings,
}

/// The report of a passing cell, found below its output.
#[derive(Debug)]
pub enum StoredReport {
    /// Its bytes.
    Found(Vec<u8>),
    /// The output has none: the cell does not use croft's report.
    None,
    /// There is something that croft does not read.
    Refused(String),
}

impl StoreFiles {
    /// The files of the store that the settings name.
    pub fn new(settings: NixSettings) -> Self {
        Self { store_dir: StoreDir::default(), settings }
    }

    /// The logical store directory.
    pub fn store_dir(&self) -> &StoreDir {
        &self.store_dir
    }

    fn physical(&self, path: &StorePath) -> PathBuf {
        self.settings.physical(&self.store_dir.render_path(path))
    }

    /// Reads a derivation. Blocks.
    pub fn read_drv(&self, drv: &DrvPath) -> Result<Vec<u8>, Missing> {
        fs_err::read(self.physical(drv.as_store_path()))
            .map_err(|cause| Missing { drv: drv.clone(), cause: cause.to_string() })
    }

    /// Reads a derivation and what it says. Blocks.
    pub fn derivation(&self, drv: &DrvPath) -> Result<Derivation, GraphError> {
        Ok(Derivation::parse(&self.store_dir, drv, &self.read_drv(drv)?)?)
    }

    /// Whether the derivation's file is there. Blocks.
    pub fn has_drv(&self, drv: &DrvPath) -> bool {
        self.physical(drv.as_store_path()).exists()
    }

    /// Whether the store object's file is there. Blocks.
    pub fn has_path(&self, path: &StorePath) -> bool {
        self.physical(path).exists()
    }

    /// Reads the report below `output`. Blocks.
    ///
    /// The output was made by a build and may hold anything, so no link is followed on the way, only a regular file is
    /// read, and of that not more than croft wants.
    pub fn read_report(&self, output: &StorePath) -> StoredReport {
        match self.open_report(output) {
            Ok(Some(file)) => read_bounded(file),
            Ok(None) => StoredReport::None,
            Err(error) => StoredReport::Refused(format!("reading {REPORT} of {output}: {error}")),
        }
    }

    fn open_report(&self, output: &StorePath) -> io::Result<Option<File>> {
        let dir = match rustix::fs::open(
            self.physical(output),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(dir) => dir,
            // An output that is a file or a link has no report.
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP | rustix::io::Errno::NOENT) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&dir, REPORT, flags, Mode::empty(), inside) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn read_bounded(file: File) -> StoredReport {
    let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
    if !is_file {
        return StoredReport::Refused(format!("{REPORT} is no regular file"));
    }
    let mut bytes = Vec::new();
    match file.take(MAX_REPORT + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > MAX_REPORT => {
            StoredReport::Refused(format!("{REPORT} is larger than {} MiB", MAX_REPORT >> 20))
        }
        Ok(_) => StoredReport::Found(bytes),
        Err(error) => StoredReport::Refused(format!("reading {REPORT}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(make: impl FnOnce(&std::path::Path)) -> StoredReport {
        let root = tempfile::tempdir().unwrap();
        let output = "00000000000000000000000000000000-x";
        let dir = root.path().join("nix/store").join(output);
        fs_err::create_dir_all(&dir).unwrap();
        make(&dir);
        let settings = NixSettings { root: Some(root.path().to_owned()), ..NixSettings::default() };
        StoreFiles::new(settings).read_report(&StorePath::from_basename(output.as_bytes()).unwrap())
    }

    #[test]
    fn a_report_is_read_and_its_absence_is_no_error() {
        let found = report(|dir| {
            fs_err::create_dir(dir.join("croft")).unwrap();
            fs_err::write(dir.join(REPORT), "<testsuites/>").unwrap();
        });
        assert!(matches!(found, StoredReport::Found(bytes) if bytes == b"<testsuites/>"));
        assert!(matches!(report(|_| {}), StoredReport::None));
    }

    #[test]
    fn links_and_special_files_are_refused() {
        let link = report(|dir| {
            fs_err::create_dir(dir.join("croft")).unwrap();
            fs_err::os::unix::fs::symlink("/etc/passwd", dir.join(REPORT)).unwrap();
        });
        assert!(matches!(link, StoredReport::Refused(_)), "{link:?}");
        let link_above = report(|dir| fs_err::os::unix::fs::symlink("/etc", dir.join("croft")).unwrap());
        assert!(matches!(link_above, StoredReport::Refused(_)), "{link_above:?}");
        let directory = report(|dir| fs_err::create_dir_all(dir.join(REPORT)).unwrap());
        assert!(matches!(directory, StoredReport::Refused(_)), "{directory:?}");
    }
}
