//! The services that look after a farm: the NixOS module, and the same units for other distributions.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test may panic and speak")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `nix/tests/module.nix` comes to; none, with a word why, without Nix.
fn module() -> Option<Value> {
    let file = root().join("nix/tests/module.nix");
    let mut nix = Command::new("nix-instantiate");
    let Ok(done) = nix.args(["--eval", "--strict", "--json"]).arg(&file).output() else {
        eprintln!("skipped: no nix-instantiate here");
        return None;
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(serde_json::from_slice(&done.stdout).unwrap())
}

/// A unit file: the values of each key, by `Section.Key`.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("contrib/systemd").join(name)).unwrap();
    let mut unit: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split_once('=') {
            Some((key, value)) => {
                unit.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
            }
            None => line.trim_matches(['[', ']']).clone_into(&mut section),
        }
    }
    unit
}

/// The same of a unit of the module, as NixOS would write it.
fn made(section: &str, settings: &Value) -> BTreeMap<String, Vec<String>> {
    let words = |value: &Value| match value {
        Value::String(text) => vec![text.replace("/run/croft-package/bin", "/usr/local/bin")],
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        other => vec![other.to_string()],
    };
    let settings = settings.as_object().cloned().unwrap_or_else(Map::new);
    let all = settings.iter().map(|(key, value)| (format!("{section}.{key}"), words(value)));
    all.filter(|(_, values)| !values.is_empty()).collect()
}

fn joined(section: &str, key: &str, values: &Value) -> Option<(String, Vec<String>)> {
    let words: Vec<&str> = values.as_array()?.iter().map(|value| value.as_str().unwrap()).collect();
    Some((format!("{section}.{key}"), vec![words.join(" ")]))
}

#[test]
fn the_nixos_module_is_whole() {
    let Some(module) = module() else { return };
    assert_eq!(module["wrong"], serde_json::json!([]), "checks of nix/tests/module.nix that fail");
}

#[test]
fn units_for_other_distributions_are_those_of_the_nixos_module() {
    let Some(module) = module() else { return };
    for name in ["croft-sweep", "croft-cache"] {
        let service = &module["units"]["services"][name];
        let mut expected = made("Service", &service["serviceConfig"]);
        expected.extend(made("Unit", &service["unitConfig"]));
        expected
            .insert("Unit.Description".to_owned(), vec![service["description"].as_str().unwrap().to_owned()]);
        let environment = service["environment"].as_object().unwrap().iter();
        let environment = environment.map(|(name, value)| format!("{name}={}", value.as_str().unwrap()));
        expected.insert("Service.Environment".to_owned(), environment.collect());
        let lists =
            [("Unit", "After", "after"), ("Unit", "Wants", "wants"), ("Install", "WantedBy", "wantedBy")];
        expected.extend(lists.iter().filter_map(|(section, key, nix)| joined(section, key, &service[nix])));
        assert_eq!(unit(&format!("{name}.service")), expected, "{name}");
    }
    let timer = &module["units"]["timers"]["croft-sweep"];
    let mut expected = made("Timer", &timer["timerConfig"]);
    expected.insert("Unit.Description".to_owned(), vec![timer["description"].as_str().unwrap().to_owned()]);
    expected.extend(joined("Install", "WantedBy", &timer["wantedBy"]));
    assert_eq!(unit("croft-sweep.timer"), expected);
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // With a program that is there, and with the lines that wait for secrets.
    let units: Vec<PathBuf> = ["croft-sweep.service", "croft-sweep.timer", "croft-cache.service"]
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(root().join("contrib/systemd").join(name)).unwrap();
            let text = text.replace("/usr/local/bin/croft", "/bin/true");
            let text = text
                .replace("\n#LoadCredential", "\nLoadCredential")
                .replace("\n#Environment", "\nEnvironment");
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let done = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("croft-")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}
