# nix/builder-image.nix, evaluated without nixpkgs: options and packages are stand-ins, so this shows that the module is
# whole and what its scripts are; whether NixOS takes the settings, only NixOS can say.
let
  options = set: builtins.mapAttrs (_: option: option.default or (options option)) set;
  lib = {
    mkOption = option: option;
    mkForce = value: value;
    mkIf = condition: value: if condition then value else { };
    getExe = program: "/run/${program.name}";
    types = {
      bool = "bool";
      ints.positive = "positive";
    };
  };
  pkgs = {
    curl = "curl";
    coreutils = "coreutils";
    kmod = "kmod";
    systemd = "systemd";
    writeShellApplication = application: application;
  };
  module = import ../../nix/builder-image.nix {
    inherit lib pkgs;
    config.services = builtins.mapAttrs (_: options) module.options.services;
  };
  # The scripts, as the module's own call of writeShellApplication gives them.
  scripts = import ../../nix/builder-image.nix {
    lib = lib // {
      getExe = program: program;
    };
    inherit pkgs;
    config.services = builtins.mapAttrs (_: options) module.options.services;
  };
  script = service: scripts.config.systemd.services.${service}.serviceConfig.ExecStart.text;
in
builtins.deepSeq module.config {
  inherit (module.config.services) openssh;
  services = builtins.attrNames module.config.systemd.services;
  scripts = map script [
    "croft-user-data"
    "croft-watch"
  ];
}
