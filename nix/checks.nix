# `nix flake check`: the library's tests, the cells of examples/hello and, where there is Rust, the program.
{
  self,
  systems,
  perSystem,
  ifRust,
}:
let
  lib = import ./lib;

  # The tests are an evaluation; the derivation only gives `nix flake check` something to build.
  libTests =
    system:
    let
      inherit (import ./lib/tests/eval.nix) failed;
    in
    if failed == [ ] then
      derivation {
        name = "croft-lib-tests";
        inherit system;
        builder = "/bin/sh";
        args = [
          "-c"
          "echo passed > $out"
        ];
      }
    else
      throw "ni./lib/tests/eval.nix fails: ${builtins.concatStringsSep ", " failed}. Next: run nix/lib/tests/eval.sh.";

  hello = ((import ../examples/hello/flake.nix).outputs { self = { }; }).checks;

  # The package with another build step in the place of cargo build.
  step =
    pkgs: name: tool: command:
    self.packages.${pkgs.stdenv.hostPlatform.system}.croft.overrideAttrs (old: {
      pname = "croft-${name}";
      nativeBuildInputs = old.nativeBuildInputs ++ [ tool ];
      buildPhase = command;
      doCheck = false;
      installPhase = "touch $out";
      postInstall = "";
    });
in
lib.merge [
  (builtins.intersectAttrs (builtins.listToAttrs (map (name: { inherit name; value = null; }) systems)) hello)
  (builtins.listToAttrs (
    map (name: {
      inherit name;
      value.lib-tests = libTests name;
    }) systems
  ))
  (perSystem (
    pkgs:
    ifRust pkgs {
      package = self.packages.${pkgs.stdenv.hostPlatform.system}.croft;
      clippy = step pkgs "clippy" pkgs.clippy "cargo clippy --all-targets --offline -- -D warnings";
      fmt = step pkgs "fmt" pkgs.rustfmt "cargo fmt --check";
    }
  ))
]
