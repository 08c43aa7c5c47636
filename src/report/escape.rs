//! The terminal's control language, as far as it must be known to leave it out. Pure layer.
//!
//! Knows where an escape sequence starts and ends (ECMA-48: CSI, OSC, DCS and the like, in their 7-bit and 8-bit
//! forms). Obeys none of them; colours are told to the caller.

/// Parameters of a colour sequence that are looked at; a longer one is dropped whole.
const MAX_PARAMS: usize = 64;

/// What one character means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To be shown.
    Show(char),
    /// Part of a sequence.
    Hidden,
    /// The end of a colour sequence; its parameters are in [`Scanner::params`].
    Colour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Text,
    Escape,
    /// `ESC` and intermediate bytes, as in a change of character set.
    Intermediate,
    Csi,
    /// OSC, DCS, SOS, PM, APC: text up to a terminator.
    Text8,
    /// An `ESC` within such a text.
    TextEscape,
}

/// Follows one line through the control language.
#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    params: String,
    overlong: bool,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self { state: State::Text, params: String::new(), overlong: false }
    }

    /// The parameters of the colour sequence that just ended, such as `1;31`.
    pub(super) fn params(&self) -> &str {
        &self.params
    }

    pub(super) fn step(&mut self, c: char) -> Step {
        // CAN and SUB abort any sequence; a line's end does so here, so that nothing is hidden past its line.
        if matches!(c, '\u{18}' | '\u{1a}' | '\n') && self.state != State::Text {
            self.state = State::Text;
            return if c == '\n' { Step::Show(c) } else { Step::Hidden };
        }
        match self.state {
            State::Text => self.in_text(c),
            State::Escape | State::TextEscape => self.after_escape(c),
            State::Intermediate => {
                if !matches!(c, '\u{20}'..='\u{2f}') {
                    self.state = State::Text;
                }
                Step::Hidden
            }
            State::Csi => self.in_csi(c),
            State::Text8 => {
                match c {
                    '\u{7}' | '\u{9c}' => self.state = State::Text,
                    '\u{1b}' => self.state = State::TextEscape,
                    _ => {}
                }
                Step::Hidden
            }
        }
    }

    fn in_text(&mut self, c: char) -> Step {
        match c {
            '\u{1b}' => self.state = State::Escape,
            '\u{9b}' => self.enter_csi(),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => self.state = State::Text8,
            _ => return Step::Show(c),
        }
        Step::Hidden
    }

    fn after_escape(&mut self, c: char) -> Step {
        match c {
            '[' => self.enter_csi(),
            ']' | 'P' | 'X' | '^' | '_' => self.state = State::Text8,
            '\u{1b}' => self.state = State::Escape,
            '\u{20}'..='\u{2f}' => self.state = State::Intermediate,
            '\u{30}'..='\u{7e}' => self.state = State::Text,
            _ => {
                self.state = State::Text;
                return Step::Show(c);
            }
        }
        Step::Hidden
    }

    fn enter_csi(&mut self) {
        self.state = State::Csi;
        self.params.clear();
        self.overlong = false;
    }

    fn in_csi(&mut self, c: char) -> Step {
        match c {
            '\u{1b}' => self.state = State::Escape,
            'm' if !self.overlong
                && self.params.chars().all(|p| p.is_ascii_digit() || p == ';' || p == ':') =>
            {
                self.state = State::Text;
                return Step::Colour;
            }
            '\u{40}'..='\u{7e}' => self.state = State::Text,
            _ if self.params.len() < MAX_PARAMS => self.params.push(c),
            _ => self.overlong = true,
        }
        Step::Hidden
    }
}

/// The character to print for `c`: itself, or a harmless stand-in for one that could act on a terminal or reorder
/// the text around it.
pub(super) fn harmless(c: char) -> char {
    match c {
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{fffe}'
        | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}

/// The characters of `bytes`, with one U+FFFD for each run that is not UTF-8.
pub(super) fn chars_of(bytes: &[u8]) -> impl Iterator<Item = char> + '_ {
    bytes.utf8_chunks().flat_map(|chunk| {
        let bad = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        chunk.valid().chars().chain(bad)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut scanner = Scanner::new();
        text.chars()
            .filter_map(|c| match scanner.step(c) {
                Step::Show(c) => Some(harmless(c)),
                Step::Hidden | Step::Colour => None,
            })
            .collect()
    }

    #[test]
    fn every_kind_of_sequence_is_left_out() {
        for (input, want) in [
            ("a\u{1b}[31mb", "ab"),
            ("a\u{9b}31mb", "ab"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}P1$r payload\u{1b}\\x", "x"),
            ("\u{90}payload\u{9c}x", "x"),
            ("\u{1b}(Bx", "x"),
            ("\u{1b}cx\u{1b}=y", "xy"),
            ("\u{1b}[2J\u{1b}[1;1Hx", "x"),
            ("\u{1b}[?25lx", "x"),
            ("\u{1b}[31\u{18}x", "x"),
            ("\u{1b}\u{1b}[31mx", "x"),
            ("unterminated \u{1b}]0;title\nnext", "unterminated \u{240a}next"),
            ("nul\0", "nul\u{2400}"),
            ("\u{202e}abc", "\u{fffd}abc"),
        ] {
            assert_eq!(shown(input), want, "{input:?}");
        }
    }

    #[test]
    fn a_sequence_with_a_million_parameters_costs_little_and_shows_nothing() {
        let mut scanner = Scanner::new();
        let text = format!("\u{1b}[{}mx", "1;".repeat(1_000_000));
        assert_eq!(text.chars().filter(|c| scanner.step(*c) != Step::Hidden).count(), 1);
        assert!(scanner.params.len() <= MAX_PARAMS);
    }
}
