//! The check: each rule finds the row that breaks it, and nothing else.

use croft::{
    db::{Claim, Db, OwnerGuard},
    lifecycle::{AttemptOutcome, CellState, RunState, RunVerdict},
    report::CellReport,
};

use crate::world::*;

/// A run with one cell that passed, its build and attempt, and a build that runs.
async fn fill(db: &Db) -> OwnerGuard {
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    let attempt = record(db, &owner, 1, AttemptOutcome::Passed).await;
    let cell = CellReport { attempt: Some(attempt), ..cell(1, CellState::Passed) };
    db.cell_insert_many(id, vec![cell]).await.unwrap();
    db.run_finish(id, RunState::Finished, RunVerdict::Passed, [CellState::Passed].into_iter().collect())
        .await
        .unwrap();
    let [Claim::Won(running)] = db.build_claim(&owner, vec![build(2)]).await.unwrap()[..] else { panic!() };
    db.attempt_start(&owner, start(running, 1)).await.unwrap();
    owner
}

#[tokio::test]
async fn each_rule_finds_what_breaks_it() {
    for (damage, rule) in [
        (
            "UPDATE build SET last_attempt = 'x' WHERE ending = 'decided'",
            "a build that ended decided has a last",
        ),
        (
            "UPDATE build SET state = 'claimed' WHERE state = 'running'",
            "an attempt without an outcome belongs",
        ),
        ("DELETE FROM attempt WHERE outcome IS NULL", "a running build has exactly one attempt"),
        ("UPDATE attempt SET name = 'other' WHERE outcome IS NULL", "an attempt has the key, the name and"),
        ("UPDATE test SET status = 'passed'", "the counts of an attempt are those of its tests"),
        ("DELETE FROM test", "the counts of an attempt are those of its tests"),
        ("UPDATE sheet_cell SET key = replace(key, '0', '1')", "a cell with a verdict has the key of its attempt"),
        ("UPDATE sheet_cell SET state = 'failed'", "a cell that failed points to an attempt that did not pass"),
        ("UPDATE sheet_cell SET attempt = NULL", "a cell that passed points to an attempt that did"),
        ("UPDATE sheet_cell SET state = 'blocked', final = 0", "a run that has finished has no cell that still"),
        (
            "INSERT INTO sheet (id) VALUES (77);
             INSERT INTO sheet_cell SELECT 77, system, name, axes, drv, key, expect, external, state, final, reason,
                attempt, attempts, ms, passed, failed, errors, skipped FROM sheet_cell;
             INSERT INTO run_sheet SELECT seq, 77 FROM run",
            "a cell is in a run once",
        ),
        (
            "INSERT INTO sheet (digest) VALUES (zeroblob(32));
             INSERT INTO sheet_cell SELECT last_insert_rowid(), system, 'x', axes, drv, key, expect, external, 'build',
                0, reason, NULL, attempts, ms, passed, failed, errors, skipped FROM sheet_cell",
            "cells that runs share have come to rest",
        ),
        ("DELETE FROM test_name", "references lead somewhere"),
    ] {
        let state = tempfile::tempdir().unwrap();
        let db = open(state.path()).await;
        let owner = fill(&db).await;
        assert_eq!(db.check().await.unwrap(), [], "before: {damage}");
        execute(&mut raw(state.path()).await, damage).await;
        let findings = db.check().await.unwrap();
        assert!(!findings.is_empty(), "not found: {damage}");
        assert!(findings.iter().all(|finding| finding.rule.starts_with(rule)), "{damage}: {findings:?}");
        drop(owner);
    }
}

#[tokio::test]
async fn a_file_broken_in_every_row_is_told_in_short() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    db.cell_insert_many(id, (0..500).map(|n| cell(n, CellState::Passed)).collect()).await.unwrap();
    assert_eq!(db.check().await.unwrap().len(), 100);
}
