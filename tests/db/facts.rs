//! Runs, cells, builds, attempts and tests through two handles on one file.

use std::time::Duration;

use crate::world::*;
use croft::{
    clock::Timestamp,
    db::{
        Adoption, Begun, BuildNext, Claim, Db, DbError, Fingerprint, FirstAttempt, LogEnd, Origin,
        OwnerGuard, Project, Totals,
    },
    ids::{AttemptId, RunId},
    lifecycle::{AttemptOutcome, CellState, InfraCause, RunState, RunVerdict},
    nix::DrvKey,
    report::{CellReport, TestCounts},
};

fn project(name: &str) -> Project {
    name.to_owned().into()
}

#[tokio::test]
async fn a_run_lives_once_and_every_process_sees_it() {
    let state = tempfile::tempdir().unwrap();
    let (one, two) = (open(state.path()).await, open(state.path()).await);
    let owner = one.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    one.run_insert(&owner, run).await.unwrap();
    let seen = two.run_get(&id.to_string()[..20]).await.unwrap();
    assert_eq!((seen.id, seen.state, seen.owner), (id, RunState::Running, owner.id()));
    assert_eq!((seen.verdict, seen.ended, seen.totals), (None, None, Totals::default()));

    let totals: Totals = [CellState::Passed, CellState::Failed, CellState::Passed].into_iter().collect();
    one.run_finish(id, RunState::Finished, RunVerdict::Failed, totals.clone()).await.unwrap();
    let again = two.run_finish(id, RunState::Cancelled, RunVerdict::Passed, Totals::default()).await;
    assert!(matches!(again, Err(DbError::RunEnded { .. })), "{again:?}");
    let seen = two.run_latest(Some(&project("django"))).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.verdict), (RunState::Finished, Some(RunVerdict::Failed)));
    assert_eq!((seen.totals.0[&CellState::Passed], &seen.totals), (2, &totals));
    assert!(two.run_latest(Some(&project("flask"))).await.unwrap().is_none());
    assert!(matches!(two.run_get("ffff").await, Err(DbError::NotFound { .. })));
    assert!(matches!(two.run_get("0' OR 1=1 --").await, Err(DbError::NotFound { .. })));
    one.run_insert(&owner, new_run("django")).await.unwrap();
    assert!(matches!(two.run_get("0").await, Err(DbError::Ambiguous { .. })));
}

#[tokio::test]
async fn a_final_cell_never_moves() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    let before = record(&db, &owner, 1, AttemptOutcome::Passed).await;
    let broken = CellReport { drv: None, key: None, ..cell(2, CellState::EvalError) };
    let reused = CellReport { attempt: Some(before), ..cell(1, CellState::Reused) };
    let cells =
        vec![reused.clone(), broken.clone(), cell(3, CellState::Substitute), cell(9, CellState::Build)];
    db.cell_insert_many(id, cells.clone()).await.unwrap();
    let list =
        || async { db.cell_list(id).await.unwrap().into_iter().map(|found| found.cell).collect::<Vec<_>>() };
    assert_eq!(list().await, cells);

    let passed = CellReport {
        attempt: Some(record(&db, &owner, 9, AttemptOutcome::Passed).await),
        duration_ms: Some(4_000),
        tests: TestCounts { passed: 1, failed: 1, errors: 1, skipped: 0 },
        attempts: 2,
        reason: None,
        ..cell(9, CellState::Passed)
    };
    let moved = |n| cell(n, CellState::Failed);
    db.cell_settle_many(id, vec![passed.clone(), moved(1), moved(2), moved(77)]).await.unwrap();
    db.cell_settle_many(id, vec![moved(9)]).await.unwrap();
    assert_eq!(list().await, [reused, broken, cell(3, CellState::Substitute), passed]);
    assert_eq!(db.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_cell_is_followed_over_runs() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let mut ids = Vec::new();
    for (project, n) in [("django", 1), ("django", 2), ("flask", 5), ("django", 3)] {
        let run = new_run(project);
        ids.push(run.id);
        db.run_insert(&owner, run).await.unwrap();
        let mut same_name = CellReport { name: name(0), ..cell(n, CellState::Build) };
        if n == 3 {
            (same_name.drv, same_name.key, same_name.state) = (None, None, CellState::EvalError);
        }
        db.cell_insert_many(*ids.last().unwrap(), vec![same_name]).await.unwrap();
    }
    let runs = |found: Vec<croft::db::CellRecord>| found.into_iter().map(|seen| seen.run).collect::<Vec<_>>();
    assert_eq!(runs(db.cell_history("cell-0", 2).await.unwrap()), [ids[3], ids[2]]);
    assert_eq!(db.cell_history("cell-0", 9).await.unwrap().len(), 4);
    let previous = db.cell_previous(&project("django"), &[name(0), name(8)]).await.unwrap();
    assert_eq!(previous.len(), 1);
    let seen = &previous[&(name(0), "x86_64-linux".parse().unwrap())];
    assert_eq!((seen.key, &seen.drv), (key(2), &drv(2)), "flask is another project, the last run had no key");
    assert!(db.cell_previous(&project("rails"), &[name(0)]).await.unwrap().is_empty());
    assert_eq!(runs(db.cell_list_by_key(key(5), 9).await.unwrap()), [ids[2]]);
}

