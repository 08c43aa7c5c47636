//! Evaluations that were done: the cells of a tree, by its fingerprint.

use std::io::Read;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Db, DbError, Fingerprint, column,
    writer::{Txn, Write},
};
use crate::{clock::Timestamp, task};

/// How many evaluations are kept, and what trees were locked to.
const KEEP: i64 = 400;
/// The largest document that is read back, in bytes.
const MAX_DOCUMENT: u64 = 512 << 20;
/// zstd's level for documents.
const LEVEL: i32 = 3;

impl Db {
    /// The document stored for `fingerprint` in this `version`.
    pub async fn eval_get<T: DeserializeOwned>(
        &self,
        fingerprint: &Fingerprint,
        version: u32,
    ) -> Result<Option<T>, DbError> {
        let stored: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT document FROM eval_cache WHERE fingerprint = ? AND version = ?")
                .bind(fingerprint.as_str().to_owned())
                .bind(version)
                .fetch_optional(&self.pool)
                .await
                .map_err(self.place.failed("reading an evaluation"))?;
        let Some(stored) = stored else { return Ok(None) };
        let failed = |cause: String| DbError::Document { fingerprint: fingerprint.to_string(), cause };
        let document = task::blocking("db-unpack", move || unpack(&stored))
            .await
            .map_err(|error| DbError::Task(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&document).map(Some).map_err(|error| failed(error.to_string()))
    }

    /// Stores the document of an evaluation, and forgets the oldest ones.
    pub async fn eval_put<T: Serialize>(
        &self,
        fingerprint: &Fingerprint,
        version: u32,
        document: &T,
    ) -> Result<(), DbError> {
        let failed = |cause: String| DbError::Document { fingerprint: fingerprint.to_string(), cause };
        let json = serde_json::to_vec(document).map_err(|error| failed(error.to_string()))?;
        let document = task::blocking("db-pack", move || zstd::bulk::compress(&json, LEVEL))
            .await
            .map_err(|error| DbError::Task(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        self.write(Put { fingerprint: fingerprint.clone(), version, document, now: self.clock.now() }).await
    }
}

fn unpack(packed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut document = Vec::new();
    let read = zstd::Decoder::new(packed)?.take(MAX_DOCUMENT + 1).read_to_end(&mut document)?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_DOCUMENT) {
        return Ok(document);
    }
    Err(std::io::Error::other(format!("it is larger than {MAX_DOCUMENT} bytes")))
}

struct Put {
    fingerprint: Fingerprint,
    version: u32,
    document: Vec<u8>,
    now: Timestamp,
}

impl Write for Put {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        sqlx::query(
            "INSERT OR REPLACE INTO eval_cache (fingerprint, version, stored, document) VALUES (?, ?, ?, ?)",
        )
        .bind(self.fingerprint.as_str().to_owned())
        .bind(self.version)
        .bind(column::time(self.now))
        .bind(self.document.clone())
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("storing an evaluation"))?;
        sqlx::query(
            "DELETE FROM eval_cache WHERE (fingerprint, version) NOT IN
                (SELECT fingerprint, version FROM eval_cache ORDER BY stored DESC, fingerprint LIMIT ?)",
        )
        .bind(KEEP)
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("forgetting old evaluations"))?;
        Ok(())
    }
}
