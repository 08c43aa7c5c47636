//! Builders over ssh, as machines in namespaces: `croft check` against Nix's own `ssh-ng://`.

#[path = "../../tests/support/hosts.rs"]
mod hosts;
#[path = "../../tests/support/hub.rs"]
mod hub;

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use croft::remote::{Builder, FarSettings, Task};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{
    Outcome,
    flake::Flake,
    measure::{Program, Samples},
    report::Figure,
};
use hosts::{Host, Plan};
use hub::Hub;

/// The ratio at which croft has reached its goal, and the one it aims at.
const TRIVIAL: (f64, f64) = (0.2, 0.1);
const SLEEP: (f64, f64) = (1.15, 1.1);
const CLOSURE: (f64, f64) = (1.0, 0.7);
/// Builds at once on each machine.
const SLOTS: u32 = 4;
/// Trivial derivations.
const COUNT: usize = 500;
/// Those that Nix is given: it takes minutes for all, and as long for each.
const OF_PEER: usize = 50;

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

/// `croft check` without any state against one `nix build`, both from the start of the program to its end.
fn trivial(rounds: usize, machines: usize) -> Outcome {
    let lab = Lab::new(machines)?;
    let (mut croft, mut peer) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        croft.add(lab.croft(&Flake::fresh(COUNT)?)?);
        let flake = Flake::fresh(OF_PEER)?;
        // What does not grow with the derivations is counted once.
        let fixed = lab.nix(&flake, &["--dry-run"])?;
        let built = lab.nix(&flake, &[])?;
        peer.add(fixed + built.saturating_sub(fixed).mul_f64(COUNT as f64 / OF_PEER as f64));
    }
    let note = format!("nix scaled from {OF_PEER} builds to {COUNT}");
    Ok(Figure::ratio(&croft, &peer, TRIVIAL).with_note(&note))
}

/// 40 builds of one second on two machines with four slots each, against the five seconds that they must take: the
/// whole of `croft check`, with machines that have not joined yet.
pub(crate) fn ssh_sleep_40(rounds: usize) -> Outcome {
    let lab = Lab::new(2)?;
    let (mut croft, mut ideal) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        croft.add(lab.croft(&Flake::of(40, "sleep 1; echo > $out")?)?);
        ideal.add(Duration::from_secs(5));
    }
    Ok(Figure::ratio(&croft, &ideal, SLEEP).with_note("the peer is the ideal"))
}

/// A closure of 1 GiB to a machine, against `nix copy`: croft's sending stage alone, with the most memory by which
/// this process grows meanwhile.
pub(crate) fn closure_1g(rounds: usize) -> Outcome {
    let lab = Lab::new(1)?;
    let (mut croft, mut peer) = (Samples::default(), Samples::default());
    let mut peak = 0.0_f64;
    let host = &lab.hosts[0];
    for round in 0..rounds {
        let (task, input) = lab.large_input(&format!("large-{round}"))?;
        peer.add(lab.nix_copy(&input)?);
        host.ask("nix-store --gc > /dev/null 2>&1");
        let builder = Builder::over_ssh(host.target(), lab.hub.pool.clone(), SLOTS, FarSettings::default());
        let before = memory("VmRSS:")?;
        // From here on the peak is that of this transfer.
        fs_err::write("/proc/self/clear_refs", "5")?;
        let begun = Instant::now();
        let sent = lab.runtime.block_on(builder.send(&task, &CancellationToken::new()));
        croft.add(begun.elapsed());
        peak = peak.max(memory("VmHWM:")? - before);
        sent.map_err(|outcome| format!("{outcome:?}"))?;
        drop(builder);
        host.ask("nix-store --gc > /dev/null 2>&1");
    }
    Ok(Figure::ratio(&croft, &peer, CLOSURE).with_peak(peak))
}

