//! What real daemons said to this client, replayed: decoding is tested without any Nix.
//!
//! `CROFT_RECORD=1 cargo test --test nix_recorded -- --ignored` writes the files anew from the daemons that are there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

mod nix_support;

use std::collections::BTreeSet;
use std::path::PathBuf;

use croft::nix::daemon::{
    BuildMode, BuildOutcome, BuildResult, Client, ClientError, ClientSettings, DerivedPath, FailureStatus,
    LogEvent,
};
use croft::nix::{DrvPath, NarHash, StoreDir, StorePath};
use nix_support::{LiveNix, Trusted};
use tokio::io::{AsyncRead, AsyncWrite};

/// A floating output, so that the text depends on no hash; `out` is `placeholder "out"`.
const DRV: &str = r#"Derive([("out","","r:sha256","")],[],[],"SYSTEM","/bin/sh",["-c","SCRIPT"],[("out","/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9")])"#;

/// What is learned in the conversation.
#[derive(Debug)]
struct Learned {
    version: String,
    text: StorePath,
    nar: Vec<u8>,
    results: Vec<BuildResult>,
    events: Vec<LogEvent>,
    last_error: ClientError,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/nix")
}

/// The same requests whatever the other side is.
async fn talk<R, W>(reader: R, writer: W) -> Result<Learned, ClientError>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let mut client = Client::connect(reader, writer, StoreDir::default()).await?;
    client.set_options(&ClientSettings::default()).await?;
    let text = client.add_text_to_store("recorded", b"recorded\n", &BTreeSet::new()).await?.path;
    let mut nar = Vec::new();
    client.nar_from_path(&text, &mut nar).await?;
    let mut targets = vec![DerivedPath::Opaque(text.clone())];
    for script in ["echo one line; exit 7", "echo other > $out"] {
        let content = DRV.replace("SYSTEM", "x86_64-linux").replace("SCRIPT", script);
        let added = client.add_text_to_store("recorded.drv", content.as_bytes(), &BTreeSet::new()).await?;
        targets.push(DerivedPath::all_of(DrvPath::new(added.path).expect("a derivation")));
    }
    let mut events = Vec::new();
    let results = client.build_paths_with_results(&targets, BuildMode::Normal, &mut events).await?;
    let nothing = StorePath::from_parts([5; 20], "nothing").expect("a path");
    let last_error = client.ensure_path(&nothing).await.expect_err("nobody has it");
    Ok(Learned { version: client.daemon_version().to_owned(), text, nar, results, events, last_error })
}

#[tokio::test]
async fn recordings_decode() {
    let mut seen = 0;
    for file in nix_support::files(&folder(), ".daemon") {
        let bytes = std::fs::read(&file).unwrap();
        let name = file.file_stem().unwrap().to_str().unwrap();
        let learned = talk(std::io::Cursor::new(bytes), tokio::io::sink()).await.unwrap();
        assert_eq!(learned.version, name);
        assert_eq!(learned.text.name(), "recorded");
        assert_eq!(NarHash::of(&learned.nar).to_base16().len(), 64);
        assert!(learned.results[0].is_success(), "{name}");
        let failed = BuildOutcome::Failure { status: FailureStatus::Permanent, message: Vec::new() };
        match (&learned.results[1].outcome, &failed) {
            (BuildOutcome::Failure { status, message }, BuildOutcome::Failure { status: expected, .. }) => {
                assert_eq!(status, expected, "{name}");
                assert!(!message.is_empty());
            }
            other => panic!("{name}: {other:?}"),
        }
        assert!(learned.results[2].is_success(), "{name}: {:?}", learned.results[2]);
        let line = |event: &LogEvent| matches!(event, LogEvent::BuildLog { line, .. } if line == b"one line");
        assert!(learned.events.iter().any(line), "{name}");
        assert!(matches!(learned.last_error, ClientError::Daemon(_)), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 3, "recordings of 2.8.0, 2.26.3 and 2.34.8");
}

#[tokio::test]
#[ignore = "writes tests/data/nix anew"]
async fn record() {
    if std::env::var_os("CROFT_RECORD").is_none() {
        return;
    }
    for nix in LiveNix::all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let daemon = nix.command("nix-daemon", Trusted::Yes);
        let mut command = tokio::process::Command::new("sh");
        command.arg("-c").arg(format!("\"$0\" --stdio | tee {}", file.path().display()));
        command.arg(daemon.get_program()).kill_on_drop(true);
        for (key, value) in daemon.get_envs() {
            if let Some(value) = value {
                command.env(key, value);
            }
        }
        let pipe = std::process::Stdio::piped;
        let mut child = command.stdin(pipe()).stdout(pipe()).spawn().unwrap();
        let learned = talk(child.stdout.take().unwrap(), child.stdin.take().unwrap()).await.unwrap();
        child.wait().await.unwrap();
        std::fs::copy(file.path(), folder().join(format!("{}.daemon", learned.version))).unwrap();
    }
}
