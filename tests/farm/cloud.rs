//! Machines on EC2's wire: croft as users run it, with real machines behind the instances.

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
fn fault_25_a_launch_whose_answer_is_lost_gives_one_machine() {
    on_fake("", "max = 1", |cloud, ec2| {
        cloud.world.cells(&[("a", "", "echo a > $out")]);
        ec2.fail(Fault::next("RunInstances", How::ReplyLost).times(4));
        passed(&cloud.world.check(&[]));
        assert_eq!(ec2.world().machines.len(), 1);
        cloud.assert_nothing_is_left();
    });
}

/// A croft that is killed after EC2 has launched and before it was told so.
fn killed_in_a_launch(cloud: &Cloud, ec2: &FakeEc2) {
    cloud.world.cells(&[("good", "", "echo a > $out"), ("bad", "", "echo no; exit 1")]);
    ec2.fail(Fault::next("RunInstances", How::Hangs));
    let running = cloud.start();
    wait_until("an instance", || ec2.alive().len() == 1);
    running.signal(Signal::KILL);
    drop(running);
    assert_eq!(cloud.world.machines()[0]["instance"], Value::Null);
}

#[track_caller]
fn right_verdicts(cloud: &Cloud, checked: &Checked) {
    assert_eq!(checked.code, Some(1), "{checked:#?}");
    assert_eq!((checked.state("good"), checked.state("bad")), ("passed", "failed"), "{checked:#?}");
    cloud.assert_nothing_is_left();
}

#[test]
fn fault_30_a_machine_that_a_dead_croft_has_launched_is_used_by_the_next() {
    on_fake("", "max = 1", |cloud, ec2| {
        killed_in_a_launch(cloud, ec2);
        right_verdicts(cloud, &cloud.world.check(&[]));
        assert_eq!(ec2.world().machines.len(), 1);
    });
}

#[test]
fn fault_30_a_machine_that_a_dead_croft_has_launched_is_swept() {
    on_fake("", "max = 1", |cloud, ec2| {
        killed_in_a_launch(cloud, ec2);
        let swept = cloud.world.finish(&["fleet", "sweep"]);
        assert_eq!(swept.code, Some(0), "{swept:#?}");
        assert!(ec2.alive().is_empty(), "{:#?}", ec2.alive());
        cloud.assert_nothing_is_left();
        right_verdicts(cloud, &cloud.world.check(&[]));
        assert_eq!(ec2.world().machines.len(), 2);
    });
}

#[test]
fn fault_30_an_instance_without_a_record_is_swept() {
    on_fake("", "max = 1", |cloud, ec2| {
        cloud.world.cells(&[("a", "", "echo a > $out")]);
        passed(&cloud.world.check(&[]));
        let other = "01890000000070008000000000000001";
        let lost = {
            let mut world = ec2.world();
            let mut lost: Machine = world.machines[0].clone();
            lost.id = "i-0000000000000beef".to_owned();
            other.clone_into(&mut lost.token);
            lost.tags.insert("croft:machine".to_owned(), other.to_owned());
            lost.state = State::Running;
            let mut strange = lost.clone();
            "i-0000000000000cafe".clone_into(&mut strange.id);
            "another".clone_into(&mut strange.token);
            strange.tags.insert("croft:farm".to_owned(), other.to_owned());
            world.machines.extend([lost.clone(), strange]);
            lost
        };
        let swept = cloud.world.finish(&["fleet", "sweep"]);
        assert_eq!(swept.code, Some(0), "{swept:#?}");
        assert!(format!("{}{}", swept.stdout, swept.stderr).contains("ended 1 machine"), "{swept:#?}");
        let state = ec2.machine(&lost.id).state;
        assert_eq!(state, State::Terminated, "the sweep waits until it is gone");
        assert_eq!(ec2.machine("i-0000000000000cafe").state, State::Running, "another farm's is spared");
    });
}

#[test]
fn fault_30_builds_of_a_killed_croft_are_made_again_on_its_machines() {
    on_fake("", "max = 2", |cloud, ec2| {
        cloud.world.cells(&[("good", "", "sleep 4; echo a > $out"), ("bad", "", "sleep 4; echo no; exit 1")]);
        let running = cloud.building();
        wait_until("two builds", || running.stderr().matches("building").count() == 2);
        running.signal(Signal::KILL);
        drop(running);
        right_verdicts(cloud, &cloud.world.check(&[]));
        assert_eq!(ec2.world().machines.len(), 2, "the machines were used again");
    });
}

#[test]
fn fault_30_machines_that_no_croft_comes_back_to_end_themselves() {
    on_moto("lease = \"6s\"", "max = 1", |cloud| {
        cloud.world.cells(&[("long", "", "sleep 60; echo a > $out")]);
        let running = cloud.building();
        running.signal(Signal::KILL);
        drop(running);
        cloud.bridge.wait_for("the machine to end itself", std::collections::BTreeMap::is_empty);
        let instances = cloud.bridge.instances();
        assert!(instances.len() == 1 && instances.values().all(|is_gone| *is_gone), "{instances:?}");
        let swept = cloud.world.finish(&["fleet", "sweep"]);
        assert_eq!(swept.code, Some(0), "{swept:#?}");
        cloud.assert_nothing_is_left();
    });
}

