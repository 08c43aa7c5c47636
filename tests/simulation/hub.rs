//! A hub that does what the engine's loops do: read all, decide, act. Its records survive it, all else does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use croft::{
    clock::Timestamp,
    config::{FleetSettings, PoolName, PoolSettings},
    ids::MachineId,
    lifecycle::{Hold, Seen, Shape, Wanted},
    matrix::Resources,
    plan::Offer,
    schedule::{
        BuilderView, Demand, Faults, FleetAction, FleetState, FleetView, LaunchMemory, MachineState,
        Schedule, budget_until,
        cost::{Money, UpTime, spent},
        decide,
    },
};

use super::{
    runs::{Attempt, Run},
    scenario::{MINUTE, Scenario},
};

/// The decisions, or a mutant of them.
pub(crate) type Policy =
    fn(&FleetState, &Demand, &[PoolSettings], &FleetSettings, Timestamp) -> Vec<FleetAction>;

/// What the loops around the decisions do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slip {
    Nothing,
    /// An instance that is not listed is taken to be gone, even if it may be too young to be shown.
    KillsTheYoung,
    /// An instance that a list lacks is not asked for by itself.
    BelievesEveryList,
    /// A machine is ended although something runs there.
    EndsWhatBuilds,
    /// Work of a lost machine does not go back to the queue.
    LosesWork,
    /// An unclear launch is repeated with another id.
    TwoIds,
    /// An infrastructure failure is told as a verdict.
    TakesInfraForAVerdict,
}

/// The record of a machine.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) state: MachineState,
    /// Whether the provider has told of it.
    pub(crate) is_known: bool,
    /// When it was last ordered.
    pub(crate) ordered: u64,
    /// Lists in a row that lacked it.
    pub(crate) missing: u32,
    pub(crate) up: Vec<UpTime>,
    pub(crate) gone: Option<u64>,
}

/// The hub.
pub(crate) struct Hub {
    pub(crate) pools: Vec<PoolSettings>,
    pub(crate) fleet: FleetSettings,
    pub(crate) policy: Policy,
    pub(crate) slip: Slip,
    // The record.
    pub(crate) rows: BTreeMap<MachineId, Row>,
    pub(crate) runs: Vec<Run>,
    pub(crate) last_id: u64,
    pub(crate) dormancy: bool,
    /// Builders that are always there, and whether they are broken.
    pub(crate) broken: BTreeMap<MachineId, bool>,
    // What dies with the process.
    pub(crate) view: FleetView,
    pub(crate) memory: LaunchMemory,
    pub(crate) faults: Faults,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) strangers: BTreeMap<MachineId, u32>,
    /// What the seed's story is, when it is told.
    pub(crate) trace: Option<Vec<String>>,
    /// Each kind of thing that has happened.
    pub(crate) done: BTreeSet<&'static str>,
    /// The first thing that was wrong.
    pub(crate) wrong: Option<String>,
}

/// The moment `millis` after the beginning.
pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

impl Hub {
    pub(crate) fn new(scenario: &Scenario, policy: Policy, slip: Slip) -> Self {
        let runs = scenario.runs.iter().cloned().enumerate().map(|(number, plan)| Run::new(plan, number));
        let mut hub = Self {
            pools: scenario.pools.clone(),
            fleet: scenario.fleet.clone(),
            policy,
            slip,
            rows: BTreeMap::new(),
            runs: runs.collect(),
            last_id: 0,
            dormancy: scenario.dormancy,
            broken: BTreeMap::new(),
            view: FleetView::default(),
            memory: LaunchMemory::default(),
            faults: Faults::default(),
            attempts: Vec::new(),
            strangers: BTreeMap::new(),
            trace: None,
            done: BTreeSet::new(),
            wrong: None,
        };
        for is_broken in &scenario.builders {
            let id = hub.new_id();
            hub.broken.insert(id, *is_broken);
            let mut row = new_row(id, None, None, 0, Money::ZERO);
            row.state.seen = Seen::Ready;
            row.state.joined = Some(at(0));
            hub.rows.insert(id, row);
        }
        hub
    }

    pub(crate) fn new_id(&mut self) -> MachineId {
        self.last_id += 1;
        format!("00000000-0000-7000-8000-{:012x}", self.last_id).parse().expect("an id")
    }

