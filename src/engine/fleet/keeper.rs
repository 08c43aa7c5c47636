//! The loop that keeps the fleet as the policy wants it: reads everything, decides, acts, and begins again.

mod conclude;
mod warm;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Fleet, Pool,
    launch::{self, Launch},
    lookout::Lookout,
    state,
    tend::{Charge, tend},
    turn::{Turn, perform},
};
use crate::{
    clock::Timestamp,
    config::{PoolName, PoolSettings},
    db::{MachineChange, MachineRecord},
    engine::error::EngineError,
    fleet::{Instance, ProviderError},
    ids::{FarmId, MachineId},
    lifecycle::{EndReason, Hold, InstanceId, Seen, Wanted},
    schedule::{
        FleetAction, FleetState, MachineState, cost::Spent, decide, may_end, wind_down,
        with_newcomers_awaited,
    },
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
/// The first and the longest pause between two tries to end, stop or start a machine.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

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
    Listed(PoolName, Result<Vec<Instance>, ProviderError>),
    /// Somebody asked about a machine that was not listed. A reason, if it is gone.
    Asked(MachineId, Option<EndReason>),
    OrphanEnded(InstanceId, Result<(), ProviderError>),
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
    lookout: Lookout,
    /// Machines that a provider is asked about,
    asked: HashSet<MachineId>,
    /// and those that it has lost.
    lost: Vec<(MachineId, EndReason)>,
    /// Instances without a record that are being ended,
    ending: HashSet<InstanceId>,
    /// and those that were.
    orphans: HashSet<InstanceId>,
    spent: BTreeMap<PoolName, Spent>,
    counted: Option<Instant>,
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
            lookout: Lookout::default(),
            asked: HashSet::new(),
            lost: Vec::new(),
            ending: HashSet::new(),
            orphans: HashSet::new(),
            spent: BTreeMap::new(),
            counted: None,
        }
    }

    /// What providers have said.
    pub(super) fn lookout(&self) -> &Lookout {
        &self.lookout
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
        while let Some(done) = self.tasks.try_join_next() {
            self.take_back(done?)?;
        }
        let mut records = self.fleet.db.machine_list().await?;
        if self.conclude_all(&records).await? {
            records = self.fleet.db.machine_list().await?;
        }
        self.count_money().await?;
        let mut mine = self.mine(records);
        self.ask(&mine, intent);
        let mut state = self.state(&mine);
        let settings = self.pools();
        let demand = self.fleet.yard.demands();
        let now = self.fleet.clock.now();
        let actions = match intent {
            Intent::Work => {
                decide(&with_newcomers_awaited(&state, now), &demand, &settings, &self.fleet.settings, now)
            }
            Intent::WindDown => self.keep_warm(wind_down(&state), &state),
        };
        let names = mine.iter().map(|record| (record.id, record.name.clone())).collect();
        let has_acted = !actions.is_empty();
        for action in actions {
            self.act(action, &mine).await?;
        }
        self.fleet.set_seen(super::Seen { state: state.clone(), pools: settings, names });
        if has_acted {
            mine = self.mine(self.fleet.db.machine_list().await?);
            state = self.state(&mine);
        }
        for (record, machine) in mine.iter().zip(&state.machines) {
            self.look_after(record, machine, &state);
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
    fn pools(&self) -> Vec<PoolSettings> {
        let settings = self.fleet.pools.values().map(|pool| pool.settings.clone());
        settings.map(|settings| PoolSettings { min: 0, ..settings }).collect()
    }

    async fn act(&mut self, action: FleetAction, records: &[MachineRecord]) -> Result<(), EngineError> {
        match action {
            FleetAction::Launch { pool, shape, reason } => {
                let Some(pool) = self.fleet.pools.get(&pool).cloned() else { return Ok(()) };
                let launch = Launch { farm: self.farm, pool: pool.clone(), shape, reason };
                let Some(order) = launch::intend(&self.fleet, &launch).await? else { return Ok(()) };
                self.fleet.memory().ordered(self.fleet.clock.now());
                let (fleet, machine, stop) = (Arc::clone(&self.fleet), order.machine, self.stop.clone());
                self.launching.insert(machine);
                self.tasks.spawn(async move {
                    Done::Launched(machine, launch::order(fleet, pool, order, stop).await)
                });
            }
            FleetAction::Wake { machine } => self.change(machine, MachineChange::Wake).await?,
            FleetAction::Sleep { machine } => self.change(machine, MachineChange::Sleep).await?,
            FleetAction::End { machine, reason } => {
                self.remember(machine, &reason, records);
                self.change(machine, MachineChange::End(reason)).await?;
            }
            FleetAction::Quarantine { machine, until, why } => {
                let hold = Hold::Quarantine { why, until: Some(until) };
                self.change(machine, MachineChange::Hold(Some(hold))).await?;
            }
            FleetAction::Release { machine } => {
                self.fleet.yard.released(machine, self.fleet.settings.quarantine_after);
                self.change(machine, MachineChange::Hold(None)).await?;
            }
        }
        Ok(())
    }

    /// Keeps in mind which ways of launching do not lead to a machine that joins.
    fn remember(&self, machine: MachineId, reason: &EndReason, records: &[MachineRecord]) {
        if !reason.is_failed_boot() {
            return;
        }
        let Some(record) = records.iter().find(|record| record.id == machine) else { return };
        if let (Some(pool), Some(shape)) = (self.pool_of(record), &record.shape) {
            self.fleet.boot_failed(&pool.settings.name, shape);
        }
    }

    async fn change(&self, machine: MachineId, change: MachineChange) -> Result<(), EngineError> {
        self.fleet.db.machine_change(machine, change).await?;
        Ok(())
    }

    fn pool_of(&self, record: &MachineRecord) -> Option<Pool> {
        let name: PoolName = record.pool.as_ref()?.parse().ok()?;
        self.fleet.pools.get(&name).cloned()
    }

    /// Brings one machine nearer to what is wanted of it.
    fn look_after(&mut self, record: &MachineRecord, machine: &MachineState, state: &FleetState) {
        let budget = self.fleet.budget_until(record, state);
        self.fleet.yard.stand(record.id, machine.standing(&self.fleet.settings, budget));
        match (record.wanted, record.seen) {
            (Wanted::Up, Seen::Booting | Seen::Ready | Seen::Unreachable) => self.tend(record),
            (Wanted::Up, Seen::Dormant) => self.turn(record, Turn::Start),
            (Wanted::Dormant, _) if may_end(machine) => self.turn(record, Turn::Stop),
            (Wanted::Gone, _) if may_end(machine) => self.turn(record, Turn::Terminate),
            // A person who ends a machine means now: what runs there is built elsewhere, and that is nobody's fault.
            (Wanted::Gone, seen) if seen != Seen::Gone && record.ending == Some(EndReason::Operator) => {
                self.fleet.yard.interrupt(record.id);
                self.turn(record, Turn::Terminate);
            }
            (Wanted::Up, Seen::Requested | Seen::Gone) | (Wanted::Dormant | Wanted::Gone, _) => {}
        }
    }

    /// Sees to it that somebody tends a machine.
    fn tend(&mut self, record: &MachineRecord) {
        // One that a person must release is not even spoken to.
        let is_barred = matches!(record.hold, Some(Hold::Quarantine { until: None, .. }));
        if is_barred || self.tended.contains_key(&record.id) {
            return;
        }
        let Some(charge) = self.fleet.charge(record) else { return };
        let stop = self.stop.child_token();
        self.tended.insert(record.id, stop.clone());
        self.spawn_tender(charge, stop);
    }

    fn spawn_tender(&mut self, charge: Charge, stop: CancellationToken) {
        let (fleet, id) = (Arc::clone(&self.fleet), charge.id);
        self.tasks
            .spawn(async move { Done::Tended(id, tend(fleet, charge, stop).await.map_err(Into::into)) });
    }

    /// Asks the provider to start, stop or end a machine, unless that is under way or was tried a moment ago.
    fn turn(&mut self, record: &MachineRecord, turn: Turn) {
        if let Some(tender) = self.tended.get(&record.id) {
            tender.cancel();
        }
        let is_resting = self.pauses.get(&record.id).is_some_and(|(until, _)| *until > Instant::now());
        let (Some(pool), Some(instance)) = (self.pool_of(record), record.instance.clone()) else { return };
        if is_resting || self.launching.contains(&record.id) || !self.acting.insert(record.id) {
            return;
        }
        let pause = self.pauses.get(&record.id).map_or(RETRY.0, |(_, pause)| (*pause * 2).min(RETRY.1));
        self.pauses.insert(record.id, (Instant::now() + pause, pause));
        let (fleet, id) = (Arc::clone(&self.fleet), record.id);
        // What its console says is kept once, before it is too late.
        let is_first = pause == RETRY.0;
        let tells = is_first && record.ending.as_ref().is_some_and(EndReason::is_failed_boot);
        let turn = if tells && turn == Turn::Terminate { Turn::TellAndTerminate } else { turn };
        self.tasks.spawn(async move { Done::Acted(id, perform(&fleet, &pool, id, &instance, turn).await) });
    }

    fn take_back(&mut self, done: Done) -> Result<(), EngineError> {
        match done {
            Done::Launched(machine, result) => {
                self.launching.remove(&machine);
                self.lookout.hurry();
                result?;
            }
            Done::Tended(machine, result) => {
                self.tended.remove(&machine);
                result?;
            }
            Done::Acted(machine, result) => {
                self.acting.remove(&machine);
                self.lookout.hurry();
                result?;
            }
            Done::Listed(pool, answer) => self.lookout.answered(pool, answer),
            Done::Asked(machine, reason) => {
                self.asked.remove(&machine);
                self.lost.extend(reason.map(|reason| (machine, reason)));
            }
            Done::OrphanEnded(instance, result) => {
                self.ending.remove(&instance);
                match result {
                    Ok(()) => {
                        self.orphans.insert(instance);
                    }
                    Err(error) => tracing::warn!(%instance, %error, "it is not ended yet"),
                }
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
