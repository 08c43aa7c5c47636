# root { name, pins, finish } -> the unpacked closure of some Debian packages: the whole userland that one interpreter
# or one server sees. No maintainer script runs; what they would have made and a root needs is made here.
{ fetchPin, runCommand }:
{
  name,
  pins,
  finish ? "", # shell text that ends the work, in the root
}:
runCommand "${name}-root"
  {
    debs = map fetchPin (builtins.attrValues pins);
    passwd = "root:x:0:0::/root:/bin/sh\nnixbld:x:1000:100::/build:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
    group = "root:x:0:\nnixbld:x:100:\nnogroup:x:65534:\n";
    manifest = builtins.concatStringsSep "\n" (
      builtins.attrValues (builtins.mapAttrs (package: pin: "${package} ${pin.version}") pins)
    );
    passAsFile = [
      "passwd"
      "group"
      "manifest"
    ];
  }
  ''
    mkdir -p "$out/usr/bin" "$out/usr/sbin" "$out/usr/lib" "$out/usr/lib64" "$out/usr/lib32" "$out/etc" "$out/var/tmp"
    cd "$out"
    for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$folder"; done
    for deb in $debs; do
      ar t "$deb" | grep -q '^data.tar.xz$' || { echo "croft: $deb is not compressed with xz" >&2; exit 1; }
      # A build may not make setuid files; the complaint about them is the only one that is let through.
      if ! ar -p "$deb" data.tar.xz | tar -x -J -o -f - 2> "$NIX_BUILD_TOP/complaints"; then
        ! grep -v -E 'Operation not permitted|error exit delayed' "$NIX_BUILD_TOP/complaints" >&2
      fi
    done
    cp "$passwdPath" etc/passwd
    cp "$groupPath" etc/group
    echo '127.0.0.1 localhost' > etc/hosts
    echo 'hosts: files' > etc/nsswitch.conf
    rm -rf usr/share/doc usr/share/man usr/share/locale usr/share/info usr/share/lintian var/cache
    find . -type f -perm -4000 -exec chmod u-s {} +
    mkdir -p usr/share/croft
    cp "$manifestPath" usr/share/croft/manifest
    ${finish}
  ''
