use std::time::Duration;

use super::*;
use crate::report::{Limits, parse_junit};

fn case(suite: &str, name: &str, status: TestStatus, message: Option<&str>) -> TestCase {
    let duration = Some(Duration::from_millis(1_500));
    TestCase { suite: suite.into(), name: name.into(), status, duration, message: message.map(str::to_owned) }
}

#[test]
fn what_is_written_is_read_again() {
    let first = [
        case("s", "a<b>&\"'", TestStatus::Passed, None),
        case("s", "b", TestStatus::Failed, Some("1 != 2\n]]> <x>")),
        case("", "c", TestStatus::Error, None),
    ];
    let second = [case("s", "d\u{1}", TestStatus::Skipped, Some("why"))];
    let cells = [CellTests { cell: "py-3.13/pg", cases: &first }, CellTests { cell: "x", cases: &second }];
    let xml = String::from_utf8(write_junit(Vec::new(), &cells).unwrap()).unwrap();
    insta::assert_snapshot!(xml, @r##"
    <?xml version="1.0" encoding="UTF-8"?>
    <testsuites name="croft" tests="4" failures="1" errors="1" skipped="1">
     <testsuite name="py-3.13/pg" tests="3" failures="1" errors="1" skipped="0">
      <testcase classname="py-3.13/pg.s" name="a&lt;b&gt;&amp;&quot;&apos;" time="1.500"/>
      <testcase classname="py-3.13/pg.s" name="b" time="1.500">
       <failure message="1 != 2">1 != 2
    ]]&gt; &lt;x&gt;</failure>
      </testcase>
      <testcase classname="py-3.13/pg" name="c" time="1.500">
       <error/>
      </testcase>
     </testsuite>
     <testsuite name="x" tests="1" failures="0" errors="0" skipped="1">
      <testcase classname="x.s" name="d�" time="1.500">
       <skipped message="why">why</skipped>
      </testcase>
     </testsuite>
    </testsuites>
    "##);
    let report = parse_junit(xml.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(TestCounts::of(&report.cases), TestCounts { passed: 1, failed: 1, errors: 1, skipped: 1 });
    assert_eq!(report.cases[1].message.as_deref(), Some("1 != 2\n]]> <x>"));
    assert_eq!(report.cases[0].name, first[0].name);
}
