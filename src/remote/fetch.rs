//! Bringing what a machine has built to the hub.

use std::collections::BTreeSet;

use super::{
    closure::{Infos, references_first},
    connection::Connection,
    far::Far,
    holdings::Origin,
    transfer::{Side, TransferError, answer, copy},
    work::{Outputs, Task},
};
use crate::nix::{
    StorePath,
    daemon::{ClientError, PathInfo, SignatureCheck},
    derivation::DerivationKind,
    hash,
};

/// The most paths beyond the outputs that are fetched with them.
const MAX_REFERENCES: usize = 64 << 10;
/// The most signatures that are believed of one path.
const MAX_SIGNATURES: usize = 32;

impl Far {
    /// Makes `outputs` of `task` valid at the hub. What was damaged on the way is fetched once more.
    pub(super) async fn fetch(&self, task: &Task, outputs: &Outputs) -> Result<(), TransferError> {
        match self.fetch_once(task, outputs).await {
            Err(error) if error.is_corrupt() => {
                tracing::warn!(drv = %task.drv, ?error, "fetching again what came damaged");
                self.fetch_once(task, outputs).await
            }
            ended => ended,
        }
    }

    async fn fetch_once(&self, task: &Task, outputs: &Outputs) -> Result<(), TransferError> {
        let wanted: BTreeSet<StorePath> = outputs.values().cloned().collect();
        let mut there = self.take(Side::Builder).await?;
        let mut hub = self.take(Side::Hub).await?;
        let infos = self.missing(&mut there, &mut hub, &wanted).await?;
        for (check, paths) in self.judged(task, &wanted, &infos) {
            let (from, to) = ((Side::Builder, &mut there), (Side::Hub, &mut hub));
            copy(&paths, from, to, check).await?;
        }
        if task.derivation.kind() == DerivationKind::FloatingOutput {
            let key = hash::to_base16(task.key.as_bytes());
            for (name, path) in outputs {
                answer(Side::Hub, hub.client.register_realisation(&key, name, path)).await?;
            }
        }
        self.pool.give_back(there);
        self.hub.give_back(hub);
        Ok(())
    }

    /// What of `wanted`, and of what that refers to, the hub lacks; with what the builder says of it.
    async fn missing(
        &self,
        there: &mut Connection,
        hub: &mut Connection,
        wanted: &BTreeSet<StorePath>,
    ) -> Result<Infos, TransferError> {
        let mut infos = Infos::new();
        let mut frontier = wanted.clone();
        let mut at_hub = answer(Side::Hub, hub.client.hold_valid_paths(&frontier)).await?;
        loop {
            frontier.retain(|path| !at_hub.contains(path) && !infos.contains_key(path));
            if frontier.is_empty() {
                return Ok(infos);
            }
            let answers = answer(Side::Builder, there.client.query_path_infos(&frontier)).await?;
            let mut references = BTreeSet::new();
            for (path, info) in std::mem::take(&mut frontier).into_iter().zip(answers) {
                let Some(info) = info else {
                    self.holdings().forget([&path]);
                    return Err(TransferError::Store(Side::Builder, ClientError::NotValid(path)));
                };
                references.extend(info.references.iter().cloned());
                infos.insert(path, info);
            }
            if infos.len() + references.len() > MAX_REFERENCES {
                let path = wanted.first().cloned().ok_or(TransferError::Stalled)?;
                let reason = format!("it refers to more than {MAX_REFERENCES} paths that the hub lacks");
                return Err(TransferError::Store(Side::Builder, ClientError::Corrupt { path, reason }));
            }
            references.retain(|path| !infos.contains_key(path) && !at_hub.contains(path));
            if !references.is_empty() {
                at_hub.extend(answer(Side::Hub, hub.client.hold_valid_paths(&references)).await?);
            }
            frontier = references;
        }
    }

    /// The paths to copy, in groups of one way to check them, references first.
    ///
    /// A builder is believed about what it built for us. Of anything else that it has, the hub must find a signature
    /// that it trusts, or content that proves itself.
    fn judged(
        &self,
        task: &Task,
        outputs: &BTreeSet<StorePath>,
        infos: &Infos,
    ) -> Vec<(SignatureCheck, Vec<PathInfo>)> {
        let all = infos.keys().cloned().collect();
        let mut groups: Vec<(SignatureCheck, Vec<PathInfo>)> = Vec::new();
        for mut info in references_first(infos, &all) {
            let is_output = outputs.contains(&info.path);
            let believed = is_output || self.holdings().has_built(&info.path);
            let check = if believed { SignatureCheck::Skip } else { SignatureCheck::Require };
            if is_output {
                info.deriver = Some(task.drv.as_store_path().clone());
            }
            if info.signatures.len() > MAX_SIGNATURES {
                info.signatures.clear();
            }
            info.ultimate = false;
            info.registration_time = 0;
            match groups.last_mut().filter(|(last, _)| *last == check) {
                Some((_, paths)) => paths.push(info),
                None => groups.push((check, vec![info])),
            }
        }
        groups
    }

    /// Those outputs that are valid there now, asked on a connection of its own; none if one is missing.
    ///
    /// For after a connection was lost: what was finished need not be built again.
    pub(super) async fn adopt(&self, outputs: Outputs) -> Result<Option<Outputs>, TransferError> {
        let wanted: BTreeSet<StorePath> = outputs.values().cloned().collect();
        let mut there = self.take(Side::Builder).await?;
        let valid = answer(Side::Builder, there.client.hold_valid_paths(&wanted)).await?;
        let found = valid == wanted;
        if found {
            self.holdings().note(&wanted, Origin::Built, &there.life());
        }
        self.pool.give_back(there);
        Ok(found.then_some(outputs))
    }
}
