//! `croft show`: a cell, a key, a run, or a test across all cells.

use serde::Serialize;

use super::{
    args::{Common, ShowArgs},
    exit::CliError,
    farm, out,
    out::Dress,
    words,
};
use crate::{
    db::{Attempt, CellRecord, Db, DbError, FoundTest, RunRecord},
    nix::DrvKey,
    report::{CellReport, Colours, Summary, TestCase, TestStatus, terminal_line},
};

/// How far back a cell is shown.
const HISTORY: u32 = 10;
/// The most tests that are shown without `--all`.
const MAX_TESTS: usize = 50;
/// The most tests that a search shows.
const MAX_FOUND: usize = 2_000;

/// What the user's word stands for.
pub(super) enum Subject {
    /// A cell, over the runs, newest first.
    Cells(Vec<CellReport>),
    /// A key: every attempt on it, and the cells it decided.
    Key { attempts: Vec<Attempt>, cells: Vec<CellRecord> },
    /// A run.
    Run(Box<RunRecord>),
    /// Tests of the latest run.
    Tests(Vec<FoundTest>),
}

/// Finds what `what` stands for: a cell, else a key, else a run, else a test of the latest run.
pub(super) async fn find(db: &Db, what: &str) -> Result<Subject, CliError> {
    let cells = db.cell_history(what, HISTORY).await?;
    if !cells.is_empty() {
        return Ok(Subject::Cells(cells.into_iter().map(|record| record.cell).collect()));
    }
    if let Ok(key) = what.parse::<DrvKey>() {
        let (attempts, cells) = (db.attempt_list(key, 100).await?, db.cell_list_by_key(key, 100).await?);
        if !attempts.is_empty() || !cells.is_empty() {
            return Ok(Subject::Key { attempts, cells });
        }
    }
    if looks_like_an_id(what) {
        match db.run_get(what).await {
            Ok(run) => return Ok(Subject::Run(Box::new(run))),
            Err(DbError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let found = match db.run_latest(None).await? {
        Some(run) => db.test_find(&db.cell_list(run.id).await?, what, MAX_FOUND).await?,
        None => Vec::new(),
    };
    if found.is_empty() {
        return Err(CliError::Usage(format!(
            "{what:?} is no cell, key or run on record, and no test of the latest run holds it; `croft status` lists runs"
        )));
    }
    Ok(Subject::Tests(found))
}

fn looks_like_an_id(text: &str) -> bool {
    text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

/// The document of `croft show --json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    v: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cells: &'a [CellReport],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attempts: &'a [Attempt],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tests: &'a [TestCase],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    found: &'a [FoundTest],
}

/// Shows it.
pub(super) async fn run(common: &Common, args: ShowArgs) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let db = farm::database(&config).await?;
    let dress = Dress::stdout(common.color);
    let (mut cells, mut attempts, mut tests, mut found) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    match find(&db, &args.what).await? {
        Subject::Cells(history) => {
            let attempt = history.first().and_then(|cell| cell.attempt);
            if let Some(attempt) = attempt {
                tests = db.test_list(attempt).await?;
                attempts.push(db.attempt_get(attempt).await?);
            }
            cells = history;
        }
        Subject::Key { attempts: all, cells: users } => {
            if let Some(attempt) = all.first() {
                tests = db.test_list(attempt.id).await?;
            }
            attempts = all;
            cells = users.into_iter().map(|record| record.cell).collect();
        }
        Subject::Run(run) => {
            cells = db.cell_list(run.id).await?.into_iter().map(|record| record.cell).collect();
            if !args.form.json {
                print_run(dress, &cells);
                return Ok(0);
            }
        }
        Subject::Tests(all) => found = all,
    }
    if args.form.json {
        let document = Document { v: 1, cells: &cells, attempts: &attempts, tests: &tests, found: &found };
        out::json(&document);
        return Ok(0);
    }
    print_cells(dress, &cells);
    print_attempts(dress, &attempts);
    print_tests(dress, &tests, args.all);
    print_found(dress, &found);
    Ok(0)
}

fn print_run(dress: Dress, cells: &[CellReport]) {
    let width = cells.iter().map(|cell| cell.name.as_str().len()).max().unwrap_or(0);
    for cell in cells {
        out::data(&words::cell_line(dress, cell, width, words::UNBOUNDED));
    }
    out::data(&format!("\n{}", words::summary(&Summary::of(cells))));
}

fn print_cells(dress: Dress, cells: &[CellReport]) {
    let Some(latest) = cells.first() else { return };
    out::data(&words::cell_line(dress, latest, 0, words::UNBOUNDED));
    let field = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out::data(&format!("  {name:<10} {value}"));
        }
    };
    field("axes", Some(latest.axes.to_string()));
    field("system", Some(latest.system.to_string()));
    field("expect", Some(latest.expect.to_string()).filter(|expect| expect != "pass"));
    field("key", latest.key.map(|key| key.to_string()));
    field("drv", latest.drv.as_ref().map(|drv| format!("/nix/store/{drv}")));
    let earlier: Vec<String> = cells.iter().skip(1).map(|cell| cell.state.glyph().to_owned()).collect();
    field("earlier", Some(earlier.join(" ")));
}

