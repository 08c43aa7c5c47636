//! The graph itself.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::nix::{DrvKey, DrvPath, OutputName, StorePath, System, SystemFeature};

/// The number of a derivation in one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The derivation with this number; for a schedule without a graph, any number will do.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The bare number.
    pub const fn number(self) -> u32 {
        self.0
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// An output of a derivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOutput {
    /// Its name.
    pub name: OutputName,
    /// Its store path; `None` when only a build can tell (content-addressed).
    pub path: Option<StorePath>,
}

/// A derivation that another one needs, and which of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInput {
    /// The derivation needed.
    pub node: NodeId,
    /// The outputs of it that are needed.
    pub outputs: Arc<[OutputName]>,
}

/// A derivation and what scheduling needs to know of it.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its store path.
    pub drv: DrvPath,
    /// Its key.
    pub key: DrvKey,
    /// The system it is built on.
    pub system: System,
    /// Features its builder must have.
    pub features: Arc<BTreeSet<SystemFeature>>,
    /// Its outputs.
    pub outputs: Box<[NodeOutput]>,
    /// What it needs.
    pub inputs: Box<[NodeInput]>,
    /// Whether its output is fixed by a hash (a download, mostly).
    pub fixed_output: bool,
}

impl Node {
    /// The derivation's name, without hash and `.drv`.
    pub fn name(&self) -> &str {
        self.drv.name()
    }
}

/// Derivations and their inputs, shared by all cells.
#[derive(Debug, Default)]
pub struct DrvGraph {
    nodes: Vec<Node>,
    by_drv: HashMap<DrvPath, NodeId>,
}

impl DrvGraph {
    /// The node of `drv`, if it is in the graph.
    pub fn find(&self, drv: &DrvPath) -> Option<NodeId> {
        self.by_drv.get(drv).copied()
    }

    /// The node numbered `id`.
    ///
    /// # Panics
    /// If `id` comes from another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// How many derivations the graph holds.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the graph holds no derivation.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a node whose inputs are in the graph already.
    pub(super) fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.by_drv.insert(node.drv.clone(), id);
        self.nodes.push(node);
        id
    }
}
