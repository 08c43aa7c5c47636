//! `/etc/nix/machines`: the builders of a Nix, as Nix itself reads them.
//!
//! Pure: the text comes in, and so do the files that it names. A line is
//! `URI SYSTEMS SSH-KEY MAX-JOBS SPEED SUPPORTED-FEATURES MANDATORY-FEATURES HOST-KEY`, where all but the first may be
//! left out or be `-`; entries are also separated by semicolons, `#` begins a comment, and `@FILE` names another file.

use std::{collections::BTreeSet, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::nix::{System, SystemFeature};

/// How deep files may name files.
const MAX_DEPTH: u32 = 8;
/// The most machines.
const MAX_MACHINES: usize = 10_000;
/// The most builds at once on one machine that are believed.
const MAX_JOBS: u32 = 10_000;

/// One builder of such a file.
#[derive(Debug, Clone, PartialEq)]
pub struct NixMachine {
    /// Where it is.
    pub place: MachinePlace,
    /// What it builds for. Empty: what this machine builds for.
    pub systems: BTreeSet<System>,
    /// The private key by which it is reached.
    pub ssh_key: Option<PathBuf>,
    /// How many builds it runs at once. Default: 1.
    pub max_jobs: u32,
    /// How fast it is, compared with others. Default: 1.
    pub speed_factor: f64,
    /// Features that a build may ask for.
    pub supported_features: BTreeSet<SystemFeature>,
    /// Features that a build must ask for to be made there.
    pub mandatory_features: BTreeSet<SystemFeature>,
    /// The key that it must prove to have, as a line of `ssh_host_*_key.pub`. Decoded, not checked.
    pub host_key: Option<String>,
}

/// Where a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachinePlace {
    /// Over ssh.
    Ssh {
        /// The name or address.
        host: String,
        /// The user, if one is given.
        user: Option<String>,
        /// The port, if one is given.
        port: Option<u16>,
    },
    /// Another kind of store, of which croft can make no builder: its URI.
    Other(String),
}

/// A file that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct MachinesError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Reads the text of `file`. `open` gives the text of a file that is named with `@`; none if it is not there, which
/// Nix takes for an empty one.
pub fn parse_machines(
    file: &str,
    text: &str,
    open: &dyn Fn(&str) -> Result<Option<String>, String>,
) -> Result<Vec<NixMachine>, MachinesError> {
    let mut machines = Vec::new();
    read(file, text, open, 0, &mut machines)?;
    Ok(machines)
}

fn read(
    file: &str,
    text: &str,
    open: &dyn Fn(&str) -> Result<Option<String>, String>,
    depth: u32,
    machines: &mut Vec<NixMachine>,
) -> Result<(), MachinesError> {
    for (number, line) in text.lines().enumerate() {
        let failed = |problem| MachinesError { file: file.to_owned(), line: number + 1, problem };
        let line = line.split('#').next().unwrap_or_default();
        for entry in line.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            if let Some(other) = entry.strip_prefix('@') {
                if depth == MAX_DEPTH {
                    return Err(failed(format!("@{other}: files name files more than {MAX_DEPTH} deep")));
                }
                let text = open(other).map_err(|cause| failed(format!("reading {other}: {cause}")))?;
                read(other, &text.unwrap_or_default(), open, depth + 1, machines)?;
            } else {
                machines.push(machine(entry).map_err(failed)?);
            }
            if machines.len() > MAX_MACHINES {
                return Err(failed(format!("there are more than {MAX_MACHINES} machines")));
            }
        }
    }
    Ok(())
}

fn machine(entry: &str) -> Result<NixMachine, String> {
    let mut fields = entry.split_ascii_whitespace();
    let uri = fields.next().unwrap_or_default();
    let mut field = || fields.next().filter(|field| *field != "-");
    let machine = NixMachine {
        place: place(uri)?,
        systems: list(field(), "system")?,
        ssh_key: field().map(PathBuf::from),
        max_jobs: number(field(), "the number of jobs", |jobs: &u32| (1..=MAX_JOBS).contains(jobs))?
            .unwrap_or(1),
        speed_factor: number(field(), "the speed factor", |factor: &f64| {
            factor.is_finite() && *factor > 0.0
        })?
        .unwrap_or(1.0),
        supported_features: list(field(), "feature")?,
        mandatory_features: list(field(), "feature")?,
        host_key: field().map(host_key).transpose()?,
    };
    match fields.next() {
        Some(more) => Err(format!("{:?} is one field too many; there are at most 8", shown(more))),
        None => Ok(machine),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn place(uri: &str) -> Result<MachinePlace, String> {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("ssh", uri));
    if !matches!(scheme, "ssh" | "ssh-ng") {
        return Ok(MachinePlace::Other(uri.to_owned()));
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(address) => {
            let (host, after) = address.split_once(']').ok_or_else(|| no_host(uri))?;
            (host, after.strip_prefix(':'))
        }
        // More than one colon is an IPv6 address without brackets.
        None if address.matches(':').count() == 1 => {
            address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)))
        }
        None => (address, None),
    };
    let is_plain = |text: &str| {
        !text.is_empty() && !text.starts_with('-') && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !is_plain(host) || !user.is_none_or(is_plain) {
        return Err(no_host(uri));
    }
    let port = port.map(|port| port.parse::<u16>().map_err(|_| format!("{:?} is no port", shown(port))));
    Ok(MachinePlace::Ssh { host: host.to_owned(), user: user.map(str::to_owned), port: port.transpose()? })
}

