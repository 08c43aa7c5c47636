# package { pname, version, set, programs } -> $out/bin with one wrapper for each program, each enters the root.
{
  root,
  enter,
  runCommand,
}:
{
  pname,
  set, # a pin file: { pins, ... }
  main, # the Debian package whose version this is
  programs ? { }, # name in bin/ -> path in the root
  folders ? [ ], # folders of the root of which every program is wrapped
  finish ? "",
  passthru ? { },
}:
let
  # 1:10.11.19-0+deb12u1 is 10.11.19, 13.16-0+deb11u1 is 13.16, 7.3.19+dfsg-2 is 7.3.19.
  version = builtins.elemAt (builtins.match "([0-9]+:)?([0-9.]*[0-9]).*" set.pins.${main}.version) 1;
  rootDrv = root {
    name = "${pname}-${version}";
    inherit (set) pins;
    inherit finish;
  };
  single = builtins.concatStringsSep "\n" (
    builtins.attrValues (builtins.mapAttrs (name: target: "wrap ${name} ${target}") programs)
  );
in
runCommand "${pname}-${version}" { } ''
  mkdir -p "$out/bin"
  ln -s ${rootDrv}/usr/share "$out/share"
  wrap() {
    [ -e "${rootDrv}$2" ] || [ -L "${rootDrv}$2" ] || { echo "croft: there is no $2 in ${rootDrv}" >&2; exit 1; }
    printf '#!%s ash\nexec %s %s %s "$@"\n' ${enter.busybox}/bin/busybox ${enter}/bin/enter ${rootDrv} "$2" > "$out/bin/$1"
    chmod 755 "$out/bin/$1"
  }
  for folder in ${toString folders}; do
    for program in ${rootDrv}$folder/*; do wrap "''${program##*/}" "''${program#${rootDrv}}"; done
  done
  ${single}
''
// {
  inherit pname version;
  root = rootDrv;
}
// passthru
