//! `croft cache`: the farm's binary cache, served, written and checked.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tokio::net::TcpListener;

use super::{
    args::{CacheCommand, Common, Form},
    exit::{CliError, INFRA},
    farm, out,
    signals::Interrupts,
    words,
};
use crate::{
    cache::{
        BinaryCache,
        binary::{KeyOrigin, signing_key},
    },
    config::{Config, PushScope},
    eval::{EvalError, Evaluator, FlakeRef},
    nix::{StoreDir, StorePath, signature::public_key_text},
    web::{self, Limits},
};

/// The most connections to `serve --store`: each may hold a daemon.
const STORE_CONNECTIONS: usize = 64;

/// Does what the subcommand says.
pub(super) async fn run(common: &Common, command: CacheCommand) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    match command {
        CacheCommand::Serve { listen, store: false } => serve(&config, listen).await,
        CacheCommand::Serve { listen, store: true } => serve_store(&config, listen).await,
        CacheCommand::Push { what } => push(&config, &what).await,
        CacheCommand::Key => key(&config),
        CacheCommand::Check(form) => check(&config, form).await,
    }
}

/// The cache of the configuration. Says so when a key was made for it.
fn open(config: &Config) -> Result<BinaryCache, CliError> {
    let cache = farm::binary_cache(config)?.ok_or_else(|| {
        CliError::Usage("there is no binary cache: set cache.url, such as \"/srv/cache\"".to_owned())
    })?;
    if let Some(origin) = cache.key_origin() {
        say_origin(origin);
    }
    Ok(cache)
}

fn say_origin(origin: &KeyOrigin) {
    match origin {
        KeyOrigin::Found(_) => {}
        KeyOrigin::Made(path) => {
            out::say(&format!("made a key for the binary cache: {}; keep it secret", path.display()));
        }
    }
}

async fn serve(config: &Config, listen: SocketAddr) -> Result<u8, CliError> {
    let cache = open(config)?;
    let what = cache.url();
    let keys = cache.trusted_keys();
    listen_until_interrupt(listen, web::cache::router(cache), Limits::default(), &what, &keys).await
}

async fn serve_store(config: &Config, listen: SocketAddr) -> Result<u8, CliError> {
    let (key, origin) = signing_key(&config.settings.cache, &config.state_dir)?;
    say_origin(&origin);
    let keys = [public_key_text(&key.public_key())];
    let router = web::store_router(farm::pool(config), key);
    let limits = Limits { connections: STORE_CONNECTIONS, ..Limits::default() };
    listen_until_interrupt(listen, router, limits, "the local store", &keys).await
}

async fn listen_until_interrupt(
    listen: SocketAddr,
    router: web::Router,
    limits: Limits,
    what: &str,
    keys: &[String],
) -> Result<u8, CliError> {
    let failed = |error| CliError::Other(format!("listening on {listen}: {error}; choose another --listen"));
    let interrupts = Interrupts::watch();
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    out::say(&format!("serving {what} at http://{address}"));
    for key in keys {
        out::say(&format!("trusted-public-keys = {key}"));
    }
    let serving = async {
        let served = web::serve(listener, router, limits, interrupts.stop.clone()).await;
        served.map(|()| 0).map_err(|error| CliError::Other(format!("serving at {address}: {error}")))
    };
    interrupts.guard(serving).await
}

async fn push(config: &Config, what: &[String]) -> Result<u8, CliError> {
    let cache = open(config)?;
    if cache.scope() == PushScope::None {
        let message = "cache.push is none, so nothing may be written; set it to outputs or closure";
        return Err(CliError::Usage(message.to_owned()));
    }
    let mut paths = BTreeSet::new();
    for one in what {
        paths.append(&mut store_paths(config, one).await?);
    }
    let interrupts = Interrupts::watch();
    let pushing = async {
        let pool = farm::pool(config);
        let failed = |error: crate::remote::DialError| CliError::Other(error.to_string());
        let mut connection = pool.take().await.map_err(failed)?;
        let pushed = cache.push_paths(&mut connection.client, &paths).await?;
        let written = words::plural(pushed.written, "path");
        out::say(&format!(
            "{written} written to {} ({} of NARs in {}), {} there before",
            cache.url(),
            words::bytes(pushed.nar_bytes),
            words::bytes(pushed.file_bytes),
            pushed.before
        ));
        Ok(0)
    };
    // Nothing is lost by stopping at once: a path without a record is not there.
    tokio::select! {
        done = pushing => done,
        () = interrupts.stop.cancelled() => Ok(super::exit::INTERRUPTED),
    }
}

/// The store paths of what a user names: a path in the store, a link to one, or an attribute of a flake.
async fn store_paths(config: &Config, what: &str) -> Result<BTreeSet<StorePath>, CliError> {
    if let Some((flake, attribute)) = what.split_once('#') {
        let flake = FlakeRef::parse(flake, &farm::current_dir()?)?;
        let evaluator = Evaluator::new(farm::eval_settings(&config.settings));
        let paths = evaluator.output_paths(&flake, attribute).await;
        return paths.map_err(|error: EvalError| CliError::Engine(error.into()));
    }
    let path = top_of(config, Path::new(what))
        .ok_or_else(|| CliError::Usage(format!("{what} is neither in the store nor a link into it")))?;
    Ok([path].into())
}

/// The store path that a file is in, followed through links outside the store.
fn top_of(config: &Config, path: &Path) -> Option<StorePath> {
    const MOST_LINKS: usize = 40;
    let store_dir = StoreDir::default();
    let mut path: PathBuf = std::path::absolute(path).ok()?;
    for _ in 0..MOST_LINKS {
        if let Ok(inside) = path.strip_prefix(store_dir.as_str()) {
            let name = inside.components().next()?.as_os_str().to_str()?;
            return StorePath::from_basename(name.as_bytes()).ok();
        }
        if let Some(root) = &config.settings.nix.root
            && let Ok(inside) = path.strip_prefix(root)
        {
            path = Path::new("/").join(inside);
            continue;
        }
        let target = fs_err::read_link(&path).ok()?;
        path = path.parent()?.join(target);
    }
    None
}

fn key(config: &Config) -> Result<u8, CliError> {
    let (key, origin) = signing_key(&config.settings.cache, &config.state_dir)?;
    say_origin(&origin);
    out::data(&public_key_text(&key.public_key()));
    Ok(0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    v: u32,
    cache: String,
    sound: u64,
    nar_bytes: u64,
    unnamed: u64,
    findings: Vec<String>,
}

async fn check(config: &Config, form: Form) -> Result<u8, CliError> {
    let cache = open(config)?;
    let checked = cache.check().await?;
    let code = if checked.findings.is_empty() { 0 } else { INFRA };
    let document = Document {
        v: 1,
        cache: cache.url(),
        sound: checked.sound,
        nar_bytes: checked.nar_bytes,
        unnamed: checked.unnamed,
        findings: checked.findings.iter().map(ToString::to_string).collect(),
    };
    if form.json {
        out::json(&document);
        return Ok(code);
    }
    document.findings.iter().for_each(|finding| out::data(&format!("broken: {finding}")));
    let sound = words::plural(document.sound, "path");
    let unnamed = words::plural(document.unnamed, "NAR");
    out::say(&format!("{sound} sound ({}), {unnamed} without a record", words::bytes(document.nar_bytes)));
    Ok(code)
}
