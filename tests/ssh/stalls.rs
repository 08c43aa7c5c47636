//! Machines that stand still, ways that are slow, and builds that keep no measure.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use croft::{
    lifecycle::{AttemptOutcome, InfraCause},
    remote::{Limits, SshTarget},
    task::{self, Task},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    faults::{cause, hit_mid_build},
    hosts::{Host, Plan},
    lab::{Lab, Lines, PATIENCE, eventually, limits, make, out},
};

/// How long croft lets a transfer or a question stand still, and some more.
const STANDSTILL: Duration = Duration::from_secs(150);

/// Stops the processes of this name inside, without ending them; all of them, if the name is empty.
fn freeze(host: &Host, name: &str) {
    host.ask(&format!(
        "for dir in /proc/[0-9]*; do pid=${{dir#/proc/}}; [ \"$pid\" = 1 ] || [ \"$pid\" = $$ ] && continue; \
         [ -z \"{name}\" ] || [ \"$(cat $dir/comm 2>/dev/null)\" = \"{name}\" ] || continue; kill -STOP $pid; done; true"
    ));
}

fn runs(host: &Host, name: &str) -> bool {
    host.ask("cat /proc/[0-9]*/comm 2>/dev/null || true").lines().any(|line| line == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_08_a_machine_that_stands_still_is_found_by_keepalive() {
    let Some(lab) = Lab::one().await else { return };
    let mut target = lab.hosts[0].target();
    target.keepalive = Duration::from_secs(1);
    let (_, outcome) = hit_mid_build(&lab, target, |lab| freeze(&lab.hosts[0], "")).await;
    assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_08_a_daemon_that_hangs_in_a_build_holds_it_up_no_longer_than_the_limit() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let task = lab.hub.script("held", "echo here; exec sleep 1000");
    let short = Limits { max_silent: Duration::from_secs(3), ..limits() };
    let cancel = CancellationToken::new();
    let build = builder.build(&task, short, Lines::default(), &cancel);
    let hang = async {
        eventually("the builder", || runs(&lab.hosts[0], "sleep")).await;
        freeze(&lab.hosts[0], "nix-daemon");
    };
    let (ended, ()) = tokio::join!(build, hang);
    // Nobody can tell it from a build that is silent.
    assert!(matches!(ended.outcome, AttemptOutcome::Timeout { .. }), "{:?}", ended.outcome);
    let next = lab.hub.script("next", "echo > $out");
    assert_eq!(make(&builder, &next).await.0, AttemptOutcome::Passed, "the machine is of use at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_08_fault_11_what_stands_still_between_builds_is_the_machines_fault() {
    let Some(lab) = Lab::new(&[Plan::default(), Plan::default()]).await else { return };
    let cancel = CancellationToken::new();
    let input = lab.hub.add_random("large", 200_000_000);
    let tasks = lab.hub.tasks(&format!(
        "[ (drv \"first\" {{}} \"echo > $out\") (drv \"user\" {{ input = builtins.storePath {input}; }} \"echo > $out\") ]"
    ));
    // A daemon that does not answer a question.
    let mute = async {
        let builder = lab.builder_at(lab.hosts[0].target());
        assert_eq!(make(&builder, &tasks[0]).await.0, AttemptOutcome::Passed);
        freeze(&lab.hosts[0], "nix-daemon");
        let outcome = builder.send(&tasks[1], &cancel).await.unwrap_err();
        assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
        builder.send(&tasks[1], &cancel).await.unwrap();
    };
    // One that takes no more of a transfer, while the machine itself is well.
    let stuck = async {
        let builder = lab.builder_at(lab.hosts[1].target());
        let before = lab.hosts[1].bytes_sent_there();
        let begun = async {
            while lab.hosts[1].bytes_sent_there() - before < 5_000_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::task::block_in_place(|| freeze(&lab.hosts[1], "nix-daemon"));
        };
        let (sent, ()) = tokio::join!(builder.send(&tasks[1], &cancel), begun);
        let outcome = sent.unwrap_err();
        assert_eq!(cause(&outcome), InfraCause::ConnectionLost, "{outcome:?}");
        assert!(outcome.message().unwrap().contains("no byte was transferred"), "{outcome:?}");
    };
    tokio::time::timeout(STANDSTILL, async { tokio::join!(mute, stuck) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_12_fault_13_a_build_without_measure_is_stopped_there_and_its_last_words_are_kept() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let cancel = CancellationToken::new();
    for (name, script, bounds) in [
        ("loud", "echo first; yes", Limits { max_log: 1000, ..limits() }),
        (
            "mute",
            "echo last words; exec sleep 1000",
            Limits { max_silent: Duration::from_secs(1), ..limits() },
        ),
    ] {
        let ended = builder.build(&lab.hub.script(name, script), bounds, Lines::default(), &cancel).await;
        if name == "loud" {
            assert_eq!(ended.outcome, AttemptOutcome::LogLimit);
        } else {
            assert!(matches!(ended.outcome, AttemptOutcome::Timeout { .. }), "{:?}", ended.outcome);
            assert_eq!(ended.log.0, ["last words"]);
        }
        eventually("its end", || !runs(&lab.hosts[0], "yes") && !runs(&lab.hosts[0], "sleep")).await;
    }
    let next = lab.hub.script("next", "echo > $out");
    assert_eq!(make(&builder, &next).await.0, AttemptOutcome::Passed);
}

/// A way to a machine on which everything takes 150 ms, each way, and one packet in twenty a second more.
struct SlowWay {
    port: u16,
    late: std::sync::Arc<AtomicU64>,
    _task: Task<()>,
}

impl SlowWay {
    async fn to(host: &Host) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let there: SocketAddr = format!("{}:22", host.address).parse().unwrap();
        let late = std::sync::Arc::new(AtomicU64::new(0));
        let counter = std::sync::Arc::clone(&late);
        let serving = async move {
            let mut under_way = Vec::new();
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(there).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                under_way.push(task::spawn("slow way there", slowly(near_in, far_out, counter.clone())));
                under_way.push(task::spawn("slow way back", slowly(far_in, near_out, counter.clone())));
            }
        };
        Self { port, late, _task: task::spawn("slow way", serving) }
    }
}

/// Passes bytes on, late.
async fn slowly(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, late: std::sync::Arc<AtomicU64>) {
    let (tell, mut told) = tokio::sync::mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(64);
    let reading = async move {
        let (mut buffer, mut count) = (vec![0; 1400], 0_u32);
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            count += 1;
            let is_lost = count.is_multiple_of(20);
            late.fetch_add(u64::from(is_lost), Ordering::Relaxed);
            let delay = Duration::from_millis(if is_lost { 1150 } else { 150 });
            let packet = (tokio::time::Instant::now() + delay, buffer[..read].to_vec());
            if tell.send(packet).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, bytes)) = told.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(reading, writing);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17_a_slow_and_lossy_way_is_slower_and_right() {
    let Some(lab) = Lab::one().await else { return };
    let way = SlowWay::to(&lab.hosts[0]).await;
    let target = SshTarget { host: "127.0.0.1".to_owned(), port: way.port, ..lab.hosts[0].target() };
    let builder = lab.builder_at(target);
    let tasks = lab.hub.tasks(
        r#"let src = builtins.toFile "src" "text"; one = n: drv "one-${n}" { inherit src; }
           "cat $src > $out; head -c 100000 /dev/urandom >> $out; echo $out"; in [ (one "a") (one "b") ]"#,
    );
    let made = futures_util::future::join_all(tasks.iter().map(|task| make(&builder, task)));
    for (outcome, log) in tokio::time::timeout(PATIENCE * 2, made).await.unwrap() {
        assert_eq!(outcome, AttemptOutcome::Passed, "{log:?}");
        assert_eq!(log.len(), 1, "built once: {log:?}");
    }
    for task in &tasks {
        assert_eq!(std::fs::metadata(lab.hub.file(&out(task))).unwrap().len(), 100_004);
    }
    assert!(way.late.load(Ordering::Relaxed) > 0, "the way was lossy");
}
