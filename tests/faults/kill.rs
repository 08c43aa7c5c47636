//! SIGKILL at random moments, over and over: no verdict is lost, doubled or wrong, and nothing keeps running.

use std::{
    collections::BTreeMap,
    fmt::Write,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::facts;
use crate::support::Farm;

/// The cells of one generation of the flake.
const CELLS: usize = 60;
/// The shortest and longest life of a croft, in milliseconds.
const LIFE: (u64, u64) = (10, 1_500);

/// Numbers that differ from run to run; the seed is printed, `CROFT_SEED` sets it.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let chance = || RandomState::new().hash_one(0) >> 16;
        let seed = number("CROFT_SEED").unwrap_or_else(chance) | 1;
        eprintln!("CROFT_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn cell_name(generation: usize, index: usize) -> String {
    format!("g{generation}-{index:02}")
}

fn fails(index: usize) -> bool {
    index % 12 == 5
}

fn test_count(index: usize) -> u64 {
    1 + index as u64 % 3
}

/// A flake whose cells are unlike those of all other generations; every third needs a derivation that they share.
fn write_flake(farm: &Farm, generation: usize) {
    let mut checks = String::new();
    let shared = format!("g{generation}-shared");
    for index in 0..CELLS {
        let name = cell_name(generation, index);
        let need = if index % 3 == 0 {
            format!("need = cell \"{shared}\" \"echo made > $out\";")
        } else {
            String::new()
        };
        let pause = 20 + index * 37 % 80;
        let mut cases = String::new();
        for case in 1..=test_count(index) {
            let status = if fails(index) && case == 1 { "failed" } else { "passed" };
            write!(cases, "echo checking {case}; test_case {status} case-{case}; ").unwrap();
        }
        let end = if fails(index) { "exit 1" } else { "succeed" };
        let script = format!("{cases} sleep 0.0{pause:02}; report; {end}");
        writeln!(checks, "\"{name}\" = cellWith \"{name}\" {{ {need} }} ''{script}'';").unwrap();
    }
    farm.write_flake(&checks);
}

/// What a croft told before it died.
#[derive(Default)]
struct Told {
    /// Outcomes of builds by name.
    builds: BTreeMap<String, String>,
    /// Cells that came to rest.
    cells: BTreeMap<String, Value>,
}

impl Told {
    /// Reads the events; the last one may be cut short.
    fn of(stdout: &str) -> Self {
        let mut told = Self::default();
        for event in stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let name = event["name"].as_str().unwrap_or_default().to_owned();
            match event["event"].as_str() {
                Some("build-ended") => {
                    told.builds.insert(name, event["outcome"].as_str().unwrap_or_default().to_owned());
                }
                Some("cell-ended") => {
                    told.cells.insert(name, event);
                }
                _ => {}
            }
        }
        told
    }
}

/// A run that was not killed must have told the truth about every cell.
fn assert_complete(generation: usize, cells: &BTreeMap<String, Value>) {
    assert_eq!(cells.len(), CELLS, "cells of generation {generation}: {:?}", cells.keys());
    for index in 0..CELLS {
        let cell = &cells[&cell_name(generation, index)];
        let state = cell["state"].as_str().unwrap_or_default();
        let expected: &[&str] = if fails(index) { &["failed"] } else { &["passed", "reused"] };
        assert!(expected.contains(&state), "{cell}");
        let tests = ["passed", "failed"].map(|word| cell["tests"][word].as_u64().unwrap_or_default());
        let failed = u64::from(fails(index));
        assert_eq!(tests, [test_count(index) - failed, failed], "{cell}");
    }
}

#[test]
fn a_kill_at_any_moment_loses_no_verdict_and_makes_no_false_one() {
    let Some(farm) = Farm::new() else { return };
    let kills = number("CROFT_KILLS").unwrap_or(100);
    let mut dice = Dice::new();
    let (mut generation, mut killed, mut told) = (0, 0, BTreeMap::new());
    write_flake(&farm, generation);
    let flake = farm.flake();
    let check = ["check", "--jsonl", &flake];
    while killed < kills {
        let mut croft = farm.croft(&check).start();
        let life = Duration::from_millis(LIFE.0 + dice.below(LIFE.1 - LIFE.0));
        if croft.wait_at_most(life).is_none() {
            croft.signal(Signal::KILL);
            killed += 1;
        }
        let done = croft.wait();
        let now = Told::of(&done.stdout);
        told.extend(now.builds);
        if done.signal.is_none() {
            assert_eq!(done.code, Some(1), "{}", done.stderr);
            assert_complete(generation, &now.cells);
            generation += 1;
            write_flake(&farm, generation);
        }
    }
    let done = farm.croft(&check).run();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert_complete(generation, &Told::of(&done.stdout).cells);
    eprintln!("{killed} kills over {} generations, {} builds told", generation + 1, told.len());
    farm.wait_until_still();
    farm.assert_sound();
    assert_records(&farm, generation, &told);
}

fn assert_records(farm: &Farm, generation: usize, told: &BTreeMap<String, String>) {
    let verdicts = facts::counts(
        farm,
        "SELECT name || ' ' || outcome, COUNT(*) FROM attempt WHERE outcome NOT IN ('infra', 'cancelled') GROUP BY key, outcome",
    );
    let verdicts: BTreeMap<String, i64> = verdicts.into_iter().collect();
    // One verdict on each cell. A shared derivation whose croft died before it could record it is valid, and no cell.
    let cells = verdicts.keys().filter(|verdict| !verdict.contains("shared")).count();
    assert_eq!(cells, (generation + 1) * CELLS, "{verdicts:?}");
    let doubled: Vec<_> = verdicts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "more than one verdict: {doubled:?}");
    for (name, outcome) in
        told.iter().filter(|(_, outcome)| !["infra", "cancelled"].contains(&outcome.as_str()))
    {
        assert!(
            verdicts.contains_key(&format!("{name} {outcome}")),
            "{name} was told to be {outcome}, and is not on record"
        );
    }
    let infra = facts::counts(farm, "SELECT DISTINCT message, 1 FROM attempt WHERE outcome = 'infra'");
    for (message, _) in infra {
        assert_eq!(message, "the croft process that ran it died");
    }
    let runs = facts::counts(
        farm,
        "SELECT run.id, COUNT(*) FROM run JOIN cell ON cell.run = run.seq WHERE run.state = 'finished' GROUP BY run.id",
    );
    assert!(runs.iter().all(|(_, cells)| usize::try_from(*cells) == Ok(CELLS)), "{runs:?}");
    let moving = facts::counts(farm, "SELECT id, 1 FROM run WHERE state = 'running'");
    assert!(moving.is_empty(), "{moving:?}");
}
