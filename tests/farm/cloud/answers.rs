//! EC2 answers late, wrongly, with half the truth or not at all, and croft is killed in between.

use super::*;

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
