//! Decisions of the scheduler: how long one takes in a large farm, and how good all of them together are.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::Arc,
    time::{Duration, Instant},
};

use croft::{
    graph::NodeId,
    ids::MachineId,
    matrix::Resources,
    plan::Offer,
    schedule::{BuilderView, Class, End, FleetView, Placement, Schedule, SlotId, Standing, Work},
};

use super::{Outcome, report::Figure};

const READY: u32 = 100_000;
const MACHINES: u32 = 1_000;
/// Decisions that are timed after the first, which fill all slots.
const DECISIONS: usize = 20_000;
/// Milliseconds: the goal, and the aim.
const P99_GOAL: (f64, f64) = (1.0, 0.5);

const CELLS: u32 = 10_000;
const BUILDERS: u32 = 200;
/// In parts of the time that no schedule can beat.
const MAKESPAN_GOAL: (f64, f64) = (1.1, 1.05);

/// One decision with 100,000 builds ready and 1,000 machines: 48 classes, 40 offers, full slots that come free.
pub(crate) fn sched_100k_p99(rounds: usize) -> Outcome {
    let mut p99s = Vec::new();
    for round in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(round as u64);
        let mut times = decisions(&mut rng)?;
        times.sort_unstable();
        let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
        p99s.push(times.get(at).ok_or("nothing was decided")?.as_secs_f64() * 1e3);
    }
    Ok(Figure::own(&p99s, "ms", P99_GOAL))
}

fn decisions(rng: &mut fastrand::Rng) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let (mut schedule, mut fleet) = (Schedule::default(), FleetView::default());
    let features = ["kvm", "big-parallel", "benchmark", "nixos-test"];
    for node in 0..READY {
        let mask = node % 16;
        let chosen = features.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
        let names = chosen.map(|(_, name)| name.parse()).collect::<Result<BTreeSet<_>, _>>()?;
        let system = ["x86_64-linux", "aarch64-linux", "i686-linux"][(node % 3) as usize];
        let class = Class::new(system.parse()?, Arc::new(names));
        let expected = Duration::from_secs(rng.u64(1..3600));
        schedule.add(Work { node: NodeId::new(node), after: Vec::new(), expected, class });
    }
    for number in 0..MACHINES {
        let systems: &[&str] =
            if number % 3 == 0 { &["aarch64-linux"] } else { &["x86_64-linux", "i686-linux"] };
        let offer = Offer {
            systems: systems.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
            features: features[..(number % 5) as usize]
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()?,
            mandatory: BTreeSet::new(),
            capacity: Resources { cores: Some(4 << (number % 8)), ..Resources::default() },
        };
        fleet.put(builder(number, Arc::new(offer), 1.0)?);
    }
    let mut times = Vec::new();
    let mut running = Vec::new();
    let mut decide = |schedule: &mut Schedule, fleet: &mut FleetView| {
        let begun = Instant::now();
        let placed = schedule.place(fleet, |machine, node| u64::from(held(machine, node)));
        times.push(begun.elapsed());
        placed
    };
    while let Some(placed) = decide(&mut schedule, &mut fleet) {
        running.push(placed);
    }
    for _ in 0..DECISIONS {
        let ended: Placement = running.swap_remove(rng.usize(0..running.len()));
        schedule.finish(ended.node, End::Made);
        fleet.vacate(ended.slot);
        running.extend(decide(&mut schedule, &mut fleet));
    }
    Ok(times)
}

/// One build in four finds some inputs on one machine in eight.
fn held(machine: MachineId, node: NodeId) -> bool {
    node.number().is_multiple_of(4) && u32::from(machine.as_bytes()[15] & 7) == (node.number() >> 2) & 7
}

fn builder(number: u32, offer: Arc<Offer>, speed: f64) -> Result<BuilderView, Box<dyn std::error::Error>> {
    let id = format!("00000000-0000-7000-8000-0000{number:08x}").parse()?;
    let standing = Standing::Open;
    Ok(BuilderView { id, pool: None, offer, slots: 4, speed, standing, free_disk: None })
}

