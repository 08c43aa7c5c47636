//! The limits of an evaluation and what Nix is told about it.

use std::{fmt::Write, num::NonZeroUsize, path::PathBuf, time::Duration};

const MIB: u64 = 1024 * 1024;

/// How an evaluation runs.
#[derive(Debug, Clone)]
pub struct EvalSettings {
    /// The `nix` program: a path, or a name that is looked up in `PATH`. Default: `nix`.
    pub nix: PathBuf,
    /// The store to instantiate into, as `nix --store` takes it. Default: Nix's own.
    pub store: Option<String>,
    /// The address space of one child, in bytes. Default: 8 GiB.
    pub memory_limit: u64,
    /// The longest a child may run without finishing a cell. Default: 2 minutes.
    pub wall_clock: Duration,
    /// The longest a whole evaluation may take. Default: 30 minutes.
    pub total: Duration,
    /// What one child may print for croft, in bytes. Default: 64 MiB.
    pub output_cap: u64,
    /// How much of a child's messages is kept, from the end, in bytes. Default: 64 KiB.
    pub stderr_cap: usize,
    /// How many children run at once. Default: the number of cores.
    pub workers: NonZeroUsize,
    /// The most cells of one flake. Default: 50,000.
    pub max_cells: usize,
    /// Whether evaluation may build. Default: refused.
    pub import_from_derivation: ImportFromDerivation,
    /// Further Nix options, which win over croft's. Default: none.
    pub options: Vec<NixOption>,
}

/// Whether evaluating a flake may build derivations and read what they made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImportFromDerivation {
    /// A cell that needs it is broken, and says so.
    #[default]
    Refused,
    /// Evaluation builds what it needs, on this machine.
    Allowed,
}

/// A Nix option, as a line of `nix.conf` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NixOption {
    /// Its name, such as `restrict-eval`.
    pub name: String,
    /// Its value; of one line.
    pub value: String,
}

impl Default for EvalSettings {
    fn default() -> Self {
        Self {
            nix: PathBuf::from("nix"),
            store: None,
            memory_limit: 8192 * MIB,
            wall_clock: Duration::from_mins(2),
            total: Duration::from_mins(30),
            output_cap: 64 * MIB,
            stderr_cap: 64 * 1024,
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_cells: 50_000,
            import_from_derivation: ImportFromDerivation::Refused,
            options: Vec::new(),
        }
    }
}

impl EvalSettings {
    /// The value of `NIX_CONFIG`, which Nix reads after every configuration file.
    pub(super) fn nix_config(&self) -> String {
        let mut lines = String::from(
            "experimental-features = nix-command flakes\n\
             pure-eval = true\n\
             accept-flake-config = false\n\
             use-registries = false\n\
             flake-registry = /var/empty/croft-has-no-flake-registry\n\
             nix-path =\n\
             plugin-files =\n\
             post-build-hook =\n\
             warn-dirty = false\n\
             eval-cache = false\n\
             show-trace = true\n",
        );
        // `nix eval FLAKE#checks` first looks for packages.<system>.checks; no flake has packages for this system.
        lines.push_str(match self.import_from_derivation {
            ImportFromDerivation::Refused => "allow-import-from-derivation = false\nsystem = croft-none\n",
            ImportFromDerivation::Allowed => "allow-import-from-derivation = true\n",
        });
        for NixOption { name, value } in &self.options {
            // A line break would smuggle in a second option; no value has one.
            let line = format!("{name} = {value}").replace(['\n', '\r'], " ");
            let _ = writeln!(lines, "{line}");
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_one_line_and_comes_last() {
        let option = NixOption { name: "max-jobs".into(), value: "1\naccept-flake-config = true".into() };
        let config = EvalSettings { options: vec![option], ..EvalSettings::default() }.nix_config();
        assert_eq!(config.lines().last(), Some("max-jobs = 1 accept-flake-config = true"));
        assert!(config.contains("allow-import-from-derivation = false\n"));
    }
}
