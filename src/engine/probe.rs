//! Whether builds on this machine are sandboxed: asked of a real build, not of the configuration.

use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{error::EngineError, farm::Farm};
use crate::{
    lifecycle::AttemptOutcome,
    nix::Derivation,
    remote::{Ask, Limits, Unheard},
};

/// The name of the probe's derivation.
const NAME: &str = "croft-sandbox-probe";

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxProbe {
    /// The build saw nothing of the machine; it took this long.
    Tight(Duration),
    /// The build could see the machine.
    Open(String),
}

/// Builds a small derivation that passes only where it cannot see this machine's own files.
///
/// It looks for a file that this process makes for it: a sandbox hides it, whatever its other rules.
pub async fn probe_sandbox(farm: &Farm, cancel: &CancellationToken) -> Result<SandboxProbe, EngineError> {
    let bait = tempfile_in_state(farm)?;
    let offer = farm.offer().await?;
    let system = offer.systems.iter().next().ok_or(EngineError::Bug("a builder without a system"))?;
    let token = farm.owner.id();
    let script = format!(
        "if test -e {bait}; then echo visible; exit 1; fi; echo {token} > $out",
        bait = bait.path.display()
    );
    let drv = Derivation::of_script(farm.files.store_dir(), NAME, system, &script)
        .ok_or(EngineError::Bug("the sandbox probe is no derivation"))?;
    let pool = farm.builder.pool();
    let mut connection = pool.take().await?;
    let file_name = format!("{NAME}.drv");
    connection.client.add_text_to_store(&file_name, &drv.to_aterm(), &drv.references()).await?;
    let limits =
        Limits { timeout: Duration::from_secs(60), max_silent: Duration::from_secs(60), max_log: 1 << 20 };
    let before = farm.clock.now();
    // The connection stays open meanwhile, so that the derivation is not collected as garbage.
    let realised = farm.builder.realise(&Ask::Build(drv.path().clone()), limits, Unheard, cancel).await;
    pool.give_back(connection);
    let took = farm.clock.now().since(before);
    Ok(match realised.outcome {
        AttemptOutcome::Passed => SandboxProbe::Tight(took),
        AttemptOutcome::Failed { message } => SandboxProbe::Open(message),
        AttemptOutcome::Timeout { .. }
        | AttemptOutcome::LogLimit
        | AttemptOutcome::NotDeterministic { .. }
        | AttemptOutcome::Infra { .. }
        | AttemptOutcome::Cancelled => {
            return Err(EngineError::Probe(
                realised.outcome.message().unwrap_or("it was cancelled").to_owned(),
            ));
        }
    })
}

/// A file that is removed at the end of the probe.
struct Bait {
    path: PathBuf,
}

impl Drop for Bait {
    fn drop(&mut self) {
        // What is left is an empty file in croft's own directory.
        fs_err::remove_file(&self.path).ok();
    }
}

fn tempfile_in_state(farm: &Farm) -> Result<Bait, EngineError> {
    let path = std::env::temp_dir().join(format!("croft-bait-{}", farm.owner.id()));
    fs_err::write(&path, "").map_err(|error| EngineError::Probe(error.to_string()))?;
    Ok(Bait { path })
}