/// The time in which a matrix of 10,000 cells is built on 200 machines of 4 slots, in parts of what no schedule can
/// beat: the work per slot, or the longest path. Only estimates are known beforehand, a third off either way.
pub(crate) fn makespan_10k(rounds: usize) -> Outcome {
    let ratios: Result<Vec<f64>, _> = (0..rounds).map(|round| makespan(round as u64)).collect();
    Ok(Figure::own(&ratios?, "ratio", MAKESPAN_GOAL))
}

fn makespan(seed: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let matrix = Matrix::random(&mut rng);
    let (mut schedule, mut fleet) = (Schedule::default(), FleetView::default());
    let offer = Arc::new(Offer {
        systems: BTreeSet::from(["x86_64-linux".parse()?]),
        features: BTreeSet::new(),
        mandatory: BTreeSet::new(),
        capacity: Resources::default(),
    });
    for number in 0..BUILDERS {
        fleet.put(builder(number, Arc::clone(&offer), 1.0)?);
    }
    let class = Class::new("x86_64-linux".parse()?, Arc::default());
    for (node, (after, millis)) in (0u32..).zip(&matrix.builds) {
        let expected = Duration::from_millis(millis * rng.u64(67..150) / 100);
        let after = after.iter().copied().map(NodeId::new).collect();
        schedule.add(Work { node: NodeId::new(node), after, expected, class: class.clone() });
    }
    let mut running: BinaryHeap<Reverse<(u64, NodeId, SlotId)>> = BinaryHeap::new();
    let mut now = 0;
    loop {
        while let Some(placed) = schedule.place(&mut fleet, |_, _| 0) {
            let (_, millis) = &matrix.builds[placed.node.number() as usize];
            running.push(Reverse((now + millis, placed.node, placed.slot)));
        }
        let Some(Reverse((end, node, slot))) = running.pop() else { break };
        now = end;
        schedule.finish(node, End::Made);
        fleet.vacate(slot);
    }
    if !schedule.is_idle() {
        return Err("some work was never done".into());
    }
    Ok(now as f64 / matrix.bound() as f64)
}

/// Builds, each with what it needs and how many milliseconds it takes.
struct Matrix {
    builds: Vec<(Vec<u32>, u64)>,
}

impl Matrix {
    /// A tool chain, libraries on top of it, interpreters and databases with their own libraries, then the cells.
    fn random(rng: &mut fastrand::Rng) -> Self {
        let mut builds: Vec<(Vec<u32>, u64)> = Vec::new();
        for step in 0..8 {
            builds.push((if step == 0 { Vec::new() } else { vec![step - 1] }, rng.u64(2_000..20_000)));
        }
        for (layer, (count, longest)) in
            [(120_u32, 30_000), (60, 120_000), (40, 240_000)].into_iter().enumerate()
        {
            let below = u32::try_from(builds.len()).unwrap_or(u32::MAX);
            for _ in 0..count {
                let needs: BTreeSet<u32> = (0..rng.u32(1..5)).map(|_| rng.u32(7..below)).collect();
                let least = 1_000 * (layer as u64 + 1);
                builds.push((needs.into_iter().collect(), skewed(rng, least, longest)));
            }
        }
        let shared = u32::try_from(builds.len()).unwrap_or(u32::MAX);
        for _ in 0..CELLS {
            let needs: BTreeSet<u32> = (0..rng.u32(2..5)).map(|_| rng.u32(shared - 100..shared)).collect();
            builds.push((needs.into_iter().collect(), skewed(rng, 5_000, 600_000)));
        }
        Self { builds }
    }

    /// The milliseconds that no schedule can beat.
    fn bound(&self) -> u64 {
        let work: u64 = self.builds.iter().map(|(_, millis)| millis).sum();
        let mut paths: Vec<u64> = Vec::with_capacity(self.builds.len());
        for (needs, millis) in &self.builds {
            let before = needs.iter().map(|need| paths[*need as usize]).max().unwrap_or(0);
            paths.push(before + millis);
        }
        let longest = paths.into_iter().max().unwrap_or(0);
        longest.max(work.div_ceil(u64::from(BUILDERS) * 4)).max(1)
    }
}

/// Most are short, a few are very long.
fn skewed(rng: &mut fastrand::Rng, least: u64, most: u64) -> u64 {
    let extra = Duration::from_millis(most - least).mul_f64(rng.f64().powi(5));
    least + u64::try_from(extra.as_millis()).unwrap_or(u64::MAX)
}
