//! `croft plan`: what would happen and why, with nothing built.

use serde_json::{Value, json};

use super::support::{Place, cell, golden, keys_of};

fn reason(place: &Place, args: &[&str], name: &str) -> String {
    let mut all = vec!["plan", "--json"];
    all.extend(args);
    let plan = place.run(&all).exits(0).json();
    cell(&plan, name)["reason"].as_str().unwrap().to_owned()
}

#[test]
fn the_grid_of_the_hello_example_is_as_recorded_and_nothing_is_built() {
    let place = Place::new();
    let hello = place.hello();
    let done = place.finish(place.croft(&["plan"]).current_dir(&hello)).exits(0);
    // Versions of Nix differ in whether they escape a slash.
    golden("plan-hello.txt", &done.out.replace(place.work().to_str().unwrap(), "/work").replace("%2f", "/"));
    assert_eq!(done.err, "");
    assert_eq!(place.built("-english-world"), 0);
    assert_eq!(place.built("-english-world.drv"), 1);
    let recorded = place.run(&["status", "--json"]).json();
    assert_eq!(recorded["runs"], json!([]), "a plan is no run");
}

#[test]
fn the_document_has_the_promised_shape() {
    let place = Place::new();
    let hello = place.hello();
    let plan = place.finish(place.croft(&["plan", "--json"]).current_dir(&hello)).exits(0).json();
    assert_eq!(
        keys_of(&plan),
        ["cells", "derivations", "estimate", "fingerprint", "flake", "substitutions", "summary", "v"]
    );
    assert_eq!((&plan["v"], &plan["derivations"], &plan["substitutions"]), (&json!(1), &json!(5), &json!(0)));
    let english = cell(&plan, "english-world");
    for field in
        ["attempts", "axes", "drv", "durationMs", "key", "name", "reason", "state", "system", "tests"]
    {
        assert!(keys_of(english).contains(&field), "{field} is missing: {english}");
    }
    assert_eq!(english["system"], "x86_64-linux");
    assert_eq!(english["axes"], json!({"greeting": "english", "audience": "world"}));
    assert_eq!((&english["state"], &english["reason"]), (&json!("build"), &json!("new")));
    assert!(english["drv"].as_str().unwrap().ends_with("-english-world.drv"));
    assert_eq!(english["key"].as_str().unwrap().len(), 52, "a key is a hash in nix32");
    assert_eq!(english["tests"], json!({"passed": 0, "failed": 0, "errors": 0, "skipped": 0}));
    let excluded: Vec<&Value> =
        plan["cells"].as_array().unwrap().iter().filter(|cell| cell["state"] == "excluded").collect();
    assert_eq!(excluded.len(), 1);
    assert!(excluded[0]["reason"].as_str().unwrap().contains("Romans"));
    assert_eq!(plan["summary"]["cells"], 5);
    assert_eq!(plan["summary"]["states"], json!({"build": 5, "excluded": 1}));
}

#[test]
fn only_narrows_the_plan() {
    let place = Place::new();
    let hello = place.hello();
    let names = |only: &[&str]| -> Vec<String> {
        let mut args = vec!["plan", "--json"];
        args.extend(only.iter().flat_map(|only| ["--only", *only]));
        let plan = place.finish(place.croft(&args).current_dir(&hello)).exits(0).json();
        let cells = plan["cells"].as_array().unwrap().clone();
        cells.iter().map(|cell| cell["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["greeting=latin"]), ["latin-world"]);
    assert_eq!(names(&["greeting=*n*l*", "audience=world"]), ["english-world"]);
    assert_eq!(names(&["*-farm-1_0"]), ["english-farm-1_0", "french-farm-1_0"]);
    assert_eq!(
        names(&["greeting=latin", "greeting=french", "audience=world"]),
        ["french-world", "latin-world"]
    );
}

#[test]
fn every_reason_is_told() {
    let place = Place::new();
    let flake = |version: &str| {
        let dep = format!("cell \"library-{version}\" {{ }} \"echo {version} > $out\"");
        place.flake(&format!(
            "let library = {dep}; in {{\n\
             user = cell \"user\" {{ }} \"read v < ${{library}}; echo $v > $out\";\n\
             bad = cell \"bad\" {{ }} \"exit 1\";\n}}"
        ));
    };
    flake("1.0");
    assert_eq!(reason(&place, &[], "user"), "new");
    place.run(&["check"]).exits(1);
    assert!(reason(&place, &[], "user").starts_with("passed 20"));
    assert!(reason(&place, &[], "bad").starts_with("known since 20"));
    assert_eq!(reason(&place, &["--retry-failed"], "bad"), "retry of a failure");
    assert_eq!(reason(&place, &["--rebuild"], "user"), "rebuild");
    flake("1.1");
    assert_eq!(reason(&place, &[], "user"), "input changed: library-1.0 -> library-1.1");
    assert!(reason(&place, &[], "bad").starts_with("known since"), "its inputs did not change");
    place.write("croft.toml", "[results]\nfailure_ttl = \"0s\"\n");
    assert_eq!(reason(&place, &[], "bad"), "failure expired");
}

#[test]
fn the_estimate_comes_from_records() {
    let place = Place::new();
    place.flake("{ slow = cell \"slow\" { } \"sleep 1; echo > $out\"; }");
    let before = place.run(&["plan", "--json"]).exits(0).json();
    assert_eq!(before["estimate"]["unknown"], 1);
    assert_eq!(before["estimate"]["wall"]["secs"], 0);
    place.run(&["check"]).exits(0);
    let after = place.run(&["plan", "--json", "--rebuild"]).exits(0).json();
    assert_eq!(after["estimate"]["unknown"], 0);
    assert!(after["estimate"]["wall"]["secs"].as_u64().unwrap() >= 1, "{after:#}");
    // Also for a derivation that is new but has the name of a known one.
    place.flake("{ slow = cell \"slow\" { } \"sleep 2; echo > $out\"; }");
    place.run(&["plan"]).exits(0).prints(&["1 derivation to build, about 1."]);
}

#[test]
fn the_exit_code_tells_whether_there_is_work() {
    let place = Place::new();
    place.flake("{ a = cell \"a\" { } ok; }");
    place.run(&["plan"]).exits(0);
    place.run(&["plan", "--exit-code"]).exits(10);
    place.run(&["check"]).exits(0);
    place.run(&["plan", "--exit-code"]).exits(0).prints(&["nothing to build"]);
    place.run(&["plan", "--exit-code", "--rebuild"]).exits(10);
}
