//! Faults that end a run. What a build or a cell does never does.

use crate::{
    db::DbError, eval::EvalError, graph::GraphError, logs::LogError, nix::daemon::ClientError,
    remote::DialError, task::TaskError,
};

/// Why a run could not go on. Whatever was recorded before stays recorded.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The flake could not be evaluated at all.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The derivations make no graph.
    #[error("reading the derivations of the cells: {0}")]
    Graph(#[from] GraphError),
    /// The store's daemon cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The store's daemon fails.
    #[error("asking the store what is there: {0}")]
    Client(#[from] ClientError),
    /// The database fails.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A log cannot be kept.
    #[error("{0}")]
    Log(LogError),
    /// A task broke.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// No cell is left after the user's own choice.
    #[error("no cell matches {0}; `croft plan` lists the cells")]
    NothingMatches(String),
    /// The sandbox cannot be probed.
    #[error("probing the sandbox: {0}")]
    Probe(String),
    /// The machines cannot be kept.
    #[error("keeping the machines: {0}")]
    Fleet(String),
    /// croft contradicts itself.
    #[error("{0}; this is a bug in croft, please report it")]
    Bug(&'static str),
}
