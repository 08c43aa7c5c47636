//! Machines that have only just joined.

use std::time::Duration;

use crate::{
    clock::Timestamp,
    lifecycle::{Seen, Wanted},
    schedule::FleetState,
};

/// How long a machine that has joined may not be known yet to those who have work for it.
const NEW: Duration = Duration::from_secs(2);

/// The fleet for the question what is missing: a machine that has only just joined counts as still coming. What
/// waits for it may not have heard yet, and a second machine must not be launched for the same work.
pub fn with_newcomers_awaited(state: &FleetState, now: Timestamp) -> FleetState {
    let mut state = state.clone();
    for machine in &mut state.machines {
        let is_new = machine.pool.is_some()
            && (machine.wanted, machine.seen) == (Wanted::Up, Seen::Ready)
            && machine.running == 0
            && machine.hold.is_none()
            && machine.unfit.is_none()
            && now.since(machine.seen_since) < NEW;
        if is_new {
            machine.seen = Seen::Booting;
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config::FleetSettings,
        lifecycle::Hold,
        plan::Class,
        schedule::{
            Demand, FleetAction, MachineState, Need, decide,
            policy::tests::{at, idle, pool},
        },
    };

    #[test]
    fn no_second_machine_is_launched_for_work_that_has_not_heard_of_the_first() {
        let (pool, machine) = (pool("max = 2\nboot_deadline = \"60s\""), idle(1));
        let mut demand = Demand::default();
        let class = Class::new("x86_64-linux".parse().unwrap(), Arc::default());
        demand.add(&class, Need { builds: 1, longest: Duration::from_secs(1) });
        let launches = |machine: MachineState, now: Timestamp| {
            let state = FleetState { machines: vec![machine], ..FleetState::default() };
            let state = with_newcomers_awaited(&state, now);
            let actions =
                decide(&state, &demand, std::slice::from_ref(&pool), &FleetSettings::default(), now);
            assert!(!actions.iter().any(|action| matches!(action, FleetAction::End { .. })), "{actions:?}");
            actions.len()
        };
        assert_eq!(launches(machine.clone(), at(101)), 0);
        assert_eq!(launches(machine.clone(), at(103)), 1, "it has no room for what waits");
        assert_eq!(launches(MachineState { running: 1, ..machine.clone() }, at(101)), 1);
        let held = MachineState { hold: Some(Hold::Drain), ..machine };
        assert_eq!(launches(held, at(101)), 1);
    }
}
