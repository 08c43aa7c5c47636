//! Where the frames of a log are, and the form in which that stands at the end of the file. Part of the edge
//! `logs`; no I/O.
//!
//! All numbers are little-endian. The index is one skippable frame:
//!
//! ```text
//! magic u32, length u32, "croftlog", version u32 = 1, frames u32,
//! per frame: offset u64, line u64, at u64,
//! bytes u64, lines u64, dropped bytes u64, dropped lines u64, at of this index u64, "croftidx"
//! ```

use super::frame::SKIPPABLE_MAGIC;

const HEAD: &[u8; 8] = b"croftlog";
const FOOT: &[u8; 8] = b"croftidx";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 8 + 4 + 4;
const ENTRY_BYTES: usize = 24;
const TRAILER_BYTES: usize = 5 * 8 + 8;

/// The last bytes of a finished log: enough to find its index.
pub(super) const FOOTER_BYTES: usize = 16;

/// Where something in the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// Bytes of log before it.
    pub(super) offset: u64,
    /// Lines of log before it.
    pub(super) line: u64,
    /// Bytes of the file before it.
    pub(super) at: u64,
}

/// What was left out of the middle of a log, or of its long lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Dropped {
    pub(super) bytes: u64,
    pub(super) lines: u64,
}

/// The frames of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Index {
    /// Where each frame starts.
    pub(super) frames: Vec<Position>,
    /// Where the last one ends.
    pub(super) end: Position,
    pub(super) dropped: Dropped,
}

impl Index {
    /// Adds a frame at the end.
    pub(super) fn push(&mut self, bytes: u64, lines: u64, packed: u64) {
        self.frames.push(self.end);
        self.end.offset += bytes;
        self.end.line += lines;
        self.end.at += packed;
    }

    /// Where the frame after frame `number` starts.
    pub(super) fn end_of(&self, number: usize) -> Position {
        self.frames.get(number + 1).copied().unwrap_or(self.end)
    }

    /// The frame that holds line `line`, counted from 0.
    pub(super) fn frame_of_line(&self, line: u64) -> usize {
        self.frames.partition_point(|frame| frame.line <= line).saturating_sub(1)
    }

    /// The index as it stands at the end of a file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let length = HEADER_BYTES - 8 + self.frames.len() * ENTRY_BYTES + TRAILER_BYTES;
        let mut out = Vec::with_capacity(length + 8);
        for number in [SKIPPABLE_MAGIC, u32::try_from(length).unwrap_or(u32::MAX)] {
            out.extend(number.to_le_bytes());
        }
        out.extend(HEAD);
        for number in [VERSION, u32::try_from(self.frames.len()).unwrap_or(u32::MAX)] {
            out.extend(number.to_le_bytes());
        }
        for frame in &self.frames {
            out.extend([frame.offset, frame.line, frame.at].into_iter().flat_map(u64::to_le_bytes));
        }
        let Self { end, dropped, .. } = self;
        let totals = [end.offset, end.line, dropped.bytes, dropped.lines, end.at];
        out.extend(totals.into_iter().flat_map(u64::to_le_bytes));
        out.extend(FOOT);
        out
    }

    /// Where the index of a file stands, by the file's last [`FOOTER_BYTES`].
    pub(super) fn start_of(footer: &[u8]) -> Option<u64> {
        let start = footer.strip_suffix(FOOT)?;
        Some(u64_at(start, start.len().checked_sub(8)?))
    }

    /// Reads an index that stands at byte `at` of its file. `None` for anything that croft would not write.
    pub(super) fn from_bytes(bytes: &[u8], at: u64) -> Option<Self> {
        let count = bytes.len().checked_sub(HEADER_BYTES + TRAILER_BYTES)? / ENTRY_BYTES;
        let empty = Self { frames: vec![Position::default(); count], ..Self::default() };
        // A header is right when it is the one that would be written for so many frames.
        if empty.to_bytes().get(..HEADER_BYTES) != bytes.get(..HEADER_BYTES) || !bytes.ends_with(FOOT) {
            return None;
        }
        let position = |start: usize| Position {
            offset: u64_at(bytes, start),
            line: u64_at(bytes, start + 8),
            at: u64_at(bytes, start + 16),
        };
        let totals = HEADER_BYTES + count * ENTRY_BYTES;
        let index = Self {
            frames: (0..count).map(|entry| position(HEADER_BYTES + entry * ENTRY_BYTES)).collect(),
            end: Position { offset: u64_at(bytes, totals), line: u64_at(bytes, totals + 8), at },
            dropped: Dropped { bytes: u64_at(bytes, totals + 16), lines: u64_at(bytes, totals + 24) },
        };
        index.is_ordered().then_some(index)
    }

    fn is_ordered(&self) -> bool {
        let starts_at_zero = self.frames.first().is_none_or(|first| *first == Position::default());
        let grows = (0..self.frames.len()).all(|number| {
            let (start, end) = (self.frames[number], self.end_of(number));
            start.offset < end.offset && start.line <= end.line && start.at < end.at
        });
        starts_at_zero && grows
    }
}

fn u64_at(bytes: &[u8], start: usize) -> u64 {
    let word = bytes.get(start..start + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Index {
        let mut index = Index::default();
        index.push(100, 3, 50);
        index.push(65_536, 0, 70);
        index.push(7, 7, 30);
        index.dropped = Dropped { bytes: 5, lines: 1 };
        index
    }

    #[test]
    fn an_index_comes_back_as_it_was() {
        for index in [Index::default(), sample()] {
            let bytes = index.to_bytes();
            assert_eq!(Index::start_of(&bytes[bytes.len() - FOOTER_BYTES..]), Some(index.end.at));
            assert_eq!(Index::from_bytes(&bytes, index.end.at), Some(index));
        }
    }

    #[test]
    fn a_line_is_found_in_its_frame() {
        let index = sample();
        for (line, frame) in [(0, 0), (2, 0), (3, 2), (9, 2), (1_000, 2)] {
            assert_eq!(index.frame_of_line(line), frame, "line {line}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_index_is_refused_or_in_order(at in 0usize..200, byte: u8) {
            let mut bytes = sample().to_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(index) = Index::from_bytes(&bytes, 150) {
                prop_assert!(index.is_ordered());
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            prop_assert_eq!(Index::from_bytes(&bytes, 0), None);
            prop_assert_eq!(Index::start_of(&bytes), None);
        }
    }
}
