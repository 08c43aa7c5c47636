//! The tree that a flake reference stands for, and the name of everything its evaluation depends on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    EvalError, EvalSettings, FlakeRef, Override,
    child::{End, run},
    message::NixMessage,
    nix::{Failure, Nix},
};
use crate::nix::StorePath;

/// How often a child that died without a word is tried.
pub(super) const TRIES: u32 = 3;

/// Names a tree, its inputs and all else that decides what its evaluation gives. Equal fingerprints give equal
/// cells, so a tree is not evaluated twice; the time a file was touched is no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Takes a hash.
    pub(super) const fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that is no fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no fingerprint: expected 64 hexadecimal digits")]
pub struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let wrong = || FingerprintError(text.chars().take(80).collect());
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;

    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

/// A flake whose tree is in the store and will not change under the evaluation.
#[derive(Debug, Clone)]
pub struct LockedFlake {
    /// What it was called.
    pub flake: FlakeRef,
    /// The locked URL as Nix states it; for people.
    pub url: String,
    /// The commit; `<commit>-dirty`, or `dirty` where Nix does not tell the commit, for a changed git tree.
    pub revision: Option<String>,
    /// When it was last changed, in seconds since 1970.
    pub last_modified: Option<u64>,
    /// Its source tree.
    pub source: StorePath,
    /// The name of all that its evaluation depends on.
    pub fingerprint: Fingerprint,
    pub(super) target: Target,
    pub(super) overrides: Vec<Override>,
    /// What Nix read, if it was a plain folder whose lock leads nowhere else on this machine.
    pub(super) plain: Option<PlainTree>,
}

/// A tree in a plain folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlainTree {
    /// The hash of its NAR, as `sha256-<base64>`.
    pub(super) nar_hash: String,
    /// The time of its newest entry, in seconds since 1970.
    pub(super) last_modified: u64,
}

/// How a child is pointed at the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A reference to exactly this tree.
    Exact(String),
    /// A reference to the place the tree came from, where Nix cannot name a folder within a tree in the store. The
    /// tree may have changed by the time it is read.
    Place(String),
}

impl Target {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Exact(url) | Self::Place(url) => url,
        }
    }
}

/// What `nix flake metadata --json` prints, as far as croft reads it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    url: String,
    path: String,
    #[serde(default)]
    dirty_revision: Option<String>,
    /// Nix's own name for the locked tree; Nix 2.8 has none.
    #[serde(default)]
    fingerprint: Option<String>,
    locked: Locked,
    #[serde(default)]
    locks: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Locked {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    rev: Option<String>,
    #[serde(default)]
    rev_count: Option<u64>,
    #[serde(default)]
    last_modified: Option<u64>,
    #[serde(default)]
    nar_hash: Option<String>,
    #[serde(default)]
    dir: Option<String>,
}

/// Locks a flake: one `nix flake metadata`.
pub(super) async fn lock(
    nix: &Nix,
    settings: &EvalSettings,
    flake: &FlakeRef,
    overrides: &[Override],
    cancel: &CancellationToken,
) -> Result<LockedFlake, EvalError> {
    if let Some(folder) = flake.folder().filter(|folder| !folder.exists()) {
        let message = format!("{} does not exist", folder.display());
        return Err(EvalError::NoFlake { flake: flake.to_string(), message });
    }
    let deadline = Instant::now() + settings.total;
    let mut detail = String::new();
    for _ in 0..TRIES {
        let mut args = vec!["flake", "metadata", "--json", flake.as_str()];
        args.extend(override_args(overrides));
        let launch = nix.launch(settings, args, deadline);
        let ended = run(launch, None, cancel).await.map_err(starting_nix)?;
        let parsed = serde_json::from_slice::<Metadata>(&ended.stdout);
        if let (End::Exited(0), Ok(metadata)) = (ended.end, parsed) {
            return locked(nix, settings, flake, overrides, metadata);
        }
        let message = NixMessage::read(&ended.stderr, None);
        match Failure::of(&ended, flake, settings, message) {
            Failure::Crash(what) => detail = what,
            failure => return Err(failure.of_flake(flake, settings)),
        }
    }
    Err(EvalError::Crashed { flake: flake.to_string(), tries: TRIES, detail })
}

/// The options that put the overrides in place. Only with them may the lock differ from the file, in memory.
pub(super) fn override_args(overrides: &[Override]) -> impl Iterator<Item = &str> {
    let keep_file = (!overrides.is_empty()).then_some("--no-write-lock-file");
    keep_file
        .into_iter()
        .chain(overrides.iter().flat_map(|o| ["--override-input", o.input.as_str(), o.flake_ref.as_str()]))
}

pub(super) fn starting_nix(source: std::io::Error) -> EvalError {
    EvalError::Io { action: "starting nix through /bin/sh".to_owned(), source }
}

fn locked(
    nix: &Nix,
    settings: &EvalSettings,
    flake: &FlakeRef,
    overrides: &[Override],
    metadata: Metadata,
) -> Result<LockedFlake, EvalError> {
    if let Some(input) = unlocked_input(&metadata.locks) {
        let message = "its entry in the lock file has no hash".to_owned();
        return Err(EvalError::UnlockedInput { flake: flake.to_string(), input: Some(input), message });
    }
    let source =
        StorePath::from_absolute_path(metadata.path.as_bytes()).map_err(|error| EvalError::Crashed {
            flake: flake.to_string(),
            tries: 1,
            detail: format!("it put the tree at {:?}, which is no store path ({error})", metadata.path),
        })?;
    Ok(LockedFlake {
        flake: flake.clone(),
        revision: revision(&metadata),
        last_modified: metadata.locked.last_modified,
        fingerprint: fingerprint(&metadata, &nix.identity()?, settings),
        target: target(&metadata),
        plain: plain(&metadata).filter(|_| overrides.is_empty()),
        url: metadata.url,
        source,
        overrides: overrides.to_vec(),
    })
}