#[test]
fn fault_26_an_instance_that_cannot_be_seen_yet_is_waited_for() {
    on_fake("", "max = 3", |cloud, ec2| {
        cloud.world.cells(&[("a", "", "echo a > $out")]);
        ec2.rules(|rules| rules.hidden_for = 5);
        passed(&cloud.world.check(&[]));
        assert_eq!(ec2.world().machines.len(), 1, "one build, one machine");
        cloud.assert_nothing_is_left();
    });
}

#[test]
fn fault_27_another_type_is_launched_when_one_is_sold_out() {
    on_fake("", "max = 1", |cloud, ec2| {
        ec2.rules(|rules| rules.sold_out.push(Offer { kind: Some("c7i.large"), ..Offer::default() }));
        cloud.world.cells(&[("a", "", "echo a > $out")]);
        passed(&cloud.world.check(&[]));
        let kinds: Vec<String> = ec2.world().machines.iter().map(|machine| machine.kind.clone()).collect();
        assert_eq!(kinds, ["c7a.large"]);
        assert!(cloud.world.events().iter().any(|event| event.contains("capacity")));
        cloud.assert_nothing_is_left();
    });
}

/// Orders are refused: the reason is in the queue, and EC2 is asked once.
fn refused(cloud: &Cloud, ec2: &FakeEc2, words: &str) {
    cloud.world.cells(&[("a", "", "echo a > $out")]);
    let running = cloud.start();
    cloud.wait_for_reason(words);
    let calls = ec2.calls("RunInstances");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((ec2.calls("RunInstances"), calls), (1, 1), "asked again and again");
    running.signal(Signal::INT);
    assert_eq!(end(running).code, Some(130));
    assert!(ec2.world().machines.is_empty());
    cloud.assert_nothing_is_left();
}

#[test]
fn fault_27_a_limit_of_the_account_is_the_reason_in_the_queue() {
    on_fake("", "max = 1", |cloud, ec2| {
        ec2.rules(|rules| rules.quota = 0);
        refused(cloud, ec2, "a limit of the account is reached");
    });
}

#[test]
fn fault_27_refused_credentials_pause_the_pool_and_say_so() {
    on_fake("", "max = 1", |cloud, ec2| {
        ec2.fail(Fault::next("RunInstances", How::Refused(403, "UnauthorizedOperation")).times(1000));
        refused(cloud, ec2, "refuses the credentials");
    });
}

#[test]
fn fault_28_nothing_is_concluded_from_half_a_list() {
    on_fake("", "max = 2", |cloud, ec2| {
        cloud.world.cells(&[("a", "", "sleep 6; echo a > $out"), ("b", "", "sleep 6; echo b > $out")]);
        ec2.rules(|rules| rules.page = 1);
        let running = cloud.building();
        wait_until("two builds", || running.stderr().matches("building").count() == 2);
        let listed = ec2.calls("DescribeInstances");
        for _ in 0..4 {
            ec2.fail(Fault::next("DescribeInstances", How::Refused(400, "InternalErrorOfAPage")).after(1));
        }
        passed(&end(running));
        assert!(ec2.calls("DescribeInstances") > listed, "nobody has looked");
        assert_eq!(ec2.world().machines.len(), 2, "no machine was replaced");
        assert_eq!(
            (outcomes(cloud, "a"), outcomes(cloud, "b")),
            (vec!["passed".to_owned()], vec!["passed".to_owned()])
        );
        cloud.assert_nothing_is_left();
    });
}

#[test]
fn fault_28_a_sweep_that_sees_half_a_list_does_not_say_that_all_is_well() {
    on_fake("", "max = 1", |cloud, ec2| {
        cloud.world.cells(&[("long", "", "sleep 60; echo a > $out")]);
        let running = cloud.building();
        running.signal(Signal::KILL);
        drop(running);
        ec2.fail(Fault::next("DescribeInstances", How::Refused(400, "InternalErrorOfAPage")).times(4));
        let swept = cloud.world.finish(&["fleet", "sweep"]);
        assert_eq!(swept.code, Some(0), "{swept:#?}");
        assert!(ec2.alive().is_empty(), "{:#?}", ec2.alive());
        cloud.assert_nothing_is_left();
    });
}

#[test]
fn fault_29_an_end_that_fails_for_a_while_is_asked_for_again() {
    on_fake("", "max = 1", |cloud, ec2| {
        cloud.world.cells(&[("a", "", "echo a > $out")]);
        ec2.fail(Fault::next("TerminateInstances", How::Refused(503, "Unavailable")).times(7));
        passed(&cloud.world.check(&[]));
        assert!(cloud.world.events().iter().any(|e| e.contains("Unavailable")));
        assert_eq!(ec2.world().machines.len(), 1);
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