fn print_attempts(dress: Dress, attempts: &[Attempt]) {
    for attempt in attempts {
        let outcome = attempt.outcome.as_ref().map_or("running", |outcome| outcome.word());
        let took = attempt.duration().map(words::span).unwrap_or_default();
        out::data(&format!(
            "  {:<10} {} {outcome} on {} at {} {took}",
            "attempt", attempt.id, attempt.machine, attempt.started
        ));
        let message = attempt.outcome.as_ref().and_then(|outcome| outcome.message());
        for words in [message, attempt.refused.as_deref()].into_iter().flatten() {
            out::data(&format!(
                "  {:<10} {}",
                "",
                dress.paint("2", &terminal_line(words.as_bytes(), Colours::Drop, 300))
            ));
        }
        for problem in &attempt.problems {
            out::data(&format!("  {:<10} {}", "report", dress.paint("33", problem)));
        }
    }
}

fn print_tests(dress: Dress, tests: &[TestCase], all: bool) {
    if tests.is_empty() {
        return;
    }
    out::data("");
    let passing =
        tests.iter().all(|test| test.status == TestStatus::Passed || test.status == TestStatus::Skipped);
    // A cell whose tests all pass shows them; one with failures shows those first and alone.
    let wanted: Vec<&TestCase> = tests
        .iter()
        .filter(|test| all || passing || matches!(test.status, TestStatus::Failed | TestStatus::Error))
        .collect();
    let shown = if all { wanted.len() } else { MAX_TESTS };
    for test in wanted.iter().take(shown) {
        print_test(dress, "  ", test);
    }
    let hidden = tests.len() - wanted.len().min(shown);
    if hidden > 0 {
        out::data(&format!("  … and {}; --all shows every one", words::plural(hidden as u64, "more test")));
    }
}

fn print_found(dress: Dress, found: &[FoundTest]) {
    let width = found.iter().map(|found| found.cell.as_str().len()).max().unwrap_or(0);
    for found in found {
        print_test(dress, &format!("{:<width$}  ", found.cell), &found.test);
    }
}

fn print_test(dress: Dress, before: &str, test: &TestCase) {
    let (glyph, colour) = match test.status {
        TestStatus::Passed => ("✓", "32"),
        TestStatus::Failed => ("✗", "1;31"),
        TestStatus::Error => ("!", "1;31"),
        TestStatus::Skipped => ("–", "2"),
    };
    let took = test.duration.map(|span| format!("  {}", words::span(span))).unwrap_or_default();
    let name = terminal_line(format!("{} {}", test.suite, test.name).as_bytes(), Colours::Drop, 300);
    out::data(&format!("{before}{} {}{took}", dress.paint(colour, glyph), name.trim_start()));
    if test.status != TestStatus::Passed {
        for line in
            test.message.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty()).take(30)
        {
            let line = terminal_line(line.as_bytes(), Colours::Drop, 300);
            out::data(&format!(
                "{:width$}    {}",
                "",
                dress.paint("2", &line),
                width = before.chars().count()
            ));
        }
    }
}
