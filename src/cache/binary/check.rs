//! Checking all of a cache.

use std::{collections::BTreeSet, fmt};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{BinaryCache, error::CacheError, object::ObjectName};

/// How many NARs are read at once.
const AT_ONCE: usize = 4;

/// What a check of a whole cache found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Paths whose record and NAR are right.
    pub sound: u64,
    /// Bytes of their NARs, unpacked.
    pub nar_bytes: u64,
    /// What is not right.
    pub findings: Vec<Finding>,
    /// NARs that no record names: those of writers that have ended before their record. They harm nobody.
    pub unnamed: u64,
}

/// A record or NAR that is not right.
#[derive(Debug)]
pub struct Finding {
    /// The record's name.
    pub record: ObjectName,
    /// What is wrong.
    pub error: CacheError,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.record, self.error)
    }
}

impl BinaryCache {
    /// Reads every record and every NAR. Fails only when the cache cannot be listed, which http caches cannot.
    pub async fn check(&self) -> Result<Checked, CacheError> {
        let objects: Vec<(ObjectName, u64)> = self.0.backend.list().try_collect().await?;
        let mut nars = BTreeSet::new();
        let mut records = Vec::new();
        for (name, _) in objects {
            match name {
                ObjectName::CacheInfo => {}
                ObjectName::Record(_) => records.push(name),
                ObjectName::Nar(_) => _ = nars.insert(name),
            }
        }
        let mut checked = Checked::default();
        let work = records.into_iter().map(|record| async move {
            let done = self.check_one(&record).await;
            (record, done)
        });
        let mut answers = stream::iter(work).buffer_unordered(AT_ONCE);
        while let Some((record, done)) = answers.next().await {
            match done {
                Ok(Some((nar, size))) => {
                    checked.sound += 1;
                    checked.nar_bytes += size;
                    nars.remove(&nar);
                }
                // It has been removed since it was listed.
                Ok(None) => {}
                Err(error) => checked.findings.push(Finding { record, error }),
            }
        }
        checked.findings.sort_by(|a, b| a.record.cmp(&b.record));
        checked.unnamed = nars.len() as u64;
        Ok(checked)
    }

    async fn check_one(&self, name: &ObjectName) -> Result<Option<(ObjectName, u64)>, CacheError> {
        let Some(record) = self.record(name, None).await? else { return Ok(None) };
        self.read_nar(&record, &mut tokio::io::sink()).await?;
        Ok(Some((record.nar, record.info.nar_size)))
    }
}
