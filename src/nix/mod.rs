//! Nix vocabulary and formats: store paths, derivations and their keys, NARs, narinfo, and the daemon protocol.
//!
//! Layer 0. Nothing here opens a file, a socket or a process: bytes come in through slices, `Read`/`Write` (NAR) or
//! `AsyncRead`/`AsyncWrite` (protocol). The third-party Nix crates are named in this folder only, so that they can be
//! replaced in one place. Absent: evaluation, dialling a daemon, binary-cache HTTP.

pub mod daemon;
pub mod derivation;
#[doc(hidden)]
pub mod fuzzing;
pub mod hash;
pub mod key;
mod name;
pub mod nar;
pub mod narinfo;
mod path;
pub mod signature;
pub mod wire;

pub use derivation::{BasicDerivation, Derivation, DerivationError};
pub use hash::{NarHash, NixHash};
pub use key::{DrvKey, KeyError, KeyTable};
pub use name::{NameError, OutputName, System, SystemFeature};
pub use path::{DrvPath, DrvPathError, StoreDir, StorePath};
