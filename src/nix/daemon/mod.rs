//! The client side of the Nix daemon protocol, versions 1.34 (Nix 2.8) to 1.38 with features (Nix 2.35).
//!
//! Layer 0: a [`Client`] speaks over any pair of streams; dialling is `remote`'s work. What to know:
//!
//! - One operation at a time; several requests of one kind are pipelined where that pays.
//! - An operation that fails, or whose future is dropped before it is done, leaves the stream at an unknown position.
//!   The client is then no longer usable ([`Client::is_usable`]) and must be dropped. Even an orderly error of the
//!   daemon counts: some are sent twice.
//! - Dropping the streams is how a build is cancelled; the daemon kills the builder.
//! - Paths that were uploaded, or given to [`Client::add_temp_root`], are safe from garbage collection for as long as
//!   the connection lives.
//! - The daemon limits builds per connection, not in all. Count jobs yourself.
//! - No operation has a time limit of its own. Put deadlines around them, but not around silence during a build.

mod build;
mod build_result;
mod client;
mod copy;
mod derived_path;
mod download;
mod error;
mod handshake;
mod log;
mod path_info;
mod query;
mod settings;
mod upload;
mod version;

pub use build::BuildMode;
pub use build_result::{BuildOutcome, BuildResult, BuildTimes, FailureStatus, SuccessStatus};
pub use client::{BoxedClient, Client};
pub use copy::{CopyError, Progress};
pub use derived_path::{DerivedPath, OutputsSpec};
pub use error::{ClientError, DaemonError};
pub use log::{Activity, ActivityId, ActivityKind, Discard, LogEvent, LogField, LogSink, Message, OnEvent};
pub use path_info::PathInfo;
pub use query::Missing;
pub use settings::{ClientSettings, OnFailure, Substitution, Verbosity};
pub use upload::{NarToAdd, SignatureCheck};
pub use version::{Protocol, ProtocolVersion, Trust};
