//! Pretended machines keep the same contract.

use std::{sync::Arc, time::Duration};

use croft::{
    clock::{ManualClock, Timestamp},
    config::FakeSettings,
    fleet::{Class, FakeProvider, InstanceState, MachineProvider, Reach},
    ids::MachineId,
};

use crate::support::{Farm, instance_id, machine};

struct World {
    farm: Farm,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        Self { farm: Farm::new(), clock: Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000))) }
    }

    fn provider(&self, settings: FakeSettings, seed: u64) -> FakeProvider {
        FakeProvider::new(settings, seed, Arc::clone(&self.clock) as _)
    }

    async fn launch(&self, provider: &FakeProvider, machine: MachineId) -> Result<InstanceState, Class> {
        let order = self.farm.order(machine, Duration::from_secs(60));
        provider.launch(&order).await.map(|found| found.state).map_err(|error| error.class)
    }
}

#[tokio::test]
async fn a_pretended_machine_boots_by_the_clock_and_builds_here() {
    let world = World::new();
    let provider = world.provider(FakeSettings::default(), 1);
    let (machine, id) = {
        let machine = machine();
        (machine, instance_id(machine))
    };
    assert_eq!(world.launch(&provider, machine).await, Ok(InstanceState::Pending));
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.launch(&provider, machine).await, Ok(InstanceState::Running));
    assert_eq!((provider.list().await.unwrap().len(), provider.launch_calls()), (1, 2));
    assert_eq!(provider.get(&id).await.unwrap().address, Some(Reach::Local));

    provider.interrupt(machine);
    assert!(provider.get(&id).await.unwrap().interrupted);
    let dormancy = provider.dormancy().unwrap();
    dormancy.stop(&id).await.unwrap();
    assert_eq!(provider.get(&id).await.unwrap().state, InstanceState::Stopped);
    dormancy.start(&id).await.unwrap();
    assert_eq!(provider.get(&id).await.unwrap().state, InstanceState::Pending);

    provider.lose(machine, "taken back");
    let lost = provider.get(&id).await.unwrap();
    assert_eq!((lost.state, lost.why.as_deref()), (InstanceState::Gone, Some("taken back")));
    assert_eq!(provider.list().await.unwrap(), []);
    world.clock.advance(Duration::from_secs(3600));
    assert_eq!(provider.get(&id).await.unwrap_err().class, Class::Gone);
}

#[tokio::test]
async fn the_knobs_make_go_wrong_what_they_say() {
    let world = World::new();
    let provider = world.provider(FakeSettings::default(), 1);
    let (machine, id) = {
        let machine = machine();
        (machine, instance_id(machine))
    };
    provider.set(|knobs| knobs.next_launch_error = Some(Class::Quota));
    assert_eq!(world.launch(&provider, machine).await, Err(Class::Quota));
    provider.set(|knobs| knobs.lost_launch_answers = 1);
    assert_eq!(world.launch(&provider, machine).await, Err(Class::Retry));
    assert_eq!(provider.list().await.unwrap().len(), 1, "the answer was lost, not the machine");
    assert_eq!(world.launch(&provider, machine).await, Ok(InstanceState::Pending));
    assert_eq!(provider.list().await.unwrap().len(), 1);

    provider.set(|knobs| knobs.hidden = Duration::from_secs(30));
    assert_eq!(provider.get(&id).await.unwrap_err().class, Class::Gone);
    assert_eq!(provider.list().await.unwrap(), []);
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(provider.list().await.unwrap().len(), 1);

    provider.set(|knobs| (knobs.list_failures, knobs.terminate_failures) = (1, 2));
    assert_eq!(provider.list().await.unwrap_err().class, Class::Retry);
    for _ in 0..2 {
        assert_eq!(provider.terminate(&id).await.unwrap_err().class, Class::Retry);
        assert_eq!(provider.list().await.unwrap().len(), 1);
    }
    provider.terminate(&id).await.unwrap();
    assert_eq!(provider.get(&id).await.unwrap().state, InstanceState::Gone);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_luck() {
    let world = World::new();
    let settings = FakeSettings { no_capacity: 40, never_join: 30, ..FakeSettings::default() };
    let machines: Vec<MachineId> = (0..200).map(|_| machine()).collect();
    let luck = async |seed| {
        let provider = world.provider(settings.clone(), seed);
        let mut luck = Vec::new();
        for machine in &machines {
            luck.push(world.launch(&provider, *machine).await);
        }
        world.clock.advance(Duration::from_secs(5));
        let joins =
            provider.list().await.unwrap().iter().filter(|one| one.address == Some(Reach::Local)).count();
        (luck, joins)
    };
    let (one, joins) = luck(7).await;
    assert_eq!((one.clone(), joins), luck(7).await);
    assert_ne!(one, luck(8).await.0);
    let launched = one.iter().filter(|found| found.is_ok()).count();
    assert!((80..160).contains(&launched), "{launched} of 200 launched where 60 of 100 should");
    assert!(joins < launched && joins > launched / 3, "{joins} of {launched} join where 70 of 100 should");
}
