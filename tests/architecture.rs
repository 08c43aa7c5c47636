//! Who may import whom, as ARCHITECTURE.md says: the rules that keep the flow readable, as a test.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The layers, lowest first. A module may use those below its own; within a layer, see [`MAY_USE_BESIDE`].
const LAYERS: [&[&str]; 5] = [
    &["clock", "config", "ids", "nix", "task"],
    &["graph", "lifecycle", "matrix", "plan", "report", "schedule"],
    &["cache", "db", "eval", "fleet", "logs", "remote"],
    &["engine"],
    &["cli", "web"],
];

/// The only uses within a layer: base modules of each other, pure ones of those earlier in the flow, and the command
/// line of what it serves.
const MAY_USE_BESIDE: [(&str, &[&str]); 12] = [
    ("clock", &[]),
    ("config", &["nix"]),
    ("ids", &["clock"]),
    ("nix", &[]),
    ("task", &[]),
    ("matrix", &[]),
    ("graph", &[]),
    ("lifecycle", &[]),
    ("report", &["lifecycle", "matrix"]),
    ("plan", &["graph", "lifecycle", "matrix", "report"]),
    ("schedule", &["graph", "lifecycle", "matrix", "plan"]),
    ("cli", &["web"]),
];

/// Names of the outside world, and the only modules that may use them.
const OUTSIDE: [(&str, &[&str]); 14] = [
    ("aws_config", &["fleet"]),
    ("aws_credential_types", &["fleet"]),
    ("aws_sdk_ec2", &["fleet"]),
    ("aws_smithy_http_client", &["fleet"]),
    ("sqlx", &["db"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("nix_derivation", &["nix"]),
    ("nix_narinfo", &["nix"]),
    ("nix_archive", &["nix"]),
    ("tokio::process", &["eval", "fleet", "remote"]),
    ("axum", &["web"]),
    ("object_store", &["cache"]),
    // Builders are dialled in one place and providers in another; what is served listens in two.
    ("tokio::net", &["cli", "fleet", "remote", "web"]),
];

/// What pure modules do not touch.
const EFFECTS: [&str; 6] = ["tokio", "std::fs", "fs_err", "std::process", "std::net", "std::env"];

struct Source {
    module: String,
    path: PathBuf,
    /// The code without comments and without its tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && path.file_stem().unwrap() != "tests"
            {
                let first = path.strip_prefix(&root).unwrap().components().next().unwrap();
                let module = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { module, path, code: without_tests_and_comments(&text) });
            }
        }
    }
    assert!(
        found.len() > 80,
        "only {} files under src: is the test looking in the right place?",
        found.len()
    );
    found
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The modules of this crate that a piece of code names, alone or in a `use crate::{…}` list.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        used.extend(Some(std::mem::take(&mut name)).filter(|n| !n.is_empty()));
                    }
                    c if depth == 0 && (c.is_alphanumeric() || c == '_') => name.push(c),
                    ':' if depth == 0 && !name.is_empty() => {
                        used.insert(std::mem::take(&mut name));
                        depth = 0;
                    }
                    _ => {}
                }
            }
        } else {
            used.insert(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    used.retain(|name| layer(name).is_some());
    used
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn modules_use_only_what_is_below_them() {
    let beside: BTreeMap<&str, &[&str]> = MAY_USE_BESIDE.into_iter().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = layer(&source.module) else {
            assert!(["lib", "main"].contains(&source.module.as_str()), "{} has no layer", source.module);
            continue;
        };
        for used in used_modules(&source.code) {
            let other = layer(&used).unwrap();
            let allowed = used == source.module
                || other < own
                || (other == own
                    && beside.get(source.module.as_str()).is_some_and(|list| list.contains(&&*used)));
            if !allowed {
                wrong.push(format!("{} ({}) uses {used}", source.path.display(), source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the architecture:\n{}", wrong.join("\n"));
}

#[test]
fn pure_modules_have_no_effects_and_the_outside_has_its_place() {
    let mut wrong = Vec::new();
    for source in sources() {
        let names = |word: &str| {
            let whole = |at: usize| {
                let before = source.code[..at].chars().next_back();
                let after = source.code[at + word.len()..].chars().next();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
                    && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
            };
            source.code.match_indices(word).any(|(at, _)| whole(at))
        };
        if layer(&source.module) == Some(1) {
            wrong.extend(EFFECTS.iter().filter(|word| names(word)).map(|word| (source.path.clone(), *word)));
        }
        for (word, places) in OUTSIDE {
            if !places.contains(&source.module.as_str()) && names(word) {
                wrong.push((source.path.clone(), word));
            }
        }
    }
    assert!(wrong.is_empty(), "names out of their place: {wrong:?}");
}

#[test]
fn names_of_amazon_stay_in_their_folder() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fleet/ec2");
    let crates = ["aws_config::", "aws_credential_types::", "aws_sdk_ec2::", "aws_smithy_"];
    let is_named = |source: &Source| crates.iter().any(|name| source.code.contains(name));
    let (inside, outside): (Vec<_>, Vec<_>) = sources()
        .into_iter()
        .filter(is_named)
        .map(|source| source.path)
        .partition(|path| path.starts_with(&home));
    assert!(
        !inside.is_empty(),
        "nothing in {} names them: is the test looking in the right place?",
        home.display()
    );
    assert!(outside.is_empty(), "names of Amazon's out of their place: {outside:?}");
}

#[test]
fn files_stay_small() {
    let long: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.code.lines().count() > 400)
        .map(|source| (source.path, source.code.lines().count()))
        .collect();
    assert!(long.is_empty(), "over 400 lines: {long:?}");
}

#[test]
fn the_reader_of_imports_sees_lists_and_paths() {
    let code = "use crate::{\n    nix::{DrvKey, System},\n    plan::decide,\n    task,\n};\nlet x = crate::db::open();\n";
    let used: Vec<_> = used_modules(code).into_iter().collect();
    assert_eq!(used, ["db", "nix", "plan", "task"]);
}
