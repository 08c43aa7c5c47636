//! Machines as virtual machines on this one. A machine is a process and a run directory (see `rundir`); it outlives
//! the croft that launched it, any other croft finds it, and its dead-man's switch ends it when none does.

mod accelerator;
mod command;
mod console;
mod image;
mod process;
mod qmp;
mod rundir;
mod start;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{
    console::{CONSOLE, tail, trim},
    image::Image,
    process::Process,
    rundir::{Ended, Record, RunDir, Seen},
    start::Starter,
};
use super::{
    Address, Answer, Class, Dormancy, Instance, InstanceId, InstanceState, LaunchOrder, MachineProvider,
    ProviderError, Reach, boot, text::harmless,
};
use crate::{
    clock::SharedClock,
    config::{QemuSettings, Setup},
    ids::{FarmId, MachineId},
    task,
};

/// How long a guest may take to end by itself, once told; then it is ended.
const POWER_DOWN: Duration = Duration::from_secs(60);
/// How long a process may take to die.
const DYING: Duration = Duration::from_secs(10);
/// How long words of a machine that has ended by itself are kept.
const REMEMBER: Duration = Duration::from_secs(3600);
/// Memory that is left to the machine itself, in MiB.
const SPARE_MEMORY: u64 = 256;

/// Launches virtual machines on this machine.
#[derive(Debug, Clone)]
pub struct QemuProvider {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: QemuSettings,
    farm: FarmId,
    root: PathBuf,
    clock: SharedClock,
}

impl QemuProvider {
    /// A provider for the machines of `farm`, whose run directories are below `root` (`<state>/fleet/qemu`).
    pub fn new(settings: QemuSettings, farm: FarmId, root: PathBuf, clock: SharedClock) -> Self {
        Self { inner: Arc::new(Inner { settings, farm, root, clock }) }
    }

    /// What machines would be run with, in words, or the first thing that is missing. Starts none; where that is not known
    /// yet it tries whether a guest boots with KVM, which takes up to ten seconds.
    pub async fn readiness(&self) -> Result<String, ProviderError> {
        let doing = "looking for what virtual machines need".to_owned();
        let ready = move |inner: &Inner, doing: &str| {
            let starter = inner.starter(doing)?;
            inner.require_room(doing)?;
            let way = match starter.accel {
                command::Accel::Kvm => "with KVM",
                command::Accel::Tcg => "emulated, as KVM does not work here: several times slower",
            };
            let (program, image) = (starter.program.display(), inner.settings.image.display());
            Ok(format!("{program}, guest in {image}, {way}"))
        };
        self.work(doing, ready).await
    }

    /// Runs blocking work. A caller that goes away leaves nothing half done: the work goes on to its end.
    async fn work<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce(&Inner, &str) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let inner = Arc::clone(&self.inner);
        let named = doing.clone();
        let done = task::blocking("qemu", move || work(&inner, &named)).await;
        done.unwrap_or_else(|error| Err(ProviderError::new(Class::Retry, doing, error.to_string())))
    }
}

impl MachineProvider for QemuProvider {
    fn launch<'a>(&'a self, order: &'a LaunchOrder) -> Answer<'a, Instance> {
        let order = order.clone();
        let doing = format!("launching {} as a virtual machine", order.name);
        Box::pin(self.work(doing, move |inner, doing| inner.launch(&order, doing)))
    }

    fn terminate<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        let id = instance.clone();
        let doing = format!("ending the virtual machine {id}");
        Box::pin(self.work(doing, move |inner, doing| match inner.dir(&id) {
            Some(dir) => terminate(&dir, doing),
            None => Ok(()),
        }))
    }

    fn get<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Instance> {
        let id = instance.clone();
        let doing = format!("looking at the virtual machine {id}");
        Box::pin(self.work(doing, move |inner, doing| {
            let dir = inner.dir(&id).ok_or_else(|| gone(doing))?;
            inner.instance(&dir, doing)?.ok_or_else(|| gone(doing))
        }))
    }

    fn list(&self) -> Answer<'_, Vec<Instance>> {
        let doing = format!("listing the virtual machines in {}", self.inner.root.display());
        Box::pin(self.work(doing, |inner, doing| {
            let mut found = Vec::new();
            for dir in RunDir::all(&inner.root).map_err(|error| broken(doing, error))? {
                found.extend(inner.instance(&dir, doing)?);
            }
            found.retain(|instance| instance.state != InstanceState::Gone);
            Ok(found)
        }))
    }

    fn console<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, Vec<u8>> {
        let id = instance.clone();
        let doing = format!("reading the console of the virtual machine {id}");
        Box::pin(self.work(doing, move |inner, doing| {
            let dir = inner.dir(&id).ok_or_else(|| gone(doing))?;
            tail(&dir.file("console.log"), CONSOLE).map_err(|error| broken(doing, error))
        }))
    }

    fn dormancy(&self) -> Option<&dyn Dormancy> {
        Some(self)
    }
}

