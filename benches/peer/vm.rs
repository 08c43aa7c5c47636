//! A virtual machine from nothing to its first build: croft against the bare boot of the same guest.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use croft::{
    clock::{Clock as _, SystemClock},
    config::QemuSettings,
    fleet::{Identity, LaunchOrder, MachineProvider as _, Market, QemuProvider, Secret, Shape},
    ids::{FarmId, MachineId},
    remote::{KeyPair, wait_for_ssh},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Outcome, flake::Flake, measure::Samples, report::Figure};

/// The ratio at which croft has reached its goal, and the one it aims at.
const FIRST_BUILD: (f64, f64) = (1.3, 1.15);
/// What a client of the daemon protocol begins with, and the version that it claims: 1.38.
const HELLO: [u64; 2] = [0x6e69_7863, 0x126];
/// The longest that a guest is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

type Failure = Box<dyn std::error::Error>;

/// From the intent to launch a guest to the end of its first build, as `croft check` records them; the peer is the same
/// guest, started and asked for its daemon's first answer over ssh.
pub(crate) fn first_build(rounds: usize) -> Outcome {
    let image = guest()?;
    let (mut croft, mut peer) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        peer.add(bare_boot(&image)?);
        croft.add(through_croft(&image)?);
    }
    Ok(Figure::ratio(&croft, &peer, FIRST_BUILD))
}

/// The folder of the guest, made if it is not there.
fn guest() -> Result<PathBuf, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("nix/guest/build");
    let done = Command::new(script).output()?;
    if !done.status.success() {
        return Err(format!("the guest cannot be made: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(PathBuf::from(String::from_utf8(done.stdout)?.trim()))
}

fn settings(image: &Path) -> QemuSettings {
    QemuSettings { image: image.to_owned(), ..QemuSettings::default() }
}

fn bare_boot(image: &Path) -> Result<Duration, Failure> {
    let dir = TempDir::new()?;
    let (host, farm) = (KeyPair::generate("host")?, KeyPair::generate("farm")?);
    let clock = Arc::new(SystemClock);
    let provider =
        QemuProvider::new(settings(image), FarmId::new(clock.now()), dir.path().join("fleet"), clock.clone());
    let order = LaunchOrder {
        farm: FarmId::new(clock.now()),
        machine: MachineId::new(clock.now()),
        name: "bare".to_owned(),
        pool: "bare".parse()?,
        shape: Shape { instance_type: None, zone: None, market: Market::OnDemand },
        identity: Identity {
            host_key: Secret::new(host.private_text()?),
            host_key_public: host.public_line()?,
            authorized_key: farm.public_line()?,
        },
        lease: Duration::from_secs(600),
        expires: clock.now().plus(Duration::from_secs(3600)),
    };
    let key = dir.path().join("id");
    fs_err::write(&key, farm.private_text()?)?;
    fs_err::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    fs_err::write(dir.path().join("known"), format!("guest {}\n", host.public_line()?))?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let instance = provider.launch(&order).await?;
        let reach = instance.address.ok_or("the guest has no address")?;
        let address = reach.address().ok_or("the guest is not reached over ssh")?.clone();
        wait_for_ssh(&address.host, address.port, PATIENCE).await?;
        let greeted = greet(dir.path(), address.port);
        let took = begun.elapsed();
        provider.terminate(&instance.id).await?;
        greeted.map(|()| took)
    })
}

/// One answer of the daemon behind ssh.
fn greet(dir: &Path, port: u16) -> Result<(), Failure> {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-q", "-o", "BatchMode=yes", "-o", "HostKeyAlias=guest"]);
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", dir.join("known").display()));
    ssh.arg("-i").arg(dir.join("id")).arg("-p").arg(port.to_string());
    ssh.args(["root@127.0.0.1", "nix-daemon --stdio"]);
    let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("ssh is not connected".into());
    };
    for word in HELLO {
        stdin.write_all(&word.to_le_bytes())?;
    }
    stdin.flush()?;
    let mut answer = [0; 16];
    let read = stdout.read_exact(&mut answer);
    child.kill()?;
    child.wait()?;
    Ok(read?)
}

fn through_croft(image: &Path) -> Result<Duration, Failure> {
    let (state, flake) = (TempDir::new()?, Flake::fresh(1)?);
    let config = state.path().join("croft.toml");
    fs_err::write(
        &config,
        format!(
            "[fleet]\nlocal = false\nmax_clock_skew = \"1h\"\n[[pool]]\nname = \"vm\"\nprovider = \"qemu\"\n\
             systems = [\"x86_64-linux\"]\nmax = 1\n[pool.qemu]\nimage = \"{}\"\n",
            image.display()
        ),
    )?;
    let croft = |args: &[&str]| -> Result<Value, Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_croft"));
        command.args(args).env("CROFT_STATE_DIR", state.path()).env("CROFT_CONFIG", &config).current_dir("/");
        let done = command.stdin(Stdio::null()).output()?;
        if done.status.success() {
            return Ok(serde_json::from_slice(&done.stdout)?);
        }
        Err(format!("croft {args:?}: {}", String::from_utf8_lossy(&done.stderr)).into())
    };
    let report = croft(&["check", "--json", &flake.reference()])?;
    let events = croft(&["fleet", "events", "--json"])?;
    let requested = events.as_array().and_then(|all| all.iter().find(|event| event["kind"] == "requested"));
    let requested = requested.and_then(|event| event["at"].as_u64()).ok_or("no machine was asked for")?;
    let key = report["cells"][0]["key"].as_str().ok_or("the cell has no key")?;
    let shown = croft(&["show", "--json", key])?;
    let ended = shown["attempts"][0]["ended"].as_u64().ok_or("the build has no end")?;
    Ok(Duration::from_millis(ended.saturating_sub(requested)))
}
