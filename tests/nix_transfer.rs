//! Moving paths between real stores, keys of real derivations, trust and garbage collection.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

mod nix_support;

use std::collections::BTreeSet;

use croft::nix::daemon::{
    BuildMode, BuildOutcome, ClientError, DerivedPath, Discard, FailureStatus, NarToAdd, PathInfo,
    SignatureCheck, Trust,
};
use croft::nix::{DrvKey, DrvPath, KeyTable, NarHash, OutputName, StoreDir, StorePath, hash, key, nar};
use futures_util::stream;
use nix_support::{LiveNix, StdioClient, Trusted, prelude, scripts};

fn out() -> OutputName {
    OutputName::new("out").unwrap()
}

async fn download(client: &mut StdioClient, path: &StorePath) -> (PathInfo, Vec<u8>) {
    let mut bytes = Vec::new();
    let info = client.nar_from_path(path, &mut bytes).await.unwrap();
    (info, bytes)
}

/// The closure of derivation files below a root, references first.
async fn drv_closure(client: &mut StdioClient, root: &DrvPath) -> Vec<(PathInfo, Vec<u8>)> {
    let mut ordered: Vec<(PathInfo, Vec<u8>)> = Vec::new();
    let mut waiting = vec![root.as_store_path().clone()];
    while let Some(path) = waiting.last().cloned() {
        let known = |path: &StorePath| ordered.iter().any(|(info, _)| info.path == *path);
        if known(&path) {
            waiting.pop();
            continue;
        }
        let (info, bytes) = download(client, &path).await;
        let before: Vec<_> = info.references.iter().filter(|path| !known(path)).cloned().collect();
        if before.is_empty() {
            ordered.push((info, bytes));
        }
        waiting.extend(before);
    }
    ordered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closure_moves_from_store_to_store_and_is_built_there() {
    const EXPRESSION: &str = "let src = builtins.toFile \"src\" \"source\"; \
        a = drv \"a\" {} \"echo a > $out\"; b = drv \"b\" { inherit a src; } \"cat $a $src > $out\"; in [ b ]";
    for nix in LiveNix::all() {
        let expression =
            format!("{} {}", prelude().trim_end_matches(" in"), EXPRESSION.trim_start_matches("let "));
        let b = nix.instantiate(&expression).remove(0);
        let (mut from, _from) = nix.connect().await;
        let closure = drv_closure(&mut from, &b).await;
        assert_eq!(closure.len(), 3, "{}", nix.name);

        let other = nix.sibling();
        let (mut to, _to) = other.connect().await;
        let count = closure.len() as u64;
        let paths = closure.iter().map(|(info, bytes)| Ok(NarToAdd { info: info.clone(), nar: &bytes[..] }));
        to.add_multiple_to_store(count, stream::iter(paths), SignatureCheck::Skip).await.unwrap();
        let mut events = Vec::new();
        let results = to
            .build_paths_with_results(&[DerivedPath::all_of(b.clone())], BuildMode::Normal, &mut events)
            .await
            .unwrap();
        let BuildOutcome::Success { outputs, .. } = &results[0].outcome else { panic!("{results:?}") };
        let (info, bytes) = download(&mut to, &outputs[&out()]).await;
        assert_eq!(info.nar_hash, NarHash::of(&bytes));
        let content = nar::read_file(&mut &bytes[..], "", 100).unwrap().unwrap();
        assert_eq!(content, b"a\nsource");

        // Back into the first store, as one path, and again as a .drv text with the same path.
        let back = NarToAdd { info: PathInfo { references: BTreeSet::new(), ..info }, nar: &bytes[..] };
        from.add_nar(back, SignatureCheck::Skip).await.unwrap();
        assert!(from.is_valid_path(&outputs[&out()]).await.unwrap());
        let drv = nix.parse(&b);
        let text = from.add_text_to_store("b.drv", &drv.to_aterm(), &drv.references()).await.unwrap();
        assert_eq!(text.path, *b.as_store_path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_uploads_are_refused_and_end_the_connection() {
    for nix in LiveNix::all() {
        let (mut client, _child) = nix.connect().await;
        let text = client.add_text_to_store("t", b"text", &BTreeSet::new()).await.unwrap();
        let (info, bytes) = download(&mut client, &text.path).await;
        let path = StorePath::from_parts([7; 20], "copy").unwrap();
        let stranger = StorePath::from_parts([8; 20], "stranger").unwrap();
        let fresh = PathInfo { path, ca: None, ..info };
        let big_garbage = vec![b'x'; 8 << 20];
        let garbage_hash = NarHash::of(&big_garbage);
        let garbage = PathInfo { nar_hash: garbage_hash, nar_size: 8 << 20, ..fresh.clone() };
        let missing = PathInfo { references: BTreeSet::from([stranger]), ..fresh.clone() };
        let wrong_hash = PathInfo { nar_hash: garbage_hash, ..fresh.clone() };
        let too_long = PathInfo { nar_size: fresh.nar_size + 8, ..fresh.clone() };
        for (what, info, nar, by_daemon) in [
            ("garbage", garbage, &big_garbage, true),
            ("missing reference", missing, &bytes, true),
            ("wrong hash", wrong_hash, &bytes, false),
            ("short", too_long, &bytes, false),
        ] {
            let (mut client, _child) = nix.connect().await;
            let path = info.path.clone();
            let error =
                client.add_nar(NarToAdd { info, nar: &nar[..] }, SignatureCheck::Skip).await.unwrap_err();
            assert_eq!(matches!(error, ClientError::Daemon(_)), by_daemon, "{} {what}: {error}", nix.name);
            assert_eq!(
                matches!(error, ClientError::Corrupt { .. }),
                !by_daemon,
                "{} {what}: {error}",
                nix.name
            );
            assert!(!client.is_usable());
            drop(client);
            let (mut client, _child) = nix.connect().await;
            assert!(!client.is_valid_path(&path).await.unwrap(), "{} {what}", nix.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_whose_files_are_gone_is_an_error_and_no_hang() {
    for nix in LiveNix::all() {
        let (mut client, _child) = nix.connect().await;
        let text = client.add_text_to_store("gone", b"text", &BTreeSet::new()).await.unwrap();
        let stranger = StorePath::from_parts([8; 20], "stranger").unwrap();
        let error = client.nar_from_path(&stranger, &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, ClientError::NotValid(_)) && client.is_usable(), "{error}");
        std::fs::remove_file(nix.store_file(&StoreDir::default().render_path(&text.path))).unwrap();
        let error = client.nar_from_path(&text.path, &mut Vec::new()).await.unwrap_err();
        assert!(matches!(error, ClientError::Daemon(_)), "{}: {error:?}", nix.name);
        assert!(!client.is_usable());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_client_cannot_skip_signatures_nor_build_without_the_drv() {
    for nix in LiveNix::all() {
        let drv = nix.instantiate(&scripts(&[("one", "echo > $out")])).remove(0);
        let basic = nix.parse(&drv).to_basic([]);
        let _server = nix.serve(Trusted::No).await;
        let mut client = nix.connect_to_socket().await.unwrap();
        let text = client.add_text_to_store("t", b"text", &BTreeSet::new()).await.unwrap();
        let mut bytes = Vec::new();
        let info = client.nar_from_path(&text.path, &mut bytes).await.unwrap();
        let build = client.build_derivation(&drv, &basic, BuildMode::Normal, &mut Discard).await;
        match client.trusted() {
            Trust::Unknown => assert!(matches!(build, Err(ClientError::Daemon(_))), "{build:?}"),
            Trust::NotTrusted => assert!(matches!(build, Err(ClientError::NotTrusted(_))), "{build:?}"),
            Trust::Trusted => panic!("{}: trusted after all", nix.name),
        }
        let mut client = nix.connect_to_socket().await.unwrap();
        let path = StorePath::from_parts([9; 20], "unsigned").unwrap();
        let unsigned = PathInfo { path, ca: None, ..info };
        let error = client.add_nar(NarToAdd { info: unsigned, nar: &bytes[..] }, SignatureCheck::Skip).await;
        assert!(matches!(error, Err(ClientError::Daemon(_))), "{}: {error:?}", nix.name);
        // What is left: the .drv itself, then a build of it.
        let mut client = nix.connect_to_socket().await.unwrap();
        let targets = [DerivedPath::all_of(drv)];
        let results =
            client.build_paths_with_results(&targets, BuildMode::Normal, &mut Discard).await.unwrap();
        assert!(results[0].is_success(), "{}: {results:?}", nix.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn held_paths_survive_a_garbage_collection_until_the_connection_ends() {
    for nix in LiveNix::all() {
        let (mut adder, adder_child) = nix.connect().await;
        let text = adder.add_text_to_store("held", b"text", &BTreeSet::new()).await.unwrap();
        let (mut holder, mut child) = nix.connect().await;
        let wanted = BTreeSet::from([text.path.clone()]);
        assert_eq!(holder.hold_valid_paths(&wanted).await.unwrap(), wanted);
        drop(adder);
        let collect = || nix.command("nix-store", Trusted::Yes).arg("--gc").output().unwrap();
        assert!(collect().status.success());
        assert!(holder.is_valid_path(&text.path).await.unwrap(), "{}", nix.name);
        drop(holder);
        child.wait().await.unwrap();
        drop(adder_child);
        assert!(collect().status.success());
        let (mut client, _child) = nix.connect().await;
        assert!(!client.is_valid_path(&text.path).await.unwrap(), "{}", nix.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn build_derivation_needs_no_drv_in_the_store() {
    for nix in LiveNix::all() {
        let drvs = nix.instantiate(&scripts(&[("pass", "echo built; echo > $out"), ("fail", "exit 1")]));
        let other = nix.sibling();
        let (mut client, _child) = other.connect().await;
        let mut events = Vec::new();
        let drv = nix.parse(&drvs[0]);
        let result = client
            .build_derivation(&drvs[0], &drv.to_basic([]), BuildMode::Normal, &mut events)
            .await
            .unwrap();
        assert!(result.is_success(), "{}: {result:?}", nix.name);
        assert!(client.is_valid_path(&drv.output_path(&out()).unwrap()).await.unwrap());
        assert!(events.iter().any(
            |event| matches!(event, croft::nix::daemon::LogEvent::BuildLog { line, .. } if line == b"built")
        ));
        let drv = nix.parse(&drvs[1]).to_basic([]);
        let result = client.build_derivation(&drvs[1], &drv, BuildMode::Normal, &mut Discard).await.unwrap();
        assert!(matches!(result.outcome, BuildOutcome::Failure { status: FailureStatus::Permanent, .. }));
    }
}

/// What `nix realisation info` says; how it wants to be asked depends on the version.
fn realisation_infos(nix: &LiveNix, drv: &DrvPath) -> String {
    let drv = drv.absolute(&StoreDir::default());
    let ask = |installable: String| {
        let out =
            nix.command("nix", Trusted::Yes).args(["realisation", "info", "--json", &installable]).output();
        String::from_utf8(out.unwrap().stdout).unwrap()
    };
    ask(drv.clone()) + &ask(format!("{drv}^out"))
}

const MATRIX: &str = r#"
  let fetch = url: drv "src" { inherit url; outputHashMode = "flat"; outputHashAlgo = "sha256";
        outputHash = "0000000000000000000000000000000000000000000000000000"; } "download ${url}";
      many = drv "many" { outputs = [ "out" "dev" ]; src = fetch "a"; } "echo \"\n\t\\ ünï\" > $out; echo > $dev";
      structured = drv "structured" { __structuredAttrs = true; list = [ 1 2.5 { a = null; } ]; inherit many; } "x";
      floating = drv "floating" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; inherit many; } "echo hi > $out";
      deferred = drv "deferred" { inherit floating structured; dev = many.dev; } "cat $floating > $out";
      floatier = drv "floatier" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; inherit floating; } "echo hi > $out";
      small = drv "small" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; } "echo small > $out";
      next = drv "next" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; inherit small; } "cat $small > $out; echo next >> $out";
  in [ (fetch "a") (fetch "b") many (drv "many" { outputs = [ "out" "dev" ]; src = fetch "b"; } "echo \"\n\t\\ ünï\" > $out; echo > $dev")
       structured floating deferred floatier small next ]"#;

#[tokio::test(flavor = "multi_thread")]
async fn keys_decide_the_output_paths_of_real_derivations() {
    for nix in LiveNix::all() {
        let expression =
            format!("{}{}", prelude().trim_end_matches(" in"), MATRIX.trim_start().trim_start_matches("let"));
        let drvs: Vec<_> = nix.instantiate(&expression);
        let mut table = KeyTable::new();
        let mut keys: Vec<DrvKey> = Vec::new();
        for path in &drvs {
            let bytes = nix.read_drv(path);
            let drv = nix.parse(path);
            assert_eq!(drv.to_aterm(), bytes, "{}: {path}", nix.name);
            assert_eq!(drv.computed_path().as_ref(), Some(path));
            let own = table.key(&drv).unwrap();
            for (name, known) in drv.outputs() {
                if !drv.is_fixed_output() && known.is_some() {
                    assert_eq!(key::output_path(&drv, own, &name), known, "{}: {path}", nix.name);
                }
            }
            keys.push(own);
        }
        let [a, b, many_a, many_b, .., small, next] = keys[..] else { panic!() };
        assert_eq!((a, many_a), (b, many_b), "a URL must not change a key");
        assert_ne!(drvs[2], drvs[3], "but it changes the derivation path");
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 8);

        // Nix itself names realisations of floating outputs by this hash, up to 2.34.
        let (mut client, _child) = nix.connect().await;
        let targets = [DerivedPath::all_of(drvs[9].clone())];
        let results =
            client.build_paths_with_results(&targets, BuildMode::Normal, &mut Discard).await.unwrap();
        let BuildOutcome::Success { outputs, .. } = &results[0].outcome else { panic!("{results:?}") };
        for (drv, own) in [(&drvs[8], small), (&drvs[9], next)] {
            assert!(client.query_derivation_output_map(drv).await.unwrap()[&out()].is_some());
            let id = format!("\"sha256:{}!out\"", hash::to_base16(own.as_bytes()));
            let spoken = realisation_infos(&nix, drv);
            assert!(spoken.contains(&id), "{}: {spoken} lacks {id}", nix.name);
        }
        assert!(outputs[&out()].name() == "next");
    }
}
