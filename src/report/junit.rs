//! `JUnit` XML in: the dialects of pytest, Django, surefire, gtest, cargo-nextest and their kin. Pure layer.
//!
//! One pass over the document. A document type or an entity definition is refused, so nothing expands.

use std::borrow::Cow;

use quick_xml::{
    Reader,
    escape::resolve_predefined_entity,
    events::{BytesRef, BytesStart, Event},
};

use super::{
    Limits, ReportError, TestReport, TestStatus,
    sink::{CaseSink, Problems, RawCase},
};

/// Bytes of one element's text that are looked at.
const MAX_BODY: usize = 64 << 10;

/// Reads a `JUnit` document. Suite names are the test's class, else the suite it stands in.
pub fn parse_junit(bytes: &[u8], limits: &Limits) -> Result<TestReport, ReportError> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    if text.len() > limits.document_bytes {
        return Err(error_at(text, 0, format!("it is longer than {} bytes", limits.document_bytes)));
    }
    let mut reader = Reader::from_str(text);
    let config = reader.config_mut();
    config.allow_dangling_amp = true;
    let mut state = Junit::new(limits);
    loop {
        let at = reader.buffer_position();
        let step = match reader.read_event() {
            Ok(Event::Eof) => return state.finish().map_err(|reason| error_at(text, at, reason)),
            Ok(event) => state.event(&event).map_err(|reason| error_at(text, at, reason)),
            Err(error) => Err(error_at(text, reader.error_position(), error.to_string())),
        };
        step?;
    }
}

fn error_at(text: &str, at: u64, reason: String) -> ReportError {
    let end = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
    let line = memchr::memchr_iter(b'\n', &text.as_bytes()[..end]).count() as u64 + 1;
    ReportError { format: "JUnit", at, line, reason }
}

/// What an element means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Element {
    Suites,
    /// The name to go back to when it ends.
    Suite(String),
    Case,
    /// `failure`, `error` or `skipped` of a test.
    Outcome,
    /// Anything else, with all that it holds.
    Other,
}

struct Junit<'l> {
    limits: &'l Limits,
    sink: CaseSink,
    open: Vec<Element>,
    suite: String,
    case: Option<OpenCase>,
    seen_root: bool,
}

/// A test whose end has not been read.
struct OpenCase {
    suite: String,
    name: String,
    seconds: Option<f64>,
    status: TestStatus,
    message: String,
    body: String,
}

