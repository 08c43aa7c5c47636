//! Machines that only pretend: for demos, and for tests of what decides about machines. They live in memory, boot by
//! the clock, and build with the daemon of this machine. The same seed gives the same luck.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Address, Answer, Class, Dormancy, Instance, InstanceId, InstanceState, LaunchOrder, MachineProvider,
    ProviderError, Reach,
};
use crate::{
    clock::{SharedClock, Timestamp},
    config::FakeSettings,
    ids::MachineId,
};

/// How long a machine that is gone is still shown.
const REMEMBER: Duration = Duration::from_secs(600);

/// Pretends to launch machines.
#[derive(Debug)]
pub struct FakeProvider {
    settings: FakeSettings,
    clock: SharedClock,
    state: Mutex<State>,
}

/// What may go wrong on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FakeKnobs {
    /// The class of error that the next launch ends with; used up by it.
    pub next_launch_error: Option<Class>,
    /// How many launches from now on succeed although the caller gets no answer.
    pub lost_launch_answers: u32,
    /// How long a new machine is not shown.
    pub hidden: Duration,
    /// How many terminations from now on fail.
    pub terminate_failures: u32,
    /// How many times listing fails from now on.
    pub list_failures: u32,
}

#[derive(Debug)]
struct State {
    machines: BTreeMap<MachineId, Pretended>,
    knobs: FakeKnobs,
    launch_calls: u64,
    luck: fastrand::Rng,
}

#[derive(Debug, Clone)]
struct Pretended {
    launched: Timestamp,
    booted: Timestamp,
    joins: bool,
    wanted: Wanted,
    interrupted: bool,
}

/// What was last asked of a machine, or done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Running,
    Stopped,
    Gone { at: Timestamp, why: Option<String> },
}

impl FakeProvider {
    /// A provider without machines.
    pub fn new(settings: FakeSettings, seed: u64, clock: SharedClock) -> Self {
        let state = State {
            machines: BTreeMap::new(),
            knobs: FakeKnobs::default(),
            launch_calls: 0,
            luck: fastrand::Rng::with_seed(seed),
        };
        Self { settings, clock, state: Mutex::new(state) }
    }

    /// Changes what goes wrong.
    pub fn set(&self, change: impl FnOnce(&mut FakeKnobs)) {
        change(&mut self.lock().knobs);
    }

    /// How many times a launch was asked for.
    pub fn launch_calls(&self) -> u64 {
        self.lock().launch_calls
    }

    /// The machine gets the notice that it is taken back.
    pub fn interrupt(&self, machine: MachineId) {
        if let Some(pretended) = self.lock().machines.get_mut(&machine) {
            pretended.interrupted = true;
        }
    }

