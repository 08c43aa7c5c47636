//! `[cache]`: the farm's binary cache.

use std::{fmt, path::PathBuf, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Span;

/// `[cache]`: the farm's binary cache, in Nix's own format.
///
/// Credentials are never written here: those of S3 come from `credentials_file`, the `AWS_*` variables or the
/// instance's own role; those of an http cache from `credentials_file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// Where it is: a directory as an absolute path or `file:///DIR`, `http(s)://HOST/PATH`, or
    /// `s3://BUCKET/PREFIX?region=REGION&endpoint=URL`. Default: none, the farm has no cache.
    #[schemars(with = "Option<String>")]
    pub url: Option<CacheUrl>,
    /// The address builders substitute from, where it is another than `url`, such as that of `croft cache serve`.
    /// Default: none, `url`; builders elsewhere cannot reach a directory, so without this it is used by this machine
    /// alone.
    pub substituter: Option<String>,
    /// The file with the secret key that signs what is written, `NAME:BASE64` as Nix makes it. Default: none, croft
    /// makes one in its state directory at first use.
    pub key_file: Option<PathBuf>,
    /// Public keys, `NAME:BASE64`, whose signatures are accepted besides that of our own key. Default: empty.
    pub trusted_keys: Vec<String>,
    /// What is written. Default: `closure`.
    pub push: PushScope,
    /// How hard NARs are compressed with zstd, 1 to 19. Default: 3.
    pub compression_level: u32,
    /// How long the server of a cache may be silent. Default: 30s.
    pub timeout: Span,
    /// The file with credentials: for S3 a profile `[default]` as the AWS tools write it, for http(s) a netrc.
    /// Default: none.
    pub credentials_file: Option<PathBuf>,
}

/// What is written to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PushScope {
    /// Nothing; the cache is only read.
    None,
    /// The outputs of passing builds. What they refer to must be in another cache that builders use.
    Outputs,
    /// The outputs with all that they refer to, so that the cache is enough by itself.
    #[default]
    Closure,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            url: None,
            substituter: None,
            key_file: None,
            trusted_keys: Vec::new(),
            push: PushScope::default(),
            compression_level: 3,
            timeout: Span::seconds(30),
            credentials_file: None,
        }
    }
}

/// Where a binary cache is. Never holds a secret: an address with user and password is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CacheUrl {
    /// A directory, by its absolute path.
    Directory(PathBuf),
    /// Plain files behind http or https: the whole address, without a slash at its end.
    Http(String),
    /// A bucket of S3, or of something that speaks like it.
    S3(S3Location),
}

/// A place in an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The address of the service, with its scheme. Default: that of Amazon in the region.
    pub endpoint: Option<String>,
    /// The region. Default: `us-east-1`, as for Nix.
    pub region: String,
}

/// A text that names no binary cache. The text is not shown: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CacheUrlError {
    /// It is of no known kind.
    #[error("a cache is an absolute path, file:///DIR, http(s)://HOST/PATH or s3://BUCKET?region=REGION")]
    Kind,
    /// It has a user name or password in it.
    #[error("the cache's address holds credentials; put them into cache.credentials_file instead")]
    Credentials,
    /// The bucket's name is missing or impossible.
    #[error(
        "the bucket of an s3:// address may have small letters, digits, dots and hyphens, 3 to 63 of them"
    )]
    Bucket,
    /// A part of the path is not plain.
    #[error("the path of an s3:// address may have only letters, digits and - _ . in its parts")]
    Prefix,
    /// A parameter is unknown.
    #[error(
        "an s3:// address knows the parameters endpoint, scheme and region; credentials have files of their own"
    )]
    Parameter,
}

impl FromStr for CacheUrl {
    type Err = CacheUrlError;

    fn from_str(text: &str) -> Result<Self, CacheUrlError> {
        if let Some(path) = text.strip_prefix("file://").or(Some(text).filter(|text| text.starts_with('/'))) {
            let plain = path.starts_with('/') && !path.contains(['?', '#', '\0']);
            return if plain { Ok(Self::Directory(PathBuf::from(path))) } else { Err(CacheUrlError::Kind) };
        }
        if let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
            let host = rest.split('/').next().unwrap_or_default();
            if host.contains('@') {
                return Err(CacheUrlError::Credentials);
            }
            let strange = |c: char| c.is_whitespace() || c.is_control() || "?#\\\"<>".contains(c);
            if host.is_empty() || text.contains(strange) {
                return Err(CacheUrlError::Kind);
            }
            return Ok(Self::Http(text.trim_end_matches('/').to_owned()));
        }
        text.strip_prefix("s3://").ok_or(CacheUrlError::Kind).and_then(S3Location::parse).map(Self::S3)
    }
}

