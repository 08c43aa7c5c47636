//! A cache in an S3-compatible store: moto's server on loopback.

use croft::{cache::binary::Written, config::CacheSettings, nix::NarHash, web};

use crate::{
    moto::Moto,
    nix_support::{LiveNix, Trusted},
    support::{
        Served, absolute, build_pair, http, noise, open, path_of, reader, run, set, settings, substitute,
    },
};

/// Makes a bucket; settings for a cache below `prefix` in it.
async fn bucket(moto: &Moto, name: &str, prefix: &str) -> CacheSettings {
    let made = http().put(format!("{}/{name}", moto.endpoint()));
    let made = made.header("authorization", AUTHORIZATION).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    settings(&format!("s3://{name}{prefix}?region=us-east-1&scheme=http&endpoint={}", moto.address()))
}

/// moto does not check signatures, but wants one to see whose bucket it is.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=0";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_is_written_in_parts_read_checked_and_served_to_nix() {
    let Some(moto) = Moto::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let credentials = dir.path().join("credentials");
    std::fs::write(&credentials, "[default]\naws_access_key_id = id\naws_secret_access_key = hunter2\n")
        .unwrap();
    let settings =
        CacheSettings { credentials_file: Some(credentials), ..bucket(&moto, "croft-test", "/farm").await };
    let cache = open(&settings, &dir.path().join("state"));
    assert!(!format!("{cache:?} {settings:?}").contains("hunter2"));
    assert_eq!(cache.substituter_url(), None, "old versions of Nix know no prefix");

    // More than one part, and one that goes at once.
    for (byte, length) in [(1, 40 << 20), (2, 1000)] {
        let (info, nar) = path_of(byte, &noise(u64::from(byte), length));
        assert!(cache.narinfo(&info.path).await.unwrap().is_none());
        assert!(matches!(cache.push(&info, &nar[..]).await.unwrap(), Written::Now { .. }));
        assert_eq!(cache.push(&info, &nar[..]).await.unwrap(), Written::Before);
        let mut read = Vec::new();
        cache.read(&info.path, &mut read).await.unwrap().unwrap();
        assert_eq!(NarHash::of(&read), info.nar_hash);
    }
    let checked = cache.check().await.unwrap();
    assert_eq!((checked.sound, checked.findings.len(), checked.unnamed), (2, 0, 0));

    let server = Served::new(web::cache::router(cache.clone())).await;
    for nix in LiveNix::all() {
        let path = build_pair(&nix, &format!("s3-{}", nix.name));
        let (mut client, _child) = nix.connect().await;
        cache.push_paths(&mut client, &set(&path)).await.unwrap();
        let taken = substitute(&nix.sibling(), &server.url(), &cache.public_key().unwrap(), &path);
        assert!(taken.status.success(), "{}: {}", nix.name, taken.stderr.escape_ascii());
    }

    let absent = CacheSettings {
        url: Some(format!("s3://absent?scheme=http&endpoint={}", moto.address()).parse().unwrap()),
        ..settings
    };
    let (info, nar) = path_of(3, b"x");
    let error = open(&absent, dir.path()).push(&info, &nar[..]).await.unwrap_err();
    assert!(!error.is_alarm() && !error.to_string().contains("hunter2"), "{error}");
    // A reader over http is of no use without the key.
    assert!(reader(&server.url(), &[]).narinfo(&path_of(1, b"").0.path).await.unwrap_err().is_alarm());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_nix_that_speaks_s3_substitutes_from_the_bucket_itself() {
    let Some(moto) = Moto::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let credentials = dir.path().join("credentials");
    std::fs::write(&credentials, "[default]\naws_access_key_id = id\naws_secret_access_key = secret\n")
        .unwrap();
    let settings =
        CacheSettings { credentials_file: Some(credentials), ..bucket(&moto, "croft-direct", "").await };
    // Not every Nix with S3 can sign what it asks for, so anybody may read here.
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
        "Action":"s3:GetObject","Resource":"arn:aws:s3:::croft-direct/*"}]}"#;
    let open_to_all = http().put(format!("http://{}/croft-direct?policy", moto.address())).body(policy);
    let done = open_to_all.header("authorization", AUTHORIZATION).send().await.unwrap();
    assert!(done.status().is_success(), "{done:?}");
    let cache = open(&settings, &dir.path().join("state"));
    let url = cache.substituter_url().unwrap();
    for nix in LiveNix::all() {
        let path = build_pair(&nix, &format!("s3-direct-{}", nix.name));
        let (mut client, _child) = nix.connect().await;
        cache.push_paths(&mut client, &set(&path)).await.unwrap();
        let other = nix.sibling();
        let mut command = other.command("nix-store", Trusted::Yes);
        command.args(["-r", &absolute(&path), "--option", "substituters", &url]);
        command.args(["--option", "trusted-public-keys", &cache.public_key().unwrap()]);
        command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "secret");
        let taken = command.output().unwrap();
        let said = String::from_utf8_lossy(&taken.stderr);
        if said.contains("don't know how to open Nix store") {
            eprintln!("skipped: the Nix {} here is built without S3", nix.name);
            continue;
        }
        assert!(taken.status.success(), "{} from {url}: {said}", nix.name);
        run(other.command("nix-store", Trusted::Yes).args(["--verify-path", &absolute(&path)]));
    }
}
