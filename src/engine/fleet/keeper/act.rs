//! Carrying out what the policy has decided.

use std::{collections::HashMap, sync::Arc};

use super::{Done, Keeper};
use crate::{
    config::PoolName,
    db::MachineChange,
    engine::{
        error::EngineError,
        fleet::launch::{self, Launch},
    },
    ids::MachineId,
    lifecycle::{EndReason, Hold, Seen, Wanted},
    schedule::{FleetAction, FleetState, MachineState},
};

impl Keeper {
    /// Puts machines to sleep instead of ending them, as many as their pools keep warm for the next process.
    pub(super) fn keep_warm(&self, actions: Vec<FleetAction>, state: &FleetState) -> Vec<FleetAction> {
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

    pub(super) async fn act(&mut self, action: FleetAction) -> Result<(), EngineError> {
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
}

/// Whether a machine is worth keeping.
fn may_sleep(machine: &MachineState) -> bool {
    let is_up = matches!(machine.seen, Seen::Ready | Seen::Dormant);
    is_up && !machine.interrupted && machine.unfit.is_none() && machine.hold.is_none()
}
