//! Words from programs and machines, made fit to be shown.

/// The longest text that is shown.
const MAX: usize = 600;

/// The end of what a program said: one line, without control characters, short.
pub(super) fn harmless(bytes: &[u8]) -> String {
    let end = &bytes[bytes.len().saturating_sub(4 * MAX)..];
    let text: String =
        String::from_utf8_lossy(end).chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let skipped = line.chars().count().saturating_sub(MAX);
    if skipped == 0 { line } else { format!("… {}", line.chars().skip(skipped).collect::<String>()) }
}

/// Neither a control character nor one that turns the direction of writing.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_floods_become_one_short_line() {
        assert_eq!(harmless(b"\x1b[31mred\x07\nnext\xff"), "[31mred next\u{fffd}");
        assert_eq!(harmless("a\u{202e}b".as_bytes()), "a b");
        let flood = harmless(&vec![b'x'; 1 << 20]);
        assert_eq!(flood.chars().count(), MAX + 2);
    }
}
