#![expect(
    clippy::print_stderr,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "told and built for a test"
)]

use std::time::{Duration, Instant};

use super::*;
use crate::report::{TestCase, TestCounts};

fn parse(xml: &str) -> Result<TestReport, ReportError> {
    parse_junit(xml.as_bytes(), &Limits::default())
}

fn brief(case: &TestCase) -> String {
    let message = case.message.as_deref().map(|m| format!(" {m:?}")).unwrap_or_default();
    format!("{}::{} {:?}{message}", case.suite, case.name, case.status)
}

fn cases(xml: &str) -> Vec<String> {
    parse(xml).unwrap().cases.iter().map(brief).collect()
}

#[test]
fn a_report_with_every_outcome_is_read() {
    let xml = r#"<?xml version="1.0" encoding="utf-8"?>
<!-- a comment -->
<testsuites name="all"><testsuite name="outer" tests="6">
  <properties><property name="a" value="b"/></properties>
  <testcase classname="app.tests.A" name="test_pass" time="0.5"/>
  <testcase classname="app.tests.A" name="test_fail" time="1,234.5"><failure type="AssertionError" message="1 != 2">Traceback
  x &lt; y &amp; z &#65;</failure><system-out><![CDATA[noise <b>]]></system-out></testcase>
  <testcase name="test_error"><error><![CDATA[boom <tag>]]></error></testcase>
  <testcase classname="c" name="test_skip"><skipped message="no &quot;gis&quot;"/></testcase>
  <testsuite name="inner"><testcase name="nested"/></testsuite>
  <testcase name="after"/>
  <testcase classname="c" name="rerun"><flakyFailure message="once">t</flakyFailure></testcase>
  <testcase classname="c" name="both"><failure message="f"/><error message="e"/><rerunFailure message="r"/></testcase>
  <testcase classname="c" name="gtest" status="notrun"/>
</testsuite></testsuites>
"#;
    insta::assert_snapshot!(cases(xml).join("\n"), @r#"
    app.tests.A::test_pass Passed
    app.tests.A::test_fail Failed "1 != 2\nTraceback\n  x < y & z A"
    outer::test_error Error "boom <tag>"
    c::test_skip Skipped "no \"gis\""
    inner::nested Passed
    outer::after Passed
    c::rerun Passed
    c::both Error "e"
    c::gtest Skipped
    "#);
    let report = parse(xml).unwrap();
    assert_eq!(report.cases[0].duration, Some(Duration::from_millis(500)));
    assert_eq!(report.cases[1].duration, Some(Duration::from_millis(1_234_500)));
    assert_eq!(report.problems, Vec::<String>::new());
}

#[test]
fn an_outcome_of_a_suite_is_a_test_of_its_own() {
    let xml = r#"<testsuite name="s"><error message="set-up failed"/><testcase name="a"/></testsuite>"#;
    assert_eq!(cases(xml), ["s::(suite) Error \"set-up failed\"", "s::a Passed"]);
}

#[test]
fn names_are_made_comparable_and_safe() {
    let xml = "<testsuite><testcase classname='a&#27;[31mb' name='t (v=&lt;object object at 0x7f00aabbcc&gt;)&#10;x'/>\
               <testcase name=''/><testcase name='&bogus;'/></testsuite>";
    assert_eq!(
        cases(xml),
        ["ab::t (v=<object object>)\u{240a}x Passed", "::(no name) Passed", "::&bogus; Passed"]
    );
}

#[test]
fn what_is_no_junit_is_refused_with_the_place() {
    for (xml, want) in [
        ("", "at byte 0 (line 1): it holds no element"),
        ("hello", "it holds no element"),
        ("<html>\n</html>", "its root is neither testsuites nor testsuite"),
        ("<testsuite>\n<testcase name='a'>", "(line 2): it ends within 2 open elements: it was cut"),
        ("<testsuite>\n</testcase>", "(line 2)"),
        ("<!DOCTYPE testsuite [<!ENTITY a 'b'>]>\n<testsuite/>", "(line 1): it has a document type"),
        ("<testsuite><testcase name='x", "reading the JUnit report"),
    ] {
        let error = parse(xml).unwrap_err().to_string();
        assert!(error.contains(want), "{xml:?}: {error}");
    }
}

#[test]
fn billion_laughs_do_not_expand() {
    let mut xml = String::from("<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY lol \"lol\">");
    for level in 1..10 {
        let inner = format!("&lol{};", level - 1).repeat(10);
        xml.push_str(&format!("<!ENTITY lol{level} \"{inner}\">"));
    }
    xml.push_str("]><testsuite><testcase name=\"&lol9;\"/></testsuite>");
    assert!(parse(&xml).unwrap_err().reason.contains("document type"));
    let external = "<!DOCTYPE r SYSTEM \"file:///etc/passwd\"><testsuite/>";
    assert!(parse(external).unwrap_err().reason.contains("document type"));
}

#[test]
fn depth_and_size_are_bounded() {
    let deep = format!("{}{}", "<testsuite>".repeat(33), "</testsuite>".repeat(33));
    assert!(parse(&deep).unwrap_err().reason.contains("more than 32 deep"));
    assert!(parse(&format!("{}{}", "<testsuite>".repeat(32), "</testsuite>".repeat(32))).is_ok());
    let long = parse_junit(b"<testsuite/>", &Limits { document_bytes: 5, ..Limits::default() });
    assert!(long.unwrap_err().reason.contains("longer than 5 bytes"));
}

#[test]
fn too_many_tests_and_too_much_text_are_cut_and_said() {
    let xml = format!(
        "<testsuite>{}</testsuite>",
        "<testcase name='a'><failure>xxxxx</failure></testcase>".repeat(50)
    );
    let limits = Limits { tests: 4, ..Limits::default() };
    let report = parse_junit(xml.as_bytes(), &limits).unwrap();
    assert_eq!(report.cases.len(), 4);
    let want = "46 tests are left out: a report may hold 4 tests and 67108864 bytes of text";
    assert_eq!(report.problems, [want]);
    let limits = Limits { text_bytes: 100, ..Limits::default() };
    let report = parse_junit(xml.as_bytes(), &limits).unwrap();
    assert!(report.cases[0].message.is_some() && report.cases[20].message.is_none(), "{report:?}");
    assert_eq!((report.cases.len(), report.problems.len()), (35, 2));
}

#[test]
fn a_huge_attribute_and_a_million_attributes_end_soon() {
    let started = Instant::now();
    let huge = format!("<testsuite><testcase name='{}'/></testsuite>", "&lt;".repeat(2 << 20));
    assert_eq!(parse(&huge).unwrap().cases[0].name.chars().count(), 1_000);
    let many: String = (0..200_000).map(|n| format!(" a{n}='x'")).collect();
    assert_eq!(
        parse(&format!("<testsuite><testcase{many} name='t'/></testsuite>")).unwrap().cases[0].name,
        "t"
    );
    assert!(started.elapsed() < Duration::from_secs(20), "took {:?}", started.elapsed());
}

#[test]
fn invalid_utf8_and_nuls_are_replaced() {
    let report =
        parse_junit(b"<testsuite><testcase name='a\xff\x00b'/></testsuite>", &Limits::default()).unwrap();
    assert_eq!(report.cases[0].name, "a\u{fffd}\u{2400}b");
}

/// A report the size of Django's: 18,000 tests, 2.4 MB. Prints its speed.
#[test]
fn eighteen_thousand_tests_are_read() {
    let mut xml =
        String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<testsuites><testsuite name=\"django\">");
    for n in 0..18_000 {
        let outcome = if n % 50 == 0 { "<skipped message=\"Database has feature(s) x\"/>" } else { "" };
        xml.push_str(&format!(
            "<testcase classname=\"some_app.tests.test_module_{:03}.SomethingTests\" name=\"test_a_rather_long_name_{n}\" \
             time=\"0.0{n:05}\">{outcome}</testcase>\n",
            n % 400
        ));
    }
    xml.push_str("</testsuite></testsuites>");
    let started = Instant::now();
    let report = parse(&xml).unwrap();
    let took = started.elapsed();
    eprintln!("{} tests, {} bytes: {took:?}", report.cases.len(), xml.len());
    assert_eq!(TestCounts::of(&report.cases).skipped, 360);
    assert_eq!(report.cases.len(), 18_000);
    assert!(took < Duration::from_secs(10), "took {took:?}");
}
