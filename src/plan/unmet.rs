//! Needs that no builder and no pool can ever meet, said at plan time.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::class::{Class, Offer};
use crate::{
    matrix::Resources,
    nix::{System, SystemFeature},
};

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
    /// All builders that have the features are kept for builds that ask for another one too.
    Reserved {
        /// The system.
        system: System,
        /// The features that a build must ask for.
        asks_for: BTreeSet<SystemFeature>,
        /// The derivation that does not.
        drv: String,
    },
    /// No builder with the system and the features is large enough.
    Resources {
        /// The system.
        system: System,
        /// What is needed at once.
        needs: Resources,
        /// The most that a builder has of each; they need not be one builder.
        most: Resources,
        /// The derivation that needs it.
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
                write!(
                    f,
                    "{drv} needs a {system} builder with the feature {}, and none offers it",
                    list(features)
                )
            }
            Self::Reserved { system, asks_for, drv } => write!(
                f,
                "{drv} needs a {system} builder, and those that would do take only builds that ask for the feature {}",
                list(asks_for)
            ),
            Self::Resources { system, needs, most, drv } => write!(
                f,
                "{drv} needs {needs} of one {system} builder, and the largest have {most}; add a larger pool or ask for less in the cell's `resources`"
            ),
        }
    }
}

fn list(features: &BTreeSet<SystemFeature>) -> String {
    let names: Vec<&str> = features.iter().map(SystemFeature::as_str).collect();
    names.join(" + ")
}

/// Whether some builder or pool fits a derivation, and if none does, what is lacking.
pub fn unmet(offers: &[Offer], class: &Class, drv: &str) -> Option<Unmet> {
    // `builtin` derivations (downloads by Nix itself) run wherever Nix runs.
    if class.is_builtin() || offers.iter().any(|offer| class.fits(offer)) {
        return None;
    }
    let (system, drv) = (class.system.clone(), drv.to_owned());
    let of_system: Vec<&Offer> = offers.iter().filter(|offer| offer.systems.contains(&system)).collect();
    if of_system.is_empty() {
        return Some(Unmet::System { system, drv });
    }
    let suiting: Vec<&Offer> = of_system.iter().copied().filter(|offer| class.suits(offer)).collect();
    if !suiting.is_empty() {
        let most = suiting.iter().fold(Resources::default(), |most, offer| most.largest(&offer.capacity));
        return Some(Unmet::Resources { system, needs: class.resources, most, drv });
    }
    let has_all = |offer: &&&Offer| {
        class.features.iter().all(|name| offer.features.contains(name) || offer.mandatory.contains(name))
    };
    Some(match of_system.iter().find(has_all) {
        Some(offer) => {
            let asks_for = offer.mandatory.difference(&class.features).cloned().collect();
            Unmet::Reserved { system, asks_for, drv }
        }
        None => Unmet::Features { system, features: class.features.as_ref().clone(), drv },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn offer(mandatory: &[&str], memory: Option<u64>) -> Offer {
        Offer {
            systems: BTreeSet::from(["x86_64-linux".parse().unwrap()]),
            features: BTreeSet::new(),
            mandatory: mandatory.iter().map(|name| name.parse().unwrap()).collect(),
            capacity: Resources { memory, ..Resources::default() },
        }
    }

    fn class(system: &str, features: &[&str], memory: Option<u64>) -> Class {
        Class {
            system: system.parse().unwrap(),
            features: Arc::new(features.iter().map(|name| name.parse().unwrap()).collect()),
            resources: Resources { memory, ..Resources::default() },
        }
    }

    fn said(offers: &[Offer], class: &Class) -> String {
        unmet(offers, class, "hello").map(|unmet| unmet.to_string()).unwrap_or_default()
    }

    #[test]
    fn each_lack_is_a_sentence() {
        let offers = [offer(&["benchmark"], None), offer(&[], Some(4096)), offer(&[], Some(2048))];
        assert_eq!(said(&offers, &class("x86_64-linux", &[], Some(4096))), "");
        assert_eq!(
            said(&offers, &class("x86_64-linux", &[], Some(9000))),
            "hello needs 9000 MiB of memory of one x86_64-linux builder, and the largest have 4096 MiB of memory; \
             add a larger pool or ask for less in the cell's `resources`"
        );
        assert_eq!(
            said(&offers, &class("riscv64-linux", &[], None)),
            "hello needs a builder for riscv64-linux, and none is configured"
        );
        assert_eq!(
            said(&offers, &class("x86_64-linux", &["kvm"], None)),
            "hello needs a x86_64-linux builder with the feature kvm, and none offers it"
        );
        assert_eq!(
            said(&offers[..1], &class("x86_64-linux", &[], None)),
            "hello needs a x86_64-linux builder, and those that would do take only builds that ask for the feature benchmark"
        );
        assert_eq!(said(&offers[..1], &class("x86_64-linux", &["benchmark"], Some(1 << 40))), "");
    }
}
