//! Measurements: `cargo test --test db speed -- --ignored --nocapture --test-threads 1`.

use std::time::{Duration, Instant};

use croft::{
    db::{Adoption, BuildNext, Db, OwnerGuard},
    ids::AttemptId,
    lifecycle::{AttemptOutcome, CellState},
    matrix::CellName,
    nix::DrvKey,
};

use crate::world::*;

/// Time on the wall, and time on all processors: the second means something on a busy machine too.
struct Watch {
    wall: Instant,
    cpu: Duration,
}

impl Watch {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu() }
    }

    #[expect(clippy::print_stderr, reason = "a measurement is printed")]
    fn tell(&self, what: &str, count: u32) {
        let (wall, cpu) = (self.wall.elapsed(), cpu().saturating_sub(self.cpu));
        let rate = f64::from(count) / wall.as_secs_f64();
        eprintln!(
            "{what}: {:.1} ms, {:.1} ms of cpu, {rate:.0}/s",
            wall.as_secs_f64() * 1e3,
            cpu.as_secs_f64() * 1e3
        );
    }
}

fn cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn commits_and_attempts() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let watch = Watch::start();
    for _ in 0..200 {
        db.run_insert(&owner, new_run("django")).await.unwrap();
    }
    watch.tell("durable commits, one writer", 200);
    for concurrency in [1_u64, 16] {
        let each = 320 / concurrency;
        let before = db.write_stats();
        let watch = Watch::start();
        futures_util::future::join_all(
            (0..concurrency).map(|c| attempts(&db, &owner, concurrency * 100_000 + c * 1_000, each)),
        )
        .await;
        let commits = db.write_stats().commits - before.commits;
        watch.tell(&format!("builds of 3 writes, {concurrency} at once ({commits} commits)"), 320);
    }
}

async fn attempts(db: &Db, owner: &OwnerGuard, first: u64, count: u64) {
    for n in first..first + count {
        record(db, owner, n, AttemptOutcome::Passed).await;
    }
}

fn adoption(n: u64) -> Adoption {
    Adoption { build: build(n), attempt: AttemptId::new(now()), report: report(0) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn ten_thousand_cells_and_keys() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    for round in 1..=3 {
        let run = new_run("django");
        let id = run.id;
        db.run_insert(&owner, run).await.unwrap();
        let cells: Vec<_> = (0..10_000).map(|n| cell(n, CellState::Build)).collect();
        let watch = Watch::start();
        db.cell_insert_many(id, cells).await.unwrap();
        watch.tell(&format!("round {round}: insert 10,000 cells"), 10_000);
        let cells: Vec<_> = (0..10_000).map(|n| cell(n, CellState::Infra)).collect();
        let watch = Watch::start();
        db.cell_settle_many(id, cells).await.unwrap();
        watch.tell("settle 10,000 cells", 10_000);
        let watch = Watch::start();
        assert_eq!(db.cell_list(id).await.unwrap().len(), 10_000);
        watch.tell("list 10,000 cells", 10_000);
        let names: Vec<CellName> = (0..10_000).map(name).collect();
        let watch = Watch::start();
        assert_eq!(db.cell_previous(&"django".to_owned().into(), &names).await.unwrap().len(), 10_000);
        watch.tell("previous keys of 10,000 cells", 10_000);
    }
    let watch = Watch::start();
    db.build_claim(&owner, (0..10_000).map(build).collect()).await.unwrap();
    watch.tell("claim 10,000 builds", 10_000);
    let watch = Watch::start();
    futures_util::future::join_all((0..10_000).map(|n| db.build_adopt(&owner, adoption(n)))).await;
    watch.tell("adopt 10,000 passes", 10_000);
    let keys: Vec<DrvKey> = (0..10_000).map(key).collect();
    for _ in 0..10 {
        let watch = Watch::start();
        assert_eq!(db.verdicts_by_key(&keys).await.unwrap().len(), 10_000);
        watch.tell("verdicts of 10,000 keys", 10_000);
    }
    let wanted: Vec<_> = (0..10_000).map(|n| (key(n), format!("cell-{n}"))).collect();
    let watch = Watch::start();
    db.durations(&wanted).await.unwrap();
    watch.tell("durations of 10,000 builds", 10_000);
    let watch = Watch::start();
    assert_eq!(db.check().await.unwrap(), []);
    watch.tell("check", 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn eighteen_thousand_tests() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    let mut cells = Vec::new();
    for n in 0..20 {
        let build = win(&db, &owner, n).await;
        let begun = start(build, 1);
        db.attempt_start(&owner, begun.clone()).await.unwrap();
        let mut ended = end(begun.attempt, failed(), BuildNext::End);
        ended.report = report(18_000);
        let watch = Watch::start();
        db.attempt_end(ended).await.unwrap();
        if n < 3 {
            watch.tell("end an attempt of 18,000 tests", 18_000);
        }
        let mut cell = cell(n, CellState::Failed);
        cell.attempt = Some(begun.attempt);
        cells.push(cell);
    }
    let attempt = cells[7].attempt.unwrap();
    db.cell_insert_many(id, cells).await.unwrap();
    let watch = Watch::start();
    assert_eq!(db.test_list(attempt).await.unwrap().len(), 18_000);
    watch.tell("list 18,000 tests", 18_000);
    let watch = Watch::start();
    assert_eq!(
        db.test_find(&db.cell_list(id).await.unwrap(), "test_number_17777", 100).await.unwrap().len(),
        20
    );
    watch.tell("find one test in 20 cells", 1);
    let watch = Watch::start();
    assert_eq!(db.check().await.unwrap(), []);
    watch.tell("check 360,000 tests", 1);
    let size = |name: &str| std::fs::metadata(state.path().join(name)).unwrap().len() >> 10;
    let what = format!("croft.db of {} KiB, its WAL of {} KiB", size("croft.db"), size("croft.db-wal"));
    Watch::start().tell(&what, 1);
}
