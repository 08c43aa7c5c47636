//! Unpacking a NAR on a thread of its own, a bounded piece at a time.

use std::io::{self, Read};

use tokio::{io::AsyncRead, sync::mpsc};
use tokio_util::io::SyncIoBridge;

use super::record::Packing;

/// Bytes of one piece.
pub(super) const PIECE: usize = 256 << 10;
/// The largest window of zstd, as a power of two: 128 MiB, what any decoder must accept.
const MAX_WINDOW_LOG: u32 = 27;

/// Unpacks `packed` and sends the pieces, until the end, an error, or until nobody receives them. Blocks; must run
/// where the runtime is known.
pub(super) fn unpack(
    packing: Packing,
    packed: SyncIoBridge<Box<dyn AsyncRead + Send + Unpin>>,
    pieces: &mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let packed = io::BufReader::with_capacity(PIECE, packed);
    match packing {
        Packing::Plain => pump(packed, pieces),
        Packing::Gzip => pump(flate2::bufread::MultiGzDecoder::new(packed), pieces),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            pump(decoder, pieces)
        }
    }
}

fn pump(mut from: impl Read, pieces: &mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let mut filled = 0;
        while filled < PIECE {
            match from.read(&mut piece[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        let is_last = filled < PIECE;
        piece.truncate(filled);
        if filled > 0 && pieces.blocking_send(piece).is_err() || is_last {
            return Ok(());
        }
    }
}
