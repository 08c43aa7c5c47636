//! One launch: the intent on the disk, the order to the provider, and what came of it.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Fleet, Pool};
use crate::{
    db::{DbError, MachineChange, NewMachine, Recorded},
    engine::error::EngineError,
    fleet::{Class, LaunchOrder, ProviderError},
    ids::{FarmId, MachineId},
    lifecycle::{EndReason, Market, Seen, Shape},
    schedule::{LaunchFault, LaunchReason, cost::Money},
};

/// How long a provider that gives no clear answer is asked with the same order.
const PATIENCE: Duration = Duration::from_secs(300);
/// The pause between two questions.
const PAUSE: Duration = Duration::from_secs(2);
/// What a machine may outlive its greatest age by, before it ends itself: its last build and its replacement.
const LAST_WORK: Duration = Duration::from_secs(6 * 3600);

/// What is launched, and what for.
pub(super) struct Launch {
    pub(super) farm: FarmId,
    pub(super) pool: Pool,
    pub(super) shape: Shape,
    pub(super) reason: LaunchReason,
}

/// Records the intent. None if the pool is full by now.
pub(super) async fn intend(fleet: &Fleet, launch: &Launch) -> Result<Option<LaunchOrder>, EngineError> {
    let key = fleet.key.as_ref().ok_or(EngineError::Bug("a pool without a farm key"))?;
    let identity = key.invite().map_err(|error| EngineError::Fleet(error.to_string()))?;
    let settings = &launch.pool.settings;
    let now = fleet.clock.now();
    let machine = MachineId::new(now);
    let name = format!("{}-{}", settings.name, tail(machine));
    let record = NewMachine {
        id: machine,
        name: name.clone(),
        pool: Some(settings.name.to_string()),
        provider: settings.provider.to_string(),
        shape: Some(launch.shape.clone()),
        why: launch.reason.to_string(),
        replaces: launch.reason.replaces(),
        host_key: Some(identity.host_key_public.clone()),
        slots: settings.slots,
        price: settings.price.map_or(Money::ZERO, Money::from_setting).as_micros(),
    };
    match fleet.db.machine_insert(&fleet.owner, record, settings.max).await? {
        Recorded::PoolFull => Ok(None),
        Recorded::Yes => Ok(Some(LaunchOrder {
            farm: launch.farm,
            machine,
            name,
            pool: settings.name.clone(),
            shape: launch.shape.clone(),
            identity,
            lease: fleet.settings.lease.get(),
            expires: now.plus(settings.max_age.get()).plus(LAST_WORK),
        })),
    }
}

/// Sends the order until there is a clear answer, and records that.
pub(super) async fn order(
    fleet: Arc<Fleet>,
    pool: Pool,
    order: LaunchOrder,
    stop: CancellationToken,
) -> Result<(), EngineError> {
    let begun = fleet.clock.now();
    let mut said = None;
    loop {
        let answer = tokio::select! {
            answer = pool.provider.launch(&order) => answer,
            // The sweep finds what came of it.
            () = stop.cancelled() => return Ok(()),
        };
        let error = match answer {
            Ok(instance) => {
                fleet.memory().accepted(&order.pool);
                let (instance, address) = (instance.id, instance.address);
                fleet.db.machine_change(order.machine, MachineChange::Launched { instance }).await?;
                if let Some(reach) = address {
                    fleet.db.machine_change(order.machine, MachineChange::Reachable(reach)).await?;
                }
                return Ok(());
            }
            Err(error) => error,
        };
        match fault(&error, &order.shape, &pool) {
            Some(fault) => return Ok(give_up(&fleet, &order, fault, &error).await?),
            None if fleet.clock.now().since(begun) > PATIENCE => {
                // It may be there all the same: it stays on record until the sweep has looked for it.
                let end = MachineChange::End(EndReason::LaunchFailed(error.to_string()));
                fleet.db.machine_change(order.machine, end).await?;
                return Ok(());
            }
            None => {
                let words = error.to_string();
                if said.as_ref() != Some(&words) {
                    fleet.db.machine_event_add(order.machine, "not yet", words.clone()).await?;
                    said = Some(words);
                }
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        }
    }
}

/// The provider has said that there is no such machine and will be none.
async fn give_up(
    fleet: &Fleet,
    order: &LaunchOrder,
    fault: LaunchFault,
    error: &ProviderError,
) -> Result<(), DbError> {
    fleet.refused(&order.pool, &order.shape, fault);
    let end = MachineChange::End(EndReason::LaunchFailed(error.to_string()));
    fleet.db.machine_change(order.machine, end).await?;
    fleet.db.machine_change(order.machine, MachineChange::Seen(Seen::Gone)).await?;
    Ok(())
}

/// What an error says of further launches; nothing, if it is not clear whether this one went through.
fn fault(error: &ProviderError, shape: &Shape, pool: &Pool) -> Option<LaunchFault> {
    let words = || error.message.clone();
    match error.class {
        Class::Retry | Class::Gone => None,
        Class::Capacity => Some(LaunchFault::Capacity),
        // Markets have limits of their own, and the pool may go on in the other.
        Class::Quota if shape.market == Market::Spot && pool.settings.spot_fallback => {
            Some(LaunchFault::Capacity)
        }
        Class::Quota => Some(LaunchFault::Quota(words())),
        Class::Credentials => Some(LaunchFault::Credentials(words())),
        Class::Invalid => Some(LaunchFault::Invalid(words())),
    }
}

/// The random end of an id, for names.
fn tail(id: MachineId) -> String {
    let text = id.to_string();
    text[text.len() - 6..].to_owned()
}