impl Dormancy for QemuProvider {
    fn stop<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        let id = instance.clone();
        let doing = format!("stopping the virtual machine {id}");
        Box::pin(self.work(doing, move |inner, doing| {
            let dir = inner.dir(&id).ok_or_else(|| gone(doing))?;
            inner.stop(&dir, doing)
        }))
    }

    fn start<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        let id = instance.clone();
        let doing = format!("starting the virtual machine {id}");
        Box::pin(self.work(doing, move |inner, doing| {
            let dir = inner.dir(&id).ok_or_else(|| gone(doing))?;
            inner.start(&dir, doing)
        }))
    }
}

impl Inner {
    fn dir(&self, instance: &InstanceId) -> Option<RunDir> {
        instance.as_str().parse::<MachineId>().ok().map(|machine| RunDir::of(&self.root, machine))
    }

    fn launch(&self, order: &LaunchOrder, doing: &str) -> Result<Instance, ProviderError> {
        let failed = |error| broken(doing, error);
        let dir = RunDir::of(&self.root, order.machine);
        let starter = self.starter(doing)?;
        if dir.record().map_err(failed)?.is_none() {
            self.require_room(doing)?;
            let record = Record {
                v: 1,
                farm: order.farm,
                machine: order.machine,
                pool: order.pool.clone(),
                name: order.name.clone(),
                launched: self.clock.now(),
            };
            let size = self.settings.disk << 20;
            let make_disk =
                |file: &Path| if size == 0 { Ok(()) } else { starter.image.make_disk(file, size) };
            // False if another call has made it meanwhile, which is as good.
            RunDir::create(&self.root, &record, &boot::render(order, Setup::Image), make_disk)
                .map_err(failed)?;
        }
        let lock = dir.lock().map_err(failed)?.ok_or_else(|| gone(doing))?;
        if dir.look() == Seen::Ordered {
            starter.start(&dir, &lock, &order.name, doing)?;
        }
        drop(lock);
        self.instance(&dir, doing)?.ok_or_else(|| gone(doing))
    }

