//! Finding and reading the configuration.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Settings, fleet};

/// The name of the file.
const FILE: &str = "croft.toml";
/// Where a machine-wide file lives.
const SYSTEM_FILE: &str = "/etc/croft/croft.toml";

/// A configuration that croft refuses.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("reading the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is no valid configuration.
    #[error("{path} is no valid configuration: {cause}")]
    Invalid {
        /// The file, or the variables of the environment.
        path: String,
        /// What is wrong, with line and column.
        cause: String,
    },
    /// A value is out of range.
    #[error("{key} is {value}, but must be {must}")]
    Range {
        /// The key, as `section.key`.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        must: &'static str,
    },
    /// The settings of machines do not fit together.
    #[error("{origin}: {cause}")]
    Machines {
        /// The file and the environment.
        origin: String,
        /// What is wrong, as a sentence.
        cause: String,
    },
    /// There is no place for the state.
    #[error("no place for croft's state: set CROFT_STATE_DIR to a directory")]
    NoStateDir,
}

/// The variables croft was started with.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. Variables that are not Unicode are left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
        )
    }

    /// The value of a variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// The validated configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The settings.
    pub settings: Settings,
    /// The file they came from, if there is one.
    pub file: Option<PathBuf>,
    /// Where croft keeps its database and logs.
    pub state_dir: PathBuf,
}

impl Config {
    /// Finds and reads the configuration for work in `cwd`. `explicit` is a file the user named.
    pub fn load(cwd: &Path, explicit: Option<&Path>, env: &Environment) -> Result<Self, ConfigError> {
        let file = match explicit {
            Some(path) => Some(path.to_owned()),
            None => find(cwd),
        };
        let mut table = match &file {
            Some(path) => read(path)?,
            None => toml::Table::new(),
        };
        overlay(&mut table, env);
        let settings: Settings = table.try_into().map_err(|error: toml::de::Error| ConfigError::Invalid {
            path: origin(file.as_deref()),
            cause: error.to_string(),
        })?;
        check(&settings)?;
        fleet::check(&settings.fleet, &settings.builder, &settings.pool)
            .map_err(|cause| ConfigError::Machines { origin: origin(file.as_deref()), cause })?;
        Ok(Self { settings, file, state_dir: state_dir(env)? })
    }
}

fn origin(file: Option<&Path>) -> String {
    let file = file.map(|path| format!("{} with ", path.display())).unwrap_or_default();
    format!("{file}the CROFT_* variables")
}

fn find(cwd: &Path) -> Option<PathBuf> {
    let upward = cwd.ancestors().map(|dir| dir.join(FILE));
    upward.chain([PathBuf::from(SYSTEM_FILE)]).find(|path| path.is_file())
}

fn read(path: &Path) -> Result<toml::Table, ConfigError> {
    let text =
        fs_err::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    // Checked as a whole first, so that the error names a line of the file.
    let invalid = |error: toml::de::Error| ConfigError::Invalid {
        path: path.display().to_string(),
        cause: without_passwords(&error.to_string()),
    };
    toml::from_str::<Settings>(&text).map_err(invalid)?;
    toml::from_str(&text).map_err(invalid)
}

/// A message that may quote a line of the file, without what stands before the `@` of an address.
fn without_passwords(text: &str) -> String {
    let parts = text.split("://").enumerate().map(|(number, part)| {
        let end = part.find(['/', '"', '\'', ' ', '\n']).unwrap_or(part.len());
        match part[..end].rfind('@') {
            Some(at) if number > 0 => format!("…{}", &part[at..]),
            Some(_) | None => part.to_owned(),
        }
    });
    parts.collect::<Vec<_>>().join("://")
}

/// Lays `CROFT_SECTION_KEY` over the table. A value that is no TOML is taken as text.
fn overlay(table: &mut toml::Table, env: &Environment) {
    for (name, value) in &env.0 {
        let Some(rest) = name.strip_prefix("CROFT_") else { continue };
        let rest = rest.to_lowercase();
        let sections = ["nix", "eval", "build", "results", "fleet", "cache"];
        let section = sections.into_iter().find_map(|section| {
            let key = rest.strip_prefix(section)?.strip_prefix('_')?;
            Some((section, key.to_owned()))
        });
        let (section, key) = match section {
            Some(found) if name != "CROFT_NIX_VERSIONS" => found,
            None if name == "CROFT_NIX" => ("nix", "program".to_owned()),
            Some(_) | None => continue,
        };
        let value = toml_value(value);
        let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
        if let Some(section) = section.as_table_mut() {
            section.insert(key, value);
        }
    }
}