/// A new run of django with these cells known beforehand.
async fn run_of_known(db: &Db, owner: &OwnerGuard, cells: Vec<CellReport>) -> RunId {
    let run = new_run("django");
    let id = run.id;
    db.run_insert(owner, run).await.unwrap();
    db.cell_insert_known(id, cells).await.unwrap();
    id
}

async fn rows(state: &std::path::Path) -> i64 {
    let mut raw = raw(state).await;
    sqlx::query_scalar("SELECT COUNT(*) FROM sheet_cell").fetch_one(&mut raw).await.unwrap()
}

#[tokio::test]
async fn what_was_known_is_written_once_and_shown_in_every_run() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let attempt = record(&db, &owner, 1, AttemptOutcome::Passed).await;
    let cells: Vec<CellReport> = (0..700)
        .map(|n| CellReport { attempt: Some(attempt), key: Some(key(1)), ..cell(n, CellState::Reused) })
        .map(|found| match found.name.as_str() {
            // All cells point to the one attempt; these have keys of their own, so that sheets end at them.
            "cell-100" | "cell-400" => {
                CellReport { key: Some(DrvKey::new([1; 32])), state: CellState::Flaky, ..found }
            }
            _ => found,
        })
        .collect();
    let list = |run| {
        let db = db.clone();
        async move { db.cell_list(run).await.unwrap().into_iter().map(|seen| seen.cell).collect::<Vec<_>>() }
    };
    let mut in_order = cells.clone();
    in_order.sort_by(|a, b| a.name.cmp(&b.name));
    let first = run_of_known(&db, &owner, cells.clone()).await;
    let second = run_of_known(&db, &owner, cells.iter().rev().cloned().collect()).await;
    assert_eq!(rows(state.path()).await, 700, "the order in which they come is no matter");
    assert_eq!((list(first).await, list(second).await), (in_order.clone(), in_order.clone()));

    let other = CellReport {
        reason: Some("known since then".to_owned()),
        drv: Some(drv(900)),
        ..in_order[5].clone()
    };
    let mut changed = in_order.clone();
    changed[5] = other.clone();
    let third = run_of_known(&db, &owner, changed.clone()).await;
    let after = rows(state.path()).await;
    assert!((701..1400).contains(&after), "only the sheet that changed is written: {after}");
    assert_eq!((list(first).await, list(third).await), (in_order.clone(), changed));

    let runs = |found: Vec<croft::db::CellRecord>| found.into_iter().map(|seen| seen.run).collect::<Vec<_>>();
    assert_eq!(runs(db.cell_history(other.name.as_str(), 9).await.unwrap()), [third, second, first]);
    assert_eq!(runs(db.cell_history("cell-100", 2).await.unwrap()), [third, second]);
    assert_eq!(runs(db.cell_list_by_key(DrvKey::new([1; 32]), 2).await.unwrap()), [third, third]);
    let previous =
        || async { db.cell_previous(&project("django"), std::slice::from_ref(&other.name)).await.unwrap() };
    assert_eq!(previous().await.into_values().next().unwrap().drv, drv(900));
    // A run that finds again what an older one has found is the latest all the same.
    run_of_known(&db, &owner, cells).await;
    assert_eq!(Some(previous().await.into_values().next().unwrap().drv), in_order[5].drv);
    assert_eq!(rows(state.path()).await, after);
    assert_eq!(db.check().await.unwrap(), []);
}

