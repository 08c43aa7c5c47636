//! Which paths go along with which, and in what order.

use std::collections::{BTreeMap, BTreeSet};

use crate::nix::{
    StorePath,
    daemon::{BoxedClient, ClientError, PathInfo},
};

/// The most paths of one closure; more is a mistake, or an attack.
const MAX_PATHS: usize = 1 << 20;

/// Paths with what a store says of them.
pub(super) type Infos = BTreeMap<StorePath, PathInfo>;

/// `roots` and all that they refer to, without those paths, and what lies behind them, for which `stop` holds.
pub(super) async fn closure(
    client: &mut BoxedClient,
    roots: &BTreeSet<StorePath>,
    stop: impl Fn(&StorePath) -> bool,
) -> Result<Infos, ClientError> {
    let mut infos = Infos::new();
    let mut frontier: BTreeSet<StorePath> = roots.iter().filter(|path| !stop(path)).cloned().collect();
    while !frontier.is_empty() {
        let answers = client.query_path_infos(&frontier).await?;
        for (path, info) in frontier.iter().zip(answers) {
            let info = info.ok_or_else(|| ClientError::NotValid(path.clone()))?;
            infos.insert(path.clone(), info);
        }
        if let Some((path, _)) = infos.first_key_value().filter(|_| infos.len() > MAX_PATHS) {
            let reason = format!("it belongs to a closure of more than {MAX_PATHS} paths");
            return Err(ClientError::Corrupt { path: path.clone(), reason });
        }
        let references = frontier.iter().filter_map(|path| infos.get(path)).flat_map(|info| &info.references);
        frontier = references.filter(|path| !infos.contains_key(*path) && !stop(path)).cloned().collect();
    }
    Ok(infos)
}

/// Those of `infos` that are in `wanted`, each after those that it refers to.
pub(super) fn references_first(infos: &Infos, wanted: &BTreeSet<StorePath>) -> Vec<PathInfo> {
    let mut ordered = Vec::new();
    let mut seen: BTreeSet<&StorePath> = BTreeSet::new();
    for root in wanted {
        // Depth first without recursion: a path comes back, marked, after its references.
        let mut stack = vec![(root, false)];
        while let Some((path, done)) = stack.pop() {
            let Some(info) = infos.get(path) else { continue };
            if done {
                ordered.push(info.clone());
            } else if wanted.contains(path) && seen.insert(path) {
                stack.push((path, true));
                stack.extend(info.references.iter().map(|reference| (reference, false)));
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::NarHash;

    fn path(number: u8) -> StorePath {
        StorePath::from_parts([number; 20], "p").unwrap()
    }

    fn infos(edges: &[(u8, &[u8])]) -> Infos {
        let info = |(number, references): &(u8, &[u8])| {
            let mut info = PathInfo::new(path(*number), NarHash::of(b""), 1);
            info.references = references.iter().copied().map(path).collect();
            (info.path.clone(), info)
        };
        edges.iter().map(info).collect()
    }

    #[test]
    fn references_come_first_also_in_circles_and_deep_chains() {
        let infos = infos(&[(1, &[2, 3]), (2, &[3, 2]), (3, &[]), (4, &[1])]);
        let wanted = [1, 2, 3].map(path).into();
        let order: Vec<StorePath> =
            references_first(&infos, &wanted).into_iter().map(|info| info.path).collect();
        assert_eq!(order, [3, 2, 1].map(path));
        let circle = self::infos(&[(1, &[2]), (2, &[1])]);
        assert_eq!(references_first(&circle, &[1, 2].map(path).into()).len(), 2);
    }
}
