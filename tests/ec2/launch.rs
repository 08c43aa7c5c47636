//! What a launch asks for, and that it never makes two machines of one order.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use croft::fleet::{Class, Ec2, InstanceState, MachineProvider, Market, Patience, Shape};

use crate::{
    fake_ec2::{Event, Fault, How},
    support::{HOST_KEY, fake, fake_with, on_demand, quick, spot, usual},
};

#[tokio::test]
async fn a_launch_asks_for_all_that_the_pool_says() {
    let (ec2, world) = fake_with(
        "ami = \"ami-debian\"\nsubnets = [\"subnet-a\", \"subnet-b\"]\nsecurity_groups = [\"sg-1\", \"sg-2\"]\n\
         disk_gib = 80\nnested_virtualization = true",
    );
    let order = world.order(spot("c8i.large", "eu-central-1b"));
    let launched = world.provider(1).await.launch(&order).await.unwrap();
    let seen = ec2.machine(launched.id.as_str());
    let expected = [
        ("ClientToken", order.machine.to_string().as_str()),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("ImageId", "ami-debian"),
        ("InstanceType", "c8i.large"),
        ("SubnetId", "subnet-b"),
        ("SecurityGroupId.1", "sg-1"),
        ("SecurityGroupId.2", "sg-2"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "80"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("CpuOptions.NestedVirtualization", "enabled"),
        ("InstanceInitiatedShutdownBehavior", "terminate"),
        ("InstanceMarketOptions.MarketType", "spot"),
        ("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"),
        ("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior", "terminate"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("MetadataOptions.InstanceMetadataTags", "disabled"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in expected {
        assert_eq!(seen.parameters.get(&name), Some(&value), "{name}: {:#?}", seen.parameters);
    }
    assert!(!seen.parameters.keys().any(|name| name.starts_with("IamInstanceProfile")));
    assert_eq!(seen.tags["croft:farm"], world.farm.to_string());
    assert_eq!(seen.tags["croft:machine"], order.machine.to_string());
    assert_eq!(seen.tags["croft:pool"], "cloud");
    assert_eq!(seen.tags["croft:expires"], order.expires.to_string());
    assert_eq!(seen.tags["Name"], "cloud-3fa2c1");
    assert_eq!(seen.tags, seen.volume_tags);
    let told = String::from_utf8(BASE64_STANDARD.decode(&seen.user_data).unwrap()).unwrap();
    assert!(told.contains(&BASE64_STANDARD.encode(format!("{HOST_KEY}\n"))), "{told}");
    assert_eq!(launched.machine, Some(order.machine));
    assert_eq!(launched.state, InstanceState::Pending);
    assert_eq!(launched.address.unwrap().to_string(), format!("{}:22", seen.private_ip));
    assert_eq!(launched.launched.unwrap().as_millis(), seen.launched * 1000);
    ec2.assert_sound();
}

#[tokio::test]
async fn a_machine_at_the_list_price_names_its_zone_and_no_market() {
    let (ec2, world) = fake();
    let order = world.order(on_demand("c7a.large", "eu-central-1b"));
    let launched = world.provider(1).await.launch(&order).await.unwrap();
    let seen = ec2.machine(launched.id.as_str());
    assert_eq!(seen.parameters["Placement.AvailabilityZone"], "eu-central-1b");
    assert!(!seen.parameters.keys().any(|name| name.starts_with("InstanceMarketOptions")));
    assert!(!seen.parameters.keys().any(|name| name.starts_with("CpuOptions")));
    assert_eq!(seen.parameters.get("SubnetId"), None);
    assert_eq!(seen.parameters["BlockDeviceMapping.1.Ebs.VolumeSize"], "8", "the image's own");
    assert_eq!(seen.parameters["BlockDeviceMapping.1.Ebs.DeleteOnTermination"], "true");
}

#[tokio::test]
async fn a_launch_template_gives_what_the_pool_does_not() {
    for (name, parameter) in [
        ("farm-builder", "LaunchTemplate.LaunchTemplateName"),
        ("lt-0abc", "LaunchTemplate.LaunchTemplateId"),
    ] {
        let (ec2, world) = fake_with(&format!("launch_template = \"{name}\""));
        ec2.rules(|rules| {
            rules.templates.insert(name.to_owned(), ("ami-nixos".to_owned(), "m7i.large".to_owned()));
        });
        let order = world.order(Shape { instance_type: None, zone: None, market: Market::OnDemand });
        let launched = world.provider(1).await.launch(&order).await.unwrap();
        let seen = ec2.machine(launched.id.as_str());
        assert_eq!(seen.parameters.get(parameter).map(String::as_str), Some(name));
        assert_eq!(seen.kind, "m7i.large");
        assert_eq!(ec2.calls("DescribeImages"), 0);
    }
}

#[tokio::test]
async fn a_public_address_is_asked_for_and_used() {
    let (ec2, world) = fake_with(
        "ami = \"ami-debian\"\npublic_address = true\nsubnets = [\"subnet-a\", \"subnet-b\"]\nsecurity_groups = [\"sg-1\"]",
    );
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    let seen = ec2.machine(launched.id.as_str());
    assert_eq!(seen.parameters["NetworkInterface.1.SubnetId"], "subnet-a");
    assert_eq!(seen.parameters["NetworkInterface.1.SecurityGroupId.1"], "sg-1");
    assert_eq!(launched.address, None, "there is none before it runs");
    let running = crate::support::until(&provider, &launched, InstanceState::Running).await;
    assert_eq!(crate::support::address(&running).host, seen.public_ip.unwrap());
}

#[tokio::test]
async fn a_disk_without_an_image_is_refused_before_anything_is_launched() {
    let (_ec2, world) = fake_with("launch_template = \"x\"\ndisk_gib = 50");
    let caller = croft::fleet::Caller::Configured;
    let error = Ec2::open(world.farm, &world.pool, caller, quick(1)).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.to_string().contains("pool cloud") && error.to_string().contains("ami"), "{error}");
}

#[tokio::test]
async fn user_data_that_ec2_would_refuse_is_not_sent() {
    let (ec2, world) = fake();
    let mut order = world.order(usual());
    order.identity.authorized_key = "x".repeat(20_000);
    let error = world.provider(1).await.launch(&order).await.unwrap_err();
    assert_eq!(error.class, Class::Invalid);
    assert!(error.to_string().contains("16384"), "{error}");
    assert_eq!(ec2.calls("RunInstances"), 0);
}

#[tokio::test]
async fn fault_25_a_launch_whose_answer_is_lost_gives_the_same_instance_when_repeated() {
    for how in [How::ReplyLost, How::Garbage, How::Dropped] {
        let (ec2, world) = fake();
        ec2.fail(Fault::next("RunInstances", how.clone()));
        let provider = world.provider(1).await;
        let order = world.order(usual());
        let error = provider.launch(&order).await.unwrap_err();
        assert_eq!(error.class, Class::Retry, "{how:?}: {error}");
        let launched = provider.launch(&order).await.unwrap();
        let again = provider.launch(&order).await.unwrap();
        assert_eq!(launched.id, again.id);
        assert_eq!(ec2.alive().len(), 1, "{how:?}");
        ec2.assert_sound();
    }
}

#[tokio::test]
async fn fault_25_the_sdk_repeats_a_lost_launch_with_the_same_token() {
    let (ec2, world) = fake();
    ec2.fail(Fault::next("RunInstances", How::ReplyLost).times(2));
    let launched = world.provider(3).await.launch(&world.order(usual())).await.unwrap();
    assert_eq!(ec2.calls("RunInstances"), 3);
    let repeated = ec2.world().events.iter().filter(|event| matches!(event, Event::Repeated { .. })).count();
    assert_eq!(repeated, 2);
    assert_eq!(ec2.alive().len(), 1);
    assert_eq!(ec2.alive()[0].id, launched.id.as_str());
}

#[tokio::test]
async fn fault_25_a_launch_that_is_never_answered_ends_and_can_be_repeated() {
    let (ec2, world) = fake();
    ec2.fail(Fault::next("RunInstances", How::Hangs));
    let caller = croft::fleet::Caller::Keys {
        id: "AKIAFAKE".to_owned(),
        secret: croft::fleet::Secret::new("s".to_owned()),
    };
    let patience = Patience { attempt: Duration::from_millis(400), ..quick(1) };
    let impatient = Ec2::open(world.farm, &world.pool, caller, patience).await.unwrap();
    let order = world.order(usual());
    let error = impatient.launch(&order).await.unwrap_err();
    assert_eq!(error.class, Class::Retry, "{error}");
    assert!(error.to_string().contains("in time"), "{error}");
    world.provider(1).await.launch(&order).await.unwrap();
    assert_eq!(ec2.alive().len(), 1);
}

#[tokio::test]
async fn another_shape_of_the_same_machine_finds_the_one_that_is_there() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let first = world.order(usual());
    let other = croft::fleet::LaunchOrder { shape: spot("c7a.large", "eu-central-1b"), ..first.clone() };
    ec2.rules(|rules| rules.hidden_for = 1);
    ec2.fail(Fault::next("RunInstances", How::ReplyLost));
    provider.launch(&first).await.unwrap_err();
    let error = provider.launch(&other).await.unwrap_err();
    assert_eq!(error.class, Class::Retry, "it is there, but cannot be seen yet: {error}");
    let found = provider.launch(&other).await.unwrap();
    assert_eq!(found.machine, Some(first.machine));
    assert_eq!(ec2.alive().len(), 1);
    ec2.assert_sound();
}

#[tokio::test]
async fn fault_26_an_instance_that_cannot_be_seen_yet_is_not_launched_again() {
    let (ec2, world) = fake();
    ec2.rules(|rules| rules.hidden_for = 3);
    let provider = world.provider(1).await;
    let order = world.order(usual());
    let launched = provider.launch(&order).await.unwrap();
    let error = provider.get(&launched.id).await.unwrap_err();
    assert_eq!(error.class, Class::Gone, "{error}");
    assert_eq!(provider.list().await.unwrap(), []);
    assert_eq!(provider.launch(&order).await.unwrap().id, launched.id);
    assert_eq!(provider.get(&launched.id).await.unwrap_err().class, Class::Gone);
    assert_eq!(provider.get(&launched.id).await.unwrap().machine, Some(order.machine));
    assert_eq!(provider.list().await.unwrap().len(), 1);
    assert_eq!(ec2.alive().len(), 1);
}
