//! What may be written on the command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum, builder::styling::Styles};

use crate::matrix::Condition;

/// A declarative, Nix-based, reproducible build farm: axes in, a verdict per cell out.
#[derive(Debug, Parser)]
#[command(name = "croft", version, styles = Styles::styled(), max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 all passed, 1 a cell failed, 2 usage or configuration, 3 infrastructure or \
undetermined, 6 evaluation error, 10 `plan --exit-code` found work, 130 interrupted."
)]
pub(super) struct Args {
    /// Say more; twice for debugging
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What all commands share.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// The configuration file [default: croft.toml here or above, else /etc/croft/croft.toml]
    #[arg(long, global = true, env = "CROFT_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what a check would do, and why; build nothing
    Plan(PlanArgs),
    /// Plan, build, record and report the cells of a flake
    #[command(alias = "run")]
    Check(CheckArgs),
    /// Show a cell, a key, a run, or a test across all cells
    Show(ShowArgs),
    /// Print the log of a cell or key
    Log(LogArgs),
    /// Show the latest runs
    Status(StatusArgs),
    /// Show the machines, and steer them
    Fleet(FleetArgs),
    /// Show what runs and what waits, in order, and why
    Queue(QueueArgs),
    /// Look for what would keep croft from working
    Doctor(DoctorArgs),
    /// Check croft's own database
    Fsck(FsckArgs),
    /// Serve, write and check the farm's binary cache
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// Print the configuration in force, or its JSON schema
    Config(ConfigArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands
    Man {
        /// Write one page for each command into this directory
        directory: Option<PathBuf>,
    },
}

/// Which cells.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// The flake
    #[arg(default_value = ".", value_name = "FLAKE")]
    pub(super) flake: String,
    /// Only cells with this value on an axis, or of this name; `*` stands for any text
    #[arg(long, value_name = "AXIS=VALUE|NAME")]
    pub(super) only: Vec<Condition>,
    /// Only this system [default: those that a builder offers]
    #[arg(long, value_name = "SYSTEM")]
    pub(super) system: Vec<String>,
    /// Replace an input of the flake
    #[arg(long, num_args = 2, value_names = ["INPUT", "FLAKE"])]
    pub(super) override_input: Vec<String>,
    /// Try failures again instead of reporting what is on record
    #[arg(long, conflicts_with = "rebuild")]
    pub(super) retry_failed: bool,
    /// Build every cell once more, whatever is on record
    #[arg(long)]
    pub(super) rebuild: bool,
}

/// In which form.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Form {
    /// Print one JSON document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) form: Form,
    /// Exit with 10 if there is work
    #[arg(long)]
    pub(super) exit_code: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) form: Form,
    /// Print one JSON event per line, as things happen
    #[arg(long, conflicts_with = "json")]
    pub(super) jsonl: bool,
    /// Write all tests as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// The most builds at once
    #[arg(long, short = 'j', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_jobs: Option<u32>,
    /// Stop at the first cell that fails
    #[arg(long, overrides_with = "keep_going")]
    pub(super) fail_fast: bool,
    /// Go on when a cell fails (the default)
    #[arg(long, short = 'k')]
    pub(super) keep_going: bool,
    /// Say nothing but the verdicts of cells that do not pass
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// A cell, a key, a run id, or a part of a test's name
    #[arg(value_name = "CELL|KEY|RUN|TEST")]
    pub(super) what: String,
    #[command(flatten)]
    pub(super) form: Form,
    /// Every test, not only those that did not pass
    #[arg(long, short)]
    pub(super) all: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// A cell, a key or an attempt id
    #[arg(value_name = "CELL|KEY|ATTEMPT")]
    pub(super) what: String,
    /// Go on printing while the build runs
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "N")]
    pub(super) tail: Option<u64>,
    /// Print the bytes as the build wrote them
    #[arg(long)]
    pub(super) raw: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// How many runs
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N")]
    pub(super) runs: u32,
    #[command(flatten)]
    pub(super) form: Form,
}

#[derive(Debug, clap::Args)]
pub(super) struct FleetArgs {
    #[command(flatten)]
    pub(super) form: Form,
    /// Those that are gone too, for seven days
    #[arg(long, short)]
    pub(super) all: bool,
    #[command(subcommand)]
    pub(super) verb: Option<FleetVerb>,
}

/// What is done with a machine.
#[derive(Debug, Subcommand)]
pub(super) enum FleetVerb {
    /// Show what happened to one machine, or to all
    Events {
        /// The machine
        name: Option<String>,
        /// How many events
        #[arg(long, short = 'n', default_value_t = 100, value_name = "N")]
        limit: u32,
        #[command(flatten)]
        form: Form,
    },
    /// Give a machine no new work; what runs goes on
    Drain {
        /// The machine
        name: String,
    },
    /// Keep a machine from work until it is released
    Quarantine {
        /// The machine
        name: String,
        /// Why
        #[arg(long, default_value = "asked for by a person")]
        why: String,
    },
    /// Give a machine work again
    Release {
        /// The machine
        name: String,
    },
    /// End a machine; what runs on it is built elsewhere
    Terminate {
        /// The machine
        name: String,
    },
    /// End the machines that nobody looks after any more
    Sweep,
}

#[derive(Debug, clap::Args)]
pub(super) struct QueueArgs {
    #[command(flatten)]
    pub(super) form: Form,
}

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub(super) form: Form,
}

#[derive(Debug, clap::Args)]
pub(super) struct FsckArgs {
    #[command(flatten)]
    pub(super) form: Form,
}

#[derive(Debug, clap::Args)]
pub(super) struct ConfigArgs {
    /// Print the JSON schema of croft.toml instead
    #[arg(long)]
    pub(super) schema: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Serve the cache to Nix over http, until Ctrl-C
    Serve {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:5001", value_name = "ADDRESS:PORT")]
        listen: SocketAddr,
        /// Serve the local store itself, with all that is in it, instead of the cache
        #[arg(long)]
        store: bool,
    },
    /// Write store paths, or the outputs of flake attributes, as much of their closures as cache.push says
    Push {
        /// A path in the store, a link to one, or FLAKE#ATTRIBUTE
        #[arg(required = true, value_name = "PATH|FLAKE#ATTRIBUTE")]
        what: Vec<String>,
    },
    /// Print the public key that builders must trust
    Key,
    /// Read every record and NAR of the cache, and say what is not right
    Check(Form),
}
