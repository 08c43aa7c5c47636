//! Caches that lie.

use std::io::Write as _;

use croft::{
    cache::{CacheError, binary::RecordError},
    nix::{NarHash, StoreDir, daemon::PathInfo},
    web,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Dir, Served, http, path_of};

/// A record for `info` signed by the cache's own key, with the rest as told.
fn signed_record(own: &Dir, info: &PathInfo, url: &str, compression: &str) -> String {
    let store = StoreDir::default();
    let signature = own.key().sign(&info.fingerprint(&store));
    format!(
        "StorePath: {}\nURL: {url}\nCompression: {compression}\nNarHash: {}\nNarSize: {}\nReferences: \nSig: {signature}\n",
        store.render_path(&info.path),
        info.nar_hash,
        info.nar_size,
    )
}

fn record_error(result: Result<Option<impl std::fmt::Debug>, CacheError>) -> RecordError {
    match result {
        Err(error @ CacheError::Record { .. }) => {
            assert!(error.is_alarm());
            let CacheError::Record { cause, .. } = error else { unreachable!() };
            cause
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a32_a_record_that_is_unsigned_replayed_or_leads_elsewhere_is_refused_before_its_nar_is_read() {
    let own = Dir::new();
    let (info, nar) = path_of(1, b"right");
    own.cache.push(&info, &nar[..]).await.unwrap();
    let file = own.record_file(&info.path);
    let good = std::fs::read_to_string(&file).unwrap();
    let bad = |from: &str, to: &str| good.replace(from, to);
    let url = good.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap();
    let name = own.key().name().to_owned();
    let strangers = Dir::new();
    let foreign = strangers.key().sign(&info.fingerprint(&StoreDir::default()));
    let unsigned: String =
        good.lines().filter(|line| !line.starts_with("Sig")).flat_map(|l| [l, "\n"]).collect();

    let refused = |text: String| {
        std::fs::write(&file, text).unwrap();
        async { record_error(own.cache.read(&info.path, &mut tokio::io::sink()).await) }
    };
    assert!(matches!(refused(unsigned.clone()).await, RecordError::Untrusted(_)));
    assert!(matches!(refused(format!("{unsigned}Sig: {foreign}\n")).await, RecordError::Untrusted(_)));
    // A foreign signature under our name, and one of ours over something else.
    let renamed = foreign.to_string().replace(&foreign.key_name, &name);
    assert!(matches!(refused(format!("{unsigned}Sig: {renamed}\n")).await, RecordError::Untrusted(_)));
    let size = format!("NarSize: {}", info.nar_size);
    assert!(matches!(refused(bad(&size, "NarSize: 8")).await, RecordError::Untrusted(_)));
    assert!(matches!(
        refused(bad("References: ", "References: 00000000000000000000000000000000-x")).await,
        RecordError::Untrusted(_)
    ));
    for elsewhere in [
        "../../x.nar",
        "/etc/x.nar",
        "nar/../../x.nar",
        "http://evil/x.nar",
        "file:///x.nar",
        "nar/%2e%2e/x.nar",
        "nar/x.nar?y",
    ] {
        assert!(matches!(refused(bad(url, elsewhere)).await, RecordError::Url(_)), "{elsewhere}");
    }
    assert!(matches!(refused(bad("/nix/store/", "/tmp/store/")).await, RecordError::Malformed(_)));
    assert!(matches!(refused("no record".to_owned()).await, RecordError::Malformed(_)));
    let huge = good.clone() + &"X: y\n".repeat(300_000);
    assert!(matches!(refused(huge).await, RecordError::TooLarge(_)));

    // The record of one path at the place of another: right in itself, but not what was asked for.
    std::fs::write(&file, &good).unwrap();
    let (other, _) = path_of(2, b"other");
    std::fs::copy(&file, own.record_file(&other.path)).unwrap();
    assert!(matches!(record_error(own.cache.narinfo(&other.path).await), RecordError::OtherPath(_)));
    let found = own.cache.has(&[info.path.clone(), other.path].into()).await.unwrap();
    assert_eq!(found.present, [info.path.clone()].into());
    assert_eq!(found.alarms.len(), 1);

    // Whoever may write repairs it.
    std::fs::write(&file, unsigned).unwrap();
    own.cache.push(&info, &nar[..]).await.unwrap();
    assert!(own.cache.read(&info.path, &mut tokio::io::sink()).await.unwrap().is_some());
}

#[tokio::test]
async fn a32_an_older_nar_under_a_newer_record_is_refused() {
    let own = Dir::new();
    let (older, old_nar) = path_of(1, b"older");
    let (newer, new_nar) = path_of(2, b"newer");
    own.cache.push(&older, &old_nar[..]).await.unwrap();
    own.cache.push(&newer, &new_nar[..]).await.unwrap();
    let nar_file = |info: &PathInfo| {
        let text = std::fs::read_to_string(own.record_file(&info.path)).unwrap();
        own.path().join(text.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap())
    };
    std::fs::copy(nar_file(&older), nar_file(&newer)).unwrap();
    let error = own.cache.read(&newer.path, &mut tokio::io::sink()).await.unwrap_err();
    assert!(matches!(error, CacheError::Corrupt { .. }) && error.is_alarm(), "{error}");
    let checked = own.cache.check().await.unwrap();
    assert_eq!((checked.sound, checked.findings.len()), (1, 1));
}

/// Counts what reaches it.
struct Count(u64);

impl tokio::io::AsyncWrite for Count {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0 += bytes.len() as u64;
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a33_a_bomb_is_left_at_the_signed_length() {
    let own = Dir::new();
    let zeros = vec![0; 1 << 20];
    let (info, nar) = path_of(1, &zeros);
    std::fs::create_dir_all(own.path().join("nar")).unwrap();
    // 1 GiB of zeros behind a record that promises 1 MiB.
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for part in std::iter::once(&nar).chain(std::iter::repeat_n(&zeros, 1 << 10)) {
        zstd.write_all(part).unwrap();
        gzip.write_all(part).unwrap();
    }
    for (name, packed) in [("zstd", zstd.finish().unwrap()), ("gzip", gzip.finish().unwrap())] {
        assert!(packed.len() < 8 << 20);
        let url = format!("nar/bomb.nar.{name}");
        std::fs::write(own.path().join(&url), packed).unwrap();
        std::fs::write(own.record_file(&info.path), signed_record(&own, &info, &url, name)).unwrap();
        let mut count = Count(0);
        let error = own.cache.read(&info.path, &mut count).await.unwrap_err();
        assert!(matches!(&error, CacheError::Corrupt { cause, .. } if cause.contains("longer")), "{error}");
        assert!(count.0 <= info.nar_size, "{name}: {} bytes went through", count.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a36_whoever_probes_the_server_learns_nothing() {
    let own = Dir::new();
    let (info, nar) = path_of(1, b"public");
    own.cache.push(&info, &nar[..]).await.unwrap();
    std::fs::write(own.path().join("secret.txt"), "private").unwrap();
    std::fs::write(own.dir.path().join("outside.nar"), "private").unwrap();
    std::fs::create_dir(own.path().join("nar/folder.nar")).unwrap();
    let server = Served::new(web::cache::router(own.cache.clone())).await;
    let answer = |target: String, method: &'static str| async move {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        // What may differ is the date.
        text.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n")
    };
    let absent = answer("/00000000000000000000000000000000.narinfo".to_owned(), "GET").await;
    assert!(absent.starts_with("HTTP/1.1 404") && absent.ends_with("not found"), "{absent}");
    for target in [
        "/",
        "/nar",
        "/nar/",
        "/nar/.",
        "/nar/..",
        "/secret.txt",
        "/../outside.nar",
        "/nar/../../outside.nar",
        "/nar/..%2f..%2foutside.nar",
        "/%2e%2e/outside.nar",
        "/nar/%2e%2e%2foutside.nar",
        "//etc/passwd",
        "/nar/%00.nar",
        "/nar/absent.nar",
        "/nix-cache-info/",
        "/nar/a/b.nar",
        "/nar/nix-cache-info",
    ] {
        assert_eq!(answer(target.to_owned(), "GET").await, absent, "{target}");
    }
    let name = format!("/{}.narinfo", &info.path.to_basename()[..32]);
    for method in ["PUT", "POST", "DELETE", "PROPFIND"] {
        let answer = answer(name.clone(), method).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    let directory = answer("/nar/folder.nar".to_owned(), "GET").await;
    assert!(!directory.starts_with("HTTP/1.1 2"), "{directory}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_and_heads_are_served_like_the_whole() {
    let own = Dir::new();
    let (info, nar) = path_of(1, &crate::support::noise(5, 300_000));
    own.cache.push(&info, &nar[..]).await.unwrap();
    let server = Served::new(web::cache::router(own.cache.clone())).await;
    let record = std::fs::read_to_string(own.record_file(&info.path)).unwrap();
    let url = record.lines().find_map(|line| line.strip_prefix("URL: ")).unwrap();
    let bytes = std::fs::read(own.path().join(url)).unwrap();
    let client = http();
    let target = format!("{}/{url}", server.url());
    let head = client.head(&target).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], bytes.len().to_string().as_str());
    assert!(head.bytes().await.unwrap().is_empty());
    let whole = client.get(&target).send().await.unwrap();
    assert_eq!(whole.status().as_u16(), 200);
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let size = bytes.len();
    for (range, wanted) in [("bytes=0-9", 0..10), ("bytes=1000-", 1000..size), ("bytes=-7", size - 7..size)] {
        let part = client.get(&target).header("range", range).send().await.unwrap();
        assert_eq!(part.status().as_u16(), 206, "{range}");
        let place = format!("bytes {}-{}/{size}", wanted.start, wanted.end - 1);
        assert_eq!(part.headers()["content-range"], place.as_str());
        assert_eq!(part.bytes().await.unwrap(), bytes[wanted], "{range}");
    }
    let beyond = client.get(&target).header("range", format!("bytes={size}-")).send().await.unwrap();
    assert_eq!(beyond.status().as_u16(), 416);
    let introduction = client.get(format!("{}/nix-cache-info", server.url())).send().await.unwrap();
    assert!(introduction.text().await.unwrap().starts_with("StoreDir: /nix/store\n"));
    assert_eq!(NarHash::of(&nar), info.nar_hash);
}
