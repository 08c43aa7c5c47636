//! Django's matrix: which changes change which keys, and a test that fails.

use std::{collections::BTreeMap, process::Command};

use serde_json::json;

use super::support::{Place, cell, copy, repository};

const FOLDERS: [&str; 3] = ["nix/lib", "nix/pins", "examples/django"];

/// A copy of the matrix and all it imports, as a git tree.
fn matrix(place: &Place) {
    for folder in FOLDERS {
        copy(&repository().join(folder), &place.work().join(folder));
    }
    place.git(&["init", "-q", "."]);
    place.git(&["add", "-A"]);
}

/// The key of each cell. Nothing is built for it, and no pin has to be there.
fn keys(place: &Place) -> BTreeMap<String, String> {
    let mut croft = place.croft(&["plan", "--json"]);
    let plan = place.finish(croft.current_dir(place.work().join("examples/django"))).exits(0).json();
    let cells = plan["cells"].as_array().unwrap().iter().filter(|cell| cell["state"] != "excluded");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    cells.map(|cell| (text(&cell["name"]), text(&cell["key"]))).collect()
}

/// Replaces `from`, which must be there, in a file.
fn edit(place: &Place, file: &str, from: &str, to: &str) {
    let path = place.work().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn changed(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    before.iter().filter(|(name, key)| after[*name] != **key).map(|(name, _)| name.clone()).collect()
}

/// Another hash for the first pin of a package.
fn repin(place: &Place, file: &str) {
    let path = place.work().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("\"sha256\": \"").unwrap() + "\"sha256\": \"".len();
    let flipped = if &text[at..=at] == "0" { "1" } else { "0" };
    std::fs::write(path, format!("{}{flipped}{}", &text[..at], &text[at + 1..])).unwrap();
}

#[test]
fn a_changed_pin_changes_the_keys_of_those_who_use_it_and_nothing_else_does() {
    let place = Place::new();
    matrix(&place);
    let before = keys(&place);
    assert_eq!(before.len(), 77);

    edit(&place, "examples/django/README.md", "# Django", "# A comment on Django");
    edit(&place, "examples/django/axes.nix", "# The axes as data.", "# The axes as data, with a remark.");
    edit(&place, "nix/pins/databases.nix", "{", "# Another remark.\n{");
    assert_eq!(changed(&before, &keys(&place)), [""; 0], "a comment changes no key");

    edit(
        &place,
        "examples/django/flake.nix",
        "inherit system;",
        "inherit system; mirrors = { debian = \"http://one\"; pypi = \"http://two\"; npm = \"http://three\"; };",
    );
    let mirrored = keys(&place);
    assert_eq!(changed(&before, &mirrored), [""; 0], "a mirror changes no key");
    edit(&place, "examples/django/flake.nix", "http://one", "http://elsewhere/debian");
    assert_eq!(changed(&before, &keys(&place)), [""; 0], "another mirror changes no key");

    repin(&place, "nix/pins/data/debian/postgresql_17.json");
    let repinned = keys(&place);
    let expected: Vec<String> =
        before.keys().filter(|name| name.ends_with("-postgresql-17")).cloned().collect();
    assert_eq!(expected.len(), 8);
    assert_eq!(changed(&before, &repinned), expected);
}

/// A patch that adds a failing test to Django's own.
const PATCH: &str = "\
--- /dev/null
+++ b/tests/basic/test_deliberate.py
@@ -0,0 +1,6 @@
+from django.test import SimpleTestCase
+
+
+class DeliberateTests(SimpleTestCase):
+    def test_patched_to_fail(self):
+        self.assertEqual(\"croft\", \"kraft\", \"patched to fail\")
";

fn pins_are_present(place: &Place) -> bool {
    let mut croft = place.croft(&["plan", "--json", "--only", CELL]);
    let plan = place.finish(croft.current_dir(place.work().join("examples/django"))).exits(0).json();
    let state = &cell(&plan, CELL)["state"];
    // A cell that was built before has had its pins; for another, hundreds of pins would be among what is to be made.
    *state == "reused" || plan["derivations"].as_u64().is_some_and(|count| count < 20)
}

const CELL: &str = "python-3_13-sqlite";

#[test]
fn a_failing_test_of_django_fails_its_cell_and_no_other() {
    let place = Place::on_machine_store();
    matrix(&place);
    if !pins_are_present(&place) {
        super::support::skip(
            "the pins are not in the store; `nix/pins/fetch all examples/django/pins.json` brings them",
        );
        return;
    }
    place.write("examples/django/fail.patch", PATCH);
    edit(
        &place,
        "examples/django/flake.nix",
        "croft.lib =",
        "patches = { python, database }: if python == \"3.13\" && database == \"sqlite\" then [ ./fail.patch ] else [ ];\n        croft.lib =",
    );
    place.git(&["add", "-A"]);
    let folder = place.work().join("examples/django");
    let run = |args: &[&str]| place.finish(place.croft(args).current_dir(&folder));

    let done = run(&["check", "--json", "--only", CELL, "--only", "python-3_14-sqlite"]).exits(1);
    let report = done.json();
    assert_eq!(cell(&report, "python-3_14-sqlite")["failing"], json!(null));
    assert!(matches!(cell(&report, "python-3_14-sqlite")["state"].as_str(), Some("reused" | "passed")));
    let failed = cell(&report, CELL);
    assert_eq!((&failed["state"], &failed["tests"]["failed"]), (&json!("failed"), &json!(1)));
    assert!(failed["tests"]["passed"].as_u64().unwrap() > 50, "{failed:#}");
    let test = &failed["failing"][0];
    assert_eq!(test["name"], "test_patched_to_fail");
    assert!(test["suite"].as_str().unwrap().contains("basic.test_deliberate"), "{test}");
    assert!(test["message"].as_str().unwrap().contains("patched to fail"), "{test}");
    done.says(&["✗ failed", CELL, "test_patched_to_fail", "patched to fail"]);

    // The report outlives the run, and the failing build.
    let shown = run(&["show", CELL]).exits(0);
    shown.prints(&["✗ failed", "test_patched_to_fail", "AssertionError", "patched to fail"]);
    run(&["show", "patched_to_fail"]).exits(0).prints(&[CELL, "✗"]);
    run(&["log", CELL]).exits(0).prints(&["FAIL: test_patched_to_fail"]);

    // What croft says is what Nix says.
    let nix = |cell: &str| {
        let mut nix = Command::new("nix");
        place.dress(&mut nix);
        nix.env("NIX_CONFIG", "experimental-features = nix-command flakes\n").current_dir(&folder);
        place.finish(nix.args(["build", "--no-link", &format!(".#checks.x86_64-linux.{cell}")]))
    };
    nix("python-3_14-sqlite").exits(0);
    nix(CELL).exits(1).says(&[&format!("django-{CELL}.drv' failed with exit code")]);
}
