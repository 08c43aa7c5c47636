//! The local store itself as a binary cache: records made from what the daemon knows, NARs as it reads them.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::cache::{introduction, not_found, stream};
use crate::{
    cache::binary::ObjectName,
    nix::{
        StoreDir, StorePath,
        daemon::{ClientError, PathInfo},
        hash,
        narinfo::{self, Compression},
        signature::SecretKey,
    },
    remote::{DialError, Pool},
    task,
};

/// Bytes between the daemon and the client.
const PIPE: usize = 256 << 10;

#[derive(Debug, Clone)]
struct Store {
    pool: Pool,
    key: Arc<SecretKey>,
    store_dir: StoreDir,
}

/// Serves every valid path of the pool's store, signed with `key`.
pub fn store_router(pool: Pool, key: SecretKey) -> Router {
    Router::new()
        .route("/nix-cache-info", get(introduction))
        .route("/{file}", get(record))
        .route("/nar/{file}", get(nar))
        .fallback(not_found)
        .with_state(Store { pool, key: Arc::new(key), store_dir: StoreDir::default() })
}

/// Why a path cannot be served now.
#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("making its record: {0}")]
    Record(#[from] narinfo::BuildError),
}

impl Store {
    async fn info(&self, hash_part: &str) -> Result<Option<PathInfo>, StoreError> {
        let mut connection = self.pool.take().await?;
        let path = connection.client.query_path_from_hash_part(hash_part).await?;
        let info = match path {
            Some(path) => connection.client.query_path_info(&path).await?,
            None => None,
        };
        self.pool.give_back(connection);
        Ok(info)
    }

    fn record(&self, info: &PathInfo) -> Result<Vec<u8>, StoreError> {
        let own = self.key.sign(&info.fingerprint(&self.store_dir));
        let record = narinfo::from_path_info(&self.store_dir, info, &nar_name(info), Compression::None)
            .file_hash(Some(info.nar_hash.into()))
            .file_size(Some(info.nar_size))
            .signature(own)
            .build()?;
        Ok(record.to_canonical_bytes())
    }

    /// Lets the daemon write the NAR into a body.
    fn nar(&self, path: StorePath) -> Body {
        let (mut into, from) = tokio::io::duplex(PIPE);
        let pool = self.pool.clone();
        task::spawn("serve a NAR", async move {
            let sent = match pool.take().await {
                Ok(mut connection) => {
                    let sent = connection.client.nar_from_path(&path, &mut into).await;
                    pool.give_back(connection);
                    sent.map(drop).map_err(StoreError::from)
                }
                Err(error) => Err(error.into()),
            };
            // The body then ends before its announced length, which no client takes for the whole.
            if let Err(error) = sent {
                tracing::debug!("serving the NAR of {path}: {error}");
            }
        });
        stream(from)
    }
}

fn nar_name(info: &PathInfo) -> String {
    let hash_part = ObjectName::record_of(&info.path).to_string();
    let hash_part = hash_part.trim_end_matches(".narinfo");
    format!("nar/{hash_part}-{}.nar", hash::to_nix32(info.nar_hash.as_bytes()))
}

async fn record(State(store): State<Store>, Path(file): Path<String>) -> Response {
    let Ok(ObjectName::Record(hash_part)) = file.parse() else { return not_found().await };
    let record = match store.info(&hash_part).await {
        Ok(Some(info)) => store.record(&info),
        Ok(None) => return not_found().await,
        Err(error) => Err(error),
    };
    match record {
        Ok(record) => ([(header::CONTENT_TYPE, "text/x-nix-narinfo")], record).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn nar(State(store): State<Store>, Path(file): Path<String>, method: Method) -> Response {
    let Ok(ObjectName::Nar(name)) = format!("nar/{file}").parse() else { return not_found().await };
    let Some((hash_part, _)) = file.split_once('-') else { return not_found().await };
    if format!("{hash_part}.narinfo").parse::<ObjectName>().is_err() {
        return not_found().await;
    }
    match store.info(hash_part).await {
        // The name has the NAR's hash: what was rebuilt since the record was read has another one.
        Ok(Some(info)) if nar_name(&info) == name => {
            let headers = [
                (header::CONTENT_TYPE, "application/x-nix-nar".to_owned()),
                (header::CONTENT_LENGTH, info.nar_size.to_string()),
            ];
            let body = if method == Method::HEAD { Body::empty() } else { store.nar(info.path) };
            (headers, body).into_response()
        }
        Ok(Some(_) | None) => not_found().await,
        Err(error) => unavailable(&error),
    }
}

fn unavailable(error: &StoreError) -> Response {
    tracing::warn!("serving the store: {error}");
    (StatusCode::BAD_GATEWAY, "the store cannot be read now\n").into_response()
}
