//! Builders that are always there.

use crate::{
    hosts::{self, Plan},
    support::wait_until,
    world::{World, builder},
};

const FLEET: &str = "[fleet]\nlocal = false\nhealth_interval = \"1s\"\nlost_after = \"10s\"\nmin_free_store = 16\nmin_free_tmp = 16\n";

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_built_on_two_machines_and_their_outputs_come_home() {
    let Some(hosts) = hosts::start(&[Plan::default(), Plan::default()]).await else { return };
    let toml = format!(
        "{FLEET}{}{}",
        builder("one", &hosts[0], 2, ""),
        builder("two", &hosts[1], 2, "transport = \"command\"")
    );
    let Some(world) = World::new(&toml) else { return };
    let cells: Vec<String> = (0..6).map(|n| format!("cell-{n}")).collect();
    let cells: Vec<(&str, &str, &str)> =
        cells.iter().map(|name| (name.as_str(), "", "sleep 1; echo $name > $out")).collect();
    world.cells(&cells);
    let checked = world.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let mut used: Vec<String> = Vec::new();
    for (name, _, _) in &cells {
        let attempts = world.attempts(name);
        assert_eq!(attempts.len(), 1, "{name}: {attempts:?}");
        assert_eq!(attempts[0].1, "passed");
        used.push(attempts[0].0.clone());
    }
    assert!(used.contains(&"one".to_owned()) && used.contains(&"two".to_owned()), "{used:?}");
    let again = world.check(&[]);
    assert!(again.cells().all(|cell| cell["state"] == "reused"), "{again:#?}");
    let one = world.machine("one");
    assert_eq!((one["phase"].as_str(), one["builds"].as_u64() > Some(0)), (Some("idle"), true), "{one:#}");
    assert!(one["health"]["store"]["freeBytes"].as_u64() > Some(0), "{one:#}");
    world.farm.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_16_a_machine_with_another_host_key_is_never_spoken_to() {
    let Some(hosts) = hosts::start(&[Plan::default(), Plan::default()]).await else { return };
    // The second machine claims the key of the first.
    let honest = builder("honest", &hosts[0], 1, "");
    let liar = builder("liar", &hosts[1], 1, "")
        .replace(&hosts[1].host_key.public_line().unwrap(), &hosts[0].host_key.public_line().unwrap());
    let Some(world) = World::new(&format!("{FLEET}{liar}{honest}")) else { return };
    world.cells(&[("a", "", "echo a > $out"), ("b", "", "sleep 3; echo b > $out")]);
    let checked = world.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    assert_eq!(world.attempts("a"), [("honest".to_owned(), "passed".to_owned())]);
    let liar = world.machine("liar");
    assert!(
        liar["hold"].as_str().is_some_and(|hold| hold.contains("quarantine") && hold.contains("key")),
        "{liar:#}"
    );
    let events = world.events();
    assert!(events.iter().any(|event| event.starts_with("liar security")), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_a_full_machine_gets_no_cell_and_no_cell_is_red() {
    let small = Plan { store_size: Some("48m"), ..Plan::default() };
    let Some(hosts) = hosts::start(&[small, Plan::default()]).await else { return };
    // The small one is preferred, until it is full.
    let toml = format!(
        "{FLEET}{}{}",
        builder("small", &hosts[0], 1, "speed = 4.0"),
        builder("large", &hosts[1], 1, "")
    );
    let Some(world) = World::new(&toml) else { return };
    // Three outputs leave less than a machine must have, and there is work for longer than it takes until it is asked again.
    let fill = "sleep 1; tr '\\0' \"$salt\" < /dev/zero | head -c 12582912 > $out";
    let cells: Vec<(String, String)> =
        (0..8).map(|n| (format!("cell-{n}"), format!("salt = \"{n}\";"))).collect();
    let cells: Vec<(&str, &str, &str)> =
        cells.iter().map(|(name, salt)| (name.as_str(), salt.as_str(), fill)).collect();
    world.cells(&cells);
    let checked = world.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let attempts: Vec<_> = cells.iter().flat_map(|(name, _, _)| world.attempts(name)).collect();
    assert!(attempts.iter().all(|(_, outcome)| outcome == "passed" || outcome == "infra"), "{attempts:?}");
    assert!(
        attempts.iter().any(|(machine, outcome)| machine == "large" && outcome == "passed"),
        "{attempts:?}"
    );
    let events = world.events();
    let small = world.machine("small");
    assert!(
        events.iter().any(|event| event.starts_with("small unfit")),
        "{events:#?} {attempts:?} {small:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_09_a_machine_that_kills_every_build_does_not_eat_the_queue() {
    let Some(hosts) = hosts::start(&[Plan::default(), Plan::default()]).await else { return };
    let toml = format!(
        "{FLEET}{}{}",
        builder("bad", &hosts[0], 1, "speed = 4.0"),
        builder("good", &hosts[1], 1, "")
    );
    let Some(world) = World::new(&toml) else { return };
    // Whatever is built on the first machine dies by signal 9 at once.
    let bad = hosts[0].dir.path().display().to_string();
    let marker = hosts[0].store_file("/nix/marker");
    std::fs::write(marker, bad).unwrap();
    let killer = hosts[0].run(
        "(while true; do for dir in /proc/[0-9]*; do if tr '\\0' '\\n' < $dir/environ 2>/dev/null | grep -q '^doomed=yes'; then kill -9 ${dir#/proc/}; fi; done; done) >/dev/null 2>&1 &",
    );
    assert!(killer.status.success(), "{killer:?}");
    let cells: Vec<String> = (0..8).map(|n| format!("cell-{n}")).collect();
    let cells: Vec<(&str, &str, &str)> = cells
        .iter()
        .map(|name| (name.as_str(), "doomed = \"yes\";", "sleep 0.5; echo $name > $out"))
        .collect();
    world.cells(&cells);
    let checked = world.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let bad: Vec<_> = cells
        .iter()
        .flat_map(|(name, _, _)| world.attempts(name))
        .filter(|(machine, outcome)| machine == "bad" && outcome == "infra")
        .collect();
    assert!((1..=4).contains(&bad.len()), "{bad:?}");
    let machine = world.machine("bad");
    // Three are enough; one more may have begun before the third was counted.
    assert!(
        machine["hold"].as_str().is_some_and(|hold| hold.contains("infrastructure failures in a row")),
        "{machine:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_14_a_build_on_a_lost_machine_is_made_elsewhere() {
    let Some(hosts) = hosts::start(&[Plan::default(), Plan::default()]).await else { return };
    let toml = format!(
        "{FLEET}{}{}",
        builder("lost", &hosts[0], 1, "speed = 4.0"),
        builder("kept", &hosts[1], 1, "")
    );
    let Some(world) = World::new(&toml) else { return };
    world.cells(&[("long", "", "sleep 4; echo long > $out")]);
    let flake = world.farm.flake();
    let running = world.croft(&["check", "--json", &flake]).start();
    wait_until("the build on the first machine", || running.stderr().contains("long"));
    std::thread::sleep(std::time::Duration::from_secs(1));
    hosts[0].kill("sshd");
    let done = running.wait_for_end(crate::world::LONG);
    assert_eq!(done.code, Some(0), "{done:#?}");
    let attempts = world.attempts("long");
    assert_eq!(attempts.last().map(|(_, outcome)| outcome.as_str()), Some("passed"), "{attempts:?}");
    assert!(attempts.iter().all(|(_, outcome)| outcome != "failed"), "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_drain_and_release_a_machine_while_croft_works() {
    let Some(hosts) = hosts::start(&[Plan::default(), Plan::default()]).await else { return };
    let toml =
        format!("{FLEET}{}{}", builder("one", &hosts[0], 1, "speed = 4.0"), builder("two", &hosts[1], 1, ""));
    let Some(world) = World::new(&toml) else { return };
    let cells: Vec<String> = (0..8).map(|n| format!("cell-{n}")).collect();
    let cells: Vec<(&str, &str, &str)> =
        cells.iter().map(|name| (name.as_str(), "", "sleep 1.5; echo $name > $out")).collect();
    world.cells(&cells);
    let flake = world.farm.flake();
    let running = world.croft(&["check", "--json", &flake]).start();
    wait_until("the first build", || running.stderr().contains("building"));
    let queue = || world.croft(&["queue", "--json"]).run().json();
    wait_until("a queue with reasons", || {
        queue()["builds"].as_array().is_some_and(|builds| {
            builds.iter().any(|b| b["reason"].as_str().is_some_and(|r| r.contains("busy")))
        })
    });
    let drained = world.croft(&["fleet", "drain", "one"]).run();
    assert_eq!(drained.code, Some(0), "{drained:#?}");
    let done = running.wait_for_end(crate::world::LONG);
    assert_eq!(done.code, Some(0), "{done:#?}");
    let used: Vec<String> =
        cells.iter().flat_map(|(name, _, _)| world.attempts(name)).map(|(machine, _)| machine).collect();
    assert!(used.iter().filter(|machine| *machine == "two").count() >= 5, "{used:?}");
    assert_eq!(queue()["builds"].as_array().map(Vec::len), Some(0));
    assert_eq!(world.croft(&["fleet", "release", "one"]).run().code, Some(0));
    assert!(world.machine("one")["hold"].is_null());
}
