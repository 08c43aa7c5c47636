use std::{io::Write as _, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use super::*;

const JUNIT: &str = "<testsuite name='s'><testcase name='a' time='0.25'/><testcase name='b'><failure message='no'/>\
                     </testcase></testsuite>";

fn collect<L: AsRef<[u8]>>(lines: &[L]) -> TestReport {
    collect_within(Limits::default(), lines)
}

fn collect_within<L: AsRef<[u8]>>(limits: Limits, lines: &[L]) -> TestReport {
    let mut collector = ReportCollector::new(limits);
    for line in lines {
        collector.line(line.as_ref());
    }
    collector.finish()
}

fn packed(text: &[u8]) -> String {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text).unwrap();
    STANDARD.encode(gzip.finish().unwrap())
}

fn part(name: Option<&str>, part: u64, of: u64, data: &str) -> String {
    let body = json!({"v":1,"event":"report","format":"junit","encoding":"gzip+base64","name":name,"part":part,"of":of,"data":data});
    format!("@croft {body}")
}

/// A document in `of` parts.
fn parts(name: Option<&str>, text: &str, of: usize) -> Vec<String> {
    let data = packed(text.as_bytes());
    let size = data.len().div_ceil(of);
    (0..of)
        .map(|i| part(name, i as u64 + 1, of as u64, &data[i * size..((i + 1) * size).min(data.len())]))
        .collect()
}

fn live(name: &str, status: &str) -> String {
    format!("@croft {}", json!({"v":1,"event":"test","suite":"s","name":name,"status":status,"ms":12.5}))
}

fn names(report: &TestReport) -> Vec<String> {
    report.cases.iter().map(|case| format!("{} {:?}", case.name, case.status)).collect()
}

#[test]
fn a_line_is_shown_or_taken() {
    let mut collector = ReportCollector::new(Limits::default());
    for line in ["", "hello", "@croft", "@croftx {}", " @croft {}"] {
        assert_eq!(collector.line(line.as_bytes()), LineKind::Shown, "{line:?}");
    }
    let LineKind::Taken(Some(case)) = collector.line(live("a", "skipped").as_bytes()) else {
        panic!("a test")
    };
    assert_eq!((case.suite.as_str(), case.name.as_str(), case.status), ("s", "a", TestStatus::Skipped));
    assert_eq!(case.duration, Some(Duration::from_micros(12_500)));
    assert_eq!(collector.line(b"@croft \xff garbage"), LineKind::Taken(None));
}

#[test]
fn the_document_is_the_truth_and_live_tests_stand_in_for_it() {
    let mut lines = vec![live("a", "passed"), live("only-live", "failed")];
    let killed = collect(&lines);
    assert_eq!(names(&killed), ["a Passed", "only-live Failed"]);
    assert_eq!(killed.problems.len(), 1);
    lines.extend(parts(None, JUNIT, 3));
    let whole = collect(&lines);
    assert_eq!(names(&whole), ["a Passed", "b Failed"]);
    assert_eq!(whole.problems, Vec::<String>::new());
}

#[test]
fn parts_come_in_any_order_between_each_other() {
    let mut first = parts(Some("x"), JUNIT, 4);
    let second = parts(None, &JUNIT.replace("'b'", "'c'"), 4);
    first.reverse();
    let lines: Vec<_> = first.into_iter().zip(second).flat_map(|(a, b)| [a, b]).collect();
    let report = collect(&lines);
    assert_eq!(names(&report), ["a Passed", "b Failed", "a Passed", "c Failed"]);
    assert_eq!(report.problems, Vec::<String>::new());
}

#[test]
fn parts_that_were_encoded_one_by_one_are_read() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(JUNIT.as_bytes()).unwrap();
    let bytes = gzip.finish().unwrap();
    let (a, b) = bytes.split_at(31);
    let lines = [part(None, 1, 2, &STANDARD.encode(a)), part(None, 2, 2, &STANDARD.encode(b))];
    assert_eq!(names(&collect(&lines)), ["a Passed", "b Failed"]);
}

#[test]
fn tap_and_plain_text_are_read() {
    let line = format!(
        "@croft {}",
        json!({"v":1,"event":"report","format":"tap","encoding":"identity","part":1,"of":1,"data":"1..1\nok 1 - t\n"})
    );
    assert_eq!(names(&collect(&[line])), ["t Passed"]);
}

#[test]
fn a_refusal_is_kept_and_bounded() {
    let line = format!(
        "@croft {}",
        json!({"v":1,"event":"refused","reason":format!("needs \u{1b}[1m3.12 {}", "x".repeat(9_000))})
    );
    let refused = collect(&[line]).refused.unwrap();
    assert!(refused.starts_with("needs 3.12 x") && refused.chars().count() == 4_000, "{refused}");
}

