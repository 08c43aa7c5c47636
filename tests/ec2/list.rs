//! What is told of instances: all of them or an error, with their ends and the reasons.

use croft::{
    clock::Timestamp,
    fleet::{Class, InstanceState, MachineProvider},
    ids::FarmId,
};

use crate::{
    fake_ec2::{Fault, How, State},
    support::{World, fake, spot, until, usual},
};

#[tokio::test]
async fn a_list_has_the_instances_of_all_pages_and_of_this_farm_alone() {
    let (ec2, world) = fake();
    ec2.rules(|rules| rules.page = 2);
    let provider = world.provider(1).await;
    let mut machines = Vec::new();
    for _ in 0..5 {
        let order = world.order(usual());
        provider.launch(&order).await.unwrap();
        machines.push(order.machine);
    }
    let other = World { farm: FarmId::new(Timestamp::from_millis(5)), pool: world.pool.clone() };
    other.provider(1).await.launch(&other.order(usual())).await.unwrap();
    let mut found: Vec<_> =
        provider.list().await.unwrap().into_iter().map(|instance| instance.machine.unwrap()).collect();
    found.sort_unstable();
    machines.sort_unstable();
    assert_eq!(found, machines);
    assert_eq!(ec2.calls("DescribeInstances"), 3);
}

#[tokio::test]
async fn fault_28_a_list_that_breaks_off_is_an_error_and_never_a_part() {
    for how in [
        How::Refused(503, "Unavailable"),
        How::Refused(400, "UnauthorizedOperation"),
        How::ReplyLost,
        How::Garbage,
    ] {
        let (ec2, world) = fake();
        ec2.rules(|rules| rules.page = 2);
        let provider = world.provider(1).await;
        for _ in 0..3 {
            provider.launch(&world.order(usual())).await.unwrap();
        }
        ec2.fail(Fault::next("DescribeInstances", how.clone()).after(1));
        let error = provider.list().await.expect_err("the second page is missing");
        assert!(error.to_string().starts_with("listing the instances of farm"), "{how:?}: {error}");
        assert_eq!(provider.list().await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn fault_21_a_spot_instance_tells_that_it_will_be_taken_back_and_why_it_was() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(spot("c7i.large", "eu-central-1a"))).await.unwrap();
    let spared = provider.launch(&world.order(spot("c7i.large", "eu-central-1a"))).await.unwrap();
    until(&provider, &launched, InstanceState::Running).await;
    ec2.give_notice(launched.id.as_str());
    for seen in provider.list().await.unwrap() {
        assert_eq!(seen.interrupted, seen.id == launched.id, "{seen:?}");
    }
    let seen = provider.get(&launched.id).await.unwrap();
    assert_eq!((seen.state, seen.interrupted), (InstanceState::Running, true));
    assert!(seen.why.unwrap().contains("marked-for-termination"));
    ec2.reclaim(launched.id.as_str());
    let seen = provider.get(&launched.id).await.unwrap();
    assert_eq!((seen.state, seen.interrupted), (InstanceState::Terminating, true));
    let seen = until(&provider, &launched, InstanceState::Gone).await;
    assert!(seen.interrupted && seen.why.unwrap().contains("Server.SpotInstanceTermination"));
    assert!(!provider.get(&spared.id).await.unwrap().interrupted);
}

#[tokio::test]
async fn a_list_does_not_fail_for_want_of_a_hint() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    provider.launch(&world.order(spot("c7i.large", "eu-central-1a"))).await.unwrap();
    ec2.fail(Fault::next("DescribeSpotInstanceRequests", How::Refused(403, "UnauthorizedOperation")));
    assert_eq!(provider.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_instance_that_ends_instead_of_starting_says_why() {
    let (ec2, world) = fake();
    ec2.rules(|rules| {
        rules.stillborn =
            Some(("Server.InternalError", "Server.InternalError: Internal error on launch\u{1b}[2J"));
    });
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    let seen = until(&provider, &launched, InstanceState::Gone).await;
    assert_eq!(
        seen.why.as_deref(),
        Some("Server.InternalError: Server.InternalError: Internal error on launch")
    );
    assert!(!seen.interrupted);
    assert_eq!(provider.list().await.unwrap(), []);
}

#[tokio::test]
async fn an_instance_that_stays_pending_is_told_as_pending() {
    let (ec2, world) = fake();
    ec2.rules(|rules| rules.pending_for = u32::MAX);
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    for _ in 0..5 {
        assert_eq!(provider.get(&launched.id).await.unwrap().state, InstanceState::Pending);
    }
}

#[tokio::test]
async fn fault_29_an_end_that_fails_can_be_repeated_until_the_instance_is_gone() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    ec2.fail(Fault::next("TerminateInstances", How::Refused(500, "InternalError")).times(2));
    for _ in 0..2 {
        let error = provider.terminate(&launched.id).await.unwrap_err();
        assert_eq!(error.class, Class::Retry, "{error}");
        assert_ne!(provider.get(&launched.id).await.unwrap().state, InstanceState::Terminating);
    }
    provider.terminate(&launched.id).await.unwrap();
    until(&provider, &launched, InstanceState::Gone).await;
    provider.terminate(&launched.id).await.unwrap();
    ec2.world().machines.clear();
    provider.terminate(&launched.id).await.unwrap();
}

#[tokio::test]
async fn an_end_that_lasts_is_told_and_stays_in_the_list() {
    let (ec2, world) = fake();
    ec2.rules(|rules| rules.ending_for = u32::MAX);
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    provider.terminate(&launched.id).await.unwrap();
    let seen = provider.list().await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].state, InstanceState::Terminating);
}

#[tokio::test]
async fn a_machine_that_switches_itself_off_is_gone() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    ec2.power_off(launched.id.as_str());
    let seen = until(&provider, &launched, InstanceState::Gone).await;
    assert!(seen.why.unwrap().contains("Client.InstanceInitiatedShutdown"));
    assert_eq!(ec2.machine(launched.id.as_str()).state, State::Terminated);
}

#[tokio::test]
async fn what_others_have_written_into_tags_is_not_believed() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    let set = |key: &str, value: &str| {
        ec2.world().machine(launched.id.as_str()).unwrap().tags.insert(key.to_owned(), value.to_owned());
    };
    set("croft:machine", "\u{1b}]0;x\u{7}");
    assert_eq!(provider.list().await.unwrap()[0].machine, None);
    ec2.set_address(launched.id.as_str(), "-oProxyCommand=x");
    assert_eq!(provider.get(&launched.id).await.unwrap().address, None);
}

#[tokio::test]
async fn the_console_is_the_end_of_what_was_written() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    assert_eq!(provider.console(&launched.id).await.unwrap(), b"");
    let text = format!("{}\nKernel panic\n", "x".repeat(100_000));
    ec2.world().machine(launched.id.as_str()).unwrap().console = text;
    let console = provider.console(&launched.id).await.unwrap();
    assert_eq!(console.len(), 64 << 10);
    assert!(console.ends_with(b"\nKernel panic\n"));
    ec2.fail(Fault::next("GetConsoleOutput", How::Refused(400, "UnsupportedOperation")));
    assert_eq!(provider.console(&launched.id).await.unwrap(), console);
    let other = croft::fleet::InstanceId::new("i-none").unwrap();
    assert_eq!(provider.console(&other).await.unwrap_err().class, Class::Gone);
}
