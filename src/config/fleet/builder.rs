//! A builder that is always there, reached over ssh.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nix::{System, SystemFeature};

/// How croft speaks ssh to a builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// By itself.
    #[default]
    Native,
    /// With the `ssh` program and the user's ssh configuration: for jump hosts, agents and RSA keys.
    Command,
}

/// `[[builder]]`: a builder that is always there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BuilderSettings {
    /// Its name in every list: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The host name or IP address.
    pub host: String,
    /// The ssh port. Default: 22.
    #[serde(default = "ssh_port")]
    pub port: u16,
    /// The user. Default: root.
    #[serde(default = "root")]
    pub user: String,
    /// The file of the private key, without a passphrase. Default: none; the `command` transport then uses what
    /// the ssh configuration says.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Its public host key, as in `ssh-ed25519 AAAA…`. Default: the one in `known_hosts`. A machine without either is
    /// refused: no key is trusted on first use.
    #[serde(default)]
    pub host_key: Option<String>,
    /// How ssh is spoken. Default: native.
    #[serde(default)]
    pub transport: Transport,
    /// Systems it builds for.
    #[schemars(with = "Vec<String>")]
    pub systems: Vec<System>,
    /// Features it has. Default: none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub features: Vec<SystemFeature>,
    /// Features that every build it takes must ask for. Default: none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub mandatory_features: Vec<SystemFeature>,
    /// How many builds it runs at once. Default: 1.
    #[serde(default = "one")]
    pub slots: u32,
    /// How fast it is beside the others. Default: 1.
    #[serde(default = "unit")]
    pub speed: f64,
    /// Its cores, if builds ask for a number of them. Default: not known, so that any number fits.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Its memory in MiB. Default: not known, so that any need fits.
    #[serde(default)]
    pub memory: Option<u64>,
    /// The program that speaks the daemon protocol there. Default: `nix-daemon`.
    #[serde(default = "nix_daemon")]
    pub daemon: String,
}

fn ssh_port() -> u16 {
    22
}

fn root() -> String {
    "root".to_owned()
}

fn one() -> u32 {
    1
}

fn unit() -> f64 {
    1.0
}

fn nix_daemon() -> String {
    "nix-daemon".to_owned()
}
