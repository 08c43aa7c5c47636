//! What Nix says this machine can build.

use std::collections::BTreeSet;

use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    EvalError, EvalSettings,
    child::{End, run},
    lock::{TRIES, starting_nix},
    nix::Nix,
};
use crate::nix::{System, SystemFeature};

/// The systems and features of the local store's builder, as Nix is configured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// `system` and `extra-platforms`.
    pub systems: BTreeSet<System>,
    /// `system-features`.
    pub features: BTreeSet<SystemFeature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawConfig {
    system: Value<String>,
    extra_platforms: Value<Vec<String>>,
    system_features: Value<Vec<String>>,
}

#[derive(Deserialize)]
struct Value<T> {
    value: T,
}

/// Asks Nix for its configuration; the command was renamed after Nix 2.8.
pub(super) async fn host(settings: &EvalSettings) -> Result<Host, EvalError> {
    let nix = Nix::find_plain(settings)?;
    let deadline = Instant::now() + settings.total;
    for command in [&["config", "show", "--json"][..], &["show-config", "--json"]] {
        let launch = nix.launch_plain(settings, command.iter().copied(), deadline);
        let ended = run(launch, None, &CancellationToken::new()).await.map_err(starting_nix)?;
        if let (End::Exited(0), Ok(raw)) = (ended.end, serde_json::from_slice::<RawConfig>(&ended.stdout)) {
            return Ok(raw.into());
        }
    }
    let detail = "`nix config show --json` and `nix show-config --json` gave no configuration".to_owned();
    Err(EvalError::Crashed { flake: "the configuration of nix".to_owned(), tries: TRIES, detail })
}

impl From<RawConfig> for Host {
    fn from(raw: RawConfig) -> Self {
        // Names that croft refuses are no systems or features that a derivation could ask for here.
        let systems = raw.extra_platforms.value.iter().chain([&raw.system.value]);
        Self {
            systems: systems.filter_map(|text| text.parse().ok()).collect(),
            features: raw.system_features.value.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }
}
