# The croft program, from the crates that Cargo.lock names.
{
  lib,
  rustPlatform,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
  inherit (lib) fileset;
in
rustPlatform.buildRustPackage {
  pname = manifest.package.name;
  inherit (manifest.package) version;

  # Only what cargo reads, so that a word in the documentation rebuilds nothing.
  src = fileset.toSource {
    root = ../.;
    fileset = fileset.unions (
      [
        ../Cargo.toml
        ../Cargo.lock
        ../src
      ]
      ++ map fileset.maybeMissing [
        ../README.md
        ../migrations
        ../tests
        ../clippy.toml
        ../rustfmt.toml
      ]
    );
  };

  cargoLock.lockFile = ../Cargo.lock;

  # The integration tests build with a real Nix, which a Nix build cannot nest everywhere; `make test` runs them.
  cargoTestFlags = [ "--lib" ];

  meta = {
    inherit (manifest.package) description;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = "croft";
    platforms = lib.platforms.linux;
  };
}