#[tokio::test]
async fn processes_that_know_the_same_at_once_share_it_and_a_known_cell_never_moves() {
    let state = tempfile::tempdir().unwrap();
    let (one, two) = (open(state.path()).await, open(state.path()).await);
    let (a, b) = (one.owner_register().await.unwrap(), two.owner_register().await.unwrap());
    let cells: Vec<CellReport> = (0..300).map(|n| cell(n, CellState::Blocked)).collect();
    let (first, second) =
        tokio::join!(run_of_known(&one, &a, cells.clone()), run_of_known(&two, &b, cells.clone()));
    assert_eq!(rows(state.path()).await, 300);
    // What the first run finds beside stays its own, and what it settles is not the second's.
    one.cell_insert_many(first, vec![cell(800, CellState::Build)]).await.unwrap();
    let settled = vec![cell(7, CellState::Failed), cell(800, CellState::Infra)];
    one.cell_settle_many(first, settled.clone()).await.unwrap();
    two.cell_settle_many(second, settled).await.unwrap();
    let count = |run, state| {
        let db = two.clone();
        async move { db.cell_list(run).await.unwrap().iter().filter(|seen| seen.cell.state == state).count() }
    };
    assert_eq!((count(first, CellState::Blocked).await, count(first, CellState::Infra).await), (300, 1));
    assert_eq!((count(second, CellState::Blocked).await, count(second, CellState::Infra).await), (300, 0));
    assert!(one.cell_insert_known(first, cells).await.is_err(), "a cell is in a run once");
    assert_eq!(two.check().await.unwrap(), []);
}

