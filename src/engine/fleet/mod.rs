//! The machines of a farm: launched for demand, watched, quarantined, replaced and ended without anybody's help.
//!
//! Three loops, and none takes input: [`keeper`] reads everything, asks the pure policy and acts; [`sweep`] compares
//! what providers have with what is on record, both ways; [`tend`] looks after one machine from its first answer to
//! its last. What they learn goes to the database and to the [`yard`], where dispatchers find builders.

mod identity;
mod keeper;
mod launch;
mod lookout;
mod record;
mod seat;
mod state;
mod stay;
mod sweep;
mod tend;
mod turn;
mod yard;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::error::EngineError;
use crate::{
    clock::{SharedClock, Timestamp},
    config::{FleetSettings, PoolName, PoolSettings},
    db::{Db, MachineRecord, OwnerGuard},
    fleet::{Class, InstanceState, MachineProvider, Reach, Shape},
    ids::MachineId,
    plan::Offer,
    remote::{
        Builder, BuilderCache, FarSettings, HealthSettings, HostKey, Identity, Notice, SshTarget, SshWay,
    },
    schedule::{
        FleetState, LaunchFault, LaunchMemory, budget_until,
        cost::{Money, estimate},
        offer as offer_of_pool,
    },
};
use lookout::in_time;
use tend::Charge;

pub use identity::{FarmKey, IdentityError};
pub(in crate::engine) use seat::Seat;
pub use stay::Stay;
pub(in crate::engine) use yard::Yard;

/// A builder that is always there.
#[derive(Debug, Clone)]
pub struct StaticBuilder {
    /// Its name.
    pub name: String,
    /// The way to it.
    pub builder: Builder,
    /// What it offers.
    pub offer: Offer,
    /// How fast it is beside the others.
    pub speed: f64,
}

/// A pool and who launches its machines.
#[derive(Debug, Clone)]
pub struct Pool {
    /// What the user wants of it.
    pub settings: PoolSettings,
    /// Its provider.
    pub provider: Arc<dyn MachineProvider>,
    /// The ssh user of its machines.
    pub user: String,
}

/// What a fleet is made of. Adapters are chosen in one place, `cli::farm`.
#[derive(Debug)]
pub struct FleetParts {
    /// What holds for all machines.
    pub settings: FleetSettings,
    /// Builders that are always there, this machine apart.
    pub builders: Vec<StaticBuilder>,
    /// Pools of machines that are launched.
    pub pools: Vec<Pool>,
    /// The key by which this farm enters the machines it launches.
    pub key: Option<FarmKey>,
    /// A binary cache that builders may fetch from.
    pub cache: Option<BuilderCache>,
}

impl FleetParts {
    /// A fleet of this machine alone.
    pub fn alone(settings: FleetSettings) -> Self {
        Self { settings, builders: Vec::new(), pools: Vec::new(), key: None, cache: None }
    }
}

/// The fleet of one process.
#[derive(Debug)]
pub struct Fleet {
    db: Db,
    owner: Arc<OwnerGuard>,
    clock: SharedClock,
    yard: Arc<Yard>,
    settings: FleetSettings,
    builders: Vec<StaticBuilder>,
    pools: BTreeMap<PoolName, Pool>,
    key: Option<FarmKey>,
    cache: Option<BuilderCache>,
    hub: Builder,
    memory: Mutex<LaunchMemory>,
    /// Builders that are always there, by the ids that they have on record.
    statics: Mutex<HashMap<MachineId, usize>>,
    /// What the keeper saw last, for telling people why they wait.
    seen: Mutex<Option<Arc<Seen>>>,
    begun: AtomicBool,
}

/// What the keeper saw and wanted at its last look.
#[derive(Debug)]
pub(in crate::engine) struct Seen {
    pub(in crate::engine) state: FleetState,
    pub(in crate::engine) pools: Vec<PoolSettings>,
    /// The machines' names.
    pub(in crate::engine) names: HashMap<MachineId, String>,
}

