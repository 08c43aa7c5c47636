//! The client against real daemons: that of PATH and every version below `CROFT_NIX_VERSIONS`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and speak"
)]

mod nix_support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use croft::nix::daemon::{
    BuildMode, BuildOutcome, BuildResult, ClientError, ClientSettings, DerivedPath, Discard, FailureStatus,
    LogEvent, OnFailure, Substitution, SuccessStatus, Trust,
};
use croft::nix::{DrvPath, OutputName, StoreDir, StorePath};
use nix_support::{LiveNix, StdioClient, Trusted, prelude, scripts};

fn out() -> OutputName {
    OutputName::new("out").unwrap()
}

fn failure(result: &BuildResult) -> Option<FailureStatus> {
    match &result.outcome {
        BuildOutcome::Failure { status, .. } => Some(*status),
        BuildOutcome::Success { .. } | BuildOutcome::NotRun => None,
    }
}

fn output(result: &BuildResult) -> StorePath {
    match &result.outcome {
        BuildOutcome::Success { outputs, .. } => outputs[&out()].clone(),
        other @ (BuildOutcome::Failure { .. } | BuildOutcome::NotRun) => panic!("{other:?}"),
    }
}

async fn build_all(client: &mut StdioClient, drvs: &[DrvPath], mode: BuildMode) -> Vec<BuildResult> {
    let targets: Vec<_> = drvs.iter().cloned().map(DerivedPath::all_of).collect();
    client.build_paths_with_results(&targets, mode, &mut Discard).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_options_and_text() {
    for nix in LiveNix::all() {
        let (mut client, _child) = nix.connect().await;
        let old = client.daemon_version().starts_with("2.8");
        assert_eq!(client.protocol_version().minor, if old { 34 } else { 38 }, "{}", nix.name);
        assert_eq!(client.trusted(), if old { Trust::Unknown } else { Trust::Trusted });
        client.set_options(&ClientSettings::default()).await.unwrap();

        let text = client.add_text_to_store("hello.txt", b"hello\n", &BTreeSet::new()).await.unwrap();
        assert!(client.is_valid_path(&text.path).await.unwrap());
        assert_eq!(client.query_path_info(&text.path).await.unwrap().unwrap().nar_hash, text.nar_hash);
        let stranger = StorePath::from_parts([1; 20], "nothing").unwrap();
        assert_eq!(client.query_path_info(&stranger).await.unwrap(), None);
        let both = BTreeSet::from([text.path.clone(), stranger.clone()]);
        let valid = client.query_valid_paths(&both, Substitution::Forbid).await.unwrap();
        assert_eq!(valid, BTreeSet::from([text.path.clone()]));
        assert_eq!(client.hold_valid_paths(&both).await.unwrap(), valid);
        assert!(client.query_substitutable_paths(&both).await.unwrap().is_empty());
        client.ensure_path(&text.path).await.unwrap();
        client.add_signatures(&text.path, &BTreeSet::from(["k-1:c2ln".to_owned()])).await.unwrap_or_else(
            |error| {
                panic!("{}: {error}", nix.name);
            },
        );
        assert!(client.is_usable());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passing_failing_and_never_begun_builds() {
    for nix in LiveNix::all() {
        let drvs = nix.instantiate(&format!(
            "{} let bad = drv \"bad\" {{}} \"echo no; exit 3\"; in [ (drv \"good\" {{}} \"echo hi > $out\") bad \
             (drv \"after\" {{ inherit bad; }} \"echo $bad > $out\") (drv \"silent\" {{}} \"exit 0\") \
             (drv \"wrong\" {{ outputHashMode = \"flat\"; outputHashAlgo = \"sha256\"; outputHash = \
             \"0000000000000000000000000000000000000000000000000000\"; }} \"echo > $out\") ]",
            prelude()
        ));
        let (mut client, _child) = nix.connect().await;
        client.set_options(&ClientSettings::default()).await.unwrap();
        let results = build_all(&mut client, &drvs, BuildMode::Normal).await;
        let good = output(&results[0]);
        assert_eq!(Some(good.clone()), nix.parse(&drvs[0]).output_path(&out()));
        assert!(client.is_valid_path(&good).await.unwrap());
        let statuses: Vec<_> = results.iter().map(failure).collect();
        let expected = [
            None,
            Some(FailureStatus::Permanent),
            Some(FailureStatus::DependencyFailed),
            Some(FailureStatus::OutputRejected),
            Some(FailureStatus::OutputRejected),
        ];
        assert_eq!(statuses, expected, "{}: {results:?}", nix.name);

        let again = build_all(&mut client, &drvs[..1], BuildMode::Normal).await;
        assert!(matches!(
            again[0].outcome,
            BuildOutcome::Success { status: SuccessStatus::AlreadyValid, .. }
        ));
        let missing = client.query_missing(&[DerivedPath::all_of(drvs[2].clone())]).await.unwrap();
        assert_eq!(missing.will_build.len(), 2);
        let map = client.query_derivation_output_map(&drvs[0]).await.unwrap();
        assert_eq!(map[&out()], Some(good));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_machine_cannot_build_is_refused_in_one_of_three_ways() {
    for nix in LiveNix::all() {
        let drvs = nix.instantiate(&format!(
            "{} [ (drv \"elsewhere\" {{ system = \"riscv64-linux\"; }} \"echo > $out\") \
             (drv \"choosy\" {{ requiredSystemFeatures = [ \"nonesuch\" ]; }} \"echo > $out\") ]",
            prelude()
        ));
        for drv in drvs {
            let (mut client, _child) = nix.connect().await;
            client.set_options(&ClientSettings::default()).await.unwrap();
            // BuildPathsWithResults: an error for the whole operation, whatever else was asked for, or a result.
            let targets = [DerivedPath::all_of(drv.clone())];
            let answer = client.build_paths_with_results(&targets, BuildMode::Normal, &mut Discard).await;
            let is_new = client.daemon_version().starts_with("2.34");
            match answer {
                Ok(results) if is_new => assert_eq!(failure(&results[0]), Some(FailureStatus::InputRejected)),
                Err(ClientError::Daemon(_)) if !is_new => assert!(!client.is_usable()),
                other => panic!("{}: {other:?}", nix.name),
            }
            // BuildDerivation: a result, of different status.
            let (mut client, _child) = nix.connect().await;
            let basic = nix.parse(&drv).to_basic([]);
            let result =
                client.build_derivation(&drv, &basic, BuildMode::Normal, &mut Discard).await.unwrap();
            let status = if is_new { FailureStatus::InputRejected } else { FailureStatus::Misc };
            assert_eq!(failure(&result), Some(status), "{}", nix.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_at_the_first_failure_reports_the_rest_as_not_run() {
    for nix in LiveNix::all() {
        let drvs = nix.instantiate(&scripts(&[
            ("bad", "exit 1"),
            ("later1", "echo > $out"),
            ("later2", "echo > $out"),
        ]));
        let (mut client, _child) = nix.connect().await;
        let settings = ClientSettings { on_failure: OnFailure::Stop, ..ClientSettings::default() };
        client.set_options(&settings).await.unwrap();
        let results = build_all(&mut client, &drvs, BuildMode::Normal).await;
        assert_eq!(results.len(), 3);
        // Which is begun first is the daemon's choice; none may be reported as failed but the one that did.
        assert!(
            failure(&results[1]).is_none() && failure(&results[2]).is_none(),
            "{}: {results:?}",
            nix.name
        );
        assert!(results.iter().any(|result| failure(result) == Some(FailureStatus::Permanent)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_check_mode() {
    for nix in LiveNix::all() {
        let drvs = nix.instantiate(&scripts(&[
            ("slow", "sleep 60; echo > $out"),
            ("noisy", "while :; do echo 0123456789012345678901234567890123456789; done"),
            ("random", "cat /proc/sys/kernel/random/uuid > $out"),
            ("steady", "echo same > $out"),
        ]));
        let (mut client, _child) = nix.connect().await;
        let limits = ClientSettings {
            timeout: Some(Duration::from_millis(900)),
            max_log_bytes: Some(100_000),
            ..ClientSettings::default()
        };
        client.set_options(&limits).await.unwrap();
        let results = build_all(&mut client, &drvs, BuildMode::Normal).await;
        assert_eq!(failure(&results[0]), Some(FailureStatus::TimedOut), "{}: {results:?}", nix.name);
        assert_eq!(failure(&results[1]), Some(FailureStatus::LogLimitExceeded), "{}: {results:?}", nix.name);
        let checked = build_all(&mut client, &drvs[2..], BuildMode::Check).await;
        assert_eq!(failure(&checked[0]), Some(FailureStatus::NotDeterministic), "{}: {checked:?}", nix.name);
        assert!(checked[1].is_success(), "{}: {checked:?}", nix.name);

        let (mut client, _child) = nix.connect().await;
        let silence =
            ClientSettings { max_silent: Some(Duration::from_secs(1)), ..ClientSettings::default() };
        client.set_options(&silence).await.unwrap();
        let results = build_all(&mut client, &drvs[..1], BuildMode::Normal).await;
        assert_eq!(failure(&results[0]), Some(FailureStatus::TimedOut), "{}: {results:?}", nix.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_carry_their_build_and_its_phases() {
    const SCRIPT: &str = r#"echo 1st; echo '@nix {"action":"setPhase","phase":"checkPhase"}' >&2; \
        printf 'ends without newline \377' >&2; echo > $out"#;
    for nix in LiveNix::all() {
        let drvs = nix.instantiate(&scripts(&[("one", SCRIPT), ("two", "echo of two; exit 1")]));
        let (mut client, _child) = nix.connect().await;
        client.set_options(&ClientSettings { max_jobs: 2, ..ClientSettings::default() }).await.unwrap();
        let targets: Vec<_> = drvs.iter().cloned().map(DerivedPath::all_of).collect();
        let mut events: Vec<LogEvent> = Vec::new();
        client.build_paths_with_results(&targets, BuildMode::Normal, &mut events).await.unwrap();
        let id_of = |drv: &DrvPath| {
            let started = events.iter().find_map(|event| match event {
                LogEvent::Start(activity)
                    if activity.built_drv(&StoreDir::default()).as_ref() == Some(drv) =>
                {
                    Some(activity.id)
                }
                _ => None,
            });
            started.unwrap_or_else(|| panic!("{}: no build of {drv}", nix.name))
        };
        let lines_of = |drv| -> Vec<Vec<u8>> {
            let id = id_of(drv);
            let line = |event: &LogEvent| match event {
                LogEvent::BuildLog { activity, line } if *activity == id => Some(line.clone()),
                _ => None,
            };
            events.iter().filter_map(line).collect()
        };
        assert_eq!(lines_of(&drvs[0]), [&b"1st"[..], b"ends without newline \xff"], "{}", nix.name);
        assert_eq!(lines_of(&drvs[1]), [b"of two"], "{}", nix.name);
        let phase = LogEvent::Phase { activity: id_of(&drvs[0]), phase: b"checkPhase".to_vec() };
        assert!(events.contains(&phase), "{}", nix.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_connection_kills_the_builder() {
    for nix in LiveNix::all() {
        let drvs = nix.instantiate(&scripts(&[("endless", "while :; do echo tick; sleep 0.1; done")]));
        let server = nix.serve(Trusted::Yes).await;
        let mut client = nix.connect_to_socket().await.unwrap();
        let (sender, mut ticks) = tokio::sync::mpsc::channel(4);
        let targets = [DerivedPath::all_of(drvs[0].clone())];
        let mut sink = sender;
        {
            let build = client.build_paths_with_results(&targets, BuildMode::Normal, &mut sink);
            let ticked = async { while !matches!(ticks.recv().await, Some(LogEvent::BuildLog { .. })) {} };
            tokio::select! {
                result = build => panic!("{}: ended: {result:?}", nix.name),
                () = ticked => {}
            }
        }
        assert!(!client.is_usable());
        let error = client.is_valid_path(drvs[0].as_store_path()).await.unwrap_err();
        assert!(matches!(error, ClientError::Poisoned), "{error}");
        let builders = || processes_with("echo tick; sleep 0.1", &nix);
        assert!(builders() > 0, "{}: the test does not see its builder", nix.name);
        let start = Instant::now();
        drop(client);
        while builders() > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "{}: the builder lives on", nix.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(server);
    }
}

/// How many processes have `text` in their command line and belong to the store of `nix`.
fn processes_with(text: &str, nix: &LiveNix) -> usize {
    let root = nix.root();
    let belongs = |process: &std::path::Path| {
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let command = command.escape_ascii().to_string();
        let mounts = std::fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        command.contains(text) && mounts.contains(root.to_str().unwrap())
    };
    std::fs::read_dir("/proc").unwrap().filter(|entry| belongs(&entry.as_ref().unwrap().path())).count()
}
