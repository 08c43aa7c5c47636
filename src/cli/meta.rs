//! Completion scripts and manual pages.

use std::path::Path;

use clap::CommandFactory;

use super::{args::Args, exit::CliError, out};

/// Prints a completion script.
pub(super) fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "croft", &mut script);
    out::bytes(&script);
}

/// Prints the manual page, or writes those of all commands into a directory.
pub(super) fn man(directory: Option<&Path>) -> Result<u8, CliError> {
    let failed = |error: std::io::Error| CliError::Other(format!("writing the manual: {error}"));
    if let Some(directory) = directory {
        fs_err::create_dir_all(directory).map_err(failed)?;
        clap_mangen::generate_to(Args::command(), directory).map_err(failed)?;
    } else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Args::command()).render(&mut page).map_err(failed)?;
        out::bytes(&page);
    }
    Ok(0)
}