#[tokio::test]
async fn one_of_many_wins_each_key() {
    let state = tempfile::tempdir().unwrap();
    let (one, two) = (open(state.path()).await, open(state.path()).await);
    let (a, b) = (one.owner_register().await.unwrap(), two.owner_register().await.unwrap());
    let wanted = || (0..500).map(build).collect::<Vec<_>>();
    let (first, second) = tokio::join!(one.build_claim(&a, wanted()), two.build_claim(&b, wanted()));
    for (first, second) in first.unwrap().iter().zip(second.unwrap()) {
        match (first, second) {
            (Claim::Won(id), Claim::Held { build, owner }) => assert_eq!((*id, a.id()), (build, owner)),
            (Claim::Held { build, owner }, Claim::Won(id)) => assert_eq!((id, b.id()), (*build, *owner)),
            other => panic!("{other:?}"),
        }
    }
    let twice = one.build_claim(&a, vec![build(900), build(900)]).await.unwrap();
    let Claim::Won(id) = twice[0] else { panic!("{twice:?}") };
    assert_eq!(twice[1], Claim::Held { build: id, owner: a.id() });
    let not_mine = two.build_release(&b, id).await.unwrap_err();
    assert!(matches!(not_mine, DbError::NotHeld { .. }), "{not_mine}");
    assert!(two.build_is_open(id).await.unwrap());
    one.build_release(&a, id).await.unwrap();
    assert!(!two.build_is_open(id).await.unwrap());
    assert!(matches!(two.build_claim(&b, vec![build(900)]).await.unwrap()[..], [Claim::Won(_)]));
    assert_eq!(two.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_build_begins_in_one_change_unless_somebody_has_it_or_has_decided_it() {
    let state = tempfile::tempdir().unwrap();
    let (one, two) = (open(state.path()).await, open(state.path()).await);
    let (a, b) = (one.owner_register().await.unwrap(), two.owner_register().await.unwrap());
    let first = |planned| FirstAttempt {
        build: build(1),
        attempt: AttemptId::new(now()),
        machine: "local".to_owned(),
        planned,
    };
    let before = one.write_stats().commits;
    let mine = first(now());
    let Begun::Ours(id) = one.build_begin(&a, mine.clone()).await.unwrap() else { panic!("it is free") };
    assert_eq!(one.write_stats().commits, before + 1);
    let attempts = one.attempt_list(key(1), 9).await.unwrap();
    assert_eq!(attempts.iter().map(|a| (a.id, a.number)).collect::<Vec<_>>(), [(mine.attempt, 1)]);
    let held = two.build_begin(&b, first(now())).await.unwrap();
    assert_eq!(held, Begun::Held { build: id, owner: a.id() });
    assert_eq!(one.check().await.unwrap(), []);

    one.attempt_end(end(mine.attempt, failed(), BuildNext::End)).await.unwrap();
    let ended = one.verdicts_by_key(&[key(1)]).await.unwrap()[&key(1)].latest.clone().unwrap().ended;
    assert_eq!(two.build_begin(&b, first(ended)).await.unwrap(), Begun::Settled);
    assert!(!two.build_is_open(id).await.unwrap());
    let later = Timestamp::from_millis(ended.as_millis() + 1);
    let again = two.build_begin(&b, first(later)).await.unwrap();
    assert!(matches!(again, Begun::Ours(_)), "{again:?}");
    assert_eq!(one.check().await.unwrap(), []);
}

#[tokio::test]
async fn an_attempt_is_recorded_exactly_once_with_its_tests_and_the_move_of_its_build() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let other = db.owner_register().await.unwrap();
    let build = win(&db, &owner, 1).await;
    let not_mine = db.attempt_start(&other, start(build, 1)).await.unwrap_err();
    assert!(matches!(not_mine, DbError::NotHeld { .. }), "{not_mine}");

    let first = start(build, 1);
    db.attempt_start(&owner, first.clone()).await.unwrap();
    let twice = db.attempt_start(&owner, start(build, 2)).await.unwrap_err();
    assert!(matches!(twice, DbError::Transition { .. }), "{twice}");
    let running = db.build_release(&owner, build).await.unwrap_err();
    assert!(matches!(running, DbError::NotHeld { .. }), "{running}");
    let infra = AttemptOutcome::Infra { cause: InfraCause::DiskFull, message: "no space".to_owned() };
    let mut lost = end(first.attempt, infra.clone(), BuildNext::Retry);
    lost.report = report(0);
    db.attempt_end(lost).await.unwrap();
    assert!(db.build_is_open(build).await.unwrap());
    assert_eq!(db.check().await.unwrap(), []);

    let second = start(build, 2);
    db.attempt_start(&owner, second.clone()).await.unwrap();
    let mut ended = end(second.attempt, failed(), BuildNext::End);
    ended.log = LogEnd { bytes: 5_000_000_000, lines: 7, truncated: true };
    ended.report = report(2_500);
    ended.report.refused = Some("too old".to_owned());
    db.attempt_end(ended.clone()).await.unwrap();
    ended.outcome = AttemptOutcome::Passed;
    let again = db.attempt_end(ended.clone()).await.unwrap_err();
    assert!(again.to_string().contains("has ended already as failed"), "{again}");
    let unknown = db.attempt_end(end(AttemptId::new(now()), failed(), BuildNext::End)).await.unwrap_err();
    assert!(matches!(unknown, DbError::NotFound { .. }), "{unknown}");

    let attempts = db.attempt_list(key(1), 9).await.unwrap();
    assert_eq!(attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((&attempts[0].outcome, &attempts[1].outcome), (&Some(failed()), &Some(infra)));
    assert_eq!((attempts[0].log_bytes, attempts[0].refused.as_deref()), (5_000_000_000, Some("too old")));
    assert_eq!(attempts[0].counts, TestCounts::of(&report(2_500).cases));
    assert_eq!(attempts[1].counts, TestCounts::default());
    assert_eq!(db.test_list(second.attempt).await.unwrap(), report(2_500).cases);
    let failing = db.test_list_failing(second.attempt, 7).await.unwrap();
    assert_eq!(
        failing.iter().map(|case| &*case.name).take(3).collect::<Vec<_>>(),
        ["test_number_0", "test_number_1", "test_number_50"]
    );
    assert_eq!(failing.len(), 7);
    assert!(!db.build_is_open(build).await.unwrap());
    assert_eq!(db.check().await.unwrap(), []);
}

#[tokio::test]
async fn a_refused_end_leaves_no_tests_behind() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let build = win(&db, &owner, 1).await;
    let start = start(build, 1);
    db.attempt_start(&owner, start.clone()).await.unwrap();
    // The build is moved behind the writer's back, so that the last step of the end is refused.
    let mut raw = raw(state.path()).await;
    execute(&mut raw, "UPDATE build SET state = 'claimed'").await;
    let refused = db.attempt_end(end(start.attempt, failed(), BuildNext::Retry)).await.unwrap_err();
    assert!(matches!(refused, DbError::Transition { .. }), "{refused}");
    assert_eq!(db.attempt_get(start.attempt).await.unwrap().outcome, None);
    assert_eq!(db.test_list(start.attempt).await.unwrap(), []);
}

#[tokio::test]
async fn verdicts_tell_flakes_from_faults() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let infra = AttemptOutcome::Infra { cause: InfraCause::Killed, message: "signal 9".to_owned() };
    let differs = AttemptOutcome::NotDeterministic { message: "output differs".to_owned() };
    let timeout = AttemptOutcome::Timeout { message: "1 h".to_owned() };
    record(&db, &owner, 1, failed()).await;
    let flake = record(&db, &owner, 1, AttemptOutcome::Passed).await;
    for outcome in [infra.clone(), AttemptOutcome::Cancelled, differs] {
        record(&db, &owner, 1, outcome).await;
    }
    record(&db, &owner, 2, infra).await;
    record(&db, &owner, 4, timeout.clone()).await;
    let found = db.verdicts_by_key(&[key(1), key(2), key(4), key(5)]).await.unwrap();
    assert_eq!(found.len(), 2, "what is no verdict is no history: {found:?}");
    let history = &found[&key(1)];
    assert!(history.is_flaky());
    assert_eq!((history.passes, history.failures), (1, 1));
    let latest = history.latest.as_ref().unwrap();
    assert_eq!((latest.attempt, &latest.outcome), (flake, &AttemptOutcome::Passed));
    assert_eq!(latest.counts, TestCounts::of(&report(3).cases));
    assert_eq!(found[&key(4)].latest.as_ref().unwrap().outcome, timeout);
}

