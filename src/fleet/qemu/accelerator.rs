//! Whether guests run on the processor itself. That `/dev/kvm` opens proves nothing: on some machines a guest then
//! hangs. So one is booted, once for each boot of this machine, until it says a word.

use std::{
    fs::File,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use super::{
    command::{self, Accel},
    image::Image,
    process::boot_id,
};
use crate::config::{Accelerator, QemuSettings};

/// How long a guest may take to its first word.
const PATIENCE: Duration = Duration::from_secs(10);
/// What it says.
const WORD: &[u8] = b"croft: booted";
/// The most that is read of what it says.
const MOST: u64 = 64 * 1024;

/// How guests are run here. What was found is kept in `root/accelerator` until the next boot.
pub(super) fn choose(settings: &QemuSettings, program: &Path, image: &Image, root: &Path) -> Accel {
    match settings.accelerator {
        Accelerator::Kvm => Accel::Kvm,
        Accelerator::Tcg => Accel::Tcg,
        Accelerator::Auto if !opens() => Accel::Tcg,
        Accelerator::Auto => {
            let file = root.join("accelerator");
            let known = fs_err::read_to_string(&file).unwrap_or_default();
            let boot = boot_id();
            let said = |accel: Accel| format!("{boot} {}\n", accel.name());
            if let Some(accel) = [Accel::Kvm, Accel::Tcg].into_iter().find(|accel| said(*accel) == known) {
                return accel;
            }
            let accel = if boots(settings, program, image) { Accel::Kvm } else { Accel::Tcg };
            tracing::info!(accelerator = accel.name(), "tried how virtual machines run here");
            if let Err(error) = fs_err::write(&file, said(accel)) {
                tracing::debug!(%error, "what was found about virtual machines is not kept");
            }
            accel
        }
    }
}

fn opens() -> bool {
    File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// A child that ends with the one who holds it.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // One that is gone already is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn boots(settings: &QemuSettings, program: &Path, image: &Image) -> bool {
    let mut command = Command::new(program);
    command.args(command::probe(settings, image, Accel::Kvm));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(child) = command.spawn() else { return false };
    let mut held = Held(child);
    let Some(mut console) = held.0.stdout.take() else { return false };
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut chunk = [0; 1024];
        while let Ok(count @ 1..) = console.read(&mut chunk) {
            seen.extend_from_slice(&chunk[..count]);
            if seen.windows(WORD.len()).any(|part| part == WORD) {
                let _ = tell.send(());
                return;
            }
            if seen.len() as u64 > MOST {
                return;
            }
        }
    });
    let booted = told.recv_timeout(PATIENCE).is_ok();
    drop(held);
    // With the child gone its console is closed, so the reader ends.
    booted && reader.join().is_ok()
}
