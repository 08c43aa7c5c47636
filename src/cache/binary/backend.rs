//! The store behind a cache: where adapters are chosen, and the few operations that a cache needs of them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    buffered::BufWriter,
    http::HttpBuilder,
    local::LocalFileSystem,
    path::Path as Key,
};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::{ReaderStream, StreamReader};

use super::{
    credentials,
    error::{CacheError, harmless},
    object::{Object, ObjectName, Range},
    spool::Spooled,
};
use crate::{
    config::{CacheSettings, CacheUrl, S3Location},
    task,
};

/// How often a request is tried again, and for how long.
const RETRIES: usize = 3;
const RETRY_FOR: Duration = Duration::from_secs(60);
/// Bytes of one part of an upload, and how many parts are under way at once. S3 allows 10,000 parts, and each has to be
/// through before the server counts as silent.
const PART: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 2;
/// How long an upload in one piece may take besides: a second for so many bytes.
const UPLOAD_RATE: u64 = 64 << 10;

/// The store behind a cache.
pub(super) struct Backend {
    objects: Arc<dyn ObjectStore>,
    /// Objects that are too large for memory need a way of their own to plain http servers.
    http: Option<HttpUpload>,
    prefix: String,
    label: String,
    /// The cache's directory, if it is one.
    directory: Option<PathBuf>,
    /// Where NARs wait for their upload; in a directory, where they will be.
    pub(super) spool: PathBuf,
}

struct HttpUpload {
    client: reqwest::Client,
    base: String,
    patience: Duration,
}

impl Backend {
    /// Chooses and sets up the adapter.
    pub(super) fn open(
        url: &CacheUrl,
        settings: &CacheSettings,
        state_dir: &Path,
    ) -> Result<Self, CacheError> {
        let credentials = settings.credentials_file.as_deref();
        let patience = settings.timeout.get();
        // One provider for the whole process; whoever came first has set the same.
        rustls::crypto::ring::default_provider().install_default().ok();
        let failed = |error: object_store::Error| CacheError::Settings {
            key: "url",
            cause: harmless(&error.to_string()),
        };
        let (objects, http, prefix): (Arc<dyn ObjectStore>, _, _) = match url {
            CacheUrl::Directory(dir) => (Arc::new(directory(dir)?), None, String::new()),
            CacheUrl::S3(place) => (Arc::new(s3(place, credentials, patience)?), None, place.prefix.clone()),
            CacheUrl::Http(base) => {
                let headers = http_headers(base, credentials)?;
                let options = client_options(base, patience).with_default_headers(headers.clone());
                let objects = HttpBuilder::new().with_url(base).with_client_options(options);
                let objects = objects.with_retry(retries()).build().map_err(failed)?;
                (Arc::new(objects), Some(HttpUpload::new(base, headers, patience)?), String::new())
            }
        };
        let directory = match url {
            CacheUrl::Directory(dir) => Some(dir.clone()),
            CacheUrl::Http(_) | CacheUrl::S3(_) => None,
        };
        let spool = directory
            .as_ref()
            .map_or_else(|| state_dir.join("cache-spool"), |directory| directory.join("nar"));
        Ok(Self { objects, http, prefix, label: url.to_string(), directory, spool })
    }

    fn key(&self, name: &ObjectName) -> Key {
        if self.prefix.is_empty() {
            Key::from(name.to_string())
        } else {
            Key::from(format!("{}/{name}", self.prefix))
        }
    }

    fn failed(&self, doing: &'static str, name: &ObjectName, cause: &impl ToString) -> CacheError {
        let cause = harmless(&cause.to_string());
        CacheError::Store { doing, object: name.to_string(), cache: self.label.clone(), cause }
    }

