//! Caches, servers and content for these tests.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command};

use croft::{
    cache::BinaryCache,
    config::{CacheSettings, CacheUrl, NixSettings, Span},
    nix::{NarHash, StoreDir, StorePath, daemon::PathInfo, signature::SecretKey},
    task::{self, Task},
    web::{self, Limits, Router},
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::nix_support::{LiveNix, Trusted, prelude, scripts};

/// Settings for a cache at `url` that gives up soon.
pub(crate) fn settings(url: &str) -> CacheSettings {
    let url: CacheUrl = url.parse().unwrap();
    CacheSettings { url: Some(url), timeout: Span::seconds(1), ..CacheSettings::default() }
}

pub(crate) fn open(settings: &CacheSettings, state: &Path) -> BinaryCache {
    BinaryCache::open(settings, state).unwrap().unwrap()
}

/// A cache in a directory, with a key of its own.
pub(crate) struct Dir {
    pub(crate) dir: TempDir,
    pub(crate) cache: BinaryCache,
}

impl Dir {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache =
            open(&settings(&format!("file://{}/cache", dir.path().display())), &dir.path().join("state"));
        Self { dir, cache }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("cache")
    }

    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    /// The key that the cache signs with.
    pub(crate) fn key(&self) -> SecretKey {
        croft::cache::binary::signing_key(&CacheSettings::default(), &self.state()).unwrap().0
    }

    /// A reader of `url` that trusts this cache's key and has none itself.
    pub(crate) fn reader_of(&self, url: &str) -> BinaryCache {
        reader(url, &[self.cache.public_key().unwrap()])
    }

    pub(crate) fn record_file(&self, path: &StorePath) -> std::path::PathBuf {
        self.path().join(format!("{}.narinfo", &path.to_basename()[..32]))
    }
}

/// A cache that is only read, and trusts these keys.
pub(crate) fn reader(url: &str, keys: &[String]) -> BinaryCache {
    let push = croft::config::PushScope::None;
    open(&CacheSettings { trusted_keys: keys.to_vec(), push, ..settings(url) }, Path::new("/nonexistent"))
}

/// A path with the NAR of one file.
pub(crate) fn path_of(byte: u8, content: &[u8]) -> (PathInfo, Vec<u8>) {
    let nar = nar_of(content);
    let path = StorePath::from_parts([byte; 20], "thing").unwrap();
    (PathInfo::new(path, NarHash::of(&nar), nar.len() as u64), nar)
}

/// The NAR of a file.
pub(crate) fn nar_of(content: &[u8]) -> Vec<u8> {
    let mut nar = Vec::new();
    let words: [&[u8]; 7] = [b"nix-archive-1", b"(", b"type", b"regular", b"contents", content, b")"];
    for word in words {
        nar.extend_from_slice(&(word.len() as u64).to_le_bytes());
        nar.extend_from_slice(word);
        nar.resize(nar.len().next_multiple_of(8), 0);
    }
    nar
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// A client for plain requests.
pub(crate) fn http() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::new()
}

/// A server that runs until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    _task: Task<()>,
}

impl Served {
    pub(crate) async fn new(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = web::serve(listener, router, Limits::default(), stop.clone());
        Self { address, stop, _task: task::spawn("test server", async { serving.await.unwrap() }) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Builds two paths of which the second refers to the first; returns the second.
pub(crate) fn build_pair(nix: &LiveNix, mark: &str) -> StorePath {
    let definitions = prelude();
    let definitions = definitions.trim_end_matches(" in");
    let expression = format!(
        "{definitions} first = drv \"first\" {{ mark = \"{mark}\"; }} ''echo {mark} > $out''; in \
         [ (drv \"second\" {{ inherit first; }} ''echo $first > $out'') ]"
    );
    let drv = nix.instantiate(&expression).remove(0);
    realise(nix, &drv.absolute(&StoreDir::default()))
}

/// Builds a path with this many bytes of noise.
pub(crate) fn build_big(nix: &LiveNix, mebibytes: u32) -> StorePath {
    let script = format!("dd if=/dev/urandom of=$out bs=1048576 count={mebibytes}");
    let drv = nix.instantiate(&scripts(&[("big", &format!("PATH=/bin; {script}"))])).remove(0);
    realise(nix, &drv.absolute(&StoreDir::default()))
}

fn realise(nix: &LiveNix, drv: &str) -> StorePath {
    let out = run(nix.command("nix-store", Trusted::Yes).args(["-r", drv]));
    StoreDir::default().parse_path(out.trim().as_bytes()).unwrap()
}

/// Runs a command that must go well; its standard output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", out.stderr.escape_ascii());
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn absolute(path: &StorePath) -> String {
    StoreDir::default().render_path(path)
}

/// What a Nix with an empty store makes of a path that it can substitute from `url`.
pub(crate) fn substitute(nix: &LiveNix, url: &str, keys: &str, path: &StorePath) -> std::process::Output {
    let options = ["--option", "substituters", url, "--option", "trusted-public-keys", keys];
    let mut command = nix.command("nix-store", Trusted::Yes);
    command.args(["-r", &absolute(path)]).args(options).output().unwrap()
}

/// How a store below the root of a test's Nix is reached.
pub(crate) fn store_of(nix: &LiveNix) -> NixSettings {
    NixSettings {
        root: Some(nix.root()),
        daemon: croft::config::DaemonAccess::Stdio,
        ..NixSettings::default()
    }
}

pub(crate) fn set(path: &StorePath) -> BTreeSet<StorePath> {
    [path.clone()].into()
}
