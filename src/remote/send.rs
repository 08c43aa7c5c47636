//! Making the inputs of a task valid on another machine.

use std::collections::BTreeSet;

use super::{
    closure::{closure, references_first},
    far::Far,
    holdings::Origin,
    transfer::{Side, TransferError, answer, copy},
};
use crate::nix::{
    StorePath,
    daemon::{SignatureCheck, Substitution},
};

/// How often a task looks again after the transfer of another task, on which it relied, has failed.
const ROUNDS: u32 = 4;

impl Far {
    /// Makes `paths` and all that they refer to valid there, and safe from its garbage collector.
    ///
    /// What another task is just sending is waited for.
    pub(super) async fn send(&self, paths: &BTreeSet<StorePath>) -> Result<(), TransferError> {
        for _ in 0..ROUNDS {
            let lacking = self.holdings().lacking(paths);
            if lacking.is_empty() {
                return Ok(());
            }
            self.bring(&lacking).await?;
        }
        if self.holdings().lacking(paths).is_empty() { Ok(()) } else { Err(TransferError::GivenUp) }
    }

    /// Brings what nobody else is bringing, after the others have brought theirs.
    async fn bring(&self, roots: &BTreeSet<StorePath>) -> Result<(), TransferError> {
        let mut hub = self.take(Side::Hub).await?;
        let certain = |path: &StorePath| self.holdings().holds(path);
        let infos = answer(Side::Hub, closure(&mut hub.client, roots, certain)).await?;
        let mut claim = self.arrivals.claim(infos.keys().cloned().collect());
        // Before a connection is taken: they may need the last one.
        claim.others_done().await;
        let mine = self.holdings().lacking(&claim.mine);
        if mine.is_empty() {
            self.hub.give_back(hub);
            return Ok(());
        }
        let mut there = self.take(Side::Builder).await?;
        let valid = answer(Side::Builder, there.client.hold_valid_paths(&mine)).await?;
        let mut missing: BTreeSet<StorePath> = mine.difference(&valid).cloned().collect();
        if self.has_cache && !missing.is_empty() {
            // Without a time limit of its own: how long a download takes nobody knows.
            let fetched = there.client.query_valid_paths(&missing, Substitution::Allow).await;
            let fetched = fetched.map_err(|error| TransferError::Store(Side::Builder, error))?;
            missing = missing.difference(&fetched).cloned().collect();
        }
        if !missing.is_empty() {
            let paths = references_first(&infos, &missing);
            let (from, to) = ((Side::Hub, &mut hub), (Side::Builder, &mut there));
            copy(&paths, from, to, SignatureCheck::Skip).await?;
        }
        self.holdings().note(&mine, Origin::Seen, &there.life());
        self.pool.give_back(there);
        self.hub.give_back(hub);
        Ok(())
    }
}
