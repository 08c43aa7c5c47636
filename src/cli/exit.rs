//! Errors of the command line and their exit codes.

use crate::{
    cache::CacheError,
    config::ConfigError,
    db::DbError,
    engine::{EngineError, IdentityError},
    eval::{ErrorKind, FlakeRefError},
    logs::LogError,
};

/// The exit code of bad usage or configuration.
pub(super) const USAGE: u8 = 2;
/// The exit code of faults of the machine, the store or croft's own state.
pub(super) const INFRA: u8 = 3;
/// The exit code of a flake that cannot be evaluated.
pub(super) const EVALUATION: u8 = 6;
/// The exit code of `plan --exit-code` that found work.
pub(super) const WORK: u8 = 10;
/// The exit code after Ctrl-C.
pub(super) const INTERRUPTED: u8 = 130;

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Flake(#[from] FlakeRefError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Other(String),
}

impl CliError {
    /// The exit code that belongs to it.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Config(_)
            | Self::Flake(_)
            | Self::Cache(CacheError::Settings { .. } | CacheError::ReadOnly(_)) => USAGE,
            Self::Engine(error) => engine_code(error),
            Self::Cache(_) | Self::Identity(_) | Self::Db(_) | Self::Log(_) | Self::Other(_) => INFRA,
        }
    }
}

fn engine_code(error: &EngineError) -> u8 {
    match error {
        EngineError::Eval(error) => match error.kind() {
            ErrorKind::Usage => USAGE,
            ErrorKind::Infrastructure => INFRA,
            ErrorKind::Evaluation => EVALUATION,
        },
        EngineError::NothingMatches(_) => USAGE,
        EngineError::Graph(_)
        | EngineError::Dial(_)
        | EngineError::Client(_)
        | EngineError::Db(_)
        | EngineError::Log(_)
        | EngineError::Task(_)
        | EngineError::Probe(_)
        | EngineError::Fleet(_)
        | EngineError::Bug(_) => INFRA,
    }
}
