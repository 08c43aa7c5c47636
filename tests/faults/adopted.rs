//! Outputs that were valid before croft came: they are not built again, and the reports they hold are hostile.

use std::fs;

use crate::support::Farm;

/// Builds the farm's cells, then forgets that.
fn build_and_forget(farm: &Farm, checks: &str) {
    farm.write_flake(checks);
    let checked = farm.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    fs::remove_dir_all(farm.state()).unwrap();
}

#[test]
fn a_valid_output_is_reused_with_its_tests() {
    let Some(farm) = Farm::new() else { return };
    build_and_forget(
        &farm,
        r#"tested = cell "tested" "test_case passed one; test_case passed two; succeed";
           plain = cell "plain" "echo fine > $out";"#,
    );
    for _ in 0..2 {
        let checked = farm.check(&[]);
        assert_eq!(checked.code, Some(0), "{checked:#?}");
        assert_eq!((checked.state("tested"), checked.state("plain")), ("reused", "reused"));
        assert_eq!(checked.cell("tested")["tests"]["passed"], 2, "{checked:#?}");
    }
    let shown = farm.show("tested");
    assert_eq!(shown["tests"].as_array().map(Vec::len), Some(2), "{shown:#}");
    assert_eq!((farm.ran("tested"), farm.ran("plain")), (1, 1));
    farm.assert_sound();
}

#[test]
fn a_hostile_report_is_a_problem_and_no_more() {
    let Some(farm) = Farm::new() else { return };
    build_and_forget(
        &farm,
        r#"link = cell "link" "mkdir -p $out/croft; ln -s /etc/passwd $out/croft/report.xml";
           huge = cell "huge" "mkdir -p $out/croft; truncate -s 200M $out/croft/report.xml";
           bomb = cell "bomb" ''
             mkdir -p $out/croft
             {
               echo "<!DOCTYPE x [ <!ENTITY a0 'ha'>"
               for i in 1 2 3 4 5 6 7 8 9; do
                 b="&a$((i - 1));"
                 echo "<!ENTITY a$i '$b$b$b$b$b$b$b$b$b$b'>"
               done
               echo "]><testsuite name='s'><testcase name='&a9;'/></testsuite>"
             } > $out/croft/report.xml
           '';
           deep = cell "deep" "mkdir -p $out/croft; yes '<testsuite>' | head -n 100000 > $out/croft/report.xml";
           binary = cell "binary" "mkdir -p $out/croft; head -c 100000 /dev/urandom > $out/croft/report.xml";"#,
    );
    let checked = farm.check(&[]);
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    for cell in ["link", "huge", "bomb", "deep", "binary"] {
        assert_eq!(checked.state(cell), "reused", "{checked:#?}");
        let shown = farm.show(cell);
        let problems = &shown["attempts"][0]["problems"];
        assert!(problems.as_array().is_some_and(|problems| !problems.is_empty()), "{cell}: {shown:#}");
        let text = farm.croft(&["show", cell]).run();
        assert_eq!(text.code, Some(0), "{text:?}");
        assert!(text.stdout.contains("report") && !text.stdout.contains("root:"), "{cell}: {text:?}");
    }
    farm.assert_sound();
}
