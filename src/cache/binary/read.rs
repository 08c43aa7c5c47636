//! Reading a cache.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt as _, future, stream};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_util::io::SyncIoBridge;

use super::{
    BinaryCache,
    decode::unpack,
    error::{CacheError, harmless},
    object::{Object, ObjectName, Range},
    record::{Record, RecordError},
};
use crate::{
    nix::{NarHash, StorePath, daemon::PathInfo, narinfo::MAX_NARINFO_SIZE},
    task,
};

/// How many records are asked for at once.
const RECORDS_AT_ONCE: usize = 32;
/// How long a record may take.
const RECORD_TIME: Duration = Duration::from_secs(60);
/// How long a NAR may take: so long, and its length at this many bytes per second.
const NAR_TIME: Duration = Duration::from_secs(120);
const NAR_RATE: u64 = 64 << 10;

/// What a cache has of what was asked for.
#[derive(Debug, Default)]
pub struct Found {
    /// Paths with a record that we trust.
    pub present: BTreeSet<StorePath>,
    /// Records that were refused. Their paths are not present.
    pub alarms: Vec<CacheError>,
}

impl BinaryCache {
    /// An object as it is, to hand it on; none if it is not there.
    pub async fn object(&self, name: &ObjectName, range: Range) -> Result<Option<Object>, CacheError> {
        self.0.backend.get(name, range).await
    }

    /// The length of an object in bytes; none if it is not there.
    pub async fn object_size(&self, name: &ObjectName) -> Result<Option<u64>, CacheError> {
        self.0.backend.size(name).await
    }

    /// The record of a path, checked; none if there is none.
    pub async fn narinfo(&self, path: &StorePath) -> Result<Option<Record>, CacheError> {
        self.record(&ObjectName::record_of(path), Some(path)).await
    }

    pub(super) async fn record(
        &self,
        name: &ObjectName,
        wanted: Option<&StorePath>,
    ) -> Result<Option<Record>, CacheError> {
        let fetch = tokio::time::timeout(RECORD_TIME, self.record_bytes(name));
        let bytes = match fetch.await {
            Ok(Ok(Some(Ok(bytes)))) => bytes,
            Ok(Ok(Some(Err(too_large)))) => return Err(self.refused(name, wanted, too_large)),
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(self.store_error(name, &"it took too long")),
        };
        Record::check(&self.0.store_dir, name, wanted, &bytes, &self.0.trusted)
            .map(Some)
            .map_err(|cause| self.refused(name, wanted, cause))
    }

    async fn record_bytes(
        &self,
        name: &ObjectName,
    ) -> Result<Option<Result<Vec<u8>, RecordError>>, CacheError> {
        const LIMIT: u64 = MAX_NARINFO_SIZE as u64;
        let Some(Object { size, body }) = self.object(name, Range::Whole).await? else { return Ok(None) };
        if size > LIMIT {
            return Ok(Some(Err(RecordError::TooLarge(size))));
        }
        let mut bytes = Vec::new();
        let read = body.take(LIMIT + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| self.store_error(name, &error))?;
        let read = bytes.len() as u64;
        Ok(Some(if read > LIMIT { Err(RecordError::TooLarge(read)) } else { Ok(bytes) }))
    }

    fn store_error(&self, name: &ObjectName, cause: &impl ToString) -> CacheError {
        CacheError::Store {
            doing: "reading",
            object: name.to_string(),
            cache: self.url(),
            cause: harmless(&cause.to_string()),
        }
    }

    fn refused(&self, name: &ObjectName, wanted: Option<&StorePath>, cause: RecordError) -> CacheError {
        let path = wanted.map_or_else(|| name.to_string(), StorePath::to_basename);
        CacheError::Record { path, cache: self.url(), cause }
    }