    pub(crate) fn tell(&mut self, words: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(words());
        }
    }

    pub(crate) fn accuse(&mut self, words: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(words());
        }
    }

    /// The process dies, and another one begins with the record. What ran is ended with its connections.
    pub(crate) fn die(&mut self, now: u64) {
        self.tell(|| "the hub dies, and another begins".to_owned());
        self.view = FleetView::default();
        self.memory = LaunchMemory::default();
        // What the record still tells of the last minute.
        for row in self.rows.values().filter(|row| row.state.pool.is_some() && row.ordered + MINUTE > now) {
            self.memory.ordered(at(row.ordered));
        }
        self.faults = Faults::default();
        self.attempts.clear();
        self.strangers.clear();
        for run in &mut self.runs {
            run.reload();
        }
        for row in self.rows.values_mut() {
            row.missing = 0;
            row.state.running = 0;
            row.state.infra_in_a_row = 0;
        }
    }

    /// The state that the policy sees.
    pub(crate) fn state(&mut self, now: u64) -> FleetState {
        let mut state = FleetState {
            machines: Vec::new(),
            memory: self.memory.clone(),
            spent: BTreeMap::new(),
            probation: self.faults.probation(at(now)),
            dormancy: BTreeSet::new(),
        };
        for row in self.rows.values_mut().filter(|row| row.gone.is_none()) {
            row.state.running = self.view.running(row.state.id);
            row.state.infra_in_a_row = self.faults.in_a_row(row.state.id);
            let is_idle = row.state.running == 0 && row.state.seen == Seen::Ready;
            row.state.idle_since = is_idle.then(|| row.state.idle_since.unwrap_or(at(now)));
            state.machines.push(row.state.clone());
        }
        for pool in &self.pools {
            if pool.budget_day.is_some() {
                let lives = self.rows.values().filter(|row| row.state.pool.as_ref() == Some(&pool.name));
                state.spent.insert(pool.name.clone(), spent(lives.flat_map(|row| &row.up), at(now)));
            }
            if self.dormancy {
                state.dormancy.insert(pool.name.clone());
            }
        }
        state
    }

    /// Tells the view of builders what the rows say.
    pub(crate) fn show_builders(&mut self, now: u64) {
        let state = self.state(now);
        if state.probation.is_some() {
            self.done.insert("probation");
        }
        self.view.set_probation(state.probation.clone());
        for machine in &state.machines {
            let pool = self.pools.iter().find(|pool| machine.pool.as_ref() == Some(&pool.name));
            let budget = pool.and_then(|pool| budget_until(pool, &state, at(now)));
            if budget.is_some() {
                self.done.insert("budget");
            }
            let standing = machine.standing(&self.fleet, budget);
            match self.view.builder(machine.id) {
                Some(known) if known.standing == standing => {}
                Some(_) => self.view.set_standing(machine.id, standing),
                None if machine.seen == Seen::Ready => self.view.put(BuilderView {
                    id: machine.id,
                    pool: machine.pool.clone(),
                    offer: Arc::new(offer(pool)),
                    slots: pool.map_or(1, |pool| pool.slots),
                    speed: 1.0,
                    standing,
                    free_disk: None,
                }),
                None => {}
            }
        }
    }

    /// Decides, once the free slots are filled.
    pub(crate) fn decide(&mut self, now: u64) -> Vec<FleetAction> {
        let state = self.state(now);
        let schedules = self.runs.iter().map(|run| &run.schedule);
        let demand = Demand::of_all(schedules.collect::<Vec<&Schedule>>(), &self.view);
        (self.policy)(&state, &demand, &self.pools, &self.fleet, at(now))
    }

    pub(crate) fn see(&mut self, id: MachineId, seen: Seen, now: u64) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let before = row.state.seen;
        if before == seen {
            return;
        }
        if let Err(error) = before.move_to(seen) {
            self.accuse(|| error.to_string());
            return;
        }
        row.state.seen = seen;
        row.state.seen_since = at(now);
        match seen {
            Seen::Ready => {
                row.state.joined = row.state.joined.or(Some(at(now)));
                if before == Seen::Booting
                    && let (Some(pool), Some(shape)) = (&row.state.pool, &row.state.shape)
                {
                    self.memory.joined(pool, shape);
                }
            }
            Seen::Gone => {
                row.gone = Some(now);
                self.view.remove(id);
                self.faults.forget(id);
            }
            Seen::Requested | Seen::Booting | Seen::Unreachable | Seen::Dormant => {}
        }
        if matches!(seen, Seen::Gone | Seen::Dormant)
            && let Some(life) = self.rows.get_mut(&id).and_then(|row| row.up.last_mut())
        {
            life.to = life.to.or(Some(at(now)));
        }
        self.tell(|| format!("{now}: machine {id} is seen {}", seen.word()));
    }

    pub(crate) fn want(&mut self, id: MachineId, wanted: Wanted, now: u64) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        match row.state.wanted.move_to(wanted) {
            Ok(wanted) => {
                row.state.wanted = wanted;
                row.state.wanted_since = at(now);
            }
            Err(error) => self.accuse(|| error.to_string()),
        }
    }

    pub(crate) fn hold(&mut self, id: MachineId, hold: Option<Hold>) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.state.hold = hold;
        }
    }
}

pub(crate) fn new_row(
    id: MachineId,
    pool: Option<PoolName>,
    shape: Option<Shape>,
    now: u64,
    price: Money,
) -> Row {
    let up = if pool.is_some() { vec![UpTime { price, from: at(now), to: None }] } else { Vec::new() };
    let state = MachineState {
        id,
        pool,
        shape,
        replaces: None,
        wanted: Wanted::Up,
        wanted_since: at(now),
        seen: Seen::Requested,
        seen_since: at(now),
        requested: at(now),
        joined: None,
        idle_since: None,
        running: 0,
        builds: 0,
        infra_in_a_row: 0,
        hold: None,
        unfit: None,
        interrupted: false,
        price,
    };
    Row { state, is_known: false, ordered: now, missing: 0, up, gone: None }
}

fn offer(pool: Option<&PoolSettings>) -> Offer {
    let capacity =
        Resources { memory: Some(pool.and_then(|pool| pool.memory).unwrap_or(4000)), ..Resources::default() };
    Offer {
        systems: BTreeSet::from(["x86_64-linux".parse().expect("a system")]),
        features: pool.map(|pool| pool.features.iter().cloned().collect()).unwrap_or_default(),
        mandatory: BTreeSet::new(),
        capacity,
    }
}

/// The policy that is shipped.
pub(crate) const SHIPPED: Policy = decide;
