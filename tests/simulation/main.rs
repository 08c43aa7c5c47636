//! A seeded simulation of a whole farm: the decisions that are shipped, a cloud in which everything goes wrong, and
//! checks after every step.
//!
//! A seed that fails is printed with its story. `CROFT_SIM_SEED=n` runs one seed, `CROFT_SIM_SEEDS=n` so many.

#![expect(clippy::expect_used, clippy::print_stderr, reason = "a test speaks, and fails where it must")]
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers, made here")]

mod check;
mod cloud;
mod hub;
mod loops;
mod mutants;
mod runs;
mod scenario;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use cloud::Cloud;
use croft::config::PoolSettings;
use fastrand::Rng;
use hub::{Hub, Policy, SHIPPED, Slip};
use scenario::{HOUR, MINUTE, SECOND, Scenario};

/// Seeds of an ordinary run.
const SEEDS: u64 = 1_000;
/// When everything must have come to rest: budgets of a day may stop the work for that long.
const END: u64 = 24 * 8 * HOUR;
/// How much of a story is told.
const TOLD: usize = 400;

/// What a seed has come to.
struct Outcome {
    wrong: Option<String>,
    /// What the policy did, each kind of it.
    done: BTreeSet<&'static str>,
    trace: Vec<String>,
    turns: u64,
}

fn template() -> &'static PoolSettings {
    static TEMPLATE: OnceLock<PoolSettings> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let text =
            "name = \"p\"\nprovider = \"fake\"\nsystems = [\"x86_64-linux\"]\nfeatures = [\"kvm\"]\nmax = 1";
        toml::from_str(text).expect("a pool")
    })
}

/// Lives through one seed.
fn live(seed: u64, policy: Policy, slip: Slip, is_told: bool) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::random(&mut rng, template());
    let mut hub = Hub::new(&scenario, policy, slip);
    if is_told {
        hub.trace = Some(vec![format!("{scenario:#?}")]);
    }
    let lease = u64::try_from(scenario.fleet.lease.get().as_millis()).expect("a short lease");
    let mut cloud = Cloud { instances: BTreeMap::new(), trouble: scenario.trouble.clone(), lease };
    let (mut now, mut turns) = (0, 0);
    while hub.wrong.is_none() {
        cloud.advance(now);
        if cloud.strikes(cloud.trouble.strays, now, &mut rng) {
            let (id, pool) = (hub.new_id(), hub.pools[0].name.clone());
            cloud.stray(id, &pool, now, &mut rng);
        }
        hub.turn(&mut cloud, now, &mut rng);
        hub.check(&cloud, now);
        turns += 1;
        if now > cloud.trouble.until && hub.is_at_rest(&cloud) {
            hub.check_rest(&cloud);
            break;
        }
        if now > END {
            hub.accuse(|| "it does not come to rest".to_owned());
        }
        let is_moving = !hub.attempts.is_empty()
            || hub.rows.values().any(|row| row.gone.is_none() && row.state.is_on_its_way());
        let is_early = now < 30 * MINUTE;
        now += if is_moving || is_early {
            rng.u64(5 * SECOND..45 * SECOND)
        } else {
            rng.u64(20 * SECOND..4 * MINUTE)
        };
    }
    Outcome { wrong: hub.wrong, done: hub.done, trace: hub.trace.unwrap_or_default(), turns }
}

/// The first seed in which something is wrong, and the turns of all.
fn search(seeds: u64, policy: Policy, slip: Slip) -> (Option<(u64, String)>, u64) {
    let (next, turns, found) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(None::<(u64, String)>));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || found.lock().expect("no panic").is_some() {
                break;
            }
            let outcome = live(seed, policy, slip, false);
            turns.fetch_add(outcome.turns, Ordering::Relaxed);
            if let Some(wrong) = outcome.wrong {
                let mut found = found.lock().expect("no panic");
                if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                    *found = Some((seed, wrong));
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    (found.into_inner().expect("no panic"), turns.into_inner())
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn tell(seed: u64) {
    let outcome = live(seed, SHIPPED, Slip::Nothing, true);
    let skipped = outcome.trace.len().saturating_sub(TOLD);
    for line in outcome.trace.iter().take(1).chain(outcome.trace.iter().skip(skipped.max(1))) {
        eprintln!("{line}");
    }
    let wrong = outcome.wrong.unwrap_or_else(|| "nothing is wrong".to_owned());
    eprintln!("seed {seed}: {wrong}\nreplay: CROFT_SIM_SEED={seed} cargo test --test simulation everything");
    eprintln!("{} turns", outcome.turns);
}

#[test]
fn everything_holds_whatever_happens() {
    if let Some(seed) = number("CROFT_SIM_SEED") {
        tell(seed);
        assert_eq!(live(seed, SHIPPED, Slip::Nothing, false).wrong, None);
        return;
    }
    let seeds = number("CROFT_SIM_SEEDS").unwrap_or(SEEDS);
    let (found, turns) = search(seeds, SHIPPED, Slip::Nothing);
    eprintln!("{seeds} seeds, {turns} turns");
    if let Some((seed, wrong)) = found {
        tell(seed);
        panic!("seed {seed}: {wrong}");
    }
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for seed in 0..5 {
        let stories = [0, 1].map(|_| live(seed, SHIPPED, Slip::Nothing, true).trace);
        assert!(stories[0].len() > 10 && stories[0] == stories[1], "seed {seed}");
    }
}

/// A simulation in which nothing happens would prove nothing.
#[test]
fn the_seeds_bring_about_everything_that_can_happen() {
    let mut left: BTreeSet<&'static str> = BTreeSet::from([
        "launch: minimum",
        "launch: demand",
        "launch: replacement",
        "wake",
        "sleep",
        "quarantine",
        "release",
        "probation",
        "budget",
        "poison",
        "stranger",
        "end: idle",
        "end: age",
        "end: builds",
        "end: never joined",
        "end: unhealthy",
        "end: lost",
        "end: interrupted",
    ]);
    for seed in 0..SEEDS {
        for kind in live(seed, SHIPPED, Slip::Nothing, false).done {
            left.remove(kind);
        }
        if left.is_empty() {
            return;
        }
    }
    panic!("never happened: {left:?}");
}
