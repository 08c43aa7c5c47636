//! The client against daemons that only exist as bytes: what real ones do rarely, or did in other versions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

mod nix_support;

use std::collections::BTreeSet;

use croft::nix::daemon::{
    BuildMode, BuildOutcome, Client, ClientError, DerivedPath, Discard, FailureStatus, LogEvent, NarToAdd,
    PathInfo, SignatureCheck, SuccessStatus, Trust,
};
use croft::nix::wire::{Encoder, Limits, WireError};
use croft::nix::{Derivation, DrvPath, NarHash, OutputName, StoreDir, StorePath};
use futures_util::FutureExt as _;
use nix_support::script::{self, LAST, NEXT, Script};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

type BytesClient = Client<std::io::Cursor<Vec<u8>>, tokio::io::Sink>;

async fn connect(script: &Script) -> Result<BytesClient, ClientError> {
    let reader = std::io::Cursor::new(script.as_bytes().to_vec());
    Client::connect(reader, tokio::io::sink(), StoreDir::default()).await
}

fn path(name: &str) -> StorePath {
    StorePath::from_parts([3; 20], name).unwrap()
}

fn drv(name: &str) -> DrvPath {
    DrvPath::new(path(name)).unwrap()
}

fn targets(names: &[&str]) -> Vec<DerivedPath> {
    names.iter().map(|name| DerivedPath::all_of(drv(name))).collect()
}

#[tokio::test]
async fn versions_and_features_are_agreed_on() {
    let client = connect(&script::hello(34, Trust::Unknown, &[])).await.unwrap();
    assert_eq!((client.protocol_version().minor, client.trusted()), (34, Trust::Unknown));
    let features = ["delete-dead-specific-referrers", "realisation-with-path-not-hash"];
    let client = connect(&script::hello(40, Trust::NotTrusted, &features)).await.unwrap();
    assert_eq!((client.protocol_version().minor, client.trusted()), (38, Trust::NotTrusted));
    assert_eq!(client.protocol().features, BTreeSet::from(["realisation-with-path-not-hash".to_owned()]));
    assert_eq!(client.daemon_version(), "9.9");
}

#[tokio::test]
async fn what_is_too_old_or_no_daemon_is_told_so() {
    let error = connect(&script::hello(33, Trust::Unknown, &[])).await.unwrap_err();
    assert!(matches!(error, ClientError::UnsupportedVersion { .. }));
    let text = error.to_string();
    assert!(text.contains("1.33") && text.contains("1.34") && text.contains("Nix 2.8"), "{text}");
    let mut other_major = Script::new();
    other_major.u64(0x6478_696f).u64(0x226);
    assert!(matches!(connect(&other_major).await, Err(ClientError::UnsupportedVersion { .. })));

    let noise = b"Welcome to builder7!\x1b[0m\nLast login: today\n";
    let reader = std::io::Cursor::new(noise.to_vec());
    let error = Client::connect(reader, tokio::io::sink(), StoreDir::default()).await.unwrap_err();
    assert!(error.to_string().contains(r"Welcome to builder7!\x1b[0m\n"), "{error}");
    let reader = std::io::Cursor::new(b"no\n".to_vec());
    let error = Client::connect(reader, tokio::io::sink(), StoreDir::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotADaemon { .. }), "{error}");
}

#[tokio::test]
async fn an_error_poisons_even_though_the_daemon_may_go_on() {
    // Some errors are sent twice: without poisoning, the next operation would read the stale copy.
    let mut script = script::hello(38, Trust::Trusted, &[]);
    script.error("no\u{1b}[31m such thing").error("no such thing").u64(LAST).bool(true);
    let mut client = connect(&script).await.unwrap();
    let error = client.is_valid_path(&path("x")).await.unwrap_err();
    assert_eq!(error.to_string(), r"the Nix daemon says: no\u{1b}[31m such thing");
    assert!(!client.is_usable());
    assert!(matches!(client.is_valid_path(&path("x")).await, Err(ClientError::Poisoned)));
    // An error of authentication comes in the handshake.
    let mut refused = script::greeting(38, Trust::Trusted, &[]);
    refused.error("user is not allowed");
    assert!(matches!(connect(&refused).await, Err(ClientError::Daemon(_))));
}

#[tokio::test]
async fn every_truncation_is_an_error() {
    let mut script = script::hello(38, Trust::Trusted, &[]);
    script.log_line(b"\xff\n").u64(LAST).bool(true);
    script.path_info_fields(&path("y"), &[0; 32], 120);
    for len in 0..script.as_bytes().len() {
        let reader = std::io::Cursor::new(script.as_bytes()[..len].to_vec());
        let Ok(mut client) = Client::connect(reader, tokio::io::sink(), StoreDir::default()).await else {
            continue;
        };
        let error = client.query_path_info(&path("x")).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol(WireError::Closed { .. })), "{len}: {error}");
    }
    assert!(connect(&script).await.unwrap().query_path_info(&path("x")).await.unwrap().is_some());
}

