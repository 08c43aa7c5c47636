//! The loop that keeps the fleet as the policy wants it: reads everything, decides, acts, and begins again.

mod act;
mod survey;
mod turn;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Fleet, Pool, state, sweep::Looks};
use crate::{
    clock::Timestamp,
    config::{PoolName, PoolSettings},
    db::{MachineChange, MachineRecord},
    engine::error::EngineError,
    ids::{FarmId, MachineId},
    lifecycle::InstanceId,
    schedule::{FleetState, cost::Spent, decide, wind_down},
    task::TaskSet,
};

/// How often the fleet is looked at without a reason.
const ROUND: Duration = Duration::from_secs(1);
/// The shortest time between two looks.
const BREATH: Duration = Duration::from_millis(200);
/// How often spending is added up.
const COUNT_MONEY: Duration = Duration::from_secs(10);
/// The window of the longest budget, in milliseconds.
const MONTH_MILLIS: u64 = 30 * 86_400 * 1000;
/// Looks that a single sweep takes: one to see, one to be sure, one to see that it is over.
const ENOUGH: u32 = 3;

/// What the process means to do with its machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Launch for demand, end what is idle.
    Work,
    /// End them all; nobody stays.
    WindDown,
}

/// A task of the keeper that has ended.
enum Done {
    Launched(MachineId, Result<(), EngineError>),
    Tended(MachineId, Result<(), EngineError>),
    Acted(MachineId, Result<(), EngineError>),
}

/// The state of the loop. All of it can be made anew from the records and the providers.
pub(super) struct Keeper {
    fleet: Arc<Fleet>,
    farm: FarmId,
    stop: CancellationToken,
    tasks: TaskSet<Done>,
    launching: HashSet<MachineId>,
    tended: HashMap<MachineId, CancellationToken>,
    acting: HashSet<MachineId>,
    /// When a machine may be acted upon again, and the pause after that.
    pauses: HashMap<MachineId, (Instant, Duration)>,
    looks: Looks,
    swept: Option<Instant>,
    spent: BTreeMap<PoolName, Spent>,
    counted: Option<Instant>,
    said: HashMap<PoolName, String>,
    sweeps: u32,
    orphans: HashSet<InstanceId>,
}

impl Keeper {
    pub(super) fn new(fleet: Arc<Fleet>, farm: FarmId, stop: CancellationToken) -> Self {
        Self {
            fleet,
            farm,
            tasks: TaskSet::new("fleet", stop.clone()),
            stop,
            launching: HashSet::new(),
            tended: HashMap::new(),
            acting: HashSet::new(),
            pauses: HashMap::new(),
            looks: Looks::default(),
            swept: None,
            spent: BTreeMap::new(),
            counted: None,
            said: HashMap::new(),
            sweeps: 0,
            orphans: HashSet::new(),
        }
    }

    /// Whether providers were asked often enough to be sure of what they have.
    pub(super) fn looked_twice(&self) -> bool {
        self.sweeps >= ENOUGH
    }

    /// How many instances without a record were ended.
    pub(super) fn orphans(&self) -> u64 {
        self.orphans.len() as u64
    }

    /// Keeps the fleet until told to stop.
    pub(super) async fn run(
        mut self,
        intent: tokio::sync::watch::Receiver<Intent>,
    ) -> Result<(), EngineError> {
        let mut changes = self.fleet.yard.changes();
        let mut asked = intent.clone();
        loop {
            let wanted = *intent.borrow();
            self.round(wanted).await?;
            tokio::select! {
                () = tokio::time::sleep(BREATH) => {}
                () = self.stop.cancelled() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                moved = changes.changed() => if moved.is_err() { break },
                moved = asked.changed() => if moved.is_err() { break },
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => self.take_back(done?)?,
                () = self.stop.cancelled() => break,
            }
        }
        self.finish().await
    }

