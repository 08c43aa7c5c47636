//! Needs that no builder can ever meet, said at plan time.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::nix::{System, SystemFeature};

/// What one kind of builder offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The systems it builds for.
    pub systems: BTreeSet<System>,
    /// The features it has.
    pub features: BTreeSet<SystemFeature>,
}

/// A need that no builder meets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "unmet", rename_all = "kebab-case")]
pub enum Unmet {
    /// No builder builds for the system.
    System {
        /// The system.
        system: System,
        /// The derivation that needs it.
        drv: String,
    },
    /// No builder for the system has the features.
    Features {
        /// The system.
        system: System,
        /// The features that are needed together.
        features: BTreeSet<SystemFeature>,
        /// The derivation that needs them.
        drv: String,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { system, drv } => {
                write!(f, "{drv} needs a builder for {system}, and none is configured")
            }
            Self::Features { system, features, drv } => {
                let names: Vec<&str> = features.iter().map(SystemFeature::as_str).collect();
                write!(
                    f,
                    "{drv} needs a {system} builder with the feature {}, and none offers it",
                    names.join(" + ")
                )
            }
        }
    }
}

/// Whether some builder fits a derivation, and if none does, what is lacking.
pub fn unmet(
    offers: &[Offer],
    system: &System,
    features: &BTreeSet<SystemFeature>,
    drv: &str,
) -> Option<Unmet> {
    // `builtin` derivations (downloads by Nix itself) run wherever Nix runs.
    if system.as_str() == "builtin" {
        return None;
    }
    let mut of_system = offers.iter().filter(|offer| offer.systems.contains(system)).peekable();
    if of_system.peek().is_none() {
        return Some(Unmet::System { system: system.clone(), drv: drv.to_owned() });
    }
    if of_system.any(|offer| features.is_subset(&offer.features)) {
        return None;
    }
    Some(Unmet::Features { system: system.clone(), features: features.clone(), drv: drv.to_owned() })
}
