//! `croft doctor`, `config`, `completions` and `man`.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::support::{Place, skip};

#[test]
fn doctor_probes_everything_with_a_real_build() {
    let place = Place::new();
    let done = place.run(&["doctor"]).exits(0);
    let done = done.prints(&[
        "configuration",
        "state disk",
        "clock",
        "store disk",
        "✓ database",
        "✓ nix",
        "✓ builder",
    ]);
    assert!(
        done.out.contains("✓ sandbox") && done.out.contains("a probe build was sandboxed"),
        "{}",
        done.out
    );
    assert_eq!(place.built("-croft-sandbox-probe"), 1, "the probe was built");
    let report = place.run(&["doctor", "--json"]).exits(0).json();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["health"] == "good" || finding["what"] == "state disk"));
    assert_eq!(place.built("-croft-sandbox-probe"), 2, "the probe was built again");
}

#[test]
fn doctor_sees_an_open_sandbox() {
    // A store in another place is always sandboxed; only our own daemon of the machine's store heeds our settings.
    if !is_root() || Path::new("/nix/var/nix/daemon-socket/socket").exists() {
        skip("the machine's store is not ours");
        return;
    }
    let place = Place::on_machine_store();
    let done = place.finish(place.croft(&["doctor"]).env("NIX_CONFIG", "sandbox = false\nsubstituters =\n"));
    done.exits(0).prints(&["⚠ sandbox", "not sandboxed", "sandbox = true"]);
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn doctor_says_which_builder_does_not_answer_and_which_pool_has_no_guest() {
    let place = Place::new();
    place.write(
        "croft.toml",
        "[[builder]]\nname = \"away\"\nhost = \"127.0.0.1\"\nport = 1\nkey = \"/nonexistent/key\"\n\
         host_key = \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDt0KYeT6Z2lcBzkKkfDRvNc3vPLuBZzNyoRYSUrJ8r\"\n\
         systems = [\"x86_64-linux\"]\nslots = 1\n[[pool]]\nname = \"vm\"\nprovider = \"qemu\"\n\
         systems = [\"x86_64-linux\"]\nslots = 1\nmax = 1\n[pool.qemu]\nimage = \"/nonexistent/guest\"\n\
         program = \"sh\"\n",
    );
    let done = place.run(&["doctor"]);
    assert_eq!(done.code, 3, "{done:?}");
    done.prints(&["✗ builder away", "/nonexistent/key", "✗ pool vm", "nix/guest/build", "✓ sandbox"]);
}

#[test]
fn doctor_sees_a_damaged_database() {
    let place = Place::new();
    place.write("../state/croft.db", "this is no database, however long one reads it");
    let done = place.run(&["doctor"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(done.out.contains('✗') && done.out.contains("croft.db"), "{}", done.out);
}

#[test]
fn the_schema_describes_every_key_of_the_configuration() {
    let place = Place::new();
    let schema = place.run(&["config", "--schema"]).exits(0).json();
    assert!(schema["$schema"].as_str().unwrap().starts_with("https://json-schema.org/"));
    let shown = place.run(&["config"]).exits(0);
    let shown: toml::Table = toml::from_str(&shown.out).unwrap();
    for (section, keys) in &shown {
        let definition = &schema["properties"][section];
        let Some(keys) = keys.as_table() else {
            // A list: none is there by default, and each of its keys says what it is.
            let name =
                definition["items"]["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/")).unwrap();
            let properties = schema["$defs"][name]["properties"].as_object().unwrap();
            assert!(
                properties.values().all(|key| key["description"].is_string()),
                "{section}: {properties:#?}"
            );
            continue;
        };
        let name = definition["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/")).unwrap();
        let properties = &schema["$defs"][name]["properties"];
        for key in keys.keys() {
            let described = properties[key]["description"].as_str();
            assert!(
                described.is_some_and(|text| text.contains("Default")),
                "{section}.{key}: {properties:#}"
            );
        }
        assert_eq!(schema["$defs"][name]["additionalProperties"], Value::Bool(false), "{section}");
    }
}

#[test]
fn the_configuration_in_force_is_shown() {
    let place = Place::new();
    let file = place.write("croft.toml", "[build]\nslots = 3\ntimeout = \"5m\"\n");
    let done = place.finish(place.croft(&["config"]).env("CROFT_BUILD_TIMEOUT", "7m")).exits(0);
    let done = done.prints(&["slots = 3", "timeout = \"7m\""]).says(&[file.to_str().unwrap(), "CROFT_*"]);
    // What is printed is a configuration itself.
    place.write("copy.toml", &done.out);
    let copy = place.run(&["--config", "copy.toml", "config"]).exits(0);
    assert_eq!(copy.out, done.out);
    place.write("deep/er/keep", "");
    let below = place.finish(place.croft(&["config"]).current_dir(place.work().join("deep/er")));
    below.exits(0).prints(&["slots = 3"]);
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]).exits(0).prints(&["croft", "fail-fast", "plan"]).out;
        place.write(shell, &script);
        match Command::new(shell).arg("-n").arg(place.work().join(shell)).output() {
            Ok(checked) => assert!(checked.status.success(), "{shell}: {}", checked.stderr.escape_ascii()),
            Err(_) => skip(&format!("{shell} is not installed to read its completions")),
        }
    }
    place.run(&["completions", "csh"]).exits(2).says(&["csh", "bash"]);
}

#[test]
fn manual_pages_exist_for_all_commands() {
    let place = Place::new();
    place.run(&["man"]).exits(0).prints(&[".TH croft 1", "Exit codes"]);
    place.run(&["man", "pages"]).exits(0);
    for command in ["plan", "check", "show", "log", "status", "doctor", "config", "completions", "man"] {
        let page = place.work().join(format!("pages/croft-{command}.1"));
        let text =
            std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{text}");
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let place = Place::new();
    let version = place.run(&["--version"]).exits(0);
    assert_eq!(version.out, concat!("croft ", env!("CARGO_PKG_VERSION"), "\n"));
    place.run(&["--help"]).exits(0).prints(&["plan", "check", "doctor", "Exit codes"]);
    place.run(&["check", "--help"]).exits(0).prints(&["--junit", "--max-jobs", "--only"]);
    place.run(&[]).exits(2).says(&["Usage"]);
}
