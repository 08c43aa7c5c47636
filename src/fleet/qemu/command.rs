//! The command line of a virtual machine. Pure.

use std::{ffi::OsString, path::Path};

use super::image::Image;
use crate::config::QemuSettings;

/// How a guest is run, once that is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accel {
    /// By the processor itself.
    Kvm,
    /// Emulated.
    Tcg,
}

impl Accel {
    /// Its name in a file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    fn words(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // A small buffer for translated code: a guest builds little by itself, and 110 MB are saved.
            Self::Tcg => ["-accel", "tcg,thread=multi,tb-size=64", "-cpu", "max"],
        }
    }
}

/// What the kernel is told.
const KERNEL: &str = "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t mitigations=off nokaslr no_timer_check random.trust_cpu=on";

/// The words for a machine whose run directory is the working directory; the program is not among them.
pub(super) fn machine(
    settings: &QemuSettings,
    image: &Image,
    accel: Accel,
    name: &str,
    port: u16,
) -> Vec<OsString> {
    let mut words = base(settings, image, accel);
    let mut add = |list: &[&str]| words.extend(list.iter().map(OsString::from));
    add(&["-append", &format!("{KERNEL} croft.name={name}")]);
    add(&["-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"]);
    add(&["-qmp", "unix:qmp,server=on,wait=off"]);
    add(&["-fw_cfg", "name=opt/croft/user-data,file=user-data"]);
    add(&["-netdev", &format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22")]);
    add(&["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]);
    add(&["-drive"]);
    let mut root = OsString::from("id=root,format=raw,if=none,readonly=on,file.locking=off,file=");
    root.push(escaped(&image.root()));
    words.push(root);
    let mut add = |list: &[&str]| words.extend(list.iter().map(OsString::from));
    add(&["-device", "virtio-blk-pci,drive=root"]);
    if settings.disk > 0 {
        add(&["-drive", "id=disk,format=raw,if=none,cache=unsafe,discard=unmap,file=disk.ext4"]);
        add(&["-device", "virtio-blk-pci,drive=disk"]);
    }
    // A guest that breaks out of its machine finds no new privileges and no new programs.
    add(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    words
}

/// The words for a guest that only says that it boots; its console is the standard output.
pub(super) fn probe(settings: &QemuSettings, image: &Image, accel: Accel) -> Vec<OsString> {
    let mut words = base(settings, image, accel);
    words.extend(["-append", &format!("{KERNEL} croft.probe=1"), "-serial", "stdio"].map(OsString::from));
    words
}

fn base(settings: &QemuSettings, image: &Image, accel: Accel) -> Vec<OsString> {
    let cores = settings.cores.max(1).to_string();
    let memory = format!("{}M", settings.memory);
    let mut words: Vec<OsString> = ["-M", "pc,usb=off,vmport=off"].map(OsString::from).into();
    words.extend(accel.words().map(OsString::from));
    words.extend(["-smp", &cores, "-m", &memory].map(OsString::from));
    words.extend(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"].map(OsString::from));
    words.extend(["-kernel".into(), image.kernel().into(), "-initrd".into(), image.initrd().into()]);
    words
}

/// A path inside an option, where a comma would end it.
fn escaped(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = path.as_os_str().as_bytes();
    let doubled = bytes.iter().flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b',')));
    OsString::from_vec(doubled.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_ends_no_option() {
        assert_eq!(escaped(Path::new("/a,b/root.ext4")), "/a,,b/root.ext4");
    }
}