    fn starter(&self, doing: &str) -> Result<Starter<'_>, ProviderError> {
        let program = start::find_program(&self.settings.program, doing)?;
        let image = Image::open(&self.settings.image, doing)?;
        fs_err::create_dir_all(&self.root).map_err(|error| broken(doing, error))?;
        let accel = accelerator::choose(&self.settings, &program, &image, &self.root);
        Ok(Starter { settings: &self.settings, program, image, accel })
    }

    /// Refuses a machine that this one has no memory or disk for.
    fn require_room(&self, doing: &str) -> Result<(), ProviderError> {
        let free = free_memory().unwrap_or(u64::MAX);
        let wanted = self.settings.memory + SPARE_MEMORY;
        if free < wanted {
            let message = format!("{wanted} MiB of memory are needed here, {free} MiB are free");
            return Err(ProviderError::new(Class::Capacity, doing, message));
        }
        let disk = rustix::fs::statvfs(&self.root).map_err(|error| broken(doing, error.into()))?;
        let free = (disk.f_bavail * disk.f_frsize) >> 20;
        if free < self.settings.disk {
            let message = format!(
                "{} MiB of disk are needed in {}, {free} MiB are free",
                self.settings.disk,
                self.root.display()
            );
            return Err(ProviderError::new(Class::Capacity, doing, message));
        }
        Ok(())
    }

    /// What is known of a machine; none if it is gone or another farm's.
    fn instance(&self, dir: &RunDir, doing: &str) -> Result<Option<Instance>, ProviderError> {
        let failed = |error| broken(doing, error);
        let Some(record) = dir.record().map_err(failed)?.filter(|record| record.farm == self.farm) else {
            return Ok(None);
        };
        let seen = dir.look();
        if seen == Seen::Dead && !self.bury(dir).map_err(failed)? {
            return Ok(None);
        }
        trim(&dir.file("console.log"));
        let at = |port| Reach::Ssh(Address { host: "127.0.0.1".to_owned(), port });
        let (state, address) = match seen {
            Seen::Ordered => (InstanceState::Pending, None),
            Seen::Running(process) => (InstanceState::Running, Some(at(process.port()))),
            Seen::Stopping(_) => (InstanceState::Stopping, None),
            Seen::Stopped => (InstanceState::Stopped, None),
            Seen::Dead => (InstanceState::Gone, None),
        };
        Ok(Some(Instance {
            id: InstanceId::new(&record.machine.to_string()).ok_or_else(|| gone(doing))?,
            machine: Some(record.machine),
            state,
            address,
            launched: Some(record.launched),
            why: dir.ended().map(|ended| ended.why),
            interrupted: false,
        }))
    }

    /// Frees what a machine held that has ended by itself; after a while nothing of it is left. Whether it still is.
    fn bury(&self, dir: &RunDir) -> io::Result<bool> {
        // Whoever has the lock does what there is to do.
        let Some(lock) = dir.try_lock()? else { return Ok(dir.path().exists()) };
        match dir.ended() {
            None => {
                let words = harmless(&tail(&dir.file("console.log"), 400)?);
                let errors = harmless(&tail(&dir.file("qemu.err"), 400)?);
                let why =
                    format!("the virtual machine has ended by itself; its last words: {words} {errors}");
                dir.end(&lock, &Ended { at: self.clock.now(), why: why.trim_end().to_owned() })?;
            }
            Some(ended) if self.clock.now().since(ended.at) > REMEMBER => {
                dir.destroy(lock)?;
                return Ok(false);
            }
            Some(_) => {}
        }
        Ok(true)
    }

    fn stop(&self, dir: &RunDir, doing: &str) -> Result<(), ProviderError> {
        let failed = |error| broken(doing, error);
        let lock = dir.lock().map_err(failed)?.ok_or_else(|| gone(doing))?;
        let since = dir.file("stopping");
        match dir.look() {
            Seen::Ordered => Err(ProviderError::new(Class::Retry, doing, "it has not been started yet")),
            Seen::Dead => Err(gone(doing)),
            Seen::Stopped => Ok(()),
            Seen::Running(_) => {
                fs_err::write(&since, self.clock.now().as_millis().to_string()).map_err(failed)?;
                press_power(dir, doing)
            }
            Seen::Stopping(_) => {
                let told = fs_err::read_to_string(&since).ok().and_then(|text| text.trim().parse().ok());
                let told = crate::clock::Timestamp::from_millis(told.unwrap_or(0));
                if self.clock.now().since(told) < POWER_DOWN {
                    return press_power(dir, doing);
                }
                let ended = end_process(dir, doing);
                drop(lock);
                ended
            }
        }
    }

    fn start(&self, dir: &RunDir, doing: &str) -> Result<(), ProviderError> {
        let failed = |error| broken(doing, error);
        let lock = dir.lock().map_err(failed)?.ok_or_else(|| gone(doing))?;
        let record = dir.record().map_err(failed)?.ok_or_else(|| gone(doing))?;
        match dir.look() {
            Seen::Running(_) => return Ok(()),
            Seen::Stopping(_) => {
                return Err(ProviderError::new(Class::Retry, doing, "it is still on its way to sleep"));
            }
            Seen::Dead => return Err(gone(doing)),
            Seen::Stopped => {
                // In this order: a croft that is killed in between leaves one that is ordered and can be started.
                dir.remove("process").map_err(failed)?;
                dir.remove("qmp").map_err(failed)?;
                dir.remove("stopping").map_err(failed)?;
            }
            Seen::Ordered => {}
        }
        self.starter(doing)?.start(dir, &lock, &record.name, doing)
    }
}

/// Ends a machine and removes all of it.
fn terminate(dir: &RunDir, doing: &str) -> Result<(), ProviderError> {
    let failed = |error| broken(doing, error);
    let Some(lock) = dir.lock().map_err(failed)? else { return Ok(()) };
    dir.forbid_start(&lock).map_err(failed)?;
    end_process(dir, doing)?;
    dir.destroy(lock).map_err(failed)
}

/// Ends the process of a machine, by asking first.
fn end_process(dir: &RunDir, doing: &str) -> Result<(), ProviderError> {
    let Some(process) = Process::read(&dir.file("process")).filter(Process::is_alive) else { return Ok(()) };
    let asked = qmp::send(dir.path(), qmp::Command::Quit);
    if asked.is_ok() && process.is_gone_within(Duration::from_secs(3)) {
        return Ok(());
    }
    process.kill().map_err(|error| broken(doing, error))?;
    if process.is_gone_within(DYING) {
        return Ok(());
    }
    let message = format!("its process {process:?} does not die; it is tried again");
    Err(ProviderError::new(Class::Retry, doing, message))
}

fn press_power(dir: &RunDir, doing: &str) -> Result<(), ProviderError> {
    let pressed = qmp::send(dir.path(), qmp::Command::PowerDown);
    pressed.map_err(|error| broken(doing, error))
}

fn gone(doing: &str) -> ProviderError {
    ProviderError::new(Class::Gone, doing, "there is no such virtual machine here")
}

fn broken(doing: &str, error: io::Error) -> ProviderError {
    let class = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Class::Capacity,
        _ => Class::Retry,
    };
    ProviderError::new(class, doing, error.to_string()).because(error)
}

/// Free memory in MiB, as the kernel estimates it.
fn free_memory() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib >> 10)
}
