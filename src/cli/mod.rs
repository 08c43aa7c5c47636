//! The command line: a door to the engine. Data goes to standard output, words to standard error.

mod args;
mod cache;
mod check;
mod config;
mod doctor;
mod exit;
mod farm;
mod fleet;
mod fsck;
mod log;
mod machines;
mod meta;
mod out;
mod plan;
mod queue;
mod render;
mod show;
mod signals;
mod status;
mod words;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use exit::CliError;

/// Reads the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    let args = Args::parse();
    init_tracing(args.verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CliError::Other(format!("starting the runtime: {error}"))),
    };
    let done = runtime.block_on(run(args));
    // Tasks that still hold a connection are dropped here, which ends their builds.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&error),
    }
}

async fn run(args: Args) -> Result<u8, CliError> {
    match args.command {
        Command::Plan(options) => plan::run(&args.common, options).await,
        Command::Check(options) => check::run(&args.common, options).await,
        Command::Show(options) => show::run(&args.common, options).await,
        Command::Log(options) => log::run(&args.common, options).await,
        Command::Status(options) => status::run(&args.common, options).await,
        Command::Fleet(options) => fleet::run(&args.common, options).await,
        Command::Queue(options) => queue::run(&args.common, options).await,
        Command::Doctor(options) => doctor::run(&args.common, options).await,
        Command::Fsck(options) => fsck::run(&args.common, options).await,
        Command::Cache { command } => cache::run(&args.common, command).await,
        Command::Config(options) => config::run(&args.common, options),
        Command::Completions { shell } => {
            meta::completions(shell);
            Ok(0)
        }
        Command::Man { directory } => meta::man(directory.as_deref()),
    }
}

fn fail(error: &CliError) -> ExitCode {
    out::say(&format!("croft: {error}"));
    ExitCode::from(error.code())
}

fn init_tracing(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "croft=info",
        2 => "croft=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CROFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
