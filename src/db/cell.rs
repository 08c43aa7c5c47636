//! Cells of runs.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Sqlite};

use super::{
    Db, DbError, Project,
    column::{self, CountColumns, Row},
    list::{ROWS, push_texts},
    run,
    sheet::{self, KnownSheet},
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::{IdError, RunId},
    matrix::CellName,
    nix::{DrvKey, System},
    plan::PreviousKey,
    report::CellReport,
};

/// A cell of a run on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellRecord {
    /// The run.
    pub run: RunId,
    /// When the run began.
    pub started: Timestamp,
    /// The cell. Its failing tests are with its attempt.
    pub cell: CellReport,
}

#[derive(sqlx::FromRow)]
struct CellRow {
    run_id: String,
    started: i64,
    name: String,
    system: String,
    axes: String,
    drv: Option<String>,
    key: Option<String>,
    expect: String,
    external: bool,
    state: String,
    reason: Option<String>,
    attempt: Option<String>,
    attempts: u32,
    ms: Option<i64>,
    #[sqlx(flatten)]
    counts: CountColumns,
}

const SELECT: &str =
    "SELECT run.id AS run_id, run.started, cell.name, cell.system, axes, drv, key, expect, external,
    cell.state, reason, attempt, attempts, ms, passed, failed, errors, skipped
    FROM cell JOIN run ON run.seq = cell.run ";

impl TryFrom<CellRow> for CellRecord {
    type Error = DbError;

    fn try_from(row: CellRow) -> Result<Self, DbError> {
        let id = format!("{} {}", row.run_id, row.name);
        let at = Row { table: "cell", id: &id };
        let cell = CellReport {
            name: at.text("name", &row.name)?,
            system: at.text("system", &row.system)?,
            axes: at.json("axes", &row.axes)?,
            drv: at.maybe("drv", row.drv.as_ref())?,
            key: at.maybe("key", row.key.as_ref())?,
            state: at.word("state", &row.state)?,
            reason: row.reason,
            expect: at.word("expect", &row.expect)?,
            impure: row.external,
            attempts: row.attempts,
            duration_ms: row.ms.map(column::uint),
            tests: row.counts.counts().unwrap_or_default(),
            attempt: at.maybe("attempt", row.attempt.as_ref())?,
            failing: Vec::new(),
        };
        let run = row.run_id.parse().map_err(|_: IdError| at.unknown("run", &row.run_id))?;
        Ok(Self { run, started: column::untime(row.started), cell })
    }
}

impl Db {
    /// Records cells that a run has found, in whatever state they are.
    pub async fn cell_insert_many(&self, run: RunId, cells: Vec<CellReport>) -> Result<(), DbError> {
        if cells.is_empty() {
            return Ok(());
        }
        self.write(InsertMany { run, cells }).await
    }

    /// Records cells that a run has found and whose final states were known before it. What an earlier run has
    /// recorded in the same words is not written again.
    pub async fn cell_insert_known(&self, run: RunId, cells: Vec<CellReport>) -> Result<(), DbError> {
        if cells.is_empty() {
            return Ok(());
        }
        let sheets = KnownSheet::lay_out(cells)
            .map_err(|error| DbError::Cells { run: run.to_string(), cause: error.to_string() })?;
        self.write(InsertKnown { run, sheets }).await
    }

    /// Records the final states of cells. A state that is final already stays.
    pub async fn cell_settle_many(&self, run: RunId, cells: Vec<CellReport>) -> Result<(), DbError> {
        if cells.is_empty() {
            return Ok(());
        }
        self.write(SettleMany { run, cells }).await
    }

    /// The cells of a run, by system and name.
    pub async fn cell_list(&self, run: RunId) -> Result<Vec<CellRecord>, DbError> {
        let query = format!("{SELECT} WHERE run.id = ? ORDER BY cell.system, cell.name");
        self.cells(sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(run.to_string())).await
    }

    /// A cell over the runs, newest first.
    pub async fn cell_history(&self, name: &str, limit: u32) -> Result<Vec<CellRecord>, DbError> {
        let query = format!("{SELECT} WHERE cell.name = ? ORDER BY cell.run DESC, cell.system LIMIT ?");
        self.cells(sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(name.to_owned()).bind(limit)).await
    }

