//! What any EC2 must do: the same steps against the fake one and against moto, so that the fake stays honest.

use std::sync::LazyLock;

use croft::fleet::{Class, InstanceId, InstanceState, MachineProvider, Market, Shape};

use crate::{
    fake_ec2::FakeEc2,
    moto::Moto,
    support::{World, until},
};

/// An image that moto knows.
const IMAGE: &str = "ami-12c6146b";

/// One for all tests; it takes seconds to start. Ends with this process. Each test has a farm of its own.
static MOTO: LazyLock<Option<Moto>> = LazyLock::new(Moto::start);

/// Runs `steps` against both; `more` are lines of `[pool.ec2]`.
async fn on_both(steps: impl AsyncFn(&World)) {
    let more = format!("ami = \"{IMAGE}\"");
    let ec2 = FakeEc2::start();
    ec2.rules(|rules| {
        rules.images.insert(IMAGE.to_owned());
    });
    steps(&World::new(ec2.endpoint(), &more)).await;
    if let Some(moto) = tokio::task::block_in_place(|| MOTO.as_ref()) {
        steps(&World::new(moto.endpoint(), &more)).await;
    }
}

fn shape(market: Market) -> Shape {
    Shape { instance_type: Some("c6i.large".to_owned()), zone: Some("eu-central-1b".to_owned()), market }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_launched_seen_and_ended() {
    on_both(async |world: &World| {
        let provider = world.provider(3).await;
        assert_eq!(provider.list().await.unwrap(), []);
        let order = world.order(shape(Market::OnDemand));
        let launched = provider.launch(&order).await.unwrap();
        assert_eq!(launched.machine, Some(order.machine));
        let running = until(&provider, &launched, InstanceState::Running).await;
        let address = crate::support::address(&running);
        assert!(address.host.parse::<std::net::Ipv4Addr>().unwrap().is_private(), "{address}");
        assert_eq!(address.port, 22);
        assert!(running.launched.is_some());
        let listed = provider.list().await.unwrap();
        assert_eq!(listed.iter().map(|instance| &instance.id).collect::<Vec<_>>(), [&launched.id]);
        provider.console(&launched.id).await.unwrap();
        provider.terminate(&launched.id).await.unwrap();
        let gone = until(&provider, &launched, InstanceState::Gone).await;
        assert!(gone.why.unwrap().contains("Client.UserInitiatedShutdown"));
        assert_eq!(provider.list().await.unwrap(), []);
        provider.terminate(&launched.id).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spot_machine_is_launched_and_not_interrupted() {
    on_both(async |world: &World| {
        let provider = world.provider(3).await;
        let launched = provider.launch(&world.order(shape(Market::Spot))).await.unwrap();
        until(&provider, &launched, InstanceState::Running).await;
        let listed = provider.list().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert!(!listed[0].interrupted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_sleeps_and_wakes() {
    on_both(async |world: &World| {
        let provider = world.provider(3).await;
        let launched = provider.launch(&world.order(shape(Market::OnDemand))).await.unwrap();
        until(&provider, &launched, InstanceState::Running).await;
        let dormancy = provider.dormancy().unwrap();
        dormancy.stop(&launched.id).await.unwrap();
        until(&provider, &launched, InstanceState::Stopped).await;
        assert_eq!(provider.list().await.unwrap().len(), 1);
        dormancy.start(&launched.id).await.unwrap();
        until(&provider, &launched, InstanceState::Running).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_instance_is_gone() {
    on_both(async |world: &World| {
        let provider = world.provider(3).await;
        let id = InstanceId::new("i-0123456789abcdef0").unwrap();
        assert_eq!(provider.get(&id).await.unwrap_err().class, Class::Gone);
        provider.terminate(&id).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_image_is_a_wrong_order() {
    on_both(async |world: &World| {
        let mut pool = world.pool.clone();
        pool.ec2.as_mut().unwrap().ami = Some("ami-00000000".to_owned());
        let world = World { farm: world.farm, pool };
        let error = world.provider(3).await.launch(&world.order(shape(Market::OnDemand))).await.unwrap_err();
        assert_eq!(error.class, Class::Invalid, "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_pages_are_read() {
    on_both(async |world: &World| {
        let provider = world.provider(3).await;
        for _ in 0..7 {
            provider.launch(&world.order(shape(Market::OnDemand))).await.unwrap();
        }
        assert_eq!(provider.list().await.unwrap().len(), 7);
    })
    .await;
}
