//! TAP in: versions 12, 13 and 14. Pure layer.
//!
//! Subtests are the lines before their parent that are indented by four more spaces; the parent gives the name that
//! stands before theirs.

use super::{
    Limits, ReportError, TestReport, TestStatus,
    sink::{CaseSink, Problems, RawCase},
};

/// Bytes of one YAML block that are looked at.
const MAX_YAML: usize = 64 << 10;
/// Spaces of one level of subtests.
const INDENT: usize = 4;

/// Reads a TAP document.
pub fn parse_tap(bytes: &[u8], limits: &Limits) -> Result<TestReport, ReportError> {
    if bytes.len() > limits.document_bytes {
        return Err(error_at(0, 1, format!("it is longer than {} bytes", limits.document_bytes)));
    }
    let text = String::from_utf8_lossy(bytes);
    let mut tap = Tap::new(limits);
    for line in text.lines() {
        tap.line(line);
    }
    tap.finish().map_err(|reason| error_at(bytes.len() as u64, text.lines().count() as u64, reason))
}

fn error_at(at: u64, line: u64, reason: String) -> ReportError {
    ReportError { format: "TAP", at, line, reason }
}

/// A test point that was read.
#[derive(Debug)]
struct Point {
    level: usize,
    /// Names of the subtests above it, the nearest first; known once these have ended.
    parents: Vec<String>,
    name: String,
    status: TestStatus,
    message: String,
    has_subtests: bool,
}

#[derive(Debug, Default)]
struct Level {
    planned: Option<u64>,
    points: u64,
}

struct Tap<'l> {
    limits: &'l Limits,
    points: Vec<Point>,
    levels: Vec<Level>,
    yaml: bool,
    seen: bool,
    dropped: u64,
    bailed: Option<String>,
    problems: Problems,
}

impl<'l> Tap<'l> {
    fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            points: Vec::new(),
            levels: vec![Level::default()],
            yaml: false,
            seen: false,
            dropped: 0,
            bailed: None,
            problems: Problems::new(limits.problems),
        }
    }

    fn line(&mut self, line: &str) {
        if self.bailed.is_some() {
            return;
        }
        let text = line.trim_start_matches(' ');
        if self.yaml {
            return self.yaml_line(text);
        }
        let level = ((line.len() - text.len()) / INDENT).min(self.limits.depth);
        if text.trim_end() == "---" && self.points.last().is_some() {
            self.yaml = true;
        } else if let Some(reason) = text.strip_prefix("Bail out!") {
            self.seen = true;
            self.bailed = Some(reason.trim().to_owned());
        } else if let Some(rest) = text.strip_prefix("not ok") {
            self.point(level, rest, false);
        } else if let Some(rest) = text.strip_prefix("ok") {
            self.point(level, rest, true);
        } else if let Some(count) = plan(text) {
            self.seen = true;
            self.close_to(level);
            self.level(level).planned = Some(count);
        } else if text.starts_with("TAP version ") {
            self.seen = true;
        }
    }

    fn yaml_line(&mut self, text: &str) {
        if text.trim_end() == "..." {
            self.yaml = false;
        } else if let Some(point) = self.points.last_mut() {
            let room = MAX_YAML.saturating_sub(point.message.len());
            point.message.push_str(&text[..text.floor_char_boundary(room)]);
            point.message.push('\n');
        }
    }

    fn level(&mut self, level: usize) -> &mut Level {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Level::default);
        }
        &mut self.levels[level]
    }

    /// Ends the levels of subtests that are deeper than `level`.
    fn close_to(&mut self, level: usize) {
        for ended in self.levels.split_off((level + 1).min(self.levels.len())) {
            check_plan(&ended, &mut self.problems);
        }
    }

    fn point(&mut self, level: usize, rest: &str, ok: bool) {
        // "okay" and "ok-ish" are no test points.
        if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
            return;
        }
        self.seen = true;
        let (name, directive) = description(rest);
        let had_subtests = self.levels.len() > level + 1;
        self.close_to(level);
        let count = self.level(level);
        count.points += 1;
        let name = if name.is_empty() { format!("test {}", count.points) } else { name.to_owned() };
        if had_subtests {
            self.adopt(level, &name);
        }
        if self.points.len() >= self.limits.tests {
            self.dropped += 1;
            return;
        }
        let (status, message) = judged(ok, directive);
        self.points.push(Point {
            level,
            parents: Vec::new(),
            name,
            status,
            message,
            has_subtests: had_subtests,
        });
    }

    /// Puts the parent's name before the names of its subtests, which are the last points.
    fn adopt(&mut self, level: usize, name: &str) {
        for point in self.points.iter_mut().rev().take_while(|point| point.level > level) {
            if point.parents.len() < self.limits.depth && point.parents.len() < point.level - level {
                point.parents.push(name.to_owned());
            }
        }
    }

    fn finish(mut self) -> Result<TestReport, String> {
        if !self.seen {
            return Err("it holds no plan and no test point: it is no TAP report".to_owned());
        }
        self.close_to(0);
        let mut sink = CaseSink::new(self.limits);
        for point in &self.points {
            // A parent only sums up its subtests; it is told when it knows more than they do.
            if point.has_subtests && point.status == TestStatus::Passed {
                continue;
            }
            let suite = point.parents.iter().rev().map(String::as_str).collect::<Vec<_>>().join(" > ");
            sink.push(&RawCase {
                suite: &suite,
                name: &point.name,
                status: point.status,
                seconds: milliseconds(&point.message),
                message: Some(&point.message),
            });
        }
        let max = self.limits.tests;
        if self.dropped > 0 {
            self.problems.say(|| format!("{} tests are left out: a report may hold {max}", self.dropped));
        }
        match &self.bailed {
            Some(reason) => {
                let raw = RawCase {
                    suite: "",
                    name: "Bail out!",
                    status: TestStatus::Error,
                    seconds: None,
                    message: Some(reason),
                };
                sink.push(&raw);
            }
            None => check_plan(&self.levels.swap_remove(0), &mut self.problems),
        }
        Ok(sink.into_report(self.problems))
    }
}

