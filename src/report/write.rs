//! `JUnit` XML out, for the tools that read it. Pure layer.

use std::{io, time::Duration};

use quick_xml::{
    Writer,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};

use super::{TestCase, TestCounts, TestStatus};

/// The tests of one cell.
#[derive(Debug, Clone, Copy)]
pub struct CellTests<'a> {
    /// The cell's name; it stands before the suite of each of its tests.
    pub cell: &'a str,
    /// Its tests.
    pub cases: &'a [TestCase],
}

/// Writes one `testsuite` per cell. A test's class is `<cell>.<suite>`, so that tests of two cells stay apart in
/// tools that look at the class alone.
pub fn write_junit<W: io::Write>(out: W, cells: &[CellTests<'_>]) -> io::Result<W> {
    let mut writer = Writer::new_with_indent(out, b' ', 1);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = TestCounts::of(cells.iter().flat_map(|cell| cell.cases));
    writer.write_event(Event::Start(counted("testsuites", "croft", all)))?;
    for cell in cells {
        writer.write_event(Event::Start(counted("testsuite", cell.cell, TestCounts::of(cell.cases))))?;
        for case in cell.cases {
            write_case(&mut writer, cell.cell, case)?;
        }
        writer.write_event(Event::End(BytesEnd::new("testsuite")))?;
    }
    writer.write_event(Event::End(BytesEnd::new("testsuites")))?;
    let mut out = writer.into_inner();
    out.write_all(b"\n")?;
    Ok(out)
}

fn counted(element: &'static str, name: &str, counts: TestCounts) -> BytesStart<'static> {
    let mut tag = BytesStart::new(element);
    tag.push_attribute(("name", legal(name).as_str()));
    tag.push_attribute(("tests", counts.total().to_string().as_str()));
    tag.push_attribute(("failures", counts.failed.to_string().as_str()));
    tag.push_attribute(("errors", counts.errors.to_string().as_str()));
    tag.push_attribute(("skipped", counts.skipped.to_string().as_str()));
    tag
}

fn write_case<W: io::Write>(writer: &mut Writer<W>, cell: &str, case: &TestCase) -> io::Result<()> {
    let class = if case.suite.is_empty() { cell.to_owned() } else { format!("{cell}.{}", case.suite) };
    let mut tag = BytesStart::new("testcase");
    tag.push_attribute(("classname", legal(&class).as_str()));
    tag.push_attribute(("name", legal(&case.name).as_str()));
    if let Some(duration) = case.duration {
        tag.push_attribute(("time", seconds(duration).as_str()));
    }
    let outcome = match case.status {
        TestStatus::Passed => return writer.write_event(Event::Empty(tag)),
        TestStatus::Failed => "failure",
        TestStatus::Error => "error",
        TestStatus::Skipped => "skipped",
    };
    writer.write_event(Event::Start(tag))?;
    write_outcome(writer, outcome, case.message.as_deref())?;
    writer.write_event(Event::End(BytesEnd::new("testcase")))
}

fn write_outcome<W: io::Write>(
    writer: &mut Writer<W>,
    element: &str,
    message: Option<&str>,
) -> io::Result<()> {
    let mut tag = BytesStart::new(element);
    let Some(message) = message.map(legal) else {
        return writer.write_event(Event::Empty(tag));
    };
    tag.push_attribute(("message", message.lines().next().unwrap_or_default()));
    writer.write_event(Event::Start(tag))?;
    writer.write_event(Event::Text(BytesText::new(&message)))?;
    writer.write_event(Event::End(BytesEnd::new(element)))
}

fn seconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_secs(), duration.subsec_millis())
}

/// XML 1.0 has no way to write some characters, not even escaped.
fn legal(text: &str) -> String {
    let replace = |c: char| match c {
        '\t' | '\n' | '\r' => c,
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    text.chars().map(replace).collect()
}

#[cfg(test)]
mod tests;
