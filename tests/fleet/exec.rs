//! Providers that are programs: the example, for real, and programs that do what they must not.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use croft::{
    config::{ExecSettings, Span},
    fleet::{Class, ExecProvider, InstanceState, MachineProvider, ProviderError},
};

use crate::support::{Farm, address, has, instance_id, machine, processes_mentioning, until};

fn provider(farm: &Farm, command: &[&str], timeout: u64) -> ExecProvider {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    ExecProvider::new(ExecSettings { command, timeout: Span::seconds(timeout) }, farm.id)
}

/// Ends what the example has started, also when the test fails.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        for pid in processes_mentioning(self.0) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_launches_a_machine_that_builds_and_leaves_nothing() {
    if !rustix::process::getuid().is_root() || !has("unshare") || !has("sshd") || !has("python3") {
        eprintln!("skipped: the example needs root, unshare, sshd and python3");
        return;
    }
    let farm = Farm::new();
    let root = farm.dir.path().join("namespaces");
    let _ended = Ended(&root);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/provider/namespaces");
    let state = format!("CROFT_NAMESPACES={}", root.display());
    let provider = provider(&farm, &["env", &state, example.to_str().unwrap()], 60);
    let machine = machine();
    let id = instance_id(machine);
    let order = farm.order(machine, Duration::from_secs(120));

    assert_eq!(provider.list().await.unwrap(), []);
    let (one, other) = tokio::join!(provider.launch(&order), provider.launch(&order));
    let one = one.unwrap();
    assert_eq!((&one, one.state), (&other.unwrap(), InstanceState::Running));
    let reached = address(one.address.as_ref());
    farm.wait_for_ssh(&reached);
    let said = farm.build(&reached, "in-a-namespace");
    assert!(said.contains("nixbld"), "not built by a build user: {said}");
    assert_eq!(provider.list().await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(provider.get(&id).await.unwrap(), one);

    let dormancy = provider.dormancy().unwrap();
    dormancy.stop(&id).await.unwrap();
    assert_eq!(provider.get(&id).await.unwrap().state, InstanceState::Stopped);
    assert_eq!(processes_mentioning(&root), Vec::<i32>::new());
    dormancy.start(&id).await.unwrap();
    let reached = address(provider.get(&id).await.unwrap().address.as_ref());
    farm.wait_for_ssh(&reached);
    let found = farm.ssh(&reached, "cat /nix/store/*-in-a-namespace");
    assert_eq!(String::from_utf8_lossy(&found.stdout), "in-a-namespace\n");
    let console = String::from_utf8_lossy(&provider.console(&id).await.unwrap()).into_owned();
    assert!(console.contains("Server listening"), "{console}");

    provider.terminate(&id).await.unwrap();
    provider.terminate(&id).await.unwrap();
    until("all of its processes are gone", || processes_mentioning(&root).is_empty());
    assert_eq!(provider.list().await.unwrap(), []);
    assert_eq!(provider.get(&id).await.unwrap_err().class, Class::Gone);
    assert!(!root.join(machine.to_string()).exists());
}

/// What becomes of a call when the program is this shell script.
async fn asked(farm: &Farm, script: &str, timeout: u64) -> ProviderError {
    let file = farm.dir.path().join("provider");
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    provider(farm, &["/bin/sh", file.to_str().unwrap()], timeout).list().await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_misbehaves_is_bounded_and_told_by_its_words() {
    let farm = Farm::new();
    let expect = async |script: &str, class: Class, words: &str| {
        let error = asked(&farm, script, 60).await;
        let text = error.to_string();
        assert!(error.class == class && text.contains(words), "{script}: {text}");
        assert!(text.len() < 2000 && !text.chars().any(char::is_control), "{text:?}");
    };
    expect("cat >/dev/null; head -c 1073741824 /dev/zero", Class::Invalid, "more than 4 MiB").await;
    expect("head -c 1073741824 /dev/zero >&2; exit 3", Class::Retry, "ended with code 3").await;
    expect("echo '{\"v\":1'", Class::Invalid, "did not answer as docs/write-a-provider.md says").await;
    expect("echo '{\"v\":7,\"instances\":[]}'", Class::Invalid, "version 7").await;
    expect("echo '{\"v\":1}'", Class::Invalid, "no \"instances\"").await;
    expect("printf 'no \\033[31mquota\\n' >&2; exit 9", Class::Retry, "it said: no [31mquota").await;
    expect("kill -9 $$", Class::Retry, "was killed").await;
    let refused = "echo '{\"v\":1,\"error\":{\"class\":\"quota\",\"message\":\"8 of 8\\u0007\"}}'; exit 1";
    expect(refused, Class::Quota, "8 of 8").await;
    // One that reads nothing of what it is asked.
    expect("exec <&-; echo '{\"v\":1,\"error\":{\"class\":\"capacity\"}}'", Class::Capacity, "no capacity")
        .await;
    let none = provider(&farm, &["/no/such/provider"], 60).list().await.unwrap_err();
    assert!(none.class == Class::Invalid && none.to_string().contains("pool.exec.command"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_hangs_is_killed_with_all_it_started() {
    let farm = Farm::new();
    let marker = farm.dir.path().join("marker");
    let script = format!("tail -f /dev/null {0} & tail -f /dev/null {0}", marker.display());
    std::fs::write(&marker, "").unwrap();
    let error = asked(&farm, &script, 1).await;
    assert!(error.class == Class::Retry && error.to_string().contains("pool.exec.timeout (1s)"), "{error}");
    until("its children are gone", || processes_mentioning(&marker).is_empty());

    // The same when the caller goes away.
    let file = farm.dir.path().join("provider");
    let slow = provider(&farm, &["/bin/sh", file.to_str().unwrap()], 60);
    let call = slow.list();
    assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err());
    until("its children are gone", || processes_mentioning(&marker).is_empty());
}
