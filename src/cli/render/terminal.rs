//! A scrolling list of verdicts over a live region that shows what runs.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Renderer, STOPPING, Tally, keyboard::Keyboard};
use crate::{
    cli::{out::Dress, words},
    engine::Event,
    ids::AttemptId,
    lifecycle::CellState,
    report::TestStatus,
};

/// The most builds that the live region shows.
const MAX_SHOWN: usize = 8;

struct Running {
    bar: Option<ProgressBar>,
    name: String,
    tests: u64,
    bad: u64,
    phase: Option<String>,
}

/// The terminal renderer.
pub(super) struct Terminal {
    dress: Dress,
    region: MultiProgress,
    summary: ProgressBar,
    running: BTreeMap<AttemptId, Running>,
    tally: Tally,
    reused: usize,
    _keyboard: Keyboard,
}

impl Terminal {
    pub(super) fn new(dress: Dress) -> Self {
        let region = MultiProgress::new();
        let summary = region.add(ProgressBar::new_spinner());
        summary.set_style(style("{spinner} {msg}  {elapsed}"));
        summary.set_message("locking the flake");
        summary.enable_steady_tick(Duration::from_millis(120));
        Self {
            dress,
            region,
            summary,
            running: BTreeMap::new(),
            tally: Tally::default(),
            reused: 0,
            _keyboard: Keyboard::hold(),
        }
    }

    fn say(&self, text: &str) {
        // A terminal that has gone away has no reader either.
        self.region.println(text).ok();
    }

    fn start(&mut self, attempt: AttemptId, name: &str) {
        let shown = self.running.values().filter(|running| running.bar.is_some()).count();
        let bar = (shown < MAX_SHOWN).then(|| {
            let bar = self.region.insert_before(&self.summary, ProgressBar::new_spinner());
            bar.set_style(style("  ▶ {msg}  {elapsed}"));
            bar.set_message(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        self.running.insert(attempt, Running { bar, name: name.to_owned(), tests: 0, bad: 0, phase: None });
    }

    fn end(&mut self, attempt: AttemptId) {
        if let Some(bar) = self.running.remove(&attempt).and_then(|running| running.bar) {
            bar.finish_and_clear();
            self.region.remove(&bar);
        }
    }
}

impl Running {
    fn refresh(&self) {
        let Some(bar) = &self.bar else { return };
        let mut text = self.name.clone();
        if self.tests > 0 {
            text.push_str(&format!("  {}", words::plural(self.tests, "test")));
        }
        if self.bad > 0 {
            text.push_str(&format!(", {} failed", self.bad));
        }
        if let Some(phase) = &self.phase {
            text.push_str(&format!("  [{phase}]"));
        }
        bar.set_message(text);
    }
}

impl Renderer for Terminal {
    fn event(&mut self, event: &Event) {
        self.tally.note(event);
        match event {
            Event::Started { flake, evaluated_before, .. } => {
                self.say(&self.dress.paint("1", flake));
                self.summary.set_message(if *evaluated_before { "planning" } else { "evaluating" });
            }
            Event::Found { .. } | Event::Matrix(_) | Event::Planned { .. } => {}
            Event::BuildStarted { attempt, name, machine, .. } => {
                self.start(*attempt, &format!("{name}{}", words::place(machine)));
            }
            Event::Machine { machine, kind, words } => {
                let line = format!("· {machine} {kind}  {words}");
                self.say(&self.dress.paint("2", line.trim_end()));
            }
            Event::Waiting { builds, reason } => {
                let builds = words::plural(*builds as u64, "build");
                self.say(&self.dress.paint("33", &format!("… {builds}: {reason}")));
            }
            Event::BuildJoined { name, .. } => {
                self.say(
                    &self
                        .dress
                        .paint("2", &format!("… {name} is being built by another run; waiting for it")),
                );
            }
            Event::Test { attempt, test } => {
                if let Some(running) = self.running.get_mut(attempt) {
                    running.tests += 1;
                    running.bad += u64::from(matches!(test.status, TestStatus::Failed | TestStatus::Error));
                }
            }
            Event::Phase { attempt, name } => {
                if let Some(running) = self.running.get_mut(attempt) {
                    running.phase = Some(name.clone());
                }
            }
            Event::BuildEnded { attempt, name, message, retried, .. } => {
                self.end(*attempt);
                if *retried {
                    let why = message.as_deref().unwrap_or_default();
                    self.say(&self.dress.paint("33", &format!("⚠ {name}: {why}; trying again")));
                }
            }
            // Many cells are reused at once; one line for all of them is enough.
            Event::CellEnded(cell) if cell.state == CellState::Reused => self.reused += 1,
            Event::CellEnded(cell) => self.say(&words::cell_line(self.dress, cell, 28, columns())),
            Event::Cancelling => self.say(STOPPING),
        }
    }

    fn tick(&mut self) {
        for running in self.running.values() {
            running.refresh();
        }
        if self.tally.ended + self.tally.planned > 0 {
            self.summary.set_message(self.tally.line());
        }
    }

    fn finish(&mut self) {
        for attempt in self.running.keys().copied().collect::<Vec<_>>() {
            self.end(attempt);
        }
        if self.reused > 0 {
            let line = format!(
                "{} {}",
                words::state(self.dress, CellState::Reused),
                words::plural(self.reused as u64, "cell")
            );
            self.say(&line);
        }
        self.summary.finish_and_clear();
    }
}

/// How wide the terminal is now.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| usize::from(size.ws_col).max(40))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
