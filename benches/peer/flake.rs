//! Generated flakes of trivial cells.

use std::{fmt::Write as _, io, path::Path};

use tempfile::TempDir;

/// A flake in a folder of its own, whose derivations no other flake has.
#[derive(Debug)]
pub(crate) struct Flake {
    dir: TempDir,
    cells: usize,
}

impl Flake {
    /// A new flake of `cells` trivial checks for this machine.
    pub(crate) fn fresh(cells: usize) -> io::Result<Self> {
        Self::of(cells, "echo > $out")
    }

    /// A new flake of `cells` checks for this machine, all of one shell script.
    pub(crate) fn of(cells: usize, script: &str) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("croft-bench-").tempdir()?;
        let nonce = uuid::Uuid::now_v7().simple();
        let system = system();
        let text = format!(
            r#"{{
  outputs = {{ self }}: {{
    checks.{system} = builtins.listToAttrs (builtins.genList (i: {{
      name = "cell-${{toString i}}";
      value = derivation {{
        name = "bench-{nonce}-${{toString i}}";
        system = "{system}";
        builder = "/bin/sh";
        args = [ "-c" "{script}" ];
      }};
    }}) {cells});
  }};
}}
"#
        );
        fs_err::write(dir.path().join("flake.nix"), text)?;
        Ok(Self { dir, cells })
    }

    /// The reference that both programs are given.
    pub(crate) fn reference(&self) -> String {
        reference(self.dir.path())
    }

    /// Each check as an installable.
    pub(crate) fn installables(&self) -> Vec<String> {
        let (flake, system) = (self.reference(), system());
        (0..self.cells)
            .map(|cell| {
                let mut text = flake.clone();
                // Writing to a string cannot fail.
                write!(text, "#checks.{system}.cell-{cell}").ok();
                text
            })
            .collect()
    }
}

fn reference(dir: &Path) -> String {
    format!("path:{}", dir.display())
}

fn system() -> String {
    format!("{}-linux", std::env::consts::ARCH)
}
