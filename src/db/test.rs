//! Tests of attempts.

use sqlx::{QueryBuilder, Sqlite};

use super::{
    Db, DbError,
    cell::CellRecord,
    column::{self, Row},
    list::ROWS,
    writer::Txn,
};
use crate::{
    ids::AttemptId,
    matrix::CellName,
    report::{TestCase, TestStatus},
};

/// A test in a cell.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FoundTest {
    /// The cell.
    pub cell: CellName,
    /// The attempt whose test it is.
    pub attempt: AttemptId,
    /// The test.
    pub test: TestCase,
}

#[derive(sqlx::FromRow)]
struct TestRow {
    suite: String,
    name: String,
    status: String,
    ms: Option<i64>,
    message: Option<String>,
}

impl TestRow {
    fn case(self, attempt: AttemptId) -> Result<TestCase, DbError> {
        let status: TestStatus = Row { table: "test", id: &attempt }.word("status", &self.status)?;
        Ok(TestCase {
            suite: self.suite,
            name: self.name,
            status,
            duration: self.ms.map(column::unspan),
            message: self.message,
        })
    }
}

impl Db {
    /// The tests of an attempt, in the order of its report.
    pub async fn test_list(&self, attempt: AttemptId) -> Result<Vec<TestCase>, DbError> {
        self.tests(
            "SELECT suite, test_name.name, status, ms, test.message FROM test
             JOIN attempt ON attempt.seq = test.attempt JOIN test_name ON test_name.id = test.name
             WHERE attempt.id = ? ORDER BY ordinal",
            attempt,
        )
        .await
    }

    /// The first `limit` tests of an attempt that failed or broke.
    pub async fn test_list_failing(
        &self,
        attempt: AttemptId,
        limit: usize,
    ) -> Result<Vec<TestCase>, DbError> {
        let mut cases = self
            .tests(
                "SELECT suite, test_name.name, status, ms, test.message FROM test
                 JOIN attempt ON attempt.seq = test.attempt JOIN test_name ON test_name.id = test.name
                 WHERE attempt.id = ? AND status IN ('failed', 'error') ORDER BY ordinal LIMIT 1000",
                attempt,
            )
            .await?;
        cases.truncate(limit);
        Ok(cases)
    }

    async fn tests(&self, query: &'static str, attempt: AttemptId) -> Result<Vec<TestCase>, DbError> {
        let rows: Vec<TestRow> = sqlx::query_as(query)
            .bind(attempt.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(self.place.failed("reading tests"))?;
        rows.into_iter().map(|row| row.case(attempt)).collect()
    }

    /// The tests of `cells` whose suite or name holds `text`.
    pub async fn test_find(
        &self,
        cells: &[CellRecord],
        text: &str,
        limit: usize,
    ) -> Result<Vec<FoundTest>, DbError> {
        let mut found = Vec::new();
        for record in cells {
            let Some(attempt) = record.cell.attempt else { continue };
            let rows: Vec<TestRow> = sqlx::query_as(
                "SELECT suite, test_name.name, status, ms, test.message FROM test
                 JOIN attempt ON attempt.seq = test.attempt JOIN test_name ON test_name.id = test.name
                 WHERE attempt.id = ? AND (instr(test_name.name, ?) > 0 OR instr(suite || '.' || test_name.name, ?) > 0
                       OR instr(suite || ' ' || test_name.name, ?) > 0)
                 ORDER BY ordinal LIMIT ?",
            )
            .bind(attempt.to_string())
            .bind(text.to_owned())
            .bind(text.to_owned())
            .bind(text.to_owned())
            .bind(column::len(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(self.place.failed("finding tests"))?;
            for row in rows {
                found.push(FoundTest { cell: record.cell.name.clone(), attempt, test: row.case(attempt)? });
            }
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }
}

/// Adds the tests of an attempt.
pub(super) async fn insert_cases(txn: &mut Txn<'_>, attempt: i64, cases: &[TestCase]) -> Result<(), DbError> {
    for (part, cases) in cases.chunks(ROWS).enumerate() {
        let is_full = cases.len() == ROWS;
        let failed = txn.place.failed("recording the names of tests");
        insert_names(cases).build().persistent(is_full).execute(&mut *txn.conn).await.map_err(failed)?;
        let failed = txn.place.failed("recording tests");
        let mut rows = insert_rows(attempt, part * ROWS, cases);
        rows.build().persistent(is_full).execute(&mut *txn.conn).await.map_err(failed)?;
    }
    Ok(())
}

fn insert_names(cases: &[TestCase]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("INSERT INTO test_name (suite, name) ");
    query.push_values(cases, |mut row, case| {
        row.push_bind(case.suite.clone()).push_bind(case.name.clone());
    });
    query.push(" ON CONFLICT DO NOTHING");
    query
}

fn insert_rows(attempt: i64, first: usize, cases: &[TestCase]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("WITH given (suite, name, ordinal, status, ms, message) AS (");
    query.push_values(cases.iter().enumerate(), |mut row, (i, case)| {
        row.push_bind(case.suite.clone()).push_bind(case.name.clone());
        row.push_bind(column::len(first + i)).push_bind(column::status_word(case.status));
        row.push_bind(case.duration.map(column::span)).push_bind(case.message.clone());
    });
    query.push(") INSERT INTO test (attempt, name, ordinal, status, ms, message) SELECT ").push_bind(attempt);
    query.push(
        ", test_name.id, given.ordinal, given.status, given.ms, given.message
         FROM given JOIN test_name ON test_name.suite = given.suite AND test_name.name = given.name",
    );
    query
}
