//! `croft check` into files and pipes.

use serde_json::{Value, json};

use super::support::{Done, Place, cell, keys_of, nix_config};

/// A cell that reports two tests, one of which fails.
const FAILING: &str = r#"{
  good = cell "good" { kind = "good"; } ok;
  bad = cell "bad" { kind = "bad"; } ''
    echo "before the tests"
    echo '@croft {"v":1,"event":"test","suite":"s","name":"works","status":"passed","ms":3}'
    echo '@croft {"v":1,"event":"test","suite":"s","name":"breaks <&>","status":"failed","ms":4,"message":"1 is not 2"}'
    exit 1
  '';
}"#;

#[test]
fn the_document_has_the_promised_shape_and_a_second_run_reuses() {
    let place = Place::new();
    place.flake(FAILING);
    let done = place.run(&["check", "--json"]).exits(1);
    let report = done.json();
    assert_eq!(keys_of(&report), ["cells", "fingerprint", "flake", "run", "summary", "v", "verdict"]);
    assert_eq!((&report["v"], &report["verdict"]), (&json!(1), &json!("failed")));
    let (good, bad) = (cell(&report, "good"), cell(&report, "bad"));
    assert_eq!((&good["state"], &good["attempts"]), (&json!("passed"), &json!(1)));
    assert_eq!((&bad["state"], &bad["attempts"]), (&json!("failed"), &json!(1)));
    assert_eq!(bad["tests"], json!({"passed": 1, "failed": 1, "errors": 0, "skipped": 0}));
    assert_eq!(
        (&bad["failing"][0]["name"], &bad["failing"][0]["message"]),
        (&json!("breaks <&>"), &json!("1 is not 2"))
    );
    assert!(bad["reason"].as_str().unwrap().contains("exit code 1"));
    assert_eq!(report["summary"]["states"], json!({"failed": 1, "passed": 1}));
    let again = place.run(&["run", "--json"]).exits(1).json();
    assert_eq!(
        (&cell(&again, "good")["state"], &cell(&again, "bad")["state"]),
        (&json!("reused"), &json!("failed"))
    );
    assert_eq!((&cell(&again, "good")["attempts"], &cell(&again, "bad")["attempts"]), (&json!(0), &json!(0)));
    for name in ["good", "bad"] {
        assert_eq!(cell(&again, name)["key"], cell(&report, name)["key"]);
        assert_eq!(cell(&again, name)["attempt"], cell(&report, name)["attempt"]);
    }
    let retried = place.run(&["check", "--retry-failed", "--json"]).exits(1).json();
    assert_eq!(cell(&retried, "good")["state"], "reused");
    assert_ne!(cell(&retried, "bad")["attempt"], cell(&report, "bad")["attempt"]);
}

#[test]
fn expectations_decide_what_green_is() {
    let place = Place::new();
    place.flake(
        "{\n as_told = expecting \"fail\" (cell \"as_told\" { } \"echo > $out\");\n\
         plain = cell \"plain\" { } ok;\n}",
    );
    let report = place.run(&["check", "--json"]).exits(0).json();
    assert_eq!(cell(&report, "as_told")["expect"], "fail");
    assert_eq!(cell(&report, "as_told")["reason"], "failed, as expected");
    assert_eq!(cell(&report, "plain")["expect"], "pass");
}

