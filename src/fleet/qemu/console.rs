//! What a guest writes: as little of it as is worth keeping.

use std::{
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// The most that is told of a console, in bytes,
pub(super) const CONSOLE: u64 = 64 * 1024;
/// and what is kept of one.
const CONSOLE_FILE: u64 = 1 << 20;

/// The end of a file; empty if there is none.
pub(super) fn tail(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = match fs_err::File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Keeps a console small, whatever a guest writes: qemu appends to what is left.
pub(super) fn trim(file: &Path) {
    let is_long = fs_err::metadata(file).is_ok_and(|data| data.len() > CONSOLE_FILE);
    if !is_long {
        return;
    }
    let kept = tail(file, CONSOLE).and_then(|end| fs_err::write(file, end));
    if let Err(error) = kept {
        tracing::warn!(file = %file.display(), %error, "a console cannot be shortened");
    }
}
