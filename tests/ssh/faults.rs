//! Faults of machines and of the way to them: what is the machine's fault is never a verdict.

use std::{sync::Arc, time::Duration};

use croft::{
    lifecycle::{AttemptOutcome, InfraCause},
    remote::{Builder, FarSettings, HostKey, KeyPair, Realised, SshTarget},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    hosts::Plan,
    lab::{Lab, Lines, PATIENCE, Tell, limits, make, out},
};

/// The cause of an outcome that is nobody's verdict.
pub(crate) fn cause(outcome: &AttemptOutcome) -> InfraCause {
    match outcome {
        AttemptOutcome::Infra { cause, .. } => *cause,
        other => panic!("{other:?} is no fault of infrastructure"),
    }
}

/// A build that says `here` and then waits for ever, and what hits it then.
pub(crate) async fn hit_mid_build(
    lab: &Lab,
    target: SshTarget,
    hit: impl FnOnce(&Lab),
) -> (Builder, AttemptOutcome) {
    let builder = lab.builder_at(target);
    let task = lab.hub.script("hit", "echo here; exec sleep 1000");
    let cancel = CancellationToken::new();
    builder.send(&task, &cancel).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let log = Tell(tell);
    let building = builder.build(&task, limits(), log, &cancel);
    let mut building = std::pin::pin!(building);
    tokio::select! {
        line = told.recv() => assert_eq!(line.as_deref(), Some("here")),
        ended = &mut building => panic!("{:?} {}", ended.outcome, lab.hosts[0].log()),
    }
    hit(lab);
    let ended = tokio::time::timeout(PATIENCE, building).await.unwrap();
    (builder.clone(), ended.outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_07_daemon_dies_mid_build() {
    let Some(lab) = Lab::one().await else { return };
    let (builder, outcome) =
        hit_mid_build(&lab, lab.hosts[0].target(), |lab| lab.hosts[0].kill("nix-daemon")).await;
    assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
    // Connections that were idle have died too; one attempt finds out for all of them.
    let tasks =
        lab.hub.tasks(r#"[ (drv "p" {} "sleep 1; echo > $out") (drv "q" {} "sleep 1; echo > $out") ]"#);
    for (outcome, _) in futures_util::future::join_all(tasks.iter().map(|task| make(&builder, task))).await {
        assert_eq!(outcome, AttemptOutcome::Passed);
    }
    lab.hosts[0].kill("nix-daemon");
    let probe = lab.hub.script("probe", "echo > $out");
    if let (outcome @ AttemptOutcome::Infra { .. }, _) = make(&builder, &probe).await {
        assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
    }
    let next = lab.hub.script("next", "echo > $out");
    assert_eq!(make(&builder, &next).await.0, AttemptOutcome::Passed, "the machine is of use at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09_builder_killed_by_signal_9_is_no_verdict() {
    let Some(lab) = Lab::one().await else { return };
    let (_, outcome) = hit_mid_build(&lab, lab.hosts[0].target(), |lab| lab.hosts[0].kill("sleep")).await;
    assert_eq!(cause(&outcome), InfraCause::Killed, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_connection_cut_mid_build_through_both_transports() {
    let Some(lab) = Lab::one().await else { return };
    for target in [lab.hosts[0].target(), lab.hosts[0].target_by_command()] {
        let (builder, outcome) = hit_mid_build(&lab, target, |lab| lab.hosts[0].kill("sshd")).await;
        assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
        let next = lab.hub.script("next", "echo > $out");
        assert_eq!(make(&builder, &next).await.0, AttemptOutcome::Passed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_refused_at_connect() {
    let Some(lab) = Lab::one().await else { return };
    let mut target = lab.hosts[0].target();
    target.port = 23;
    let task = lab.hub.script("never", "echo > $out");
    let (outcome, _) = make(&lab.builder_at(target), &task).await;
    assert_eq!(cause(&outcome), InfraCause::ConnectionLost);
    assert!(outcome.message().unwrap().contains(":23"), "the machine is named: {outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_build_that_was_finished_is_adopted_after_a_lost_connection() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let task = lab.hub.script("done", "echo done > $out");
    let cancel = CancellationToken::new();
    assert_eq!(builder.adopt(&task).await, Ok(None), "not yet there");
    builder.send(&task, &cancel).await.unwrap();
    let built = builder.build(&task, limits(), Lines::default(), &cancel).await;
    assert_eq!(built.outcome, AttemptOutcome::Passed);
    lab.hosts[0].kill("sshd");
    let outputs = builder.adopt(&task).await.unwrap().expect("it is valid there");
    assert_eq!(outputs, built.outputs);
    builder.fetch(&task, &outputs, &cancel).await.unwrap();
    assert!(lab.hub.has(&out(&task)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_connection_cut_mid_transfer_both_ways() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let cancel = CancellationToken::new();
    let big = lab.hub.script("big", "head -c 300000000 /dev/zero > $out");
    builder.send(&big, &cancel).await.unwrap();
    let Realised { outcome, outputs, .. } = builder.build(&big, limits(), Lines::default(), &cancel).await;
    assert_eq!(outcome, AttemptOutcome::Passed);
    let fetch = builder.fetch(&big, &outputs, &cancel);
    let cut = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tokio::task::block_in_place(|| lab.hosts[0].kill("sshd"));
    };
    let (fetched, ()) = tokio::join!(fetch, cut);
    if let Err(outcome) = fetched {
        assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
        assert!(!lab.hub.has(&out(&big)).await, "nothing half is valid");
        let outputs = builder.adopt(&big).await.unwrap().unwrap();
        builder.fetch(&big, &outputs, &cancel).await.unwrap();
    }
    assert!(lab.hub.has(&out(&big)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_15_half_open_connection_is_found_by_keepalive_through_both_transports() {
    let Some(lab) = Lab::new(&[Plan::default(), Plan::default()]).await else { return };
    for (number, mut target) in
        [lab.hosts[0].target(), lab.hosts[1].target_by_command()].into_iter().enumerate()
    {
        // A fifth of what is usual, so that the test need not wait for 45 s.
        target.keepalive = Duration::from_secs(3);
        let (_, outcome) = hit_mid_build(&lab, target, |lab| lab.hosts[number].silence()).await;
        assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_16_wrong_host_key_is_an_error_of_its_own() {
    let Some(lab) = Lab::one().await else { return };
    let other = KeyPair::generate("other").unwrap().host_key();
    for mut target in [lab.hosts[0].target(), lab.hosts[0].target_by_command()] {
        target.host_key = HostKey::clone(&other);
        let task = lab.hub.script("never", "echo > $out");
        let builder = lab.builder_at(target);
        let ended = builder.build(&task, limits(), Lines::default(), &CancellationToken::new()).await;
        assert_eq!(cause(&ended.outcome), InfraCause::HostKey, "{:?}", ended.outcome);
        let message = ended.outcome.message().unwrap();
        assert!(
            message.contains(&other.fingerprint()) && message.contains(&lab.hosts[0].address),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_machine_does_not_know_is_told() {
    let Some(lab) = Lab::one().await else { return };
    let mut target = lab.hosts[0].target();
    let stranger = Arc::new(KeyPair::generate("stranger").unwrap());
    target.way = croft::remote::SshWay::Native(croft::remote::Identity::Key(stranger));
    let task = lab.hub.script("never", "echo > $out");
    let ended =
        lab.builder_at(target).build(&task, limits(), Lines::default(), &CancellationToken::new()).await;
    assert!(ended.outcome.message().unwrap().contains("refuses the key SHA256:"), "{:?}", ended.outcome);
}

/// A daemon whose answers are changed on the way: once, or always.
fn tampering(once: bool) -> String {
    let guard = if once { "mkdir /tmp/tampered 2>/dev/null" } else { "true" };
    let change =
        "perl -e '$| = 1; while (sysread(STDIN, $b, 65536)) { $b =~ s/PAYLOAD/PAYL0AD/g; print $b }'";
    format!("if {guard}; then nix-daemon --stdio | {change}; else exec nix-daemon --stdio; fi")
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_18_flipped_bytes_are_found_and_fetched_again() {
    let Some(lab) = Lab::one().await else { return };
    for (once, expected) in [(true, None), (false, Some(InfraCause::Corrupt))] {
        let mut target = lab.hosts[0].target();
        target.daemon = tampering(once);
        let task = lab.hub.script("payload", &format!("echo PAYLOAD {once} > $out"));
        let (outcome, _) = make(&lab.builder_at(target), &task).await;
        match expected {
            None => {
                assert_eq!(outcome, AttemptOutcome::Passed);
                let text = std::fs::read_to_string(lab.hub.file(&out(&task))).unwrap();
                assert_eq!(text, "PAYLOAD true\n");
            }
            Some(expected) => {
                assert_eq!(cause(&outcome), expected, "{outcome:?}");
                assert!(!lab.hub.has(&out(&task)).await);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_full_store_is_the_machines_fault_and_a_claim_alone_is_not() {
    let Some(lab) = Lab::new(&[Plan { store_size: Some("96m"), ..Plan::default() }]).await else { return };
    let builder = lab.builder();
    let liar = lab.hub.script("liar", "echo 'No space left on device'; exit 1");
    let (outcome, _) = make(&builder, &liar).await;
    assert!(matches!(outcome, AttemptOutcome::Failed { .. }), "the machine knows better: {outcome:?}");
    for (name, script) in [
        ("greedy", "head -c 75000000 /dev/zero > $out; echo 'No space left on device'; sleep 3; exit 1"),
        ("greedier", "cat /dev/zero > $out; exit 1"),
    ] {
        let (outcome, log) = make(&builder, &lab.hub.script(name, script)).await;
        assert_eq!(cause(&outcome), InfraCause::DiskFull, "{outcome:?} {log:?}");
    }
    // And when it is not a build but a transfer that finds no room.
    let big = lab
        .hub
        .tasks(r#"[ (drv "small" { src = builtins.toFile "big" "x"; } "cat $src > $out") ]"#)
        .remove(0);
    lab.hosts[0].ask("head -c 95000000 /dev/zero > /nix/ballast || true");
    let (outcome, _) = make(&builder, &big).await;
    assert_eq!(cause(&outcome), InfraCause::DiskFull, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_the_builder_there() {
    let Some(lab) = Lab::one().await else { return };
    let builder = Builder::over_ssh(lab.hosts[0].target(), lab.hub.pool.clone(), 1, FarSettings::default());
    let task = lab.hub.script("long", "echo here; sleep 1000");
    let cancel = CancellationToken::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let building = builder.build(&task, limits(), Tell(tell), &cancel);
    let stop = async {
        assert_eq!(told.recv().await.as_deref(), Some("here"));
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(building, stop);
    assert_eq!(ended.outcome, AttemptOutcome::Cancelled);
    let gone = async {
        while lab.hosts[0]
            .ask("cat /proc/[0-9]*/comm 2>/dev/null || true")
            .lines()
            .any(|name| name == "sleep")
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the builder must end");
}
