//! From `.drv` bytes to nodes, inputs first.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::node::{DrvGraph, Node, NodeId, NodeInput, NodeOutput};
use crate::nix::{
    DrvPath, NameError, OutputName, StoreDir, SystemFeature,
    derivation::{Derivation, DerivationError},
    key::{KeyError, KeyTable},
};

/// A `.drv` file that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("reading {drv}: {cause}")]
pub struct Missing {
    /// The derivation.
    pub drv: DrvPath,
    /// Why it could not be read.
    pub cause: String,
}

/// A closure of derivations that makes no graph.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A file could not be read.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A file is no derivation.
    #[error(transparent)]
    Parse(#[from] DerivationError),
    /// A derivation has no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A derivation asks for a feature that is no name.
    #[error("requiredSystemFeatures of {drv}: {source}")]
    Feature {
        /// The derivation.
        drv: DrvPath,
        /// What is wrong with the name.
        source: NameError,
    },
    /// A derivation needs an output that is no name.
    #[error("an input of {drv}: {source}")]
    Output {
        /// The derivation.
        drv: DrvPath,
        /// What is wrong with the name.
        source: NameError,
    },
    /// Derivations need each other in a circle, which Nix itself cannot make.
    #[error("{0} needs itself through its inputs; the store is corrupt, run `nix-store --verify`")]
    Cycle(DrvPath),
}

/// One derivation on the way down.
struct Frame {
    drv: DrvPath,
    parsed: Derivation,
    inputs: Vec<(DrvPath, Arc<[OutputName]>)>,
    /// The nodes of the first inputs: of all, in the end.
    found: Vec<NodeId>,
}

/// What is shared between the derivations of one graph while it is loaded, and kept for later additions.
#[derive(Debug, Default)]
pub struct Loader {
    keys: KeyTable,
    features: HashSet<Arc<BTreeSet<SystemFeature>>>,
    outputs: HashMap<BTreeSet<String>, Arc<[OutputName]>>,
}

impl DrvGraph {
    /// Adds `root` and all it needs, reading each derivation that is not in the graph yet through `read`.
    pub fn load(
        &mut self,
        loader: &mut Loader,
        store: &StoreDir,
        root: &DrvPath,
        mut read: impl FnMut(&DrvPath) -> Result<Vec<u8>, Missing>,
    ) -> Result<NodeId, GraphError> {
        if let Some(id) = self.find(root) {
            return Ok(id);
        }
        let mut open = HashSet::from([root.clone()]);
        let mut stack = vec![loader.open(store, root.clone(), &mut read)?];
        loop {
            let Some(frame) = stack.last_mut() else { return Err(GraphError::Cycle(root.clone())) };
            if let Some((input, _)) = frame.inputs.get(frame.found.len()) {
                if let Some(id) = self.find(input) {
                    frame.found.push(id);
                } else if open.insert(input.clone()) {
                    let input = input.clone();
                    stack.push(loader.open(store, input, &mut read)?);
                } else {
                    return Err(GraphError::Cycle(input.clone()));
                }
                continue;
            }
            let Some(done) = stack.pop() else { return Err(GraphError::Cycle(root.clone())) };
            open.remove(&done.drv);
            let id = self.close(loader, done)?;
            if stack.is_empty() {
                return Ok(id);
            }
        }
    }

    fn close(&mut self, loader: &mut Loader, frame: Frame) -> Result<NodeId, GraphError> {
        let key = loader.keys.key(&frame.parsed)?;
        let features = frame
            .parsed
            .required_system_features()
            .map_err(|source| GraphError::Feature { drv: frame.drv.clone(), source })?;
        let outputs_of = frame.inputs.into_iter().map(|(_, outputs)| outputs);
        let inputs = frame.found.into_iter().zip(outputs_of);
        let inputs = inputs.map(|(node, outputs)| NodeInput { node, outputs }).collect();
        let outputs = frame.parsed.outputs().map(|(name, path)| NodeOutput { name, path }).collect();
        Ok(self.push(Node {
            key,
            system: frame.parsed.system().clone(),
            features: loader.share_features(features),
            outputs,
            inputs,
            fixed_output: frame.parsed.is_fixed_output(),
            drv: frame.drv,
        }))
    }
}

impl Loader {
    fn open(
        &mut self,
        store: &StoreDir,
        drv: DrvPath,
        read: &mut impl FnMut(&DrvPath) -> Result<Vec<u8>, Missing>,
    ) -> Result<Frame, GraphError> {
        let parsed = Derivation::parse(store, &drv, &read(&drv)?)?;
        let inputs = parsed
            .input_drvs()
            .map(|(input, outputs)| Ok((input, self.share_outputs(outputs)?)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| GraphError::Output { drv: drv.clone(), source })?;
        let found = Vec::with_capacity(inputs.len());
        Ok(Frame { drv, parsed, inputs, found })
    }

    fn share_features(&mut self, features: BTreeSet<SystemFeature>) -> Arc<BTreeSet<SystemFeature>> {
        if let Some(shared) = self.features.get(&features) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(features);
        self.features.insert(Arc::clone(&shared));
        shared
    }

    fn share_outputs(&mut self, outputs: &BTreeSet<String>) -> Result<Arc<[OutputName]>, NameError> {
        if let Some(shared) = self.outputs.get(outputs) {
            return Ok(Arc::clone(shared));
        }
        let shared: Arc<[OutputName]> =
            outputs.iter().map(|name| OutputName::new(name)).collect::<Result<_, _>>()?;
        self.outputs.insert(outputs.clone(), Arc::clone(&shared));
        Ok(shared)
    }
}