fn check_plan(level: &Level, problems: &mut Problems) {
    if let Some(planned) = level.planned
        && planned != level.points
    {
        problems.say(|| format!("the plan names {planned} tests, {} were told", level.points));
    }
}

/// `1..N`, with or without a reason behind it.
fn plan(text: &str) -> Option<u64> {
    let count = text.strip_prefix("1..")?;
    let end = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
    count[..end].parse().ok()
}

/// The name and the directive of ` 3 - name # SKIP reason`.
fn description(rest: &str) -> (&str, Option<&str>) {
    let rest = rest.trim();
    let unnumbered = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest =
        if unnumbered.is_empty() || unnumbered.starts_with(' ') { unnumbered.trim_start() } else { rest };
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    match rest.match_indices('#').find(|(at, _)| !rest[..*at].ends_with('\\')) {
        Some((at, _)) if directive(rest[at + 1..].trim()).is_some() => {
            (rest[..at].trim(), Some(rest[at + 1..].trim()))
        }
        Some(_) | None => (rest, None),
    }
}

/// The reason of a `SKIP` or `TODO`; `None` for an ordinary comment.
fn directive(text: &str) -> Option<&str> {
    let word = text.get(..4)?;
    (word.eq_ignore_ascii_case("skip") || word.eq_ignore_ascii_case("todo")).then(|| text[4..].trim())
}

/// TODO: a test that is known to fail is no failure, whatever it does.
fn judged(ok: bool, found: Option<&str>) -> (TestStatus, String) {
    match (ok, found) {
        (true, None) => (TestStatus::Passed, String::new()),
        (false, None) => (TestStatus::Failed, String::new()),
        (_, Some(text)) => (TestStatus::Skipped, directive(text).map(str::to_owned).unwrap_or_default()),
    }
}

/// The time in a YAML block, as `duration_ms: 1.5`.
fn milliseconds(yaml: &str) -> Option<f64> {
    let value = yaml.lines().find_map(|line| line.strip_prefix("duration_ms:"))?;
    value.trim().parse::<f64>().ok().map(|ms| ms / 1000.0)
}

#[cfg(test)]
mod tests;
