//! How runs with other machines end: by hand, by a fault of croft's own, with another's work, or without having needed
//! anybody.

use std::sync::Arc;

use croft::{
    clock::{Clock as _, SystemClock},
    db::{AttemptEnd, Begun, BuildNext, Db, DbOptions, FirstAttempt, LogEnd, NewBuild},
    ids::AttemptId,
    lifecycle::AttemptOutcome,
    report::TestReport,
};
use rustix::process::Signal;
use sqlx::{Connection as _, SqliteConnection};

use crate::{
    hosts::{self, Host, Plan},
    support::wait_until,
    world::{LONG, World, builder},
};

const FLEET: &str =
    "[fleet]\nlocal = false\nhealth_interval = \"1s\"\nmin_free_store = 16\nmin_free_tmp = 16\n";
/// A build that ends only when it is ended.
const ENDLESS: &str = "while true; do sleep 0.2; done";

/// How many processes of builds run on a machine.
fn builds_on(host: &Host) -> usize {
    let count = "grep -lazE '^name=endless' /proc/[0-9]*/environ 2>/dev/null | wc -l";
    host.ask(count).trim().parse().unwrap()
}

fn two_endless(world: &World) {
    world.cells(&[("endless-a", "", ENDLESS), ("endless-b", "", ENDLESS)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_leaves_nothing_on_its_machines() {
    let Some(hosts) = hosts::start(&[Plan::default(), Plan::default()]).await else { return };
    // One is reached by croft's own ssh, the other by the program.
    let toml = format!(
        "{FLEET}{}{}",
        builder("one", &hosts[0], 1, ""),
        builder("two", &hosts[1], 1, "transport = \"command\"")
    );
    let Some(world) = World::new(&toml) else { return };
    two_endless(&world);
    let running = world.croft(&["check", "--json", &world.farm.flake()]).start();
    wait_until("a build on each machine", || hosts.iter().all(|host| builds_on(host) > 0));
    running.signal(Signal::INT);
    let done = running.wait_for_end(LONG);
    assert_eq!(done.code, Some(130), "{done:#?}");
    wait_until("machines without builds", || hosts.iter().all(|host| builds_on(host) == 0));
    for cell in ["endless-a", "endless-b"] {
        let outcomes: Vec<_> = world.attempts(cell).into_iter().map(|(_, outcome)| outcome).collect();
        assert_eq!(outcomes, ["cancelled"], "{cell}");
    }
    world.farm.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_nobody_looks_after_its_machines_any_more() {
    let Some(hosts) = hosts::start(&[Plan::default(), Plan::default()]).await else { return };
    let toml = format!("{FLEET}{}{}", builder("one", &hosts[0], 1, ""), builder("two", &hosts[1], 1, ""));
    let Some(world) = World::new(&toml) else { return };
    two_endless(&world);
    let running = world.croft(&["check", "--json", &world.farm.flake()]).start();
    wait_until("a build on each machine", || hosts.iter().all(|host| builds_on(host) > 0));
    // The records of the machines are lost, which no keeper survives.
    let file = world.farm.state().join("croft.db");
    let mut database = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query("ALTER TABLE machine RENAME TO lost").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let done = running.wait_for_end(LONG);
    assert!(!matches!(done.code, None | Some(0 | 130)), "{done:#?}");
    assert!(done.stderr.contains("machine"), "{done:#?}");
    wait_until("machines without builds", || hosts.iter().all(|host| builds_on(host) == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_needs_no_machine_waits_for_none() {
    let Some(hosts) = hosts::start(&[Plan::default()]).await else { return };
    let Some(world) = World::new(&format!("{FLEET}{}", builder("one", &hosts[0], 1, ""))) else { return };
    let cells = [("a", "", "echo a > $out"), ("b", "", "echo b > $out")];
    world.cells(&cells);
    assert_eq!(world.check(&[]).code, Some(0));
    // The same cells in another tree: it is evaluated, so the machine is called, and does not answer.
    let flake = world.farm.dir().join("flake/flake.nix");
    let text = std::fs::read_to_string(&flake).unwrap();
    std::fs::write(&flake, format!("{text}\n# changed\n")).unwrap();
    hosts[0].silence();
    let checked = world.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert!(checked.cells().all(|cell| cell["state"] == "reused"), "{checked:#?}");
    world.farm.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_ended_before_the_run_but_was_recorded_after_is_not_made_again() {
    let Some(hosts) = hosts::start(&[Plan::default()]).await else { return };
    let Some(world) = World::new(&format!("{FLEET}{}", builder("one", &hosts[0], 1, ""))) else { return };
    world.cells(&[("a", "", "echo a > $out")]);
    let planned = world.croft(&["plan", "--json", &world.farm.flake()]).run().json();
    let text = |key: &str| planned["cells"][0][key].as_str().unwrap_or_default().to_owned();
    // Another process builds it, and its outputs are on their way home when the run begins.
    let db = Db::open(DbOptions::in_state_dir(&world.farm.state()), Arc::new(SystemClock)).await.unwrap();
    let owner = db.owner_register().await.unwrap();
    let (now, attempt) = (SystemClock.now(), AttemptId::new(SystemClock.now()));
    let build = NewBuild {
        key: text("key").parse().unwrap(),
        drv: text("drv").parse().unwrap(),
        name: "a".to_owned(),
        system: text("system").parse().unwrap(),
    };
    let first = FirstAttempt { build, attempt, machine: "elsewhere".to_owned(), planned: now };
    let begun = db.build_begin(&owner, first).await.unwrap();
    assert!(matches!(begun, Begun::Ours(_)), "{begun:?}");
    let running = world.croft(&["check", "--json", &world.farm.flake()]).start();
    wait_until("a run that joins the build", || running.stderr().contains("join"));
    let end = AttemptEnd {
        attempt,
        outcome: AttemptOutcome::Passed,
        started: now,
        ended: now,
        log: LogEnd::default(),
        report: TestReport::default(),
        next: BuildNext::End,
    };
    db.attempt_end(end).await.unwrap();
    let done = running.wait_for_end(LONG);
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert_eq!(world.attempts("a"), [("elsewhere".to_owned(), "passed".to_owned())]);
    world.farm.assert_sound();
}
