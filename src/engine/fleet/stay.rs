//! The time in which a process keeps a fleet.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Fleet,
    keeper::{Intent, Keeper},
    yard::Newcomer,
};
use crate::{
    db::{MachineRecord, NewMachine},
    engine::{error::EngineError, hub},
    fleet::Class,
    ids::MachineId,
    lifecycle::{Seen, Wanted},
    plan::Offer,
    task::{self, Task},
};

/// How long a process waits at its end until all its machines are gone. What is left then ends itself, when its lease
/// runs out.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);

/// The keeper at work.
type Keeping = Task<Result<(), EngineError>>;

/// The time in which a process keeps a fleet.
#[derive(Debug)]
pub struct Stay {
    fleet: Arc<Fleet>,
    keeper: Option<(Keeping, watch::Sender<Intent>)>,
    stop: CancellationToken,
    /// Cancelled when the keeper has ended, however that came.
    ended: CancellationToken,
}

impl Stay {
    pub(super) async fn begin(
        fleet: Arc<Fleet>,
        local: &Offer,
        stop: CancellationToken,
    ) -> Result<Self, EngineError> {
        let ended = CancellationToken::new();
        let has_others = fleet.has_others();
        if fleet.settings.local {
            let id = if has_others { fleet.ensure_local().await? } else { MachineId::new(fleet.clock.now()) };
            fleet.yard.open(Newcomer {
                id,
                name: "local".into(),
                builder: fleet.hub.clone(),
                offer: Arc::new(hub::with_store(local)),
                slots: fleet.hub.slots(),
                speed: 1.0,
                pool: None,
            });
        }
        if !has_others {
            return Ok(Self { fleet, keeper: None, stop, ended });
        }
        fleet.ensure_builders().await?;
        fleet.db.machine_take_over(&fleet.owner).await?;
        let farm = fleet.db.farm_id().await?;
        let (intent, intents) = watch::channel(Intent::Work);
        let keeper = Keeper::new(Arc::clone(&fleet), farm, stop.clone());
        // Also fires when the keeper panics.
        let end = ended.clone().drop_guard();
        let task = task::spawn("fleet keeper", async move {
            let _end = end;
            keeper.run(intents).await
        });
        Ok(Self { fleet, keeper: Some((task, intent)), stop, ended })
    }

    /// Fires when nobody looks after the machines any more, so that nobody waits for one in vain.
    pub(in crate::engine) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Ends all machines that this process has launched, and the keeping.
    pub async fn leave(self) -> Result<(), EngineError> {
        let Some((keeper, intent)) = self.keeper else { return Ok(()) };
        intent.send_replace(Intent::WindDown);
        let waited = wait_until_gone(&self.fleet, &keeper).await;
        self.stop.cancel();
        // Why the keeper has ended says more than what became of that.
        keeper.join().await??;
        waited
    }
}

/// Waits until the machines of this process are gone, as long as somebody sees to that.
async fn wait_until_gone(fleet: &Fleet, keeper: &Keeping) -> Result<(), EngineError> {
    let mut left = fleet.own_machines().await?;
    let begun = tokio::time::Instant::now();
    while left > 0 && begun.elapsed() < PATIENCE && !keeper.is_finished() {
        tokio::time::sleep(LOOK).await;
        left = fleet.own_machines().await?;
    }
    if left > 0 {
        tracing::warn!(
            "{left} machines are not gone yet; they end themselves when their leases run out, and `croft fleet sweep` ends them before"
        );
    }
    Ok(())
}

/// Ends the machines of dead processes and the instances without a record, and returns how many there were.
pub(super) async fn sweep(fleet: &Arc<Fleet>) -> Result<u64, EngineError> {
    if fleet.pools.is_empty() {
        return Ok(0);
    }
    let taken = fleet.db.machine_take_over(&fleet.owner).await?;
    let farm = fleet.db.farm_id().await?;
    let mut keeper = Keeper::new(Arc::clone(fleet), farm, CancellationToken::new());
    let begun = tokio::time::Instant::now();
    loop {
        keeper.round(Intent::WindDown).await?;
        let left = fleet.own_machines().await?;
        let is_over = left == 0 && keeper.lookout().is_sure();
        if is_over || begun.elapsed() >= PATIENCE || is_hopeless(&keeper) {
            let (orphans, why) = (keeper.orphans(), unsure(&keeper, left));
            keeper.finish().await?;
            return if is_over { Ok(taken + orphans) } else { Err(EngineError::Fleet(why)) };
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a provider will not answer until a person has done something.
fn is_hopeless(keeper: &Keeper) -> bool {
    keeper.lookout().trouble().is_some_and(|(_, error)| match error.class {
        Class::Credentials | Class::Invalid => true,
        Class::Retry | Class::Capacity | Class::Quota | Class::Gone => false,
    })
}

/// Why a sweep cannot say that nothing is left.
fn unsure(keeper: &Keeper, left: usize) -> String {
    let theirs = "they end themselves when their leases run out";
    match keeper.lookout().trouble() {
        Some((pool, error)) => format!(
            "what pool {pool} has cannot be seen, so machines may be left: {error}; run `croft fleet sweep` again, or {theirs}"
        ),
        None => format!(
            "{left} machines on record are not gone after {} s; `croft fleet events` tells why, and {theirs}",
            PATIENCE.as_secs()
        ),
    }
}

impl Fleet {
    /// How many machines of this process are neither gone nor kept asleep.
    async fn own_machines(&self) -> Result<usize, EngineError> {
        let own = Some(self.owner.id());
        let all = self.db.machine_list().await?;
        let sleeps = |r: &MachineRecord| (r.wanted, r.seen) == (Wanted::Dormant, Seen::Dormant);
        // What is left of a pool that is no longer configured ends itself; nobody here can ask its provider.
        let is_kept = |pool: &String| pool.parse().is_ok_and(|name| self.pools.contains_key(&name));
        let counts = |r: &&MachineRecord| {
            r.pool.as_ref().is_some_and(is_kept) && r.owner == own && r.seen != Seen::Gone && !sleeps(r)
        };
        Ok(all.iter().filter(counts).count())
    }

    async fn ensure_local(&self) -> Result<MachineId, EngineError> {
        let id = MachineId::new(self.clock.now());
        let machine = NewMachine::standing(id, "local", "local", "this machine", self.hub.slots());
        Ok(self.db.machine_ensure(machine).await?)
    }

    /// Sees to it that the builders that are always there are on record.
    async fn ensure_builders(&self) -> Result<(), EngineError> {
        // At once, so that they share a commit.
        let ensuring = self.builders.iter().enumerate().map(|(at, builder)| async move {
            let (id, slots) = (MachineId::new(self.clock.now()), builder.builder.slots());
            let machine = NewMachine::standing(id, &builder.name, "ssh", "configured as a builder", slots);
            let id = self.db.machine_ensure(machine).await?;
            self.know(id, at);
            Ok::<(), EngineError>(())
        });
        try_join_all(ensuring).await?;
        Ok(())
    }
}
