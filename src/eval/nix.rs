//! The `nix` program: where it is, what it is told, and how its failures are sorted.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{
    EvalError, EvalSettings, FlakeRef,
    child::{End, Ended, Launch},
    message::{NixMessage, plain},
};

/// What Nix may know of croft's environment. A pure evaluation cannot read it; git and ssh, which fetch, do.
const ENVIRONMENT: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "NIX_REMOTE",
    "NIX_STORE_DIR",
    "NIX_STATE_DIR",
    "NIX_LOG_DIR",
    "NIX_CONF_DIR",
    "NIX_USER_CONF_FILES",
    "NIX_DAEMON_SOCKET_PATH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// Words of a Nix that ran out of memory.
const OUT_OF_MEMORY: &[&str] =
    &["out of memory", "std::bad_alloc", "Cannot allocate memory", "Out of Memory"];

/// A `nix` that was found.
#[derive(Debug)]
pub(super) struct Nix {
    program: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Nix {
    /// Looks for the program the settings name, to evaluate with it.
    pub(super) fn find(settings: &EvalSettings) -> Result<Self, EvalError> {
        Self::with_config(settings, settings.nix_config())
    }

    /// Looks for the program the settings name, to ask about the machine rather than a flake.
    pub(super) fn find_plain(settings: &EvalSettings) -> Result<Self, EvalError> {
        Self::with_config(settings, "experimental-features = nix-command flakes\n".to_owned())
    }

    fn with_config(settings: &EvalSettings, own: String) -> Result<Self, EvalError> {
        let program = find_program(&settings.nix)
            .ok_or_else(|| EvalError::MissingNix { program: settings.nix.clone() })?;
        let keep = |key: &&str| Some((OsString::from(key), env::var_os(key)?));
        let mut env: Vec<_> = ENVIRONMENT.iter().filter_map(keep).collect();
        // What the user sets comes first, so that croft's own lines win.
        let config = env::var("NIX_CONFIG").map(|user| format!("{user}\n{own}")).unwrap_or(own);
        env.push(("NIX_CONFIG".into(), config.into()));
        Ok(Self { program, env })
    }

    /// What tells this program from another version of it, without starting it.
    pub(super) fn identity(&self) -> Result<[u8; 32], EvalError> {
        let io = |source| EvalError::Io { action: format!("reading {}", self.program.display()), source };
        let real = self.program.canonicalize().map_err(io)?;
        let meta = real.metadata().map_err(io)?;
        let changed = meta.modified().map(|time| format!("{time:?}")).unwrap_or_default();
        let text = format!("{}\n{}\n{changed}", real.display(), meta.len());
        Ok(Sha256::digest(text.as_bytes()).into())
    }

    /// Its whole environment, in a fixed order.
    pub(super) fn env(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.env.iter().map(|(key, value)| (key.as_os_str(), value.as_os_str()))
    }

    /// A call of it, within the limits of the settings.
    pub(super) fn launch<I>(&self, settings: &EvalSettings, args: I, deadline: Instant) -> Launch
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        // Not --no-write-lock-file as well: with it, Nix locks what is not locked, in memory, and goes on.
        let locked = ["--no-update-lock-file", "--log-format", "raw"].map(OsString::from);
        self.launch_plain(settings, args.into_iter().map(Into::into).chain(locked), deadline)
    }

    /// A call that takes no flake.
    pub(super) fn launch_plain<I>(&self, settings: &EvalSettings, args: I, deadline: Instant) -> Launch
    where
        I: IntoIterator<Item: Into<OsString>>,
    {
        let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        if let Some(store) = &settings.store {
            args.extend(["--store".into(), store.into()]);
        }
        Launch {
            program: self.program.clone(),
            args,
            env: self.env.clone(),
            memory: settings.memory_limit,
            silence: settings.wall_clock,
            deadline,
            // A child may use several cores, and is ended by the clock in any case but croft's own death.
            processor: settings.total.saturating_mul(2).max(Duration::from_mins(1)),
            output_cap: settings.output_cap,
            stderr_cap: settings.stderr_cap,
        }
    }
}

fn find_program(name: &Path) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_file();
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok().filter(is_program);
    }
    let path = env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/bin:/bin").to_owned());
    env::split_paths(&path).map(|folder| folder.join(name)).find(is_program)
}

/// Why a child gave no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nix said what is wrong.
    Nix(NixMessage),
    /// It took too long over one cell.
    Silent,
    /// It needed too much memory.
    Memory,
    /// It printed too much.
    TooMuch,
    /// It ended in a way that says nothing of the flake.
    Crash(String),
    /// The evaluation as a whole is over.
    Over(EvalError),
}

