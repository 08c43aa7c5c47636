//! What the user calls a flake.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

/// A flake reference: a path made absolute, or a URL that is left to Nix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FlakeRef(String);

/// A flake input that another flake stands in for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Override {
    /// The input, such as `nixpkgs` or `nixpkgs/utils`.
    pub input: String,
    /// What stands in for it.
    pub flake_ref: FlakeRef,
}

/// A text that names no flake.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FlakeRefError {
    /// It would be read as an option.
    #[error("the flake reference {0:?} starts with '-'; write './{0}' if it is a folder")]
    Option(String),
    /// It names an output as well.
    #[error(
        "the flake reference {0:?} has a fragment; leave out the '#' and what follows: croft takes all checks of a flake"
    )]
    Fragment(String),
    /// It holds characters that no reference has.
    #[error("the flake reference {0:?} has control characters; remove them")]
    Control(String),
}

impl FlakeRef {
    /// Reads `text`, with relative paths below `folder`. An empty text is `.`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, FlakeRefError> {
        let text = if text.is_empty() { "." } else { text };
        if text.starts_with('-') {
            return Err(FlakeRefError::Option(text.to_owned()));
        }
        if text.contains('#') {
            return Err(FlakeRefError::Fragment(text.to_owned()));
        }
        if text.chars().any(char::is_control) {
            return Err(FlakeRefError::Control(text.to_owned()));
        }
        if is_path(text) || (is_bare_name(text) && folder.join(text).is_dir()) {
            return Ok(Self(absolute(text, folder)));
        }
        match text.strip_prefix("path:") {
            Some(path) if !path.starts_with('/') => Ok(Self(format!("path:{}", absolute(path, folder)))),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The text for Nix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder it names, if it names one on this machine.
    pub(super) fn folder(&self) -> Option<&Path> {
        let path = self.0.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("path:").unwrap_or(path);
        path.starts_with('/').then(|| Path::new(path))
    }
}

impl fmt::Display for FlakeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_path(text: &str) -> bool {
    let first = text.split(['/', '?']).next().unwrap_or_default();
    text.starts_with('/') || first == "." || first == ".."
}

/// A folder name such as `project`, which Nix would take for a registry entry.
fn is_bare_name(text: &str) -> bool {
    !text.contains(':')
}

/// `text`, a path with perhaps a query, as an absolute path without `.` and `..`.
fn absolute(text: &str, folder: &Path) -> String {
    let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    let mut full = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::ParentDir => {
                full.pop();
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => full.push(part),
        }
    }
    format!("{}{query}", full.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_urls_are_left_alone() {
        let parse = |text: &str| FlakeRef::parse(text, Path::new("/work/here")).unwrap().0;
        assert_eq!(parse(""), "/work/here");
        assert_eq!(parse("."), "/work/here");
        assert_eq!(parse("../there?dir=sub"), "/work/there?dir=sub");
        assert_eq!(parse("path:./x"), "path:/work/here/x");
        assert_eq!(parse("git+file:///x?rev=1"), "git+file:///x?rev=1");
        assert_eq!(parse("github:a/b"), "github:a/b");
        assert_eq!(parse("nixpkgs"), "nixpkgs");
    }

    #[test]
    fn an_option_and_a_fragment_are_refused() {
        let refuse = |text: &str| FlakeRef::parse(text, Path::new("/")).unwrap_err().to_string();
        assert!(refuse("--output=x").contains("starts with '-'"));
        assert!(refuse(".#checks").contains("leave out the '#'"));
        assert!(refuse("a\nb").contains("control characters"));
    }
}
