//! Operations with small requests and replies.
//!
//! Layer 0.

use std::collections::{BTreeMap, BTreeSet};

use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{Client, Op, drain_log, duplex, send};
use super::derived_path::DerivedPath;
use super::error::ClientError;
use super::log::Discard;
use super::path_info::PathInfo;
use super::settings::{ClientSettings, Substitution};
use super::version::OUTPUT_PATHS_FEATURE;
use crate::nix::wire::WireError;
use crate::nix::{DrvPath, OutputName, StorePath};

/// What realising something would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// Derivations to build.
    pub will_build: BTreeSet<StorePath>,
    /// Paths to substitute.
    pub will_substitute: BTreeSet<StorePath>,
    /// Paths of which nobody knows how to get them.
    pub unknown: BTreeSet<StorePath>,
    /// Bytes to download.
    pub download_size: u64,
    /// Bytes of the NARs of what is substituted.
    pub nar_size: u64,
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    /// Sets options for the rest of the connection.
    pub async fn set_options(&mut self, settings: &ClientSettings) -> Result<(), ClientError> {
        let mut request = self.begin(Op::SetOptions)?;
        settings.encode(&mut request);
        self.exchange(request, &mut Discard).await?;
        self.done(Ok(()))
    }

    /// Whether the path is valid.
    pub async fn is_valid_path(&mut self, path: &StorePath) -> Result<bool, ClientError> {
        let mut request = self.begin(Op::IsValidPath)?;
        request.path(&self.store_dir, path);
        self.exchange(request, &mut Discard).await?;
        let valid = self.reader.bool("validity").await?;
        self.done(Ok(valid))
    }

    /// Those of `paths` that are valid, after trying to substitute the others if that is allowed.
    pub async fn query_valid_paths(
        &mut self,
        paths: &BTreeSet<StorePath>,
        substitution: Substitution,
    ) -> Result<BTreeSet<StorePath>, ClientError> {
        let mut request = self.begin(Op::QueryValidPaths)?;
        request.paths(&self.store_dir, paths).bool(substitution == Substitution::Allow);
        self.exchange(request, &mut Discard).await?;
        let valid = self.reader.paths(&self.store_dir, "valid paths").await?;
        self.done(Ok(valid))
    }

    /// Those of `paths` that a substituter of the daemon has.
    pub async fn query_substitutable_paths(
        &mut self,
        paths: &BTreeSet<StorePath>,
    ) -> Result<BTreeSet<StorePath>, ClientError> {
        let mut request = self.begin(Op::QuerySubstitutablePaths)?;
        request.paths(&self.store_dir, paths);
        self.exchange(request, &mut Discard).await?;
        let paths = self.reader.paths(&self.store_dir, "substitutable paths").await?;
        self.done(Ok(paths))
    }

    /// What is known of a path; none if it is not valid.
    pub async fn query_path_info(&mut self, path: &StorePath) -> Result<Option<PathInfo>, ClientError> {
        let infos = self.query_path_infos([path]).await?;
        Ok(infos.into_iter().next().flatten())
    }

    /// What is known of many paths, in their order. Faster than one by one: the requests are pipelined.
    pub async fn query_path_infos<'p>(
        &mut self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<Vec<Option<PathInfo>>, ClientError> {
        let paths: Vec<&StorePath> = paths.into_iter().collect();
        self.begin(Op::QueryPathInfo)?;
        let requests = self.path_requests(Op::QueryPathInfo, paths.iter().copied());
        let Self { reader, writer, store_dir, .. } = self;
        let receive = async {
            let mut infos = Vec::new();
            for path in paths {
                drain_log(reader, &mut Discard).await?;
                infos.push(if reader.bool("validity").await? {
                    Some(PathInfo::decode_unkeyed(store_dir, path.clone(), reader).await?)
                } else {
                    None
                });
            }
            Ok(infos)
        };
        let infos = duplex(send(writer, &requests), receive).await?;
        self.done(Ok(infos))
    }

    /// The valid path with this hash part, 32 characters of nix32; none if there is none.
    pub async fn query_path_from_hash_part(
        &mut self,
        hash_part: &str,
    ) -> Result<Option<StorePath>, ClientError> {
        let mut request = self.begin(Op::QueryPathFromHashPart)?;
        request.text(hash_part);
        self.exchange(request, &mut Discard).await?;
        let path = self.reader.optional_path(&self.store_dir, "path with a hash part").await?;
        self.done(Ok(path))
    }

    /// What realising `targets` would take.
    pub async fn query_missing(&mut self, targets: &[DerivedPath]) -> Result<Missing, ClientError> {
        let mut request = self.begin(Op::QueryMissing)?;
        request.count(targets.len());
        for target in targets {
            request.text(&target.to_wire(&self.store_dir));
        }
        self.exchange(request, &mut Discard).await?;
        let missing = Missing {
            will_build: self.reader.paths(&self.store_dir, "derivations to build").await?,
            will_substitute: self.reader.paths(&self.store_dir, "paths to substitute").await?,
            unknown: self.reader.paths(&self.store_dir, "unknown paths").await?,
            download_size: self.reader.u64("download size").await?,
            nar_size: self.reader.u64("NAR size").await?,
        };
        self.done(Ok(missing))
    }

    /// Makes the path valid by substituting it if need be.
    pub async fn ensure_path(&mut self, path: &StorePath) -> Result<(), ClientError> {
        let mut request = self.begin(Op::EnsurePath)?;
        request.path(&self.store_dir, path);
        self.exchange(request, &mut Discard).await?;
        self.acknowledged().await
    }

    /// Protects a path from garbage collection for as long as this connection lives. It need not be valid.
    pub async fn add_temp_root(&mut self, path: &StorePath) -> Result<(), ClientError> {
        self.add_temp_roots([path]).await
    }

    /// Protects many paths; the requests are pipelined.
    pub async fn add_temp_roots<'p>(
        &mut self,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Result<(), ClientError> {
        let paths: Vec<&StorePath> = paths.into_iter().collect();
        self.begin(Op::AddTempRoot)?;
        let requests = self.path_requests(Op::AddTempRoot, paths.iter().copied());
        let Self { reader, writer, .. } = self;
        let receive = async {
            for _ in &paths {
                drain_log(reader, &mut Discard).await?;
                reader.u64("acknowledgement").await?;
            }
            Ok(())
        };
        duplex(send(writer, &requests), receive).await?;
        self.done(Ok(()))
    }

    /// Protects those of `paths` that are valid, and returns them. Unlike a question followed by a protection, this
    /// leaves no moment in which a garbage collector could come between.
    pub async fn hold_valid_paths(
        &mut self,
        paths: &BTreeSet<StorePath>,
    ) -> Result<BTreeSet<StorePath>, ClientError> {
        self.add_temp_roots(paths).await?;
        self.query_valid_paths(paths, Substitution::Forbid).await
    }

    /// Adds signatures to a valid path.
    pub async fn add_signatures(
        &mut self,
        path: &StorePath,
        signatures: &BTreeSet<String>,
    ) -> Result<(), ClientError> {
        let mut request = self.begin(Op::AddSignatures)?;
        request.path(&self.store_dir, path);
        let signatures: Vec<&str> = signatures.iter().map(String::as_str).collect();
        request.texts(signatures);
        self.exchange(request, &mut Discard).await?;
        self.acknowledged().await
    }

    /// The outputs of a valid derivation, with the paths that are known by now.
    pub async fn query_derivation_output_map(
        &mut self,
        drv: &DrvPath,
    ) -> Result<BTreeMap<OutputName, Option<StorePath>>, ClientError> {
        let mut request = self.begin(Op::QueryDerivationOutputMap)?;
        request.path(&self.store_dir, drv.as_store_path());
        self.exchange(request, &mut Discard).await?;
        let mut outputs = BTreeMap::new();
        for _ in 0..self.reader.count("outputs").await? {
            let name = self.reader.text("output name").await?;
            let name = OutputName::new(&name).map_err(|_| WireError::bad_value("output name", &name))?;
            outputs.insert(name, self.reader.optional_path(&self.store_dir, "output path").await?);
        }
        self.done(Ok(outputs))
    }

    /// Tells the store which path an output of a content-addressed derivation has. `key` is the hash by which Nix
    /// names the derivation, in base 16. The daemon must trust this client.
    ///
    /// Daemons with a newer record of realisations (Nix 2.35) are not told.
    pub async fn register_realisation(
        &mut self,
        key: &str,
        output: &OutputName,
        path: &StorePath,
    ) -> Result<(), ClientError> {
        if self.protocol.has_feature(OUTPUT_PATHS_FEATURE) {
            return Ok(());
        }
        let record = serde_json::json!({
            "id": format!("sha256:{key}!{output}"),
            "outPath": path.to_basename(),
            "signatures": [],
            "dependentRealisations": {},
        });
        let mut request = self.begin(Op::RegisterDrvOutput)?;
        request.text(&record.to_string());
        self.exchange(request, &mut Discard).await?;
        self.done(Ok(()))
    }

    async fn acknowledged(&mut self) -> Result<(), ClientError> {
        self.reader.u64("acknowledgement").await?;
        self.done(Ok(()))
    }
}
