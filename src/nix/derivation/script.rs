//! Derivations that croft itself makes.
//!
//! Layer 0, pure.

use nix_derivation::DerivationBuilder;

use super::Derivation;
use crate::nix::{DrvPath, StoreDir, System};

impl Derivation {
    /// A derivation that runs `script` with the sandbox's own `/bin/sh` and has one output; none if `name` is no name.
    pub fn of_script(store_dir: &StoreDir, name: &str, system: &System, script: &str) -> Option<Self> {
        let built = DerivationBuilder::new_in_store(store_dir.clone(), name, system.as_str(), "/bin/sh")
            .input_addressed_output("out")
            .argument("-c")
            .argument(script)
            .environment("name", name)
            .environment("system", system.as_str())
            .environment("builder", "/bin/sh")
            .environment("out", "")
            .build()
            .ok()?;
        let path = DrvPath::new(built.drv_path()).ok()?;
        Self::parse(store_dir, &path, &built.into_derivation().to_aterm_bytes()).ok()
    }
}
