//! One test and its result.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestStatus {
    /// It held.
    Passed,
    /// An assertion did not hold.
    Failed,
    /// It broke before it could tell.
    Error,
    /// It was not run.
    Skipped,
}

/// One test of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCase {
    /// The group it belongs to: a class, module or file.
    pub suite: String,
    /// Its name within the group.
    pub name: String,
    /// How it ended.
    pub status: TestStatus,
    /// How long it ran, where the runner says.
    pub duration: Option<Duration>,
    /// Why it failed or was skipped.
    pub message: Option<String>,
}

/// How many tests ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TestCounts {
    /// Tests that held.
    pub passed: u64,
    /// Tests whose assertion did not hold.
    pub failed: u64,
    /// Tests that broke.
    pub errors: u64,
    /// Tests that were not run.
    pub skipped: u64,
}

impl TestCounts {
    /// The counts over `cases`.
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a TestCase>) -> Self {
        let mut counts = Self::default();
        for case in cases {
            match case.status {
                TestStatus::Passed => counts.passed += 1,
                TestStatus::Failed => counts.failed += 1,
                TestStatus::Error => counts.errors += 1,
                TestStatus::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    /// All tests.
    pub fn total(self) -> u64 {
        self.passed + self.failed + self.errors + self.skipped
    }
}

/// What a build's report says, within croft's bounds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TestReport {
    /// The tests, in the order of the report.
    pub cases: Vec<TestCase>,
    /// The project's words when it refuses these versions.
    pub refused: Option<String>,
    /// What was cut or could not be read, in words.
    pub problems: Vec<String>,
}
