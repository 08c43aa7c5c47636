//! Sheets: the cells of a run as they are written. What a run learns goes into a sheet of its own; what was known
//! before goes into sheets that are named by their content and shared by all runs that find the same.

use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{QueryBuilder, Sqlite};

use super::{
    DbError,
    column::{self, CountColumns},
    list::ROWS,
    writer::Txn,
};
use crate::report::CellReport;

/// What a digest is taken of, beside the cells; changed when a row means something else.
const FORM: &[u8] = b"croft sheet 1\n";
/// A sheet ends behind a key that begins with a byte below this: one in 128 does. So sheets end at the same cells
/// in every run, and a cell that changes costs the sheet it is on and no other.
const LAST_OF_SHEET: u8 = 2;

/// Cells that were known before their run, and the name of that content.
pub(super) struct KnownSheet {
    digest: [u8; 32],
    cells: Vec<CellReport>,
}

impl KnownSheet {
    /// Lays `cells` out in sheets; equal cells in any order give equal sheets.
    pub(super) fn lay_out(mut cells: Vec<CellReport>) -> Result<Vec<Self>, serde_json::Error> {
        cells.sort_unstable_by(|a, b| (&a.system, &a.name).cmp(&(&b.system, &b.name)));
        let is_last = |cell: &CellReport| cell.key.is_some_and(|key| key.as_bytes()[0] < LAST_OF_SHEET);
        let (mut sheets, mut open) = (Vec::new(), Vec::new());
        for cell in cells {
            let ends = is_last(&cell);
            open.push(cell);
            if ends || open.len() == ROWS {
                sheets.push(Self::close(std::mem::take(&mut open))?);
            }
        }
        if !open.is_empty() {
            sheets.push(Self::close(open)?);
        }
        Ok(sheets)
    }

    fn close(cells: Vec<CellReport>) -> Result<Self, serde_json::Error> {
        let mut content = FORM.to_vec();
        cells.serialize(&mut serde_json::Serializer::new(&mut content))?;
        Ok(Self { digest: Sha256::digest(&content).into(), cells })
    }

    /// Adds the sheet to a run, and its cells if no earlier run has had it.
    pub(super) async fn add_in_txn(&self, txn: &mut Txn<'_>, run: i64) -> Result<(), DbError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT id FROM sheet WHERE digest = ?")
            .bind(&self.digest[..])
            .fetch_optional(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("finding known cells"))?;
        if let Some(sheet) = found {
            return point_in_txn(txn, run, sheet).await;
        }
        let sheet = new_in_txn(txn, run, Some(&self.digest)).await?;
        insert_in_txn(txn, sheet, &self.cells).await
    }
}

/// The sheet that belongs to `run` alone; made when it is missing.
pub(super) async fn own_in_txn(txn: &mut Txn<'_>, run: i64) -> Result<i64, DbError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM run_sheet JOIN sheet ON sheet.id = run_sheet.sheet WHERE run = ? AND digest IS NULL",
    )
    .bind(run)
    .fetch_optional(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("finding the cells of a run"))?;
    match found {
        Some(sheet) => Ok(sheet),
        None => new_in_txn(txn, run, None).await,
    }
}

async fn new_in_txn(txn: &mut Txn<'_>, run: i64, digest: Option<&[u8; 32]>) -> Result<i64, DbError> {
    let sheet = sqlx::query_scalar("INSERT INTO sheet (digest) VALUES (?) RETURNING id")
        .bind(digest.map(|digest| &digest[..]))
        .fetch_one(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("beginning to record cells"))?;
    point_in_txn(txn, run, sheet).await?;
    Ok(sheet)
}

async fn point_in_txn(txn: &mut Txn<'_>, run: i64, sheet: i64) -> Result<(), DbError> {
    sqlx::query("INSERT INTO run_sheet (run, sheet) VALUES (?, ?)")
        .bind(run)
        .bind(sheet)
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("recording the cells of a run"))?;
    Ok(())
}

/// Writes cells on a sheet.
pub(super) async fn insert_in_txn(
    txn: &mut Txn<'_>,
    sheet: i64,
    cells: &[CellReport],
) -> Result<(), DbError> {
    for part in cells.chunks(ROWS) {
        let mut query = QueryBuilder::<Sqlite>::new(
            "INSERT INTO sheet_cell (sheet, system, name, axes, drv, key, expect, external, state, final, reason,
                                     attempt, attempts, ms, passed, failed, errors, skipped) ",
        );
        query.push_values(part, |mut row, cell| {
            row.push_bind(sheet);
            row.push_bind(cell.system.to_string());
            row.push_bind(cell.name.to_string());
            row.push_bind(serde_json::to_string(&cell.axes).unwrap_or_else(|_| "{}".to_owned()));
            row.push_bind(cell.drv.as_ref().map(ToString::to_string));
            row.push_bind(cell.key.as_ref().map(ToString::to_string));
            row.push_bind(column::expect_word(cell.expect));
            row.push_bind(cell.impure);
            row.push_bind(cell.state.word());
            row.push_bind(cell.state.is_final());
            row.push_bind(cell.reason.clone());
            row.push_bind(cell.attempt.as_ref().map(ToString::to_string));
            row.push_bind(cell.attempts);
            row.push_bind(cell.duration_ms.map(column::int));
            for count in CountColumns::of(Some(cell.tests)).columns() {
                row.push_bind(count);
            }
        });
        query.build().execute(&mut *txn.conn).await.map_err(txn.place.failed("recording cells"))?;
    }
    Ok(())
}
