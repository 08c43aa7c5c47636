//! Builders and pools from the configuration: where providers are chosen.

use std::{path::Path, sync::Arc};

use super::exit::CliError;
use crate::{
    cache::BinaryCache,
    clock::SystemClock,
    config::{
        BuilderSettings, Config, MachinePlace, NixMachine, PoolSettings, ProviderKind, Transport,
        parse_machines,
    },
    engine::{FarmKey, FleetParts, Pool, StaticBuilder, host_system},
    fleet::{ExecProvider, FakeProvider, MachineProvider, QemuProvider, open_ec2},
    ids::FarmId,
    matrix::Resources,
    nix::System,
    plan::Offer,
    remote::{self, Builder, BuilderCache, FarSettings, HostKey, Identity, SshTarget, SshWay},
};

/// What the fleet is made of, as the configuration says.
pub(super) async fn parts(
    config: &Config,
    farm: FarmId,
    hub: &Builder,
    cache: Option<&BinaryCache>,
) -> Result<FleetParts, CliError> {
    let settings = &config.settings;
    let cache = cache.and_then(|cache| {
        Some(BuilderCache { url: cache.substituter_url()?, public_key: cache.public_key()? })
    });
    let builders = builders(config, hub, cache.as_ref())?;
    let mut pools = Vec::new();
    for pool in &settings.pool {
        pools.push(Pool {
            provider: provider(pool, farm, &config.state_dir).await?,
            user: pool.ec2.as_ref().and_then(|ec2| ec2.user.clone()).unwrap_or_else(|| "root".to_owned()),
            settings: pool.clone(),
        });
    }
    let key = if pools.is_empty() { None } else { Some(FarmKey::in_state_dir(&config.state_dir)?) };
    Ok(FleetParts { settings: settings.fleet.clone(), builders, pools, key, cache })
}

/// Builders that are always there, as `cache` lets them fetch.
pub(super) fn builders(
    config: &Config,
    hub: &Builder,
    cache: Option<&BuilderCache>,
) -> Result<Vec<StaticBuilder>, CliError> {
    let all = config.settings.builder.iter().cloned().chain(listed(config)?);
    all.map(|builder| static_builder(&builder, hub, cache.cloned())).collect()
}

/// The provider of a pool of virtual machines.
pub(super) fn qemu(pool: &PoolSettings, farm: FarmId, state_dir: &Path) -> QemuProvider {
    let root = state_dir.join("fleet/qemu").join(pool.name.as_str());
    QemuProvider::new(pool.qemu.clone().unwrap_or_default(), farm, root, Arc::new(SystemClock))
}

/// The builders of a file in the format of `/etc/nix/machines`.
fn listed(config: &Config) -> Result<Vec<BuilderSettings>, CliError> {
    let Some(path) = &config.settings.fleet.machines_file else { return Ok(Vec::new()) };
    let failed = |error: std::io::Error| CliError::Usage(format!("fleet.machines_file: {error}"));
    let text = fs_err::read_to_string(path).map_err(failed)?;
    let open = |file: &str| match fs_err::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    };
    let file = path.display().to_string();
    let machines = parse_machines(&file, &text, &open).map_err(|error| CliError::Usage(error.to_string()))?;
    let here: Vec<System> = config.settings.build.systems.clone();
    Ok(machines.into_iter().filter_map(|machine| listed_builder(machine, &here)).collect())
}

/// A machine of such a file; none if it is not reached over ssh, as this machine's own store is not.
fn listed_builder(machine: NixMachine, here: &[System]) -> Option<BuilderSettings> {
    let MachinePlace::Ssh { host, user, port } = machine.place else { return None };
    let systems: Vec<System> = machine.systems.into_iter().collect();
    let own = || here.iter().cloned().chain(host_system()).take(here.len().max(1)).collect();
    Some(BuilderSettings {
        name: host.replace(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)), "-"),
        port: port.unwrap_or(22),
        user: user.unwrap_or_else(|| "root".to_owned()),
        transport: if machine.ssh_key.is_some() { Transport::Native } else { Transport::Command },
        key: machine.ssh_key,
        host_key: machine.host_key,
        systems: if systems.is_empty() { own() } else { systems },
        features: machine.supported_features.into_iter().collect(),
        mandatory_features: machine.mandatory_features.into_iter().collect(),
        slots: machine.max_jobs.max(1),
        speed: machine.speed_factor,
        cores: None,
        memory: None,
        daemon: "nix-daemon".to_owned(),
        host,
    })
}

fn static_builder(
    settings: &BuilderSettings,
    hub: &Builder,
    cache: Option<BuilderCache>,
) -> Result<StaticBuilder, CliError> {
    let name = &settings.name;
    let wrong = |why: String| CliError::Usage(format!("builder {name}: {why}"));
    let host_key = match &settings.host_key {
        Some(line) => HostKey::parse(line).map_err(|error| wrong(error.to_string()))?,
        None => HostKey::known(&settings.host, settings.port).ok_or_else(|| {
            wrong(format!(
                "it has no host_key, `known_hosts` does not know {} either, and croft trusts no key on first use; copy the line that `ssh-keyscan -t ed25519 {}` prints after you have compared it",
                settings.host, settings.host
            ))
        })?,
    };
    let way = match (settings.transport, &settings.key) {
        (Transport::Native, Some(key)) => SshWay::Native(Identity::File(key.clone())),
        (Transport::Native, None) => return Err(wrong("it has no key".to_owned())),
        (Transport::Command, key) => {
            SshWay::Command { program: "ssh".into(), config: None, identity_file: key.clone() }
        }
    };
    let mut target = SshTarget::new(&settings.host, host_key, way);
    target.port = settings.port;
    target.user.clone_from(&settings.user);
    target.daemon = format!("{} --stdio", settings.daemon);
    let far = FarSettings { cache, health: remote::HealthSettings::default() };
    let offer = Offer {
        systems: settings.systems.iter().cloned().collect(),
        features: settings.features.iter().cloned().collect(),
        mandatory: settings.mandatory_features.iter().cloned().collect(),
        capacity: Resources { cores: settings.cores, memory: settings.memory, disk: None },
    };
    let builder = Builder::over_ssh(target, hub.pool().clone(), settings.slots, far);
    Ok(StaticBuilder { name: name.clone(), builder, offer, speed: settings.speed })
}

/// The one place where a provider is chosen.
async fn provider(
    pool: &PoolSettings,
    farm: FarmId,
    state_dir: &Path,
) -> Result<Arc<dyn MachineProvider>, CliError> {
    let opened = match pool.provider {
        ProviderKind::Qemu => Arc::new(qemu(pool, farm, state_dir)) as Arc<dyn MachineProvider>,
        ProviderKind::Exec => {
            let missing = || CliError::Usage(format!("pool {}: [pool.exec] is missing", pool.name));
            Arc::new(ExecProvider::new(pool.exec.clone().ok_or_else(missing)?, farm))
        }
        ProviderKind::Fake => Arc::new(FakeProvider::new(
            pool.fake.clone().unwrap_or_default(),
            fastrand::u64(..),
            Arc::new(SystemClock),
        )),
        ProviderKind::Ec2 => {
            open_ec2(farm, pool).await.map_err(|error| CliError::Usage(error.to_string()))?
        }
    };
    Ok(opened)
}
