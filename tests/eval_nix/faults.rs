//! What goes wrong around a flake: the program, the store, the machine, the user.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use croft::eval::{ErrorKind, EvalError, EvalEvent, Evaluator, SystemSelection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Project, Setup, every_nix};

/// What a stub answers to `nix flake metadata`.
const METADATA: &str = r#"{"url":"path:/x","path":"/nix/store/hrv7z3qsswdi8vwqcda4fjrchf1kri9k-source","locked":{"type":"path"},"locks":{}}"#;

/// A stub that locks, and evaluates with `script`; `$TAG` is what its lines start with.
fn stub(script: &str) -> Setup {
    Setup::stub(&format!(
        "#!/bin/sh\nif [ \"$1\" = flake ]; then echo '{METADATA}'; exit; fi\n\
         TAG=$(printf '%s' \"$*\" | grep -o 'tag = \"croft-[0-9a-f]*' | tail -n 1 | cut -c 8-)\n{script}\n"
    ))
}

fn project() -> Project {
    Project::with_checks("a = make \"a\";")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_nix_is_named() {
    let mut setup = Setup::installed();
    setup.settings.nix = "/nowhere/bin/nix".into();
    let error = setup.lock(&project()).await.unwrap_err();
    assert!(matches!(error, EvalError::MissingNix { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/bin/nix") && error.to_string().contains("CROFT_NIX"));
    assert_eq!(error.kind(), ErrorKind::Usage);
    setup.settings.nix = "no-nix-of-this-name".into();
    assert!(matches!(setup.lock(&project()).await, Err(EvalError::MissingNix { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_down_is_no_fault_of_the_flake() {
    for mut setup in every_nix() {
        setup.settings.store = Some(format!("unix://{}/no-socket", setup.root.path().display()));
        let error = setup.lock(&project()).await.unwrap_err();
        assert!(matches!(error, EvalError::DaemonDown { .. }), "{}: {error}", setup.version);
        assert_eq!(error.kind(), ErrorKind::Infrastructure);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_is_no_fault_of_the_flake() {
    let can_mount = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).status();
    if !can_mount.is_ok_and(|status| status.success()) {
        eprintln!("skipping: this user cannot mount");
        return;
    }
    for setup in every_nix().into_iter().filter(|setup| setup.settings.store.is_some()) {
        let real = setup.settings.nix.display().to_string();
        let (root, settings) = (setup.root.path().display().to_string(), setup.settings.clone());
        assert_eq!(setup.evaluate(&project()).await.names(), ["a"]);
        let mut broken = Setup::stub(&format!(
            "#!/bin/sh\nexec unshare -m sh -c 'mount --bind {root} {root} && mount -o remount,ro,bind {root} && exec {real} \"$@\"' sh \"$@\"\n"
        ));
        broken.settings.store = settings.store;
        let error = broken.evaluate(&Project::with_checks("b = make \"b\";")).await.result.unwrap_err();
        assert!(matches!(error, EvalError::StoreReadOnly { .. }), "{}: {error}", setup.version);
        assert_eq!(error.kind(), ErrorKind::Infrastructure);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_is_cut_is_never_no_cells() {
    let log = "echo try >>\"$(dirname \"$0\")/tries\"\n";
    for script in [
        "exit 0".to_owned(),
        "echo '{\"done\":'".to_owned(),
        "echo \"trace: $TAG found {\\\"known\\\":[\" >&2; echo '{\"done\":1}'".to_owned(),
        "echo '{\"done\":1}'; kill -SEGV $$".to_owned(),
    ] {
        let setup = stub(&format!("{log}{script}"));
        let outcome = setup.evaluate(&project()).await;
        let error = outcome.result.unwrap_err();
        assert!(matches!(error, EvalError::Crashed { tries: 3, .. }), "{script}: {error}");
        assert_eq!(error.kind(), ErrorKind::Infrastructure);
        assert!(outcome.events.is_empty());
        assert_eq!(
            fs::read_to_string(setup.root.path().join("tries")).unwrap().lines().count(),
            3,
            "{script}"
        );
    }
    let setup = Setup::stub("#!/bin/sh\necho '{\"path\":'\n");
    assert!(matches!(setup.lock(&project()).await, Err(EvalError::Crashed { tries: 3, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_over_one_cell_is_tried_again_and_then_is_that_cell() {
    let found = r#"{\"known\":[\"s\"],\"total\":2,\"cells\":[{\"system\":\"s\",\"name\":\"a\"},{\"system\":\"s\",\"name\":\"b\"}]}"#;
    let drv = r#"{\"drv\":\"/nix/store/hrv7z3qsswdi8vwqcda4fjrchf1kri9k-x.drv\",\"system\":\"s\"}"#;
    let setup = stub(&format!(
        "case \"$*\" in *'only = null; first'*) echo \"trace: $TAG found {found}\" >&2; echo \"trace: $TAG cell 0 {drv}\" >&2;;\n\
         *) echo \"trace: $TAG found null\" >&2;; esac\nkill -SEGV $$"
    ));
    let outcome = setup.evaluate(&project()).await;
    assert_eq!(outcome.names(), ["a"]);
    assert!(outcome.error_of("b").to_string().contains("signal 11"), "{}", outcome.error_of("b"));
    assert_eq!(outcome.summary().children, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_bounded() {
    let words =
        "head -c 1000000000 /dev/zero | tr '\\0' x >&2; printf '\\nerror: after the flood\\n' >&2; exit 1";
    let error = stub(words).evaluate(&project()).await.result.unwrap_err();
    assert!(error.to_string().ends_with("after the flood"), "{error}");
    assert!(peak_memory_mib() < 400, "{} MiB", peak_memory_mib());
    for script in [
        "yes",
        "yes \"trace: $TAG broken 1\" >&2",
        "printf \"trace: $TAG cell 1 \" >&2; yes | tr -d '\\n' >&2",
    ] {
        let mut setup = stub(script);
        setup.settings.output_cap = 1 << 20;
        let started = Instant::now();
        let error = setup.evaluate(&project()).await.result.unwrap_err();
        let is_bounded = matches!(error, EvalError::OutputTooBig { .. } | EvalError::Crashed { .. });
        assert!(is_bounded, "{script}: {error}");
        assert!(started.elapsed().as_secs() < 20);
    }
}

fn peak_memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_the_process_group_is_killed_too() {
    let has_groups =
        fs::read_dir("/sys/fs/cgroup/unified").is_ok() || fs::metadata("/sys/fs/cgroup/cgroup.procs").is_ok();
    let setup = stub(
        "setsid sleep 1000 </dev/null >/dev/null 2>&1 &\nsleep 1000 &\nprintf 'error: gone\\n' >&2; exit 1",
    );
    let locked = setup.lock(&project()).await.unwrap();
    if has_groups {
        let outcome = setup.evaluate_locked(&locked, SystemSelection::All).await;
        assert!(outcome.result.is_err());
    } else {
        eprintln!("skipping: no control groups of version 2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_everything_within_a_second() {
    let project = Project::with_checks(
        r#"a = make "a"; z = builtins.foldl' (n: _: builtins.foldl' (m: _: m + 1) n (builtins.genList (x: x) 100000)) 0 (builtins.genList (x: x) 10000000);"#,
    );
    for setup in every_nix() {
        let locked = setup.lock(&project).await.unwrap();
        let evaluator = Evaluator::new(setup.settings.clone());
        let (tx, mut rx) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let stop = async {
            // The first cell is told while the second still loops.
            while !matches!(rx.recv().await, Some(EvalEvent::Cell(_))) {}
            assert!(!setup.survivors().is_empty());
            cancel.cancel();
            Instant::now()
        };
        let run = async {
            let result = evaluator.evaluate(&locked, &SystemSelection::All, tx, cancel.clone()).await;
            (result, Instant::now())
        };
        let ((result, ended), cancelled) = tokio::join!(run, stop);
        assert!(matches!(result, Err(EvalError::Cancelled)), "{result:?}");
        assert!(ended - cancelled < Duration::from_secs(1), "{:?}", ended - cancelled);
        setup.assert_no_survivor();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_evaluation_kills_its_children() {
    let setup = Setup::installed();
    let project = Project::with_checks(
        "a = make \"a\"; z = builtins.match \"(a|aa)*b\" (builtins.concatStringsSep \"\" (builtins.genList (x: \"a\") 200));",
    );
    let locked = setup.lock(&project).await.unwrap();
    let evaluator = Evaluator::new(setup.settings.clone());
    let (tx, mut rx) = mpsc::channel(16);
    {
        let run = evaluator.evaluate(&locked, &SystemSelection::All, tx, CancellationToken::new());
        let told = async { while !matches!(rx.recv().await, Some(EvalEvent::Cell(_)) | None) {} };
        tokio::select! { result = run => panic!("{result:?}"), () = told => {} }
    }
    let dropped = Instant::now();
    while !setup.survivors().is_empty() {
        assert!(dropped.elapsed() < Duration::from_secs(2), "{:?}", setup.survivors());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_evaluation_has_a_deadline() {
    let project = Project::with_checks(
        "z = builtins.match \"(a|aa)*b\" (builtins.concatStringsSep \"\" (builtins.genList (x: \"a\") 200));",
    );
    let mut setup = Setup::installed();
    setup.settings.total = Duration::from_secs(2);
    let started = Instant::now();
    let error = setup.evaluate(&project).await.result.unwrap_err();
    assert!(matches!(error, EvalError::Timeout { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4));
}
