//! Work that must be done where the hub's store is, told apart by a system and a feature of croft's own.
//!
//! Fetching from a binary cache and recording what is there need no builder at all. A derivation whose outputs only a
//! build can name is made by the hub's own Nix, which works out the paths of what depends on it.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    graph::Node,
    matrix::Resources,
    nix::{System, SystemFeature},
    plan::{Class, Offer},
};

use super::job::Way;

/// No system of Nix has this name.
const NAME: &str = "croft-hub";

fn system() -> Option<System> {
    NAME.parse().ok()
}

fn feature() -> Option<SystemFeature> {
    NAME.parse().ok()
}

/// What the hub offers beside its builder.
pub(super) fn offer() -> Offer {
    Offer {
        systems: system().into_iter().collect(),
        features: BTreeSet::new(),
        mandatory: BTreeSet::new(),
        capacity: Resources::default(),
    }
}

/// The offer of the builder that works in the hub's own store.
pub(super) fn with_store(offer: &Offer) -> Offer {
    let mut offer = offer.clone();
    offer.features.extend(feature());
    offer
}

/// What a derivation needs of whoever makes it.
pub(super) fn class(node: &Node, way: Way, resources: Resources) -> Class {
    match way {
        Way::Build | Way::Check => build_class(node, resources),
        Way::Substitute | Way::Adopt => {
            Class::new(system().unwrap_or_else(|| node.system.clone()), Arc::default())
        }
    }
}

/// What a derivation that is built needs of its builder.
pub(super) fn build_class(node: &Node, resources: Resources) -> Class {
    let mut features = Arc::clone(&node.features);
    if node.outputs.iter().any(|output| output.path.is_none()) {
        Arc::make_mut(&mut features).extend(feature());
    }
    Class { resources, ..Class::new(node.system.clone(), features) }
}