fn revision(metadata: &Metadata) -> Option<String> {
    let known = metadata.locked.rev.clone().or_else(|| metadata.dirty_revision.clone());
    known.or_else(|| (metadata.locked.kind == "git").then(|| "dirty".to_owned()))
}

/// The first input whose lock does not pin its content. Inputs inside the flake's own tree need no pin.
fn unlocked_input(locks: &Value) -> Option<String> {
    let root = locks.get("root").and_then(Value::as_str).unwrap_or("root");
    let nodes = locks.get("nodes")?.as_object()?;
    let is_pinned = |node: &Value| {
        node.get("parent").is_some_and(|parent| !parent.is_null())
            || node.get("locked").is_some_and(|l| l.get("narHash").is_some() || l.get("rev").is_some())
    };
    nodes.iter().find(|(name, node)| *name != root && !is_pinned(node)).map(|(name, _)| name.clone())
}

fn plain(metadata: &Metadata) -> Option<PlainTree> {
    let Locked { kind, nar_hash, last_modified, dir, .. } = &metadata.locked;
    let is_elsewhere = |node: &Value| node.pointer("/locked/type").is_some_and(|kind| kind == "path");
    let nodes = metadata.locks.get("nodes")?.as_object()?;
    let is_plain = kind == "path" && dir.is_none() && !nodes.values().any(is_elsewhere);
    let tree = PlainTree { nar_hash: nar_hash.clone()?, last_modified: (*last_modified)? };
    is_plain.then_some(tree)
}

fn target(metadata: &Metadata) -> Target {
    let Locked { dir, rev, .. } = &metadata.locked;
    match (dir, &metadata.fingerprint, rev) {
        (None, _, _) | (Some(_), Some(_), _) => Target::Exact(exact(metadata)),
        (Some(_), None, Some(_)) => Target::Exact(metadata.url.clone()),
        (Some(_), None, None) => Target::Place(metadata.url.clone()),
    }
}

/// A reference to the tree in the store with what the flake can see of its origin, so that neither a change of the
/// working tree nor the way there changes the result.
fn exact(metadata: &Metadata) -> String {
    let Locked { rev, rev_count, last_modified, nar_hash, dir, kind: _ } = &metadata.locked;
    let pairs = [
        ("dir", dir.clone()),
        ("lastModified", last_modified.map(|n| n.to_string())),
        ("narHash", nar_hash.clone()),
        ("rev", rev.clone()),
        ("revCount", rev_count.map(|n| n.to_string())),
    ];
    let query: Vec<_> =
        pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", escape(&value?)))).collect();
    format!("path:{}?{}", metadata.path, query.join("&"))
}

fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn fingerprint(metadata: &Metadata, nix: &[u8; 32], settings: &EvalSettings) -> Fingerprint {
    let Locked { rev, rev_count, last_modified, dir, kind, nar_hash: _ } = &metadata.locked;
    // A folder's time is that of its newest file, which says nothing of its content.
    let time = if kind == "path" { None } else { *last_modified };
    let parts = [
        "croft evaluation 1".to_owned(),
        metadata.path.clone(),
        format!("{dir:?} {rev:?} {rev_count:?} {time:?}"),
        metadata.locks.to_string(),
        settings.nix_config(),
        format!("{:?}", settings.store),
    ];
    let mut hash = Sha256::new();
    hash.update(nix);
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    Fingerprint(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(json: &str) -> Metadata {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_exact_reference_pins_tree_and_origin() {
        let metadata = metadata(
            r#"{"url":"git+file:///x?rev=ab","path":"/nix/store/x-source","locked":{"type":"git","rev":"ab",
               "revCount":3,"lastModified":5,"narHash":"sha256-a/b+c=","dir":"sub dir"},"later":1}"#,
        );
        assert_eq!(
            exact(&metadata),
            "path:/nix/store/x-source?dir=sub%20dir&lastModified=5&narHash=sha256-a/b%2Bc%3D&rev=ab&revCount=3"
        );
        assert_eq!(revision(&metadata).as_deref(), Some("ab"));
    }

    #[test]
    fn an_input_without_a_hash_is_named() {
        let locks = |node: &str| {
            serde_json::from_str(&format!(r#"{{"root":"root","nodes":{{"root":{{}},"dep":{node}}}}}"#))
                .unwrap()
        };
        assert_eq!(unlocked_input(&locks(r#"{"locked":{"type":"path"}}"#)).as_deref(), Some("dep"));
        assert_eq!(unlocked_input(&locks(r#"{"locked":{"narHash":"x"}}"#)), None);
        assert_eq!(unlocked_input(&locks(r#"{"locked":{"type":"path"},"parent":[]}"#)), None);
    }

    #[test]
    fn a_fingerprint_round_trips() {
        let one = Fingerprint([0xab; 32]);
        assert_eq!(one.to_string().parse::<Fingerprint>().unwrap(), one);
        assert!("x".parse::<Fingerprint>().is_err());
    }
}
