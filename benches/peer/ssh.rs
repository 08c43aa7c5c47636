//! Builders over ssh, as machines in namespaces: croft's stages against Nix's own `ssh-ng://`.

#[path = "../../tests/support/hosts.rs"]
mod hosts;
#[path = "../../tests/support/hub.rs"]
mod hub;

use std::{
    fmt::Write as _,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use croft::{
    lifecycle::AttemptOutcome,
    remote::{BuildLog, Builder, FarSettings, Limits, Task},
    task::TaskSet,
};
use tokio::{runtime::Runtime, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use super::{Outcome, measure::Samples, report::Figure};
use hosts::{Host, Plan};
use hub::Hub;

/// The ratio at which croft has reached its goal, and the one it aims at.
const TRIVIAL: (f64, f64) = (0.2, 0.1);
const SLEEP: (f64, f64) = (1.15, 1.1);
const CLOSURE: (f64, f64) = (1.0, 0.9);
/// Builds at once on each machine.
const SLOTS: u32 = 4;
/// Tasks of one machine that are under way: in a slot, on their way there, or back.
const UNDER_WAY: u32 = 2 * SLOTS;

type Failure = Box<dyn std::error::Error>;

/// 500 new trivial derivations on one machine.
pub(crate) fn ssh_500_on_1(rounds: usize) -> Outcome {
    trivial(rounds, 1)
}

/// The same on two.
pub(crate) fn ssh_500_on_2(rounds: usize) -> Outcome {
    trivial(rounds, 2)
}

/// The same on four.
pub(crate) fn ssh_500_on_4(rounds: usize) -> Outcome {
    trivial(rounds, 4)
}

fn trivial(rounds: usize, machines: usize) -> Outcome {
    const COUNT: u32 = 500;
    // Nix takes minutes for all, and as long for each.
    const OF_PEER: u32 = 50;
    let lab = Lab::new(machines)?;
    let (mut croft, mut peer) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        croft.add(lab.croft(&many(&format!("c{round}"), COUNT, "echo > $out"))? / COUNT);
        peer.add(lab.nix(&many(&format!("n{round}"), OF_PEER, "echo > $out"))? / OF_PEER);
    }
    Ok(Figure::ratio(&croft, &peer, TRIVIAL))
}

/// 40 builds of one second on two machines with four slots each, against the five seconds that they must take.
pub(crate) fn ssh_sleep_40(rounds: usize) -> Outcome {
    let lab = Lab::new(2)?;
    let (mut croft, mut ideal) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        croft.add(lab.croft(&many(&format!("s{round}"), 40, "sleep 1; echo > $out"))?);
        ideal.add(Duration::from_secs(5));
    }
    Ok(Figure::ratio(&croft, &ideal, SLEEP))
}

/// A closure of 1 GiB to a machine, against `nix copy`.
pub(crate) fn closure_1g(rounds: usize) -> Outcome {
    let lab = Lab::new(1)?;
    let (mut croft, mut peer) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        let (task, input) = lab.large_input(&format!("large-{round}"))?;
        peer.add(lab.nix_copy(&input)?);
        lab.hosts[0].ask("nix-store --gc > /dev/null 2>&1");
        let host = &lab.hosts[0];
        let builder = Builder::over_ssh(host.target(), lab.hub.pool.clone(), SLOTS, FarSettings::default());
        let begun = Instant::now();
        let sent = lab.runtime.block_on(builder.send(&task, &CancellationToken::new()));
        croft.add(begun.elapsed());
        sent.map_err(|outcome| format!("{outcome:?}"))?;
        drop(builder);
        lab.hosts[0].ask("nix-store --gc > /dev/null 2>&1");
    }
    Ok(Figure::ratio(&croft, &peer, CLOSURE))
}

/// A list of `count` derivations that nobody has built.
fn many(name: &str, count: u32, script: &str) -> String {
    let mut list = String::from("[");
    for number in 0..count {
        // Writing to a string cannot fail.
        write!(list, " (drv \"{name}-{number}\" {{}} \"{script}\")").ok();
    }
    list + " ]"
}

/// Machines and a hub.
struct Lab {
    runtime: Runtime,
    builders: Vec<Builder>,
    hub: Hub,
    hosts: Vec<Host>,
}

