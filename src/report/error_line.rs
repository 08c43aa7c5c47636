//! The one line of a failing log that tells a person most. Pure layer.

use super::{
    show::{Colours, terminal_line},
    text,
};

/// Characters of the extract.
const MAX_CHARS: usize = 300;

/// Words with which a line announces an error, in lower case.
const MARKS: [&str; 6] = ["error:", "error ", "fatal:", "failed:", "panicked at", "exception:"];

/// The last line of a log's tail that announces an error, else its last line with text. Bounded and free of
/// escape sequences; `None` when no line holds text.
pub fn failure_extract<L: AsRef<[u8]>>(tail_lines: &[L]) -> Option<String> {
    let shown = || tail_lines.iter().rev().map(|line| terminal_line(line.as_ref(), Colours::Drop, 2_000));
    let telling = shown().find(|line| announces_error(line));
    telling
        .or_else(|| shown().find(|line| !line.trim().is_empty()))
        .map(|line| text::cut_end(line.trim(), MAX_CHARS))
}

fn announces_error(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    // Counting lines such as "0 errors" and "error: 0" announce none.
    MARKS.iter().any(|mark| line.contains(mark) && !line.contains("error: 0") && !line.contains("0 error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_told_else_the_last_words() {
        for (tail, want) in [
            (
                &["gcc -c x.c", "x.c:1: error: no such file", "make: *** [x.o]", ""][..],
                Some("x.c:1: error: no such file"),
            ),
            (&["a", "b", " ", ""], Some("b")),
            (&["\u{1b}[31mTypeError: x\u{1b}[0m", "done"], Some("TypeError: x")),
            (&["ValueError: bad", "finished with 0 errors: fine"], Some("ValueError: bad")),
            (&["", "  "], None),
            (&[], None),
        ] {
            assert_eq!(failure_extract(tail).as_deref(), want, "{tail:?}");
        }
        assert_eq!(failure_extract(&["x".repeat(10_000)]).unwrap().chars().count(), MAX_CHARS);
    }
}
