//! Which machines are kept asleep for the next process.

use std::collections::HashMap;

use super::Keeper;
use crate::{
    config::PoolName,
    ids::MachineId,
    lifecycle::{Seen, Wanted},
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
}

/// Whether a machine is worth keeping.
fn may_sleep(machine: &MachineState) -> bool {
    let is_up = matches!(machine.seen, Seen::Ready | Seen::Dormant);
    is_up && !machine.interrupted && machine.unfit.is_none() && machine.hold.is_none()
}
