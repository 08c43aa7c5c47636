//! Reading a log, finished or not. Part of the edge `logs`. Every call may block on the disk.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use fs_err::{self as fs, os::unix::fs::FileExt as _};
use memchr::{memchr, memmem};
use zstd::bulk::Decompressor;

use super::{
    LogError,
    frame::{Found, MAX_FRAME_BYTES, count_lines, find, unpack},
    index::{FOOTER_BYTES, Index},
    log_path,
};
use crate::ids::AttemptId;

/// Lines that one call gives at most.
const MAX_LINES: usize = 20_000;
/// Bytes of lines after which a call gives no more.
const MAX_BYTES: usize = 16 << 20;
/// Bytes of the file that are looked through at once: enough for the largest frame.
const WINDOW: usize = MAX_FRAME_BYTES;

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogState {
    /// There is no file: nothing was flushed yet, or the log is empty.
    Absent,
    /// The file has no index: its build runs, or its writer was killed.
    Growing,
    /// All is there.
    Finished,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its number, counted from 1.
    pub number: u64,
    /// Its bytes, as the build wrote them: hostile. See `report::terminal_line`.
    pub bytes: Vec<u8>,
}

/// Where a text was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogHits {
    /// The numbers of the first lines that hold it.
    pub lines: Vec<u64>,
    /// How many lines hold it.
    pub total: u64,
}

/// Reads the log of one attempt.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: Option<fs::File>,
    index: Index,
    state: LogState,
}

impl LogReader {
    /// Opens the log of `attempt` below `dir`. A log without a file is an empty one.
    pub fn open(dir: &Path, attempt: AttemptId) -> Result<Self, LogError> {
        let path = log_path(dir, attempt);
        let mut reader = Self { path, file: None, index: Index::default(), state: LogState::Absent };
        reader.refresh()?;
        Ok(reader)
    }

    /// How far the log was when it was last looked at.
    pub fn state(&self) -> LogState {
        self.state
    }

    /// Lines of the log.
    pub fn line_count(&self) -> u64 {
        self.index.end.line
    }

    /// Bytes of the log, before compression.
    pub fn byte_count(&self) -> u64 {
        self.index.end.offset
    }

    /// Bytes that were left out of a finished log.
    pub fn dropped_bytes(&self) -> u64 {
        self.index.dropped.bytes
    }

    /// Looks for what was written since. Costs nothing for a finished log.
    pub fn refresh(&mut self) -> Result<(), LogError> {
        match self.state {
            LogState::Finished => Ok(()),
            LogState::Growing | LogState::Absent => {
                self.look().map_err(|error| LogError::io("reading", &self.path, error))
            }
        }
    }

    /// The lines with these numbers, counted from 1, as far as they exist. Gives at most 20,000 lines and stops
    /// after 16 MiB: ask again from the last number.
    pub fn lines(&self, numbers: Range<u64>) -> Result<Vec<LogLine>, LogError> {
        let first = numbers.start.max(1) - 1;
        let mut lines = Vec::new();
        let mut bytes = 0;
        if first >= self.index.end.line {
            return Ok(lines);
        }
        let mut frames = Frames::new(self)?;
        for frame in self.index.frame_of_line(first)..self.index.frames.len() {
            let start = self.index.frames[frame].line;
            let text = frames.get(frame)?;
            let skip = usize::try_from(first.saturating_sub(start)).unwrap_or(usize::MAX);
            for (number, line) in (start + 1..).zip(text.split_inclusive(|byte| *byte == b'\n')).skip(skip) {
                if number >= numbers.end || lines.len() >= MAX_LINES || bytes >= MAX_BYTES {
                    return Ok(lines);
                }
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                bytes += line.len();
                lines.push(LogLine { number, bytes: line.to_vec() });
            }
        }
        Ok(lines)
    }

    /// The last `count` lines, at most 20,000.
    pub fn tail(&self, count: u64) -> Result<Vec<LogLine>, LogError> {
        let end = self.index.end.line + 1;
        self.lines(end.saturating_sub(count.min(MAX_LINES as u64)).max(1)..end)
    }

