//! The scenarios in which whole programs run.

use tempfile::TempDir;

use super::{
    Outcome,
    flake::Flake,
    measure::{Program, Samples},
    report::Figure,
};

/// The ratio at which croft has reached its goal, and the one it aims at.
const LOCAL: (f64, f64) = (0.8, 0.6);
const KNOWN: (f64, f64) = (0.2, 0.1);

/// 500 new trivial derivations: `croft check` without any state against one `nix build`, evaluation included.
pub(crate) fn local_500(rounds: usize) -> Outcome {
    let (mut croft, mut peer) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let (state, flake) = (TempDir::new()?, Flake::fresh(500)?);
        croft.add(Program::croft(state.path()).args(["check", "--quiet", &flake.reference()]).timed()?);
        let flake = Flake::fresh(500)?;
        peer.add(Program::nix().args(["build", "--no-link"]).args(flake.installables()).timed()?);
    }
    Ok(Figure::ratio(&croft, &peer, LOCAL))
}

/// 2,000 cells whose results are known: `croft check` against `nix flake check` with every output valid.
pub(crate) fn known_2000(rounds: usize) -> Outcome {
    let (state, flake) = (TempDir::new()?, Flake::fresh(2000)?);
    let check = || Program::croft(state.path()).args(["check", "--quiet", &flake.reference()]).timed();
    check()?;
    let (mut croft, mut peer) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        croft.add(check()?);
        peer.add(Program::nix().args(["flake", "check", &flake.reference()]).timed()?);
    }
    Ok(Figure::ratio(&croft, &peer, KNOWN))
}
