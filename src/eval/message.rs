//! Nix's words, reduced to what a person needs: the error itself and where it is. Pure.
//!
//! Nix 2.8 prints the error first and the frames after it; later versions print the frames first. Both end in a
//! line that begins with `error: `, and name places as `at FILE:LINE:COLUMN`.

use std::fmt;

use crate::nix::StorePath;

/// The longest message that is kept, in characters.
const MAX_MESSAGE: usize = 2_000;

/// A place in the project's Nix code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file, relative to the flake where it belongs to it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The essence of what a failed `nix` printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NixMessage {
    /// The error, without the word.
    pub(super) text: String,
    /// Where it is.
    pub(super) position: Option<Position>,
}

impl NixMessage {
    /// Reads what a child left on standard error; `source` is the flake's own tree, once it is known.
    pub(super) fn read(stderr: &str, source: Option<&StorePath>) -> Self {
        let source = source.map(base_name);
        let clean = plain(stderr);
        let lines: Vec<&str> = clean.lines().collect();
        let at = lines.iter().rposition(|line| error_on(line).is_some());
        let text = match at {
            Some(at) => essence(&lines[at..]),
            None => {
                lines.iter().rev().find(|l| !is_noise(l)).map_or_else(String::new, |l| l.trim().to_owned())
            }
        };
        let position = position(&lines, at.unwrap_or(0), source.as_deref());
        Self { text: shorten(&without_source(&text, source.as_deref())), position }
    }

    /// Whether the error comes from Nix itself rather than from what it evaluates, and reads as `part`.
    pub(super) fn is_nix_own(&self, parts: &[&str]) -> bool {
        self.position.is_none() && self.says(parts)
    }

    /// Whether the error reads as one of `parts`.
    pub(super) fn says(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.text.contains(part))
    }
}

/// The name of a store path below the store, whatever the store's root.
fn base_name(path: &StorePath) -> String {
    let full = path.to_absolute_path();
    full.rsplit('/').next().unwrap_or_default().to_owned()
}

fn error_on(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("error: ").filter(|rest| !rest.trim().is_empty())
}

fn is_noise(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || ["warning:", "trace:", "GC Warning:", "error:"].iter().any(|p| line.starts_with(p))
}

/// The error that starts on the first line, without its frames.
fn essence(lines: &[&str]) -> String {
    let first = lines.first().and_then(|line| error_on(line)).unwrap_or_default().trim_end();
    let more = lines[1..].iter().map(|line| line.trim()).take_while(|line| {
        !line.is_empty()
            && !line.starts_with('…')
            && place(line).is_none()
            && !line.starts_with("(use '--show-trace'")
    });
    std::iter::once(first).chain(more).collect::<Vec<_>>().join("\n")
}

/// The place of the error on line `at`: the first at or after it, else the last before it. The flake's own files
/// win over those of its inputs.
fn position(lines: &[&str], at: usize, source: Option<&str>) -> Option<Position> {
    let places: Vec<_> = lines.iter().enumerate().filter_map(|(i, l)| Some((i, place(l)?))).collect();
    let nearest = |own: bool| {
        let fits = |p: &&(usize, Position)| !own || is_own(&p.1.file, source);
        let after = places.iter().find(|p| p.0 >= at && fits(p));
        after.or_else(|| places.iter().rev().find(|p| p.0 < at && fits(p)))
    };
    let (_, found) = nearest(true).or_else(|| nearest(false))?;
    Some(Position { file: without_source(&found.file, source), ..found.clone() })
}

fn is_own(file: &str, source: Option<&str>) -> bool {
    source.is_some_and(|source| file.contains(source))
}

/// The place a line names: `at FILE:LINE:COLUMN:`. Nix's own code and croft's program are no places.
fn place(line: &str) -> Option<Position> {
    let line = line.trim();
    let rest = line.strip_prefix("at ").or_else(|| Some(line.split_once(" is located at ")?.1))?;
    let mut parts = rest.trim_end_matches(':').rsplitn(3, ':');
    let column = parts.next()?.parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    let file = parts.next()?;
    file.starts_with('/').then(|| Position { file: file.to_owned(), line, column })
}

