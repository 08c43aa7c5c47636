//! How a machine says it is, and whether it may join.

use std::{sync::Arc, time::Duration};

use croft::{
    clock::{Clock, SystemClock, Timestamp},
    remote::{Builder, FarSettings, HealthSettings, JoinPolicy, JoinRefusal, Notice, join},
};
use tokio_util::sync::CancellationToken;

use crate::{
    hosts::Plan,
    lab::{Lab, eventually},
};

fn watched(lab: &Lab, health: HealthSettings) -> Builder {
    let settings = FarSettings { cache: None, health };
    Builder::over_ssh(lab.hosts[0].target(), lab.hub.pool.clone(), 1, settings)
}

fn policy() -> JoinPolicy {
    JoinPolicy {
        system: format!("{}-linux", std::env::consts::ARCH).parse().unwrap(),
        oldest_nix: "2.8".parse().unwrap(),
        least_free: 1 << 20,
        max_skew: Duration::from_secs(5),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_tells_how_it_is_and_renews_its_lease_when_it_is_asked() {
    let Some(lab) = Lab::new(&[Plan { store_size: Some("64m"), ..Plan::default() }]).await else { return };
    let health = HealthSettings {
        lease: Some("/run/it's a lease".into()),
        notice: Notice::File("/run/notice".into()),
        ..HealthSettings::default()
    };
    let builder = watched(&lab, health);
    let first = builder.health(&SystemClock).await.unwrap().unwrap();
    assert!(first.lease_renewed && first.notice.is_none());
    assert_eq!(first.disks.store.bytes, 64 << 20);
    assert!(first.memory >= first.memory_available && first.memory_available > 0);
    assert!(first.clock_ahead.abs() < 5000, "{first:?}");
    let renewed = || lab.hosts[0].ask("stat -c %.9Y \"/run/it's a lease\"");
    let before = renewed();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(renewed(), before, "nothing but a question renews it");
    lab.hosts[0].ask("printf '\\033[31m{\"action\":\"terminate\"}\\n' > /run/notice; head -c 50000000 /dev/zero > /nix/ballast");
    let second = builder.health(&SystemClock).await.unwrap().unwrap();
    assert_ne!(renewed(), before);
    assert_eq!(second.notice.as_deref(), Some(r#"{"action":"terminate"}"#));
    assert!(second.disks.store.is_full() && !first.disks.store.is_full(), "{second:?}");
    // A machine that is lost says nothing, and is heard again afterwards.
    lab.hosts[0].kill("sshd");
    let heard = async {
        while builder.health(&SystemClock).await.unwrap().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::lab::PATIENCE, heard).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_may_come_from_a_command_and_one_that_hangs_holds_nothing_up() {
    let Some(lab) = Lab::one().await else { return };
    let notice = Notice::Command("echo \"it's soon\"; exec sleep 1000".to_owned());
    let builder = watched(&lab, HealthSettings { notice, ..HealthSettings::default() });
    let health = builder.health(&SystemClock).await.unwrap().unwrap();
    assert_eq!(health.notice.as_deref(), Some("it's soon"));
    assert!(!health.lease_renewed, "there is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_machine_joins() {
    let Some(lab) = Lab::one().await else { return };
    let builder = watched(&lab, HealthSettings::default());
    let joined = join(&builder, &policy(), &SystemClock, &CancellationToken::new()).await.unwrap();
    assert!(joined.nix.starts_with("2."), "{joined:?}");
    eventually("the bait to be gone", || lab.hosts[0].ask("ls /var/tmp").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_old_nix_open_sandbox_and_low_disk_are_refused() {
    let plan = Plan { nix_conf: "sandbox = false".to_owned(), ..Plan::default() };
    let Some(lab) = Lab::new(&[plan]).await else { return };
    let builder = watched(&lab, HealthSettings::default());
    let cancel = CancellationToken::new();
    let refused = join(&builder, &policy(), &SystemClock, &cancel).await.unwrap_err();
    assert!(matches!(refused, JoinRefusal::SandboxOff), "{refused}");
    let newer = JoinPolicy { oldest_nix: "99.1".parse().unwrap(), ..policy() };
    let refused = join(&builder, &newer, &SystemClock, &cancel).await.unwrap_err();
    assert!(matches!(&refused, JoinRefusal::OldNix { .. }), "{refused}");
    let larger = JoinPolicy { least_free: u64::MAX, ..policy() };
    let refused = join(&builder, &larger, &SystemClock, &cancel).await.unwrap_err();
    assert!(matches!(refused, JoinRefusal::DiskLow { .. }), "{refused}");
}

/// A clock that is an hour slow, so that every machine seems an hour fast.
#[derive(Debug)]
struct SlowClock;

impl Clock for SlowClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(SystemClock.now().as_millis() - 3_600_000)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_24_clock_that_is_off_is_measured_and_refused() {
    let Some(lab) = Lab::one().await else { return };
    let builder = watched(&lab, HealthSettings::default());
    let clock: Arc<dyn Clock> = Arc::new(SlowClock);
    let refused = join(&builder, &policy(), &*clock, &CancellationToken::new()).await.unwrap_err();
    let JoinRefusal::ClockOff { ahead_ms, .. } = refused else { panic!("{refused}") };
    assert!((3_590_000..3_660_000).contains(&ahead_ms), "{ahead_ms}");
}
