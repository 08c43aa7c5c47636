//! Formats against Nix's own test data (below `CROFT_VECTORS`), against what real Nix writes, and by properties.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

mod nix_support;

use std::collections::BTreeSet;
use std::path::Path;

use croft::nix::daemon::{BuildOutcome, BuildResult, DerivedPath, FailureStatus, PathInfo, Protocol};
use croft::nix::narinfo::{self, Compression, NarInfo};
use croft::nix::signature::{self, SecretKey};
use croft::nix::wire::{Encoder, Limits, Reader};
use croft::nix::{Derivation, DrvPath, KeyTable, NarHash, StoreDir, StorePath, hash, nar};
use futures_util::FutureExt as _;
use nix_support::{LiveNix, Trusted, files, vectors};
use proptest::prelude::*;
use sha2::Digest as _;

fn store_dir() -> StoreDir {
    StoreDir::default()
}

fn reader(bytes: &[u8]) -> Reader<&[u8]> {
    Reader::new(bytes, Limits::default())
}

/// The folders of Nix's worker protocol test data: today's, and that of the versions with JSON realisations.
fn worker_folders(vectors: &Path) -> Vec<std::path::PathBuf> {
    ["nix/libstore/worker-protocol", "nix-2.34.8/worker-protocol"].map(|folder| vectors.join(folder)).to_vec()
}

fn decode_results(folder: &Path, file: &str, protocol: &Protocol, count: usize) -> Vec<BuildResult> {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    let mut reader = reader(&bytes);
    let results = (0..count)
        .map(|_| BuildResult::decode(protocol, &store_dir(), &mut reader).now_or_never().unwrap().unwrap())
        .collect();
    assert!(reader.u64("end").now_or_never().unwrap().is_err(), "{file} is read to its end");
    results
}

#[test]
fn build_results_of_nix() {
    let Some(vectors) = vectors() else { return };
    let feature = Protocol::plain(38).with_feature("realisation-with-path-not-hash");
    for folder in worker_folders(&vectors) {
        for (file, protocol) in [
            ("build-result-1.29.bin", Protocol::plain(34)),
            ("build-result-1.37.bin", Protocol::plain(38)),
            ("build-result-realisation-with-path-not-hash.bin", feature.clone()),
        ] {
            if !folder.join(file).exists() {
                assert!(file.contains("realisation"), "{file} is missing");
                continue;
            }
            let results = decode_results(&folder, file, &protocol, 3);
            let message = b"no idea why".to_vec();
            for (result, status) in
                results.iter().zip([FailureStatus::OutputRejected, FailureStatus::NotDeterministic])
            {
                assert_eq!(result.outcome, BuildOutcome::Failure { status, message: message.clone() });
            }
            let BuildOutcome::Success { outputs, .. } = &results[2].outcome else { panic!("{results:?}") };
            let outputs: Vec<_> =
                outputs.iter().map(|(name, path)| format!("{name} {}", path.to_basename())).collect();
            let expected =
                ["bar", "foo"].map(|name| format!("{name} g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-{name}"));
            assert_eq!(outputs, expected, "{file}");
            assert_eq!((results[2].times.start, results[2].times.stop), (Some(30), Some(50)));
            assert_eq!(results[2].times.cpu_user.is_some(), !file.contains("1.29"));
        }
    }
}

#[test]
fn path_infos_and_derived_paths_of_nix() {
    let Some(vectors) = vectors() else { return };
    for folder in worker_folders(&vectors) {
        let bytes = std::fs::read(folder.join("valid-path-info-1.16.bin")).unwrap();
        let (mut reader, mut written) = (reader(&bytes), Encoder::new());
        for references in [0, 2, 2] {
            let info = PathInfo::decode(&store_dir(), &mut reader).now_or_never().unwrap().unwrap();
            assert_eq!((info.nar_size, info.references.len()), (34878, references));
            info.encode(&store_dir(), &mut written);
        }
        assert_eq!(written.as_bytes(), bytes, "written as Nix writes it");
        let bytes = std::fs::read(folder.join("derived-path-1.30.bin")).unwrap();
        let (mut reader, mut written) = (self::reader(&bytes), Encoder::new());
        for _ in 0..4 {
            let text = reader.text("derived path").now_or_never().unwrap().unwrap();
            written.text(&DerivedPath::from_wire(&store_dir(), &text).unwrap().to_wire(&store_dir()));
        }
        assert_eq!(written.as_bytes(), bytes);
    }
}

#[test]
fn derivations_of_nix() {
    let Some(vectors) = vectors() else { return };
    let mut parsed = 0;
    for file in files(&vectors.join("nix/libstore/derivation"), ".drv") {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name.contains("-modulo") {
            continue;
        }
        let bytes = std::fs::read(&file).unwrap();
        let path: DrvPath = format!("g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-{name}").parse().unwrap();
        let drv = Derivation::parse(&store_dir(), &path, &bytes);
        // Not derivations, or with dummy paths that repeat, or without outputs.
        let odd = ["bad-version", "bad-old-version", "hello", "firefox", "bad-ca", "simple-deriv", "dyn-dep"];
        match drv {
            Ok(drv) if !odd.iter().any(|start| name.starts_with(start)) => {
                parsed += 1;
                let fixed = drv.is_fixed_output();
                assert!(fixed || drv.to_aterm() == bytes, "{name} must be written as it was");
            }
            Ok(_) => {}
            Err(error) => assert!(odd.iter().any(|start| name.starts_with(start)), "{name}: {error}"),
        }
    }
    assert!(parsed >= 14, "only {parsed} derivations");
}

