//! Readers while writers rewrite, and writers that are killed.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use croft::{cache::binary::Written, config::CacheSettings, nix::NarHash, task, web};

use crate::{
    nix_support::LiveNix,
    support::{Dir, Served, absolute, build_big, noise, open, path_of, reader, settings},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_readers_always_find_a_whole_path_while_two_writers_rewrite_it() {
    const ROUNDS: u32 = 12;
    let own = Dir::new();
    // Keys of their own, so that each finds the other's record wanting, and levels, so that the objects differ.
    let writer = |name: &str, level| {
        let state = own.dir.path().join(name);
        open(&CacheSettings { compression_level: level, ..settings(&own.cache.url()) }, &state)
    };
    let writers = [writer("one", 1), writer("two", 9)];
    let mut content = noise(7, 1 << 20);
    content.extend(vec![b'x'; 1 << 20]);
    let (info, nar) = path_of(1, &content);
    assert!(matches!(writers[0].push(&info, &nar[..]).await.unwrap(), Written::Now { .. }));
    let keys = writers.each_ref().map(|cache| cache.public_key().unwrap());

    let server = Served::new(web::cache::router(own.cache.clone())).await;
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..8)
        .map(|number| {
            let url = if number % 2 == 0 { own.cache.url() } else { server.url() };
            let (cache, path, hash) = (reader(&url, &keys), info.path.clone(), info.nar_hash);
            let (done, reads) = (Arc::clone(&done), Arc::clone(&reads));
            task::spawn("reader", async move {
                while !done.load(Ordering::Acquire) {
                    let mut nar = Vec::new();
                    cache.read(&path, &mut nar).await.unwrap().expect("it is always there");
                    assert_eq!(NarHash::of(&nar), hash);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let writing: Vec<_> = writers
        .into_iter()
        .map(|cache| {
            let (info, nar) = (info.clone(), nar.clone());
            task::spawn("writer", async move {
                for _ in 0..ROUNDS {
                    cache.push(&info, &nar[..]).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writing {
        writer.join().await.unwrap();
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.join().await.unwrap();
    }
    assert!(reads.load(Ordering::Relaxed) >= 8);
    let left = std::fs::read_dir(own.path().join("nar")).unwrap().count();
    assert_eq!(left, 2, "one object of each level, and nothing of writers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_one_path_at_once_do_no_harm() {
    let own = Dir::new();
    // One that waits in memory, and one that waits in a file.
    for (byte, length) in [(1, 1000), (2, 5 << 20)] {
        let (info, nar) = path_of(byte, &noise(u64::from(byte), length));
        let pushes = (0..8).map(|_| own.cache.push(&info, &nar[..]));
        for pushed in futures_util::future::join_all(pushes).await {
            pushed.unwrap();
        }
        let mut read = Vec::new();
        own.cache.read(&info.path, &mut read).await.unwrap().unwrap();
        assert_eq!(read, nar);
    }
    assert_eq!(std::fs::read_dir(own.path().join("nar")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 4, "two records, nix-cache-info and nar");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_writer_that_is_dropped_or_given_something_else_leaves_no_record() {
    let own = Dir::new();
    let (info, nar) = path_of(2, &noise(3, 6 << 20));
    let (mut into, from) = tokio::io::duplex(1 << 10);
    let cache = own.cache.clone();
    let half = info.clone();
    let writing = task::spawn("writer", async move { cache.push(&half, from).await });
    tokio::io::AsyncWriteExt::write_all(&mut into, &nar[..5 << 20]).await.unwrap();
    writing.abort();
    assert!(writing.join().await.is_err());

    let mut other = nar.clone();
    other[100] ^= 1;
    for (wrong, word) in
        [(&other[..], "its hash is"), (&nar[8..], "ends 8 bytes"), (&[&nar[..], b"x"].concat(), "longer")]
    {
        let error = own.cache.push(&info, wrong).await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(own.cache.narinfo(&info.path).await.unwrap().is_none());
    let left: Vec<_> = std::fs::read_dir(own.path().join("nar")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// When a writer is killed.
enum Moment {
    /// So many milliseconds after its start.
    After(u64),
    /// As soon as a NAR is in the cache.
    NarIsThere,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_writer_leaves_nothing_that_can_be_read_by_halves() {
    let Some(nix) = LiveNix::all().into_iter().find(|nix| nix.name == "system") else { return };
    let path = build_big(&nix, 48);
    let own = Dir::new();
    let push = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
        command
            .args(["cache", "push", &absolute(&path)])
            .env("CROFT_STATE_DIR", own.state())
            .env("CROFT_CACHE_URL", own.cache.url())
            .env("CROFT_NIX_ROOT", nix.root())
            .env("CROFT_NIX_DAEMON", "stdio")
            .current_dir(own.dir.path())
            .stdin(Stdio::null());
        command
    };
    let objects = || std::fs::read_dir(own.path().join("nar")).map_or(0, Iterator::count);
    for (step, moment) in
        [Moment::After(30), Moment::After(300), Moment::After(900), Moment::NarIsThere].iter().enumerate()
    {
        let mut child = push().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        match moment {
            Moment::After(millis) => tokio::time::sleep(Duration::from_millis(*millis)).await,
            // The record comes next. Whoever is too late for this sees a whole path, which is right as well.
            Moment::NarIsThere => {
                while objects() == 0 && child.try_wait().unwrap().is_none() {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let checked = own.cache.check().await.unwrap();
        assert!(checked.findings.is_empty(), "after {step}: {:?}", checked.findings);
        assert_eq!(checked.sound + checked.unnamed, objects() as u64, "after {step}: nothing else is left");
    }
    let done = push().output().unwrap();
    assert!(done.status.success(), "{}", done.stderr.escape_ascii());
    let mut nar = Vec::new();
    let info = own.cache.read(&path, &mut nar).await.unwrap().unwrap();
    assert_eq!(NarHash::of(&nar), info.nar_hash);
}
