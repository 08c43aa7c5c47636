//! Functions that must neither panic nor use unbounded memory, whatever the bytes.
//!
//! Layer 0. Called by the programs in `fuzz/` and, for a moment, by the tests. What parses must survive a round trip.

use std::str::FromStr;

use futures_util::FutureExt as _;

use super::daemon::{BuildResult, Client, DerivedPath, LogEvent, Message, PathInfo, Protocol};
use super::narinfo::NarInfo;
use super::signature::{PublicKey, SecretKey, Signature};
use super::wire::{Encoder, Limits, Reader};
use super::{Derivation, DrvKey, DrvPath, KeyTable, NarHash, OutputName, StoreDir, StorePath, System, nar};

/// A function to feed with bytes.
pub type Target = fn(&[u8]);

/// Every target with its name.
pub const TARGETS: [(&str, Target); 8] = [
    ("derivation", derivation),
    ("narinfo", narinfo),
    ("nar", nar_list),
    ("message", message),
    ("path_info", path_info),
    ("build_result", build_result),
    ("conversation", conversation),
    ("words", words),
];

const LIMITS: Limits = Limits { string_bytes: 1 << 20, items: 1 << 16, message_bytes: 4 << 20 };

fn reader(bytes: &[u8]) -> Reader<&[u8]> {
    Reader::new(bytes, LIMITS)
}

/// `.drv` files, with keys and questions.
pub fn derivation(bytes: &[u8]) {
    let Ok(path) = DrvPath::from_str("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-foo.drv") else { return };
    let Ok(drv) = Derivation::parse(&StoreDir::default(), &path, bytes) else { return };
    let again = Derivation::parse(&StoreDir::default(), &path, &drv.to_aterm());
    assert_eq!(again.as_ref(), Ok(&drv), "what was written must read the same");
    let _features = drv.required_system_features();
    let _basic = drv.to_basic([]);
    let _key = KeyTable::new().key(&drv);
    assert_eq!(drv.outputs().count(), drv.inner().outputs().len(), "no output may be left out");
}

/// `.narinfo` records.
pub fn narinfo(bytes: &[u8]) {
    let Ok(info) = NarInfo::parse_in(&StoreDir::default(), bytes) else { return };
    let again = NarInfo::parse_in(&StoreDir::default(), &info.to_canonical_bytes());
    assert!(again.is_ok_and(|again| again == info), "what was written must read the same");
    let _info = super::narinfo::to_path_info(&info);
}

/// NARs.
pub fn nar_list(mut bytes: &[u8]) {
    let Ok(entries) = nar::list(&mut bytes, 1000) else { return };
    for entry in entries {
        let safe = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
        assert!(entry.path.is_empty() || entry.path.split(|byte| *byte == b'/').all(safe), "unsafe name");
    }
}

/// What a daemon says before a reply.
pub fn message(bytes: &[u8]) {
    let _message: Option<Result<Message, _>> = Message::decode(&mut reader(bytes)).now_or_never();
}

/// Metadata of a path.
pub fn path_info(bytes: &[u8]) {
    let store_dir = StoreDir::default();
    let Some(Ok(info)) = PathInfo::decode(&store_dir, &mut reader(bytes)).now_or_never() else { return };
    let mut out = Encoder::new();
    info.encode(&store_dir, &mut out);
    let again = PathInfo::decode(&store_dir, &mut reader(out.as_bytes())).now_or_never();
    assert!(again.is_some_and(|again| again.is_ok_and(|again| again == info)), "round trip");
}

/// Build results in every layout.
pub fn build_result(bytes: &[u8]) {
    let newest = Protocol::plain(38).with_feature("realisation-with-path-not-hash");
    for protocol in [Protocol::plain(34), Protocol::plain(38), newest] {
        let _result = BuildResult::decode(&protocol, &StoreDir::default(), &mut reader(bytes)).now_or_never();
    }
}

/// A whole conversation of which the daemon's side is given.
pub fn conversation(bytes: &[u8]) {
    let talk = async {
        let connect = Client::connect_with_limits(bytes, tokio::io::sink(), StoreDir::default(), LIMITS);
        let mut client = connect.await.ok()?;
        let path = StorePath::from_parts([1; 20], "x").ok()?;
        let mut nar = Vec::new();
        client.nar_from_path(&path, &mut nar).await.ok()?;
        let drv = DrvPath::new(StorePath::from_parts([1; 20], "x.drv").ok()?).ok()?;
        let mut events: Vec<LogEvent> = Vec::new();
        let targets = [DerivedPath::all_of(drv.clone())];
        client
            .build_paths_with_results(&targets, super::daemon::BuildMode::Normal, &mut events)
            .await
            .ok()?;
        client.query_missing(&targets).await.ok()?;
        client.query_derivation_output_map(&drv).await.ok()?;
        Some(())
    };
    let _outcome = talk.now_or_never();
}

/// Everything that is read from one word or line.
pub fn words(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let store_dir = StoreDir::default();
    if let Ok(key) = text.parse::<DrvKey>() {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(path) = DerivedPath::from_wire(&store_dir, text) {
        assert!(
            DerivedPath::from_wire(&store_dir, &path.to_wire(&store_dir)).is_ok_and(|again| again == path)
        );
    }
    if let Ok(hash) = text.parse::<NarHash>() {
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }
    let _path = text.parse::<DrvPath>();
    let _system = System::new(text);
    let _output = OutputName::new(text);
    let _secret = SecretKey::parse(text);
    let _public = PublicKey::parse(text);
    let _signature = Signature::parse(text);
}