    /// The machine is gone without being asked to.
    pub fn lose(&self, machine: MachineId, why: &str) {
        let at = self.clock.now();
        if let Some(pretended) = self.lock().machines.get_mut(&machine) {
            pretended.wanted = Wanted::Gone { at, why: Some(why.to_owned()) };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, without machines that have been gone for long.
    fn current(&self) -> (Timestamp, MutexGuard<'_, State>) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.machines.retain(
            |_, pretended| !matches!(pretended.wanted, Wanted::Gone { at, .. } if now.since(at) > REMEMBER),
        );
        (now, state)
    }

    fn launch_now(&self, order: &LaunchOrder) -> Result<Instance, ProviderError> {
        let error = |class, message| ProviderError::new(class, format!("launching {}", order.name), message);
        let (now, mut state) = self.current();
        state.launch_calls += 1;
        if let Some(class) = state.knobs.next_launch_error.take() {
            return Err(error(class, "as asked for"));
        }
        if !state.machines.contains_key(&order.machine) {
            if state.luck.u8(0..100) < self.settings.no_capacity {
                return Err(error(Class::Capacity, "there is no room for a pretended machine now"));
            }
            let joins = state.luck.u8(0..100) >= self.settings.never_join;
            let booted = now.plus(self.settings.boot.get());
            let pretended =
                Pretended { launched: now, booted, joins, wanted: Wanted::Running, interrupted: false };
            state.machines.insert(order.machine, pretended);
        }
        if state.knobs.lost_launch_answers > 0 {
            state.knobs.lost_launch_answers -= 1;
            return Err(error(Class::Retry, "the answer was lost"));
        }
        state
            .machines
            .get(&order.machine)
            .and_then(|one| show(order.machine, one, now))
            .ok_or_else(|| error(Class::Invalid, "a machine id that is no instance id"))
    }

    fn terminate_now(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let (now, mut state) = self.current();
        if state.knobs.terminate_failures > 0 {
            state.knobs.terminate_failures -= 1;
            return Err(ProviderError::new(Class::Retry, format!("ending {id}"), "as asked for"));
        }
        if let Some(one) = machine(id).and_then(|machine| state.machines.get_mut(&machine))
            && !matches!(one.wanted, Wanted::Gone { .. })
        {
            one.wanted = Wanted::Gone { at: now, why: None };
        }
        Ok(())
    }

    fn get_now(&self, id: &InstanceId) -> Result<Instance, ProviderError> {
        let (now, state) = self.current();
        let found = machine(id).and_then(|machine| {
            let one = state.machines.get(&machine)?;
            let is_shown = now.since(one.launched) >= state.knobs.hidden;
            show(machine, one, now).filter(|_| is_shown)
        });
        found.ok_or_else(|| gone(id, "looking at"))
    }

    fn list_now(&self) -> Result<Vec<Instance>, ProviderError> {
        let (now, mut state) = self.current();
        if state.knobs.list_failures > 0 {
            state.knobs.list_failures -= 1;
            return Err(ProviderError::new(Class::Retry, "listing pretended machines", "as asked for"));
        }
        let hidden = state.knobs.hidden;
        let shown = state.machines.iter().filter(|(_, one)| now.since(one.launched) >= hidden);
        let all = shown.filter_map(|(machine, one)| show(*machine, one, now));
        Ok(all.filter(|instance| instance.state != InstanceState::Gone).collect())
    }

    fn set_wanted(&self, id: &InstanceId, wanted: Wanted) -> Result<(), ProviderError> {
        let (now, mut state) = self.current();
        let one = machine(id).and_then(|machine| state.machines.get_mut(&machine));
        match one {
            Some(one) if !matches!(one.wanted, Wanted::Gone { .. }) => {
                if one.wanted == Wanted::Stopped && wanted == Wanted::Running {
                    one.booted = now.plus(self.settings.boot.get());
                }
                one.wanted = wanted;
                Ok(())
            }
            Some(_) | None => Err(gone(id, "stopping or starting")),
        }
    }
}

fn machine(id: &InstanceId) -> Option<MachineId> {
    id.as_str().parse().ok()
}

fn gone(id: &InstanceId, doing: &str) -> ProviderError {
    ProviderError::new(Class::Gone, format!("{doing} {id}"), "there is no such pretended machine")
}

/// A machine as it is told at `now`.
fn show(machine: MachineId, one: &Pretended, now: Timestamp) -> Option<Instance> {
    let (state, why) = match &one.wanted {
        Wanted::Running if now < one.booted => (InstanceState::Pending, None),
        Wanted::Running => (InstanceState::Running, None),
        Wanted::Stopped => (InstanceState::Stopped, None),
        Wanted::Gone { why, .. } => (InstanceState::Gone, why.clone()),
    };
    // Where one that never joins should be, nobody listens.
    let nobody = Reach::Ssh(Address { host: "127.0.0.1".to_owned(), port: 1 });
    let reach = if one.joins { Reach::Local } else { nobody };
    Some(Instance {
        id: InstanceId::new(&machine.to_string())?,
        machine: Some(machine),
        state,
        address: (state == InstanceState::Running).then_some(reach),
        launched: Some(one.launched),
        why,
        interrupted: one.interrupted,
    })
}

impl MachineProvider for FakeProvider {
    fn launch<'a>(&'a self, order: &'a LaunchOrder) -> Answer<'a, Instance> {
        Box::pin(async move { self.launch_now(order) })
    }

    fn terminate<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(async move { self.terminate_now(instance) })
    }

    fn get<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Instance> {
        Box::pin(async move { self.get_now(instance) })
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        Box::pin(async move { self.list_now() })
    }

    fn console<'a>(&'a self, _instance: &'a InstanceId) -> Answer<'a, Vec<u8>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn dormancy(&self) -> Option<&dyn Dormancy> {
        Some(self)
    }
}

impl Dormancy for FakeProvider {
    fn stop<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(async move { self.set_wanted(instance, Wanted::Stopped) })
    }

    fn start<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        Box::pin(async move { self.set_wanted(instance, Wanted::Running) })
    }
}
