//! Machines on EC2's wire: croft as users run it, with real machines behind the instances.

mod answers;

use std::{rc::Rc, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bridge::{Backing, Bridge, Net},
    fake_ec2::{FakeEc2, Fault, How, Machine, Offer, State},
    moto::Moto,
    support::{Checked, Croft, Running, wait_until},
    world::{LONG, World},
};

/// A farm whose only machines are those of an EC2.
struct Cloud {
    world: World,
    bridge: Rc<Bridge>,
}

impl Cloud {
    /// `fleet` are further lines of `[fleet]`, `pool` of `[[pool]]`.
    fn new(net: Net, endpoint: &str, fleet: &str, pool: &str) -> Option<Self> {
        let bridge = Rc::new(Bridge::start(net, endpoint, Backing::Namespace));
        let toml = format!(
            "[build]\nattempts = 2\n[fleet]\nlocal = false\nhealth_interval = \"1s\"\nlost_after = \"10s\"\n\
             min_free_store = 16\nmin_free_tmp = 16\n{fleet}\n{}",
            bridge.pool_toml(pool)
        );
        let way = {
            let bridge = Rc::clone(&bridge);
            move || bridge.command(Croft::PROGRAM)
        };
        Some(Self { world: World::by(&toml, way)?, bridge })
    }

    /// A check that has begun to build on a machine.
    fn start(&self) -> Running {
        let flake = self.world.farm.flake();
        self.world.croft(&["check", "--json", &flake]).start()
    }

    fn building(&self) -> Running {
        let running = self.start();
        wait_until("a build", || running.stderr().contains("building"));
        running
    }

    /// The machine that is up.
    fn only(&self) -> String {
        let ids: Vec<String> = self.bridge.machines().into_keys().collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids.into_iter().next().unwrap()
    }

    /// Whether something of this kind has happened to a machine.
    fn has_event(&self, kind: &str) -> bool {
        self.world.events().iter().any(|event| event.split(' ').nth(1) == Some(kind))
    }

    /// Waits until something waits in the queue for a reason with these words.
    #[track_caller]
    fn wait_for_reason(&self, words: &str) {
        let reasons = || {
            let queue = self.world.croft(&["queue", "--json"]).run().json();
            let builds = queue["builds"].as_array().cloned().unwrap_or_default();
            builds.iter().filter_map(|build| build["reason"].as_str().map(str::to_owned)).collect::<Vec<_>>()
        };
        wait_until(words, || reasons().iter().any(|reason| reason.contains(words)));
    }

    /// Nothing costs anything any more, and nobody runs.
    #[track_caller]
    fn assert_nothing_is_left(&self) {
        let instances = self.bridge.instances();
        assert!(instances.values().all(|is_gone| *is_gone), "{instances:?}");
        self.bridge.wait_for("the end of all machines", std::collections::BTreeMap::is_empty);
        for machine in self.world.machines() {
            assert_eq!(machine["phase"], "gone", "{machine:#}");
        }
        self.world.farm.wait_until_still();
        self.world.farm.assert_sound();
    }
}

/// A farm on a fake EC2 that can misbehave.
fn on_fake(fleet: &str, pool: &str, test: impl FnOnce(&Cloud, &FakeEc2)) {
    let Some(net) = Net::new() else { return };
    let ec2 = FakeEc2::on(net.listen());
    let Some(cloud) = Cloud::new(net, ec2.endpoint(), fleet, pool) else { return };
    test(&cloud, &ec2);
    ec2.assert_sound();
}

/// A farm on an EC2 that others have written.
fn on_moto(fleet: &str, pool: &str, test: impl FnOnce(&Cloud)) {
    let Some(net) = Net::new() else { return };
    let Some(moto) = Moto::in_network(&net.way()) else { return };
    let Some(cloud) = Cloud::new(net, moto.endpoint(), fleet, pool) else { return };
    test(&cloud);
}

#[track_caller]
fn passed(checked: &Checked) {
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert!(checked.cells().all(|cell| cell["state"] == "passed"), "{checked:#?}");
}

#[track_caller]
fn end(running: Running) -> Checked {
    Checked::of(running.wait_for_end(LONG))
}

fn text<'a>(machine: &'a Value, key: &str) -> &'a str {
    machine[key].as_str().unwrap_or_default()
}

