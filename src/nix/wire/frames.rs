//! Framed bodies: chunks with a length each, ended by a zero.
//!
//! Layer 0.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of one full frame.
pub const FRAME_BYTES: usize = 64 << 10;

const HEADER: usize = 8;

/// Writes a framed body. Nothing is sent until a frame is full or [`Frames::finish`] is called.
#[derive(Debug)]
pub struct Frames<'w, W> {
    writer: &'w mut W,
    /// Room for the length, then the payload.
    frame: Vec<u8>,
}

impl<'w, W: AsyncWrite + Unpin> Frames<'w, W> {
    /// Starts a body.
    pub fn new(writer: &'w mut W) -> Self {
        let mut frame = Vec::with_capacity(HEADER + FRAME_BYTES);
        frame.resize(HEADER, 0);
        Self { writer, frame }
    }

    /// Appends bytes.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.room().min(bytes.len()));
            self.frame.extend_from_slice(now);
            bytes = later;
            self.send_if_full().await?;
        }
        Ok(())
    }

    /// Appends up to `max` bytes from a source, showing them to `seen`; 0 at its end. Call
    /// [`Frames::send_if_full`] afterwards: a failing source and a failing connection are different things.
    pub async fn read_from(
        &mut self,
        source: &mut (impl AsyncRead + Unpin),
        max: u64,
        seen: &mut impl FnMut(&[u8]),
    ) -> io::Result<u64> {
        let start = self.frame.len();
        let max = max.min(self.room() as u64);
        let read = source.take(max).read_buf(&mut self.frame).await?;
        seen(&self.frame[start..]);
        Ok(read as u64)
    }

    /// Sends what is left and the end mark.
    pub async fn finish(mut self) -> io::Result<()> {
        self.send().await?;
        self.writer.write_all(&0_u64.to_le_bytes()).await?;
        self.writer.flush().await
    }

    fn room(&self) -> usize {
        HEADER + FRAME_BYTES - self.frame.len()
    }

    /// Sends the frame if there is no more room in it.
    pub async fn send_if_full(&mut self) -> io::Result<()> {
        if self.room() == 0 { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> io::Result<()> {
        let len = (self.frame.len() - HEADER) as u64;
        if len > 0 {
            self.frame[..HEADER].copy_from_slice(&len.to_le_bytes());
            self.writer.write_all(&self.frame).await?;
            self.frame.truncate(HEADER);
        }
        Ok(())
    }
}
