//! Where the readers put what they find, within the limits. Pure layer.

use std::time::Duration;

use super::{Limits, TestCase, TestReport, TestStatus, text};

/// Sentences about what was cut or could not be read; past the limit they are only counted.
#[derive(Debug)]
pub(super) struct Problems {
    max: usize,
    said: Vec<String>,
    unsaid: u64,
}

impl Problems {
    pub(super) fn new(max: usize) -> Self {
        Self { max, said: Vec::new(), unsaid: 0 }
    }

    /// Keeps the sentence, or counts it when there are many.
    pub(super) fn say(&mut self, sentence: impl FnOnce() -> String) {
        if self.said.len() + 1 < self.max {
            self.said.push(text::name(&sentence(), 500));
        } else {
            self.unsaid += 1;
        }
    }

    pub(super) fn absorb(&mut self, sentences: Vec<String>) {
        for sentence in sentences {
            self.say(|| sentence);
        }
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        if self.unsaid > 0 && self.max > 0 {
            self.said.push(format!("{} more problems with the test report are not listed", self.unsaid));
        }
        self.said
    }
}

/// A test as the build says it, unbounded.
pub(super) struct RawCase<'a> {
    pub(super) suite: &'a str,
    pub(super) name: &'a str,
    pub(super) status: TestStatus,
    pub(super) seconds: Option<f64>,
    pub(super) message: Option<&'a str>,
}

/// The tests read so far.
#[derive(Debug)]
pub(super) struct CaseSink {
    limits: Limits,
    cases: Vec<TestCase>,
    text_bytes: usize,
    dropped: u64,
    silenced: u64,
}

impl CaseSink {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), cases: Vec::new(), text_bytes: 0, dropped: 0, silenced: 0 }
    }

    /// Keeps a test within the limits; `None` when there is no room for it.
    pub(super) fn push(&mut self, raw: &RawCase<'_>) -> Option<&TestCase> {
        if self.cases.len() >= self.limits.tests || self.text_bytes >= self.limits.text_bytes {
            self.dropped += 1;
            return None;
        }
        let suite = text::name(raw.suite, self.limits.name_chars);
        let name = named(text::name(raw.name, self.limits.name_chars));
        let message = self.message(raw.message);
        self.text_bytes += suite.len() + name.len() + message.as_ref().map_or(0, String::len);
        self.cases.push(TestCase {
            suite,
            name,
            status: raw.status,
            duration: duration(raw.seconds),
            message,
        });
        self.cases.last()
    }

    fn message(&mut self, raw: Option<&str>) -> Option<String> {
        let raw = raw?;
        // Names matter more than messages: the last quarter of the room is theirs.
        if self.text_bytes > self.limits.text_bytes / 4 * 3 {
            self.silenced += 1;
            return None;
        }
        let kept = text::message(raw, self.limits.message_chars);
        (!kept.is_empty()).then_some(kept)
    }

    /// The tests, and what was left out.
    pub(super) fn finish(self, problems: &mut Problems) -> Vec<TestCase> {
        let Self { limits, cases, dropped, silenced, .. } = self;
        if dropped > 0 {
            let Limits { tests, text_bytes, .. } = limits;
            problems.say(|| {
                format!("{dropped} tests are left out: a report may hold {tests} tests and {text_bytes} bytes of text")
            });
        }
        if silenced > 0 {
            problems
                .say(|| format!("the messages of {silenced} tests are left out: they are too long together"));
        }
        cases
    }

    /// The tests as a report without refusal.
    pub(super) fn into_report(self, mut problems: Problems) -> TestReport {
        let cases = self.finish(&mut problems);
        TestReport { cases, refused: None, problems: problems.finish() }
    }
}

fn named(name: String) -> String {
    if name.is_empty() { "(no name)".to_owned() } else { name }
}

fn duration(seconds: Option<f64>) -> Option<Duration> {
    const YEAR: f64 = 365.0 * 86_400.0;
    let seconds = seconds.filter(|seconds| (0.0..YEAR).contains(seconds))?;
    Duration::try_from_secs_f64(seconds).ok()
}
