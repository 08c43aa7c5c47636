//! What there is, and how it changes when somebody looks.

use std::collections::{BTreeMap, BTreeSet};

use super::faults::Fault;

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl State {
    /// Its name and code on the wire.
    pub(super) fn on_wire(self) -> (&'static str, u16) {
        match self {
            Self::Pending => ("pending", 0),
            Self::Running => ("running", 16),
            Self::ShuttingDown => ("shutting-down", 32),
            Self::Terminated => ("terminated", 48),
            Self::Stopping => ("stopping", 64),
            Self::Stopped => ("stopped", 80),
        }
    }
}

/// How an instance is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Market {
    OnDemand,
    Spot,
}

/// An instance.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) kind: String,
    pub(crate) zone: String,
    pub(crate) market: Market,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) volume_tags: BTreeMap<String, String>,
    /// All parameters of the call that launched it.
    pub(crate) parameters: BTreeMap<String, String>,
    /// As it was sent: base64.
    pub(crate) user_data: String,
    pub(crate) private_ip: String,
    pub(crate) public_ip: Option<String>,
    pub(crate) state: State,
    pub(crate) reason: Option<(String, String)>,
    pub(crate) launched: u64,
    /// Whether it will be taken back soon.
    pub(crate) notice: bool,
    pub(crate) console: String,
    /// Whether its own poweroff ends it.
    pub(crate) ends_at_poweroff: bool,
    /// Looks until it can be seen at all.
    pub(super) hidden: u32,
    /// Looks until its state changes by itself.
    pub(super) left: u32,
}

/// Something to launch; what is none is any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    pub(crate) kind: Option<&'static str>,
    pub(crate) zone: Option<&'static str>,
    pub(crate) market: Option<Market>,
}

/// How this EC2 behaves.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The access keys that it knows.
    pub(crate) keys: BTreeSet<String>,
    pub(crate) images: BTreeSet<String>,
    /// Subnets and their zones.
    pub(crate) subnets: BTreeMap<String, String>,
    /// Launch templates, by name or id: an image and a type.
    pub(crate) templates: BTreeMap<String, (String, String)>,
    /// What is not to be had.
    pub(crate) sold_out: Vec<Offer>,
    /// The most instances that are not terminated.
    pub(crate) quota: usize,
    /// The most instances of a page.
    pub(crate) page: usize,
    /// Looks for which a new instance cannot be seen.
    pub(crate) hidden_for: u32,
    /// Looks for which a new instance is pending; the largest number: for ever.
    pub(crate) pending_for: u32,
    /// Looks for which an instance is stopping or shutting down; the largest number: for ever.
    pub(crate) ending_for: u32,
    /// Why new instances end instead of running: a code and a message.
    pub(crate) stillborn: Option<(&'static str, &'static str)>,
}

impl Default for Rules {
    fn default() -> Self {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            keys: BTreeSet::from(["AKIAFAKE".to_owned()]),
            images: ["ami-debian", "ami-nixos", "ami-12c6146b"].map(str::to_owned).into(),
            subnets: [("subnet-a", "eu-central-1a"), ("subnet-b", "eu-central-1b")].map(owned).into(),
            templates: BTreeMap::new(),
            sold_out: Vec::new(),
            quota: 100,
            page: 1000,
            hidden_for: 0,
            pending_for: 1,
            ending_for: 1,
            stillborn: None,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// An action was called.
    Called { action: String },
    /// An instance was launched.
    Launched { id: String, token: String },
    /// A call with a known token gave an instance that was there.
    Repeated { id: String },
    /// Somebody asked for the end of an instance.
    Terminated { id: String },
    /// A call was refused.
    Refused { action: String, code: String },
}

/// All there is.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) machines: Vec<Machine>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) events: Vec<Event>,
    /// What a token was used for.
    pub(super) tokens: BTreeMap<String, (BTreeMap<String, String>, String)>,
}

impl World {
    /// An instance.
    pub(crate) fn machine(&mut self, id: &str) -> Option<&mut Machine> {
        self.machines.iter_mut().find(|machine| machine.id == id)
    }

    /// The instance switches itself off.
    pub(super) fn power_off(&mut self, id: &str) {
        let ends = self.machine(id).expect("an instance of that id").ends_at_poweroff;
        let message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown";
        if ends {
            self.end(id, "Client.InstanceInitiatedShutdown", message);
        } else {
            self.move_to(id, State::Stopping, "Client.InstanceInitiatedShutdown", message);
        }
    }

    /// The instance begins to end.
    pub(super) fn end(&mut self, id: &str, code: &str, message: &str) {
        self.move_to(id, State::ShuttingDown, code, message);
    }

    /// The instance changes its state, and says why.
    pub(super) fn move_to(&mut self, id: &str, state: State, code: &str, message: &str) {
        let left = match state {
            State::Pending => self.rules.pending_for,
            State::ShuttingDown | State::Stopping => self.rules.ending_for,
            State::Running | State::Stopped | State::Terminated => 0,
        };
        let machine = self.machine(id).expect("an instance of that id");
        if machine.state != State::Terminated && machine.state != state {
            machine.state = state;
            machine.left = left;
            machine.reason = Some((code.to_owned(), message.to_owned()));
        }
    }

    /// Whether a look at the instance at `index` shows it, and time passes for it.
    pub(super) fn look(&mut self, index: usize) -> bool {
        let stillborn = self.rules.stillborn;
        let machine = &mut self.machines[index];
        if machine.hidden > 0 {
            machine.hidden -= 1;
            return false;
        }
        if machine.left == u32::MAX {
            return true;
        }
        if machine.left > 0 {
            machine.left -= 1;
            return true;
        }
        machine.state = match machine.state {
            State::Pending if stillborn.is_some() => {
                machine.reason = stillborn.map(|(code, message)| (code.to_owned(), message.to_owned()));
                State::Terminated
            }
            State::Pending => State::Running,
            State::ShuttingDown => State::Terminated,
            State::Stopping => State::Stopped,
            state @ (State::Running | State::Stopped | State::Terminated) => state,
        };
        true
    }
}