#[tokio::test]
async fn verdicts_of_more_keys_than_one_statement_takes_are_complete() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let adoption = |n| Adoption { build: build(n), attempt: AttemptId::new(now()), report: report(0) };
    futures_util::future::try_join_all((0..2_500).map(|n| db.build_adopt(&owner, adoption(n))))
        .await
        .unwrap();
    let keys: Vec<_> = (0..5_000).map(key).collect();
    let found = db.verdicts_by_key(&keys).await.unwrap();
    assert_eq!(found.len(), 2_500);
    assert!(keys[..2_500].iter().all(|key| found[key].passes == 1));
}

#[tokio::test]
async fn a_pass_found_in_a_store_is_adopted_once() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let built = record(&db, &owner, 1, AttemptOutcome::Passed).await;
    let adopt = |n, count| {
        let adoption = Adoption { build: build(n), attempt: AttemptId::new(now()), report: report(count) };
        db.build_adopt(&owner, adoption)
    };
    assert_eq!(adopt(1, 0).await.unwrap(), built);
    let (first, second) = tokio::join!(adopt(2, 7), adopt(2, 7));
    let adopted = first.unwrap();
    assert_eq!((second.unwrap(), adopt(2, 9).await.unwrap()), (adopted, adopted));
    assert_eq!(db.test_list(adopted).await.unwrap(), report(7).cases);
    assert_eq!(db.attempt_get(adopted).await.unwrap().origin, Origin::Store);
    let found = db.verdicts_by_key(&[key(2)]).await.unwrap();
    assert_eq!((found[&key(2)].latest.as_ref().unwrap().attempt, found[&key(2)].passes), (adopted, 1));
    assert_eq!(db.check().await.unwrap(), []);
}

