//! The tree that is evaluated: known again by its content, or locked by Nix.

use super::{error::EngineError, farm::Farm, find::Request};
use crate::{
    eval::{LockRecord, LockedFlake},
    task,
};

/// Locks the flake of `request`.
///
/// Nix is not started for a tree of which it is on record what the same Nix locked it to, as long as its copy is still
/// in the store.
pub(super) async fn lock(farm: &Farm, request: &Request) -> Result<LockedFlake, EngineError> {
    let (flake, overrides) = (&request.flake, &request.overrides);
    let Some(tree) = farm.evaluator.read_tree(flake, overrides).await? else {
        return Ok(farm.evaluator.lock(flake, overrides).await?);
    };
    let record: Option<LockRecord> = farm.lock_get(&tree.name()).await?;
    if let Some(locked) = record.and_then(|record| record.restore(flake)) {
        let (files, source) = (farm.files.clone(), locked.source.clone());
        if task::blocking("find source", move || files.has_path(&source)).await? {
            return Ok(locked);
        }
    }
    let locked = farm.evaluator.lock(flake, overrides).await?;
    if let Some(record) = LockRecord::of(&locked, &tree) {
        farm.lock_put(&tree.name(), &record).await?;
    }
    Ok(locked)
}
