//! A farm, its pool and its orders.

use std::time::Duration;

use croft::{
    clock::{Clock, SystemClock},
    config::{PoolSettings, Settings},
    fleet::{
        Address, Caller, Ec2, Identity, Instance, InstanceState, LaunchOrder, MachineProvider, Market,
        Patience, Reach, Secret, Shape,
    },
    ids::{FarmId, MachineId},
};

use crate::fake_ec2::FakeEc2;

/// A text that must not be seen anywhere.
pub(crate) const HOST_KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nnobody-may-see-this-host-key\n-----END";
/// Another.
pub(crate) const SECRET_KEY: &str = "nobody-may-see-this-secret-key";

/// A farm with a pool on some EC2.
pub(crate) struct World {
    pub(crate) farm: FarmId,
    pub(crate) pool: PoolSettings,
}

impl World {
    /// A pool on an endpoint; `more` are further lines of `[pool.ec2]`.
    pub(crate) fn new(endpoint: &str, more: &str) -> Self {
        let toml = format!(
            "[[pool]]\nname = \"cloud\"\nprovider = \"ec2\"\nsystems = [\"x86_64-linux\"]\nmax = 9\n\
             types = [\"c7i.large\", \"c7a.large\"]\nzones = [\"eu-central-1a\", \"eu-central-1b\"]\n\
             [pool.ec2]\nregion = \"eu-central-1\"\nendpoint = \"{endpoint}\"\nsetup = \"image\"\n{more}\n"
        );
        let mut settings: Settings = toml::from_str(&toml).unwrap();
        Self { farm: FarmId::new(SystemClock.now()), pool: settings.pool.remove(0) }
    }

    /// Its provider; a call is tried `attempts` times.
    pub(crate) async fn provider(&self, attempts: u32) -> Ec2 {
        self.provider_of("AKIAFAKE", attempts).await
    }

    /// Its provider, for the owner of a key.
    pub(crate) async fn provider_of(&self, key: &str, attempts: u32) -> Ec2 {
        let caller = Caller::Keys { id: key.to_owned(), secret: Secret::new(SECRET_KEY.to_owned()) };
        Ec2::open(self.farm, &self.pool, caller, quick(attempts)).await.unwrap()
    }

    /// An order for a new machine.
    pub(crate) fn order(&self, shape: Shape) -> LaunchOrder {
        let now = SystemClock.now();
        LaunchOrder {
            farm: self.farm,
            machine: MachineId::new(now),
            name: "cloud-3fa2c1".to_owned(),
            pool: self.pool.name.clone(),
            shape,
            identity: Identity {
                host_key: Secret::new(HOST_KEY.to_owned()),
                host_key_public: "ssh-ed25519 AAAAhost".to_owned(),
                authorized_key: "ssh-ed25519 AAAAfarm farm".to_owned(),
            },
            lease: Duration::from_secs(600),
            expires: now.plus(Duration::from_secs(86_400)),
        }
    }
}

/// A fake EC2 and a pool on it.
pub(crate) fn fake() -> (FakeEc2, World) {
    fake_with("ami = \"ami-debian\"")
}

/// A fake EC2 and a pool on it, with these lines of `[pool.ec2]`.
pub(crate) fn fake_with(more: &str) -> (FakeEc2, World) {
    let ec2 = FakeEc2::start();
    let world = World::new(ec2.endpoint(), more);
    (ec2, world)
}

/// Little patience, so that no test waits for long.
pub(crate) fn quick(attempts: u32) -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        attempt: Duration::from_secs(20),
        call: Duration::from_secs(60),
        attempts,
        backoff: Duration::from_millis(5),
    }
}

/// A machine at the list price.
pub(crate) fn on_demand(kind: &str, zone: &str) -> Shape {
    Shape { instance_type: Some(kind.to_owned()), zone: Some(zone.to_owned()), market: Market::OnDemand }
}

/// A machine of the spot market.
pub(crate) fn spot(kind: &str, zone: &str) -> Shape {
    Shape { market: Market::Spot, ..on_demand(kind, zone) }
}

/// The usual shape.
pub(crate) fn usual() -> Shape {
    on_demand("c7i.large", "eu-central-1a")
}

/// Where an instance is reached.
pub(crate) fn address(instance: &Instance) -> Address {
    match instance.address.clone() {
        Some(Reach::Ssh(address)) => address,
        other => panic!("{} is reached at {other:?}", instance.id),
    }
}

/// Looks at an instance until it is in a state.
pub(crate) async fn until(provider: &Ec2, instance: &Instance, state: InstanceState) -> Instance {
    for _ in 0..200 {
        let seen = provider.get(&instance.id).await.unwrap();
        if seen.state == state {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} has never been {state:?}", instance.id);
}
