//! More machines for what waits, fewer for what does not.

use super::{
    FleetAction, LaunchReason, Round,
    pool::{Blocker, count},
};
use crate::{
    lifecycle::{EndReason, Seen, Shape, Wanted},
    plan::Class,
    schedule::{demand::Need, state::MachineState},
};

impl Round<'_> {
    /// Wakes and launches machines: first the least that each pool has, then for what waits, the longest first.
    pub(super) fn grow(&mut self) {
        for at in 0..self.pools.len() {
            while self.pools[at].up() < self.pools[at].settings.min {
                if !self.add(at, || LaunchReason::Minimum) {
                    break;
                }
            }
        }
        let mut needs: Vec<(&Class, Need)> = self.demand.needs().collect();
        needs.sort_by(|(a, x), (b, y)| y.longest.cmp(&x.longest).then(a.cmp(b)));
        for (class, need) in needs {
            self.meet(class, need.builds);
        }
    }

    /// Machines for `builds` of a class, those on their way first, then from each pool in its order.
    fn meet(&mut self, class: &Class, builds: u64) {
        let mut open = builds;
        let fitting: Vec<usize> =
            (0..self.pools.len()).filter(|at| class.fits(&self.pools[*at].offer)).collect();
        for at in &fitting {
            open = self.use_coming(*at, class, open);
        }
        for at in fitting {
            while open > 0 && self.add(at, || LaunchReason::Demand { class: class.clone(), builds: open }) {
                open = self.use_coming(at, class, open);
            }
        }
    }

    /// Gives slots of machines on their way to a class. Returns what is still open.
    fn use_coming(&mut self, at: usize, class: &Class, mut open: u64) -> u64 {
        let pool = &mut self.pools[at];
        let each = pool.each(class);
        for free in &mut pool.coming {
            let given = open.min(each).min(*free);
            *free -= given;
            open -= given;
        }
        open
    }

    /// Wakes or launches one machine, if that is possible.
    fn add(&mut self, at: usize, reason: impl FnOnce() -> LaunchReason) -> bool {
        let pool = &mut self.pools[at];
        if let Some(machine) = pool.sleeper(self.now) {
            // A new one would cost as much.
            if pool.affords_one().is_err() || self.state.probation.is_some() {
                return false;
            }
            pool.woken.insert(machine);
            pool.coming.push(u64::from(pool.settings.slots));
            self.actions.push(FleetAction::Wake { machine });
            return true;
        }
        match self.next(at) {
            Ok(shape) => {
                self.launch(at, shape, reason());
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn next(&self, at: usize) -> Result<Shape, Blocker> {
        let launched = self.pools.iter().map(|pool| pool.launched.len()).sum();
        self.pools[at].next(self.state, self.fleet.launches_per_minute, launched, self.now)
    }

    pub(super) fn launch(&mut self, at: usize, shape: Shape, reason: LaunchReason) {
        let pool = &mut self.pools[at];
        pool.launched.push(shape.clone());
        pool.coming.push(u64::from(pool.settings.slots));
        self.actions.push(FleetAction::Launch { pool: pool.settings.name.clone(), shape, reason });
    }

    /// Puts idle machines to sleep or ends them, the one that has been idle for longest first.
    pub(super) fn shrink(&mut self) {
        for at in 0..self.pools.len() {
            let pool = &self.pools[at];
            let limit = pool.settings.idle.get();
            let is_idle = |machine: &&&MachineState| {
                (machine.wanted, machine.seen) == (Wanted::Up, Seen::Ready)
                    && machine.running == 0
                    && machine.hold.is_none()
                    && !pool.leaving.contains(&machine.id)
                    && machine.idle_since.is_some_and(|since| self.now.since(since) >= limit)
            };
            let mut idle: Vec<&MachineState> = pool.machines.iter().filter(is_idle).copied().collect();
            idle.sort_by_key(|machine| (machine.idle_since, machine.id));
            let spare = pool.up().saturating_sub(pool.least());
            for machine in idle.into_iter().take(spare as usize) {
                self.retire(at, machine);
            }
            self.forget_sleepers(at);
        }
    }

    fn retire(&mut self, at: usize, machine: &MachineState) {
        let pool = &mut self.pools[at];
        let can_sleep = self.state.dormancy.contains(&pool.settings.name);
        if can_sleep && pool.asleep() < pool.settings.warm {
            pool.leaving.insert(machine.id);
            pool.sleeping += 1;
            self.actions.push(FleetAction::Sleep { machine: machine.id });
        } else {
            self.end(machine, EndReason::Idle);
        }
    }

    /// Ends sleeping machines beyond those that are kept warm.
    fn forget_sleepers(&mut self, at: usize) {
        let pool = &self.pools[at];
        let asleep = |machine: &&&MachineState| {
            machine.wanted == Wanted::Dormant
                && !pool.leaving.contains(&machine.id)
                && !pool.woken.contains(&machine.id)
        };
        let mut sleepers: Vec<&MachineState> = pool.machines.iter().filter(asleep).copied().collect();
        sleepers.sort_by_key(|machine| machine.requested);
        let excess = pool.asleep().saturating_sub(pool.settings.warm).min(count(sleepers.len()));
        for machine in sleepers.into_iter().take(excess as usize) {
            self.end(machine, EndReason::Idle);
        }
    }
}
