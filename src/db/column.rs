//! How values map to columns: the one place that knows the words of the tables.

use std::{fmt::Display, str::FromStr, time::Duration};

use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as ValueError};

use super::DbError;
use crate::{
    clock::Timestamp,
    lifecycle::{AttemptOutcome, InfraCause, RunVerdict},
    matrix::Expect,
    report::{TestCounts, TestStatus},
};

/// Where a value was read, for errors.
pub(super) struct Row<'a> {
    pub(super) table: &'static str,
    pub(super) id: &'a dyn Display,
}

impl Row<'_> {
    /// A lifecycle word.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &'static str, text: &str) -> Result<T, DbError> {
        T::deserialize(IntoDeserializer::<ValueError>::into_deserializer(text))
            .map_err(|_| self.unknown(column, text))
    }

    /// An identifier, name or path.
    pub(super) fn text<T: FromStr>(&self, column: &'static str, text: &str) -> Result<T, DbError> {
        text.parse().map_err(|_| self.unknown(column, text))
    }

    /// An identifier, name or path that may be absent.
    pub(super) fn maybe<T: FromStr>(
        &self,
        column: &'static str,
        text: Option<&String>,
    ) -> Result<Option<T>, DbError> {
        text.map(|text| self.text(column, text)).transpose()
    }

    /// A JSON document.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str, text: &str) -> Result<T, DbError> {
        serde_json::from_str(text).map_err(|_| self.unknown(column, text))
    }

    /// The outcome of an attempt from its three columns.
    pub(super) fn outcome(
        &self,
        word: &str,
        cause: Option<&String>,
        message: Option<&String>,
    ) -> Result<AttemptOutcome, DbError> {
        if word == AttemptOutcome::Passed.word() {
            // By far the most frequent, and read by the ten thousand.
            return Ok(AttemptOutcome::Passed);
        }
        let document = serde_json::json!({ "outcome": word, "cause": cause, "message": message });
        serde_json::from_value(document).map_err(|_| self.unknown("outcome", word))
    }

    pub(super) fn unknown(&self, column: &'static str, text: &str) -> DbError {
        let text = text.chars().take(80).collect();
        DbError::Word { table: self.table, row: self.id.to_string(), column, text }
    }
}

/// The columns `outcome`, `cause` and `message`.
pub(super) fn outcome_columns(outcome: &AttemptOutcome) -> (&'static str, Option<String>, Option<&str>) {
    let cause = match outcome {
        AttemptOutcome::Infra { cause, .. } => cause_word(*cause),
        AttemptOutcome::Passed
        | AttemptOutcome::Failed { .. }
        | AttemptOutcome::Timeout { .. }
        | AttemptOutcome::LogLimit
        | AttemptOutcome::NotDeterministic { .. }
        | AttemptOutcome::Cancelled => None,
    };
    (outcome.word(), cause, outcome.message())
}

fn cause_word(cause: InfraCause) -> Option<String> {
    match serde_json::to_value(cause) {
        Ok(serde_json::Value::String(word)) => Some(word),
        Ok(_) | Err(_) => None,
    }
}

pub(super) fn verdict_word(verdict: RunVerdict) -> &'static str {
    match verdict {
        RunVerdict::EvalError => "eval-error",
        RunVerdict::Failed => "failed",
        RunVerdict::Undetermined => "undetermined",
        RunVerdict::Passed => "passed",
    }
}

pub(super) fn status_word(status: TestStatus) -> &'static str {
    match status {
        TestStatus::Passed => "passed",
        TestStatus::Failed => "failed",
        TestStatus::Error => "error",
        TestStatus::Skipped => "skipped",
    }
}

pub(super) fn expect_word(expect: Expect) -> &'static str {
    match expect {
        Expect::Pass => "pass",
        Expect::Fail => "fail",
        Expect::Refused => "refused",
    }
}