/// How long a provider may take to say what became of a machine.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(10);
/// Where a launched machine keeps its lease: touched at every question of the farm.
const LEASE: &str = "/run/croft/lease";
/// Where a launched machine tells that its provider takes it back.
const INTERRUPTION: &str = "/run/croft/interruption";

impl Fleet {
    /// A fleet around the store of this machine, `hub`. Nothing is started yet.
    pub fn new(
        db: Db,
        owner: Arc<OwnerGuard>,
        clock: SharedClock,
        hub: Builder,
        parts: FleetParts,
    ) -> Arc<Self> {
        let pools = parts.pools.into_iter().map(|pool| (pool.settings.name.clone(), pool)).collect();
        Arc::new(Self {
            yard: Yard::new(Arc::clone(&clock), parts.settings.quarantine_after),
            db,
            owner,
            clock,
            hub,
            pools,
            settings: parts.settings,
            builders: parts.builders,
            key: parts.key,
            cache: parts.cache,
            memory: Mutex::default(),
            statics: Mutex::default(),
            seen: Mutex::default(),
            begun: AtomicBool::new(false),
        })
    }

    /// Whether there are other machines than this one.
    pub(in crate::engine) fn has_others(&self) -> bool {
        !self.builders.is_empty() || !self.pools.is_empty()
    }

    pub(in crate::engine) fn yard(&self) -> &Arc<Yard> {
        &self.yard
    }

    /// What all builders offer or could offer, for saying at plan time what no machine can ever do.
    pub fn offers(&self, local: &Offer) -> Vec<Offer> {
        let local = self.settings.local.then(|| local.clone());
        let builders = self.builders.iter().map(|builder| builder.offer.clone());
        let pools = self.pools.values().map(|pool| offer_of_pool(&pool.settings));
        local.into_iter().chain(builders).chain(pools).collect()
    }

    /// How many builds can run at once, all pools at their fullest.
    pub fn most_slots(&self) -> u32 {
        let local = if self.settings.local { self.hub.slots() } else { 0 };
        let builders: u32 = self.builders.iter().map(|builder| builder.builder.slots()).sum();
        let pools: u32 =
            self.pools.values().map(|pool| pool.settings.slots.saturating_mul(pool.settings.max)).sum();
        local.saturating_add(builders).saturating_add(pools).max(1)
    }

    /// What `work` costs on machines on demand at least; none if this machine or another that costs nothing may do it.
    pub fn cost_of(&self, work: Duration) -> Option<Money> {
        let is_paid = !self.settings.local && self.builders.is_empty() && !work.is_zero();
        let price = |pool: &Pool| Some((pool.settings.slots, Money::from_setting(pool.settings.price?)));
        let costs = self.pools.values().filter_map(price).map(|(slots, price)| estimate(work, slots, price));
        costs.min().filter(|_| is_paid)
    }

    /// Opens this machine as a builder, if it is one, and starts to look after all others. The fleet works until
    /// [`Stay::leave`]; none if it works already.
    pub async fn begin(self: &Arc<Self>, local: &Offer) -> Result<Option<Stay>, EngineError> {
        if self.begun.swap(true, Ordering::SeqCst) {
            return Ok(None);
        }
        Stay::begin(Arc::clone(self), local, CancellationToken::new()).await.map(Some)
    }

    /// Ends the machines that nobody looks after any more. Returns how many there were.
    pub(super) async fn sweep_once(self: &Arc<Self>) -> Result<u64, EngineError> {
        stay::sweep(self).await
    }

    /// What the keeper saw last; none before its first look, or where this machine is the only builder.
    pub(in crate::engine) fn last_seen(&self) -> Option<Arc<Seen>> {
        lock(&self.seen).clone()
    }

    fn set_seen(&self, seen: Seen) {
        *lock(&self.seen) = Some(Arc::new(seen));
    }

