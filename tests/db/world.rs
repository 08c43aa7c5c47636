//! What the database tests share: a state directory, and facts to fill it with.

use std::{path::Path, sync::Arc, time::Duration};

use croft::{
    clock::{Clock, SystemClock, Timestamp},
    db::{AttemptEnd, AttemptStart, BuildNext, Claim, Db, DbOptions, LogEnd, NewBuild, NewRun, OwnerGuard},
    ids::{AttemptId, BuildId, RunId},
    lifecycle::{AttemptOutcome, CellState},
    matrix::{AxisName, AxisValue, CellName, Expect},
    nix::{DrvKey, DrvPath},
    report::{CellReport, TestCase, TestCounts, TestReport, TestStatus},
};

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

pub(crate) async fn open(state: &Path) -> Db {
    Db::open(DbOptions::in_state_dir(state), Arc::new(SystemClock)).await.unwrap()
}

/// A connection that knows nothing of croft, to look at and damage the file.
pub(crate) async fn raw(state: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(state.join("croft.db")).foreign_keys(false);
    options.connect().await.unwrap()
}

pub(crate) async fn execute(conn: &mut sqlx::SqliteConnection, sql: &'static str) {
    sqlx::query(sql).execute(conn).await.unwrap();
}

pub(crate) fn key(n: u64) -> DrvKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    DrvKey::new(bytes)
}

pub(crate) fn drv(n: u64) -> DrvPath {
    // Nix's digits, of which e, o, t and u are not.
    let digits: String = format!("{n:032}").chars().collect();
    format!("/nix/store/{digits}-cell-{n}.drv").parse().unwrap()
}

pub(crate) fn build(n: u64) -> NewBuild {
    NewBuild { key: key(n), drv: drv(n), name: format!("cell-{n}"), system: "x86_64-linux".parse().unwrap() }
}

pub(crate) fn name(n: u64) -> CellName {
    format!("cell-{n}").parse().unwrap()
}

pub(crate) fn cell(n: u64, state: CellState) -> CellReport {
    let axis =
        |name: &str, value: String| (name.parse::<AxisName>().unwrap(), value.parse::<AxisValue>().unwrap());
    CellReport {
        name: name(n),
        system: "x86_64-linux".parse().unwrap(),
        axes: [axis("python", format!("3.{}", n % 5)), axis("database", format!("postgresql-{}", n % 7))]
            .into_iter()
            .collect(),
        drv: Some(drv(n)),
        key: Some(key(n)),
        state,
        reason: Some("it is new".to_owned()),
        expect: Expect::Pass,
        impure: false,
        attempts: 0,
        duration_ms: None,
        tests: TestCounts::default(),
        attempt: None,
        failing: vec![],
    }
}

pub(crate) fn new_run(project: &str) -> NewRun {
    NewRun {
        id: RunId::new(now()),
        project: project.to_owned().into(),
        flake: format!("git+https://example.org/{project}"),
        fingerprint: None,
        revision: Some("58e9c8c".to_owned()),
        trigger: "croft check".to_owned(),
    }
}

pub(crate) fn cases(count: usize) -> Vec<TestCase> {
    let status = |i: usize| match i % 50 {
        0 => TestStatus::Failed,
        1 => TestStatus::Error,
        2 => TestStatus::Skipped,
        _ => TestStatus::Passed,
    };
    let case = |i: usize| TestCase {
        suite: format!("admin_views.tests.Group{}", i / 40),
        name: format!("test_number_{i}"),
        status: status(i),
        duration: Some(Duration::from_millis(3)),
        message: (i % 50 < 3).then(|| format!("because {i}")),
    };
    (0..count).map(case).collect()
}

pub(crate) fn report(count: usize) -> TestReport {
    TestReport { cases: cases(count), refused: None, problems: vec![] }
}

pub(crate) fn failed() -> AttemptOutcome {
    AttemptOutcome::Failed { message: "builder exited 1".to_owned() }
}

pub(crate) async fn win(db: &Db, owner: &OwnerGuard, n: u64) -> BuildId {
    match db.build_claim(owner, vec![build(n)]).await.unwrap()[..] {
        [Claim::Won(id)] => id,
        ref other => panic!("{other:?}"),
    }
}

pub(crate) fn start(build: BuildId, number: u32) -> AttemptStart {
    AttemptStart { build, attempt: AttemptId::new(now()), number, machine: "local".to_owned() }
}

pub(crate) fn end(attempt: AttemptId, outcome: AttemptOutcome, next: BuildNext) -> AttemptEnd {
    let (started, ended) = (now(), now());
    AttemptEnd { attempt, outcome, started, ended, log: LogEnd::default(), report: report(3), next }
}

/// One whole build of `n` with one attempt.
pub(crate) async fn record(db: &Db, owner: &OwnerGuard, n: u64, outcome: AttemptOutcome) -> AttemptId {
    let build = win(db, owner, n).await;
    let start = start(build, 1);
    let attempt = start.attempt;
    db.attempt_start(owner, start).await.unwrap();
    db.attempt_end(end(attempt, outcome, BuildNext::End)).await.unwrap();
    attempt
}
