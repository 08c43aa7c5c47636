//! Starting the process of a virtual machine: one for each run directory, whoever else tries.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    command::{self, Accel},
    image::Image,
    process::Process,
    qmp,
    rundir::{Locked, RunDir},
};
use crate::{
    config::QemuSettings,
    fleet::{Class, ProviderError, text::harmless},
};

/// Notes number, start, boot and port of the process in a file that must not exist, and becomes the program. It is a child
/// of nobody, so it lives on without croft and leaves no zombie to it. The limit is on what it writes to one file.
const SHIM: &str = r#"(
  read -r stat </proc/self/stat && read -r boot </proc/sys/kernel/random/boot_id || exit 1
  start() { shift 19; echo "$1"; }
  set -C -f
  echo "${stat%% *} $(start ${stat##*) }) $boot $1" >process || exit 1
  ulimit -f "$2"
  ulimit -c 0
  shift 2
  exec "$@"
) &"#;

/// How often another port is tried.
const TRIES: u32 = 5;
/// How long a process may take until it answers.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);
/// What files other than the disk may grow to.
const SPARE: u64 = 64 << 20;

/// What it takes to start a machine.
#[derive(Debug)]
pub(super) struct Starter<'a> {
    pub(super) settings: &'a QemuSettings,
    pub(super) program: PathBuf,
    pub(super) image: Image,
    pub(super) accel: Accel,
}

/// Why one try has failed.
enum Failure {
    /// Somebody else has taken the port meanwhile.
    PortTaken,
    /// What qemu said.
    Said(String),
}

impl Starter<'_> {
    /// Starts the process of a run directory that has none. When this returns it answers.
    pub(super) fn start(
        &self,
        dir: &RunDir,
        lock: &Locked,
        name: &str,
        doing: &str,
    ) -> Result<(), ProviderError> {
        let broken =
            |error: io::Error| ProviderError::new(Class::Retry, doing, error.to_string()).because(error);
        for _ in 0..TRIES {
            let port = free_port().map_err(broken)?;
            match self.try_once(dir, name, port).map_err(broken)? {
                Ok(()) => return Ok(()),
                Err(Failure::PortTaken) => clear(dir, lock).map_err(broken)?,
                Err(Failure::Said(words)) => {
                    clear(dir, lock).map_err(broken)?;
                    return Err(ProviderError::new(class(&words), doing, explained(&words)));
                }
            }
        }
        Err(ProviderError::new(
            Class::Retry,
            doing,
            format!("{TRIES} free ports were taken by others in turn"),
        ))
    }

    fn try_once(&self, dir: &RunDir, name: &str, port: u16) -> io::Result<Result<(), Failure>> {
        let words = command::machine(self.settings, &self.image, self.accel, name, port);
        let errors = fs_err::File::create(dir.file("qemu.err"))?;
        let blocks = (self.settings.disk * (1 << 20) + SPARE) / 512;
        let mut shim = Command::new("/bin/sh");
        shim.args(["-c", SHIM, "croft-qemu", &port.to_string(), &blocks.to_string()])
            .arg(&self.program)
            .args(&words);
        shim.current_dir(dir.path()).process_group(0);
        shim.stdin(Stdio::null()).stdout(errors.file().try_clone()?).stderr(errors.into_parts().0);
        if !shim.status()?.success() {
            return Ok(Err(Failure::Said("no process could be made".to_owned())));
        }
        let begin = Instant::now();
        let mut process = None;
        while begin.elapsed() < PATIENCE {
            process = process.or_else(|| Process::read(&dir.file("process")));
            if process.as_ref().is_some_and(|process| !process.is_alive()) {
                break;
            }
            if qmp::send(dir.path(), qmp::Command::Greet).is_ok() {
                return Ok(Ok(()));
            }
            std::thread::sleep(LOOK);
        }
        if let Some(process) = process {
            process.kill()?;
        }
        let said = harmless(&fs_err::read(dir.file("qemu.err"))?);
        let is_port = said.contains("host forwarding rule") || said.contains("Address already in use");
        Ok(Err(if is_port { Failure::PortTaken } else { Failure::Said(said) }))
    }
}

/// Makes room for another try: the process of this one is dead, or has never come to be and cannot any more.
fn clear(dir: &RunDir, lock: &Locked) -> io::Result<()> {
    dir.forbid_start(lock)?;
    if let Some(process) = Process::read(&dir.file("process")) {
        process.kill()?;
        process.is_gone_within(PATIENCE);
    }
    dir.remove("qmp")?;
    dir.remove("process")
}

/// What an exit of qemu means.
fn class(words: &str) -> Class {
    let says = |what: &str| words.contains(what);
    if says("Cannot allocate memory") || says("cannot set up guest memory") || says("No space left") {
        Class::Capacity
    } else if words.is_empty() || says("no process could be made") || says("Resource temporarily") {
        Class::Retry
    } else {
        Class::Invalid
    }
}

fn explained(words: &str) -> String {
    match words {
        "" => format!("qemu did not answer within {} s", PATIENCE.as_secs()),
        words => {
            format!("qemu has ended at once: {words}. Check [pool.qemu]: program, accelerator and memory")
        }
    }
}

/// A port that is free at this moment.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The qemu program, as an absolute path.
pub(super) fn find_program(program: &Path, doing: &str) -> Result<PathBuf, ProviderError> {
    let candidates: Vec<PathBuf> = if program.components().count() > 1 {
        vec![program.to_owned()]
    } else {
        let path: OsString = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(program)).collect()
    };
    let found = candidates.iter().find(|file| rustix::fs::access(*file, rustix::fs::Access::EXEC_OK).is_ok());
    let absolute = found.and_then(|file| std::path::absolute(file).ok());
    absolute.ok_or_else(|| {
        let message = format!(
            "there is no program {}: install qemu (Debian: qemu-system-x86) or set pool.qemu.program",
            program.display()
        );
        ProviderError::new(Class::Invalid, doing, message)
    })
}
