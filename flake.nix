{
  description = "croft: a declarative, Nix-based, reproducible build farm";

  # Only for building croft itself; `croft.lib` needs no nixpkgs, and Nix does not fetch what is not used.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = builtins.filter (system: nixpkgs.legacyPackages ? ${system}) [
        "x86_64-linux"
        "aarch64-linux"
      ];
      perSystem =
        make:
        builtins.listToAttrs (
          map (name: {
            inherit name;
            value = make nixpkgs.legacyPackages.${name};
          }) systems
        );
      # A smaller package set, such as nix/pins, has no Rust: then there is a library, but no program.
      ifRust = pkgs: set: if pkgs ? rustPlatform then set else { };
    in
    {
      lib = import ./nix/lib;

      packages = perSystem (
        pkgs:
        ifRust pkgs rec {
          croft = pkgs.callPackage ./nix/package.nix { };
          default = croft;
        }
      );

      checks = import ./nix/checks.nix {
        inherit
          self
          systems
          perSystem
          ifRust
          ;
      };

      devShells = perSystem (pkgs: ifRust pkgs { default = pkgs.callPackage ./nix/devshell.nix { }; });

      nixosModules.default = import ./nix/module.nix { inherit self; };
      nixosModules.builder = import ./nix/builder-image.nix;

      templates.default = {
        path = ./nix/templates/default;
        description = "A test matrix of two axes";
      };
    };
}
