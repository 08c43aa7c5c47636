//! The one place where adapters are chosen and joined to a farm.

use tokio::sync::OnceCell;

use std::{collections::BTreeSet, num::NonZeroUsize, path::PathBuf, sync::Arc};

use super::{
    args::{Common, Selection},
    exit::CliError,
    machines,
};
use crate::{
    cache::{BinaryCache, StoreFiles},
    clock::{SharedClock, SystemClock},
    config::{Config, Environment, ImportFromDerivation, Settings},
    db::{Db, DbOptions, OwnerGuard},
    engine::{Farm, Fleet, FleetParts, Request},
    eval::{self, Evaluator, FlakeRef, Override},
    matrix::Slice,
    nix::System,
    plan::Attempts,
    remote::{Builder, Pool, StoreAccess},
};

/// The configuration for work in the current directory.
pub(super) fn configuration(common: &Common) -> Result<Config, CliError> {
    Ok(Config::load(&current_dir()?, common.config.as_deref(), &Environment::of_process())?)
}

pub(super) fn current_dir() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(|error| {
        CliError::Usage(format!("the current directory cannot be read: {error}; change to another"))
    })
}

/// The database of a configuration.
pub(super) async fn database(config: &Config) -> Result<Db, CliError> {
    Ok(Db::open(DbOptions::in_state_dir(&config.state_dir), clock()).await?)
}

fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// The binary cache of a configuration; none if it names none.
pub(super) fn binary_cache(config: &Config) -> Result<Option<BinaryCache>, CliError> {
    Ok(BinaryCache::open(&config.settings.cache, &config.state_dir)?)
}

/// Connections to the local store.
pub(super) fn pool(config: &Config) -> Pool {
    Pool::new(StoreAccess::new(config.settings.nix.clone()))
}

/// A farm with this machine as its builder.
pub(super) async fn open(config: &Config) -> Result<Arc<Farm>, CliError> {
    let settings = config.settings.clone();
    let db = database(config).await?;
    let owner = Arc::new(db.owner_register().await?);
    let builder = Builder::local(StoreAccess::new(settings.nix.clone()), slots(&settings));
    let cache = binary_cache(config)?;
    let fleet = fleet(config, &db, &owner, &builder, cache.as_ref()).await?;
    Ok(Arc::new(Farm {
        db,
        owner,
        evaluator: Evaluator::new(eval_settings(&settings)),
        builder,
        fleet,
        cache,
        files: StoreFiles::new(settings.nix.clone()),
        logs: config.state_dir.join("logs"),
        clock: clock(),
        offer: OnceCell::new(),
        settings,
    }))
}

/// The machines of a farm. Where there are none but this one, nothing is asked of anybody.
async fn fleet(
    config: &Config,
    db: &Db,
    owner: &Arc<OwnerGuard>,
    hub: &Builder,
    cache: Option<&BinaryCache>,
) -> Result<Arc<Fleet>, CliError> {
    let settings = &config.settings;
    let alone =
        settings.builder.is_empty() && settings.pool.is_empty() && settings.fleet.machines_file.is_none();
    let parts = if alone {
        FleetParts::alone(settings.fleet.clone())
    } else {
        machines::parts(config, db.farm_id().await?, hub, cache).await?
    };
    Ok(Fleet::new(db.clone(), Arc::clone(owner), clock(), hub.clone(), parts))
}

/// How many builds run at once on this machine.
fn slots(settings: &Settings) -> u32 {
    match settings.build.slots {
        0 => u32::try_from(cores().get()).unwrap_or(1),
        slots => slots,
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

pub(super) fn eval_settings(settings: &Settings) -> eval::EvalSettings {
    let own = &settings.eval;
    eval::EvalSettings {
        nix: settings.nix.program.clone(),
        store: settings.nix.store_uri(),
        memory_limit: own.memory << 20,
        wall_clock: own.timeout.get(),
        workers: usize::try_from(own.workers).ok().and_then(NonZeroUsize::new).unwrap_or_else(cores),
        max_cells: usize::try_from(own.max_cells).unwrap_or(usize::MAX),
        import_from_derivation: match own.import_from_derivation {
            ImportFromDerivation::Deny => eval::ImportFromDerivation::Refused,
            ImportFromDerivation::Allow => eval::ImportFromDerivation::Allowed,
        },
        ..eval::EvalSettings::default()
    }
}

/// What the user asks for.
pub(super) fn request(selection: &Selection) -> Result<Request, CliError> {
    let here = current_dir()?;
    let parse_system = |text: &String| {
        text.parse::<System>().map_err(|error| CliError::Usage(format!("--system {text}: {error}")))
    };
    let systems = selection.system.iter().map(parse_system).collect::<Result<BTreeSet<System>, _>>()?;
    let overrides = selection
        .override_input
        .chunks_exact(2)
        .map(|pair| Ok(Override { input: pair[0].clone(), flake_ref: FlakeRef::parse(&pair[1], &here)? }));
    Ok(Request {
        flake: FlakeRef::parse(&selection.flake, &here)?,
        overrides: overrides.collect::<Result<_, CliError>>()?,
        systems: Some(systems).filter(|systems| !systems.is_empty()),
        slice: Slice::new(selection.only.clone()),
        attempts: match (selection.rebuild, selection.retry_failed) {
            (true, _) => Attempts::Rebuild,
            (false, true) => Attempts::RetryFailed,
            (false, false) => Attempts::Reuse,
        },
    })
}
