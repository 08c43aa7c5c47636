//! A compressed NAR that waits for its upload: small ones in memory, others in a file that has no name any more.
//!
//! An object is named by the hash of its bytes, which is known only at the last of them.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncBufRead, BufReader},
    sync::mpsc,
};

/// More bytes than this go to a file.
const IN_MEMORY: usize = 4 << 20;

/// A compressed NAR.
pub(super) struct Spooled {
    /// Its length in bytes.
    pub(super) size: u64,
    /// Its SHA-256.
    pub(super) hash: [u8; 32],
    content: Content,
}

enum Content {
    Memory(Vec<u8>),
    File(Nameless),
}

/// A file that goes when it is closed, also by a kill.
struct Nameless {
    file: File,
    /// Whether it can be given a name.
    can_be_named: bool,
}

impl Spooled {
    /// Gives the file of a NAR its name, whole and durable, if it is a file and in a file system that can do so; else
    /// it is false and nothing was done. Another file of that name is replaced at once. Blocks.
    pub(super) fn name(&self, path: &Path) -> io::Result<bool> {
        let Content::File(Nameless { file, can_be_named: true }) = &self.content else { return Ok(false) };
        file.sync_all()?;
        let own = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = |to: &Path| linkat(CWD, &own, CWD, to, AtFlags::SYMLINK_FOLLOW);
        match link(path) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let staged = path.with_extension(format!("{}#{}", std::process::id(), next_number()));
                link(&staged)?;
                fs_err::rename(&staged, path)?;
            }
            Err(error) => return Err(error.into()),
        }
        // The folder may be new as well.
        for folder in path.ancestors().skip(1).take(2) {
            File::open(folder)?.sync_all()?;
        }
        Ok(true)
    }

    /// Its bytes, from the first.
    pub(super) fn into_reader(self) -> io::Result<Box<dyn AsyncBufRead + Send + Sync + Unpin>> {
        match self.content {
            Content::Memory(bytes) => Ok(Box::new(io::Cursor::new(bytes))),
            Content::File(Nameless { mut file, .. }) => {
                io::Seek::rewind(&mut file)?;
                Ok(Box::new(BufReader::with_capacity(256 << 10, tokio::fs::File::from_std(file))))
            }
        }
    }
}

/// Compresses the chunks that come until there are no more. Blocks.
pub(super) fn compress(
    dir: &Path,
    level: i32,
    nar_size: u64,
    mut chunks: mpsc::Receiver<Vec<u8>>,
) -> io::Result<Spooled> {
    let mut encoder = zstd::stream::write::Encoder::new(Spool::new(dir), level)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(nar_size))?;
    while let Some(chunk) = chunks.blocking_recv() {
        encoder.write_all(&chunk)?;
    }
    Ok(encoder.finish()?.finish())
}

struct Spool {
    dir: PathBuf,
    content: Content,
    hasher: Sha256,
    size: u64,
}

impl Spool {
    fn new(dir: &Path) -> Self {
        let content = Content::Memory(Vec::new());
        Self { dir: dir.to_owned(), content, hasher: Sha256::new(), size: 0 }
    }

    fn finish(self) -> Spooled {
        Spooled { size: self.size, hash: self.hasher.finalize().into(), content: self.content }
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Content::Memory(held) = &mut self.content
            && held.len() + bytes.len() > IN_MEMORY
        {
            let mut nameless = nameless_file(&self.dir)?;
            nameless.file.write_all(held)?;
            self.content = Content::File(nameless);
        }
        match &mut self.content {
            Content::Memory(held) => held.extend_from_slice(bytes),
            Content::File(nameless) => nameless.file.write_all(bytes)?,
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nameless_file(dir: &Path) -> io::Result<Nameless> {
    fs_err::create_dir_all(dir)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(dir, flags, Mode::from_raw_mode(0o644)) {
        return Ok(Nameless { file: file.into(), can_be_named: true });
    }
    // A file system without such files.
    let path = dir.join(format!("{}-{}", std::process::id(), next_number()));
    // One of that name is left by a process that was killed in the middle of these lines.
    fs_err::remove_file(&path).ok();
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs_err::remove_file(&path)?;
    Ok(Nameless { file, can_be_named: false })
}

fn next_number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