    fn memory(&self) -> MutexGuard<'_, LaunchMemory> {
        lock(&self.memory)
    }

    fn refused(&self, pool: &PoolName, shape: &Shape, fault: LaunchFault) {
        self.memory().refused(pool, shape, fault, self.clock.now(), &mut fastrand::Rng::new());
    }

    fn boot_failed(&self, pool: &PoolName, shape: &Shape) {
        self.memory().boot_failed(pool, shape, self.clock.now(), &mut fastrand::Rng::new());
    }

    fn statics(&self) -> HashMap<MachineId, usize> {
        lock(&self.statics).clone()
    }

    fn know(&self, id: MachineId, at: usize) {
        lock(&self.statics).insert(id, at);
    }

    /// A machine to look after; none while it cannot be reached yet.
    fn charge(&self, record: &MachineRecord) -> Option<Charge> {
        if let Some(builder) = self.statics().get(&record.id).and_then(|at| self.builders.get(*at)) {
            return Some(Charge {
                id: record.id,
                name: record.name.as_str().into(),
                builder: builder.builder.clone(),
                offer: Arc::new(builder.offer.clone()),
                speed: builder.speed,
                pool: None,
            });
        }
        let name: PoolName = record.pool.as_ref()?.parse().ok()?;
        let pool = self.pools.get(&name)?;
        let builder = match record.reach.as_ref()? {
            Reach::Local => self.hub.clone(),
            Reach::Ssh(address) => {
                let key = HostKey::parse(record.host_key.as_ref()?).ok()?;
                let way = SshWay::Native(Identity::Key(self.key.as_ref()?.pair()));
                let mut target = SshTarget::new(&address.host, key, way);
                target.port = address.port;
                target.user.clone_from(&pool.user);
                let health = HealthSettings {
                    lease: Some(PathBuf::from(LEASE)),
                    notice: Notice::File(PathBuf::from(INTERRUPTION)),
                    ..HealthSettings::default()
                };
                let settings = FarSettings { cache: self.cache.clone(), health };
                Builder::over_ssh(target, self.hub.pool().clone(), pool.settings.slots, settings)
            }
        };
        Some(Charge {
            id: record.id,
            name: record.name.as_str().into(),
            builder,
            offer: Arc::new(offer_of_pool(&pool.settings)),
            speed: pool.settings.speed,
            pool: Some((name, record.shape.clone()?)),
        })
    }

    /// Asks the provider of a machine whose connection was lost whether it has taken the machine back. Without an answer
    /// nothing is known.
    pub(in crate::engine) async fn ask_provider(&self, id: MachineId, stop: &CancellationToken) {
        let Ok(all) = self.db.machine_list().await else { return };
        let Some(record) = all.into_iter().find(|record| record.id == id) else { return };
        let name: Option<PoolName> = record.pool.and_then(|name| name.parse().ok());
        let pool = name.and_then(|name| self.pools.get(&name));
        let (Some(pool), Some(instance)) = (pool, record.instance) else { return };
        let doing = format!("asking for {instance}");
        let asked = in_time(&doing, PROVIDER_PATIENCE, pool.provider.get(&instance), stop).await;
        let is_taken = match asked {
            Ok(seen) => match seen.state {
                InstanceState::Terminating | InstanceState::Gone => true,
                InstanceState::Pending
                | InstanceState::Running
                | InstanceState::Stopping
                | InstanceState::Stopped => seen.interrupted,
            },
            Err(error) => error.class == Class::Gone,
        };
        if is_taken {
            self.yard.interrupt(id);
        }
    }

    /// Until when a machine takes no work because its pool's budget is used up.
    fn budget_until(&self, record: &MachineRecord, state: &FleetState) -> Option<Timestamp> {
        let name: PoolName = record.pool.as_ref()?.parse().ok()?;
        budget_until(&self.pools.get(&name)?.settings, state, self.clock.now())
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
