//! `croft config`: what is in force, and what may be written.

use super::{
    args::{Common, ConfigArgs},
    exit::CliError,
    farm, out,
};
use crate::config::Settings;

/// Prints the configuration or its schema.
pub(super) fn run(common: &Common, args: ConfigArgs) -> Result<u8, CliError> {
    if args.schema {
        out::json(&schemars::schema_for!(Settings));
        return Ok(0);
    }
    let config = farm::configuration(common)?;
    let origin = config.file.as_ref().map_or("defaults".to_owned(), |path| path.display().to_string());
    out::say(&format!("# from {origin} and the CROFT_* variables; state in {}", config.state_dir.display()));
    let text = toml::to_string(&config.settings)
        .map_err(|error| CliError::Other(format!("writing the configuration: {error}")))?;
    out::data(text.trim_end());
    Ok(0)
}
