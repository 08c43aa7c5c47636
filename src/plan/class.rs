//! What a derivation needs of a builder, and what builders offer.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{
    matrix::Resources,
    nix::{System, SystemFeature},
};

/// What a derivation needs of a builder. Work of one class is interchangeable to the matcher.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// The system it is built on.
    pub system: System,
    /// Features its builder must have.
    pub features: Arc<BTreeSet<SystemFeature>>,
    /// What it asks of the builder's cores, memory and disk; what is unset is the builder's affair.
    pub resources: Resources,
}

impl Class {
    /// A class that asks for no resources.
    pub fn new(system: System, features: Arc<BTreeSet<SystemFeature>>) -> Self {
        Self { system, features, resources: Resources::default() }
    }

    /// Whether it is a download that Nix makes by itself, wherever Nix runs.
    pub fn is_builtin(&self) -> bool {
        self.system.as_str() == "builtin"
    }

    /// Whether a builder with this offer can do the work while nothing else runs on it.
    pub fn fits(&self, offer: &Offer) -> bool {
        self.suits(offer) && offer.capacity.covers(&self.resources)
    }

    /// Whether the builder has the system and the features, whatever its size.
    pub fn suits(&self, offer: &Offer) -> bool {
        (self.is_builtin() || offer.systems.contains(&self.system))
            && self
                .features
                .iter()
                .all(|name| offer.features.contains(name) || offer.mandatory.contains(name))
            && offer.mandatory.is_subset(&self.features)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.system.as_str())?;
        for (number, feature) in self.features.iter().enumerate() {
            write!(f, "{}{}", if number == 0 { " with " } else { " + " }, feature.as_str())?;
        }
        if self.resources != Resources::default() {
            write!(f, " ({})", self.resources)?;
        }
        Ok(())
    }
}

/// What one kind of builder offers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// The systems it builds for.
    pub systems: BTreeSet<System>,
    /// The features it has.
    pub features: BTreeSet<SystemFeature>,
    /// Features that it has too, and that every build it takes must ask for.
    pub mandatory: BTreeSet<SystemFeature>,
    /// Its cores, memory and disk. What is not known fits every need.
    pub capacity: Resources,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(features: &[&str], mandatory: &[&str]) -> Offer {
        let set = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Offer {
            systems: BTreeSet::from(["x86_64-linux".parse().unwrap()]),
            features: set(features),
            mandatory: set(mandatory),
            capacity: Resources { cores: Some(4), memory: None, disk: Some(1000) },
        }
    }

    fn class(system: &str, features: &[&str]) -> Class {
        let features = features.iter().map(|name| name.parse().unwrap()).collect();
        Class::new(system.parse().unwrap(), Arc::new(features))
    }

    #[test]
    fn a_builder_with_a_mandatory_feature_takes_only_what_asks_for_it() {
        let reserved = offer(&["kvm"], &["benchmark"]);
        assert!(!class("x86_64-linux", &[]).fits(&reserved));
        assert!(!class("x86_64-linux", &["kvm"]).fits(&reserved));
        assert!(class("x86_64-linux", &["benchmark"]).fits(&reserved));
        assert!(class("x86_64-linux", &["benchmark", "kvm"]).fits(&reserved));
    }

    #[test]
    fn an_unknown_capacity_fits_and_a_known_one_is_compared() {
        let mut asks = class("x86_64-linux", &[]);
        asks.resources = Resources { cores: Some(4), memory: Some(1 << 40), disk: None };
        assert!(asks.fits(&offer(&[], &[])));
        asks.resources.cores = Some(5);
        assert!(!asks.fits(&offer(&[], &[])));
        assert_eq!(asks.to_string(), "x86_64-linux (5 cores, 1099511627776 MiB of memory)");
    }

    #[test]
    fn a_download_by_nix_runs_anywhere_but_on_a_reserved_builder() {
        assert!(class("builtin", &[]).fits(&offer(&[], &[])));
        assert!(!class("builtin", &[]).fits(&offer(&[], &["benchmark"])));
    }
}
