//! Small texts that several commands print.

use std::time::Duration;

use super::out::Dress;
use crate::{
    lifecycle::CellState,
    report::{CellReport, Colours, Summary, TestCounts, terminal_line},
};

/// The longest reason that a line shows, in characters.
const MAX_REASON: usize = 160;

/// A span as people say it: `350 ms`, `12.4 s`, `3 m 05 s`.
pub(super) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    if millis < 1_000 {
        return format!("{millis} ms");
    }
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Counts as people say them: `82 tests`, `82 tests, 2 failed, 3 skipped`.
pub(super) fn tests(counts: TestCounts) -> String {
    if counts.total() == 0 {
        return String::new();
    }
    let mut text = plural(counts.total(), "test");
    for (count, word) in [(counts.failed, "failed"), (counts.errors, "broken"), (counts.skipped, "skipped")] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    text
}

/// Where a build runs, where that is not this machine.
pub(super) fn place(machine: &str) -> String {
    if machine == "local" { String::new() } else { format!(" on {machine}") }
}

/// `1 cell`, `2 cells`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// A number of bytes as people say it: `512 B`, `3.4 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| count >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", count as f64 / unit as f64),
        None => format!("{count} B"),
    }
}

/// The SGR parameters of a state's colour.
pub(super) fn colour(state: CellState) -> &'static str {
    match state {
        CellState::Passed => "32",
        CellState::Reused => "36",
        CellState::Failed | CellState::Timeout | CellState::LogLimit | CellState::EvalError => "1;31",
        CellState::Blocked => "31",
        CellState::Flaky => "1;35",
        CellState::Infra | CellState::Cancelled => "33",
        CellState::Excluded => "2",
        CellState::Build | CellState::Substitute | CellState::Running => "1;34",
    }
}

/// Glyph and word of a state, as wide as the longest.
pub(super) fn state(dress: Dress, state: CellState) -> String {
    dress.paint(colour(state), &format!("{} {:<10}", state.glyph(), state.word()))
}

/// Room for a line that nothing cuts.
pub(super) const UNBOUNDED: usize = usize::MAX;

/// One line on one cell: its name in at least `width` columns, the whole in at most `columns`.
pub(super) fn cell_line(dress: Dress, cell: &CellReport, width: usize, columns: usize) -> String {
    let mut plain = format!("{:<width$}", cell.name);
    let duration = cell.duration_ms.filter(|_| cell.state != CellState::Reused).map(Duration::from_millis);
    let attempts = if cell.attempts > 1 { format!("attempt {}", cell.attempts) } else { String::new() };
    let impure = if cell.impure { "impure".to_owned() } else { String::new() };
    for part in [tests(cell.tests), duration.map(span).unwrap_or_default(), attempts, impure] {
        if !part.is_empty() {
            plain.push_str("  ");
            plain.push_str(&part);
        }
    }
    // Glyph, word and the spaces around them and the mark of a cut take 17 columns.
    let room = columns.saturating_sub(plain.chars().count() + 17).min(MAX_REASON);
    let reason = cell.reason.as_deref().filter(|reason| !reason.is_empty() && room > 10);
    let reason =
        reason.map(|reason| dress.paint("2", &terminal_line(reason.as_bytes(), Colours::Drop, room)));
    let line = format!("{} {plain}  {}", state(dress, cell.state), reason.unwrap_or_default());
    line.trim_end().to_owned()
}

/// One line on all cells: `35 cells: 30 passed, 5 reused; 2,460 tests`.
pub(super) fn summary(summary: &Summary) -> String {
    let states: Vec<String> = summary
        .states
        .iter()
        .filter(|(state, _)| **state != CellState::Excluded)
        .map(|(state, count)| format!("{count} {}", state.word()))
        .collect();
    let mut text = format!("{}: {}", plural(summary.cells as u64, "cell"), states.join(", "));
    let excluded = summary.count(CellState::Excluded);
    if excluded > 0 {
        text.push_str(&format!(" ({excluded} excluded)"));
    }
    if summary.tests.total() > 0 {
        text.push_str(&format!("; {}", tests(summary.tests)));
    }
    text
}

#[cfg(test)]
mod tests_of_words {
    use super::*;

    #[test]
    fn spans_read_well_at_every_size() {
        let say = |millis| span(Duration::from_millis(millis));
        assert_eq!(
            [say(0), say(999), say(12_430), say(65_000), say(3_700_000)],
            ["0 ms", "999 ms", "12.4 s", "1 m 05 s", "1 h 01 m"]
        );
    }

    #[test]
    fn a_hostile_reason_reaches_no_terminal() {
        let cell: CellReport = serde_json::from_value(serde_json::json!({
            "name": "x", "system": "x86_64-linux", "axes": {}, "drv": null, "key": null, "state": "failed",
            "reason": "bad \u{1b}]0;title\u{7} \u{1b}[2Jend", "expect": "pass", "attempts": 1, "durationMs": 5,
            "tests": {"passed": 0, "failed": 1, "errors": 0, "skipped": 0}, "attempt": null,
        }))
        .unwrap();
        let line = cell_line(Dress::Plain, &cell, 10, UNBOUNDED);
        assert!(!line.contains('\u{1b}') && line.contains("end"), "{line:?}");
    }
}