/// A NAR of a file with the given content.
fn nar_of(content: &[u8]) -> Vec<u8> {
    let mut nar = Encoder::new();
    for token in [&b"nix-archive-1"[..], b"(", b"type", b"regular", b"contents", content, b")"] {
        nar.bytes(token);
    }
    nar.as_bytes().to_vec()
}

#[tokio::test]
async fn a_nar_may_turn_into_an_error_at_any_token() {
    let nar = nar_of(b"contents");
    let start = |hash: &[u8; 32]| {
        let mut script = script::hello(38, Trust::Trusted, &[]);
        script.u64(LAST).bool(true).path_info_fields(&path("y"), hash, nar.len() as u64);
        script.u64(LAST);
        script
    };
    let hash = *NarHash::of(&nar).as_bytes();
    let mut good = start(&hash);
    good.raw(&nar);
    let mut bytes = Vec::new();
    let mut client = connect(&good).await.unwrap();
    client.nar_from_path(&path("x"), &mut bytes).await.unwrap();
    assert!(bytes == nar && client.is_usable());
    // Ends of tokens: the start, after the magic, and so on; after `contents` no more bytes come.
    for cut in [0, 24, 40, 56, 72, 88, 104] {
        let mut script = start(&hash);
        script.raw(&nar[..cut]).error("it is gone");
        let error =
            connect(&script).await.unwrap().nar_from_path(&path("x"), &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, ClientError::Daemon(_)), "{cut}: {error:?}");
    }
    for (wrong, bytes) in [("hash", nar_of(b"contentz")), ("length", nar_of(b"longer than announced"))] {
        let mut script = start(&hash);
        script.raw(&bytes);
        let mut client = connect(&script).await.unwrap();
        let error = client.nar_from_path(&path("x"), &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, ClientError::Corrupt { .. }) && !client.is_usable(), "{wrong}: {error:?}");
    }
}

#[tokio::test]
async fn results_are_matched_by_path_and_gaps_are_builds_never_begun() {
    for minor in [34, 38] {
        let mut script = script::hello(minor, Trust::Trusted, &[]);
        script.u64(LAST).u64(3);
        script.text(&format!("{}!*", drv("c.drv").absolute(&StoreDir::default())));
        script.build_result(minor, 3, "builder failed", &[]);
        script.text(&format!("{}!out", drv("a.drv").absolute(&StoreDir::default())));
        script.build_result(minor, 0, "", &[("sha256:00!out", path("a"))]);
        script.text(&format!("{}!*", drv("b.drv").absolute(&StoreDir::default())));
        script.build_result(minor, 9, "", &[]);
        let mut client = connect(&script).await.unwrap();
        let wanted = targets(&["a.drv", "b.drv", "c.drv", "d.drv"]);
        let results =
            client.build_paths_with_results(&wanted, BuildMode::Normal, &mut Discard).await.unwrap();
        let outputs = [(OutputName::new("out").unwrap(), path("a"))].into();
        let outcomes: Vec<_> = results.iter().map(|result| result.outcome.clone()).collect();
        let failed =
            BuildOutcome::Failure { status: FailureStatus::Permanent, message: b"builder failed".to_vec() };
        let built = BuildOutcome::Success { status: SuccessStatus::Built, outputs };
        assert_eq!(outcomes, [built, BuildOutcome::NotRun, failed, BuildOutcome::NotRun]);
        assert_eq!((results[0].times.start, results[0].times.stop), (None, None), "0 means not told");
    }
}

#[tokio::test]
async fn limits_hold_whatever_is_announced() {
    let announce = |count: u64, then: &[u8]| {
        let mut script = script::hello(38, Trust::Trusted, &[]);
        script.u64(NEXT).u64(count).raw(then);
        script
    };
    let line = announce(u64::MAX, b"");
    let error = connect(&line).await.unwrap().is_valid_path(&path("x")).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(WireError::TooLarge { .. })), "{error}");
    let padded = announce(1, b"axxxxxxx");
    let error = connect(&padded).await.unwrap().is_valid_path(&path("x")).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(WireError::BadValue { .. })), "{error}");
    let mut many = script::hello(38, Trust::Trusted, &[]);
    many.u64(LAST).u64(u64::MAX);
    let error = connect(&many).await.unwrap().query_missing(&[]).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(WireError::TooLarge { .. })), "{error}");
    // Many strings that are small each.
    let mut flood = script::hello(38, Trust::Trusted, &[]);
    flood.u64(LAST).u64(1000);
    for _ in 0..1000 {
        flood.text("/nix/store/00000000000000000000000000000000-x");
    }
    let limits = Limits { message_bytes: 10_000, ..Limits::default() };
    let reader = std::io::Cursor::new(flood.as_bytes().to_vec());
    let client = Client::connect_with_limits(reader, tokio::io::sink(), StoreDir::default(), limits).await;
    let error = client.unwrap().query_missing(&[]).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(WireError::TooLarge { .. })), "{error}");
}

