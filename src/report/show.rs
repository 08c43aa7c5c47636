//! Raw log bytes as text that is safe to show: on a terminal, or as styled spans for a page. Pure layer.
//!
//! Each line stands for itself: a colour or an escape sequence left open ends with its line.

use super::escape::{Scanner, Step, chars_of, harmless};

/// Whether colours are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    /// Kept, as SGR sequences that croft writes itself.
    Keep,
    /// Dropped.
    Drop,
}

/// A colour of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// One of the 16 named colours, the 6x6x6 cube or the grey ramp.
    Indexed(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

/// How a span looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Whether it is bold.
    pub bold: bool,
    /// The text's colour, or the default one.
    pub foreground: Option<Colour>,
    /// The background's colour, or the default one.
    pub background: Option<Colour>,
}

/// Text of one look, free of control characters but the tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// How it looks.
    pub style: Style,
    /// The text.
    pub text: String,
}

/// The line as spans of at most `max_chars` characters together. Of a progress line that rewrites itself with `\r`
/// the last state is shown.
pub fn spans(line: &[u8], max_chars: usize) -> Vec<Span> {
    let line = last_state(line);
    let mut spans: Vec<Span> = Vec::new();
    let mut scanner = Scanner::new();
    let mut style = Style::default();
    let mut room = max_chars;
    for c in chars_of(line) {
        let shown = match scanner.step(c) {
            Step::Hidden => continue,
            Step::Colour => {
                style = style.changed(scanner.params());
                continue;
            }
            Step::Show('\t') => '\t',
            Step::Show(c) => harmless(c),
        };
        let Some(left) = room.checked_sub(1) else {
            spans.push(Span { style: Style::default(), text: "\u{2026}".to_owned() });
            break;
        };
        room = left;
        match spans.last_mut() {
            Some(last) if last.style == style => last.text.push(shown),
            Some(_) | None => spans.push(Span { style, text: shown.to_string() }),
        }
    }
    spans
}

/// The line as text for a terminal, of at most `max_chars` visible characters and an ellipsis.
pub fn terminal_line(line: &[u8], colours: Colours, max_chars: usize) -> String {
    let mut out = String::new();
    let mut coloured = false;
    for span in spans(line, max_chars) {
        if colours == Colours::Keep && (coloured || span.style != Style::default()) {
            out.push_str(&span.style.sgr());
            coloured = true;
        }
        out.push_str(&span.text);
    }
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    out
}

fn last_state(line: &[u8]) -> &[u8] {
    line.rsplit(|byte| *byte == b'\r').find(|part| !part.is_empty()).unwrap_or_default()
}

impl Style {
    /// The style after an SGR sequence.
    #[must_use]
    fn changed(mut self, params: &str) -> Self {
        let mut codes = params.split([';', ':']).map(|code| code.parse::<u16>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => self = Self::default(),
                1 => self.bold = true,
                22 => self.bold = false,
                30..=37 => self.foreground = indexed(code - 30),
                38 => self.foreground = extended(&mut codes).or(self.foreground),
                39 => self.foreground = None,
                40..=47 => self.background = indexed(code - 40),
                48 => self.background = extended(&mut codes).or(self.background),
                49 => self.background = None,
                90..=97 => self.foreground = indexed(code - 90 + 8),
                100..=107 => self.background = indexed(code - 100 + 8),
                _ => {}
            }
        }
        self
    }

    /// The SGR sequence that sets this style from any other.
    fn sgr(self) -> String {
        let mut codes = vec!["0".to_owned()];
        if self.bold {
            codes.push("1".to_owned());
        }
        for (base, colour) in [(38, self.foreground), (48, self.background)] {
            match colour {
                Some(Colour::Indexed(index)) if index < 8 => {
                    codes.push((base - 8 + u16::from(index)).to_string());
                }
                Some(Colour::Indexed(index)) => codes.push(format!("{base};5;{index}")),
                Some(Colour::Rgb(r, g, b)) => codes.push(format!("{base};2;{r};{g};{b}")),
                None => {}
            }
        }
        format!("\u{1b}[{}m", codes.join(";"))
    }
}

fn indexed(code: u16) -> Option<Colour> {
    u8::try_from(code).ok().map(Colour::Indexed)
}

/// The colour after `38` or `48`: `5;N` or `2;R;G;B`.
fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<Colour> {
    let mut byte = || codes.next().and_then(|code| u8::try_from(code).ok());
    match byte()? {
        5 => byte().map(Colour::Indexed),
        2 => Some(Colour::Rgb(byte()?, byte()?, byte()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_line_is_safe() {
        for (input, want) in [
            (&b"plain"[..], "plain"),
            (b"10%\r50%\r100%", "100%"),
            (b"windows\r", "windows"),
            (b"\x1b[31mred\x1b[0m \x1b]0;owned\x07x", "red x"),
            (b"a\tb\x00\x08", "a\tb\u{2400}\u{2408}"),
            (b"bad \xff\xfe utf-8 \xc3", "bad \u{fffd}\u{fffd} utf-8 \u{fffd}"),
            (b"\x1b]8;;http://evil/\x1b\\text\x1b]8;;\x1b\\", "text"),
            (b"open \x1b[3", "open "),
            (b"\r\r\r", ""),
        ] {
            assert_eq!(terminal_line(input, Colours::Drop, 80), want, "{}", input.escape_ascii());
        }
        assert_eq!(terminal_line(b"abcdef", Colours::Drop, 3), "abc\u{2026}");
    }

    #[test]
    fn colours_are_kept_when_asked_and_nothing_else_is() {
        let line = b"\x1b[1;31mE\x1b[22;39m ok \x1b[38;5;200;48;2;1;2;3mx\x1b[2J\x1b[95my";
        assert_eq!(
            terminal_line(line, Colours::Keep, 80),
            "\u{1b}[0;1;31mE\u{1b}[0m ok \u{1b}[0;38;5;200;48;2;1;2;3mx\u{1b}[0;38;5;13;48;2;1;2;3my\u{1b}[0m"
        );
        assert_eq!(terminal_line(b"no colour", Colours::Keep, 80), "no colour");
    }

    #[test]
    fn a_huge_line_is_read_only_as_far_as_it_is_shown() {
        let line = vec![b'x'; 8 << 20];
        assert_eq!(spans(&line, 10)[0].text, "xxxxxxxxxx");
    }
}
