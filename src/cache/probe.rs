//! Whether the outputs of derivations are valid or can be fetched.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    graph::{DrvGraph, NodeId, Presence},
    nix::{
        StorePath,
        daemon::{BoxedClient, ClientError, Substitution},
    },
};

/// The most paths of one question.
const AT_ONCE: usize = 5_000;

/// Asks the store about all outputs of `nodes`.
///
/// A derivation whose output paths only a build can tell is absent: the daemon itself will know it if it is realised.
pub async fn probe(
    client: &mut BoxedClient,
    graph: &DrvGraph,
    nodes: &[NodeId],
) -> Result<Vec<(NodeId, Presence)>, ClientError> {
    let mut open: BTreeMap<NodeId, BTreeSet<StorePath>> = BTreeMap::new();
    let mut answers = Vec::with_capacity(nodes.len());
    for node in nodes {
        match known_outputs(graph, *node) {
            Some(paths) => _ = open.insert(*node, paths),
            None => answers.push((*node, Presence::Absent)),
        }
    }
    let wanted: Vec<StorePath> = open.values().flatten().cloned().collect();
    let mut valid = BTreeSet::new();
    for part in wanted.chunks(AT_ONCE) {
        let part = part.iter().cloned().collect();
        valid.append(&mut client.query_valid_paths(&part, Substitution::Forbid).await?);
    }
    let missing: Vec<StorePath> = wanted.into_iter().filter(|path| !valid.contains(path)).collect();
    let mut substitutable = BTreeSet::new();
    for part in missing.chunks(AT_ONCE) {
        let part = part.iter().cloned().collect();
        substitutable.append(&mut client.query_substitutable_paths(&part).await?);
    }
    answers.extend(open.into_iter().map(|(node, paths)| (node, presence(&paths, &valid, &substitutable))));
    Ok(answers)
}

fn known_outputs(graph: &DrvGraph, node: NodeId) -> Option<BTreeSet<StorePath>> {
    graph.node(node).outputs.iter().map(|output| output.path.clone()).collect()
}

fn presence(
    paths: &BTreeSet<StorePath>,
    valid: &BTreeSet<StorePath>,
    substitutable: &BTreeSet<StorePath>,
) -> Presence {
    let mut missing = paths.difference(valid).peekable();
    if missing.peek().is_none() {
        Presence::Valid
    } else if missing.all(|path| substitutable.contains(path)) {
        Presence::Substitutable
    } else {
        Presence::Absent
    }
}
