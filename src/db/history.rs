//! What is on record about keys: verdicts and durations.

use std::{collections::HashMap, time::Duration};

use sqlx::{QueryBuilder, Sqlite};

use super::{
    Db, DbError,
    column::{self, CountColumns, Row},
    list::ROWS,
};
use crate::{
    nix::DrvKey,
    plan::{KeyHistory, PastVerdict},
};

/// A verdict. Taken by position, not by name: there may be very many.
type VerdictRow =
    (String, String, i64, i64, String, Option<String>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);

const COLUMNS: &str = "key, id, started, ended, outcome, message, passed, failed, errors, skipped";

fn verdict(row: VerdictRow) -> Result<(DrvKey, PastVerdict), DbError> {
    let (key, id, started, ended, outcome, message, passed, failed, errors, skipped) = row;
    let at = Row { table: "attempt", id: &id };
    let (started, ended) = (column::untime(started), column::untime(ended));
    let verdict = PastVerdict {
        attempt: at.text("id", &id)?,
        outcome: at.outcome(&outcome, None, message.as_ref())?,
        ended,
        duration: ended.since(started),
        counts: CountColumns { passed, failed, errors, skipped }.counts().unwrap_or_default(),
    };
    Ok((at.text("key", &key)?, verdict))
}

impl Db {
    /// The verdicts on each of `keys`. A key without any is absent.
    pub async fn verdicts_by_key(&self, keys: &[DrvKey]) -> Result<HashMap<DrvKey, KeyHistory>, DbError> {
        let mut histories: HashMap<DrvKey, KeyHistory> = HashMap::with_capacity(keys.len());
        // One parameter for all keys, so that one statement on one reader does for any number of them.
        let wanted = serde_json::to_string(keys).unwrap_or_else(|_| "[]".to_owned());
        let query = format!(
            "SELECT {COLUMNS} FROM attempt WHERE outcome IN ('passed', 'failed', 'timeout', 'log-limit')
                AND key IN (SELECT value FROM json_each(?)) ORDER BY seq"
        );
        let rows: Vec<VerdictRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(wanted)
            .fetch_all(&self.pool)
            .await
            .map_err(self.place.failed("reading verdicts"))?;
        for row in rows {
            let (key, verdict) = verdict(row)?;
            histories.entry(key).or_default().add(verdict);
        }
        Ok(histories)
    }

    /// How long each of the derivations is expected to take: as long as its key took last, else its name.
    pub async fn durations(&self, wanted: &[(DrvKey, String)]) -> Result<Vec<Option<Duration>>, DbError> {
        let mut known = HashMap::with_capacity(wanted.len());
        for part in wanted.chunks(ROWS) {
            let mut query = duration_query(part);
            let rows: Vec<(String, Option<i64>)> = query
                .build_query_as()
                .persistent(false)
                .fetch_all(&self.pool)
                .await
                .map_err(self.place.failed("reading durations"))?;
            for (key, ms) in rows {
                let key: DrvKey = Row { table: "attempt", id: &key }.text("key", &key)?;
                known.insert(key, ms.map(column::unspan));
            }
        }
        Ok(wanted.iter().map(|(key, _)| known.get(key).copied().flatten()).collect())
    }
}

fn duration_query(wanted: &[(DrvKey, String)]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("WITH wanted (key, name) AS (");
    query.push_values(wanted, |mut row, (key, name)| {
        row.push_bind(key.to_string()).push_bind(name.clone());
    });
    query.push(
        ") SELECT wanted.key, COALESCE(
            (SELECT ended - started FROM attempt WHERE attempt.key = wanted.key AND outcome = 'passed'
                AND origin = 'built' ORDER BY seq DESC LIMIT 1),
            (SELECT ended - started FROM attempt WHERE attempt.name = wanted.name AND outcome = 'passed'
                AND origin = 'built' ORDER BY seq DESC LIMIT 1))
         FROM wanted",
    );
    query
}
