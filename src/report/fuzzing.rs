//! Entry points for fuzzers: any bytes must end in a value, within the limits. Pure layer.

use super::{Limits, LineKind, ReportCollector, TestReport, parse_junit, parse_tap};

/// The bytes as a log with protocol lines.
pub fn protocol(bytes: &[u8]) {
    let limits = Limits::default();
    let mut collector = ReportCollector::new(limits.clone());
    for line in bytes.split(|byte| *byte == b'\n') {
        let taken = collector.line(line);
        assert_eq!(
            line.starts_with(b"@croft "),
            taken != LineKind::Shown,
            "protocol lines are taken, others shown"
        );
    }
    check(&collector.finish(), &limits);
}

/// The bytes as a `JUnit` document.
pub fn junit(bytes: &[u8]) {
    let limits = Limits::default();
    if let Ok(report) = parse_junit(bytes, &limits) {
        check(&report, &limits);
    }
}

/// The bytes as a TAP document.
pub fn tap(bytes: &[u8]) {
    let limits = Limits::default();
    if let Ok(report) = parse_tap(bytes, &limits) {
        check(&report, &limits);
    }
}

fn check(report: &TestReport, limits: &Limits) {
    assert!(report.cases.len() <= limits.tests && report.problems.len() <= limits.problems);
    for case in &report.cases {
        assert!(
            case.suite.chars().count() <= limits.name_chars && case.name.chars().count() <= limits.name_chars
        );
        assert!(!case.suite.chars().chain(case.name.chars()).any(char::is_control), "{case:?}");
        let message = case.message.as_deref().unwrap_or_default();
        assert!(message.chars().count() <= limits.message_chars);
        assert!(!message.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{case:?}");
    }
}

#[cfg(test)]
mod tests;