/// A line of what the kernel says of this process' memory, in MiB.
fn memory(line: &str) -> Result<f64, Failure> {
    let status = fs_err::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)).ok_or("no such line of memory")?;
    Ok(value.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Machines, and a store of this machine that both programs work with.
struct Lab {
    runtime: Runtime,
    config: PathBuf,
    hub: Hub,
    hosts: Vec<Host>,
}

impl Lab {
    fn new(machines: usize) -> Result<Self, Failure> {
        let runtime = Runtime::new()?;
        let plans = vec![Plan::default(); machines];
        let hosts = runtime.block_on(hosts::start(&plans)).ok_or("no machines can be made here")?;
        let hub = Hub::new(hosts::busybox());
        let mut text = "[fleet]\nlocal = false\n".to_owned();
        for (number, host) in hosts.iter().enumerate() {
            let key = host.dir.path().join("id");
            write!(
                text,
                "[[builder]]\nname = \"host-{number}\"\nhost = \"{}\"\nkey = \"{}\"\nhost_key = \"{}\"\n\
                 systems = [\"{}-linux\"]\nslots = {SLOTS}\n",
                host.address,
                key.display(),
                host.host_key.public_line()?,
                std::env::consts::ARCH,
            )?;
        }
        let config = hub.dir.path().join("croft.toml");
        fs_err::write(&config, text)?;
        let lab = Self { runtime, config, hub, hosts };
        // Both programs have met all machines, and both stores are set up.
        let flake = Flake::fresh(machines * SLOTS as usize * 2)?;
        lab.croft(&flake)?;
        lab.nix(&Flake::fresh(machines)?, &[])?;
        Ok(lab)
    }

    /// `croft check` of all cells, with a state of its own.
    fn croft(&self, flake: &Flake) -> Result<Duration, Failure> {
        let state = TempDir::new()?;
        let program = Program::croft(state.path())
            .env("CROFT_CONFIG", &self.config)
            .env("CROFT_NIX_ROOT", self.hub.root())
            .env("CROFT_NIX_DAEMON", "stdio")
            .env("NIX_CONFIG", self.hub.config())
            .env("XDG_CACHE_HOME", self.hub.dir.path().join("home/.cache"));
        Ok(program.args(["check", "--quiet", &flake.reference()]).timed()?)
    }

    /// `nix build` of all cells, with the machines as its builders and its settings as they come.
    fn nix(&self, flake: &Flake, more: &[&str]) -> Result<Duration, Failure> {
        let builders: Vec<String> = self.hosts.iter().map(Self::nix_builder).collect();
        let program = Program::of(self.hub.command("nix")).env("NIX_SSHOPTS", SSH_OPTIONS);
        let args = ["build", "--no-link", "--max-jobs", "0", "--builders", &builders.join(" ; ")];
        Ok(program.args(args).args(more).args(flake.installables()).timed()?)
    }

    fn nix_builder(host: &Host) -> String {
        let key = host.dir.path().join("id");
        format!("ssh-ng://root@{} {}-linux {} {SLOTS} 1", host.address, std::env::consts::ARCH, key.display())
    }

    fn nix_copy(&self, path: &str) -> Result<Duration, Failure> {
        let host = &self.hosts[0];
        let url = format!("ssh-ng://root@{}?ssh-key={}", host.address, host.dir.path().join("id").display());
        let program = Program::of(self.hub.command("nix")).env("NIX_SSHOPTS", SSH_OPTIONS);
        Ok(program.args(["copy", "--no-check-sigs", "--to", &url, path]).timed()?)
    }

    /// A task with 1 GiB of input in the hub's store, and that input.
    fn large_input(&self, name: &str) -> Result<(Task, String), Failure> {
        let path = self.hub.add_random(name, 1 << 30);
        let list = format!("[ (drv \"{name}\" {{ input = builtins.storePath {path}; }} \"echo > $out\") ]");
        let task = self.hub.tasks(&list).pop().ok_or("no task")?;
        Ok((task, path))
    }
}

const SSH_OPTIONS: &str =
    "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
