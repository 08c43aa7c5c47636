//! The loop that keeps the fleet as the policy wants it: reads everything, decides, acts, and begins again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Fleet, Pool,
    launch::{self, Launch},
    state,
    sweep::{Finding, Looks, View, compare},
    tend::{Charge, tend},
};
use crate::{
    clock::Timestamp,
    config::{PoolName, PoolSettings},
    db::{MachineChange, MachineRecord},
    engine::error::EngineError,
    fleet::{Class, Instance, InstanceState, ProviderError},
    ids::{FarmId, MachineId},
    lifecycle::{EndReason, Hold, InstanceId, Seen, Wanted},
    schedule::{FleetAction, FleetState, MachineState, cost::Spent, decide, may_end, wind_down},
    task::TaskSet,
};

/// How often the fleet is looked at without a reason.
const ROUND: Duration = Duration::from_secs(1);
/// The shortest time between two looks.
const BREATH: Duration = Duration::from_millis(200);
/// How often providers are asked what they have while something is on its way,
const SWEEP_BUSY: Duration = Duration::from_secs(2);
/// and while nothing is.
const SWEEP_CALM: Duration = Duration::from_secs(15);
/// How often spending is added up.
const COUNT_MONEY: Duration = Duration::from_secs(10);
/// The window of the longest budget, in milliseconds.
const MONTH_MILLIS: u64 = 30 * 86_400 * 1000;
/// Looks that a single sweep takes: one to see, one to be sure, one to see that it is over.
const ENOUGH: u32 = 3;
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
    spent: std::collections::BTreeMap<PoolName, Spent>,
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
            spent: std::collections::BTreeMap::new(),
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

    /// Puts machines to sleep instead of ending them, as many as their pools keep warm for the next process.
    fn keep_warm(&self, actions: Vec<FleetAction>, state: &FleetState) -> Vec<FleetAction> {
        let mut warm: HashMap<&PoolName, u32> = HashMap::new();
        let of = |id: MachineId| state.machines.iter().find(|machine| machine.id == id);
        let mut turned = Vec::new();
        for action in actions {
            let FleetAction::End { machine: id, .. } = &action else {
                turned.push(action);
                continue;
            };
            let machine = of(*id);
            let name = machine.and_then(|machine| machine.pool.as_ref());
            let kept = name.filter(|name| state.dormancy.contains(*name)).and_then(|name| {
                let most = self.fleet.pools.get(name)?.settings.warm;
                let kept = warm.entry(name).or_default();
                (*kept < most && machine.is_some_and(may_sleep)).then(|| *kept += 1)
            });
            match (kept, machine.map(|machine| machine.wanted)) {
                (None, _) => turned.push(action),
                (Some(()), Some(Wanted::Dormant)) => {}
                (Some(()), _) => turned.push(FleetAction::Sleep { machine: *id }),
            }
        }
        turned
    }

    async fn act(&mut self, action: FleetAction) -> Result<(), EngineError> {
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
                self.remember(machine, &reason).await?;
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

    /// Keeps in mind which ways of launching do not lead to a machine that joins, with what its console says.
    async fn remember(&mut self, machine: MachineId, reason: &EndReason) -> Result<(), EngineError> {
        match reason {
            EndReason::NeverJoined(_) | EndReason::Refused(_) => {}
            EndReason::Idle
            | EndReason::RunOver
            | EndReason::Age
            | EndReason::Builds
            | EndReason::LaunchFailed(_)
            | EndReason::Unhealthy(_)
            | EndReason::Lost(_)
            | EndReason::Interrupted
            | EndReason::EndedByProvider(_)
            | EndReason::Operator
            | EndReason::Orphan
            | EndReason::PoolRemoved => return Ok(()),
        }
        let all = self.fleet.db.machine_list().await?;
        let Some(record) = all.into_iter().find(|record| record.id == machine) else { return Ok(()) };
        let Some(pool) = self.pool_of(&record) else { return Ok(()) };
        if let Some(shape) = &record.shape {
            self.fleet.boot_failed(&pool.settings.name, shape);
        }
        if let Some(instance) = &record.instance
            && let Ok(console) = pool.provider.console(instance).await
        {
            let words = String::from_utf8_lossy(&console);
            let last: Vec<&str> = words.lines().rev().take(20).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            self.fleet.db.machine_event_add(machine, "console", last.join(" | ")).await?;
        }
        Ok(())
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
        self.tasks.spawn(async move { Done::Acted(id, perform(&fleet, &pool, id, &instance, turn).await) });
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

    /// Asks all providers what they have, and draws the conclusions.
    async fn sweep(&mut self) -> Result<(), EngineError> {
        if self.fleet.pools.is_empty() {
            return Ok(());
        }
        let every = if self.is_busy().await? { SWEEP_BUSY } else { SWEEP_CALM };
        if self.swept.is_some_and(|at| at.elapsed() < every) {
            return Ok(());
        }
        let (instances, whole) = self.list().await?;
        let records = self.fleet.db.machine_list().await?;
        let findings = compare(
            &View {
                instances: &instances,
                records: &records,
                is_whole: &|pool| whole.contains(pool),
                launching: &self.launching,
                now: self.fleet.clock.now(),
            },
            &mut self.looks,
        );
        for finding in findings {
            self.conclude(finding, &records).await?;
        }
        self.swept = Some(Instant::now());
        self.sweeps = self.sweeps.saturating_add(1);
        Ok(())
    }

    /// Whether a machine is on its way in or out, so that looking often is worth it.
    async fn is_busy(&self) -> Result<bool, EngineError> {
        let on_way = |record: &MachineRecord| match (record.wanted, record.seen) {
            (Wanted::Up, Seen::Ready) | (Wanted::Dormant, Seen::Dormant) => false,
            (Wanted::Up | Wanted::Dormant | Wanted::Gone, _) => record.pool.is_some(),
        };
        Ok(self.fleet.db.machine_list().await?.iter().any(on_way))
    }

    /// All instances of the providers that give a whole list, and the pools of those.
    async fn list(&mut self) -> Result<(Vec<Instance>, HashSet<String>), EngineError> {
        let mut all: HashMap<InstanceId, Instance> = HashMap::new();
        let mut whole = HashSet::new();
        for (name, pool) in &self.fleet.pools {
            match pool.provider.list().await {
                Ok(instances) => {
                    all.extend(instances.into_iter().map(|instance| (instance.id.clone(), instance)));
                    whole.insert(name.to_string());
                    self.said.remove(name);
                }
                Err(error) => {
                    let words = error.to_string();
                    if self.said.get(name) != Some(&words) {
                        tracing::warn!(pool = %name, %words, "the machines of the pool cannot be listed; nothing is concluded");
                        self.said.insert(name.clone(), words);
                    }
                }
            }
        }
        Ok((all.into_values().collect(), whole))
    }

    async fn conclude(&mut self, finding: Finding, records: &[MachineRecord]) -> Result<(), EngineError> {
        match finding {
            Finding::Launched(machine, instance) => {
                self.change(machine, MachineChange::Launched { instance }).await
            }
            Finding::Reachable(machine, reach) => self.change(machine, MachineChange::Reachable(reach)).await,
            Finding::Seen(machine, Seen::Gone) => self.gone(machine).await,
            Finding::Seen(machine, seen) => {
                self.pauses.remove(&machine);
                self.change(machine, MachineChange::Seen(seen)).await
            }
            Finding::Ended(machine, reason) => {
                // Whatever still runs there ends for no fault of its own.
                self.fleet.yard.interrupt(machine);
                self.change(machine, MachineChange::End(reason)).await
            }
            Finding::Missing(machine, reason) => self.look_closer(machine, reason, records).await,
            Finding::Interrupted(machine) => {
                self.fleet.yard.interrupt(machine);
                self.change(machine, MachineChange::Interrupted).await
            }
            Finding::Orphan(instance, machine) => self.end_orphan(&instance, machine, records).await,
        }
    }

    /// A machine that was not listed is gone only if its provider says so when asked about it.
    async fn look_closer(
        &mut self,
        machine: MachineId,
        reason: EndReason,
        records: &[MachineRecord],
    ) -> Result<(), EngineError> {
        let Some(record) = records.iter().find(|record| record.id == machine) else { return Ok(()) };
        if let (Some(pool), Some(instance)) = (self.pool_of(record), &record.instance) {
            match pool.provider.get(instance).await {
                Ok(seen) if seen.state != InstanceState::Gone => return Ok(()),
                Err(error) if error.class != Class::Gone => return Ok(()),
                Ok(_) | Err(_) => {}
            }
        }
        self.fleet.yard.interrupt(machine);
        self.change(machine, MachineChange::End(reason)).await?;
        self.gone(machine).await
    }

    async fn gone(&mut self, machine: MachineId) -> Result<(), EngineError> {
        if let Some(tender) = self.tended.get(&machine) {
            tender.cancel();
        }
        self.change(machine, MachineChange::Seen(Seen::Gone)).await?;
        self.fleet.yard.forget(machine);
        self.pauses.remove(&machine);
        Ok(())
    }

    /// Ends an instance that no record wants.
    async fn end_orphan(
        &mut self,
        instance: &InstanceId,
        machine: Option<MachineId>,
        records: &[MachineRecord],
    ) -> Result<(), EngineError> {
        tracing::warn!(%instance, "an instance of this farm has no record; it is ended");
        debug_assert!(machine.is_none_or(|id| records.iter().all(|record| record.id != id)));
        for pool in self.fleet.pools.values() {
            match pool.provider.terminate(instance).await {
                Ok(()) => {
                    self.orphans.insert(instance.clone());
                    return Ok(());
                }
                // Another provider's, or it is tried again at the next look.
                Err(error) => tracing::debug!(%instance, %error, "the orphan is not ended yet"),
            }
        }
        Ok(())
    }
}

/// Whether a machine is worth keeping.
fn may_sleep(machine: &MachineState) -> bool {
    let is_up = matches!(machine.seen, Seen::Ready | Seen::Dormant);
    is_up && !machine.interrupted && machine.unfit.is_none() && machine.hold.is_none()
}

/// What a provider is asked to do with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Start,
    Stop,
    Terminate,
}

async fn perform(
    fleet: &Fleet,
    pool: &Pool,
    machine: MachineId,
    instance: &InstanceId,
    turn: Turn,
) -> Result<(), EngineError> {
    let done = match (turn, pool.provider.dormancy()) {
        (Turn::Terminate, _) => pool.provider.terminate(instance).await,
        (Turn::Stop, Some(dormancy)) => dormancy.stop(instance).await,
        (Turn::Start, Some(dormancy)) => dormancy.start(instance).await,
        (Turn::Stop | Turn::Start, None) => {
            Err(ProviderError::new(Class::Invalid, "stopping", "the provider keeps no machines stopped"))
        }
    };
    match done {
        Ok(()) => Ok(()),
        Err(error) if error.class == Class::Gone => {
            let end = EndReason::EndedByProvider("it was gone already".to_owned());
            fleet.db.machine_change(machine, MachineChange::End(end)).await?;
            fleet.db.machine_change(machine, MachineChange::Seen(Seen::Gone)).await?;
            Ok(())
        }
        Err(error) => {
            fleet.db.machine_event_add(machine, "not yet", error.to_string()).await?;
            Ok(())
        }
    }
}
