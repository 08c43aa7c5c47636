#!/bin/bash
# setup.sh [PART...]: installs what building, running and testing croft need. Idempotent; quick when all is there.
# Parts: tools, rust, nix, guest (virtual machines as builders); for the test suite also machines (what its builders are
# made of, the guest included) and versions (newer Nixes). Default: tools rust nix.
# On Debian, as root, it installs; elsewhere it says what is missing. Tests that miss something say so and are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
RUST_PREFIX=${CROFT_RUST_PREFIX:-/opt/croft-rust}
export CROFT_NIX_VERSIONS=${CROFT_NIX_VERSIONS:-/opt/croft-nix}

say() { echo "setup: $*" >&2; }
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }
install() {
  can_install || { say "missing: $*. Install them, or run as root on Debian."; exit 1; }
  [ -n "$(find /var/lib/apt/lists -name '*Packages*' -print -quit 2>/dev/null)" ] || apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

part_tools() {
  local wanted=()
  command -v cc >/dev/null || wanted+=(gcc libc6-dev)
  command -v git >/dev/null || wanted+=(git)
  command -v python3 >/dev/null || wanted+=(python3)
  command -v xz >/dev/null || wanted+=(xz-utils)
  [ -e /etc/ssl/certs/ca-certificates.crt ] || wanted+=(ca-certificates)
  [ ${#wanted[@]} = 0 ] || install "${wanted[@]}"
}

# The least Rust is the one in Cargo.toml.
rust_fits() {
  local least
  least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  command -v cargo >/dev/null && command -v rustc >/dev/null &&
    [ "$(printf '%s\n' "$least" "$(rustc --version | cut -d' ' -f2)" | sort -V | head -n 1)" = "$least" ]
}

part_rust() {
  rust_fits && return
  PATH=$RUST_PREFIX/bin:$PATH
  rust_fits && return
  can_install || { say "missing: Rust $(sed -n 's/^rust-version = //p' Cargo.toml) or newer; install it with rustup"; exit 1; }
  say "installing Rust under $RUST_PREFIX"
  bash scripts/unpack-debian.sh "$RUST_PREFIX" forky \
    bin/rustc bin/cargo bin/rustdoc bin/rustfmt bin/cargo-fmt bin/clippy-driver bin/cargo-clippy -- \
    rustc cargo rustfmt rust-clippy rust-llvm
  rust_fits || { say "the Rust under $RUST_PREFIX does not run"; exit 1; }
}

part_nix() {
  if ! command -v "${CROFT_NIX:-nix}" >/dev/null; then
    say "installing Nix"
    install nix-bin busybox-static
    nix_conf
  fi
  [ -d /nix/store ] || nix_conf
}

# Debian's package makes no build users, switches the sandbox off, and has no shell for it. A machine that came with
# Nix keeps its configuration.
nix_conf() {
  getent group nixbld >/dev/null || groupadd -r nixbld
  for i in $(seq 1 10); do
    id "nixbld$i" >/dev/null 2>&1 ||
      useradd -r -M -N -g nixbld -G nixbld -d /nonexistent -s /usr/sbin/nologin "nixbld$i"
  done
  mkdir -p /etc/nix /nix/store
  chown root:nixbld /nix/store
  chmod 1775 /nix/store
  cat >/etc/nix/nix.conf <<'CONF'
build-users-group = nixbld
experimental-features = nix-command flakes
sandbox = true
sandbox-fallback = false
sandbox-paths = /bin/sh=/usr/bin/busybox
substituters =
cores = 1
CONF
}

# The packages, of the pairs PROGRAM=PACKAGE, whose program is not there.
missing() {
  local pair
  for pair in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null || echo "${pair#*=}"
  done
}

# What builds and boots nix/guest.
GUEST=(qemu-system-x86_64=qemu-system-x86 debugfs=e2fsprogs cpio=cpio dpkg-deb=dpkg ssh-keygen=openssh-client)
# What the tests' other machines are made of: namespaces with an sshd, and clouds that are programs.
MACHINES=(sshd=openssh-server ssh=openssh-client ip=iproute2 unshare=util-linux nsenter=util-linux setpriv=util-linux
  curl=curl perl=perl-base)

part_guest() {
  local wanted
  mapfile -t wanted < <(missing "${GUEST[@]}")
  [ ${#wanted[@]} = 0 ] || install "${wanted[@]}"
}

part_machines() {
  local wanted
  mapfile -t wanted < <(missing "${GUEST[@]}" "${MACHINES[@]}" | sort -u)
  python3 -c 'import ensurepip' 2>/dev/null || wanted+=(python3-venv)
  if [ ${#wanted[@]} -gt 0 ]; then
    can_install || { say "missing: ${wanted[*]}. The tests that need them are skipped"; return; }
    say "installing ${wanted[*]}"
    quietly install "${wanted[@]}"
  fi
  nix/pins/fetch base nix/guest/pins.json
  nix/guest/build "${XDG_CACHE_HOME:-$HOME/.cache}/croft/guest" >/dev/null
}

# Installs without starting services: the tests start an sshd of their own, and this machine's user may want none.
quietly() (
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  "$@"
)

# Two newer Nixes beside the machine's own, for the test suite: CROFT_NIX_VERSIONS/<version>/bin/nix.
part_versions() {
  local suite prefix version
  mkdir -p "$CROFT_NIX_VERSIONS" 2>/dev/null || true
  for suite in trixie forky; do
    prefix=$CROFT_NIX_VERSIONS-$suite
    if ! "$prefix/bin/nix" --version >/dev/null 2>&1; then
      can_install || { say "no second Nix can be installed here; its tests are skipped"; return; }
      say "installing the Nix of Debian $suite under $prefix"
      bash scripts/unpack-debian.sh "$prefix" "$suite" bin/nix -- nix-bin bash-static
      for name in nix-daemon nix-build nix-store nix-instantiate; do ln -sf nix "$prefix/bin/$name"; done
    fi
    version=$("$prefix/bin/nix" --version | sed 's/.* //')
    ln -sfn "$prefix" "$CROFT_NIX_VERSIONS/$version"
  done
}

[ $# -gt 0 ] || set -- tools rust nix
for part in "$@"; do "part_$part"; done
