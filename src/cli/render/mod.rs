//! How a running check is shown: on a terminal, in a pipe, or as JSON lines.

mod grid;
mod keyboard;
mod lines;
mod terminal;

use std::{collections::HashMap, io::IsTerminal};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{args::CheckArgs, out, out::Dress, words};
use crate::{
    engine::Event,
    lifecycle::CellState,
    report::{CellReport, Colours, RunReport, terminal_line},
};

pub(super) use grid::{grid, legend};

/// What an interrupt is answered with.
const STOPPING: &str = "croft: stopping; builds are being cancelled (once more to leave at once)";
/// The most failing cells that the end of a run repeats.
const MAX_REPEATED: usize = 20;

/// Something that shows events as they come.
pub(super) trait Renderer: Send {
    /// Shows an event.
    fn event(&mut self, event: &Event);
    /// Comes about ten times a second.
    fn tick(&mut self) {}
    /// Leaves the screen in order.
    fn finish(&mut self) {}
}

/// The renderer that fits where the output goes.
pub(super) fn renderer(args: &CheckArgs, dress: Dress) -> Box<dyn Renderer> {
    let quiet = if args.quiet { lines::Volume::Failures } else { lines::Volume::All };
    if args.jsonl {
        Box::new(lines::JsonLines)
    } else if std::io::stderr().is_terminal() && !args.quiet {
        Box::new(terminal::Terminal::new(dress))
    } else {
        Box::new(lines::Lines::new(dress, quiet))
    }
}

/// Shows what comes until there is no more, and that `cancel` has fired.
pub(super) async fn show(
    mut renderer: Box<dyn Renderer>,
    mut events: mpsc::Receiver<Event>,
    cancel: CancellationToken,
) {
    let mut is_told = false;
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => renderer.event(&event),
                None => break,
            },
            () = cancel.cancelled(), if !is_told => {
                is_told = true;
                renderer.event(&Event::Cancelling);
            }
            _ = tick.tick() => renderer.tick(),
        }
    }
    renderer.finish();
}

/// Repeats what matters at the end of a run: the cells that do not pass, their tests, and where to look.
pub(super) fn epilogue(dress: Dress, report: &RunReport, quiet: bool) {
    let bad: Vec<&CellReport> = report.cells.iter().filter(|cell| deserves_words(cell.state)).collect();
    for cell in bad.iter().take(MAX_REPEATED) {
        out::say("");
        out::say(&words::cell_line(dress, cell, 0, words::UNBOUNDED));
        for test in &cell.failing {
            let name = terminal_line(format!("{} {}", test.suite, test.name).as_bytes(), Colours::Drop, 200);
            out::say(&format!("    {} {name}", dress.paint("31", "✗")));
            let message = test.message.as_deref().unwrap_or_default();
            if let Some(last) = message.lines().rev().find(|line| !line.trim().is_empty()) {
                out::say(&format!("        {}", terminal_line(last.as_bytes(), Colours::Drop, 200)));
            }
        }
        if cell.attempt.is_some() {
            out::say(&format!(
                "    {}",
                dress.paint("2", &format!("croft log {0}   croft show {0}", cell.name))
            ));
        }
    }
    if bad.len() > MAX_REPEATED {
        out::say(&format!("\n… and {} more; croft show {} lists them", bad.len() - MAX_REPEATED, report.run));
    }
    if !quiet || !bad.is_empty() {
        out::say(&format!("\n{}", words::summary(&report.summary)));
    }
}

fn deserves_words(state: CellState) -> bool {
    match state {
        CellState::Failed
        | CellState::Blocked
        | CellState::Flaky
        | CellState::Timeout
        | CellState::LogLimit
        | CellState::EvalError
        | CellState::Infra => true,
        CellState::Passed
        | CellState::Reused
        | CellState::Cancelled
        | CellState::Excluded
        | CellState::Build
        | CellState::Substitute
        | CellState::Running => false,
    }
}

/// How many cells have come to rest, by state.
#[derive(Debug, Default)]
struct Tally {
    /// How many cells there are, where that is known beforehand.
    total: Option<usize>,
    /// Cells that did not come to rest at once.
    planned: usize,
    ended: usize,
    states: HashMap<CellState, usize>,
}

impl Tally {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Found { cells, .. } => self.total = *cells,
            Event::Planned { .. } => self.planned += 1,
            Event::CellEnded(cell) => {
                self.ended += 1;
                *self.states.entry(cell.state).or_default() += 1;
            }
            Event::Started { .. }
            | Event::Matrix(_)
            | Event::BuildStarted { .. }
            | Event::BuildJoined { .. }
            | Event::Test { .. }
            | Event::Phase { .. }
            | Event::BuildEnded { .. }
            | Event::Machine { .. }
            | Event::Waiting { .. }
            | Event::Cancelling => {}
        }
    }

    fn line(&self) -> String {
        let mut states: Vec<_> = self.states.iter().collect();
        states.sort();
        let states: Vec<String> =
            states.iter().map(|(state, count)| format!("{count} {}", state.word())).collect();
        let total = self.total.map_or(String::new(), |total| format!("/{}", total.max(self.ended)));
        let cells = if self.ended == 1 && total.is_empty() { "cell" } else { "cells" };
        format!("{}{total} {cells}  {}", self.ended, states.join(", "))
    }
}
