//! A cloud that delays, lies, loses answers, and takes machines back. It is the truth that the hub only sees a part of.

use std::collections::BTreeMap;

use croft::{
    config::PoolName,
    ids::MachineId,
    lifecycle::{Market, Shape},
    schedule::LaunchFault,
};
use fastrand::Rng;

use super::scenario::{MINUTE, SECOND, Trouble, chance};

/// How long before it takes a machine back the provider says so.
const NOTICE: u64 = 2 * MINUTE;

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Running,
    Stopping,
    Stopped,
    Ending,
    Gone,
}

/// How a machine behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Good,
    /// Everything fails there at once.
    Bad,
    /// Its disk fills with what it builds.
    FillsUp,
}

/// An instance.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) machine: MachineId,
    pub(crate) pool: PoolName,
    pub(crate) state: State,
    pub(crate) launched: u64,
    pub(crate) fate: Fate,
    /// Builds that have left something on its disk.
    pub(crate) builds: u64,
    /// When it first answers; none if it never does.
    answers: Option<u64>,
    visible: u64,
    /// When its state changes by itself.
    changes: u64,
    taken_back: Option<u64>,
    silent: Option<(u64, u64)>,
    /// When it powers itself off for want of a sign of the farm.
    pub(crate) lease: u64,
    /// Whether nobody has a record of it: what an earlier farm on the same account has left.
    pub(crate) is_stray: bool,
    /// When it was up: what the provider asks money for.
    pub(crate) paid: Vec<(u64, Option<u64>)>,
}

impl Instance {
    /// Whether anything of it is left.
    pub(crate) fn is_there(&self) -> bool {
        self.state != State::Gone
    }

    fn is_shown(&self, now: u64) -> bool {
        self.is_there() && self.visible <= now
    }

    /// Whether it answers, as far as the machine itself goes.
    pub(crate) fn answers(&self, now: u64) -> bool {
        let silent = self.silent.is_some_and(|(from, to)| (from..to).contains(&now));
        self.state == State::Running && self.answers.is_some_and(|at| at <= now) && !silent
    }

    /// Whether the provider has said that it takes it back.
    pub(crate) fn is_interrupted(&self, now: u64) -> bool {
        self.taken_back.is_some_and(|at| now + NOTICE >= at)
    }

    fn set(&mut self, state: State, now: u64) {
        self.state = state;
        if matches!(state, State::Gone | State::Stopped)
            && let Some((_, to @ None)) = self.paid.last_mut()
        {
            *to = Some(now);
        }
    }
}

/// The answer to a launch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Launched,
    Refused(LaunchFault),
    /// Nobody knows.
    Unclear,
}

/// The cloud.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) instances: BTreeMap<MachineId, Instance>,
    pub(crate) trouble: Trouble,
    pub(crate) lease: u64,
}

impl Cloud {
    fn is_troubled(&self, now: u64) -> bool {
        now < self.trouble.until
    }

    /// Whether a trouble of this chance strikes now.
    pub(crate) fn strikes(&self, percent: u8, now: u64, rng: &mut Rng) -> bool {
        self.is_troubled(now) && chance(rng, percent)
    }

    pub(crate) fn advance(&mut self, now: u64) {
        for instance in self.instances.values_mut() {
            let is_due = instance.changes <= now;
            match instance.state {
                State::Pending if is_due => instance.set(State::Running, now),
                State::Stopping if is_due => instance.set(State::Stopped, now),
                State::Ending if is_due => instance.set(State::Gone, now),
                State::Pending | State::Stopping | State::Ending | State::Running => {}
                State::Stopped | State::Gone => continue,
            }
            if instance.taken_back.is_some_and(|at| at <= now)
                || (instance.state == State::Running && instance.lease <= now)
            {
                instance.set(State::Gone, now);
            }
        }
    }

