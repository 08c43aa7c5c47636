# A small package set in the shape of nixpkgs, from pinned downloads: the same attribute names, so that a matrix
# written for nixpkgs runs on it. No compiler and no binary cache: Debian's own binaries, each in its own userland.
{
  system ? "x86_64-linux",
  mirrors ? { }, # registry -> base URL; without one a pin has to be in the store already (nix/pins/fetch)
}:
let
  json = file: builtins.fromJSON (builtins.readFile file);
  stems =
    folder:
    map (file: builtins.head (builtins.match "(.*)\\.json" file)) (
      builtins.filter (file: builtins.match ".*\\.json" file != null) (
        builtins.attrNames (builtins.readDir folder)
      )
    );
  load =
    folder:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = json (folder + "/${name}.json");
      }) (stems folder)
    );
  debian = load ./data/debian;
  pypi = load ./data/pypi;

  fetchPin = import ./fetch.nix { inherit system mirrors; };
  busybox = import ./busybox.nix {
    inherit system mirrors fetchPin;
    inherit (debian) seed;
  };
  inherit (busybox) runCommand;
  root = import ./root.nix { inherit fetchPin runCommand; };
  enter = import ./enter.nix { inherit root runCommand; busybox = busybox.seed; pins = debian.enter; };
  package = import ./package.nix { inherit root enter runCommand; };
  python = import ./python.nix { inherit package enter runCommand fetchPin; };

  databases = import ./databases.nix { inherit package debian; };
  pythons = import ./interpreters.nix { inherit python package enter debian pypi; };
  describe =
    pins:
    map (pin: pin // { inherit (fetchPin pin) name; store = (fetchPin pin).outPath; }) (builtins.attrValues pins);
  packages =
    databases
    // pythons
    // {
      busybox = busybox.package;
      coreutils = busybox.package;
    };
in
packages
// {
  inherit system runCommand fetchPin;
  runtimeShell = "${busybox.package}/bin/ash";
  stdenv.hostPlatform = {
    inherit system;
  };
  python27Packages = packages.python27.pkgs;
  python3 = packages.python313;
  python3Packages = packages.python313.pkgs;

  # What nix/pins/fetch reads: the pins that each package needs. `base` is needed by all of them.
  croft = {
    inherit packages;
    pins =
      builtins.mapAttrs (
        name: set: describe set.pins ++ describe (pythons.${name}.wheelPins or { })
      ) (removeAttrs debian [ "enter" "seed" ])
      // {
        base = describe debian.enter.pins ++ describe debian.seed.pins;
      };
    seed = {
      inherit (busybox.seed) name;
      store = busybox.seed.outPath;
    };
    inherit describe;
  };
}
