//! A control group for one child, where the machine lets us make one.
//!
//! A process group loses whoever leaves it; a control group does not. Needs version 2 with `cgroup.kill`
//! (Linux 5.14). The memory and process limits apply where those controllers are delegated to us; the address space
//! limit of the child holds in any case.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

const PREFIX: &str = "croft-eval-";
/// Far more than Nix and git need, far fewer than a fork bomb wants.
const MAX_PROCESSES: u32 = 256;

/// A control group; dropping it kills what is in it.
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// A new group with a memory limit in bytes, or `None` where croft cannot make one.
    pub(super) fn make(memory: u64) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{PREFIX}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = own_folder()?.join(name);
        fs::create_dir(&folder).ok()?;
        let group = Self(folder);
        if !group.0.join("cgroup.kill").exists() {
            return None;
        }
        // These fail where the controller is not delegated; RLIMIT_AS then is the only memory limit.
        let _ = fs::write(group.0.join("memory.max"), memory.to_string());
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        let _ = fs::write(group.0.join("pids.max"), MAX_PROCESSES.to_string());
        Some(group)
    }

    /// The file through which a process joins.
    pub(super) fn door(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// Kills every process in the group.
    pub(super) fn kill(&self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
    }

    /// Whether no process is left in it.
    pub(super) fn is_empty(&self) -> bool {
        let events = fs::read_to_string(self.0.join("cgroup.events")).unwrap_or_default();
        !events.lines().any(|line| line == "populated 1")
    }

    /// Whether the memory limit killed something.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|n| n != "0"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        // A group whose processes are still dying stays; `sweep` removes it later.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Removes the empty groups of croft processes that are gone, and of this one.
pub(super) fn sweep() {
    let Some(Ok(entries)) = own_folder().map(fs::read_dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let owner = rest.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(owner).exists() {
            let _ = fs::write(entry.path().join("cgroup.kill"), "1");
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn own_folder() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    roots.iter().map(|root| Path::new(root).join(own)).find(|folder| folder.join("cgroup.procs").exists())
}
