//! A machine that is a virtual one: the guest of `nix/guest`, which reads the metadata service as on EC2.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Net,
    net::{GATEWAY, Owned},
};

/// Starts one; `number` is its own in this network. One that is mute has no network.
pub(super) fn start(net: &Net, dir: &Path, number: u32, address: &str, guest: &Path, is_mute: bool) -> Owned {
    let tap = format!("t{number}");
    net.ip(&["tuntap", "add", &tap, "mode", "tap"]);
    if !is_mute {
        net.ip(&["link", "set", &tap, "master", "br0", "up"]);
    }
    let file = |name: &str| guest.join(name).display().to_string();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-M", "pc,usb=off,vmport=off"]);
    command.args(["-accel", "tcg,thread=multi,tb-size=64", "-cpu", "max", "-smp", "1", "-m", "512"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(["-kernel", &file("vmlinux"), "-initrd", &file("initrd.cpio")]);
    command.arg("-serial").arg(format!("file:{}", dir.join("console").display()));
    command.arg("-append").arg(format!(
        "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t mitigations=off nokaslr no_timer_check \
         random.trust_cpu=on croft.imds=1 croft.name=m{number} croft.ip={address}/16 croft.gw={GATEWAY}"
    ));
    let root = format!("id=root,format=raw,if=none,readonly=on,file.locking=off,file={}", file("root.ext4"));
    command.args(["-drive", &root, "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci"]);
    command.arg("-netdev").arg(format!("tap,id=net,ifname={tap},script=no,downscript=no"));
    let mac = format!("52:54:00:00:{:02x}:{:02x}", number / 256, number % 256);
    command.arg("-device").arg(format!("virtio-net-pci,netdev=net,mac={mac},romfile="));
    let log = File::create(dir.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Owned::start(Some(net), command)
}
