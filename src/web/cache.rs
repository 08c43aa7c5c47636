//! The farm's binary cache over http: `nix-cache-info`, records and NARs, and nothing else.
//!
//! What is not there, what is no name of a cache and what may not be seen get the same answer.

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use crate::{
    cache::{
        BinaryCache,
        binary::{ObjectName, Range},
    },
    nix::StoreDir,
};

/// Bytes of one piece of a body.
const PIECE: usize = 128 << 10;

/// Serves a cache to Nix, from the objects as they are.
pub fn router(cache: BinaryCache) -> Router {
    Router::new()
        .route("/nix-cache-info", get(introduction))
        .route("/{file}", get(record))
        .route("/nar/{file}", get(nar))
        .fallback(not_found)
        .with_state(cache)
}

pub(super) async fn introduction() -> Response {
    let text = BinaryCache::introduction(&StoreDir::default());
    ([(header::CONTENT_TYPE, "text/x-nix-cache-info")], text).into_response()
}

pub(super) async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "not found\n").into_response()
}

async fn record(
    State(cache): State<BinaryCache>,
    Path(file): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    // Caches without a folder have their NARs here.
    match file.parse() {
        Ok(name @ (ObjectName::Record(_) | ObjectName::Nar(_))) => {
            answer(&cache, &name, &method, &headers).await
        }
        Ok(ObjectName::CacheInfo) | Err(_) => not_found().await,
    }
}

async fn nar(
    State(cache): State<BinaryCache>,
    Path(file): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    match format!("nar/{file}").parse() {
        Ok(name @ ObjectName::Nar(_)) => answer(&cache, &name, &method, &headers).await,
        Ok(ObjectName::CacheInfo | ObjectName::Record(_)) | Err(_) => not_found().await,
    }
}

async fn answer(cache: &BinaryCache, name: &ObjectName, method: &Method, headers: &HeaderMap) -> Response {
    match try_answer(cache, name, method, headers).await {
        Ok(response) => response,
        Err(error) => {
            // The client learns nothing of how the cache is kept.
            tracing::warn!("serving {name}: {error}");
            (StatusCode::BAD_GATEWAY, "the cache cannot be read now\n").into_response()
        }
    }
}

async fn try_answer(
    cache: &BinaryCache,
    name: &ObjectName,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, crate::cache::CacheError> {
    let wanted = headers.get(header::RANGE).map(ByteRange::parse);
    let Some(Some(wanted)) = wanted else {
        if *method == Method::HEAD {
            let size = cache.object_size(name).await?;
            return Ok(match size {
                Some(size) => whole(name, size, Body::empty()),
                None => not_found().await,
            });
        }
        return Ok(match cache.object(name, Range::Whole).await? {
            Some(object) => whole(name, object.size, stream(object.body)),
            None => not_found().await,
        });
    };
    let Some(size) = cache.object_size(name).await? else { return Ok(not_found().await) };
    let Some(range) = wanted.within(size) else {
        let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
    };
    let body = if *method == Method::HEAD {
        Body::empty()
    } else {
        match cache.object(name, Range::Part(range.clone())).await? {
            Some(object) => stream(object.body),
            None => return Ok(not_found().await),
        }
    };
    let mut response = whole(name, range.end - range.start, body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let place = format!("bytes {}-{}/{size}", range.start, range.end - 1);
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::CONTENT_RANGE, place);
    }
    Ok(response)
}

/// A body that is read as it is sent; an error ends the connection, so that nobody takes a part for the whole.
pub(super) fn stream(body: impl AsyncRead + Send + 'static) -> Body {
    Body::from_stream(ReaderStream::with_capacity(body, PIECE))
}

fn whole(name: &ObjectName, length: u64, body: Body) -> Response {
    let (kind, keep) = match name {
        ObjectName::CacheInfo => ("text/x-nix-cache-info", "no-cache"),
        ObjectName::Record(_) => ("text/x-nix-narinfo", "no-cache"),
        // Named by its bytes, so it never changes.
        ObjectName::Nar(_) => ("application/x-nix-nar", "public, max-age=31536000, immutable"),
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CACHE_CONTROL, keep.to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    (headers, body).into_response()
}

/// The one range of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByteRange {
    /// The first byte; none when the last so many are wanted.
    first: Option<u64>,
    /// The last byte, or how many of the last ones.
    last: Option<u64>,
}

impl ByteRange {
    /// Reads `bytes=A-B`, `bytes=A-` or `bytes=-N`. Anything else, such as several ranges, is as if nothing were asked.
    fn parse(value: &HeaderValue) -> Option<Self> {
        let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            let text = text.trim();
            if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
        };
        let range = Self { first: number(first)?, last: number(last)? };
        Some(range).filter(|range| range.first.is_some() || range.last.is_some())
    }

    /// The bytes of an object of this size; none if it has none of them.
    fn within(self, size: u64) -> Option<std::ops::Range<u64>> {
        let range = match (self.first, self.last) {
            (Some(first), Some(last)) if last < first => return None,
            (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
            (Some(first), None) => first..size,
            (None, Some(count)) => size.saturating_sub(count)..size,
            (None, None) => 0..size,
        };
        Some(range).filter(|range| range.start < range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        let of = |text: &'static str, size| ByteRange::parse(&HeaderValue::from_static(text))?.within(size);
        assert_eq!(of("bytes=0-3", 10), Some(0..4));
        assert_eq!(of("bytes=5-", 10), Some(5..10));
        assert_eq!(of("bytes=-4", 10), Some(6..10));
        assert_eq!(of("bytes=-40", 10), Some(0..10));
        assert_eq!(of("bytes=5-99", 10), Some(5..10));
        for text in
            ["bytes=10-", "bytes=5-4", "bytes=-0", "bytes=-", "lines=1-2", "bytes=a-b", "bytes=0-1,3-4"]
        {
            assert_eq!(of(text, 10), None, "{text}");
        }
        assert_eq!(of("bytes=0-18446744073709551615", 10), Some(0..10));
    }
}