    /// The cells that a key decided, newest first.
    pub async fn cell_list_by_key(&self, key: DrvKey, limit: u32) -> Result<Vec<CellRecord>, DbError> {
        let query = format!("{SELECT} WHERE cell.key = ? ORDER BY cell.run DESC LIMIT ?");
        self.cells(sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(key.to_string()).bind(limit)).await
    }

    async fn cells(
        &self,
        query: sqlx::query::QueryAs<'_, Sqlite, CellRow, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Vec<CellRecord>, DbError> {
        let rows = query.fetch_all(&self.pool).await.map_err(self.place.failed("reading cells"))?;
        rows.into_iter().map(CellRecord::try_from).collect()
    }

    /// What each of `names` was in the latest run of `project` that had it.
    pub async fn cell_previous(
        &self,
        project: &Project,
        names: &[CellName],
    ) -> Result<HashMap<(CellName, System), PreviousKey>, DbError> {
        let mut previous = HashMap::new();
        for part in names.chunks(ROWS) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "WITH latest (sheet, run) AS MATERIALIZED (
                    SELECT run_sheet.sheet, MAX(run_sheet.run) FROM run JOIN run_sheet ON run_sheet.run = run.seq
                    WHERE run.project = ",
            );
            query.push_bind(project.as_str().to_owned());
            query.push(
                " GROUP BY run_sheet.sheet)
                 SELECT name, system, key, drv, MAX(latest.run)
                 FROM sheet_cell JOIN latest ON latest.sheet = sheet_cell.sheet
                 WHERE key IS NOT NULL AND drv IS NOT NULL AND name IN ",
            );
            push_texts(&mut query, part);
            query.push(" GROUP BY name, system");
            let rows: Vec<(String, String, String, String, i64)> = query
                .build_query_as()
                .fetch_all(&self.pool)
                .await
                .map_err(self.place.failed("reading earlier keys"))?;
            for (name, system, key, drv, _) in rows {
                let at = Row { table: "cell", id: &name };
                let before = PreviousKey { key: at.text("key", &key)?, drv: at.text("drv", &drv)? };
                previous.insert((at.text("name", &name)?, at.text("system", &system)?), before);
            }
        }
        Ok(previous)
    }
}

struct InsertMany {
    run: RunId,
    cells: Vec<CellReport>,
}

impl Write for InsertMany {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        let run = run::seq_in_txn(txn, self.run).await?;
        let sheet = sheet::own_in_txn(txn, run).await?;
        sheet::insert_in_txn(txn, sheet, &self.cells).await
    }
}

struct InsertKnown {
    run: RunId,
    sheets: Vec<KnownSheet>,
}

impl Write for InsertKnown {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        let run = run::seq_in_txn(txn, self.run).await?;
        for sheet in &self.sheets {
            sheet.add_in_txn(txn, run).await?;
        }
        Ok(())
    }
}

struct SettleMany {
    run: RunId,
    cells: Vec<CellReport>,
}

impl Write for SettleMany {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        let run = run::seq_in_txn(txn, self.run).await?;
        let sheet = sheet::own_in_txn(txn, run).await?;
        for cell in &self.cells {
            let [passed, failed, errors, skipped] = CountColumns::of(Some(cell.tests)).columns();
            sqlx::query(
                "UPDATE sheet_cell SET state = ?, final = ?, reason = ?, attempt = ?, attempts = ?, ms = ?, passed = ?,
                        failed = ?, errors = ?, skipped = ?
                 WHERE sheet = ? AND system = ? AND name = ? AND final = 0",
            )
            .bind(cell.state.word())
            .bind(cell.state.is_final())
            .bind(cell.reason.clone())
            .bind(cell.attempt.as_ref().map(ToString::to_string))
            .bind(cell.attempts)
            .bind(cell.duration_ms.map(column::int))
            .bind(passed)
            .bind(failed)
            .bind(errors)
            .bind(skipped)
            .bind(sheet)
            .bind(cell.system.to_string())
            .bind(cell.name.to_string())
            .execute(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("settling a cell"))?;
        }
        Ok(())
    }
}