impl S3Location {
    fn parse(rest: &str) -> Result<Self, CacheUrlError> {
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let in_bucket = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
        if bucket.contains('@') {
            return Err(CacheUrlError::Credentials);
        }
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(in_bucket) {
            return Err(CacheUrlError::Bucket);
        }
        let prefix = prefix.trim_matches('/');
        let in_part = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        let plain = |part: &str| !["", ".", ".."].contains(&part) && part.bytes().all(in_part);
        if !prefix.is_empty() && !prefix.split('/').all(plain) {
            return Err(CacheUrlError::Prefix);
        }
        let (mut endpoint, mut scheme, mut region) = (None, "https", "us-east-1");
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("endpoint", value)) => endpoint = Some(value),
                Some(("scheme", value @ ("http" | "https"))) => scheme = value,
                Some(("region", value)) => region = value,
                Some(_) | None => return Err(CacheUrlError::Parameter),
            }
        }
        if endpoint.is_some_and(|endpoint| endpoint.contains('@')) {
            return Err(CacheUrlError::Credentials);
        }
        let with_scheme = |endpoint: &str| {
            if endpoint.contains("://") { endpoint.to_owned() } else { format!("{scheme}://{endpoint}") }
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: endpoint.map(with_scheme),
            region: region.to_owned(),
        })
    }
}

impl fmt::Display for CacheUrl {
    /// As Nix itself takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "file://{}", path.display()),
            Self::Http(url) => f.write_str(url),
            Self::S3(place) => {
                write!(f, "s3://{}", place.bucket)?;
                if !place.prefix.is_empty() {
                    write!(f, "/{}", place.prefix)?;
                }
                write!(f, "?region={}", place.region)?;
                // Nix up to 2.30 wants the scheme apart from the rest.
                match place.endpoint.as_deref().and_then(|endpoint| endpoint.split_once("://")) {
                    Some((scheme, host)) => write!(f, "&scheme={scheme}&endpoint={host}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl TryFrom<String> for CacheUrl {
    type Error = CacheUrlError;

    fn try_from(text: String) -> Result<Self, CacheUrlError> {
        text.parse()
    }
}

impl From<CacheUrl> for String {
    fn from(url: CacheUrl) -> String {
        url.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_as_nix_takes_them() {
        for (text, printed) in [
            ("/srv/cache", "file:///srv/cache"),
            ("file:///srv/cache", "file:///srv/cache"),
            ("https://cache.example/a/", "https://cache.example/a"),
            ("s3://my-farm", "s3://my-farm?region=us-east-1"),
            (
                "s3://my-farm/a/b/?endpoint=http://127.0.0.1:5000&region=eu-west-1",
                "s3://my-farm/a/b?region=eu-west-1&scheme=http&endpoint=127.0.0.1:5000",
            ),
        ] {
            let url: CacheUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), printed);
            assert_eq!(printed.parse::<CacheUrl>().unwrap(), url);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_never_shown() {
        for text in ["", "cache", "ftp://x", "file://relative", "http://", "http://h/a?token=hunter2"] {
            assert_eq!(text.parse::<CacheUrl>(), Err(CacheUrlError::Kind), "{text}");
        }
        for text in ["https://me:hunter2@cache.example", "s3://k:hunter2@bucket", "s3://abc?endpoint=u:p@h"] {
            let error = text.parse::<CacheUrl>().unwrap_err();
            assert_eq!(error, CacheUrlError::Credentials, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
        assert_eq!("s3://Bucket".parse::<CacheUrl>(), Err(CacheUrlError::Bucket));
        assert_eq!("s3://bucket/a/../b".parse::<CacheUrl>(), Err(CacheUrlError::Prefix));
        assert_eq!("s3://bucket?secret-key=x".parse::<CacheUrl>(), Err(CacheUrlError::Parameter));
    }
}
