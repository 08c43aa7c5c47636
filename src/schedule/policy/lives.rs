//! What befalls single machines: deadlines, faults, interruptions, age.

use std::time::Duration;

use super::{FleetAction, LaunchReason, Round, is_wanted, pool::is_due};
use crate::{
    config::PoolSettings,
    lifecycle::{EndReason, Hold, Seen, Wanted},
    schedule::state::{MachineState, waited},
};

/// How long a machine may be unfit before it is given up.
const UNFIT: Duration = Duration::from_secs(300);
/// How long a machine may take to fall asleep.
const STOPPING: Duration = Duration::from_secs(600);

impl Round<'_> {
    /// What each machine by itself calls for.
    pub(super) fn machines(&mut self) {
        let state = self.state;
        for machine in state.machines.iter().filter(|machine| is_wanted(machine)) {
            match &machine.pool {
                None => self.quarantine(machine),
                Some(name) => {
                    let pool = self.pools.iter().position(|pool| pool.settings.name == *name);
                    let reason = match pool {
                        Some(at) => self.reason_to_end(machine, self.pools[at].settings),
                        None => Some(EndReason::PoolRemoved),
                    };
                    if let Some(reason) = reason {
                        self.end(machine, reason);
                    }
                }
            }
        }
    }

    pub(super) fn end(&mut self, machine: &MachineState, reason: EndReason) {
        if let Some(pool) =
            self.pools.iter_mut().find(|pool| machine.pool.as_ref() == Some(&pool.settings.name))
        {
            pool.leaving.insert(machine.id);
            if machine.is_on_its_way() {
                pool.coming.pop();
            }
        }
        self.actions.push(FleetAction::End { machine: machine.id, reason });
    }

    fn quarantine(&mut self, machine: &MachineState) {
        match &machine.hold {
            Some(Hold::Quarantine { until: Some(until), .. }) if *until <= self.now => {
                self.actions.push(FleetAction::Release { machine: machine.id });
            }
            None if machine.infra_in_a_row >= self.fleet.quarantine_after => {
                self.actions.push(FleetAction::Quarantine {
                    machine: machine.id,
                    until: self.now.plus(self.fleet.quarantine.get()),
                    why: failures(machine),
                });
            }
            None | Some(Hold::Quarantine { .. } | Hold::Drain) => {}
        }
    }

    fn reason_to_end(&self, machine: &MachineState, pool: &PoolSettings) -> Option<EndReason> {
        let (now, lost_after) = (self.now, self.fleet.lost_after);
        if machine.interrupted {
            return Some(EndReason::Interrupted);
        }
        if machine.is_on_its_way() && waited(machine.on_its_way_since(), now, pool.boot_deadline.get()) {
            let why = format!("it did not answer within {}", pool.boot_deadline);
            return Some(EndReason::NeverJoined(why));
        }
        if machine.seen == Seen::Unreachable && waited(machine.seen_since, now, lost_after.get()) {
            return Some(EndReason::Lost(format!("it has not answered for {lost_after}")));
        }
        let is_stopping = machine.wanted == Wanted::Dormant && machine.seen != Seen::Dormant;
        if is_stopping && machine.running == 0 && waited(machine.wanted_since, now, STOPPING) {
            return Some(EndReason::Lost("it did not stop".to_owned()));
        }
        if let Some(unfit) = &machine.unfit {
            if machine.joined.is_none() {
                return Some(EndReason::Refused(unfit.why.clone()));
            }
            if waited(unfit.since, now, UNFIT) {
                return Some(EndReason::Unhealthy(unfit.why.clone()));
            }
        }
        let is_bad = machine.infra_in_a_row >= self.fleet.quarantine_after;
        (is_bad && machine.hold != Some(Hold::Drain)).then(|| EndReason::Unhealthy(failures(machine)))
    }

    /// Replaces machines that are due: one that is needed stays until its replacement has joined.
    pub(super) fn recycle(&mut self) {
        let state = self.state;
        for machine in &state.machines {
            let Some(at) = self.pools.iter().position(|p| machine.pool.as_ref() == Some(&p.settings.name))
            else {
                continue;
            };
            let pool = &self.pools[at];
            let is_out = !is_wanted(machine)
                || pool.leaving.contains(&machine.id)
                || machine.is_on_its_way()
                || machine.hold == Some(Hold::Drain);
            if is_out || !is_due(machine, pool.settings, self.now) {
                continue;
            }
            let is_old = self.now.since(machine.requested) >= pool.settings.max_age.get();
            let reason = if is_old { EndReason::Age } else { EndReason::Builds };
            if machine.running == 0 || self.is_dispensable(at) {
                self.end(machine, reason);
                continue;
            }
            match state.machines.iter().find(|other| other.replaces == Some(machine.id) && is_wanted(other)) {
                Some(replacement) if replacement.joined.is_some() => self.end(machine, reason),
                Some(_) => {}
                None => self.replace(at, machine, reason),
            }
        }
    }

    /// Whether a pool can do with a machine less: nothing waits for it, and its minimum is kept.
    fn is_dispensable(&self, at: usize) -> bool {
        let pool = &self.pools[at];
        pool.up() > pool.least() && !self.demand.needs().any(|(class, _)| class.fits(&pool.offer))
    }

    /// Launches a replacement. If none is to be had, machines go one after the other.
    fn replace(&mut self, at: usize, machine: &MachineState, reason: EndReason) {
        if let Ok(shape) = self.next(at) {
            self.launch(at, shape, LaunchReason::Replacement { of: machine.id });
            return;
        }
        let pool = &self.pools[at];
        let leaves = |other: &&MachineState| other.wanted == Wanted::Gone || pool.leaving.contains(&other.id);
        if !pool.machines.iter().copied().any(|other| leaves(&other)) {
            self.end(machine, reason);
        }
    }
}

fn failures(machine: &MachineState) -> String {
    format!("{} infrastructure failures in a row", machine.infra_in_a_row)
}
