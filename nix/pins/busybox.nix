# Where everything begins: one static busybox. It is fixed-output, so its path follows from its hash; nix/pins/fetch
# adds it with `nix-store --add-fixed --recursive`, which needs no builder.
{
  system,
  mirrors,
  fetchPin,
  seed,
}:
let
  deb = builtins.head (builtins.attrValues seed.pins);
  unpack = ''
    mkdir -p x "$out/bin"; cd x
    ar -p "$deb" data.tar.xz | tar -xJ
    cp "$(find . -path '*bin/busybox' -type f)" "$out/bin/busybox"
  '';
  absent = "echo 'croft: the busybox seed is not in the store. Run nix/pins/fetch, then build again.' >&2; exit 1";
  seedDrv = derivation (
    {
      name = "croft-busybox-seed";
      inherit system;
      outputHashMode = "recursive";
      outputHashAlgo = "sha256";
      outputHash = seed.unpacked;
      builder = "/bin/sh";
      args = [
        "-euc"
        (if mirrors ? ${deb.registry} then unpack else absent)
      ];
    }
    // (if mirrors ? ${deb.registry} then { deb = fetchPin deb; } else { })
  );

  # Like nixpkgs' runCommand, but with nothing but busybox on PATH.
  run =
    path: name: env: script:
    derivation (
      env
      // {
        inherit name system;
        builder = "${seedDrv}/bin/busybox";
        args = [
          "ash"
          "-euc"
          "PATH=${path}\n${script}"
        ];
      }
    );
  package =
    run "${seedDrv}/bin" "busybox-1.35" { } ''
      mkdir -p "$out/bin"
      cp ${seedDrv}/bin/busybox "$out/bin/busybox"
      for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$out/bin/$applet"
      done
    ''
    // {
      pname = "busybox";
      version = "1.35";
    };
in
{
  seed = seedDrv;
  inherit package;
  runCommand = run "${seedDrv}/bin";
}
