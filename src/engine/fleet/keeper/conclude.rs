//! Asks providers what they have, and draws the conclusions.

use std::{sync::Arc, time::Duration};

use super::{Done, Intent, Keeper};
use crate::{
    config::PoolName,
    db::{MachineChange, MachineRecord},
    engine::{
        error::EngineError,
        fleet::{
            lookout::{PATIENCE, in_time},
            sweep::{Finding, Proof},
        },
    },
    fleet::{Class, InstanceState},
    ids::MachineId,
    lifecycle::{EndReason, InstanceId, Market, Seen, Wanted},
};

/// How often providers are asked what they have while something is on its way,
const SWEEP_BUSY: Duration = Duration::from_secs(2);
/// while a machine is there that may be taken back within two minutes,
const SWEEP_SPOT: Duration = Duration::from_secs(5);
/// and while nothing is the matter.
const SWEEP_CALM: Duration = Duration::from_secs(15);

impl Keeper {
    /// Asks the providers what they have, each in its own time.
    pub(super) fn ask(&mut self, mine: &[MachineRecord], intent: Intent) {
        for (name, pool) in &self.fleet.pools {
            let own = || mine.iter().filter(|record| record.pool.as_deref() == Some(name.as_str()));
            let every = match intent {
                Intent::WindDown => SWEEP_BUSY,
                Intent::Work if own().any(is_on_way) => SWEEP_BUSY,
                Intent::Work if own().any(is_spot) => SWEEP_SPOT,
                Intent::Work => SWEEP_CALM,
            };
            if !self.lookout.is_due(name, every) {
                continue;
            }
            let (name, provider, stop) = (name.clone(), Arc::clone(&pool.provider), self.stop.clone());
            self.tasks.spawn(async move {
                let doing = format!("listing the machines of pool {name}");
                let answer = in_time(&doing, PATIENCE, provider.list(), &stop).await;
                Done::Listed(name, answer)
            });
        }
    }

    /// Draws the conclusions from what providers have answered. Says whether there were any. The records were read
    /// after the answers had come.
    pub(super) async fn conclude_all(&mut self, records: &[MachineRecord]) -> Result<bool, EngineError> {
        let lost = std::mem::take(&mut self.lost);
        let mut has_any = !lost.is_empty();
        for (machine, reason) in lost {
            self.fleet.yard.interrupt(machine);
            self.change(machine, MachineChange::End(reason)).await?;
            self.gone(machine).await?;
        }
        if self.lookout.has_answers() {
            let (owner, now) = (self.fleet.owner.id(), self.fleet.clock.now());
            let findings = self.lookout.findings(records, owner, &self.launching, now);
            has_any |= !findings.is_empty();
            for (pool, finding) in findings {
                self.conclude(&pool, finding, records).await?;
            }
        }
        Ok(has_any)
    }

    async fn conclude(
        &mut self,
        pool: &PoolName,
        finding: Finding,
        records: &[MachineRecord],
    ) -> Result<(), EngineError> {
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
            Finding::Missing(machine, reason, proof) => {
                self.look_closer(machine, reason, proof, records);
                Ok(())
            }
            Finding::Interrupted(machine) => {
                self.fleet.yard.interrupt(machine);
                self.change(machine, MachineChange::Interrupted).await
            }
            Finding::Orphan(instance) => {
                self.end_orphan(pool, instance);
                Ok(())
            }
        }
    }

    /// A machine that was not listed is gone only if its provider says so when asked about it.
    fn look_closer(
        &mut self,
        machine: MachineId,
        reason: EndReason,
        proof: Proof,
        records: &[MachineRecord],
    ) {
        let Some(record) = records.iter().find(|record| record.id == machine) else { return };
        let (Some(pool), Some(instance)) = (self.pool_of(record), record.instance.clone()) else {
            self.lost.push((machine, reason));
            return;
        };
        if !self.asked.insert(machine) {
            return;
        }
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let doing = format!("asking for {instance}");
            let is_gone = match in_time(&doing, PATIENCE, pool.provider.get(&instance), &stop).await {
                Ok(seen) => seen.state == InstanceState::Gone,
                Err(error) => error.class == Class::Gone && proof == Proof::Silence,
            };
            Done::Asked(machine, is_gone.then_some(reason))
        });
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
    fn end_orphan(&mut self, pool: &PoolName, instance: InstanceId) {
        let Some(pool) = self.fleet.pools.get(pool).cloned() else { return };
        if !self.ending.insert(instance.clone()) {
            return;
        }
        tracing::warn!(%instance, "an instance of this farm has no record; it is ended");
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let doing = format!("ending {instance}");
            let result = in_time(&doing, PATIENCE, pool.provider.terminate(&instance), &stop).await;
            Done::OrphanEnded(instance, result)
        });
    }
}

/// Whether a machine is on its way in or out, so that looking often is worth it.
fn is_on_way(record: &MachineRecord) -> bool {
    match (record.wanted, record.seen) {
        (Wanted::Up, Seen::Ready) | (Wanted::Dormant, Seen::Dormant) => false,
        (Wanted::Up | Wanted::Dormant | Wanted::Gone, _) => true,
    }
}

fn is_spot(record: &MachineRecord) -> bool {
    record.shape.as_ref().is_some_and(|shape| shape.market == Market::Spot)
}
