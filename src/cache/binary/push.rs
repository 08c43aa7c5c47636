//! Writing one path.

use futures_util::future;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
};

use super::{
    BinaryCache,
    decode::PIECE,
    error::CacheError,
    object::{ObjectName, Range},
    spool::{Spooled, compress},
};
use crate::{
    nix::{
        NarHash, NixHash, StorePath,
        daemon::PathInfo,
        hash,
        narinfo::{self, Compression},
        signature::SecretKey,
    },
    task,
};

/// What became of a path that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was there already, with our signature and its NAR.
    Before,
    /// It is there now.
    Now {
        /// The length of the compressed NAR in bytes.
        file_size: u64,
    },
}

impl BinaryCache {
    /// Writes a path with its NAR, unless it is there.
    ///
    /// The NAR is compressed as it comes; it is uploaded when its length and hash have been found right, and the signed
    /// record follows when the upload has been looked at. Dropping the future leaves no record.
    pub async fn push(
        &self,
        info: &PathInfo,
        nar: impl AsyncRead + Send + Unpin,
    ) -> Result<Written, CacheError> {
        if self.is_written(&info.path).await? { Ok(Written::Before) } else { self.write(info, nar).await }
    }

    /// Whether the path is there, signed by us and with its NAR. A record that we would refuse is none: it is written
    /// anew.
    pub(super) async fn is_written(&self, path: &StorePath) -> Result<bool, CacheError> {
        let key = self.key()?.public_key();
        let record = match self.narinfo(path).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(false),
            Err(error) if error.is_alarm() => {
                tracing::error!("{error}; it is written anew");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if !record.narinfo.has_valid_signature(&self.0.store_dir, &[key]) {
            return Ok(false);
        }
        let size = self.object_size(&record.nar).await?;
        Ok(size.is_some() && record.file_size.is_none_or(|told| size == Some(told)))
    }

    pub(super) async fn write(
        &self,
        info: &PathInfo,
        nar: impl AsyncRead + Send + Unpin,
    ) -> Result<Written, CacheError> {
        let key = self.key()?;
        self.0.introduced.get_or_try_init(|| self.introduce()).await?;
        let packed = self.pack(info, nar).await?;
        let file_size = packed.size;
        let url = format!("nar/{}.nar.zst", hash::to_nix32(&packed.hash));
        let record = self.sign(key, info, &url, &packed)?;
        let name = ObjectName::Nar(url);
        // Objects are named by their bytes: one that is there is this one.
        if self.object_size(&name).await? != Some(file_size) {
            self.0.backend.upload(&name, packed).await?;
        }
        self.0.backend.put(&ObjectName::record_of(&info.path), record).await?;
        Ok(Written::Now { file_size })
    }

    fn key(&self) -> Result<&SecretKey, CacheError> {
        let key = self.0.key.as_ref().map(|(key, _)| key);
        key.ok_or_else(|| CacheError::ReadOnly(self.url()))
    }

    /// Writes `nix-cache-info` if there is none.
    async fn introduce(&self) -> Result<(), CacheError> {
        let name = ObjectName::CacheInfo;
        match self.object(&name, Range::Whole).await? {
            None => {
                let text = Self::introduction(&self.0.store_dir);
                self.0.backend.put(&name, text.into_bytes()).await
            }
            Some(_) => Ok(()),
        }
    }

    async fn pack(&self, info: &PathInfo, nar: impl AsyncRead + Send + Unpin) -> Result<Spooled, CacheError> {
        let (sender, chunks) = mpsc::channel(4);
        let (dir, level, size) = (self.0.backend.spool.clone(), self.0.level, info.nar_size);
        let worker = task::blocking("pack a NAR", move || compress(&dir, level, size, chunks));
        let (fed, packed) = future::join(feed(info, nar, sender), worker).await;
        let packed = packed?;
        match (fed, packed) {
            (Ok(()), Ok(packed)) => Ok(packed),
            (Err(Feed::Wrong(cause)), _) => Err(CacheError::Source { path: info.path.clone(), cause }),
            (Ok(()) | Err(Feed::Unwanted), Err(source)) => Err(CacheError::File {
                doing: "compressing a NAR below",
                path: self.0.backend.spool.clone(),
                source,
            }),
            (Err(Feed::Unwanted), Ok(_)) => {
                let cause = "its compressor ended too soon".to_owned();
                Err(CacheError::Source { path: info.path.clone(), cause })
            }
        }
    }

    fn sign(
        &self,
        key: &SecretKey,
        info: &PathInfo,
        url: &str,
        packed: &Spooled,
    ) -> Result<Vec<u8>, CacheError> {
        let mut info = info.clone();
        // One signature for each of our keys, and nobody else's under our name.
        info.signatures.retain(|text| !text.starts_with(&format!("{}:", key.name())));
        let own = key.sign(&info.fingerprint(&self.0.store_dir));
        let record = narinfo::from_path_info(&self.0.store_dir, &info, url, Compression::Zstd)
            .file_hash(Some(NixHash::Sha256(packed.hash)))
            .file_size(Some(packed.size))
            .signature(own)
            .build();
        let record = record.map_err(|error| CacheError::Source {
            path: info.path.clone(),
            cause: super::error::harmless(&error.to_string()),
        })?;
        Ok(record.to_canonical_bytes())
    }
}

enum Feed {
    /// The NAR is not what was announced.
    Wrong(String),
    /// The compressor does not want more.
    Unwanted,
}

/// Sends the NAR on in pieces, and checks that it is the announced one.
async fn feed(
    info: &PathInfo,
    mut nar: impl AsyncRead + Send + Unpin,
    pieces: mpsc::Sender<Vec<u8>>,
) -> Result<(), Feed> {
    let mut hasher = Sha256::new();
    let mut left = info.nar_size;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            let read = nar.read_buf(&mut piece).await;
            if read.map_err(|error| Feed::Wrong(format!("reading it: {error}")))? == 0 {
                break;
            }
        }
        if piece.is_empty() {
            break;
        }
        left = left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| Feed::Wrong(format!("it is longer than the announced {} bytes", info.nar_size)))?;
        hasher.update(&piece);
        pieces.send(piece).await.map_err(|_| Feed::Unwanted)?;
    }
    if left > 0 {
        return Err(Feed::Wrong(format!("it ends {left} bytes before the announced {}", info.nar_size)));
    }
    let found = NarHash::new(hasher.finalize().into());
    if found == info.nar_hash {
        return Ok(());
    }
    Err(Feed::Wrong(format!("its hash is {found}, announced was {}", info.nar_hash)))
}
