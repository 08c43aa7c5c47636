#!/bin/bash
# unpack-debian.sh PREFIX SUITE PROGRAM... -- PACKAGE...
# Unpacks packages of another Debian suite, with all they need down to libc, under PREFIX/root, and makes the named
# programs (paths below /usr) run from there as PREFIX/bin/NAME. The host's own packages stay as they are.
set -euo pipefail
prefix=$1 suite=$2
shift 2
programs=()
while [ "$1" != -- ]; do programs+=("$1"); shift; done
shift

command -v patchelf >/dev/null || apt-get install -y -qq --no-install-recommends patchelf >/dev/null
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
[ -n "$mirror" ] || { echo "unpack-debian.sh: apt knows no Debian mirror; run apt-get update" >&2; exit 1; }

# An apt of its own, which believes that nothing is installed.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/etc/{apt.conf.d,preferences.d} "$work"/state/lists/partial "$work"/cache/archives/partial
: >"$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror%/} $suite main" >"$work/etc/sources.list"
options=(-q -o APT::Sandbox::User=root -o Dir::Etc="$work/etc" -o Dir::Etc::SourceList="$work/etc/sources.list"
  -o Dir::Etc::SourceParts=- -o Dir::Etc::Parts=- -o Dir::State="$work/state" -o Dir::State::status="$work/status"
  -o Dir::Cache="$work/cache" -o APT::Install-Recommends=false -o Acquire::Languages=none
  -o APT::Architectures=amd64)
run() { "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }; }
run apt-get "${options[@]}" update
run apt-get "${options[@]}" install -y --download-only "$@"

rm -rf "$prefix"
mkdir -p "$prefix/root" "$prefix/bin"
for deb in "$work"/cache/archives/*.deb; do dpkg -x "$deb" "$prefix/root"; done
for dir in bin sbin lib lib64; do [ -e "$prefix/root/$dir" ] || ln -s "usr/$dir" "$prefix/root/$dir"; done
libs=$prefix/root/usr/lib/x86_64-linux-gnu
# A library with a search path of its own would not look where the program does.
find "$libs" -maxdepth 1 -type f \( -name 'libLLVM*' -o -name 'librustc_driver*' \) -exec patchelf --remove-rpath {} +
for program in "${programs[@]}"; do
  file=$prefix/root/usr/$program
  # DT_RPATH, unlike DT_RUNPATH, holds for the libraries' own needs too.
  patchelf --set-interpreter "$prefix/root/usr/lib64/ld-linux-x86-64.so.2" --force-rpath \
    --set-rpath "$libs:$libs/nix:$prefix/root/usr/lib" "$file"
  ln -sf "../root/usr/$program" "$prefix/bin/$(basename "$program")"
done
