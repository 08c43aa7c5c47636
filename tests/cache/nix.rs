//! Every Nix that is there substitutes from our caches, and reads and writes what we do.

use croft::{
    cache::CacheError,
    config::PushScope,
    remote::{Pool, StoreAccess},
    web,
};

use crate::{
    nix_support::{LiveNix, Trusted},
    support::{Dir, Served, absolute, build_pair, open, reader, run, set, settings, store_of, substitute},
};

/// Checks that an empty store gets the path, content and reference, and that it does not without the key.
#[track_caller]
fn assert_substitutes(nix: &LiveNix, url: &str, key: &str, path: &croft::nix::StorePath) {
    let stranger = nix.sibling();
    let refused = substitute(&stranger, url, "", path);
    assert!(!refused.status.success(), "{}: taken from {url} without a trusted key", nix.name);
    let other = nix.sibling();
    let taken = substitute(&other, url, key, path);
    assert!(taken.status.success(), "{} from {url}: {}", nix.name, taken.stderr.escape_ascii());
    let file = |nix: &LiveNix| std::fs::read_to_string(nix.store_file(&absolute(path))).unwrap();
    assert_eq!(file(&other), file(nix));
    let first = file(&other);
    assert!(other.store_file(first.trim()).exists(), "what it refers to came too");
    run(other.command("nix-store", Trusted::Yes).args(["--verify-path", &absolute(path), first.trim()]));
    let signatures = run(other.command("nix", Trusted::Yes).args(["path-info", "--sigs", &absolute(path)]));
    assert!(signatures.contains(key.split_once(':').unwrap().0), "{signatures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_nix_substitutes_from_a_directory_and_from_our_server() {
    for nix in LiveNix::all() {
        let path = build_pair(&nix, "served");
        let own = Dir::new();
        let (mut client, _child) = nix.connect().await;
        let pushed = own.cache.push_paths(&mut client, &set(&path)).await.unwrap();
        assert_eq!((pushed.written, pushed.before), (2, 0), "{}", nix.name);
        let again = own.cache.push_paths(&mut client, &set(&path)).await.unwrap();
        assert_eq!((again.written, again.before), (0, 2), "{}", nix.name);

        let key = own.cache.public_key().unwrap();
        assert_substitutes(&nix, &own.cache.url(), &key, &path);
        let server = Served::new(web::cache::router(own.cache.clone())).await;
        assert_substitutes(&nix, &server.url(), &key, &path);

        // Our own client reads what our server serves.
        let over_http = own.reader_of(&server.url());
        let mut nar = Vec::new();
        let info = over_http.read(&path, &mut nar).await.unwrap().unwrap();
        let known = client.query_path_info(&path).await.unwrap().unwrap();
        assert_eq!(
            (info.nar_hash, info.references, info.deriver),
            (known.nar_hash, known.references, known.deriver)
        );
        assert_eq!(nar.len() as u64, known.nar_size);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_local_store_is_served_without_writing_anything() {
    let Some(nix) = LiveNix::all().into_iter().find(|nix| nix.name == "system") else { return };
    let path = build_pair(&nix, "straight");
    let own = Dir::new();
    let pool = Pool::new(StoreAccess::new(store_of(&nix)));
    let server = Served::new(web::store_router(pool, own.key())).await;
    let key = own.cache.public_key().unwrap();
    for nix in LiveNix::all() {
        let other = nix.sibling();
        let taken = substitute(&other, &server.url(), &key, &path);
        assert!(taken.status.success(), "{}: {}", nix.name, taken.stderr.escape_ascii());
        run(other.command("nix-store", Trusted::Yes).args(["--verify-path", &absolute(&path)]));
    }
    let mut nar = Vec::new();
    assert!(own.reader_of(&server.url()).read(&path, &mut nar).await.unwrap().is_some());
    let absent = croft::nix::StorePath::from_parts([1; 20], "absent").unwrap();
    assert!(own.reader_of(&server.url()).narinfo(&absent).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_nix_copy_writes_is_read_and_what_we_write_nix_verifies() {
    for nix in LiveNix::all() {
        let path = build_pair(&nix, "copied");
        let keys = tempfile::tempdir().unwrap();
        let (secret, public) = (keys.path().join("secret"), keys.path().join("public"));
        let mut generate = nix.command("nix-store", Trusted::Yes);
        generate.args(["--generate-binary-cache-key", "theirs-1"]).args([&secret, &public]);
        run(&mut generate);
        let public = std::fs::read_to_string(&public).unwrap();
        for compression in ["zstd", "gzip", "none", "xz"] {
            let theirs = keys.path().join(compression);
            let place = format!("file://{}", theirs.display());
            let to = format!("{place}?compression={compression}&secret-key={}", secret.display());
            run(nix.command("nix", Trusted::Yes).args(["copy", "--to", &to, &absolute(&path)]));
            let mut nar = Vec::new();
            let read = reader(&place, std::slice::from_ref(&public)).read(&path, &mut nar).await;
            match (compression, read) {
                ("xz", Err(CacheError::Broken { cause, .. })) => assert!(cause.contains("xz"), "{cause}"),
                ("xz", other) => panic!("{other:?}"),
                (_, read) => assert_eq!(read.unwrap().unwrap().nar_size, nar.len() as u64, "{compression}"),
            }
        }

        let own = Dir::new();
        let (mut client, _child) = nix.connect().await;
        own.cache.push_paths(&mut client, &set(&path)).await.unwrap();
        let key = own.cache.public_key().unwrap();
        let verify = ["store", "verify", "--recursive", "--sigs-needed", "1", "--store"];
        let trust = ["--option", "trusted-public-keys", &key];
        let mut command = nix.command("nix", Trusted::Yes);
        run(command.args(verify).arg(own.cache.url()).args(trust).arg(absolute(&path)));
        let mut unsigned = nix.command("nix", Trusted::Yes);
        unsigned.args(verify).arg(own.cache.url()).args(["--option", "trusted-public-keys", public.trim()]);
        assert!(!unsigned.arg(absolute(&path)).output().unwrap().status.success());
        let mut info = nix.command("nix", Trusted::Yes);
        let info =
            run(info.args(["path-info", "--store", &own.cache.url(), "--recursive", &absolute(&path)]));
        assert_eq!(info.lines().count(), 2, "{info}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn outputs_alone_are_written_where_that_is_wanted() {
    let Some(nix) = LiveNix::all().into_iter().next() else { return };
    let path = build_pair(&nix, "alone");
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/cache", dir.path().display());
    for (push, written) in [(PushScope::None, 0), (PushScope::Outputs, 1), (PushScope::Closure, 1)] {
        let cache = open(&croft::config::CacheSettings { push, ..settings(&url) }, dir.path());
        let (mut client, _child) = nix.connect().await;
        let pushed = cache.push_paths(&mut client, &set(&path)).await.unwrap();
        assert_eq!(pushed.written, written, "{push:?}");
    }
}