impl Lab {
    fn new(machines: usize) -> Result<Self, Failure> {
        let runtime = Runtime::new()?;
        let plans = vec![Plan::default(); machines];
        let hosts = runtime.block_on(hosts::start(&plans)).ok_or("no machines can be made here")?;
        let hub = Hub::new(hosts::busybox());
        let builder =
            |host: &Host| Builder::over_ssh(host.target(), hub.pool.clone(), SLOTS, FarSettings::default());
        let lab = Self { builders: hosts.iter().map(builder).collect(), runtime, hub, hosts };
        // Machines that have joined have built something before.
        lab.croft(&many("warm", SLOTS * 4, "echo > $out"))?;
        Ok(lab)
    }

    /// Makes all derivations of a list, each machine as many as it can.
    fn croft(&self, list: &str) -> Result<Duration, Failure> {
        let tasks = self.hub.tasks(list);
        let begun = Instant::now();
        self.runtime.block_on(async {
            let mut workers = TaskSet::new("worker", CancellationToken::new());
            for (number, builder) in self.builders.iter().enumerate() {
                let mine = tasks.iter().skip(number).step_by(self.builders.len()).cloned().collect();
                let (queue, slots) =
                    (Arc::new(std::sync::Mutex::new(mine)), Arc::new(Semaphore::new(SLOTS as usize)));
                for _ in 0..UNDER_WAY {
                    workers.spawn(work(builder.clone(), Arc::clone(&slots), Arc::clone(&queue)));
                }
            }
            while let Some(ended) = workers.join_next().await {
                ended??;
            }
            Ok::<(), Failure>(())
        })?;
        Ok(begun.elapsed())
    }

    /// The same by Nix, which is told of the machines as builders.
    fn nix(&self, list: &str) -> Result<Duration, Failure> {
        let drvs: Vec<String> =
            self.hub.tasks(list).iter().map(|task| format!("/nix/store/{}", task.drv)).collect();
        let builders: Vec<String> = self.hosts.iter().map(Self::nix_builder).collect();
        let mut command = self.hub.command("nix-store");
        command.args(["--realise", "--max-jobs", "0", "--builders", &builders.join(" ; ")]).args(&drvs);
        Self::timed(command)
    }

    fn nix_builder(host: &Host) -> String {
        let key = host.dir.path().join("id");
        format!("ssh-ng://root@{} {}-linux {} {SLOTS} 1", host.address, std::env::consts::ARCH, key.display())
    }

    fn nix_copy(&self, path: &str) -> Result<Duration, Failure> {
        let host = &self.hosts[0];
        let mut command = self.hub.command("nix");
        let url = format!("ssh-ng://root@{}?ssh-key={}", host.address, host.dir.path().join("id").display());
        command.args(["copy", "--no-check-sigs", "--to", &url, path]);
        Self::timed(command)
    }

    fn timed(mut command: Command) -> Result<Duration, Failure> {
        command.env(
            "NIX_SSHOPTS",
            "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        );
        let begun = Instant::now();
        let output = command.output()?;
        let took = begun.elapsed();
        if output.status.success() { Ok(took) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
    }

    /// A task with 1 GiB of input in the hub's store, and that input.
    fn large_input(&self, name: &str) -> Result<(Task, String), Failure> {
        let path = self.hub.add_random(name, 1 << 30);
        let list = format!("[ (drv \"{name}\" {{ input = builtins.storePath {path}; }} \"echo > $out\") ]");
        let task = self.hub.tasks(&list).pop().ok_or("no task")?;
        Ok((task, path))
    }
}

/// Takes tasks until there are none.
async fn work(
    builder: Builder,
    slots: Arc<Semaphore>,
    queue: Arc<std::sync::Mutex<Vec<Task>>>,
) -> Result<(), String> {
    let cancel = CancellationToken::new();
    let limits =
        Limits { timeout: Duration::from_secs(600), max_silent: Duration::from_secs(600), max_log: 1 << 20 };
    loop {
        let next = queue.lock().map_err(|error| error.to_string())?.pop();
        let Some(task) = next else { return Ok(()) };
        builder.send(&task, &cancel).await.map_err(|outcome| format!("{outcome:?}"))?;
        let slot = slots.acquire().await.map_err(|error| error.to_string())?;
        let built = builder.build(&task, limits, Unheard, &cancel).await;
        drop(slot);
        if built.outcome != AttemptOutcome::Passed {
            return Err(format!("{:?}", built.outcome));
        }
        builder.fetch(&task, &built.outputs, &cancel).await.map_err(|outcome| format!("{outcome:?}"))?;
    }
}

struct Unheard;

impl BuildLog for Unheard {
    fn line(&mut self, _line: &[u8]) {}

    fn phase(&mut self, _name: &[u8]) {}

    fn tick(&mut self) -> Result<(), String> {
        Ok(())
    }
}
