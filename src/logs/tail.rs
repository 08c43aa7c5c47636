//! The last lines of a log that has outgrown its limit. Part of the edge `logs`; no I/O.

use std::collections::VecDeque;

use super::index::Dropped;

/// Holds the last lines that fit into some bytes, and counts those that did not.
#[derive(Debug)]
pub(super) struct Tail {
    max_bytes: usize,
    bytes: VecDeque<u8>,
    dropped: Dropped,
}

impl Tail {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: VecDeque::new(), dropped: Dropped::default() }
    }

    /// Adds a line without its newline.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.bytes.extend(line);
        self.bytes.push_back(b'\n');
        while self.bytes.len() > self.max_bytes {
            let end = self.bytes.iter().position(|byte| *byte == b'\n').map_or(self.bytes.len(), |at| at + 1);
            self.bytes.drain(..end);
            self.dropped.bytes += end as u64;
            self.dropped.lines += 1;
        }
    }

    /// What was dropped, and the lines that are left, each with its newline.
    pub(super) fn finish(self) -> (Dropped, Vec<u8>) {
        (self.dropped, self.bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_stay_and_the_others_are_counted() {
        let mut tail = Tail::new(10);
        for line in ["aaa", "", "bbbb", "cc"] {
            tail.push(line.as_bytes());
        }
        let (dropped, left) = tail.finish();
        assert_eq!(left, b"\nbbbb\ncc\n");
        assert_eq!(dropped, Dropped { bytes: 4, lines: 1 });
    }

    #[test]
    fn a_line_longer_than_the_tail_is_dropped_whole() {
        let mut tail = Tail::new(4);
        tail.push(b"aaaaaaaa");
        assert_eq!(tail.finish(), (Dropped { bytes: 9, lines: 1 }, vec![]));
    }
}
