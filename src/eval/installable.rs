//! The store paths of what a user names as `FLAKE#ATTRIBUTE`.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    EvalError, EvalSettings, FlakeRef,
    child::{End, run},
    lock::starting_nix,
    message::NixMessage,
    nix::{Failure, Nix},
};
use crate::nix::{StoreDir, StorePath};

/// Asks Nix for the outputs of an attribute of a flake. They must be valid: nothing is built.
pub(super) async fn output_paths(
    settings: &EvalSettings,
    flake: &FlakeRef,
    attribute: &str,
) -> Result<BTreeSet<StorePath>, EvalError> {
    let nix = Nix::find(settings)?;
    let installable = format!("{flake}#{attribute}");
    let args = ["path-info", &installable];
    let launch = nix.launch(settings, args, Instant::now() + settings.total);
    let ended = run(launch, None, &CancellationToken::new()).await.map_err(starting_nix)?;
    let text = str::from_utf8(&ended.stdout).unwrap_or_default();
    let paths: Option<BTreeSet<StorePath>> =
        text.lines().map(|line| StoreDir::default().parse_path(line.trim().as_bytes()).ok()).collect();
    match (ended.end, paths) {
        (End::Exited(0), Some(paths)) if !paths.is_empty() => Ok(paths),
        _ => {
            let message = NixMessage::read(&ended.stderr, None);
            Err(Failure::of(&ended, flake, settings, message).of_flake(flake, settings))
        }
    }
}
