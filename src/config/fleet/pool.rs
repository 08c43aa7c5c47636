//! A pool: machines of one kind that are launched when there is work.

use std::{fmt, path::PathBuf, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::Span,
    nix::{System, SystemFeature},
};

/// The name of a pool: lower-case letters, digits and `-`, at most 20, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PoolName(String);

/// A text that is no pool name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no pool name: write up to 20 lower-case letters, digits and `-`, beginning with a letter")]
pub struct PoolNameError(String);

impl PoolName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolName {
    type Err = PoolNameError;

    fn from_str(text: &str) -> Result<Self, PoolNameError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.len() <= 20;
        if fits && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PoolNameError(text.chars().take(60).collect()))
        }
    }
}

impl TryFrom<String> for PoolName {
    type Error = PoolNameError;

    fn try_from(text: String) -> Result<Self, PoolNameError> {
        text.parse()
    }
}

impl From<PoolName> for String {
    fn from(name: PoolName) -> Self {
        name.0
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who launches the machines of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Amazon EC2, or something that speaks its wire format.
    Ec2,
    /// Virtual machines on this machine.
    Qemu,
    /// A program of the user's: see `docs/write-a-provider.md`.
    Exec,
    /// Machines that only pretend: for demos and tests. They are builders on this machine.
    Fake,
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ec2 => "ec2",
            Self::Qemu => "qemu",
            Self::Exec => "exec",
            Self::Fake => "fake",
        })
    }
}

/// `[[pool]]`: machines of one kind that are launched when there is work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolSettings {
    /// Its name.
    pub name: PoolName,
    /// Who launches its machines.
    pub provider: ProviderKind,
    /// Systems its machines build for.
    #[schemars(with = "Vec<String>")]
    pub systems: Vec<System>,
    /// Features its machines have. Default: none.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub features: Vec<SystemFeature>,
    /// How many builds one machine runs at once. Default: 1.
    #[serde(default = "one")]
    pub slots: u32,
    /// How fast a machine is beside the others. Default: 1.
    #[serde(default = "unit")]
    pub speed: f64,
    /// Cores of one machine. Default: not known, so that any number fits.
    #[serde(default)]
    pub cores: Option<u32>,
    /// Memory of one machine, in MiB. Default: not known, so that any need fits.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Disk of one machine for the store, in MiB. Default: not known, so that any need fits.
    #[serde(default)]
    pub disk: Option<u64>,
    /// Instance types, in the order of wish. Default: none, the provider has but one.
    #[serde(default)]
    pub types: Vec<String>,
    /// Zones, in the order of wish. Default: none, the provider chooses.
    #[serde(default)]
    pub zones: Vec<String>,
    /// How many of 100 machines are asked of the spot market first. Default: 0.
    #[serde(default)]
    pub spot: u8,
    /// Whether a machine is had at the list price when the spot market has none. Default: true.
    #[serde(default = "yes")]
    pub spot_fallback: bool,
    /// Machines that are there without any work, while a croft stays to look after them; `croft check` ends with its
    /// run and keeps none. Default: 0.
    #[serde(default)]
    pub min: u32,
    /// The most machines at once, those on their way included.
    pub max: u32,
    /// Machines that are kept stopped instead of ended, for a quicker start. Default: 0.
    #[serde(default)]
    pub warm: u32,
    /// How long a machine stays without work. Default: 10m.
    #[serde(default = "ten_minutes")]
    pub idle: Span,
    /// The age at which a machine is replaced. Default: 1d.
    #[serde(default = "one_day")]
    pub max_age: Span,
    /// Builds after which a machine is replaced. Default: 0, no limit.
    #[serde(default)]
    pub max_builds: u32,
    /// How long a machine may take from the order to its first answer. Default: 5m.
    #[serde(default = "five_minutes")]
    pub boot_deadline: Span,
    /// Price of one machine for one hour, in whatever currency the budgets are. Default: what the provider says,
    /// else 0.
    #[serde(default)]
    pub price: Option<f64>,
    /// The most that may be spent in a day (24 h). Default: no limit.
    #[serde(default)]
    pub budget_day: Option<f64>,
    /// The most that may be spent in a month (30 d). Default: no limit.
    #[serde(default)]
    pub budget_month: Option<f64>,
    /// `[pool.ec2]`, if the provider is ec2.
    #[serde(default)]
    pub ec2: Option<Ec2Settings>,
    /// `[pool.qemu]`, if the provider is qemu.
    #[serde(default)]
    pub qemu: Option<QemuSettings>,
    /// `[pool.exec]`, if the provider is exec.
    #[serde(default)]
    pub exec: Option<ExecSettings>,
    /// `[pool.fake]`, if the provider is fake.
    #[serde(default)]
    pub fake: Option<FakeSettings>,
}

