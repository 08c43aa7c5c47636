//! Report protocol v1: what a build says about its tests within its log. Pure layer.
//!
//! A line that begins with `@croft ` carries one JSON object, with `"v":1` and an `event`:
//!
//! - `test`: one test, while the build runs: `suite`, `name`, `status`, and where known `ms` and `message`.
//! - `report`: a part of a whole document: `format` (`junit`, `tap`), `encoding` (`gzip+base64`, `identity`), `part`
//!   (from 1) `of` a number, `data`; `name` tells several documents of one log apart. The `data` of all parts is
//!   joined, then decoded.
//! - `refused`: the project does not support these versions; `reason` says why.
//!
//! A whole document is the truth. Tests told live count where no document covers them, as after a killed build.

use std::{borrow::Cow, collections::HashSet};

use serde::Deserialize;

use super::{
    Limits, TestCase, TestReport, TestStatus,
    document::{Documents, Encoding, Format, Part},
    sink::{CaseSink, Problems, RawCase},
    text,
};

const PREFIX: &[u8] = b"@croft ";

/// What a line of a build's log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineKind {
    /// An ordinary line, to be shown.
    Shown,
    /// A line of the protocol, not to be shown; with the test that it tells, if it tells one.
    Taken(Option<TestCase>),
}

/// Takes the protocol out of a log, line by line.
#[derive(Debug)]
pub struct ReportCollector {
    limits: Limits,
    live: CaseSink,
    documents: Documents,
    refused: Option<String>,
    problems: Problems,
}

#[derive(Deserialize)]
struct Head<'a> {
    v: Option<u64>,
    #[serde(borrow, default)]
    event: Cow<'a, str>,
}

#[derive(Deserialize)]
struct TestEvent<'a> {
    #[serde(borrow, default)]
    suite: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    status: TestStatus,
    ms: Option<f64>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ReportEvent<'a> {
    format: Format,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    encoding: Encoding,
    part: u32,
    of: u32,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RefusedEvent<'a> {
    #[serde(borrow)]
    reason: Cow<'a, str>,
}

impl ReportCollector {
    /// A collector that has seen no line.
    pub fn new(limits: Limits) -> Self {
        Self {
            live: CaseSink::new(&limits),
            documents: Documents::new(&limits),
            refused: None,
            problems: Problems::new(limits.problems),
            limits,
        }
    }

    /// Takes the next line, without its newline. Never fails: what cannot be read is a problem of the report.
    pub fn line(&mut self, line: &[u8]) -> LineKind {
        let Some(body) = line.strip_prefix(PREFIX) else { return LineKind::Shown };
        match self.event(body) {
            Ok(case) => LineKind::Taken(case),
            Err(problem) => {
                self.problems.say(|| problem);
                LineKind::Taken(None)
            }
        }
    }

    fn event(&mut self, body: &[u8]) -> Result<Option<TestCase>, String> {
        if body.len() > self.limits.line_bytes {
            return Err(format!("a report line of {} bytes is left out: it is too long", body.len()));
        }
        let body = String::from_utf8_lossy(body);
        let head: Head<'_> = read("line", &body)?;
        match (head.v, head.event.as_ref()) {
            (Some(1), "test") => Ok(self.test(&read("test", &body)?)),
            (Some(1), "report") => self.part(&read("report", &body)?),
            (Some(1), "refused") => {
                let event: RefusedEvent<'_> = read("refusal", &body)?;
                self.refused = Some(text::message(&event.reason, self.limits.message_chars));
                Ok(None)
            }
            (Some(1), event) => {
                Err(format!("a report line with the unknown event {:?} is left out", text::name(event, 40)))
            }
            (Some(version), _) => {
                Err(format!("a report line of protocol version {version} is left out: croft reads version 1"))
            }
            (None, _) => Err("a report line without a version is left out: it needs \"v\":1".to_owned()),
        }
    }

    fn test(&mut self, event: &TestEvent<'_>) -> Option<TestCase> {
        let case = self.live.push(&RawCase {
            suite: &event.suite,
            name: &event.name,
            status: event.status,
            seconds: event.ms.map(|ms| ms / 1000.0),
            message: event.message.as_deref(),
        });
        case.cloned()
    }

    fn part(&mut self, event: &ReportEvent<'_>) -> Result<Option<TestCase>, String> {
        let ReportEvent { format, name, encoding, part, of, data } = event;
        let part = Part {
            name: name.as_deref(),
            format: *format,
            encoding: *encoding,
            number: *part,
            of: *of,
            data: data.as_ref(),
        };
        self.documents.add(&part).map(|()| None)
    }

    /// All that the log said. Decompresses and parses: up to a second for the largest reports.
    pub fn finish(self) -> TestReport {
        let Self { limits, live, documents, refused, mut problems } = self;
        let (reports, lost) = documents.finish(&mut problems);
        let whole = lost == 0 && !reports.is_empty();
        let mut cases = Vec::new();
        for report in reports {
            cases.extend(report.cases);
            problems.absorb(report.problems);
        }
        let live = live.finish(&mut problems);
        if !whole && !live.is_empty() {
            problems
                .say(|| "no whole report arrived; the other tests are those told while they ran".to_owned());
            add_missing(&mut cases, live);
        }
        trim(&mut cases, limits.tests, &mut problems);
        TestReport { cases, refused, problems: problems.finish() }
    }
}

/// Adds the live tests that no document knows.
fn add_missing(cases: &mut Vec<TestCase>, live: Vec<TestCase>) {
    let known: HashSet<(String, String)> =
        cases.iter().map(|case| (case.suite.clone(), case.name.clone())).collect();
    cases.extend(live.into_iter().filter(|case| !known.contains(&(case.suite.clone(), case.name.clone()))));
}

fn trim(cases: &mut Vec<TestCase>, max: usize, problems: &mut Problems) {
    if cases.len() > max {
        let over = cases.len() - max;
        problems.say(|| format!("{over} tests are left out: a report may hold {max}"));
        cases.truncate(max);
    }
}

fn read<'a, T: Deserialize<'a>>(noun: &str, body: &'a str) -> Result<T, String> {
    serde_json::from_str(body).map_err(|error| format!("a report {noun} cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
