//! Writing a log as its build runs. Part of the edge `logs`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;

use super::{
    LogError,
    frame::{FRAME_BYTES, MAX_FRAME_BYTES, count_lines, pack},
    index::{Dropped, Index},
    log_path,
    tail::Tail,
};
use crate::ids::AttemptId;

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of the log; its middle is dropped beyond. Default 64 MiB.
    pub max_bytes: u64,
    /// Bytes of the end that are kept of a longer log; held in memory until the log is finished, with
    /// room for one more line. Default 512 KiB.
    pub tail_bytes: usize,
    /// Bytes of a line; its end is dropped beyond. Default 1 MiB, at most 8 MiB.
    pub line_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, tail_bytes: 512 << 10, line_bytes: 1 << 20 }
    }
}

/// What was stored of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSummary {
    /// Bytes, before compression.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Bytes that were left out, of the middle and of long lines.
    pub dropped_bytes: u64,
    /// Lines that were left out of the middle.
    pub dropped_lines: u64,
}

impl LogSummary {
    /// Whether anything was left out.
    pub fn truncated(self) -> bool {
        self.dropped_bytes > 0
    }
}

/// Writes the log of one attempt. Dropped without [`LogWriter::finish`], it leaves what was flushed.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    limits: LogLimits,
    file: Option<fs::File>,
    index: Index,
    /// Lines that are in no frame yet.
    pending: Vec<u8>,
    /// Frames that are not in the file yet.
    packed: Vec<u8>,
    tail: Option<Tail>,
    given_up: bool,
}

impl LogWriter {
    /// A writer of the log of `attempt` below `dir`. Touches no file until there is something to write.
    pub fn create(dir: &Path, attempt: AttemptId, limits: LogLimits) -> Self {
        let limits = LogLimits { line_bytes: limits.line_bytes.clamp(1, MAX_FRAME_BYTES / 2), ..limits };
        Self {
            path: log_path(dir, attempt),
            limits,
            file: None,
            index: Index::default(),
            pending: Vec::new(),
            packed: Vec::new(),
            tail: None,
            given_up: false,
        }
    }

    /// Adds a line, without its newline. Blocks for one short write per 64 KiB of log.
    pub fn append(&mut self, line: &[u8]) -> Result<(), LogError> {
        self.check()?;
        for line in line.split(|byte| *byte == b'\n') {
            if line.len() <= self.limits.line_bytes {
                self.add(line)?;
                continue;
            }
            let over = line.len() - self.limits.line_bytes;
            self.index.dropped.bytes += over as u64;
            let mut cut = line[..self.limits.line_bytes].to_vec();
            cut.extend(format!(" [croft: {over} more bytes of this line are left out]").into_bytes());
            self.add(&cut)?;
        }
        Ok(())
    }

    /// Makes all lines so far visible to readers, but for those past the limit. Blocks for one write. Each flush
    /// ends a frame: call it a few times per second at most.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.pack()?;
        self.write()
    }

    /// Ends the log. When this returns, it is on the disk. Blocks until then: some milliseconds.
    pub fn finish(mut self) -> Result<LogSummary, LogError> {
        self.check()?;
        if let Some(tail) = self.tail.take() {
            self.add_tail(tail)?;
        }
        self.pack()?;
        let Index { end, dropped, .. } = self.index;
        if end.offset > 0 {
            self.packed.extend(self.index.to_bytes());
            self.write()?;
            self.sync().map_err(|error| LogError::io("writing", &self.path, error))?;
        }
        Ok(LogSummary {
            bytes: end.offset,
            lines: end.line,
            dropped_bytes: dropped.bytes,
            dropped_lines: dropped.lines,
        })
    }

    fn check(&self) -> Result<(), LogError> {
        if self.given_up { Err(LogError::GivenUp { path: self.path.clone() }) } else { Ok(()) }
    }

    fn add(&mut self, line: &[u8]) -> Result<(), LogError> {
        if let Some(tail) = &mut self.tail {
            tail.push(line);
            return Ok(());
        }
        let bytes = self.index.end.offset + (self.pending.len() + line.len()) as u64 + 1;
        if bytes > self.limits.max_bytes.saturating_sub(self.limits.tail_bytes as u64) {
            let head = self.index.end.offset + self.pending.len() as u64;
            let room = self.limits.max_bytes.saturating_sub(head);
            let mut tail = Tail::new(usize::try_from(room).unwrap_or(usize::MAX));
            tail.push(line);
            self.tail = Some(tail);
            return Ok(());
        }
        self.keep(line)?;
        self.write_if_long()
    }

    /// Puts a line into the next frame.
    fn keep(&mut self, line: &[u8]) -> Result<(), LogError> {
        if self.pending.len() + line.len() >= FRAME_BYTES {
            self.pack()?;
        }
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
        Ok(())
    }

    fn add_tail(&mut self, tail: Tail) -> Result<(), LogError> {
        let (Dropped { bytes, lines }, left) = tail.finish();
        self.index.dropped.bytes += bytes;
        self.index.dropped.lines += lines;
        if lines > 0 {
            let limit = self.limits.max_bytes;
            let note = format!(
                "[croft: {lines} lines ({bytes} bytes) are left out here: a log may hold {limit} bytes, its start and \
                 its end are kept]"
            );
            self.keep(note.as_bytes())?;
        }
        for line in left.split_inclusive(|byte| *byte == b'\n') {
            self.keep(&line[..line.len() - 1])?;
        }
        Ok(())
    }

    /// Ends the frame.
    fn pack(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let frame = pack(&self.pending).map_err(|error| LogError::io("compressing", &self.path, error))?;
        self.index.push(self.pending.len() as u64, count_lines(&self.pending), frame.len() as u64);
        self.packed.extend(frame);
        self.pending.clear();
        Ok(())
    }

    fn write_if_long(&mut self) -> Result<(), LogError> {
        if self.packed.is_empty() { Ok(()) } else { self.write() }
    }

    /// Writes the packed frames in one go.
    fn write(&mut self) -> Result<(), LogError> {
        if self.packed.is_empty() {
            return Ok(());
        }
        let packed = std::mem::take(&mut self.packed);
        let written = self.file().and_then(|file| file.write_all(&packed));
        written.map_err(|error| {
            self.given_up = true;
            LogError::io("writing", &self.path, error)
        })
    }

    fn file(&mut self) -> io::Result<&mut fs::File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => create_new(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    /// Makes the file and the names that lead to it durable.
    fn sync(&self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        let shard = self.path.parent();
        for folder in [shard, shard.and_then(Path::parent)].into_iter().flatten() {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn create_new(path: &Path) -> io::Result<fs::File> {
    let create = || fs::OpenOptions::new().append(true).create_new(true).open(path);
    match (create(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            create()
        }
        (result, _) => result,
    }
}