fn toml_value(text: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("v = {text}"));
    let value = parsed.ok().and_then(|mut table| table.remove("v"));
    value.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn check(settings: &Settings) -> Result<(), ConfigError> {
    let at_least = |key, value: u64, least: u64, must| {
        if value < least { Err(ConfigError::Range { key, value: value.to_string(), must }) } else { Ok(()) }
    };
    at_least("eval.memory", settings.eval.memory, 256, "at least 256 (MiB)")?;
    at_least("eval.max_cells", settings.eval.max_cells, 1, "at least 1")?;
    at_least("eval.timeout", settings.eval.timeout.get().as_secs(), 1, "at least 1s")?;
    at_least("build.timeout", settings.build.timeout.get().as_secs(), 1, "at least 1s")?;
    at_least("build.max_silent", settings.build.max_silent.get().as_secs(), 1, "at least 1s")?;
    at_least("build.max_log", settings.build.max_log, 1, "at least 1 (MiB)")?;
    at_least("build.keep_log", settings.build.keep_log, 1, "at least 1 (MiB)")?;
    at_least("build.attempts", settings.build.attempts.into(), 1, "at least 1")?;
    at_least("cache.timeout", settings.cache.timeout.get().as_secs(), 1, "at least 1s")?;
    let level = settings.cache.compression_level;
    if (1..=19).contains(&level) {
        return Ok(());
    }
    Err(ConfigError::Range { key: "cache.compression_level", value: level.to_string(), must: "1 to 19" })
}

fn state_dir(env: &Environment) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = env.get("CROFT_STATE_DIR") {
        return Ok(PathBuf::from(dir));
    }
    if let Some(dir) = env.get("STATE_DIRECTORY") {
        return Ok(PathBuf::from(dir));
    }
    if let Some(dir) = env.get("XDG_STATE_HOME") {
        return Ok(Path::new(dir).join("croft"));
    }
    match env.get("HOME") {
        Some(home) => Ok(Path::new(home).join(".local/state/croft")),
        None if rustix::process::geteuid().is_root() => Ok(PathBuf::from("/var/lib/croft")),
        None => Err(ConfigError::NoStateDir),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join(FILE), toml).unwrap();
        let mut env: Vec<_> = env.to_vec();
        env.push(("HOME", "/home/me"));
        Config::load(dir.path(), None, &env.into_iter().collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let config = load(
            "[build]\nslots = 3\ntimeout = \"5m\"\n",
            &[("CROFT_BUILD_SLOTS", "7"), ("CROFT_NIX", "/opt/nix"), ("CROFT_NIX_VERSIONS", "/opt/versions")],
        )
        .unwrap();
        assert_eq!(config.settings.build.slots, 7);
        assert_eq!(config.settings.build.timeout.to_string(), "5m");
        assert_eq!(config.settings.nix.program, Path::new("/opt/nix"));
        assert_eq!(config.settings.build.attempts, 3);
        assert_eq!(config.state_dir, Path::new("/home/me/.local/state/croft"));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let unknown = load("[build]\nslotz = 3\n", &[]).unwrap_err();
        assert!(
            unknown.contains("croft.toml") && unknown.contains("line 2") && unknown.contains("slotz"),
            "{unknown}"
        );
        let range = load("[build]\nattempts = 0\n", &[]).unwrap_err();
        assert_eq!(range, "build.attempts is 0, but must be at least 1");
        let level = load("[cache]\ncompression_level = 20\n", &[]).unwrap_err();
        assert_eq!(level, "cache.compression_level is 20, but must be 1 to 19");
        let secret = load("", &[("CROFT_CACHE_URL", "https://me:hunter2@cache.example")]).unwrap_err();
        assert!(secret.contains("credentials_file") && !secret.contains("hunter2"), "{secret}");
        let secret = load("[cache]\nurl = \"https://me:hunter2@cache.example/x\"\n", &[]).unwrap_err();
        assert!(secret.contains("credentials_file") && !secret.contains("hunter2"), "{secret}");
        let variable = load("", &[("CROFT_BUILD_SLOTS", "many")]).unwrap_err();
        assert!(variable.contains("CROFT_* variables") && variable.contains("many"), "{variable}");
    }

    #[test]
    fn the_state_goes_where_the_environment_says() {
        let dir = |env: &[(&str, &str)]| state_dir(&env.iter().copied().collect()).unwrap();
        assert_eq!(dir(&[("CROFT_STATE_DIR", "/s"), ("HOME", "/h")]), Path::new("/s"));
        assert_eq!(dir(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), Path::new("/x/croft"));
    }
}
