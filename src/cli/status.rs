//! `croft status`: the latest runs.

use serde::Serialize;

use super::{
    args::{Common, StatusArgs},
    exit::CliError,
    farm, out,
    out::Dress,
    words,
};
use crate::{
    clock::Timestamp,
    db::{RunRecord, Totals},
    ids::RunId,
    lifecycle::{CellState, RunState, RunVerdict},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    v: u32,
    runs: Vec<Line>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    run: RunId,
    flake: String,
    state: RunState,
    verdict: Option<RunVerdict>,
    started: Timestamp,
    ended: Option<Timestamp>,
    cells: Totals,
}

impl From<RunRecord> for Line {
    fn from(run: RunRecord) -> Self {
        Self {
            run: run.id,
            flake: run.flake,
            state: run.state,
            verdict: run.verdict,
            started: run.started,
            ended: run.ended,
            cells: run.totals,
        }
    }
}

/// Prints the latest runs.
pub(super) async fn run(common: &Common, args: StatusArgs) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let db = farm::database(&config).await?;
    let runs: Vec<Line> = db.run_list(None, args.runs).await?.into_iter().map(Line::from).collect();
    if args.form.json {
        out::json(&Status { v: 1, runs });
        return Ok(0);
    }
    if runs.is_empty() {
        out::say("no runs yet; `croft check` makes one");
    }
    let dress = Dress::stdout(common.color);
    for run in runs {
        out::data(&line(dress, &run));
    }
    Ok(0)
}

fn line(dress: Dress, run: &Line) -> String {
    let (glyph, word, colour) = match (run.state, run.verdict) {
        (RunState::Running, _) => (CellState::Running.glyph(), "running", "1;34"),
        (RunState::Cancelled, _) => (CellState::Cancelled.glyph(), "cancelled", "33"),
        (RunState::Lost, _) => (CellState::Infra.glyph(), "lost", "33"),
        (RunState::Finished, Some(RunVerdict::Passed)) => (CellState::Passed.glyph(), "passed", "32"),
        (RunState::Finished, Some(RunVerdict::Failed)) => (CellState::Failed.glyph(), "failed", "1;31"),
        (RunState::Finished, Some(RunVerdict::EvalError)) => {
            (CellState::EvalError.glyph(), "eval-error", "1;31")
        }
        (RunState::Finished, Some(RunVerdict::Undetermined) | None) => {
            (CellState::Infra.glyph(), "undetermined", "33")
        }
    };
    let took = run.ended.map(|ended| words::span(ended.since(run.started))).unwrap_or_default();
    let cells: Vec<String> =
        run.cells.0.iter().map(|(state, count)| format!("{count} {}", state.word())).collect();
    let mark = dress.paint(colour, &format!("{glyph} {word:<12}"));
    format!(
        "{mark} {}  {}  {took:>9}  {}\n  {}",
        run.run,
        run.started,
        cells.join(", "),
        dress.paint("2", &run.flake)
    )
}
