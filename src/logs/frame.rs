//! zstd frames: packing, unpacking, finding where one ends. Part of the edge `logs`; no I/O.

use std::io;

use zstd::{bulk::Decompressor, zstd_safe};

/// Bytes of log in a frame: small, so that any line is near the start of one.
pub(super) const FRAME_BYTES: usize = 64 << 10;
/// Bytes of log that a frame may hold at most, when it holds one huge line.
pub(super) const MAX_FRAME_BYTES: usize = 16 << 20;
/// First bytes of a frame that zstd's tools skip. The four bytes of this number are in little-endian order.
pub(super) const SKIPPABLE_MAGIC: u32 = 0x184D_2A5C;

const LEVEL: i32 = 3;

/// Packs some lines. The frame tells its size and holds a checksum.
pub(super) fn pack(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.set_parameter(zstd_safe::CParameter::ChecksumFlag(true))?;
    compressor.compress(lines)
}

/// Unpacks the lines of one frame, which are `size` bytes.
pub(super) fn unpack(decompressor: &mut Decompressor<'_>, frame: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let lines = decompressor.decompress(frame, size)?;
    if lines.len() == size {
        Ok(lines)
    } else {
        Err(io::Error::other("a frame is shorter than it should be"))
    }
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole frame: its bytes in the file, its bytes of log.
    Frame { packed: usize, size: usize },
    /// No frame with lines, or one that is not whole.
    Nothing,
}

/// Looks for a frame at the start of `bytes`.
pub(super) fn find(bytes: &[u8]) -> Found {
    let data =
        bytes.get(..4).is_some_and(|magic| magic == zstd_safe::zstd_sys::ZSTD_MAGICNUMBER.to_le_bytes());
    if !data {
        return Found::Nothing;
    }
    let packed = zstd_safe::find_frame_compressed_size(bytes).ok();
    let size =
        zstd_safe::get_frame_content_size(bytes).ok().flatten().and_then(|size| usize::try_from(size).ok());
    match (packed, size) {
        (Some(packed), Some(size)) if size <= MAX_FRAME_BYTES => Found::Frame { packed, size },
        _ => Found::Nothing,
    }
}

/// How many lines end in `bytes`.
pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