impl Failure {
    /// Sorts how a child ended that did not do what it was asked for.
    pub(super) fn of(ended: &Ended, flake: &FlakeRef, settings: &EvalSettings, message: NixMessage) -> Self {
        match ended.end {
            End::Silent => Self::Silent,
            End::Late => Self::Over(EvalError::Timeout { flake: flake.to_string(), limit: settings.total }),
            End::OutOfMemory => Self::Memory,
            End::TooMuch => Self::TooMuch,
            End::Cancelled => Self::Over(EvalError::Cancelled),
            End::Exited(_) | End::Signalled(_) if is_out_of_memory(&ended.stderr, &message) => Self::Memory,
            End::Signalled(signal) => {
                Self::Crash(format!("it was ended by signal {signal}{}", last_words(ended)))
            }
            End::Exited(0) => Self::Crash("it ended well, but its output is incomplete".to_owned()),
            End::Exited(1) if ended.stderr.contains("error:") => match infrastructure(&message) {
                Some(error) => Self::Over(error),
                None => Self::Nix(message),
            },
            End::Exited(code) => Self::Crash(format!("it ended with code {code}{}", last_words(ended))),
        }
    }

    /// The failure as one of the whole flake.
    pub(super) fn of_flake(self, flake: &FlakeRef, settings: &EvalSettings) -> EvalError {
        let flake_text = flake.to_string();
        match self {
            Self::Nix(message) => sort(flake, &message),
            Self::Silent => EvalError::Timeout { flake: flake_text, limit: settings.wall_clock },
            Self::Memory => EvalError::Memory { flake: flake_text, limit: settings.memory_limit },
            Self::TooMuch => EvalError::OutputTooBig { flake: flake_text, limit: settings.output_cap },
            Self::Crash(detail) => EvalError::Crashed { flake: flake_text, tries: 1, detail },
            Self::Over(error) => error,
        }
    }
}

/// A flake can print these words too, but not as the error that ends Nix without a place in its code.
fn is_out_of_memory(stderr: &str, message: &NixMessage) -> bool {
    message.is_nix_own(OUT_OF_MEMORY)
        || stderr.lines().any(|line| line.starts_with("GC Warning: Out of Memory"))
}

fn last_words(ended: &Ended) -> String {
    let text = plain(&ended.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map(|line| format!(" ({})", line.trim().chars().take(200).collect::<String>())).unwrap_or_default()
}

/// Errors of the machine, whatever was evaluated.
fn infrastructure(message: &NixMessage) -> Option<EvalError> {
    let text = || message.text.clone();
    if message.is_nix_own(&[
        "cannot connect to socket",
        "cannot connect to daemon",
        "cannot open connection to remote store",
    ]) {
        return Some(EvalError::DaemonDown { message: text() });
    }
    let refused =
        ["Read-only file system", "readonly database", "read-only database", "read-only store", "remounting"];
    let locked = ["Permission denied", "No space left on device", "unable to open database"];
    if message.is_nix_own(&refused)
        || (message.is_nix_own(&locked) && message.says(&["/nix/", "/store", "database"]))
    {
        return Some(EvalError::StoreReadOnly { message: text() });
    }
    None
}

/// Errors of a flake as a whole.
fn sort(flake: &FlakeRef, message: &NixMessage) -> EvalError {
    let none = [
        "could not find a flake.nix",
        "is not a flake",
        "is not part of a flake",
        "does not contain a 'flake.nix'",
        "unable to find a flake",
    ];
    let gone = ["getting status of", "does not exist", "No such file or directory"];
    let unlocked = [
        "requires lock file changes",
        "unlocked flake reference",
        "mutable flake reference",
        "in the flake registries",
        "unlocked input",
        "use-registries",
        "is not locked",
        "registry lookups",
    ];
    let (flake, NixMessage { text, position }) = (flake.to_string(), message.clone());
    if message.says(&["syntax error"])
        && let Some(position) = &position
    {
        return EvalError::Syntax { position: position.clone(), message: text };
    }
    if message.says(&unlocked) {
        return EvalError::UnlockedInput { flake, input: quoted_input(&text), message: text };
    }
    if message.is_nix_own(&none) || message.is_nix_own(&gone) {
        return EvalError::NoFlake { flake, message: text };
    }
    if message.says(&["does not provide attribute"]) && message.says(&["'checks'"]) {
        return EvalError::NoChecks { flake, systems: Vec::new() };
    }
    EvalError::Nix { flake, message: text, position }
}

/// The name in `… input 'NAME' …`.
fn quoted_input(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("input '")?;
    Some(rest.split_once('\'')?.0.to_owned())
}