    pub(crate) fn launch(
        &mut self,
        machine: MachineId,
        (pool, shape): (&PoolName, &Shape),
        now: u64,
        rng: &mut Rng,
    ) -> Answer {
        let trouble = self.trouble.clone();
        if self.instances.contains_key(&machine) {
            return if self.strikes(trouble.unclear, now, rng) { Answer::Unclear } else { Answer::Launched };
        }
        if self.strikes(trouble.unclear, now, rng) {
            return Answer::Unclear;
        }
        if self.strikes(trouble.no_capacity, now, rng) {
            return Answer::Refused(LaunchFault::Capacity);
        }
        if self.strikes(trouble.refused, now, rng) {
            let why = "as it pleases".to_owned();
            let quota = rng.bool();
            let fault = if quota { LaunchFault::Quota(why) } else { LaunchFault::Credentials(why) };
            return Answer::Refused(fault);
        }
        let boots = now + rng.u64(15 * SECOND..90 * SECOND);
        let fate = if self.strikes(trouble.bad_machine, now, rng) {
            Fate::Bad
        } else if self.strikes(trouble.fills_up, now, rng) {
            Fate::FillsUp
        } else {
            Fate::Good
        };
        let is_taken = shape.market == Market::Spot && self.strikes(trouble.taken_back, now, rng);
        let is_silent = self.strikes(trouble.goes_silent, now, rng);
        let silent = boots + rng.u64(0..20 * MINUTE);
        let instance = Instance {
            machine,
            pool: pool.clone(),
            state: State::Pending,
            launched: now,
            fate,
            builds: 0,
            answers: (!self.strikes(trouble.never_joins, now, rng)).then_some(boots),
            visible: now + if self.is_troubled(now) { rng.u64(0..=trouble.lag) } else { 0 },
            changes: now + 10 * SECOND,
            taken_back: is_taken.then(|| now + rng.u64(2 * MINUTE..30 * MINUTE)),
            silent: is_silent.then(|| (silent, silent + rng.u64(10 * SECOND..30 * MINUTE))),
            lease: now + self.lease,
            is_stray: false,
            paid: vec![(now, None)],
        };
        self.instances.insert(machine, instance);
        if self.strikes(trouble.lost_answer, now, rng) { Answer::Unclear } else { Answer::Launched }
    }

    /// Perhaps an instance turns up of which nobody has a record.
    pub(crate) fn stray(&mut self, machine: MachineId, pool: &PoolName, now: u64, rng: &mut Rng) {
        let shape = Shape { instance_type: None, zone: None, market: Market::OnDemand };
        self.launch(machine, (pool, &shape), now, rng);
        if let Some(instance) = self.instances.get_mut(&machine) {
            instance.is_stray = true;
        }
    }

    /// All instances that the provider shows; none if the call fails.
    pub(crate) fn list(&self, now: u64, rng: &mut Rng) -> Option<Vec<Instance>> {
        if self.strikes(self.trouble.list_fails, now, rng) {
            return None;
        }
        let mut shown: Vec<Instance> =
            self.instances.values().filter(|instance| instance.is_shown(now)).cloned().collect();
        shown.retain(|_| !self.strikes(self.trouble.lies, now, rng));
        Some(shown)
    }

    /// Whether the provider, asked for this one instance, knows it.
    pub(crate) fn knows(&self, machine: MachineId, now: u64) -> bool {
        self.instances.get(&machine).is_some_and(|instance| instance.is_shown(now))
    }

    /// Begins to end an instance.
    pub(crate) fn end(&mut self, machine: MachineId, now: u64, rng: &mut Rng) {
        if self.strikes(self.trouble.end_fails, now, rng) {
            return;
        }
        if let Some(instance) = self.instances.get_mut(&machine).filter(|i| i.is_there()) {
            if instance.state != State::Ending {
                instance.changes = now + rng.u64(5 * SECOND..60 * SECOND);
            }
            instance.state = State::Ending;
        }
    }

    pub(crate) fn stop(&mut self, machine: MachineId, now: u64) {
        if let Some(instance) = self.instances.get_mut(&machine).filter(|i| i.state == State::Running) {
            instance.state = State::Stopping;
            instance.changes = now + 30 * SECOND;
        }
    }

    pub(crate) fn start(&mut self, machine: MachineId, now: u64) {
        let lease = now + self.lease;
        if let Some(instance) = self.instances.get_mut(&machine).filter(|i| i.state == State::Stopped) {
            instance.state = State::Pending;
            instance.changes = now + 10 * SECOND;
            instance.answers = instance.answers.map(|_| now + 20 * SECOND);
            instance.lease = lease;
            instance.paid.push((now, None));
        }
    }
}