fn no_host(uri: &str) -> String {
    format!("{:?} names no host; it looks like `ssh-ng://root@host`", shown(uri))
}

fn list<T: std::str::FromStr<Err: std::fmt::Display> + Ord>(
    field: Option<&str>,
    what: &str,
) -> Result<BTreeSet<T>, String> {
    let items = field.unwrap_or_default().split(',').filter(|item| !item.is_empty());
    items.map(|item| item.parse().map_err(|error| format!("{what} {:?}: {error}", shown(item)))).collect()
}

fn number<T: std::str::FromStr>(
    field: Option<&str>,
    what: &str,
    is_right: impl Fn(&T) -> bool,
) -> Result<Option<T>, String> {
    let Some(field) = field else { return Ok(None) };
    let parsed = field.parse().ok().filter(is_right);
    parsed.map(Some).ok_or_else(|| format!("{what} is {:?}; it is a positive number", shown(field)))
}

fn host_key(field: &str) -> Result<String, String> {
    let decoded = STANDARD.decode(field).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(|line| line.trim().to_owned()).ok_or_else(|| {
        format!("the host key {:?} is no base64 of a line like `ssh-ed25519 AAAA…`; make it with `base64 -w0 ssh_host_ed25519_key.pub`", shown(field))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<NixMachine>, MachinesError> {
        parse_machines("machines", text, &|file| match file {
            "/more" => Ok(Some("second; @/none".to_owned())),
            "/loop" => Ok(Some("\n@/loop".to_owned())),
            "/none" => Ok(None),
            other => Err(format!("{other} is a folder")),
        })
    }

    #[test]
    fn fields_comments_separators_and_files_are_read_as_nix_does() {
        let key = STANDARD.encode("ssh-ed25519 AAAA host\n");
        let text = format!(
            "# all\n\nssh-ng://root@first:2222?x=1 x86_64-linux,i686-linux /key 8 2.5 kvm,benchmark big {key} # fast\n@/more\nssh://[fe80::1]:22 - - - - - -\nfe80::2\nhttps://cache"
        );
        let machines = parse(&text).unwrap();
        let places: Vec<_> = machines.iter().map(|machine| machine.place.clone()).collect();
        let ssh = |host: &str, user: Option<&str>, port| MachinePlace::Ssh {
            host: host.to_owned(),
            user: user.map(str::to_owned),
            port,
        };
        let expected = [
            ssh("first", Some("root"), Some(2222)),
            ssh("second", None, None),
            ssh("fe80::1", None, Some(22)),
            ssh("fe80::2", None, None),
            MachinePlace::Other("https://cache".to_owned()),
        ];
        assert_eq!(places, expected);
        let first = &machines[0];
        assert_eq!((first.systems.len(), first.max_jobs, first.speed_factor), (2, 8, 2.5));
        assert_eq!(first.host_key.as_deref(), Some("ssh-ed25519 AAAA host"));
        assert_eq!((first.supported_features.len(), first.mandatory_features.len()), (2, 1));
        let bare = &machines[2];
        assert!(bare.systems.is_empty() && bare.ssh_key.is_none() && bare.host_key.is_none());
        assert_eq!((bare.max_jobs, bare.speed_factor), (1, 1.0));
    }

    #[test]
    fn errors_name_the_place_and_what_would_be_right() {
        for (text, expected) in [
            ("a\nb - - eight", "machines:2: the number of jobs is \"eight\""),
            ("a - - 0", "machines:1: the number of jobs"),
            ("a - - 1 -2", "the speed factor"),
            ("a - - 1 NaN", "the speed factor"),
            ("a x/y", "system \"x/y\""),
            ("a - - - - - - ***", "base64"),
            ("a - - - - - - - more", "one field too many"),
            ("ssh://root@", "names no host"),
            ("-oProxyCommand=x", "names no host"),
            ("ssh://a:ssh", "no port"),
            ("@/loop", "/loop:2: @/loop: files name files"),
            ("@/etc", "machines:1: reading /etc: /etc is a folder"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_files_that_nix_is_tested_with() {
        let Some(folder) = std::env::var_os("CROFT_VECTORS").map(PathBuf::from) else {
            return;
        };
        let read =
            |name: &str| std::fs::read_to_string(folder.join("nix/libstore/machines").join(name)).unwrap();
        let none = |_: &str| Ok(None);
        let machines = parse_machines("valid", &read("valid"), &none).unwrap();
        let jobs: Vec<u32> = machines.iter().map(|machine| machine.max_jobs).collect();
        assert_eq!(jobs, [8, 8, 1]);
        assert!(machines[2].host_key.as_deref().unwrap().starts_with("ssh-rsa AAAAB3NzaC1yc2E"));
        assert!(parse_machines("bad_format", &read("bad_format"), &none).is_err());
    }
}
