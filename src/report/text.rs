//! Words of a build made fit to keep: bounded, free of control characters, comparable between runs. Pure layer.

use std::borrow::Cow;

use super::escape::{Scanner, Step, harmless};

/// Fewest digits of a number that is taken for an address.
const MIN_ADDRESS_DIGITS: usize = 6;

/// A name on one line, of at most `max_chars` characters, without the addresses that change with every run.
pub(super) fn name(raw: &str, max_chars: usize) -> String {
    // What cannot be part of the result is not looked at; escapes may hide at most as much again.
    let raw = prefix(raw, max_chars.saturating_mul(8));
    let stable = without_addresses(raw);
    cut_end(strip(&stable, Lines::Join).trim(), max_chars)
}

/// A message of several lines, of at most `max_chars` characters; a long one loses its middle.
pub(super) fn message(raw: &str, max_chars: usize) -> String {
    cut_middle(strip(raw, Lines::Keep).trim(), max_chars)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Keep,
    Join,
}

fn strip(raw: &str, lines: Lines) -> Cow<'_, str> {
    if raw.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
        return Cow::Borrowed(raw);
    }
    let mut scanner = Scanner::new();
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match scanner.step(c) {
            Step::Show(c @ ('\n' | '\t')) if lines == Lines::Keep => out.push(c),
            Step::Show('\r') if lines == Lines::Keep => {}
            Step::Show('\t') => out.push(' '),
            Step::Show(c) => out.push(harmless(c)),
            Step::Hidden | Step::Colour => {}
        }
    }
    Cow::Owned(out)
}

/// `<object object at 0x7f3a5c0b9e10>` without the part that no two runs share.
fn without_addresses(raw: &str) -> Cow<'_, str> {
    const MARK: &str = " at 0x";
    if !raw.contains(MARK) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once(MARK) {
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        out.push_str(before);
        if digits < MIN_ADDRESS_DIGITS {
            out.push_str(MARK);
            rest = after;
        } else {
            rest = &after[digits..];
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The first `max_chars` characters.
fn prefix(text: &str, max_chars: usize) -> &str {
    if text.len() <= max_chars {
        return text;
    }
    text.char_indices().nth(max_chars).map_or(text, |(end, _)| &text[..end])
}

/// At most `max_chars` characters; an ellipsis stands for a lost end.
pub(super) fn cut_end(text: &str, max_chars: usize) -> String {
    let kept = prefix(text, max_chars);
    if kept.len() == text.len() {
        return text.to_owned();
    }
    format!("{}\u{2026}", prefix(kept, max_chars.saturating_sub(1)))
}

/// At most `max_chars` characters, a quarter of them from the start: the end of a traceback says most.
fn cut_middle(text: &str, max_chars: usize) -> String {
    const GAP: &str = "\n\u{2026}\n";
    if prefix(text, max_chars).len() == text.len() {
        return text.to_owned();
    }
    let room = max_chars.saturating_sub(GAP.chars().count());
    let head = prefix(text, room / 4);
    let tail_chars = room - room / 4;
    let start = text.char_indices().rev().take(tail_chars).last().map_or(text.len(), |(at, _)| at);
    format!("{head}{GAP}{}", &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_bounded_line() {
        for (input, want) in [
            ("test_a", "test_a"),
            (" test_a\t(x)\n", "test_a (x)\u{240a}"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("(value=<object object at 0x7f3a5c0b9e10>)", "(value=<object object>)"),
            ("<a at 0x7f3a5c> <b at 0x7f3a5d>", "<a> <b>"),
            ("jump at 0x10", "jump at 0x10"),
            ("at 0x at 0x123456", "at 0x"),
        ] {
            assert_eq!(name(input, 100), want, "{input:?}");
        }
        assert_eq!(name("abcdef", 4), "abc\u{2026}");
        assert_eq!(name(&"\u{e9}".repeat(5_000), 1_000).chars().count(), 1_000);
    }

    #[test]
    fn a_long_message_keeps_its_head_and_its_tail() {
        let text = format!("AssertionError: x\n{}\nlast line", "filler\n".repeat(5_000));
        let kept = message(&text, 200);
        assert_eq!(kept.chars().count(), 200);
        assert!(kept.starts_with("AssertionError: x\n") && kept.ends_with("last line"), "{kept}");
        assert_eq!(message("a\r\nb\0", 10), "a\nb\u{2400}");
        assert_eq!(message("anything", 0).chars().count(), 3);
    }
}