#[tokio::test]
async fn durations_come_from_the_key_or_else_from_the_name() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let seconds = Duration::from_secs;
    for (n, name, took, outcome) in [
        (1, "same", 9, AttemptOutcome::Passed),
        (2, "same", 5, AttemptOutcome::Passed),
        (3, "other", 1, failed()),
    ] {
        let wanted = croft::db::NewBuild { name: name.to_owned(), ..build(n) };
        let [Claim::Won(id)] = db.build_claim(&owner, vec![wanted]).await.unwrap()[..] else { panic!("{n}") };
        let start = start(id, 1);
        db.attempt_start(&owner, start.clone()).await.unwrap();
        let mut end = end(start.attempt, outcome, BuildNext::End);
        (end.started, end.ended) =
            (Timestamp::from_millis(1_000), Timestamp::from_millis(1_000 + took * 1_000));
        db.attempt_end(end).await.unwrap();
    }
    let wanted = [(1, "same"), (2, "same"), (20, "same"), (3, "other"), (21, "new")];
    let wanted = wanted.map(|(n, name)| (key(n), name.to_owned()));
    let found = db.durations(&wanted).await.unwrap();
    // The key knows better than the name; a failure tells nothing.
    assert_eq!(found, [Some(seconds(9)), Some(seconds(5)), Some(seconds(5)), None, None]);
}

#[tokio::test]
async fn tests_are_found_by_name_over_the_cells_of_a_run() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    let mut cells = vec![cell(4, CellState::Build)];
    for n in 1..=3 {
        cells.push(CellReport {
            attempt: Some(record(&db, &owner, n, failed()).await),
            ..cell(n, CellState::Failed)
        });
    }
    db.cell_insert_many(id, cells).await.unwrap();
    record(&db, &owner, 1, failed()).await;
    let cells = db.cell_list(id).await.unwrap();
    let found = db.test_find(&cells, "number_1", 100).await.unwrap();
    assert_eq!(found.len(), 3, "one in each cell, none of attempts that decide no cell");
    assert!(found.iter().all(|found| found.test.name == "test_number_1"));
    assert_eq!(db.test_find(&cells, "Group0.test_number_2", 100).await.unwrap().len(), 3);
    assert_eq!(db.test_find(&cells, "test_", 5).await.unwrap().len(), 5);
    assert_eq!(db.test_find(&cells, "number%1", 100).await.unwrap(), []);
    assert_eq!(db.test_find(&cells, "'; DROP TABLE test; --", 100).await.unwrap(), []);
}

#[tokio::test]
async fn evaluations_are_kept_by_fingerprint_and_version() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let name = |n: u32| Fingerprint::from(format!("f{n}"));
    let document = "cell".repeat(100_000);
    let get = |n, version| {
        let (db, name) = (db.clone(), name(n));
        async move { db.eval_get::<String>(&name, version).await }
    };
    db.eval_put(&name(0), 1, &"first").await.unwrap();
    db.eval_put(&name(0), 1, &document).await.unwrap();
    assert_eq!(get(0, 1).await.unwrap(), Some(document));
    assert_eq!(get(0, 2).await.unwrap(), None);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let names: Vec<_> = (1..=400).map(name).collect();
    futures_util::future::try_join_all(names.iter().map(|name| db.eval_put(name, 1, name))).await.unwrap();
    assert_eq!(get(0, 1).await.unwrap(), None, "the oldest one went");
    assert_eq!(get(1, 1).await.unwrap(), Some("f1".to_owned()));
    execute(&mut raw(state.path()).await, "UPDATE eval_cache SET document = x'00010203'").await;
    let error = get(4, 1).await.unwrap_err().to_string();
    assert!(error.contains("cached evaluation of f4 cannot be read"), "{error}");
}
