//! Whether the database is sound: `SQLite`'s own checks, and the invariants of croft.

use std::{collections::HashSet, fmt};

use super::{Db, DbError};

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken.
    pub rule: &'static str,
    /// The row that breaks it.
    pub row: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.row)
    }
}

/// The most findings of one rule: a damaged file may break one in every row.
const MOST: u32 = 100;

/// Each rule with a query for the rows that break it.
const RULES: [(&str, &str); 11] = [
    (
        "a build that ended decided has a last attempt with an outcome",
        "SELECT id FROM build WHERE ending = 'decided' AND NOT EXISTS
            (SELECT 1 FROM attempt WHERE attempt.id = build.last_attempt AND attempt.build = build.id AND outcome IS NOT NULL)
         LIMIT ?",
    ),
    (
        "an attempt without an outcome belongs to a running build",
        "SELECT attempt.id FROM attempt JOIN build ON build.id = attempt.build
         WHERE outcome IS NULL AND state <> 'running' LIMIT ?",
    ),
    (
        "a running build has exactly one attempt without an outcome",
        "SELECT id FROM build WHERE state = 'running' AND 1 <>
            (SELECT COUNT(*) FROM attempt WHERE attempt.build = build.id AND outcome IS NULL) LIMIT ?",
    ),
    (
        "an attempt has the key, the name and the system of its build",
        "SELECT attempt.id FROM attempt JOIN build ON build.id = attempt.build
         WHERE attempt.key <> build.key OR attempt.name <> build.name OR attempt.system <> build.system LIMIT ?",
    ),
    (
        "the counts of an attempt are those of its tests",
        "SELECT id FROM attempt LEFT JOIN (
            SELECT attempt, SUM(status = 'passed') AS p, SUM(status = 'failed') AS f, SUM(status = 'error') AS e,
                SUM(status = 'skipped') AS s FROM test GROUP BY attempt) AS seen ON seen.attempt = attempt.seq
         WHERE COALESCE(passed, 0) <> COALESCE(p, 0) OR COALESCE(failed, 0) <> COALESCE(f, 0)
            OR COALESCE(errors, 0) <> COALESCE(e, 0) OR COALESCE(skipped, 0) <> COALESCE(s, 0) LIMIT ?",
    ),
    (
        "a cell with a verdict has the key of its attempt",
        "SELECT run.id || ' ' || cell.name FROM cell JOIN run ON run.seq = cell.run JOIN attempt ON attempt.id = cell.attempt
         WHERE cell.state IN ('passed', 'reused', 'failed', 'timeout', 'log-limit') AND cell.key IS NOT attempt.key LIMIT ?",
    ),
    (
        "a cell that failed points to an attempt that did not pass",
        "SELECT run.id || ' ' || cell.name FROM cell JOIN run ON run.seq = cell.run JOIN attempt ON attempt.id = cell.attempt
         WHERE cell.state IN ('failed', 'timeout', 'log-limit') AND COALESCE(attempt.outcome, 'passed') = 'passed' LIMIT ?",
    ),
    (
        "a cell that passed points to an attempt that did",
        "SELECT run.id || ' ' || cell.name FROM cell JOIN run ON run.seq = cell.run
         LEFT JOIN attempt ON attempt.id = cell.attempt WHERE cell.state IN ('passed', 'reused')
            AND COALESCE(attempt.outcome, '') NOT IN ('passed', 'not-deterministic') LIMIT ?",
    ),
    (
        "a run that has finished has no cell that still moves",
        "SELECT run.id || ' ' || cell.name FROM cell JOIN run ON run.seq = cell.run
         WHERE run.state = 'finished' AND cell.final = 0 LIMIT ?",
    ),
    (
        "a cell is in a run once",
        "SELECT run.id || ' ' || cell.name FROM cell JOIN run ON run.seq = cell.run
         GROUP BY cell.run, cell.system, cell.name HAVING COUNT(*) > 1 LIMIT ?",
    ),
    (
        "cells that runs share have come to rest",
        "SELECT sheet.id || ' ' || name FROM sheet JOIN sheet_cell ON sheet_cell.sheet = sheet.id
         WHERE digest IS NOT NULL AND final = 0 LIMIT ?",
    ),
];

impl Db {
    /// What is not as it must be. Nothing, in a sound database. Run [`Db::recover`] first: what the dead left open is
    /// a finding.
    pub async fn check(&self) -> Result<Vec<Finding>, DbError> {
        let mut findings = self.check_file().await?;
        for (rule, query) in RULES {
            let failed = self.place.failed("checking an invariant");
            let rows: Vec<String> =
                sqlx::query_scalar(query).bind(MOST).fetch_all(&self.pool).await.map_err(failed)?;
            findings.extend(rows.into_iter().map(|row| Finding { rule, row }));
        }
        findings.extend(self.check_owners().await?);
        Ok(findings)
    }

    async fn check_file(&self) -> Result<Vec<Finding>, DbError> {
        let failed = self.place.failed("checking the integrity");
        let said: Vec<String> =
            sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&self.pool).await.map_err(failed)?;
        let damage = said.into_iter().filter(|line| line != "ok");
        let mut findings: Vec<_> = damage.map(|row| Finding { rule: "the file is undamaged", row }).collect();
        let failed = self.place.failed("checking the references");
        let dangling: Vec<(String, Option<i64>, String)> =
            sqlx::query_as("SELECT \"table\", rowid, parent FROM pragma_foreign_key_check LIMIT ?")
                .bind(MOST)
                .fetch_all(&self.pool)
                .await
                .map_err(failed)?;
        findings.extend(dangling.into_iter().map(|(table, row, parent)| {
            let row = row.map_or_else(String::new, |row| format!(" {row}"));
            Finding { rule: "references lead somewhere", row: format!("row{row} of {table} to {parent}") }
        }));
        Ok(findings)
    }

    /// What is open must belong to the living.
    async fn check_owners(&self) -> Result<Vec<Finding>, DbError> {
        let failed = self.place.failed("checking the owners");
        let open: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT 'build', id, owner FROM build WHERE state <> 'ended'
             UNION ALL SELECT 'run', id, owner FROM run WHERE state = 'running'",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let dead: HashSet<String> = self.owner_list_dead().await?.iter().map(ToString::to_string).collect();
        let orphans = open.into_iter().filter(|(_, _, owner)| dead.contains(owner));
        let finding = |(kind, id, owner)| Finding {
            rule: "what is open has a living owner",
            row: format!("{kind} {id} of {owner}"),
        };
        Ok(orphans.map(finding).collect())
    }
}
