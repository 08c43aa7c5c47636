//! A small EC2 on loopback that a test can make behave badly: the Query protocol in, XML out, for what croft calls.
//!
//! It is stricter than other stand-ins where it counts: tokens are idempotent, names must exist, limits hold. Time is
//! counted in looks: a state lasts for a number of `DescribeInstances` that show it, so that no test has to wait.
//! Signatures are not checked, only whose they are.

#![allow(dead_code, unused_imports, clippy::allow_attributes, reason = "each program uses its part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod actions;
mod faults;
mod launch;
mod server;
mod wire;
mod world;

use std::{
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard},
    thread::JoinHandle,
};

use tokio_util::sync::CancellationToken;

pub(crate) use faults::{Fault, How};
#[allow(unused_imports, reason = "each test program uses its part of this")]
pub(crate) use world::{Event, Machine, Market, Offer, Rules, State, World};

/// An EC2 of a test's own. Ends when it is dropped.
pub(crate) struct FakeEc2 {
    endpoint: String,
    world: Arc<Mutex<World>>,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl FakeEc2 {
    /// Starts one on a free port of loopback.
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Starts one on a listener, which may stand in another network.
    pub(crate) fn on(listener: TcpListener) -> Self {
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World::default()));
        let stop = CancellationToken::new();
        let server = std::thread::spawn({
            let (world, stop) = (Arc::clone(&world), stop.clone());
            move || server::run(listener, world, &stop)
        });
        Self { endpoint, world, stop, server: Some(server) }
    }

    /// Where it listens, as a URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All there is, to look at or to change.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes the rules.
    pub(crate) fn rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.world().rules);
    }

    /// Plans a fault.
    pub(crate) fn fail(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// How often an action was called.
    pub(crate) fn calls(&self, action: &str) -> usize {
        let is_it = |event: &&Event| matches!(event, Event::Called { action: own } if own == action);
        self.world().events.iter().filter(is_it).count()
    }

    /// The instances that are not terminated.
    pub(crate) fn alive(&self) -> Vec<Machine> {
        let world = self.world();
        world.machines.iter().filter(|machine| machine.state != State::Terminated).cloned().collect()
    }

    /// The instance of an id.
    pub(crate) fn machine(&self, id: &str) -> Machine {
        self.world().machine(id).expect("an instance of that id").clone()
    }

    /// Gives an instance the address of a real machine.
    pub(crate) fn set_address(&self, id: &str, address: &str) {
        let mut world = self.world();
        let machine = world.machine(id).expect("an instance of that id");
        address.clone_into(&mut machine.private_ip);
    }

    /// The instance switches itself off: it stops or ends, as it was launched.
    pub(crate) fn power_off(&self, id: &str) {
        self.world().power_off(id);
    }

    /// Tells that a spot instance will be taken back.
    pub(crate) fn give_notice(&self, id: &str) {
        self.world().machine(id).expect("an instance of that id").notice = true;
    }

    /// Takes a spot instance back.
    pub(crate) fn reclaim(&self, id: &str) {
        self.world().end(id, "Server.SpotInstanceTermination", "Spot instance termination");
    }

    /// Asserts what must hold whatever has happened: never two instances for one token, none without its tags.
    pub(crate) fn assert_sound(&self) {
        let world = self.world();
        for machine in &world.machines {
            let same = world.machines.iter().filter(|other| other.token == machine.token).count();
            assert_eq!(same, 1, "{} instances for the token {}", same, machine.token);
            for key in ["croft:farm", "croft:machine", "croft:pool", "croft:expires", "Name"] {
                assert!(machine.tags.contains_key(key), "{} was launched without {key}", machine.id);
                assert!(machine.volume_tags.contains_key(key), "a volume of {} has no {key}", machine.id);
            }
        }
    }
}

impl Drop for FakeEc2 {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            // A server that has panicked has printed why.
            server.join().ok();
        }
    }
}
