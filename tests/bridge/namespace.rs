//! A machine made of namespaces: its own network, processes, mounts, store and sshd. It keeps the contract of the
//! real images: keys and lease from the user data, `/run/croft/lease` to renew, `/run/croft/interruption` as a notice.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    Net,
    net::{GATEWAY, Owned},
};

/// What runs first inside. Its end is the machine's.
const SCRIPT: &str = r#"
set -e
trap 'exit 0' TERM
until ip link show eth0 > /dev/null 2>&1; do sleep 0.01; done
ip addr add @address@/16 dev eth0
ip link set eth0 up
ip link set lo up
ip route add default via @gateway@
mount --make-rprivate /
mount --bind @dir@/nix /nix
mount --bind @dir@/etc-nix /etc/nix
mount --bind @dir@/passwd /etc/passwd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd /run/croft /run/bin
cp @dir@/told/* /run/croft
chmod 600 /run/croft/*
cp @dir@/sshd_config /run/sshd_config
printf '#!/bin/sh\nkill -TERM 1\n' > /run/bin/poweroff
chmod 755 /run/bin/poweroff
mount -t tmpfs tmpfs /root
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp
cd /
seconds() { read -r up _ < /proc/uptime; now=${up%%.*}; }
meta=http://169.254.169.254/latest
token=
notice() {
  [ -n "$token" ] || token=$(curl -sf -m 3 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $meta/api/token) || return 0
  if curl -sf -m 3 -o /run/croft/notice -H "X-aws-ec2-metadata-token: $token" $meta/meta-data/spot/instance-action; then
    mv /run/croft/notice /run/croft/interruption
  fi
}
[ @mute@ = 1 ] || /usr/sbin/sshd -D -e -f /run/sshd_config &
lease=$(cat /run/croft/data-lease 2> /dev/null || echo 0)
expires=$(cat /run/croft/data-expires 2> /dev/null || echo 0)
seconds
renewed=$now seen=
while :; do
  sleep 0.5 &
  wait $!
  seconds
  stamp=$(stat -c %Y /run/croft/lease 2> /dev/null || true)
  if [ "$stamp" != "$seen" ]; then seen=$stamp renewed=$now; fi
  if [ "$lease" -gt 0 ] && [ $((now - renewed)) -ge "$lease" ]; then exit 0; fi
  if [ "$expires" -gt 0 ] && [ "$(date +%s)" -ge "$expires" ]; then exit 0; fi
  notice
done
"#;

/// Starts one; `number` is its own in this network. One that is mute has no sshd.
pub(super) fn start(
    net: &Net,
    dir: &Path,
    number: u32,
    address: &str,
    user_data: &[u8],
    is_mute: bool,
) -> Owned {
    write_files(dir, user_data);
    let script = SCRIPT
        .replace("@address@", address)
        .replace("@gateway@", GATEWAY)
        .replace("@dir@", &dir.display().to_string())
        .replace("@mute@", if is_mute { "1" } else { "0" });
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--mount", "--net", "--pid", "--fork"]);
    command.args(["--kill-child=KILL", "--mount-proc", "sh", "-c", &script]);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["CROFT_", "NIX_", "AWS_"].iter().any(|start| name.starts_with(start)) {
            command.env_remove(name);
        }
    }
    let log = File::create(dir.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let process = Owned::start(Some(net), command);
    plug_in(net, &process, number);
    process
}

/// Joins the machine to the switch, once it has a network of its own.
fn plug_in(net: &Net, process: &Owned, number: u32) {
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let holder = net.way()[1].trim_start_matches("--net=/proc/").split('/').next().unwrap().parse().unwrap();
    let start = Instant::now();
    while network(process.pid()).is_none_or(|own| Some(own) == network(holder)) {
        assert!(
            start.elapsed() < Duration::from_secs(20) && !process.has_ended(),
            "no network for a machine"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let link = format!("v{number}");
    net.ip(&[
        "link",
        "add",
        &link,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        &process.pid().to_string(),
    ]);
    net.ip(&["link", "set", &link, "master", "br0", "up"]);
}

/// The lines of `key base64` of the user data.
fn told(user_data: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let text = String::from_utf8_lossy(user_data);
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        let plain = key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        Some((key.to_owned(), BASE64_STANDARD.decode(value.trim()).ok()?)).filter(|_| plain)
    };
    text.lines().filter_map(line).collect()
}

fn write_files(dir: &Path, user_data: &[u8]) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    for folder in ["nix/store", "nix/var/nix", "etc-nix", "told"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    for (key, value) in told(user_data) {
        fs::write(dir.join(format!("told/data-{key}")), value).unwrap();
    }
    let shells = ["/usr/bin/busybox", "/bin/busybox"];
    let shell = shells.iter().find(|path| Path::new(path).exists()).unwrap_or(&shells[0]);
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    write(
        "etc-nix/nix.conf",
        &format!(
            "build-users-group = nixbld\nexperimental-features = nix-command\nsandbox = true\n\
             sandbox-fallback = false\nsandbox-paths = /bin/sh={shell}\nsubstituters =\ntrusted-users = root\n\
             require-sigs = false\nmax-jobs = 8\ncores = 1\n"
        ),
    );
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let others: String =
        users.lines().filter(|line| !line.starts_with("root:")).flat_map(|line| [line, "\n"]).collect();
    write("passwd", &format!("root:x:0:0:root:/root:/bin/sh\n{others}"));
    write(
        "sshd_config",
        "HostKey /run/croft/data-host_key\nPidFile none\nAuthorizedKeysFile /run/croft/data-authorized_key\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\nUseDNS no\n\
         MaxSessions 64\nMaxStartups 64:30:128\nSetEnv PATH=/run/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    );
}