/// `[pool.ec2]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ec2Settings {
    /// The region. Default: what the AWS configuration says.
    pub region: Option<String>,
    /// Another endpoint than Amazon's. Default: none.
    pub endpoint: Option<String>,
    /// The image. Needed without a launch template.
    pub ami: Option<String>,
    /// A launch template, by name or id; what is set here is laid over it. Default: none.
    pub launch_template: Option<String>,
    /// How the image is set up at its first start. Default: cloud-init.
    pub setup: Setup,
    /// Subnets, one for each zone of the pool, in their order. Default: the account's default ones.
    pub subnets: Vec<String>,
    /// Security groups, by id. Default: the VPC's default one.
    pub security_groups: Vec<String>,
    /// An instance profile. Default: none, so that nothing on a machine can speak for the account.
    pub instance_profile: Option<String>,
    /// Size of the root disk in GiB. Default: the image's.
    pub disk_gib: Option<u32>,
    /// Whether machines may run virtual machines (the feature `kvm`); only some types can. Default: false.
    pub nested_virtualization: bool,
    /// Whether machines are reached by their public address. Default: false, the private one.
    pub public_address: bool,
    /// The ssh user. Default: root.
    pub user: Option<String>,
}

/// How an image is set up at its first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Setup {
    /// A stock Debian or Ubuntu image: cloud-init installs Nix and the farm's keys.
    #[default]
    CloudInit,
    /// An image of `nix/builder-image.nix`, or another that reads `key base64` lines.
    Image,
}

/// `[pool.qemu]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QemuSettings {
    /// The folder of the guest: `vmlinux`, `initrd.cpio`, `root.ext4`. Default: `/var/lib/croft/guest`, made with
    /// `nix/guest/build`.
    pub image: PathBuf,
    /// The qemu program. Default: `qemu-system-x86_64`.
    pub program: PathBuf,
    /// Memory of a guest in MiB. Default: 512.
    pub memory: u64,
    /// Virtual cores of a guest. Default: 1.
    pub cores: u32,
    /// Disk for a guest's store in MiB, taken as it fills; 0 keeps the store in memory. Default: 4096.
    pub disk: u64,
    /// How guests run. Default: auto.
    pub accelerator: Accelerator,
}

/// How guests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// With KVM if a guest really boots with it here, else emulated.
    #[default]
    Auto,
    /// With KVM.
    Kvm,
    /// Emulated.
    Tcg,
}

impl Default for QemuSettings {
    fn default() -> Self {
        Self {
            image: PathBuf::from("/var/lib/croft/guest"),
            program: PathBuf::from("qemu-system-x86_64"),
            memory: 512,
            cores: 1,
            disk: 4096,
            accelerator: Accelerator::Auto,
        }
    }
}

/// `[pool.exec]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSettings {
    /// The program and its arguments; the verb is added as the last one.
    pub command: Vec<String>,
    /// How long one call may take. Default: 2m.
    #[serde(default = "two_minutes")]
    pub timeout: Span,
}

/// `[pool.fake]`: how the pretended machines behave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FakeSettings {
    /// How long a machine takes to boot. Default: 2s.
    pub boot: Span,
    /// How many of 100 launches find no capacity. Default: 0.
    pub no_capacity: u8,
    /// How many of 100 machines never join. Default: 0.
    pub never_join: u8,
}

impl Default for FakeSettings {
    fn default() -> Self {
        Self { boot: Span::seconds(2), no_capacity: 0, never_join: 0 }
    }
}

fn one() -> u32 {
    1
}

fn unit() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn two_minutes() -> Span {
    Span::seconds(120)
}

fn five_minutes() -> Span {
    Span::seconds(300)
}

fn ten_minutes() -> Span {
    Span::seconds(600)
}

fn one_day() -> Span {
    Span::seconds(86_400)
}