    /// Those of `paths` that the cache has a trusted record for. Fails when the cache cannot be asked.
    pub async fn has(&self, paths: &BTreeSet<StorePath>) -> Result<Found, CacheError> {
        let mut found = Found::default();
        let ask = |path: StorePath| async move {
            let answer = self.narinfo(&path).await;
            (path, answer)
        };
        let asked: Vec<_> = paths.iter().cloned().map(ask).collect();
        let mut answers = stream::iter(asked).buffer_unordered(RECORDS_AT_ONCE);
        while let Some((path, answer)) = answers.next().await {
            match answer {
                Ok(Some(_)) => _ = found.present.insert(path),
                Ok(None) => {}
                Err(error) if error.is_alarm() => found.alarms.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Writes the NAR of a path to `out`, unpacked, and returns what the path is; none if the cache has no record.
    ///
    /// The signature is checked before the first byte and no byte more than the signed length is written, but the hash
    /// is known to be right only at the end: use the bytes only after success.
    pub async fn read(
        &self,
        path: &StorePath,
        out: &mut (impl AsyncWrite + Send + Unpin),
    ) -> Result<Option<PathInfo>, CacheError> {
        let Some(record) = self.narinfo(path).await? else { return Ok(None) };
        self.read_nar(&record, out).await?;
        Ok(Some(record.info))
    }

    /// Writes the NAR of a record to `out`, as [`BinaryCache::read`] does.
    pub async fn read_nar(
        &self,
        record: &Record,
        out: &mut (impl AsyncWrite + Send + Unpin),
    ) -> Result<(), CacheError> {
        let allowed = NAR_TIME + Duration::from_secs(record.info.nar_size / NAR_RATE);
        match tokio::time::timeout(allowed, self.read_nar_untimed(record, out)).await {
            Ok(read) => read,
            Err(_) => Err(self.broken(record, "it took too long")),
        }
    }

    async fn read_nar_untimed(
        &self,
        record: &Record,
        out: &mut (impl AsyncWrite + Send + Unpin),
    ) -> Result<(), CacheError> {
        let packing = record.packing().map_err(|cause| self.broken(record, &cause.to_string()))?;
        let Some(packed) = self.object(&record.nar, Range::Whole).await? else {
            return Err(self.broken(record, &format!("{} is not there", record.nar)));
        };
        let (sender, pieces) = mpsc::channel(4);
        let worker =
            task::blocking("unpack a NAR", move || unpack(packing, SyncIoBridge::new(packed.body), &sender));
        let (received, unpacked) = future::join(self.receive(record, pieces, out), worker).await;
        // What was received tells more: a worker that is left alone ends without an error.
        match received {
            Err(Short(error)) => {
                let cause = unpacked?.err().map(|error| harmless(&error.to_string()));
                Err(cause.map_or(error, |cause| self.broken(record, &cause)))
            }
            Err(Wrong(error)) => Err(error),
            Ok(()) => unpacked?.map_err(|error| self.broken(record, &error.to_string())),
        }
    }

    async fn receive(
        &self,
        record: &Record,
        mut pieces: mpsc::Receiver<Vec<u8>>,
        out: &mut (impl AsyncWrite + Send + Unpin),
    ) -> Result<(), ReceiveError> {
        let PathInfo { path, nar_size, nar_hash, .. } = &record.info;
        let corrupt = |cause| Wrong(CacheError::Corrupt { path: path.clone(), cache: self.url(), cause });
        let writing = |error: std::io::Error| Wrong(self.broken(record, &format!("writing it: {error}")));
        let mut hasher = Sha256::new();
        let mut left = *nar_size;
        while let Some(piece) = pieces.recv().await {
            left = left
                .checked_sub(piece.len() as u64)
                .ok_or_else(|| corrupt(format!("it is longer than the signed {nar_size} bytes")))?;
            hasher.update(&piece);
            out.write_all(&piece).await.map_err(writing)?;
        }
        if left > 0 {
            return Err(Short(self.broken(record, &format!("it ends {left} bytes too soon"))));
        }
        out.flush().await.map_err(writing)?;
        let found = NarHash::new(hasher.finalize().into());
        if found == *nar_hash {
            return Ok(());
        }
        Err(corrupt(format!("its hash is {found}, signed was {nar_hash}")))
    }

    fn broken(&self, record: &Record, cause: &str) -> CacheError {
        let cause = harmless(cause);
        CacheError::Broken { path: record.info.path.clone(), cache: self.url(), cause }
    }
}

/// How receiving went wrong.
enum ReceiveError {
    /// The pieces ended; why, the other side knows.
    Short(CacheError),
    /// Anything else.
    Wrong(CacheError),
}

use ReceiveError::{Short, Wrong};
