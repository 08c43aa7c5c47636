//! From what a build says to one truth for all doors: test reports in, counts and verdicts out. Pure layer.
//!
//! Everything read here comes from a build and is hostile: bounded, never trusted. Reading files, and deciding what
//! a log or a report means for a build's verdict, is elsewhere.

mod case;
mod document;
mod error_line;
mod escape;
#[doc(hidden)]
pub mod fuzzing;
mod junit;
mod limits;
mod protocol;
mod run;
mod show;
mod sink;
mod tap;
mod text;
mod write;

pub use case::{TestCase, TestCounts, TestReport, TestStatus};
pub use error_line::failure_extract;
pub use junit::parse_junit;
pub use limits::Limits;
pub use protocol::{LineKind, ReportCollector};
pub use run::{CellReport, RunReport, Summary, excluded_cells};
pub use show::{Colour, Colours, Span, Style, spans, terminal_line};
pub use tap::parse_tap;
pub use write::{CellTests, write_junit};

/// A document that is no test report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading the {format} report at byte {at} (line {line}): {reason}")]
pub struct ReportError {
    /// `JUnit` or `TAP`.
    pub format: &'static str,
    /// The byte of the document at which reading ended.
    pub at: u64,
    /// The line, counted from 1.
    pub line: u64,
    /// Why, in words, with the next step where there is one.
    pub reason: String,
}
