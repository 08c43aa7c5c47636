//! The documents that travel to a provider program and back, version 1. Pure.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    config::Setup,
    fleet::{
        Address, Class, Instance, InstanceId, InstanceState, LaunchOrder, Reach, Shape, boot, text::harmless,
    },
    ids::{FarmId, MachineId},
};

const VERSION: u32 = 1;

/// What is asked.
#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    v: u32,
    pub(super) verb: &'static str,
    farm: FarmId,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a InstanceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Order<'a>>,
}

#[derive(Serialize)]
struct Order<'a> {
    machine: MachineId,
    name: &'a str,
    pool: &'a str,
    shape: &'a Shape,
    /// The host key, as an OpenSSH private key.
    host_key: &'a str,
    host_key_public: &'a str,
    authorized_key: &'a str,
    lease_seconds: u64,
    /// In seconds since 1970.
    expires: u64,
    /// All of it once more as `key base64` lines, as an image of nix/builder-image.nix reads them.
    user_data: String,
}

impl std::fmt::Debug for Order<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl<'a> Question<'a> {
    /// To launch a machine.
    pub(super) fn launch(order: &'a LaunchOrder) -> Self {
        let sent = Order {
            machine: order.machine,
            name: &order.name,
            pool: order.pool.as_str(),
            shape: &order.shape,
            host_key: order.identity.host_key.reveal(),
            host_key_public: &order.identity.host_key_public,
            authorized_key: &order.identity.authorized_key,
            lease_seconds: order.lease.as_secs(),
            expires: order.expires.as_millis() / 1000,
            user_data: boot::render(order, Setup::Image),
        };
        Self { v: VERSION, verb: "launch", farm: order.farm, instance: None, order: Some(sent) }
    }

    /// About one instance.
    pub(super) fn about(farm: FarmId, verb: &'static str, instance: &'a InstanceId) -> Self {
        Self { v: VERSION, verb, farm, instance: Some(instance), order: None }
    }

    /// For all instances.
    pub(super) fn list(farm: FarmId) -> Self {
        Self { v: VERSION, verb: "list", farm, instance: None, order: None }
    }
}

/// What was answered, of the right form.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) instance: Option<Instance>,
    pub(super) instances: Option<Vec<Instance>>,
    pub(super) console: Option<String>,
    pub(super) error: Option<Refused>,
}

/// An error that the program tells.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) class: ToldClass,
    #[serde(default)]
    pub(super) message: String,
}

/// The classes, as they are written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToldClass {
    Retry,
    Capacity,
    Quota,
    Credentials,
    Gone,
    Invalid,
}

impl From<ToldClass> for Class {
    fn from(told: ToldClass) -> Self {
        match told {
            ToldClass::Retry => Self::Retry,
            ToldClass::Capacity => Self::Capacity,
            ToldClass::Quota => Self::Quota,
            ToldClass::Credentials => Self::Credentials,
            ToldClass::Gone => Self::Gone,
            ToldClass::Invalid => Self::Invalid,
        }
    }
}

#[derive(Deserialize)]
struct Told {
    v: u32,
    instance: Option<ToldInstance>,
    instances: Option<Vec<ToldInstance>>,
    console: Option<String>,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct ToldInstance {
    id: String,
    machine: Option<String>,
    state: InstanceState,
    address: Option<Address>,
    /// In seconds since 1970.
    launched: Option<u64>,
    why: Option<String>,
    #[serde(default)]
    interrupted: bool,
}

/// The answer in what a program wrote, or what is wrong with it.
pub(super) fn read(text: &[u8]) -> Result<Answered, String> {
    let told: Told = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if told.v != VERSION {
        return Err(format!("version {} where {VERSION} is known", told.v));
    }
    let instances = told.instances.map(|list| list.into_iter().map(instance).collect());
    Ok(Answered {
        instance: told.instance.map(instance).transpose()?,
        instances: instances.transpose()?,
        console: told.console,
        error: told.error,
    })
}

fn instance(told: ToldInstance) -> Result<Instance, String> {
    let id = InstanceId::new(&told.id).ok_or_else(|| {
        format!("{:?} is no id: letters, digits and -_.:/ only", harmless(told.id.as_bytes()))
    })?;
    if let Some(address) = &told.address {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:".contains(c);
        let fits = (1..=253).contains(&address.host.len()) && address.host.chars().all(is_plain);
        // A host that begins with `-` would be an option to a program.
        if !fits || address.host.starts_with('-') || address.port == 0 {
            return Err(format!("the address of {id} is no host and port"));
        }
    }
    Ok(Instance {
        id,
        machine: told.machine.and_then(|text| text.parse().ok()),
        state: told.state,
        address: told.address.map(Reach::Ssh),
        launched: told.launched.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000))),
        why: told.why.map(|why| harmless(why.as_bytes())),
        interrupted: told.interrupted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        assert!(wrong("").contains("EOF"));
        assert!(wrong("[]").contains("invalid"));
        assert!(wrong(r#"{"v":2}"#).contains("version 2"));
        let one = |id: &str, host: &str, port: u16| {
            format!(
                r#"{{"v":1,"instance":{{"id":"{id}","state":"running","address":{{"host":"{host}","port":{port}}}}}}}"#
            )
        };
        assert!(wrong(&one("a b", "h", 22)).contains("no id"));
        assert!(wrong(&one("a", "-oProxyCommand=x", 22)).contains("no host"));
        assert!(wrong(&one("a", "h;reboot", 22)).contains("no host"));
        assert!(wrong(&one("a", "h", 0)).contains("no host"));
        assert!(read(one("a", "fe80::1", 22).as_bytes()).is_ok());
        let list = r#"{"v":1,"instances":[{"id":"a","state":"running"},{"id":"","state":"running"}]}"#;
        assert!(wrong(list).contains("no id"), "a part of a list is not a list");
    }

    #[test]
    fn words_are_made_harmless_and_an_unknown_machine_is_none() {
        let text =
            r#"{"v":1,"instance":{"id":"a","machine":"x","state":"gone","why":"\u001b[31mno","extra":1}}"#;
        let found = read(text.as_bytes()).unwrap().instance.unwrap();
        assert_eq!((found.machine, found.why.as_deref()), (None, Some("[31mno")));
    }
}
