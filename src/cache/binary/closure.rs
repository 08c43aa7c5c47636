//! Writing paths from a store, with what they refer to.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{BinaryCache, error::CacheError, push::Written};
use crate::{
    config::PushScope,
    nix::{
        StorePath,
        daemon::{Client, ClientError, PathInfo},
    },
};

/// Bytes between the daemon and the compressor.
const PIPE: usize = 512 << 10;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Paths that are there now.
    pub written: u64,
    /// Paths that were there before.
    pub before: u64,
    /// Bytes of the NARs that were written, uncompressed.
    pub nar_bytes: u64,
    /// Bytes of the NARs that were written, compressed.
    pub file_bytes: u64,
}

impl BinaryCache {
    /// Writes valid paths of the daemon's store, as much of their closures as `cache.push` says.
    ///
    /// A path follows what it refers to, so that whoever finds a record finds all it needs. When it fails, what was
    /// written before stays and is passed over the next time. The paths are held against garbage collection for as long
    /// as the connection lives.
    pub async fn push_paths<R, W>(
        &self,
        client: &mut Client<R, W>,
        paths: &BTreeSet<StorePath>,
    ) -> Result<Pushed, CacheError>
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin,
    {
        let infos = match self.0.scope {
            PushScope::None => return Ok(Pushed::default()),
            PushScope::Outputs => infos(client, paths, Follow::Nothing).await?,
            PushScope::Closure => infos(client, paths, Follow::References).await?,
        };
        let known = self.has(&infos.keys().cloned().collect()).await?;
        let mut pushed = Pushed::default();
        for info in references_first(&infos) {
            if known.present.contains(&info.path) && self.is_written(&info.path).await? {
                pushed.before += 1;
                continue;
            }
            match self.push_from(client, info).await? {
                Written::Before => pushed.before += 1,
                Written::Now { file_size } => {
                    pushed.written += 1;
                    pushed.nar_bytes += info.nar_size;
                    pushed.file_bytes += file_size;
                }
            }
        }
        Ok(pushed)
    }

    async fn push_from<R, W>(&self, client: &mut Client<R, W>, info: &PathInfo) -> Result<Written, CacheError>
    where
        R: AsyncRead + Send + Unpin,
        W: AsyncWrite + Send + Unpin,
    {
        let (mut into, from) = tokio::io::duplex(PIPE);
        let give = async move {
            // The end of the writer is the end of the NAR.
            client.nar_from_path(&info.path, &mut into).await
        };
        let (given, written) = future::join(give, self.write(info, from)).await;
        match (given, written) {
            (Ok(_), written) => written,
            // A daemon that failed is why the NAR was short; a pipe that broke is not why the writer failed.
            (Err(ClientError::Io { .. }), Err(error)) => Err(error),
            (Err(source), _) => Err(CacheError::Daemon { path: info.path.to_basename(), source }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Nothing,
    References,
}

/// What the daemon knows of paths, after it was told to keep them.
async fn infos<R, W>(
    client: &mut Client<R, W>,
    paths: &BTreeSet<StorePath>,
    follow: Follow,
) -> Result<BTreeMap<StorePath, PathInfo>, CacheError>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let failed = |source| CacheError::Daemon { path: "the closure".to_owned(), source };
    let mut known = BTreeMap::new();
    let mut open = paths.clone();
    while !open.is_empty() {
        client.add_temp_roots(&open).await.map_err(failed)?;
        let answers = client.query_path_infos(&open).await.map_err(failed)?;
        let mut next = BTreeSet::new();
        for (path, info) in open.into_iter().zip(answers) {
            let Some(info) = info else {
                return Err(CacheError::Daemon {
                    path: path.to_basename(),
                    source: ClientError::NotValid(path),
                });
            };
            next.extend(info.references.iter().cloned());
            known.insert(path, info);
        }
        next.retain(|path| follow == Follow::References && !known.contains_key(path));
        open = next;
    }
    Ok(known)
}

/// The paths, each after those of them that it refers to.
fn references_first(infos: &BTreeMap<StorePath, PathInfo>) -> Vec<&PathInfo> {
    let mut ordered = Vec::with_capacity(infos.len());
    let mut seen = BTreeSet::new();
    for root in infos.values() {
        let mut open = vec![(root, false)];
        while let Some((info, is_done)) = open.pop() {
            if is_done {
                ordered.push(info);
            } else if seen.insert(&info.path) {
                open.push((info, true));
                open.extend(
                    info.references.iter().filter_map(|path| infos.get(path)).map(|info| (info, false)),
                );
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::NarHash;

    #[test]
    fn what_is_referred_to_comes_first() {
        let path = |byte: u8| StorePath::from_parts([byte; 20], "x").unwrap();
        let info = |own: u8, references: &[u8]| {
            let references = references.iter().map(|byte| path(*byte)).collect();
            PathInfo { references, ..PathInfo::new(path(own), NarHash::of(b""), 1) }
        };
        let all = [info(1, &[2, 3, 1]), info(2, &[4]), info(3, &[2, 9]), info(4, &[]), info(5, &[1])];
        let infos: BTreeMap<_, _> = all.iter().map(|info| (info.path.clone(), info.clone())).collect();
        let ordered = references_first(&infos);
        assert_eq!(ordered.len(), infos.len());
        let place = |path: &StorePath| ordered.iter().position(|info| info.path == *path);
        for info in &ordered {
            for reference in info.references.iter().filter(|path| infos.contains_key(*path)) {
                assert!(place(reference) <= place(&info.path), "{reference} after {}", info.path);
            }
        }
    }
}
