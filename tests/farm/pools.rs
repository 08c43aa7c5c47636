//! Machines that are launched for demand, pretended ones here.

use crate::world::World;

fn pool(more: &str, fake: &str) -> String {
    format!(
        "[fleet]\nlocal = false\nhealth_interval = \"1s\"\n[[pool]]\nname = \"demo\"\nprovider = \"fake\"\n\
         systems = [\"{}-linux\"]\nslots = 1\nmax = 3\n{more}\n[pool.fake]\nboot = \"1s\"\n{fake}\n",
        std::env::consts::ARCH
    )
}

const CELLS: [(&str, &str, &str); 3] =
    [("a", "", "echo a > $out"), ("b", "", "echo b > $out"), ("c", "", "sleep 4; echo c > $out")];

#[test]
fn machines_come_for_demand_and_go_when_idle_and_the_story_is_told() {
    let Some(world) = World::new(&pool("idle = \"1s\"\nprice = 0.5", "")) else { return };
    world.cells(&CELLS);
    let checked = world.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    let machines = world.machines();
    assert!(!machines.is_empty() && machines.len() <= 3, "{machines:#?}");
    for machine in &machines {
        assert_eq!(machine["phase"], "gone", "{machine:#}");
        assert!(machine["cost"].as_f64() > Some(0.0), "{machine:#}");
    }
    let ends: Vec<&str> = machines.iter().filter_map(|machine| machine["ending"].as_str()).collect();
    assert!(ends.contains(&"idle") && ends.contains(&"the run is over"), "{ends:?}");
    let events = world.events();
    for kind in ["requested", "launched", "reachable", "joined", "ending", "gone"] {
        assert!(events.iter().any(|event| event.split(' ').nth(1) == Some(kind)), "{kind}: {events:#?}");
    }
    world.farm.assert_sound();
}

#[test]
fn a_need_that_no_pool_meets_is_said_in_the_plan() {
    let Some(world) = World::new(&pool("memory = 1024", "")) else { return };
    world.cells(&[
        ("virtual", "requiredSystemFeatures = [ \"kvm\" ];", "echo x > $out"),
        ("plain", "", "echo x > $out"),
    ]);
    let flake = world.farm.flake();
    let plan = world.croft(&["plan", "--json", &flake]).run().json();
    let cell = |name: &str| {
        plan["cells"].as_array().unwrap().iter().find(|cell| cell["name"] == name).unwrap().clone()
    };
    assert_eq!(cell("virtual")["state"], "infra");
    assert!(cell("virtual")["reason"].as_str().unwrap().contains("kvm"), "{plan:#}");
    assert_eq!(cell("plain")["state"], "build");
    assert!(world.machines().is_empty());
}

#[test]
fn a_used_up_budget_launches_nothing_and_says_so() {
    let Some(world) = World::new(&pool("price = 10.0\nbudget_day = 1.0", "")) else { return };
    world.cells(&CELLS);
    let flake = world.farm.flake();
    let running = world.croft(&["check", "--json", &flake]).start();
    let said = || {
        let queue = world.croft(&["queue", "--json"]).run().json();
        let builds = queue["builds"].as_array().cloned().unwrap_or_default();
        builds.iter().any(|build| build["reason"].as_str().is_some_and(|reason| reason.contains("budget")))
    };
    crate::support::wait_until("the budget as the reason", said);
    assert!(world.machines().is_empty());
    running.signal(rustix::process::Signal::INT);
    let done = running.wait_for_end(crate::world::LONG);
    assert_eq!(done.code, Some(130), "{done:#?}");
}

#[test]
fn machines_of_a_croft_that_was_killed_are_ended_by_the_next() {
    let Some(world) = World::new(&pool("", "")) else { return };
    world.cells(&[("long", "", "sleep 60; echo x > $out")]);
    let flake = world.farm.flake();
    let running = world.croft(&["check", "--json", &flake]).start();
    crate::support::wait_until("a build", || running.stderr().contains("building"));
    running.signal(rustix::process::Signal::KILL);
    drop(running);
    let swept = world.finish(&["fleet", "sweep"]);
    assert_eq!(swept.code, Some(0), "{swept:#?}");
    assert!(world.machines().iter().all(|machine| machine["phase"] == "gone"), "{:#?}", world.machines());
    world.farm.assert_sound();
}

/// Checks a flake whose cell no machine ever builds, until the queue says why; then stops. The queue is left empty.
fn reason(world: &World, expected: &str) {
    world.cells(&[("a", "", "echo a > $out")]);
    let flake = world.farm.flake();
    let running = world.croft(&["check", "--json", &flake]).start();
    let said = || {
        let queue = world.croft(&["queue", "--json"]).run().json();
        let builds = queue["builds"].as_array().cloned().unwrap_or_default();
        builds.iter().any(|build| build["reason"].as_str().is_some_and(|reason| reason.contains(expected)))
    };
    crate::support::wait_until(expected, said);
    running.signal(rustix::process::Signal::INT);
    let done = running.wait_for_end(crate::world::LONG);
    assert_eq!(done.code, Some(130), "{done:#?}");
    let queue = world.croft(&["queue", "--json"]).run().json();
    assert_eq!(queue["builds"].as_array().map(Vec::len), Some(0), "{queue:#}");
    assert!(world.machines().iter().all(|machine| machine["phase"] == "gone"), "{:#?}", world.machines());
}

#[test]
fn fault_22_machines_that_never_join_are_given_up_and_no_more_are_launched() {
    let Some(world) = World::new(&pool("boot_deadline = \"2s\"", "never_join = 100")) else { return };
    reason(&world, "machines in a row did not join");
    let machines = world.machines();
    let given_up = |machine: &&serde_json::Value| {
        machine["ending"].as_str().is_some_and(|end| end.contains("did not join"))
    };
    assert!(machines.iter().filter(given_up).count() >= 3, "{machines:#?}");
    assert!(machines.len() <= 6, "{machines:#?}");
}

#[test]
fn fault_27_a_pool_without_capacity_is_the_reason_that_the_queue_gives() {
    let Some(world) = World::new(&pool("", "no_capacity = 100")) else { return };
    reason(&world, "its provider has no capacity");
    let machines = world.machines();
    assert!(machines.len() <= 3, "no launch follows the other without a pause: {machines:#?}");
    let why = |machine: &serde_json::Value| machine["ending"].as_str().unwrap_or_default().to_owned();
    assert!(machines.iter().all(|machine| why(machine).contains("could not be launched")), "{machines:#?}");
}
