//! Building on other machines when all is well.

use std::time::Duration;

use croft::{
    lifecycle::AttemptOutcome,
    nix::StoreDir,
    remote::{Builder, BuilderCache, FarSettings, Limits, TaskMode},
};
use tokio_util::sync::CancellationToken;

use crate::{
    hosts::{Plan, USER},
    lab::{Lab, Lines, eventually, limits, make, out},
};

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_build_through_both_transports() {
    let Some(lab) = Lab::new(&[Plan::default(), Plan::default()]).await else { return };
    let targets = [lab.hosts[0].target(), lab.hosts[1].target_by_command()];
    for (number, target) in targets.into_iter().enumerate() {
        let builder = lab.builder_at(target);
        let tasks = lab.hub.tasks(&format!(
            r#"let a = drv "a{number}" {{}} "echo deep > $out"; b = drv "b{number}" {{ inherit a; }} "echo hello; cat $a > $out; echo $a >> $out"; in [ a b ]"#
        ));
        for task in &tasks {
            let (outcome, log) = make(&builder, task).await;
            assert_eq!(outcome, AttemptOutcome::Passed, "{log:?} {}", lab.hosts[number].log());
            assert!(lab.hub.has(&out(task)).await);
            assert!(
                lab.hosts[number].store_file(&format!("/nix/store/{}", out(task).to_basename())).exists()
            );
        }
        let text = std::fs::read_to_string(lab.hub.file(&out(&tasks[1]))).unwrap();
        assert!(text.starts_with("deep\n/nix/store/"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_trust_sends_the_drv_and_builds_all_the_same() {
    let Some(lab) = Lab::new(&[Plan { daemon: true, ..Plan::default() }]).await else { return };
    let mut target = lab.hosts[0].target();
    target.user = USER.to_owned();
    let builder = lab.builder_at(target);
    let tasks = lab.hub.tasks(
        r#"let src = builtins.toFile "src" "text"; in [ (drv "one" { inherit src; } "cat $src > $out") (drv "two" { } "echo two > $out") ]"#,
    );
    for task in &tasks {
        let (outcome, log) = make(&builder, task).await;
        assert_eq!(outcome, AttemptOutcome::Passed, "{log:?} {}", lab.hosts[0].log());
        let drv = format!("/nix/store/{}", task.drv);
        assert!(lab.hosts[0].store_file(&drv).exists(), "told by its .drv");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_user_needs_no_drv_there_and_inputs_are_sent_once() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let tasks = lab.hub.tasks(
        r#"let src = builtins.toFile "src" "text"; one = n: drv "one-${n}" { inherit src; } "cat $src > $out";
           in [ (one "a") (one "b") (one "c") (one "d") ]"#,
    );
    let source = tasks[0].inputs.first().unwrap().clone();
    assert!(!builder.holds(&source));
    let made = tasks.iter().map(|task| make(&builder, task));
    for (outcome, _) in futures_util::future::join_all(made).await {
        assert_eq!(outcome, AttemptOutcome::Passed);
    }
    assert!(builder.holds(&source) && builder.holds(&out(&tasks[0])));
    assert!(!lab.hosts[0].store_file(&format!("/nix/store/{}", tasks[0].drv)).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_of_inputs_go_along_and_a_garbage_collection_there_takes_none_of_them() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let tasks = lab.hub.tasks(
        r#"let src = builtins.toFile "src" "text"; a = drv "a" { inherit src; } "echo $src > $out";
           b = drv "b" { inherit a; } "echo $a > $out"; c = drv "c" { inherit b; } "read a < $b; read s < $a; cat $s > $out"; in [ a b c ]"#,
    );
    // Made on another builder, so that this one has none of it.
    let other = lab.builder();
    for task in &tasks[..2] {
        assert_eq!(make(&other, task).await.0, AttemptOutcome::Passed);
    }
    drop(other);
    let collect = "nix-store --gc > /dev/null 2>&1; ls /nix/store";
    eventually("all to be garbage without a connection", || !lab.hosts[0].ask(collect).contains("-src"))
        .await;
    let cancel = CancellationToken::new();
    builder.send(&tasks[2], &cancel).await.unwrap();
    let left = lab.hosts[0].ask(collect);
    assert!(left.contains("-src") && left.contains("-a\n") && left.contains("-b\n"), "{left}");
    let built = builder.build(&tasks[2], limits(), Lines::default(), &cancel).await;
    assert_eq!(built.outcome, AttemptOutcome::Passed, "{:?}", built.log);
    builder.fetch(&tasks[2], &built.outputs, &cancel).await.unwrap();
    assert_eq!(std::fs::read_to_string(lab.hub.file(&out(&tasks[2]))).unwrap(), "text");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_limits_and_checks_are_what_they_are_at_home() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let cancel = CancellationToken::new();
    let (outcome, log) = make(&builder, &lab.hub.script("bad", "echo why; exit 3")).await;
    assert!(
        matches!(&outcome, AttemptOutcome::Failed { message } if message.contains("exit code 3")),
        "{outcome:?}"
    );
    assert_eq!(log, ["why"]);
    let silent = Limits { max_silent: Duration::from_secs(1), ..limits() };
    let ended = builder.build(&lab.hub.script("mute", "sleep 1000"), silent, Lines::default(), &cancel).await;
    assert!(matches!(ended.outcome, AttemptOutcome::Timeout { .. }), "{:?}", ended.outcome);
    let little = Limits { max_log: 1000, ..limits() };
    let ended = builder.build(&lab.hub.script("loud", "yes"), little, Lines::default(), &cancel).await;
    assert_eq!(ended.outcome, AttemptOutcome::LogLimit);
    // A check needs the outputs there: they are sent along.
    let mut random = lab.hub.script("random", "head -c 8 /dev/urandom > $out");
    assert_eq!(make(&lab.builder(), &random).await.0, AttemptOutcome::Passed);
    let gone = || !lab.hosts[0].ask("nix-store --gc > /dev/null 2>&1; ls /nix/store").contains("-random");
    eventually("the output to be garbage", gone).await;
    random.mode = TaskMode::Check;
    builder.send(&random, &cancel).await.unwrap();
    let ended = builder.build(&random, limits(), Lines::default(), &cancel).await;
    assert!(matches!(ended.outcome, AttemptOutcome::NotDeterministic { .. }), "{:?}", ended.outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floating_output_is_known_at_the_hub_afterwards() {
    let Some(lab) = Lab::one().await else { return };
    let builder = lab.builder();
    let task = lab
        .hub
        .tasks(r#"[ (drv "floating" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; } "echo hi > $out") ]"#)
        .remove(0);
    assert!(task.outputs().is_none() && task.can_travel());
    let (outcome, _) = make(&builder, &task).await;
    assert_eq!(outcome, AttemptOutcome::Passed);
    let mut connection = lab.hub.pool.take().await.unwrap();
    let known = connection.client.query_derivation_output_map(&task.drv).await.unwrap();
    let path = known.into_values().next().flatten().expect("the realisation is registered");
    assert_eq!(std::fs::read_to_string(lab.hub.file(&path)).unwrap(), "hi\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_channels_than_sshd_allows_are_spread_over_connections() {
    let conf = "MaxSessions 2".to_owned();
    let Some(lab) = Lab::new(&[Plan { sshd_conf: conf, ..Plan::default() }]).await else { return };
    let builder = lab.builder();
    let names: Vec<String> =
        (0..6).map(|n| format!("(drv \"n{n}\" {{}} \"sleep 1; echo > $out\")")).collect();
    let tasks = lab.hub.tasks(&format!("[ {} ]", names.join(" ")));
    let made = tasks.iter().map(|task| make(&builder, task));
    for (outcome, _) in futures_util::future::join_all(made).await {
        assert_eq!(outcome, AttemptOutcome::Passed, "{}", lab.hosts[0].log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_outputs_pass_both_ways_without_being_kept_in_memory() {
    let Some(lab) = Lab::new(&[Plan::default(), Plan::default()]).await else { return };
    let tasks = lab.hub.tasks(
        r#"let big = drv "big" {} "head -c 209715200 /dev/urandom > $out"; in [ big (drv "sum" { inherit big; } "sha256sum < $big > $out") ]"#,
    );
    let before = peak();
    let (one, two) = (lab.builder_at(lab.hosts[0].target()), lab.builder_at(lab.hosts[1].target()));
    assert_eq!(make(&one, &tasks[0]).await.0, AttemptOutcome::Passed);
    assert_eq!(make(&two, &tasks[1]).await.0, AttemptOutcome::Passed);
    let growth = peak() - before;
    assert!(growth < 64 << 10, "{growth} KiB more for two times 200 MiB");
}

/// The most memory this process ever had, in KiB. Other tests of it count too, and are small.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_need_the_same_large_input_share_one_transfer() {
    const SIZE: u64 = 50_000_000;
    let Some(lab) = Lab::one().await else { return };
    let input = lab.hub.add_random("shared", SIZE);
    let one =
        |n: u32| format!("(drv \"user-{n}\" {{ input = builtins.storePath {input}; }} \"echo > $out\")");
    let tasks = lab.hub.tasks(&format!("[ {} {} {} ]", one(1), one(2), one(3)));
    let builder = lab.builder();
    let before = lab.hosts[0].bytes_sent_there();
    let cancel = CancellationToken::new();
    let sent = tasks.iter().map(|task| builder.send(task, &cancel));
    for sent in futures_util::future::join_all(sent).await {
        sent.unwrap();
    }
    let sent = lab.hosts[0].bytes_sent_there() - before;
    assert!((SIZE..SIZE * 3 / 2).contains(&sent), "{sent} bytes went there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_is_cancelled_is_done_by_the_task_that_waits_for_it() {
    let Some(lab) = Lab::one().await else { return };
    let input = lab.hub.add_random("shared", 100_000_000);
    let one =
        |n: u32| format!("(drv \"user-{n}\" {{ input = builtins.storePath {input}; }} \"echo > $out\")");
    let tasks = lab.hub.tasks(&format!("[ {} {} ]", one(1), one(2)));
    let builder = lab.builder();
    let (cancelled, never) = (CancellationToken::new(), CancellationToken::new());
    let before = lab.hosts[0].bytes_sent_there();
    let first = builder.send(&tasks[0], &cancelled);
    let second = async {
        while lab.hosts[0].bytes_sent_there() - before < 1_000_000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let waiting = builder.send(&tasks[1], &never);
        tokio::join!(waiting, async { cancelled.cancel() }).0
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first, Ok(()) | Err(AttemptOutcome::Cancelled)), "{first:?}");
    second.unwrap();
    let ended = builder.build(&tasks[1], limits(), Lines::default(), &never).await;
    assert_eq!(ended.outcome, AttemptOutcome::Passed, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_fetches_from_its_cache_what_it_can_and_is_sent_the_rest() {
    let Some(lab) = Lab::one().await else { return };
    let [cached, plain] = ["cached", "plain"].map(|name| lab.hub.add_random(name, 100_000));
    let public_key = lab.hub.copy_to_cache(&cached, &lab.hosts[0].store_file("/run/cache"));
    // The hub does not have the content any more, so that nobody else can have brought it.
    let path = StoreDir::default().parse_path(cached.as_bytes()).unwrap();
    std::fs::remove_file(lab.hub.file(&path)).unwrap();
    let task = lab
        .hub
        .tasks(&format!(
            "[ (drv \"user\" {{ a = builtins.storePath {cached}; b = builtins.storePath {plain}; }} \"cat $a $b > $out\") ]"
        ))
        .remove(0);
    let cache = BuilderCache { url: "file:///run/cache".to_owned(), public_key };
    let settings = FarSettings { cache: Some(cache), ..FarSettings::default() };
    let builder = Builder::over_ssh(lab.hosts[0].target(), lab.hub.pool.clone(), 1, settings);
    let (outcome, log) = make(&builder, &task).await;
    assert_eq!(outcome, AttemptOutcome::Passed, "{log:?}");
    assert_eq!(std::fs::metadata(lab.hub.file(&out(&task))).unwrap().len(), 200_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_builder_builds_by_the_same_calls() {
    let Some(lab) = Lab::new(&[]).await else { return };
    let builder = Builder::local(lab.hub.access(), 2);
    let tasks = lab.hub.tasks(
        r#"let a = drv "a" { } "echo deep > $out";
           f = drv "f" { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; inherit a; } "cat $a > $out";
           d = drv "d" { inherit f; } "cat $f > $out"; in [ a f d ]"#,
    );
    for task in &tasks {
        let (outcome, log) = make(&builder, task).await;
        assert_eq!(outcome, AttemptOutcome::Passed, "{}: {log:?}", task.drv);
    }
    assert!(!tasks[2].can_travel(), "its path only the hub's Nix can work out");
    let (outcome, _) = make(&builder, &lab.hub.script("bad", "exit 3")).await;
    assert!(matches!(outcome, AttemptOutcome::Failed { .. }), "{outcome:?}");
}
