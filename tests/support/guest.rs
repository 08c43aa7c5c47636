//! The guest for virtual machines, as tests get it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Whether a program is here.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    dirs.iter().any(|dir| dir.join(program).is_file())
}

/// What a guest needs to be built or run, in words, if it is not here.
fn missing() -> Option<&'static str> {
    if !has("qemu-system-x86_64") {
        Some("no qemu-system-x86_64 here; scripts/setup.sh guest installs it")
    } else if !has("debugfs") || !has("cpio") || !has("dpkg-deb") {
        Some("no e2fsprogs, cpio or dpkg-deb here; scripts/setup.sh guest installs them")
    } else {
        None
    }
}

/// Makes a guest with `nix/guest/build`, and says where it is or why there is none.
pub(crate) fn run_build(arguments: &[&str]) -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("nix/guest/build");
    let done = Command::new(script).args(arguments).output().unwrap();
    if done.status.success() {
        Ok(PathBuf::from(String::from_utf8(done.stdout).unwrap().trim()))
    } else {
        Err(String::from_utf8_lossy(&done.stderr).into_owned())
    }
}

/// The guest, made anew only if what it is made of has changed; none, with a word, where it cannot be made.
pub(crate) fn guest() -> Option<PathBuf> {
    let skipped = |why: &str| eprintln!("skipped: {why}");
    if let Some(why) = missing() {
        skipped(why);
        return None;
    }
    match run_build(&[]) {
        Ok(path) => Some(path),
        Err(why) if why.contains("are not in the store") => {
            skipped(&why);
            None
        }
        Err(why) => panic!("{why}"),
    }
}
