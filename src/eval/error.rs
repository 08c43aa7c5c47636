//! Why an evaluation, or one cell of it, came to nothing.

use std::{path::PathBuf, time::Duration};

use super::message::Position;
use crate::{
    matrix::{ContractError, LabelError},
    task::TaskError,
};

/// Whose concern an error is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was asked for, or how croft is set up (2).
    Usage,
    /// The machine croft runs on (3).
    Infrastructure,
    /// The project's Nix code (6).
    Evaluation,
}

/// An evaluation that gave no cells, or not all.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// There is no flake at the reference.
    #[error(
        "{flake} is no flake: {message}; name a folder with a flake.nix (in a git repository it must be known to git: `git add flake.nix`)"
    )]
    NoFlake {
        /// The reference.
        flake: String,
        /// Nix's words.
        message: String,
    },
    /// The flake has no checks for the wanted systems.
    #[error(
        "{flake} has no checks{}; give its outputs `checks.<system>.<name>`, for example with croft.lib.matrix",
        for_systems(systems)
    )]
    NoChecks {
        /// The reference.
        flake: String,
        /// The systems it does have checks for, when none of them was wanted.
        systems: Vec<String>,
    },
    /// A file is not Nix code.
    #[error("{position}: {message}; correct the file")]
    Syntax {
        /// Where.
        position: Position,
        /// Nix's words.
        message: String,
    },
    /// An input has no entry in the lock file.
    #[error(
        "{}{flake} is not locked: {message}; run `nix flake lock` there and commit flake.lock",
        named(input.as_ref())
    )]
    UnlockedInput {
        /// The reference.
        flake: String,
        /// The input, where Nix names it.
        input: Option<String>,
        /// Nix's words.
        message: String,
    },
    /// There is no such program.
    #[error("cannot find the program {}; install Nix, or name its `nix` in CROFT_NIX", program.display())]
    MissingNix {
        /// The program.
        program: PathBuf,
    },
    /// Nix cannot reach its daemon.
    #[error("cannot reach the Nix daemon: {message}; start it (`systemctl start nix-daemon`) and try again")]
    DaemonDown {
        /// Nix's words.
        message: String,
    },
    /// The store cannot be written.
    #[error(
        "cannot write to the Nix store: {message}; make the store and its database writable, or name another store"
    )]
    StoreReadOnly {
        /// Nix's words.
        message: String,
    },
    /// More cells than croft takes.
    #[error(
        "{flake} has {count} checks and the limit is {limit}; exclude combinations, evaluate fewer systems, or raise eval.max_cells"
    )]
    TooManyCells {
        /// The reference.
        flake: String,
        /// How many it has.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// It took too long.
    #[error("evaluating {flake} was stopped after {} s; look for a loop in flake.nix, or raise eval.timeout", limit.as_secs())]
    Timeout {
        /// The reference.
        flake: String,
        /// The limit that was met.
        limit: Duration,
    },
    /// It took too much memory.
    #[error("evaluating {flake} needs more than {} MiB; look for an endless list in flake.nix, or raise eval.memory", limit / 1_048_576)]
    Memory {
        /// The reference.
        flake: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// It printed too much.
    #[error("evaluating {flake} gave more than {} MiB of output; make the values in passthru.croft smaller", limit / 1_048_576)]
    OutputTooBig {
        /// The reference.
        flake: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Nix reports an error in the flake.
    #[error("evaluating {flake}{}: {message}", at(position.as_ref()))]
    Nix {
        /// The reference.
        flake: String,
        /// Nix's words.
        message: String,
        /// Where.
        position: Option<Position>,
    },
    /// Nix died, or said that all went well without the result; more than once.
    #[error(
        "nix ended without a result, {tries} times: {detail}; try `nix eval {flake}#checks --apply builtins.attrNames` by hand, or another Nix version"
    )]
    Crashed {
        /// The reference.
        flake: String,
        /// How often it was tried.
        tries: u32,
        /// What happened.
        detail: String,
    },
    /// The tree is another one now.
    #[error("the files of {flake} changed while they were evaluated; run it again")]
    Changed {
        /// The reference.
        flake: String,
    },
    /// It was called off.
    #[error("the evaluation was cancelled")]
    Cancelled,
    /// The machine refused something that croft needs.
    #[error("{action}: {source}")]
    Io {
        /// What croft was doing.
        action: String,
        /// What the machine said.
        source: std::io::Error,
    },
    /// A bug.
    #[error(transparent)]
    Internal(#[from] TaskError),
}

impl EvalError {
    /// Whose concern it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoFlake { .. } | Self::MissingNix { .. } => ErrorKind::Usage,
            Self::DaemonDown { .. }
            | Self::StoreReadOnly { .. }
            | Self::Crashed { .. }
            | Self::Changed { .. }
            | Self::Cancelled
            | Self::Io { .. }
            | Self::Internal(_) => ErrorKind::Infrastructure,
            Self::NoChecks { .. }
            | Self::Syntax { .. }
            | Self::UnlockedInput { .. }
            | Self::TooManyCells { .. }
            | Self::Timeout { .. }
            | Self::Memory { .. }
            | Self::OutputTooBig { .. }
            | Self::Nix { .. } => ErrorKind::Evaluation,
        }
    }
}

