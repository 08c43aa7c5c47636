//! What a child prints on standard error, kept within bounds. Pure.

use std::collections::VecDeque;

/// Splits a stream into lines; keeps the end of it and the last error, and gives out croft's own lines.
#[derive(Debug)]
pub(super) struct StderrKeeper {
    prefix: Option<Vec<u8>>,
    line: Vec<u8>,
    tail: VecDeque<u8>,
    error: Vec<u8>,
    tail_cap: usize,
    line_cap: u64,
    own_bytes: u64,
}

/// More of croft's own lines than allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl StderrKeeper {
    /// Keeps `tail_cap` bytes of the end; lines that start with `prefix` are given out, `own_cap` bytes in all.
    pub(super) fn new(prefix: Option<&str>, tail_cap: usize, own_cap: u64) -> Self {
        Self {
            prefix: prefix.map(|p| p.as_bytes().to_vec()),
            line: Vec::new(),
            tail: VecDeque::new(),
            error: Vec::new(),
            tail_cap,
            line_cap: own_cap,
            own_bytes: 0,
        }
    }

    /// Takes the next bytes; the result is what croft's lines in them say.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooMuch> {
        let mut own = Vec::new();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.take(part)?;
            if part.ends_with(b"\n") {
                own.extend(self.end_line()?);
            }
        }
        Ok(own)
    }

    /// The end of what was printed, and before it the last error when that started earlier.
    pub(super) fn into_text(mut self) -> String {
        if !self.line.is_empty() {
            let _ = self.end_line();
        }
        let tail: Vec<u8> = self.tail.into();
        let mut text = String::from_utf8_lossy(&self.error).into_owned();
        if !tail.ends_with(&self.error) || self.error.is_empty() {
            text.push('\n');
            text.push_str(&String::from_utf8_lossy(&tail));
        }
        text
    }

    /// Adds `part` to the line. A line that is not croft's is cut where nothing of it would be kept.
    fn take(&mut self, part: &[u8]) -> Result<(), TooMuch> {
        // Whose line it is shows once the line is as long as the prefix.
        let undecided = self.prefix.as_ref().map_or(0, Vec::len).saturating_sub(self.line.len());
        let (head, rest) = part.split_at(undecided.min(part.len()));
        self.line.extend_from_slice(head);
        let is_own = self.is_own();
        let cap = if is_own { usize::try_from(self.line_cap).unwrap_or(usize::MAX) } else { self.tail_cap };
        let room = cap.saturating_sub(self.line.len());
        if is_own && rest.len() > room {
            return Err(TooMuch);
        }
        self.line.extend_from_slice(&rest[..rest.len().min(room)]);
        Ok(())
    }

    fn is_own(&self) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| self.line.starts_with(prefix))
    }

    fn end_line(&mut self) -> Result<Option<String>, TooMuch> {
        let line = std::mem::take(&mut self.line);
        if let Some(rest) = self.prefix.as_ref().and_then(|prefix| line.strip_prefix(prefix.as_slice())) {
            self.own_bytes += line.len() as u64;
            if self.own_bytes > self.line_cap {
                return Err(TooMuch);
            }
            return Ok(Some(String::from_utf8_lossy(rest).trim_end().to_owned()));
        }
        if line.starts_with(b"error:") || line.starts_with(b"\x1b[31;1merror:") {
            self.error.clear();
        } else if self.error.is_empty() {
            self.keep_tail(&line);
            return Ok(None);
        }
        let room = self.tail_cap.saturating_sub(self.error.len());
        self.error.extend_from_slice(&line[..line.len().min(room)]);
        self.keep_tail(&line);
        Ok(None)
    }

    fn keep_tail(&mut self, line: &[u8]) {
        self.tail.extend(line);
        if !line.ends_with(b"\n") {
            self.tail.push_back(b'\n');
        }
        let excess = self.tail.len().saturating_sub(self.tail_cap);
        self.tail.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lines_are_given_out_whole_and_in_order() {
        let mut keeper = StderrKeeper::new(Some("trace: t "), 100, 1000);
        assert_eq!(keeper.push(b"noise\ntrace: t ce").unwrap(), Vec::<String>::new());
        assert_eq!(keeper.push(b"ll 1\ntrace: other\ntrace: t x\n").unwrap(), ["cell 1", "x"]);
        assert_eq!(keeper.into_text(), "\nnoise\ntrace: other\n");
    }

    #[test]
    fn a_flood_leaves_its_end_and_an_error_survives_its_frames() {
        let mut keeper = StderrKeeper::new(Some("trace: t "), 64, 1000);
        for _ in 0..1000 {
            keeper.push(&[b'x'; 1000]).unwrap();
        }
        keeper.push(b"\nerror: this one\n").unwrap();
        for _ in 0..1000 {
            keeper.push(b"       frame\n").unwrap();
        }
        let text = keeper.into_text();
        assert!(text.starts_with("error: this one\n"), "{text}");
        assert!(text.len() < 200);
    }

    #[test]
    fn too_much_of_its_own_is_refused() {
        let mut keeper = StderrKeeper::new(Some("trace: t "), 64, 100);
        keeper.push(b"trace: t ").unwrap();
        assert_eq!(keeper.push(&[b'x'; 200]), Err(TooMuch));
        let mut keeper = StderrKeeper::new(Some("trace: t "), 64, 20);
        keeper.push(b"trace: t 1234567\n").unwrap();
        assert_eq!(keeper.push(b"trace: t 1234567\n"), Err(TooMuch));
    }
}
