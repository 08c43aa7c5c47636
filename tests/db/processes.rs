//! Several real processes on one state directory, killed at any instruction.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use croft::{
    db::{BuildNext, Db, OwnerGuard, Recovered},
    ids::AttemptId,
    lifecycle::{AttemptOutcome, CellState, InfraCause, RunState, RunVerdict},
};

use crate::world::*;

const CHILD: &str = "CROFT_TEST_DB_CHILD";
const SEED: &str = "CROFT_TEST_DB_SEED";
const KILLS: u64 = 30;
const WRITERS: u64 = 6;

/// What a child does: it writes as fast as it can and says what was confirmed, until it is killed.
#[tokio::test]
#[ignore = "the tests of this file run it in a process of its own"]
async fn child() {
    let Some(state) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let db = open(&state).await;
    let owner = db.owner_register().await.unwrap();
    let run = new_run("django");
    let id = run.id;
    db.run_insert(&owner, run).await.unwrap();
    db.cell_insert_many(id, (0..50).map(|n| cell(n, CellState::Build)).collect()).await.unwrap();
    say(&format!("ready {id}"));
    futures_util::future::join_all((0..WRITERS).map(|w| write_for_ever(&db, &owner, seed * 1_000_000 + w)))
        .await;
}

async fn write_for_ever(db: &Db, owner: &OwnerGuard, first: u64) {
    for round in 0_u64.. {
        let outcome = if round % 3 == 0 { failed() } else { AttemptOutcome::Passed };
        let build = win(db, owner, first + round * WRITERS).await;
        say("step");
        let begun = start(build, 1);
        db.attempt_start(owner, begun.clone()).await.unwrap();
        say("step");
        let infra = AttemptOutcome::Infra { cause: InfraCause::Killed, message: "signal 9".to_owned() };
        db.attempt_end(end(begun.attempt, infra, BuildNext::Retry)).await.unwrap();
        say("step");
        let again = start(build, 2);
        db.attempt_start(owner, again.clone()).await.unwrap();
        say("step");
        let mut ended = end(again.attempt, outcome.clone(), BuildNext::End);
        ended.report = report(30);
        db.attempt_end(ended).await.unwrap();
        say(&format!("confirmed {} {}", again.attempt, outcome.word()));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{line}").unwrap();
    out.flush().unwrap();
}

/// A child process; killed when dropped.
struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Writer {
    fn start(state: &Path, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::child", "--ignored", "--nocapture"])
            .env(CHILD, state)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until `count` lines of the child began with `word`, and returns all confirmations among them.
    fn read_until(&mut self, word: &str, count: usize) -> Vec<String> {
        let mut said = Vec::new();
        let mut seen = 0;
        while seen < count {
            let line = self.lines.next().expect("the child died by itself").unwrap();
            seen += usize::from(line.starts_with(word));
            said.push(line);
        }
        said
    }

    /// SIGKILL, then everything it managed to say.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.by_ref().map_while(Result::ok).collect()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Both fail when it was killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn confirmed(said: &[String]) -> Vec<(AttemptId, String)> {
    let parse = |line: &String| {
        let (id, outcome) = line.strip_prefix("confirmed ")?.split_once(' ')?;
        Some((id.parse().ok()?, outcome.to_owned()))
    };
    said.iter().filter_map(parse).collect()
}

#[tokio::test]
async fn nothing_confirmed_is_lost_and_nothing_stays_open_when_a_process_is_killed() {
    let state = tempfile::tempdir().unwrap();
    let (one, two) = (open(state.path()).await, open(state.path()).await);
    let mut all = Vec::new();
    let mut recovered = Recovered::default();
    for kill in 0..KILLS {
        let mut writer = Writer::start(state.path(), kill + 1);
        let mut said = Vec::new();
        // The first moments of a process matter as much as its later ones.
        if kill % 5 != 0 {
            said = writer.read_until("ready", 1);
            // The writers of a child move together: some children die with attempts open, some between builds.
            let (word, count) =
                if kill % 2 == 0 { ("step", kill * 17 % 113) } else { ("confirmed", kill * 7 % 23) };
            said.extend(writer.read_until(word, usize::try_from(count).unwrap()));
            assert_eq!(one.recover().await.unwrap(), Recovered::default(), "the living are left alone");
        }
        said.extend(writer.kill());
        all.extend(confirmed(&said));

        let (first, second) = tokio::join!(one.recover(), two.recover());
        for swept in [first.unwrap(), second.unwrap()] {
            recovered.owners += swept.owners;
            recovered.attempts += swept.attempts;
            recovered.builds += swept.builds;
            recovered.runs += swept.runs;
        }
        assert_eq!(one.check().await.unwrap(), []);
        assert_eq!(two.recover().await.unwrap(), Recovered::default(), "there is nothing left to do");
    }
    assert!(recovered.owners >= KILLS - KILLS.div_ceil(5), "{recovered:?}");
    assert!(
        recovered.attempts > 0 && recovered.builds >= recovered.attempts && recovered.runs > 0,
        "{recovered:?}"
    );
    let runs = one.run_list(None, 1_000).await.unwrap();
    assert!(runs.iter().all(|run| run.state == RunState::Lost && run.ended.is_some()));
    assert!(runs.iter().all(|run| run.verdict == Some(RunVerdict::Undetermined)));
    assert_eq!(std::fs::read_dir(state.path().join("owners")).unwrap().count(), 0, "no lock file stays");

    assert!(all.len() > 100, "only {} confirmations", all.len());
    for (id, word) in &all {
        let attempt = one.attempt_get(*id).await.expect("a confirmed attempt is lost");
        assert_eq!(attempt.outcome.as_ref().unwrap().word(), word);
        assert_eq!(attempt.counts.total(), 30);
    }
}

#[tokio::test]
async fn what_the_dead_held_can_be_claimed_again() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let dead = db.owner_register().await.unwrap();
    let build = win(&db, &dead, 1).await;
    let begun = start(build, 1);
    db.attempt_start(&dead, begun.clone()).await.unwrap();
    let id = dead.id();
    assert!(db.owner_is_alive(id).await.unwrap());
    drop(dead);
    assert!(!db.owner_is_alive(id).await.unwrap());
    assert_eq!(db.check().await.unwrap()[0].rule, "what is open has a living owner");
    let swept = db.recover().await.unwrap();
    assert_eq!(swept, Recovered { owners: 1, attempts: 1, builds: 1, runs: 0 });
    let outcome = db.attempt_get(begun.attempt).await.unwrap().outcome.unwrap();
    assert!(matches!(outcome, AttemptOutcome::Infra { cause: InfraCause::OwnerDied, .. }));
    let late = db.attempt_end(end(begun.attempt, AttemptOutcome::Passed, BuildNext::End)).await;
    assert!(late.unwrap_err().to_string().contains("has ended already as infra"));
    let heir = db.owner_register().await.unwrap();
    win(&db, &heir, 1).await;
    assert_eq!(db.check().await.unwrap(), []);
}

#[tokio::test]
async fn two_busy_processes_share_the_file() {
    let state = tempfile::tempdir().unwrap();
    let db = open(state.path()).await;
    let owner = db.owner_register().await.unwrap();
    let mut writer = Writer::start(state.path(), 1);
    writer.read_until("confirmed", 1);
    let mut slowest = std::time::Duration::ZERO;
    for n in 0..60 {
        let begun = std::time::Instant::now();
        record(&db, &owner, 900_000_000 + n, AttemptOutcome::Passed).await;
        slowest = slowest.max(begun.elapsed());
    }
    writer.read_until("confirmed", 10);
    writer.kill();
    db.recover().await.unwrap();
    assert_eq!(db.check().await.unwrap(), []);
    assert!(slowest < std::time::Duration::from_secs(10), "one of them starved for {slowest:?}");
}