/// A value as a JSON document. Those that are kept this way always have one.
pub(super) fn document<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A count as `SQLite` keeps it.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count as croft reads it; a negative one is a damaged row and reads as zero.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The length of something that fits in memory.
pub(super) fn len(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn time(value: Timestamp) -> i64 {
    int(value.as_millis())
}

pub(super) fn untime(value: i64) -> Timestamp {
    Timestamp::from_millis(uint(value))
}

pub(super) fn span(value: Duration) -> i64 {
    i64::try_from(value.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn unspan(value: i64) -> Duration {
    Duration::from_millis(uint(value))
}

/// The four columns of test counts, all set or all absent.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct CountColumns {
    pub(super) passed: Option<i64>,
    pub(super) failed: Option<i64>,
    pub(super) errors: Option<i64>,
    pub(super) skipped: Option<i64>,
}

impl CountColumns {
    pub(super) fn of(counts: Option<TestCounts>) -> Self {
        Self {
            passed: counts.map(|c| int(c.passed)),
            failed: counts.map(|c| int(c.failed)),
            errors: counts.map(|c| int(c.errors)),
            skipped: counts.map(|c| int(c.skipped)),
        }
    }

    pub(super) fn columns(&self) -> [Option<i64>; 4] {
        [self.passed, self.failed, self.errors, self.skipped]
    }

    pub(super) fn counts(&self) -> Option<TestCounts> {
        Some(TestCounts {
            passed: uint(self.passed?),
            failed: uint(self.failed?),
            errors: uint(self.errors?),
            skipped: uint(self.skipped?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{BuildState, CellState, RunState};

    const ROW: Row<'static> = Row { table: "t", id: &"r" };

    #[test]
    fn every_word_reads_back_as_the_value_that_wrote_it() {
        use RunVerdict::{EvalError, Failed, Passed, Undetermined};
        for verdict in [EvalError, Failed, Undetermined, Passed] {
            assert_eq!(ROW.word::<RunVerdict>("verdict", verdict_word(verdict)).unwrap(), verdict);
        }
        for status in [TestStatus::Passed, TestStatus::Failed, TestStatus::Error, TestStatus::Skipped] {
            assert_eq!(ROW.word::<TestStatus>("status", status_word(status)).unwrap(), status);
        }
        for expect in [Expect::Pass, Expect::Fail, Expect::Refused] {
            assert_eq!(ROW.word::<Expect>("expect", expect_word(expect)).unwrap(), expect);
        }
        for state in [RunState::Running, RunState::Finished, RunState::Cancelled, RunState::Lost] {
            assert_eq!(ROW.word::<RunState>("state", state.word()).unwrap(), state);
        }
        for state in [BuildState::Claimed, BuildState::Running, BuildState::Ended] {
            assert_eq!(ROW.word::<BuildState>("state", state.word()).unwrap(), state);
        }
        assert_eq!(ROW.word::<CellState>("state", CellState::LogLimit.word()).unwrap(), CellState::LogLimit);
    }

    #[test]
    fn every_outcome_reads_back_from_its_columns() {
        let message = "builder exited 1".to_owned();
        let outcomes = [
            AttemptOutcome::Passed,
            AttemptOutcome::Failed { message: message.clone() },
            AttemptOutcome::Timeout { message: message.clone() },
            AttemptOutcome::LogLimit,
            AttemptOutcome::NotDeterministic { message: message.clone() },
            AttemptOutcome::Infra { cause: InfraCause::OwnerDied, message },
            AttemptOutcome::Cancelled,
        ];
        for outcome in outcomes {
            let (word, cause, message) = outcome_columns(&outcome);
            let message = message.map(str::to_owned);
            assert_eq!(ROW.outcome(word, cause.as_ref(), message.as_ref()).unwrap(), outcome);
        }
    }

    #[test]
    fn an_unknown_word_names_its_table_row_and_column() {
        let error = Row { table: "run", id: &"019a" }.word::<RunState>("state", "asleep").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("table run, row 019a: column state holds \"asleep\""), "{text}");
        assert!(ROW.outcome("infra", None, None).is_err(), "an infra outcome needs its cause");
    }
}