    /// The length of an object; none if it is not there.
    pub(super) async fn size(&self, name: &ObjectName) -> Result<Option<u64>, CacheError> {
        match self.objects.head(&self.key(name)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("looking for", name, &error)),
        }
    }

    /// Fetches an object; none if it is not there. The body ends in an error if it cannot be read to its end.
    pub(super) async fn get(&self, name: &ObjectName, range: Range) -> Result<Option<Object>, CacheError> {
        let options = GetOptions { range: range.get(), ..GetOptions::default() };
        match self.objects.get_opts(&self.key(name), options).await {
            Ok(result) => {
                let size = result.meta.size;
                let stream = result.into_stream().map_err(std::io::Error::from);
                Ok(Some(Object { size, body: Box::new(StreamReader::new(stream)) }))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("reading", name, &error)),
        }
    }

    /// Writes a small object: readers see the old or the new one, whole.
    pub(super) async fn put(&self, name: &ObjectName, bytes: Vec<u8>) -> Result<(), CacheError> {
        let put = self.objects.put(&self.key(name), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| self.failed("writing", name, &error))
    }

    /// Writes an object of any size. It is there, whole and durable, when this returns, and has been looked at.
    pub(super) async fn upload(&self, name: &ObjectName, content: Spooled) -> Result<(), CacheError> {
        let size = content.size;
        let uploaded = match &self.http {
            Some(http) => http.put(&self.key(name), content).await,
            None => self.upload_file(name, content).await,
        };
        uploaded.map_err(|error| self.failed("writing", name, &error))?;
        match self.size(name).await? {
            Some(found) if found == size => Ok(()),
            Some(found) => {
                Err(self.failed("checking", name, &format!("it has {found} bytes; {size} were written")))
            }
            None => Err(self.failed("checking", name, &"it is not there after it was written")),
        }
    }

    async fn upload_file(&self, name: &ObjectName, content: Spooled) -> std::io::Result<()> {
        let Some(directory) = &self.directory else { return self.upload_parts(name, content).await };
        let path = directory.join(name.to_string());
        let naming = task::blocking("name a NAR", move || content.name(&path).map(|done| (done, content)));
        let (is_named, content) = naming.await.map_err(std::io::Error::other)??;
        if is_named { Ok(()) } else { self.upload_parts(name, content).await }
    }

    async fn upload_parts(&self, name: &ObjectName, content: Spooled) -> std::io::Result<()> {
        let writer = BufWriter::with_capacity(Arc::clone(&self.objects), self.key(name), PART);
        let mut writer = writer.with_max_concurrency(PARTS_AT_ONCE);
        let mut reader = content.into_reader()?;
        let copied = match tokio::io::copy_buf(&mut reader, &mut writer).await {
            Ok(_) => writer.shutdown().await,
            Err(error) => Err(error),
        };
        if copied.is_err() {
            // What cannot even be aborted is left to the bucket's own rule for unfinished uploads.
            writer.abort().await.ok();
        }
        copied
    }

    /// The names of all objects; names that are not those of a cache are passed over.
    pub(super) fn list(&self) -> BoxStream<'_, Result<(ObjectName, u64), CacheError>> {
        let below = Some(&self.prefix).filter(|prefix| !prefix.is_empty());
        let skip = below.map_or(0, |prefix| prefix.len() + 1);
        let entries = self.objects.list(below.map(|prefix| Key::from(prefix.as_str())).as_ref());
        let named = entries.filter_map(move |entry| async move {
            match entry {
                Ok(meta) => {
                    let name = meta.location.as_ref().get(skip..)?.parse().ok()?;
                    Some(Ok((name, meta.size)))
                }
                Err(error) => Some(Err(CacheError::Store {
                    doing: "listing",
                    object: "the objects".to_owned(),
                    cache: self.label.clone(),
                    cause: harmless(&error.to_string()),
                })),
            }
        });
        named.boxed()
    }
}

impl HttpUpload {
    fn new(base: &str, headers: HeaderMap, patience: Duration) -> Result<Self, CacheError> {
        let client = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(patience)
            .build()
            .map_err(|error| CacheError::Settings { key: "url", cause: harmless(&error.to_string()) })?;
        Ok(Self { client, base: base.to_owned(), patience })
    }

    async fn put(&self, key: &Key, content: Spooled) -> std::io::Result<()> {
        let length = content.size;
        let body = reqwest::Body::wrap_stream(ReaderStream::with_capacity(content.into_reader()?, 256 << 10));
        let request = self.client.put(format!("{}/{key}", self.base)).body(body);
        // A server says nothing while it is being written to, so there is a limit on the whole.
        let allowed = self.patience + Duration::from_secs(length / UPLOAD_RATE);
        let request = request.header(reqwest::header::CONTENT_LENGTH, length).timeout(allowed);
        let response = request.send().await.map_err(std::io::Error::other)?;
        response.error_for_status().map(drop).map_err(std::io::Error::other)
    }
}

fn directory(dir: &Path) -> Result<LocalFileSystem, CacheError> {
    fs_err::create_dir_all(dir).map_err(|source| CacheError::File {
        doing: "making the binary cache's directory",
        path: dir.to_owned(),
        source,
    })?;
    let files = LocalFileSystem::new_with_prefix(dir)
        .map_err(|error| CacheError::Settings { key: "url", cause: harmless(&error.to_string()) })?;
    Ok(files.with_fsync(true))
}

fn s3(place: &S3Location, credentials: Option<&Path>, patience: Duration) -> Result<AmazonS3, CacheError> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&place.bucket).with_region(&place.region);
    let mut address = "https://";
    if let Some(endpoint) = &place.endpoint {
        address = endpoint;
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(path) = credentials {
        let keys = credentials::aws_keys(path)?;
        builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
        if let Some(token) = keys.token {
            builder = builder.with_token(token);
        }
    }
    builder
        .with_client_options(client_options(address, patience))
        .with_retry(retries())
        .build()
        .map_err(|error| CacheError::Settings { key: "url", cause: harmless(&error.to_string()) })
}

fn client_options(address: &str, patience: Duration) -> ClientOptions {
    // A NAR may take as long as it moves, so there is no limit on a whole request, but one on silence.
    ClientOptions::new()
        .with_allow_http(address.starts_with("http://"))
        .with_timeout_disabled()
        .with_connect_timeout(patience)
        .with_read_timeout(patience)
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_FOR }
}

fn http_headers(base: &str, credentials: Option<&Path>) -> Result<HeaderMap<HeaderValue>, CacheError> {
    let mut headers = HeaderMap::new();
    if let Some(path) = credentials {
        let authority = base.split_once("://").map_or("", |(_, rest)| rest).split('/').next();
        let host = authority.unwrap_or_default();
        let host =
            host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(host, _)| host);
        headers.insert(AUTHORIZATION, credentials::authorization(path, host)?);
    }
    Ok(headers)
}
