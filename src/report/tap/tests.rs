use super::*;

fn cases(text: &str) -> (Vec<String>, Vec<String>) {
    let report = parse_tap(text.as_bytes(), &Limits::default()).unwrap();
    let brief = report.cases.iter().map(|case| {
        let message = case.message.as_deref().map(|m| format!(" {m:?}")).unwrap_or_default();
        format!("{}::{} {:?}{message}", case.suite, case.name, case.status)
    });
    (brief.collect(), report.problems)
}

#[test]
fn the_directives_and_diagnostics_are_read() {
    let (cases, problems) = cases(
        "TAP version 13\n1..8\nok 1 - plain\nnot ok 2 - broken\n  ---\n  message: 'x'\n  duration_ms: 1.5\n  ...\n\
         ok 3 # SKIP no database\nnot ok 4 - later # TODO write it\nok\nok 6 with # a comment\nok 7 - a\\#b # skip\n\
         # a comment\nok 8 - é\x1b[31m\nokay then\n",
    );
    insta::assert_snapshot!(cases.join("\n"), @r##"
    ::plain Passed
    ::broken Failed "message: 'x'\nduration_ms: 1.5"
    ::test 3 Skipped "no database"
    ::later Skipped "write it"
    ::test 5 Passed
    ::with # a comment Passed
    ::a\#b Skipped
    ::é Passed
    "##);
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn subtests_carry_the_names_of_their_parents() {
    let (cases, problems) = cases(
        "TAP version 14\n1..3\n# Subtest: outer\n    # Subtest: inner\n        ok 1 - a\n        not ok 2 - b\n        1..2\n    \
         not ok 1 - inner\n    ok 2 - c\n    1..3\nnot ok 1 - outer\nok 2 - next\n    ok 1 - d\nok 3 - last\n",
    );
    insta::assert_snapshot!(cases.join("\n"), @"
    outer > inner::a Passed
    outer > inner::b Failed
    outer::inner Failed
    outer::c Passed
    ::outer Failed
    ::next Passed
    last::d Passed
    ");
    assert_eq!(problems, ["the plan names 3 tests, 2 were told"]);
}

#[test]
fn an_early_end_is_told() {
    let (told, problems) = cases("1..5\nok 1 - a\nBail out! disk full\nok 2 - never\n");
    assert_eq!(told, ["::a Passed", "::Bail out! Error \"disk full\""]);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(cases("1..5\nok 1\n").1, ["the plan names 5 tests, 1 were told"]);
    assert_eq!(cases("1..0 # skip all\n"), (vec![], vec![]));
}

#[test]
fn what_is_no_tap_is_refused() {
    for text in ["", "hello\nworld", "okay"] {
        let error = parse_tap(text.as_bytes(), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("it is no TAP report"), "{error}");
    }
}

#[test]
fn hostile_tap_is_bounded() {
    let limits = Limits { tests: 100, ..Limits::default() };
    let mut text = "    ".repeat(1_000_000);
    text.push_str("ok deep\n");
    text.push_str(&"ok x\n".repeat(1_000));
    text.push_str("not ok y\n---\n");
    text.push_str(&"z".repeat(1 << 20));
    let report = parse_tap(text.as_bytes(), &limits).unwrap();
    assert_eq!(report.cases.len(), 99, "100 were kept, one of them only sums up the deep one");
    assert!(report.problems[0].contains("are left out"), "{:?}", report.problems);
    let lines = "    ok a\nok b\n".repeat(20_000);
    assert_eq!(parse_tap(lines.as_bytes(), &Limits::default()).unwrap().cases.len(), 20_000);
}
