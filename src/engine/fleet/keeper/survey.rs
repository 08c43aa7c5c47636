//! Asking providers what they have, and drawing the conclusions.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::Keeper;
use crate::{
    db::{MachineChange, MachineRecord},
    engine::{
        error::EngineError,
        fleet::sweep::{Finding, View, compare},
    },
    fleet::{Class, Instance, InstanceState},
    ids::MachineId,
    lifecycle::{EndReason, InstanceId, Seen, Wanted},
};

/// How often providers are asked what they have while something is on its way,
const SWEEP_BUSY: Duration = Duration::from_secs(2);
/// and while nothing is.
const SWEEP_CALM: Duration = Duration::from_secs(15);

impl Keeper {
    /// Asks all providers what they have, and draws the conclusions.
    pub(super) async fn sweep(&mut self) -> Result<(), EngineError> {
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
