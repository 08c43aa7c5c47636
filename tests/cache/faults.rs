//! Servers that fail, and uploads that do not arrive.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use croft::{
    cache::CacheError,
    config::{CacheSettings, PushScope},
};

use crate::support::{Dir, Served, noise, open, path_of, settings};

/// What a stub does with what it is asked for.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// This status for everything.
    Status(u16),
    /// The object, whose NAR ends after so many bytes while more are announced.
    Truncated(usize),
    /// The object, whose NAR stops without an end.
    Stalled,
}

#[derive(Clone)]
struct Stub {
    dir: std::path::PathBuf,
    answer: Answer,
    asked: Arc<AtomicU64>,
}

async fn stub(State(stub): State<Stub>, uri: Uri) -> Response {
    stub.asked.fetch_add(1, Ordering::Relaxed);
    if let Answer::Status(status) = stub.answer {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let Ok(bytes) = std::fs::read(stub.dir.join(uri.path().trim_start_matches('/'))) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if !uri.path().starts_with("/nar/") {
        return bytes.into_response();
    }
    let length = [("content-length", bytes.len().to_string())];
    let half = bytes[..bytes.len() / 2].to_vec();
    match stub.answer {
        Answer::Status(_) => unreachable!(),
        Answer::Truncated(at) => {
            use futures_util::StreamExt as _;
            let first = futures_util::stream::iter([Ok(bytes[..at].to_vec())]);
            // The first part is on its way when the connection breaks.
            let end = futures_util::stream::once(async {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                Err(std::io::Error::other("gone"))
            });
            (length, Body::from_stream(first.chain(end))).into_response()
        }
        Answer::Stalled => {
            use futures_util::StreamExt as _;
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(half)]);
            (length, Body::from_stream(first.chain(futures_util::stream::pending()))).into_response()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_19_a_cache_that_fails_is_a_fault_and_not_an_alarm() {
    let own = Dir::new();
    let (info, nar) = path_of(1, &noise(9, 200_000));
    own.cache.push(&info, &nar[..]).await.unwrap();
    for answer in [
        Answer::Status(404),
        Answer::Status(403),
        Answer::Status(500),
        Answer::Status(503),
        Answer::Truncated(1000),
        Answer::Stalled,
    ] {
        let asked = Arc::default();
        let state = Stub { dir: own.path(), answer, asked: Arc::clone(&asked) };
        let server = Served::new(Router::new().fallback(stub).with_state(state)).await;
        let cache = own.reader_of(&server.url());
        let read = cache.read(&info.path, &mut tokio::io::sink()).await;
        let has = cache.has(&[info.path.clone()].into()).await;
        match answer {
            Answer::Status(404) => {
                assert!(read.unwrap().is_none());
                assert!(has.unwrap().present.is_empty());
            }
            Answer::Status(_) => {
                let error = read.unwrap_err();
                assert!(
                    matches!(error, CacheError::Store { .. }) && !error.is_alarm(),
                    "{answer:?}: {error}"
                );
                assert!(!has.unwrap_err().is_alarm());
            }
            Answer::Truncated(_) | Answer::Stalled => {
                let error = read.unwrap_err();
                assert!(
                    matches!(error, CacheError::Broken { .. }) && !error.is_alarm(),
                    "{answer:?}: {error}"
                );
                assert_eq!(has.unwrap().present.len(), 1);
            }
        }
        assert!(asked.load(Ordering::Relaxed) < 40, "{answer:?}: tried without end");
    }
    // Nobody listens there.
    let error = own.reader_of("http://127.0.0.1:1").narinfo(&info.path).await.unwrap_err();
    assert!(matches!(error, CacheError::Store { .. }) && !error.is_alarm(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_19_a_wrong_signature_is_an_alarm_over_http_too() {
    let own = Dir::new();
    let (info, nar) = path_of(1, b"content");
    own.cache.push(&info, &nar[..]).await.unwrap();
    let server = Served::new(croft::web::cache::router(own.cache.clone())).await;
    let stranger = Dir::new().reader_of(&server.url());
    let error = stranger.read(&info.path, &mut tokio::io::sink()).await.unwrap_err();
    assert!(error.is_alarm() && error.to_string().contains(own.key().name()), "{error}");
    let found = stranger.has(&[info.path.clone()].into()).await.unwrap();
    assert!(found.present.is_empty() && found.alarms.len() == 1);
}

/// What a server does with an upload.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Upload {
    /// Keeps it.
    Keep,
    /// Refuses NARs.
    Refuse,
    /// Says yes to NARs and forgets them.
    Forget,
    /// Says yes to NARs and keeps a part.
    Cut,
}

#[derive(Clone)]
struct Sink {
    upload: Upload,
    objects: Arc<Mutex<std::collections::BTreeMap<String, Vec<u8>>>>,
}

async fn sink(State(sink): State<Sink>, method: Method, uri: Uri, body: Body) -> Response {
    let name = uri.path().to_owned();
    if method == Method::PUT {
        let Ok(mut bytes) = axum::body::to_bytes(body, 64 << 20).await.map(|bytes| bytes.to_vec()) else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        match (name.starts_with("/nar/"), sink.upload) {
            (true, Upload::Refuse) => return StatusCode::INSUFFICIENT_STORAGE.into_response(),
            (true, Upload::Forget) => return StatusCode::CREATED.into_response(),
            (true, Upload::Cut) => bytes.truncate(100),
            (true, Upload::Keep) | (false, _) => {}
        }
        sink.objects.lock().unwrap().insert(name, bytes);
        return StatusCode::CREATED.into_response();
    }
    let found = sink.objects.lock().unwrap().get(&name).cloned();
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fault_20_nothing_is_registered_before_its_upload_was_looked_at() {
    let state = tempfile::tempdir().unwrap();
    // Large enough to wait in a file.
    let (info, nar) = path_of(1, &noise(11, 9 << 20));
    for upload in [Upload::Refuse, Upload::Forget, Upload::Cut, Upload::Keep] {
        let objects = Arc::<Mutex<_>>::default();
        let server = Served::new(
            Router::new().fallback(sink).with_state(Sink { upload, objects: Arc::clone(&objects) }),
        )
        .await;
        let push = PushScope::Closure;
        let cache = open(&CacheSettings { push, ..settings(&server.url()) }, state.path());
        let pushed = cache.push(&info, &nar[..]).await;
        let records = || objects.lock().unwrap().keys().filter(|name| name.ends_with(".narinfo")).count();
        if upload == Upload::Keep {
            pushed.unwrap();
            assert_eq!(records(), 1);
            let mut read = Vec::new();
            assert!(cache.read(&info.path, &mut read).await.unwrap().is_some());
            assert_eq!(read, nar);
        } else {
            let error = pushed.unwrap_err();
            assert!(matches!(error, CacheError::Store { .. }) && !error.is_alarm(), "{upload:?}: {error}");
            assert_eq!(records(), 0, "{upload:?}");
        }
    }
}
