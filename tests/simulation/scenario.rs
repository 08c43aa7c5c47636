//! What a seed stands for: pools, builders, runs, and the troubles of the first hours.

use croft::config::{FleetSettings, PoolSettings, Span};
use fastrand::Rng;

pub(crate) const SECOND: u64 = 1000;
pub(crate) const MINUTE: u64 = 60 * SECOND;
pub(crate) const HOUR: u64 = 60 * MINUTE;

/// What a build comes to wherever it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Passes,
    Fails,
    /// It breaks whatever builds it.
    Poison,
}

/// One build of a run.
#[derive(Debug, Clone)]
pub(crate) struct BuildPlan {
    pub(crate) after: Vec<u32>,
    pub(crate) millis: u64,
    /// What it asks for: see [`super::runs::classes`].
    pub(crate) class: usize,
    pub(crate) truth: Truth,
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct RunPlan {
    pub(crate) starts: u64,
    pub(crate) cancelled: Option<u64>,
    pub(crate) builds: Vec<BuildPlan>,
}

/// How often things go wrong, in percent, and until when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble {
    pub(crate) until: u64,
    pub(crate) no_capacity: u8,
    pub(crate) lost_answer: u8,
    pub(crate) unclear: u8,
    pub(crate) refused: u8,
    pub(crate) never_joins: u8,
    pub(crate) bad_machine: u8,
    pub(crate) fills_up: u8,
    pub(crate) taken_back: u8,
    pub(crate) goes_silent: u8,
    pub(crate) list_fails: u8,
    pub(crate) hub_dies: u8,
    pub(crate) end_fails: u8,
    pub(crate) strays: u8,
    /// How often an instance is left out of a list.
    pub(crate) lies: u8,
    /// The longest that an instance is not listed after its launch.
    pub(crate) lag: u64,
}

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) pools: Vec<PoolSettings>,
    pub(crate) fleet: FleetSettings,
    /// Builders that are always there, and whether they are broken while there is trouble.
    pub(crate) builders: Vec<bool>,
    pub(crate) runs: Vec<RunPlan>,
    pub(crate) trouble: Trouble,
    /// Whether the provider can keep machines stopped.
    pub(crate) dormancy: bool,
}

impl Scenario {
    pub(crate) fn random(rng: &mut Rng, template: &PoolSettings) -> Self {
        let names = ["main", "second"];
        let pools = (0..=usize::from(chance(rng, 40))).map(|at| pool(rng, template, names[at], at)).collect();
        let fleet = FleetSettings { launches_per_minute: rng.u32(2..12), ..FleetSettings::default() };
        let builders = (0..rng.usize(0..3)).map(|_| chance(rng, 25)).collect();
        let runs = (0..rng.usize(1..4)).map(|_| run(rng)).collect();
        Self { pools, fleet, builders, runs, trouble: trouble(rng), dormancy: rng.bool() }
    }
}

/// Whether something with this chance in a hundred happens.
pub(crate) fn chance(rng: &mut Rng, percent: u8) -> bool {
    percent > 0 && rng.u8(0..100) < percent
}

fn pool(rng: &mut Rng, template: &PoolSettings, name: &str, at: usize) -> PoolSettings {
    let max = rng.u32(1..6);
    let budget = chance(rng, 25).then(|| f64::from(rng.u32(1..4)));
    PoolSettings {
        name: name.parse().expect("a pool name"),
        // The first pool fits every class.
        features: if at == 0 { template.features.clone() } else { Vec::new() },
        slots: rng.u32(1..4),
        memory: Some(8000),
        types: if rng.bool() { vec!["a".to_owned(), "b".to_owned()] } else { Vec::new() },
        spot: rng.choice([0, 0, 50, 100]).unwrap_or(0),
        spot_fallback: true,
        min: rng.u32(0..2).min(max),
        max,
        warm: rng.u32(0..2),
        idle: Span::seconds(rng.u64(60..600)),
        max_age: Span::seconds(rng.u64(1800..14400)),
        max_builds: rng.choice([0, 0, 10]).unwrap_or(0),
        price: Some(1.0),
        budget_day: budget,
        ..template.clone()
    }
}

fn run(rng: &mut Rng) -> RunPlan {
    let builds = (0..rng.u32(3..25)).map(|node| build(rng, node)).collect();
    let starts = rng.u64(0..20 * MINUTE);
    let cancelled = chance(rng, 10).then(|| starts + rng.u64(0..15 * MINUTE));
    RunPlan { starts, cancelled, builds }
}

fn build(rng: &mut Rng, node: u32) -> BuildPlan {
    let mut after: Vec<u32> = (0..rng.u32(0..3)).filter(|_| node > 0).map(|_| rng.u32(0..node)).collect();
    after.sort_unstable();
    after.dedup();
    let part = rng.f64();
    let truth = match rng.u8(0..100) {
        0..6 => Truth::Fails,
        6..8 => Truth::Poison,
        _ => Truth::Passes,
    };
    let millis = 5 * SECOND + ((part * part * part) * (10 * MINUTE) as f64) as u64;
    BuildPlan { after, millis, class: rng.usize(0..3), truth }
}

fn trouble(rng: &mut Rng) -> Trouble {
    let mut some = |most: u8| if rng.u8(0..3) == 0 { rng.u8(0..=most) } else { 0 };
    Trouble {
        no_capacity: some(70),
        lost_answer: some(40),
        unclear: some(40),
        refused: some(20),
        never_joins: some(50),
        bad_machine: some(50),
        fills_up: some(50),
        taken_back: some(50),
        goes_silent: some(40),
        list_fails: some(50),
        hub_dies: some(6),
        end_fails: some(50),
        strays: some(3),
        lies: some(30),
        until: rng.u64(10 * MINUTE..2 * HOUR),
        lag: rng.u64(0..100 * SECOND),
    }
}