/// What came of each attempt on a cell, oldest first.
fn outcomes(cloud: &Cloud, cell: &str) -> Vec<String> {
    cloud.world.attempts(cell).into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn machines_of_moto_are_launched_for_work_and_ended_without_it() {
    on_moto("", "max = 2\nidle = \"2s\"", |cloud| {
        cloud.world.cells(&[("short", "", "echo a > $out"), ("long", "", "sleep 7; echo b > $out")]);
        passed(&cloud.world.check(&[]));
        let story = cloud.world.events();
        for kind in ["requested", "launched", "reachable", "joined", "ending", "gone"] {
            assert!(cloud.has_event(kind), "{kind}: {story:#?}");
        }
        let machines = cloud.world.machines();
        assert_eq!(machines.len(), 2, "{machines:#?}");
        assert_eq!(cloud.bridge.started(), 2);
        let mut endings: Vec<&str> = machines.iter().map(|machine| text(machine, "ending")).collect();
        endings.sort_unstable();
        assert_eq!(endings, ["idle", "the run is over"], "{story:#?}");
        cloud.assert_nothing_is_left();
        let again = cloud.world.check(&[]);
        assert!(again.cells().all(|cell| cell["state"] == "reused"), "{again:#?}");
        assert_eq!(cloud.bridge.started(), 2);
    });
}

/// A machine of the spot market is taken back under a build, after `notice` has told so.
fn interruption(notice: impl FnOnce(&Cloud, &FakeEc2, &str)) {
    on_fake("", "max = 2\nspot = 100", |cloud, ec2| {
        cloud.world.cells(&[("long", "", "sleep 14; echo long > $out")]);
        let running = cloud.building();
        let id = cloud.only();
        notice(cloud, ec2, &id);
        wait_until("the notice to be heard", || cloud.has_event("interrupted"));
        ec2.reclaim(&id);
        passed(&end(running));
        let attempts = cloud.world.attempts("long");
        assert_eq!(outcomes(cloud, "long"), ["infra", "passed"], "{attempts:?}");
        assert_ne!(attempts[0].0, attempts[1].0, "{attempts:?}");
        let ending = cloud.world.machine(&attempts[0].0);
        assert_eq!(text(&ending, "ending"), "taken back by the provider");
        cloud.assert_nothing_is_left();
    });
}

#[test]
fn fault_21_a_build_on_a_machine_that_ec2_takes_back_is_made_on_another() {
    interruption(|_, ec2, id| ec2.give_notice(id));
}

#[test]
fn fault_21_a_machine_tells_that_it_is_taken_back() {
    interruption(|cloud, _, id| cloud.bridge.give_notice(id));
}

#[test]
fn fault_21_machines_that_are_taken_back_are_never_charged() {
    on_fake("", "max = 2\nspot = 100", |cloud, ec2| {
        cloud.world.cells(&[("long", "", "sleep 12; echo long > $out")]);
        let running = cloud.building();
        // More often than a build may be tried.
        for times in 1..=2 {
            let id = cloud.only();
            ec2.give_notice(&id);
            wait_until("the notice to be heard", || {
                let events = cloud.world.events();
                events.iter().filter(|event| event.split(' ').nth(1) == Some("interrupted")).count() == times
            });
            ec2.reclaim(&id);
            wait_until("another machine", || {
                let machines = cloud.bridge.machines();
                machines.len() == 1 && !machines.contains_key(&id)
            });
            let starts = || running.stderr().matches("building").count();
            wait_until("the next attempt", || starts() > times);
        }
        passed(&end(running));
        assert_eq!(outcomes(cloud, "long"), ["infra", "infra", "passed"]);
        cloud.assert_nothing_is_left();
    });
}

#[test]
fn fault_22_a_machine_that_never_joins_is_ended_and_another_does_the_work() {
    on_fake("", "max = 2\nboot_deadline = \"12s\"", |cloud, ec2| {
        cloud.world.cells(&[("a", "", "echo a > $out")]);
        cloud.bridge.never_join(1);
        let running = cloud.start();
        wait_until("an instance", || ec2.alive().len() == 1);
        ec2.world().machines[0].console = "booting\n\u{1b}[31mKernel panic: no root\u{1b}[0m\n".to_owned();
        passed(&end(running));
        let events = cloud.world.events();
        let console = events.iter().find(|event| event.split(' ').nth(1) == Some("console"));
        assert!(console.is_some_and(|event| event.contains("Kernel panic: no root")), "{events:#?}");
        let machines = cloud.world.machines();
        assert_eq!(machines.len(), 2, "{machines:#?}");
        let mute = machines.iter().find(|machine| machine["joined"].is_null()).unwrap();
        assert!(text(mute, "ending").contains("did not answer within 12s"), "{mute:#}");
        assert_eq!(outcomes(cloud, "a"), ["passed"]);
        cloud.assert_nothing_is_left();
    });
}

#[test]
fn a_machine_sleeps_between_two_runs_and_is_woken_by_the_second() {
    on_fake("", "max = 2\nwarm = 1", |cloud, ec2| {
        cloud.world.cells(&[("a", "", "echo a > $out")]);
        passed(&cloud.world.check(&[]));
        let states = || ec2.world().machines.iter().map(|machine| machine.state).collect::<Vec<_>>();
        assert_eq!(states(), [State::Stopped]);
        cloud.bridge.wait_for("the machine to sleep", std::collections::BTreeMap::is_empty);
        cloud.world.cells(&[("b", "", "echo b > $out")]);
        passed(&cloud.world.check(&[]));
        assert_eq!(states(), [State::Stopped], "no other was launched");
        let used = [cloud.world.attempts("a"), cloud.world.attempts("b")].map(|tries| tries[0].0.clone());
        assert_eq!(used[0], used[1]);
        assert_eq!(cloud.bridge.started(), 2);
    });
}

#[test]
fn a_build_on_a_machine_that_crashes_is_made_on_another() {
    on_fake("", "max = 1", |cloud, ec2| {
        cloud.world.cells(&[("long", "", "sleep 5; echo long > $out")]);
        let running = cloud.building();
        cloud.bridge.crash(&cloud.only());
        passed(&end(running));
        let attempts = cloud.world.attempts("long");
        assert_eq!(outcomes(cloud, "long"), ["infra", "passed"], "{attempts:?}");
        assert_ne!(attempts[0].0, attempts[1].0);
        assert_eq!(ec2.world().machines.len(), 2);
        cloud.assert_nothing_is_left();
    });
}