/// Why one cell has no derivation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CellError {
    /// Nix reports an error.
    #[error("{}{message}", start(position.as_ref()))]
    Nix {
        /// Nix's words.
        message: String,
        /// Where.
        position: Option<Position>,
    },
    /// So many cells are broken that croft did not ask for the message of this one.
    #[error(
        "the cell throws an error; its message was not asked for, since {0} other cells are broken: correct those first"
    )]
    Unread(usize),
    /// It is something else than a derivation.
    #[error(
        "the check is of type {0}, not a derivation; let it be the result of croft.lib.cell or `derivation`"
    )]
    NotADerivation(String),
    /// It builds while it is evaluated.
    #[error("{}the cell needs a build during evaluation (import from derivation): {message}; commit the generated file, or allow it in croft.toml with eval.import_from_derivation = \"allow\"", start(position.as_ref()))]
    ImportFromDerivation {
        /// Nix's words.
        message: String,
        /// Where.
        position: Option<Position>,
    },
    /// It took too long.
    #[error("evaluating the cell was stopped after {} s; look for a loop, or raise eval.timeout", .0.as_secs())]
    Timeout(Duration),
    /// It took too much memory.
    #[error("evaluating the cell needs more than {} MiB; look for an endless list, or raise eval.memory", .0 / 1_048_576)]
    Memory(u64),
    /// It printed too much.
    #[error("the cell gave more than {} MiB of output; make the values in its passthru.croft smaller", .0 / 1_048_576)]
    OutputTooBig(u64),
    /// Nix died of it, more than once.
    #[error("nix ended without a result each time it evaluated the cell: {0}; try another Nix version")]
    Crashed(String),
    /// Its attribute name is unusable.
    #[error(transparent)]
    Name(#[from] LabelErrorText),
    /// What it says of itself is unusable.
    #[error("{0}")]
    Contract(String),
}

/// A [`LabelError`] that can be copied.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LabelErrorText(String);

impl From<LabelError> for CellError {
    fn from(error: LabelError) -> Self {
        Self::Name(LabelErrorText(error.to_string()))
    }
}

impl From<ContractError> for CellError {
    fn from(error: ContractError) -> Self {
        Self::Contract(error.to_string())
    }
}

fn for_systems(systems: &[String]) -> String {
    if systems.is_empty() {
        return String::new();
    }
    format!(" for the wanted systems (it has some for {})", systems.join(", "))
}

fn named(input: Option<&String>) -> String {
    input.map(|input| format!("the input {input:?} of ")).unwrap_or_default()
}

fn at(position: Option<&Position>) -> String {
    position.map(|position| format!(", at {position}")).unwrap_or_default()
}

fn start(position: Option<&Position>) -> String {
    position.map(|position| format!("{position}: ")).unwrap_or_default()
}