impl<'l> Junit<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            sink: CaseSink::new(limits),
            open: Vec::new(),
            suite: String::new(),
            case: None,
            seen_root: false,
        }
    }

    fn event(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::Empty(tag) => {
                self.start(tag)?;
                self.end();
                Ok(())
            }
            Event::End(_) => {
                self.end();
                Ok(())
            }
            Event::Text(text) => {
                self.body(&text.xml10_content());
                Ok(())
            }
            Event::CData(text) => {
                self.body(&text.xml10_content());
                Ok(())
            }
            Event::GeneralRef(reference) => {
                self.body(&resolved(reference));
                Ok(())
            }
            Event::DocType(_) => {
                Err("it has a document type, which is refused: write it without DOCTYPE".to_owned())
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), String> {
        if self.open.len() >= self.limits.depth {
            return Err(format!("its elements are nested more than {} deep", self.limits.depth));
        }
        let local = tag.local_name();
        let element = match (local.as_ref(), self.open.last()) {
            ("testsuites", None) => Element::Suites,
            ("testsuite", None | Some(Element::Suites | Element::Suite(_))) => self.start_suite(tag),
            ("testcase", Some(Element::Suites | Element::Suite(_))) => self.start_case(tag),
            (kind, Some(Element::Case | Element::Suite(_))) => self.start_outcome(kind, tag),
            (_, None) if !self.seen_root => {
                return Err("its root is neither testsuites nor testsuite: it is no JUnit report".to_owned());
            }
            (_, None | Some(Element::Suites | Element::Outcome | Element::Other)) => Element::Other,
        };
        self.seen_root = true;
        self.open.push(element);
        Ok(())
    }

    fn start_suite(&mut self, tag: &BytesStart<'_>) -> Element {
        let name = attribute(tag, "name").map_or_else(|| self.suite.clone(), |name| bounded(&name));
        Element::Suite(std::mem::replace(&mut self.suite, name))
    }

    fn start_case(&mut self, tag: &BytesStart<'_>) -> Element {
        let suite = attribute(tag, "classname").filter(|name| !name.is_empty());
        let not_run = attribute(tag, "status").is_some_and(|status| matches!(&*status, "notrun" | "skipped"));
        self.case = Some(OpenCase {
            suite: suite.map_or_else(|| self.suite.clone(), |name| bounded(&name)),
            name: attribute(tag, "name").map_or_else(String::new, |name| bounded(&name)),
            seconds: attribute(tag, "time").and_then(|time| seconds(&time)),
            status: if not_run { TestStatus::Skipped } else { TestStatus::Passed },
            message: String::new(),
            body: String::new(),
        });
        Element::Case
    }

    /// An outcome that stands in a suite itself, as after a failed set-up, becomes a test of its own.
    fn start_outcome(&mut self, kind: &str, tag: &BytesStart<'_>) -> Element {
        let status = match kind {
            "error" => TestStatus::Error,
            "failure" => TestStatus::Failed,
            "skipped" if self.case.is_some() => TestStatus::Skipped,
            _ => return Element::Other,
        };
        let suite = &self.suite;
        let case = self.case.get_or_insert_with(|| OpenCase {
            suite: suite.clone(),
            name: "(suite)".to_owned(),
            seconds: None,
            status: TestStatus::Passed,
            message: String::new(),
            body: String::new(),
        });
        // Of several outcomes the worst is told: the statuses' own order is by how they are listed, not by weight.
        if weight(status) <= weight(case.status) {
            return Element::Other;
        }
        case.status = status;
        case.message = attribute(tag, "message").map_or_else(String::new, |message| bounded(&message));
        case.body.clear();
        Element::Outcome
    }

    fn body(&mut self, text: &str) {
        if self.open.last() != Some(&Element::Outcome) {
            return;
        }
        if let Some(case) = &mut self.case {
            let room = MAX_BODY.saturating_sub(case.body.len());
            case.body.push_str(&text[..text.floor_char_boundary(room)]);
        }
    }

    fn end(&mut self) {
        match self.open.pop() {
            Some(Element::Suite(outer)) => self.suite = outer,
            Some(Element::Case) => self.end_case(),
            Some(Element::Outcome) if self.open.last() != Some(&Element::Case) => self.end_case(),
            Some(Element::Suites | Element::Outcome | Element::Other) | None => {}
        }
    }

    fn end_case(&mut self) {
        let Some(case) = self.case.take() else { return };
        let message = joined(&case.message, &case.body);
        self.sink.push(&RawCase {
            suite: &case.suite,
            name: &case.name,
            status: case.status,
            seconds: case.seconds,
            message: message.as_deref(),
        });
    }

    fn finish(self) -> Result<TestReport, String> {
        if !self.open.is_empty() {
            return Err(format!("it ends within {} open elements: it was cut", self.open.len()));
        }
        if !self.seen_root {
            return Err("it holds no element: it is no JUnit report".to_owned());
        }
        Ok(self.sink.into_report(Problems::new(self.limits.problems)))
    }
}

fn weight(status: TestStatus) -> u8 {
    match status {
        TestStatus::Passed => 0,
        TestStatus::Skipped => 1,
        TestStatus::Failed => 2,
        TestStatus::Error => 3,
    }
}

/// The message's own words first, then the details when they say more.
fn joined(message: &str, body: &str) -> Option<String> {
    let (message, body) = (message.trim(), body.trim());
    match (message.is_empty(), body.is_empty()) {
        (true, true) => None,
        (true, false) => Some(body.to_owned()),
        (false, true) => Some(message.to_owned()),
        (false, false) if body.starts_with(message) => Some(body.to_owned()),
        (false, false) => Some(format!("{message}\n{body}")),
    }
}

/// An attribute's value. One that is not well-formed is taken as it stands.
fn attribute<'a>(tag: &'a BytesStart<'_>, name: &str) -> Option<Cow<'a, str>> {
    let mut attributes = tag.attributes();
    // Looking for doubles is quadratic in their number.
    let found = attributes.with_checks(false).flatten().find(|attribute| attribute.key.as_ref() == name)?;
    match quick_xml::escape::unescape(&found.value) {
        Ok(value) => Some(Cow::Owned(value.into_owned())),
        Err(_) => Some(found.value),
    }
}

fn resolved(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return c.to_string();
    }
    let name = reference.xml10_content();
    resolve_predefined_entity(&name).map_or_else(|| format!("&{name};"), str::to_owned)
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_BODY)].to_owned()
}

/// Seconds as runners write them: `1.5`, and `1,234.5` by those that group thousands.
fn seconds(text: &str) -> Option<f64> {
    text.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests;
