//! What a command says on standard error, for error messages.

use std::sync::{Arc, Mutex, PoisonError};

use crate::report::{Colours, terminal_line};

/// How much of it is kept, in bytes.
const KEPT: usize = 4 << 10;
/// How much of it is shown, in characters.
const SHOWN: usize = 400;

/// The end of what was said.
#[derive(Debug, Clone, Default)]
pub(in crate::remote) struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    /// Adds what was said last.
    pub(super) fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT)..]);
        let excess = kept.len().saturating_sub(KEPT);
        kept.drain(..excess);
    }

    /// The last line, harmless to a terminal; none if nothing was said.
    pub(in crate::remote) fn last_line(&self) -> Option<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = kept.split(|byte| *byte == b'\n').rfind(|line| !line.trim_ascii().is_empty())?;
        Some(terminal_line(line.trim_ascii(), Colours::Drop, SHOWN))
    }

    /// Whether `words` are among what was said.
    pub(super) fn holds(&self, words: &str) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memchr::memmem::find(&kept, words.as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept_and_shown_without_control_characters() {
        let said = Said::default();
        assert_eq!(said.last_line(), None);
        said.add(&[b'x'; 3 * KEPT]);
        said.add(b"\nsh: \x1b[31mnix-daemon\x1b[0m: not found\n\n");
        assert_eq!(said.last_line().as_deref(), Some("sh: nix-daemon: not found"));
        assert!(said.0.lock().unwrap().len() <= KEPT);
        assert!(said.holds("not found") && !said.holds("never said"));
    }
}
