//! Configuration: `croft.toml`, the environment over it, defaults under it. Base layer.
//!
//! [`Settings`] is what a user may write; [`Config`] adds where things were found. Every key `section.key` is also
//! `CROFT_SECTION_KEY` in the environment.

mod cache;
mod duration;
mod fleet;
mod load;
mod machines;
mod settings;

pub use cache::{CacheSettings, CacheUrl, CacheUrlError, PushScope, S3Location};
pub use duration::Span;
pub use fleet::{
    Accelerator, BuilderSettings, Ec2Settings, ExecSettings, FakeSettings, FleetSettings, PoolName,
    PoolSettings, ProviderKind, QemuSettings, Setup, Transport,
};
pub use load::{Config, ConfigError, Environment};
pub use machines::{MachinePlace, MachinesError, NixMachine, parse_machines};
pub use settings::{
    BuildSettings, DaemonAccess, EvalSettings, ImportFromDerivation, NixSettings, ResultSettings, Settings,
};
