//! What a refused call means, and that nothing is repeated without end.

use std::process::Command;

use croft::fleet::{Caller, Class, Ec2, MachineProvider, open_ec2};

use crate::{
    fake_ec2::{FakeEc2, Fault, How, Market, Offer},
    support::{World, fake, fake_with, on_demand, quick, spot, usual},
};

#[tokio::test]
async fn fault_27_what_is_sold_out_is_had_in_another_shape() {
    let (ec2, world) = fake();
    ec2.rules(|rules| {
        rules.sold_out = vec![
            Offer { kind: Some("c7i.large"), zone: Some("eu-central-1a"), ..Offer::default() },
            Offer { market: Some(Market::Spot), ..Offer::default() },
        ];
    });
    let provider = world.provider(3).await;
    for shape in [usual(), spot("c7a.large", "eu-central-1b")] {
        let error = provider.launch(&world.order(shape.clone())).await.unwrap_err();
        assert_eq!(error.class, Class::Capacity, "{error}");
        assert!(error.to_string().contains(&shape.to_string()), "{error}");
    }
    for shape in [on_demand("c7i.large", "eu-central-1b"), on_demand("c7a.large", "eu-central-1a")] {
        provider.launch(&world.order(shape)).await.unwrap();
    }
    assert_eq!(ec2.alive().len(), 2);
}

#[tokio::test]
async fn fault_27_a_throttled_call_is_repeated_a_few_times_and_then_told() {
    let (ec2, world) = fake();
    let provider = world.provider(2).await;
    ec2.fail(Fault::throttled("RunInstances"));
    let order = world.order(usual());
    provider.launch(&order).await.unwrap();
    assert_eq!(ec2.calls("RunInstances"), 2);
    ec2.fail(Fault::throttled("DescribeInstances").times(100));
    let error = provider.list().await.unwrap_err();
    assert_eq!(error.class, Class::Retry);
    assert!(error.to_string().contains("RequestLimitExceeded"), "{error}");
    assert_eq!(ec2.calls("DescribeInstances"), 2, "no call is repeated for ever");
}

#[tokio::test]
async fn fault_27_limits_and_refusals_have_their_class_and_are_not_repeated() {
    let (ec2, world) = fake();
    let provider = world.provider(3).await;
    ec2.rules(|rules| rules.quota = 0);
    let error = provider.launch(&world.order(usual())).await.unwrap_err();
    assert_eq!(error.class, Class::Quota, "{error}");
    assert_eq!(ec2.calls("RunInstances"), 1);
    ec2.rules(|rules| rules.quota = 10);
    let stranger = world.provider_of("AKIASTRANGER", 3).await;
    for error in [
        stranger.launch(&world.order(usual())).await.map(drop).unwrap_err(),
        stranger.list().await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.class, Class::Credentials, "{error}");
        assert!(error.to_string().contains("docs/ec2.md"), "{error}");
    }
    assert_eq!(ec2.calls("DescribeInstances"), 1);
    ec2.fail(Fault::next("RunInstances", How::Refused(403, "UnauthorizedOperation")));
    let error = provider.launch(&world.order(usual())).await.unwrap_err();
    assert_eq!(error.class, Class::Credentials, "{error}");
    ec2.fail(Fault::next("RunInstances", How::Refused(400, "NobodyHasHeardOfThis")));
    let error = provider.launch(&world.order(usual())).await.unwrap_err();
    assert_eq!(error.class, Class::Retry);
    assert!(error.to_string().contains("NobodyHasHeardOfThis"), "{error}");
    assert_eq!(ec2.alive().len(), 0);
}

#[tokio::test]
async fn an_order_that_names_what_is_not_there_is_refused_as_wrong() {
    for (more, part) in [
        ("ami = \"ami-none\"", "ami-none"),
        ("ami = \"ami-debian\"\nsubnets = [\"subnet-x\", \"subnet-y\"]", "subnet-x"),
        ("launch_template = \"none\"", "none"),
    ] {
        let (ec2, world) = fake_with(more);
        let error = world.provider(3).await.launch(&world.order(usual())).await.unwrap_err();
        assert_eq!(error.class, Class::Invalid, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(ec2.alive().len(), 0);
    }
}

#[tokio::test]
async fn a_broken_ec2_is_no_answer() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let launched = provider.launch(&world.order(usual())).await.unwrap();
    for how in [
        How::Refused(500, "InternalError"),
        How::Refused(503, "Unavailable"),
        How::Refused(502, ""),
        How::Dropped,
        How::Garbage,
    ] {
        ec2.fail(Fault::next("DescribeInstances", how.clone()));
        let error = provider.get(&launched.id).await.unwrap_err();
        assert_eq!(error.class, Class::Retry, "{how:?}: {error}");
    }
}

#[tokio::test]
async fn an_ec2_that_is_not_there_is_no_answer() {
    let endpoint = FakeEc2::start().endpoint().to_owned();
    let world = World::new(&endpoint, "ami = \"ami-debian\"");
    let error = world.provider(1).await.list().await.unwrap_err();
    assert_eq!(error.class, Class::Retry);
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}

#[tokio::test]
async fn a_hostile_message_is_shown_short_and_without_escapes() {
    let (ec2, world) = fake();
    let provider = world.provider(1).await;
    let name: &'static str = Box::leak(format!("Evil\u{202e}{}", "x".repeat(5000)).into_boxed_str());
    ec2.fail(Fault::next("DescribeInstances", How::Refused(400, name)));
    let error = provider.list().await.unwrap_err().to_string();
    assert!(error.chars().count() < 500 && !error.contains('\u{202e}'), "{error:?}");
}

/// What a croft without and with credentials in its environment does: run by the test below in processes of their own.
#[tokio::test]
#[ignore = "a part of another test"]
async fn child_with_its_own_environment() {
    let Ok(endpoint) = std::env::var("CROFT_TEST_ENDPOINT") else { return };
    let mut world = World::new(&endpoint, "ami = \"ami-debian\"");
    let listed = Ec2::open(world.farm, &world.pool, Caller::Configured, quick(1)).await.unwrap();
    match listed.list().await {
        Ok(found) => eprintln!("listed {}", found.len()),
        Err(error) => eprintln!("{:?} {error}", error.class),
    }
    world.pool.ec2.as_mut().unwrap().region = None;
    match open_ec2(world.farm, &world.pool).await {
        Ok(_) => eprintln!("has a region"),
        Err(error) => eprintln!("{:?} {error}", error.class),
    }
}

#[test]
fn credentials_and_region_come_from_the_environment_and_their_lack_is_said() {
    let ec2 = FakeEc2::start();
    let child = |variables: &[(&str, &str)]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "errors::child_with_its_own_environment", "--ignored", "--nocapture"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("CROFT_TEST_ENDPOINT", ec2.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_CONFIG_FILE", "/nonexistent").env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = child(&[]);
    assert!(said.contains("Credentials listing the instances"), "{said}");
    assert!(said.contains("AWS_ACCESS_KEY_ID"), "{said}");
    assert!(said.contains("no region is known"), "{said}");
    let keys =
        [("AWS_ACCESS_KEY_ID", "AKIAFAKE"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "eu-west-1")];
    let said = child(&keys);
    assert!(said.contains("listed 0") && said.contains("has a region"), "{said}");
}