/// `text` with the flake's own files named as the project names them.
fn without_source(text: &str, source: Option<&str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, end)) = find_source(rest, source) {
        out.push_str(&rest[..start]);
        rest = &rest[end..];
    }
    out + rest
}

/// Where `text` holds the path of the flake's tree and a slash, with whatever store root stands before it. While
/// the tree is not known, any source tree is taken for it.
fn find_source(text: &str, source: Option<&str>) -> Option<(usize, usize)> {
    const STORE: &str = "/nix/store/";
    let (name_at, end) = match source {
        Some(name) => text.find(&format!("{name}/")).map(|at| (at, at + name.len() + 1))?,
        None => text.find("-source/").and_then(|at| Some((at.checked_sub(32)?, at + "-source/".len())))?,
    };
    let store_at = name_at.checked_sub(STORE.len())?;
    if text.get(store_at..name_at)? != STORE {
        return None;
    }
    let start = text[..store_at]
        .rfind([' ', '\'', '"', '\n', '«'])
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    Some((start, end))
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_MESSAGE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// `text` without what a terminal would act on.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                chars.next();
            }
            '\n' => out.push(c),
            '\t' => out.push(' '),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "hrv7z3qsswdi8vwqcda4fjrchf1kri9k-source";

    fn read(stderr: &str) -> NixMessage {
        let path = StorePath::from_absolute_path(format!("/nix/store/{SOURCE}").as_bytes()).unwrap();
        NixMessage::read(stderr, Some(&path))
    }

    #[test]
    fn the_error_comes_first_in_the_oldest_nix() {
        let message = read(&format!(
            "warning: x\nerror: deep\n       second line\n\n       … while evaluating 'helper'\n\n       \
             at /nix/store/{SOURCE}/flake.nix:2:36:\n\n            1| {{\n\n       … from call site\n\n       \
             at /nix/store/{SOURCE}/flake.nix:6:13:\n       at «string»:1:1:\n"
        ));
        assert_eq!(message.text, "deep\nsecond line");
        assert_eq!(message.position.unwrap().to_string(), "flake.nix:2:36");
    }

    #[test]
    fn the_error_comes_last_in_later_versions() {
        let message = read(&format!(
            "error:\n       … while calling the 'trace' builtin\n         at «string»:1:35:\n            1| c: x\n\n       \
             … while calling 'helper'\n         at /tmp/root/nix/store/{SOURCE}/sub/a.nix:3:5:\n            1| {{\n\n       \
             … in nixpkgs\n         at /nix/store/00000000000000000000000000000000-source/lib.nix:9:9:\n\n       \
             \u{1b}[31;1merror:\u{1b}[0m broken on purpose in '/tmp/root/nix/store/{SOURCE}/x'\n"
        ));
        assert_eq!(message.text, "broken on purpose in 'x'");
        assert_eq!(message.position.unwrap().to_string(), "sub/a.nix:3:5");
    }

    #[test]
    fn a_place_on_the_error_itself_wins() {
        let message = read(&format!(
            "error:\n       … while evaluating\n         at /nix/store/{SOURCE}/flake.nix:8:7:\n\n       \
             error: attribute 'nope' missing\n       at /nix/store/{SOURCE}/flake.nix:8:15:\n            7|       x\n"
        ));
        assert_eq!(message.text, "attribute 'nope' missing");
        assert_eq!(message.position.unwrap().to_string(), "flake.nix:8:15");
    }

    #[test]
    fn hostile_words_are_bounded_and_inert() {
        let message = read(&format!("error: \u{1b}]0;title\u{7}\u{202e}{}", "x".repeat(10_000)));
        assert!(message.text.chars().count() <= MAX_MESSAGE + 1);
        assert!(!message.text.contains(['\u{1b}', '\u{7}', '\u{202e}']));
        assert_eq!(NixMessage::read("", None).text, "");
        assert_eq!(NixMessage::read("Segmentation fault\n", None).text, "Segmentation fault");
    }
}
