//! Building.
//!
//! Layer 0.

use tokio::io::{AsyncRead, AsyncWrite};

use super::build_result::BuildResult;
use super::client::{Client, Op};
use super::derived_path::DerivedPath;
use super::error::ClientError;
use super::log::LogSink;
use super::version::Trust;
use crate::nix::derivation::{BasicDerivation, DerivationKind};
use crate::nix::wire::Encoder;
use crate::nix::{DrvPath, StoreDir};

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BuildMode {
    /// Unless the outputs are valid.
    #[default]
    Normal,
    /// Again, replacing what is damaged.
    Repair,
    /// Again, comparing with the valid outputs; it is an error if there are none.
    Check,
}

impl BuildMode {
    fn to_wire(self) -> u64 {
        match self {
            Self::Normal => 0,
            Self::Repair => 1,
            Self::Check => 2,
        }
    }
}

impl<R, W> Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    /// Realises `targets`, of which the derivations must be valid in that store. One result per target, in order.
    ///
    /// A failed build is a result, not an error. Dropping the future and then the client cancels the builds.
    pub async fn build_paths_with_results(
        &mut self,
        targets: &[DerivedPath],
        mode: BuildMode,
        sink: &mut impl LogSink,
    ) -> Result<Vec<BuildResult>, ClientError> {
        let mut request = self.begin(Op::BuildPathsWithResults)?;
        request.count(targets.len());
        for target in targets {
            request.text(&target.to_wire(&self.store_dir));
        }
        request.u64(mode.to_wire());
        self.exchange(request, sink).await?;
        let mut answers = Vec::new();
        for _ in 0..self.reader.count("build results").await? {
            let target = self.reader.text("derived path").await?;
            let target = DerivedPath::from_wire(&self.store_dir, &target)?;
            let result = BuildResult::decode(&self.protocol, &self.store_dir, &mut self.reader).await?;
            answers.push((target, result));
        }
        self.done(Ok(in_request_order(targets, &answers)))
    }

    /// Builds one derivation that need not be in that store; what it reads must be.
    ///
    /// A client that is not trusted may do so only for content-addressed derivations.
    pub async fn build_derivation(
        &mut self,
        path: &DrvPath,
        drv: &BasicDerivation,
        mode: BuildMode,
        sink: &mut impl LogSink,
    ) -> Result<BuildResult, ClientError> {
        let input_addressed = matches!(drv.kind, DerivationKind::InputAddressed | DerivationKind::Deferred);
        if self.trust == Trust::NotTrusted && input_addressed {
            return Err(ClientError::NotTrusted(
                "build an input-addressed derivation without its .drv closure",
            ));
        }
        let mut request = self.begin(Op::BuildDerivation)?;
        request.path(&self.store_dir, path.as_store_path());
        encode_derivation(drv, &self.store_dir, &mut request);
        request.u64(mode.to_wire());
        self.exchange(request, sink).await?;
        let result = BuildResult::decode(&self.protocol, &self.store_dir, &mut self.reader).await?;
        self.done(Ok(result))
    }
}

/// Daemons answer in an order of their own, join targets of one derivation, and leave out what they never began.
fn in_request_order(targets: &[DerivedPath], answers: &[(DerivedPath, BuildResult)]) -> Vec<BuildResult> {
    let find = |wanted: &DerivedPath| {
        let exact = answers.iter().find(|(target, _)| target == wanted);
        exact.or_else(|| answers.iter().find(|(target, _)| target.base() == wanted.base()))
    };
    let result = |target| find(target).map_or_else(BuildResult::not_run, |(_, result)| result.clone());
    targets.iter().map(result).collect()
}

fn encode_derivation(drv: &BasicDerivation, store_dir: &StoreDir, out: &mut Encoder) {
    out.count(drv.outputs.len());
    for (name, output) in &drv.outputs {
        out.text(name).text(&output.path).text(&output.method).text(&output.hash);
    }
    out.paths(store_dir, &drv.input_srcs).text(drv.system.as_str()).text(&drv.builder_exe);
    out.texts(drv.args.iter().map(String::as_str));
    out.count(drv.env.len());
    for (key, value) in &drv.env {
        out.text(key).bytes(value);
    }
}