#[tokio::test]
async fn an_upload_reads_the_log_while_it_writes() {
    let (client_end, daemon_end) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(client_end);
    let (mut daemon_reader, mut daemon_writer) = tokio::io::split(daemon_end);
    let content = nar_of(&vec![b'x'; 1 << 20]);
    let info = PathInfo::new(path("big"), NarHash::of(&content), content.len() as u64);
    let daemon = async {
        daemon_writer.write_all(script::hello(38, Trust::Trusted, &[]).as_bytes()).await.unwrap();
        // More log than the pipe holds, before the first frame is read.
        let mut log = Script::new();
        for _ in 0..1000 {
            log.log_line(&[b'l'; 1000]);
        }
        daemon_writer.write_all(log.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(&[content.as_slice().last_chunk::<8>().unwrap().as_slice(), &[0; 8]].concat()) {
            daemon_reader.read_buf(&mut seen).await.unwrap();
        }
        daemon_writer.write_all(&LAST.to_le_bytes()).await.unwrap();
    };
    let upload = async {
        let mut client = Client::connect(reader, writer, StoreDir::default()).await.unwrap();
        client.add_nar(NarToAdd { info, nar: &content[..] }, SignatureCheck::Skip).await.unwrap();
        assert!(client.is_usable());
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), async { tokio::join!(daemon, upload) })
        .await
        .expect("both sides wait for each other");
}

#[tokio::test]
async fn a_daemon_that_hangs_up_during_an_upload_is_heard_out() {
    let (writer, mut requests) = tokio::io::duplex(4096);
    let (mut replies, reader) = tokio::io::duplex(4096);
    let content = nar_of(&vec![b'x'; 1 << 20]);
    let info = PathInfo::new(path("big"), NarHash::of(&content), content.len() as u64);
    let daemon = async {
        replies.write_all(script::hello(38, Trust::Trusted, &[]).as_bytes()).await.unwrap();
        requests.read_exact(&mut [0; 1000]).await.unwrap();
        drop(requests);
        // The client has met a broken pipe by now.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let mut script = Script::new();
        script.error("no space left");
        replies.write_all(script.as_bytes()).await.unwrap();
    };
    let upload = async {
        let mut client = Client::connect(reader, writer, StoreDir::default()).await.unwrap();
        client.add_nar(NarToAdd { info, nar: &content[..] }, SignatureCheck::Skip).await.unwrap_err()
    };
    let ((), error) = tokio::join!(daemon, upload);
    assert!(error.to_string().contains("no space left"), "{error}");
}

#[tokio::test]
async fn an_operation_that_was_dropped_poisons() {
    let (client_end, mut daemon_end) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(client_end);
    daemon_end.write_all(script::hello(38, Trust::Trusted, &[]).as_bytes()).await.unwrap();
    let mut client = Client::connect(reader, writer, StoreDir::default()).await.unwrap();
    assert!(client.is_valid_path(&path("x")).now_or_never().is_none(), "there is no answer yet");
    assert!(!client.is_usable());
    assert!(matches!(client.is_valid_path(&path("x")).await, Err(ClientError::Poisoned)));
}

#[tokio::test]
async fn a_slow_log_reader_holds_up_the_daemon_and_loses_nothing() {
    let mut script = script::hello(38, Trust::Trusted, &[]);
    for n in 0..500_u32 {
        script.log_line(n.to_string().as_bytes());
    }
    script.u64(LAST).u64(0);
    let mut client = connect(&script).await.unwrap();
    let (mut sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let build = async move {
        client.build_paths_with_results(&[], BuildMode::Normal, &mut sender).await.unwrap();
    };
    let read = async {
        let mut lines = Vec::new();
        while let Some(event) = receiver.recv().await {
            lines.push(event);
        }
        lines
    };
    let ((), lines) = tokio::join!(build, read);
    assert_eq!(lines.len(), 500);
    assert_eq!(lines[499], LogEvent::Line { text: b"499".to_vec() });
}

#[tokio::test]
async fn without_trust_an_input_addressed_build_is_refused_before_it_is_sent() {
    const DRV: &[u8] = br#"Derive([("out","/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a","","")],[],[],"s","/bin/sh",[],[("out","/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-a")])"#;
    let parsed = Derivation::parse(&StoreDir::default(), &drv("a.drv"), DRV).unwrap();
    let mut client = connect(&script::hello(38, Trust::NotTrusted, &[])).await.unwrap();
    let build =
        client.build_derivation(&drv("a.drv"), &parsed.to_basic([]), BuildMode::Normal, &mut Discard).await;
    assert!(matches!(build, Err(ClientError::NotTrusted(_))));
    assert!(client.is_usable());
}