    /// The lines that hold `needle`, byte for byte: the numbers of the first `max_hits`, and how many there are.
    pub fn search(&self, needle: &[u8], max_hits: usize) -> Result<LogHits, LogError> {
        let mut hits = LogHits::default();
        if needle.is_empty() || self.index.frames.is_empty() {
            return Ok(hits);
        }
        let finder = memmem::Finder::new(needle);
        let mut frames = Frames::new(self)?;
        for frame in 0..self.index.frames.len() {
            let text = frames.get(frame)?;
            let mut number = self.index.frames[frame].line + 1;
            let mut from = 0;
            while let Some(found) = finder.find(&text[from..]) {
                number += count_lines(&text[from..from + found]);
                hits.total += 1;
                if hits.lines.len() < max_hits {
                    hits.lines.push(number);
                }
                let Some(end) = memchr(b'\n', &text[from + found..]) else { break };
                from += found + end + 1;
                number += 1;
            }
        }
        Ok(hits)
    }

    /// The whole log in pieces of about 64 KiB that end with a line.
    pub fn pieces(&self) -> Result<impl Iterator<Item = Result<Vec<u8>, LogError>> + '_, LogError> {
        let mut frames = Frames::new(self)?;
        Ok((0..self.index.frames.len()).map(move |frame| frames.get(frame)))
    }

    fn look(&mut self) -> io::Result<()> {
        let file = match self.file.take().map_or_else(|| fs::File::open(&self.path), Ok) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        self.state = LogState::Growing;
        let length = file.metadata()?.len();
        let looked = match stored_index(&file, length)? {
            Some(index) => {
                self.index = index;
                self.state = LogState::Finished;
                Ok(())
            }
            None => scan(&file, length, &mut self.index),
        };
        self.file = Some(file);
        looked
    }
}

fn stored_index(file: &fs::File, length: u64) -> io::Result<Option<Index>> {
    let mut footer = [0; FOOTER_BYTES];
    let Some(footer_at) = length.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
    file.read_exact_at(&mut footer, footer_at)?;
    let Some(at) = Index::start_of(&footer).filter(|at| *at < length) else { return Ok(None) };
    let Ok(size) = usize::try_from(length - at) else { return Ok(None) };
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, at)?;
    Ok(Index::from_bytes(&bytes, at))
}

/// Adds the frames that follow the last one known. Stops at one that is not whole.
fn scan(file: &fs::File, length: u64, index: &mut Index) -> io::Result<()> {
    let mut decompressor = Decompressor::new()?;
    let mut window = Vec::new();
    while index.end.at < length {
        let left = usize::try_from(length - index.end.at).unwrap_or(usize::MAX);
        window.resize(left.min(WINDOW), 0);
        file.read_exact_at(&mut window, index.end.at)?;
        let mut rest = &window[..];
        while let Found::Frame { packed, size } = find(rest) {
            // A frame whose checksum does not hold is as good as a cut one: nothing behind it can be trusted.
            let Ok(lines) = unpack(&mut decompressor, &rest[..packed], size) else { return Ok(()) };
            index.push(size as u64, count_lines(&lines), packed as u64);
            rest = &rest[packed..];
        }
        if rest.len() == window.len() {
            return Ok(());
        }
    }
    Ok(())
}

/// Unpacks frames of one log.
struct Frames<'r> {
    reader: &'r LogReader,
    decompressor: Decompressor<'static>,
    packed: Vec<u8>,
}

impl<'r> Frames<'r> {
    fn new(reader: &'r LogReader) -> Result<Self, LogError> {
        let decompressor =
            Decompressor::new().map_err(|error| LogError::io("reading", &reader.path, error))?;
        Ok(Self { reader, decompressor, packed: Vec::new() })
    }

    fn get(&mut self, number: usize) -> Result<Vec<u8>, LogError> {
        let LogReader { path, file, index, .. } = self.reader;
        let (start, end) = (index.frames[number], index.end_of(number));
        let corrupt =
            |reason: &str| LogError::Corrupt { path: path.clone(), at: start.at, reason: reason.to_owned() };
        let size = usize::try_from(end.offset - start.offset).unwrap_or(usize::MAX);
        let packed = usize::try_from(end.at - start.at).unwrap_or(usize::MAX);
        if size > MAX_FRAME_BYTES || packed > zstd::zstd_safe::compress_bound(MAX_FRAME_BYTES) {
            return Err(corrupt("its index names a frame that is too long"));
        }
        let Some(file) = file else { return Err(corrupt("its file is not open")) };
        self.packed.resize(packed, 0);
        file.read_exact_at(&mut self.packed, start.at)
            .map_err(|error| LogError::io("reading", path, error))?;
        unpack(&mut self.decompressor, &self.packed, size).map_err(|error| corrupt(&error.to_string()))
    }
}
