//! Machines that are stopped instead of ended.

use croft::fleet::{Class, InstanceState, MachineProvider};

use crate::{
    fake_ec2::FakeEc2,
    support::{World, fake, spot, until, usual},
};

#[tokio::test]
async fn a_stopped_machine_starts_again() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    let dormancy = provider.dormancy().unwrap();
    assert_eq!(dormancy.stop(&launched.id).await.unwrap_err().class, Class::Retry, "it is pending");
    until(&provider, &launched, InstanceState::Running).await;
    dormancy.stop(&launched.id).await.unwrap();
    assert_eq!(dormancy.start(&launched.id).await.unwrap_err().class, Class::Retry, "it is stopping");
    until(&provider, &launched, InstanceState::Stopped).await;
    assert_eq!(provider.list().await.unwrap().len(), 1, "a stopped one is not gone");
    dormancy.stop(&launched.id).await.unwrap();
    dormancy.start(&launched.id).await.unwrap();
    until(&provider, &launched, InstanceState::Running).await;
    dormancy.start(&launched.id).await.unwrap();
    provider.terminate(&launched.id).await.unwrap();
    until(&provider, &launched, InstanceState::Gone).await;
    assert_eq!(dormancy.start(&launched.id).await.unwrap_err().class, Class::Retry);
    ec2.assert_sound();
}

#[tokio::test]
async fn a_spot_machine_cannot_be_stopped_and_says_so() {
    let (_ec2, world): (FakeEc2, World) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(spot("c7i.large", "eu-central-1a"))).await.unwrap();
    let error = provider.dormancy().unwrap().stop(&launched.id).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.to_string().contains("one-time request"), "{error}");
}

#[tokio::test]
async fn a_machine_that_never_stops_is_told_as_stopping() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    until(&provider, &launched, InstanceState::Running).await;
    ec2.rules(|rules| rules.ending_for = u32::MAX);
    provider.dormancy().unwrap().stop(&launched.id).await.unwrap();
    for _ in 0..3 {
        assert_eq!(provider.get(&launched.id).await.unwrap().state, InstanceState::Stopping);
    }
}
