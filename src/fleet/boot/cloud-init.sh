#!/bin/sh
# First start of a builder on a stock Debian or Ubuntu image. What stands between @ comes as base64.
set -eu
export DEBIAN_FRONTEND=noninteractive
mkdir -p /run/croft /etc/croft
chmod 700 /run/croft /etc/croft
value() { printf %s "$1" | base64 -d; }
# Until the machine has its own key nobody may take it for something else.
systemctl stop ssh.socket ssh.service || true

# The dead-man's switch comes first: whatever fails below, the machine ends.
value '@lease@' >/etc/croft/lease
value '@expires@' >/etc/croft/expires
value '@name@' >/etc/croft/name
cat >/usr/local/sbin/croft-watch <<'WATCH'
#!/bin/sh
# Powers the machine off when the lease is not renewed or its time is over; fetches the notice of an interruption.
# Until the farm has come once, the set-up may take a quarter of an hour.
lease=$(cat /etc/croft/lease) expires=$(cat /etc/croft/expires)
case $lease in '' | *[!0-9]*) lease=0;; esac
case $expires in '' | *[!0-9]*) expires=0;; esac
uptime_seconds() { read -r up _ </proc/uptime; now=${up%%.*}; }
meta=http://169.254.169.254/latest
# A build must not read what this machine was told: the metadata service is for root alone.
rule='OUTPUT -d 169.254.169.254 -m owner ! --uid-owner 0 -j REJECT'
shield() { iptables -C $rule 2>/dev/null || iptables -I $rule 2>/dev/null || true; }
token=
notice() {
  [ -n "$token" ] || token=$(curl -sf -m 3 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' $meta/api/token) || return 0
  status=$(curl -s -m 3 --max-filesize 4096 -o /run/croft/notice -w '%{http_code}' -H "X-aws-ec2-metadata-token: $token" $meta/meta-data/spot/instance-action) || return 0
  case $status in
    200) mv /run/croft/notice /run/croft/interruption;;
    404) rm -f /run/croft/interruption;;
    401) token=;;
  esac
}
# Since the boot, so that no set clock makes a lease older or younger.
uptime_seconds
renewed=$now seen=
while :; do
  uptime_seconds
  mkdir -p /run/croft
  stamp=$(stat -c %Y /run/croft/lease 2>/dev/null || true)
  if [ "$stamp" != "$seen" ]; then seen=$stamp renewed=$now; fi
  limit=$lease
  if [ -z "$seen" ] && [ "$limit" -lt 900 ]; then limit=900; fi
  if [ "$lease" -gt 0 ] && [ $((now - renewed)) -ge "$limit" ]; then shutdown -h now; fi
  if [ "$expires" -gt 0 ] && [ "$(date +%s)" -ge "$expires" ]; then shutdown -h now; fi
  shield
  notice
  sleep 5
done
WATCH
chmod 755 /usr/local/sbin/croft-watch
cat >/etc/systemd/system/croft-watch.service <<'UNIT'
[Unit]
Description=Powers this builder off when its farm is silent
[Service]
ExecStart=/usr/local/sbin/croft-watch
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
UNIT
# Also by a timer of systemd's own: it holds when the watch cannot run at all.
cat >/etc/systemd/system/croft-expire.service <<'UNIT'
[Unit]
Description=Ends this builder when its time is over
[Service]
Type=oneshot
ExecStart=/sbin/shutdown -h now
UNIT
expires=$(cat /etc/croft/expires)
if [ "$expires" -gt 0 ]; then
  cat >/etc/systemd/system/croft-expire.timer <<UNIT
[Unit]
Description=Ends this builder when its time is over
[Timer]
OnCalendar=@$expires
[Install]
WantedBy=timers.target
UNIT
  systemctl daemon-reload
  systemctl enable --now croft-expire.timer
else
  systemctl daemon-reload
fi
systemctl enable --now croft-watch.service

# The keys. All other host keys go.
umask 077
mkdir -p /root/.ssh
rm -f /etc/ssh/ssh_host_*
value '@host_key@' >/etc/ssh/ssh_host_ed25519_key
value '@authorized_key@' >/root/.ssh/authorized_keys
umask 022
mkdir -p /etc/ssh/sshd_config.d
cat >/etc/ssh/sshd_config.d/00-croft.conf <<'CONF'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
MaxSessions 64
MaxStartups 64:30:128
ClientAliveInterval 15
ClientAliveCountMax 4
CONF
# What a log-in shell reads is read for every session of the farm.
rm -f /root/.bashrc /root/.profile

apt-get update -qq
apt-get install -y -qq --no-install-recommends nix-bin busybox-static curl iptables openssh-server
getent group nixbld >/dev/null || groupadd -r nixbld
for number in $(seq 1 32); do
  id "nixbld$number" >/dev/null 2>&1 ||
    useradd -r -M -N -g nixbld -G nixbld -d /nonexistent -s /usr/sbin/nologin "nixbld$number"
done
mkdir -p /etc/nix /nix/store
chown root:nixbld /nix/store
chmod 1775 /nix/store
cat >/etc/nix/nix.conf <<'CONF'
build-users-group = nixbld
sandbox = true
sandbox-fallback = false
sandbox-paths = /bin/sh=/usr/bin/busybox
experimental-features = nix-command
substituters =
require-sigs = false
CONF
ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key >/etc/ssh/ssh_host_ed25519_key.pub
systemctl restart ssh