    /// One look at everything, and what follows from it. Public to the fleet for a single sweep.
    pub(super) async fn round(&mut self, intent: Intent) -> Result<(), EngineError> {
        self.sweep().await?;
        self.count_money().await?;
        let records: Vec<MachineRecord> = self.mine(self.fleet.db.machine_list().await?);
        let state = self.state(&records);
        let settings = self.pools(&records, intent);
        let demand = self.fleet.yard.demands();
        let now = self.fleet.clock.now();
        let actions = match intent {
            Intent::Work => decide(&state, &demand, &settings, &self.fleet.settings, now),
            Intent::WindDown => self.keep_warm(wind_down(&state), &state),
        };
        let has_acted = !actions.is_empty();
        for action in actions {
            self.act(action).await?;
        }
        let names = records.iter().map(|record| (record.id, record.name.clone())).collect();
        self.fleet.set_seen(super::Seen { state: state.clone(), pools: settings, names });
        let (records, state) = if has_acted {
            let records = self.mine(self.fleet.db.machine_list().await?);
            let state = self.state(&records);
            (records, state)
        } else {
            (records, state)
        };
        for (record, machine) in records.iter().zip(&state.machines) {
            self.look_after(record, machine, &state);
        }
        while let Some(done) = self.tasks.try_join_next() {
            self.take_back(done?)?;
        }
        Ok(())
    }

    /// The machines that this process looks after, and the builders that are always there.
    fn mine(&self, records: Vec<MachineRecord>) -> Vec<MachineRecord> {
        let own = Some(self.fleet.owner.id());
        let statics = &self.fleet.statics();
        records
            .into_iter()
            .filter(|r| (r.pool.is_some() && r.owner == own) || statics.contains_key(&r.id))
            .collect()
    }

    fn state(&self, records: &[MachineRecord]) -> FleetState {
        let dormancy = self.fleet.pools.iter().filter(|(_, pool)| pool.provider.dormancy().is_some());
        FleetState {
            machines: state::machines(records, &self.fleet.yard),
            memory: self.fleet.memory().clone(),
            spent: self.spent.clone(),
            probation: self.fleet.yard.probation(),
            dormancy: dormancy.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The pools as this process may use them. Other processes' machines count against the most; nothing is kept
    /// without work by a process that does not stay.
    fn pools(&self, _mine: &[MachineRecord], _intent: Intent) -> Vec<PoolSettings> {
        let settings = self.fleet.pools.values().map(|pool| pool.settings.clone());
        settings.map(|settings| PoolSettings { min: 0, ..settings }).collect()
    }
    async fn change(&self, machine: MachineId, change: MachineChange) -> Result<(), EngineError> {
        self.fleet.db.machine_change(machine, change).await?;
        Ok(())
    }

    fn pool_of(&self, record: &MachineRecord) -> Option<Pool> {
        let name: PoolName = record.pool.as_ref()?.parse().ok()?;
        self.fleet.pools.get(&name).cloned()
    }
    fn take_back(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Launched(machine, result) => {
                self.launching.remove(&machine);
                self.swept = None;
                result?;
            }
            Done::Tended(machine, result) => {
                self.tended.remove(&machine);
                result?;
            }
            Done::Acted(machine, result) => {
                self.acting.remove(&machine);
                self.swept = None;
                result?;
            }
        }
        Ok(())
    }

    /// Tells tenders to stop and waits for all that is under way.
    pub(super) async fn finish(mut self) -> Result<(), EngineError> {
        self.stop.cancel();
        while let Some(done) = self.tasks.join_next().await {
            self.take_back(done?)?;
        }
        Ok(())
    }

    async fn count_money(&mut self) -> Result<(), EngineError> {
        let has_budget =
            |pool: &Pool| pool.settings.budget_day.is_some() || pool.settings.budget_month.is_some();
        let is_due = self.counted.is_none_or(|at| at.elapsed() >= COUNT_MONEY);
        if is_due && self.fleet.pools.values().any(has_budget) {
            let now = self.fleet.clock.now();
            let since = Timestamp::from_millis(now.as_millis().saturating_sub(MONTH_MILLIS));
            self.spent = state::spending(self.fleet.db.machine_lives(since).await?, now);
            self.counted = Some(Instant::now());
        }
        Ok(())
    }
}
