//! Writing to the terminal or pipe.

use std::io::{self, IsTerminal, Write};

use super::args::Color;

/// Writes data, and a newline, to standard output. A reader that has gone away ends the program quietly, as it does
/// for any Unix tool.
pub(super) fn data(text: &str) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes bytes to standard output as they are.
pub(super) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes words, and a newline, to standard error. Nobody is left to tell if that fails.
pub(super) fn say(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Prints a value as JSON.
pub(super) fn json<T: serde::Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => data(&text),
        Err(error) => say(&format!("croft: writing JSON: {error}")),
    }
}

/// How text is dressed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dress {
    /// With colours.
    Coloured,
    /// Without.
    Plain,
}

impl Dress {
    /// What the user wants for a stream.
    pub(super) fn choose(color: Color, is_terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match color {
            Color::Always => Self::Coloured,
            Color::Auto if set("NO_COLOR") => Self::Plain,
            Color::Auto if set("CLICOLOR_FORCE") || (is_terminal && !dumb) => Self::Coloured,
            Color::Never | Color::Auto => Self::Plain,
        }
    }

    /// For standard output.
    pub(super) fn stdout(color: Color) -> Self {
        Self::choose(color, io::stdout().is_terminal())
    }

    /// For standard error.
    pub(super) fn stderr(color: Color) -> Self {
        Self::choose(color, io::stderr().is_terminal())
    }

    /// `text` in a style, given as SGR parameters.
    pub(super) fn paint(self, sgr: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\u{1b}[{sgr}m{text}\u{1b}[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}
