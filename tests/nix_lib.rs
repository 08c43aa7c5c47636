//! The Nix library, by its own tests: evaluation, cells that are really built, the Python reporter, and the root flake.

use std::{path::Path, process::Command};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program in the checkout and shows what it said if it fails.
fn run(program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).env("NIX_CONFIG", "experimental-features = nix-command flakes");
    // Nothing may be left in the sources, or the next evaluation sees another tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).join("\n");
    assert!(output.status.success(), "{program} {args:?} ended with {}:\n{said}", output.status);
}

#[test]
fn every_shape_and_every_error_of_the_library() {
    run("sh", &["nix/lib/tests/eval.sh"]);
}

#[test]
fn cells_that_go_wrong_in_every_way_still_report() {
    run("python3", &["nix/lib/tests/cells.py"]);
}

#[test]
fn the_python_reporter_tells_each_test() {
    run("python3", &["nix/lib/tests/reporter.py"]);
}

#[test]
fn the_root_flake_is_sound_with_the_pins_for_nixpkgs() {
    run("nix", &["flake", "check", "--override-input", "nixpkgs", "path:./nix/pins", "."]);
}