#[test]
fn nars_of_nix() {
    let Some(vectors) = vectors() else { return };
    let fine = ["regular-one-byte-zero-padding", "case", "case-collision", "unnormalized"];
    let mut seen = 0;
    for file in files(&vectors.join("nix"), ".nar") {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let listed = nar::list(&mut &bytes[..], 1000);
        assert_eq!(listed.is_ok(), fine.contains(&name), "{name}: {listed:?}");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

#[test]
fn narinfos_of_real_caches() {
    let Some(vectors) = vectors() else { return };
    let file = vectors.join("tvix/narinfo/narinfo.zst");
    if !file.exists() {
        eprintln!("skipped: {} is not there", file.display());
        return;
    }
    let text = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let key = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=".parse().unwrap();
    let text = String::from_utf8(text).unwrap();
    let mut seen = 0;
    for record in text.split("\n\n").filter(|record| !record.trim().is_empty()) {
        let info = NarInfo::parse_in(&store_dir(), format!("{}\n", record.trim_end()).as_bytes()).unwrap();
        assert!(info.has_valid_signature(&store_dir(), std::slice::from_ref(&key)));
        seen += 1;
    }
    assert_eq!(seen, 978);
}

#[test]
fn signatures_are_those_of_nix() {
    for nix in LiveNix::all() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(file("text"), "some text").unwrap();
        let run = |program: &str, args: &[&str]| {
            let out = nix.command(program, Trusted::Yes).args(args).output().unwrap();
            assert!(out.status.success(), "{}: {}", nix.name, out.stderr.escape_ascii());
            String::from_utf8(out.stdout).unwrap().trim().to_owned()
        };
        run("nix-store", &["--generate-binary-cache-key", "farm-1", &file("secret"), &file("public")]);
        let path = run("nix-store", &["--add", &file("text")]);
        let cache = format!("file://{}?secret-key={}&compression=none", file("cache"), file("secret"));
        run("nix", &["copy", "--to", &cache, &path]);

        let hash_part = &path["/nix/store/".len()..][..32];
        let record = std::fs::read(file(&format!("cache/{hash_part}.narinfo"))).unwrap();
        let info = NarInfo::parse_in(&store_dir(), &record).unwrap();
        let secret = SecretKey::parse(&std::fs::read_to_string(file("secret")).unwrap()).unwrap();
        assert!(!format!("{secret:?}").contains(&std::fs::read_to_string(file("secret")).unwrap()[8..]));
        let own = secret.sign(&info.fingerprint(&store_dir()));
        assert_eq!(info.signatures(), [own], "{}", nix.name);
        assert!(info.has_valid_signature(&store_dir(), &[secret.public_key()]));
        let public = std::fs::read_to_string(file("public")).unwrap();
        assert_eq!(signature::public_key_text(&secret.public_key()), public.trim());

        let path_info = narinfo::to_path_info(&info).unwrap();
        assert_eq!(path_info.fingerprint(&store_dir()), info.fingerprint(&store_dir()));
        let rebuilt = narinfo::from_path_info(&store_dir(), &path_info, info.url(), Compression::None)
            .file_hash(info.file_hash().cloned())
            .file_size(info.file_size())
            .build()
            .unwrap();
        assert_eq!(rebuilt.to_canonical_bytes(), record, "{}: byte for byte", nix.name);
    }
}

#[test]
fn a_changed_url_changes_no_key_but_changed_content_does() {
    const URL: &str = "https://one.example/x.tar";
    let fixed = |url: &str, digest: &str| {
        let fod = Derivation::parse(
            &store_dir(),
            &path_for(url, "src.drv"),
            format!(
                r#"Derive([("out","/nix/store/g1w7hy3qg1w7hy3qg1w7hy3qg1w7hy3q-src","sha256","{digest}")],[],[],"builtin","builtin:fetchurl",[],[("url","{url}")])"#
            )
            .as_bytes(),
        )
        .unwrap();
        let user = format!(
            r#"Derive([("out","","","")],[("{}",["out"])],[],"x86_64-linux","/bin/sh",[],[("out","")])"#,
            fod.path().absolute(&store_dir())
        );
        let user = Derivation::parse(&store_dir(), &path_for(url, "user.drv"), user.as_bytes()).unwrap();
        let mut table = KeyTable::new();
        assert!(table.key(&user).unwrap_err().to_string().contains("key inputs first"));
        (table.key(&fod).unwrap(), table.key(&user).unwrap())
    };
    let (zeros, ones) = ("0".repeat(64), "1".repeat(64));
    assert_eq!(fixed(URL, &zeros), fixed("https://two.example/x.tar", &zeros));
    let ((a, b), (c, d)) = (fixed(URL, &zeros), fixed(URL, &ones));
    assert!(a != c && b != d);
}

/// A derivation path that depends on `seed`.
fn path_for(seed: &str, name: &str) -> DrvPath {
    let digest: [u8; 32] = sha2::Sha256::digest(seed).into();
    DrvPath::new(StorePath::from_parts(*digest.first_chunk().unwrap(), name).unwrap()).unwrap()
}

fn any_path() -> impl Strategy<Value = StorePath> {
    (any::<[u8; 20]>(), "[a-zA-Z0-9+_?=-][a-zA-Z0-9+._?=-]{0,40}")
        .prop_map(|(digest, name)| StorePath::from_parts(digest, &name).unwrap())
}

fn any_info() -> impl Strategy<Value = PathInfo> {
    let references = proptest::collection::btree_set(any_path(), 0..5);
    let signatures: BTreeSet<String> = BTreeSet::from(["k:AAAA".to_owned()]);
    (any_path(), any::<[u8; 32]>(), any::<u64>(), references, any::<bool>()).prop_map(
        move |(path, digest, nar_size, references, signed)| {
            let signatures = if signed { signatures.clone() } else { BTreeSet::new() };
            let info = PathInfo::new(path, NarHash::new(digest), nar_size);
            PathInfo { references, signatures, ..info }
        },
    )
}

proptest! {
    #[test]
    fn strings_and_numbers_come_back(bytes: Vec<u8>, number: u64, flag: bool) {
        let mut out = Encoder::new();
        out.bytes(&bytes).u64(number).bool(flag);
        prop_assert_eq!(out.as_bytes().len() % 8, 0);
        let mut reader = reader(out.as_bytes());
        prop_assert_eq!(reader.bytes("bytes").now_or_never().unwrap().unwrap(), bytes);
        prop_assert_eq!(reader.u64("number").now_or_never().unwrap().unwrap(), number);
        prop_assert_eq!(reader.bool("flag").now_or_never().unwrap().unwrap(), flag);
    }

    #[test]
    fn path_infos_come_back(info in any_info()) {
        let mut out = Encoder::new();
        info.encode(&store_dir(), &mut out);
        let again = PathInfo::decode(&store_dir(), &mut reader(out.as_bytes())).now_or_never().unwrap().unwrap();
        prop_assert_eq!(again, info);
    }

    #[test]
    fn narinfos_come_back(info in any_info()) {
        prop_assume!(info.nar_size > 0);
        let record = narinfo::from_path_info(&store_dir(), &info, "nar/x.nar", Compression::None).build();
        let record = record.unwrap().to_canonical_bytes();
        let again = NarInfo::parse_in(&store_dir(), &record).unwrap();
        prop_assert_eq!(narinfo::to_path_info(&again).unwrap(), info);
    }

    #[test]
    fn nix32_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
        prop_assert_eq!(hash::from_nix32(&hash::to_nix32(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn derivations_come_back(args in proptest::collection::vec(any::<String>(), 0..4), value: Vec<u8>, src in any_path()) {
        let escape = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().flat_map(|byte| match byte {
                b'"' | b'\\' => vec![b'\\', *byte],
                b'\n' => b"\\n".to_vec(),
                b'\r' => b"\\r".to_vec(),
                b'\t' => b"\\t".to_vec(),
                other => vec![*other],
            }).collect()
        };
        let args: Vec<Vec<u8>> = args.iter().map(|arg| [b"\"", &escape(arg.as_bytes())[..], b"\""].concat()).collect();
        let text = [
            format!(r#"Derive([("out","","","")],[],["{}"],"s","/b",["#, store_dir().render_path(&src)).as_bytes(),
            &args.join(&b","[..]), br#"],[("k",""#, &escape(&value), br#""),("out","")])"#,
        ].concat();
        let drv = Derivation::parse(&store_dir(), &path_for("x", "a.drv"), &text).unwrap();
        prop_assert_eq!(drv.env("k"), Some(&value[..]));
        prop_assert_eq!(drv.to_aterm(), text);
    }

    #[test]
    fn nars_come_back(content: Vec<u8>, target in proptest::collection::vec(1_u8..255, 1..50)) {
        let mut encoder = nar::Encoder::new(nar::HashingWriter::new(Vec::new())).unwrap();
        encoder.start_directory(None).unwrap();
        encoder.regular(Some(b"a file"), true, &content).unwrap();
        encoder.symlink(Some(b"link"), &target).unwrap();
        encoder.end_directory().unwrap();
        let (bytes, hash, size) = encoder.finish().unwrap().finish();
        prop_assert_eq!((hash, size), (NarHash::of(&bytes), bytes.len() as u64));
        prop_assert_eq!(nar::list(&mut &bytes[..], 3).unwrap().len(), 3);
        prop_assert!(nar::list(&mut &bytes[..], 2).is_err());
        let found = nar::read_file(&mut &bytes[..], "a file", content.len() as u64).unwrap();
        prop_assert_eq!(found, Some(content.clone()));
        prop_assert!(content.is_empty() || nar::read_file(&mut &bytes[..], "a file", content.len() as u64 - 1).is_err());
    }
}