#[test]
fn each_problem_is_a_sentence() {
    let two = parts(None, JUNIT, 2);
    let other_of = part(None, 2, 3, "x");
    let big = part(None, 1_000_000_000, 1_000_000_000, "x");
    for (lines, want) in [
        (vec!["@croft {".to_owned()], "a report line cannot be read: EOF"),
        (vec!["@croft 1".to_owned()], "a report line cannot be read"),
        (vec!["@croft {\"v\":2,\"event\":7}".to_owned()], "a report line cannot be read"),
        (vec!["@croft {\"v\":2,\"event\":\"new\"}".to_owned()], "of protocol version 2 is left out"),
        (vec!["@croft {\"event\":\"test\"}".to_owned()], "without a version"),
        (vec!["@croft {\"v\":1,\"event\":\"\\u001b[1mnew\"}".to_owned()], "the unknown event \"new\""),
        (vec![live("a", "great")], "a report test cannot be read: unknown variant `great`"),
        (vec![two[0].clone()], "1 of its 2 parts are missing"),
        (vec![two[0].clone(), two[0].clone(), two[1].clone()], "part 1 came twice"),
        (vec![two[0].clone(), other_of], "part 2 does not fit the parts before it"),
        (vec![big], "part 1000000000 of 1000000000 is no part"),
        (vec![part(None, 0, 1, "x")], "part 0 of 1 is no part"),
        (vec![part(None, 1, 0, "x")], "part 1 of 0 is no part"),
        (vec![part(Some("p\u{7}q"), 1, 1, "!!")], "report \"p\u{2407}q\" is left out: its base64 is broken"),
        (vec![part(None, 1, 1, "QUJD")], "its gzip stream is broken"),
        (vec![part(None, 1, 1, &packed(b"<html/>"))], "its root is neither testsuites nor testsuite"),
        (
            vec![format!("@croft {{\"v\":1,\"event\":\"test\",\"name\":\"{}\"}}", "x".repeat(2 << 20))],
            "it is too long",
        ),
    ] {
        let problems = collect(&lines).problems.join("\n").replace("\\u{2407}", "\u{2407}");
        assert!(problems.contains(want), "want {want:?}: {problems}");
    }
}

#[test]
fn many_problems_are_counted_not_listed() {
    let report = collect(&vec!["@croft nonsense"; 1_000]);
    assert_eq!(report.problems.len(), 20);
    assert_eq!(report.problems[19], "981 more problems with the test report are not listed");
}

#[test]
fn a_gzip_bomb_stops_at_the_limit() {
    let bomb = packed(&vec![b' '; 100 << 20]);
    let limits = Limits { document_bytes: 1 << 20, ..Limits::default() };
    let report = collect_within(limits, &[live("a", "passed"), part(None, 1, 1, &bomb)]);
    assert!(report.problems[0].contains("longer than the 1048576 bytes"), "{:?}", report.problems);
    assert_eq!(names(&report), ["a Passed"]);
}

#[test]
fn the_room_of_parts_and_documents_is_bounded() {
    let limits = Limits { encoded_bytes: 10, documents: 2, ..Limits::default() };
    let lines: Vec<_> = ["a", "b", "c"].iter().map(|name| part(Some(name), 1, 2, "xxx")).collect();
    let problems = collect_within(limits.clone(), &lines).problems.join("\n");
    assert!(problems.contains("report \"c\" is left out: a log may hold 2 reports"), "{problems}");
    let problems = collect_within(limits, &[part(None, 1, 1, "xxxxxxxxxxx")]).problems.join("\n");
    assert!(problems.contains("the report is cut: reports may hold 10 bytes"), "{problems}");
}

#[test]
fn an_incomplete_document_is_filled_up_with_live_tests() {
    let mut lines = vec![live("a", "failed"), live("z", "failed")];
    lines.extend(parts(Some("whole"), JUNIT, 1));
    lines.push(parts(Some("cut"), JUNIT, 2).remove(0));
    assert_eq!(names(&collect(&lines)), ["a Passed", "b Failed", "z Failed"]);
}

#[test]
fn a_million_live_tests_are_cut() {
    let limits = Limits { tests: 1_000, ..Limits::default() };
    let mut collector = ReportCollector::new(limits);
    for n in 0..5_000 {
        let LineKind::Taken(case) = collector.line(live(&n.to_string(), "passed").as_bytes()) else {
            panic!()
        };
        assert_eq!(case.is_some(), n < 1_000);
    }
    let report = collector.finish();
    assert_eq!(report.cases.len(), 1_000);
    assert!(report.problems.join("\n").contains("4000 tests are left out"), "{:?}", report.problems);
}