#[test]
fn the_same_key_with_two_outcomes_is_flaky() {
    let place = Place::new();
    place.flake("{ f = cell \"f\" { } \"read word < /weather/today; test $word = fine && echo > $out\"; }");
    // The sandbox is told to show a folder that changes: what no sandbox can rule out is a machine that differs.
    let weather = place.path("weather");
    std::fs::create_dir(&weather).unwrap();
    let config = format!("{}extra-sandbox-paths = /weather={}\n", nix_config(), weather.display());
    let check = |today: &str, args: &[&str]| {
        std::fs::write(weather.join("today"), today).unwrap();
        place.finish(place.croft(args).env("NIX_CONFIG", &config))
    };
    check("foul", &["check"]).exits(1);
    let second = check("fine", &["check", "--retry-failed", "--json"]).exits(0).json();
    assert_eq!(cell(&second, "f")["state"], "flaky");
    place.run(&["check"]).exits(0).says(&["flaky", "the same key has passed and failed"]);
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn position(events: &[Value], wanted: impl Fn(&Value) -> bool) -> usize {
    events.iter().position(wanted).unwrap_or_else(|| panic!("no such event in {events:#?}"))
}

#[test]
fn json_lines_come_in_causal_order() {
    let place = Place::new();
    place.flake(FAILING);
    let done = place.run(&["check", "--jsonl"]).exits(1);
    let events = done.json_lines();
    assert_eq!(names(&events)[0], "started");
    let of = |kind: &str, field: &str, value: &str| {
        position(&events, |event| event["event"] == kind && event[field] == value)
    };
    let found = position(&events, |event| event["event"] == "found");
    for name in ["good", "bad"] {
        let (planned, started) = (of("planned", "cell", name), of("build-started", "name", name));
        let (built, ended) = (of("build-ended", "name", name), of("cell-ended", "name", name));
        assert!(
            found < planned && planned < ended && started < built && built < ended,
            "{:?}",
            names(&events)
        );
    }
    let tests: Vec<usize> = (0..events.len()).filter(|index| events[*index]["event"] == "test").collect();
    assert_eq!(tests.len(), 2);
    let (started, built) = (of("build-started", "name", "bad"), of("build-ended", "name", "bad"));
    assert!(tests.iter().all(|test| started < *test && *test < built));
    assert_eq!(events[tests[0]]["attempt"], events[started]["attempt"]);
}

fn millis(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no time"))
}

/// Lines of standard error.
fn lines(done: &Done) -> Vec<&str> {
    done.err.lines().collect()
}

#[test]
fn a_pipe_gets_a_line_for_each_change_and_no_escape_sequences() {
    let place = Place::new();
    place.flake(FAILING);
    let done = place.run(&["check"]).exits(1);
    assert!(!done.err.contains('\u{1b}') && !done.err.contains('\r'), "{:?}", done.err);
    assert_eq!(done.out, "", "words go to standard error");
    let count = |start: &str| lines(&done).iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((count("run "), count("▶ building"), count("■ "), count("✓ passed")), (1, 2, 2, 1));
    assert_eq!(count("✗ failed"), 2, "as it happens, and at the end");
    done.says(&[
        "✗ s breaks <&>",
        "1 is not 2",
        "croft log bad",
        "2 cells: 1 passed, 1 failed; 2 tests, 1 failed",
    ]);
}

#[test]
fn colours_come_when_asked_for() {
    let place = Place::new();
    place.flake("{ a = cell \"a\" { } ok; }");
    let coloured = place.run(&["check", "--color", "always"]).exits(0);
    assert!(coloured.err.contains("\u{1b}[32m✓ passed"), "{:?}", coloured.err);
    let with = |name: &str, args: &[&str]| place.finish(place.croft(args).env(name, "1")).exits(0);
    assert!(with("CLICOLOR_FORCE", &["plan"]).out.contains('\u{1b}'));
    assert!(with("NO_COLOR", &["plan", "--color", "always"]).out.contains('\u{1b}'), "the flag wins");
    let both = place.finish(place.croft(&["check"]).env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1"));
    assert!(!both.err.contains('\u{1b}'));
    assert!(!place.run(&["show", "a", "--color", "never"]).exits(0).out.contains('\u{1b}'));
}

#[test]
fn junit_holds_all_tests_of_all_cells() {
    let place = Place::new();
    place.flake(FAILING);
    place.run(&["check", "--junit", "tests.xml"]).exits(1);
    let text = std::fs::read_to_string(place.work().join("tests.xml")).unwrap();
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut open, mut cases, mut failures) = (0_usize, 0, 0);
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(tag) | quick_xml::events::Event::Empty(tag) => {
                open += 1;
                cases += usize::from(tag.name().as_ref() == "testcase");
                failures += usize::from(tag.name().as_ref() == "failure");
                for attribute in tag.attributes() {
                    attribute.unwrap();
                }
            }
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert!(open > 3, "{text}");
    // Two of the failing cell, and the implicit one of the other.
    assert!((2..=3).contains(&cases), "{text}");
    assert_eq!(failures, 1, "{text}");
    assert!(text.contains("breaks &lt;&amp;&gt;"), "{text}");
    place.run(&["check", "--junit", "/nowhere/tests.xml"]).exits(3).says(&["/nowhere/tests.xml"]);
}

#[test]
fn max_jobs_bounds_what_runs_at_once() {
    let place = Place::new();
    place.flake("builtins.listToAttrs (map (n: { name = n; value = cell n { } \"sleep 0.2; echo > $out\"; }) [ \"a\" \"b\" \"c\" ])");
    place.run(&["check", "-j", "1"]).exits(0);
    let mut spans: Vec<(u64, u64)> = ["a", "b", "c"]
        .map(|name| {
            let attempt = place.run(&["show", name, "--json"]).exits(0).json()["attempts"][0].clone();
            (millis(&attempt["started"]), millis(&attempt["ended"]))
        })
        .into();
    spans.sort_unstable();
    for pair in spans.windows(2) {
        // The end is read off the clock after the slot is free.
        assert!(pair[1].0 + 100 >= pair[0].1, "{spans:?}");
    }
}

#[test]
fn fail_fast_gives_up_the_rest() {
    let place = Place::new();
    place.flake(
        "{ a = cell \"a\" { } \"exit 1\"; } // builtins.listToAttrs (map (n: { name = n; value = cell n { } \"sleep 3; echo > $out\"; })\n\
         [ \"b\" \"c\" \"d\" \"e\" \"f\" \"g\" \"h\" \"i\" \"j\" \"k\" \"l\" \"m\" ])",
    );
    let done = place.run(&["check", "--json", "--fail-fast"]).exits(1);
    assert!(done.took.as_secs() < 120, "{:?}", done.took);
    let report = done.json();
    assert_eq!(cell(&report, "a")["state"], "failed");
    assert!(report["summary"]["states"]["cancelled"].as_u64().unwrap() >= 3, "{report:#}");
    // What was given up is not a result.
    let plan = place.run(&["plan", "--json"]).exits(0).json();
    assert_eq!(cell(&plan, "m")["state"], "build");
    assert_eq!(cell(&plan, "a")["state"], "failed");
}

#[test]
fn quiet_is_quiet() {
    let place = Place::new();
    place.flake("{ a = cell \"a\" { } ok; }");
    let done = place.run(&["check", "-q"]).exits(0);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
    place.flake(FAILING);
    let done = place.run(&["check", "-q"]).exits(1);
    assert!(!done.err.contains("building") && !done.err.contains("good"), "{}", done.err);
    done.says(&["✗ failed", "bad", "1 is not 2"]);
}
