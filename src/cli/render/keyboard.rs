//! The keyboard of the terminal that a live region is drawn on.

use std::io::{Stderr, stderr};

use rustix::{
    process::getpgrp,
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};

/// Keeps the terminal from showing `^C`, which would push the live region a line down. Dropping it puts back what was.
pub(super) struct Keyboard(Option<Termios>);

impl Keyboard {
    /// Takes hold of the terminal behind standard error.
    pub(super) fn hold() -> Self {
        let terminal = stderr();
        let before = tcgetattr(&terminal).ok().filter(|_| is_ours(&terminal));
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHOCTL);
            // Without it there is a line too many after an interrupt, no more.
            tcsetattr(&terminal, OptionalActions::Now, &quiet).ok();
        }
        Self(before)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        let terminal = stderr();
        if let Some(before) = self.0.take().filter(|_| is_ours(&terminal)) {
            tcsetattr(&terminal, OptionalActions::Now, &before).ok();
        }
    }
}

/// Whether we are in the foreground; who is not would be stopped for setting the terminal.
fn is_ours(terminal: &Stderr) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
}
