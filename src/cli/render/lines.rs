//! One line per state change: for pipes, logs and other programs.

use std::time::{Duration, Instant};

use super::{Renderer, STOPPING, Tally, deserves_words};
use crate::{
    cli::{out, out::Dress, words},
    engine::Event,
};

/// The longest silence.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Volume {
    /// Every state change.
    All,
    /// Only cells that do not pass.
    Failures,
}

/// Words, a line each.
pub(super) struct Lines {
    dress: Dress,
    volume: Volume,
    tally: Tally,
    last: Instant,
}

impl Lines {
    pub(super) fn new(dress: Dress, volume: Volume) -> Self {
        Self { dress, volume, tally: Tally::default(), last: Instant::now() }
    }

    fn say(&mut self, text: &str) {
        self.last = Instant::now();
        out::say(text);
    }
}

impl Renderer for Lines {
    fn event(&mut self, event: &Event) {
        self.tally.note(event);
        if let Event::CellEnded(cell) = event
            && (self.volume == Volume::All || deserves_words(cell.state))
        {
            self.say(&words::cell_line(self.dress, cell, 0, words::UNBOUNDED));
        }
        if let Event::Cancelling = event {
            self.say(STOPPING);
        }
        if self.volume == Volume::Failures {
            return;
        }
        match event {
            Event::Started { flake, run, evaluated_before, .. } => {
                let how = if *evaluated_before { "evaluated before" } else { "evaluating" };
                self.say(&format!("run {run} of {flake} ({how})"));
            }
            Event::BuildStarted { name, number, machine, .. } => {
                let again = if *number > 1 { format!(" (attempt {number})") } else { String::new() };
                self.say(&format!("▶ building   {name}{}{again}", words::place(machine)));
            }
            Event::BuildJoined { name, .. } => {
                self.say(&format!("… joined     {name}, which another run builds"));
            }
            Event::BuildEnded { name, outcome, message, duration_ms, retried, .. } => {
                let what = message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
                let again = if *retried { ", trying again" } else { "" };
                let took = words::span(Duration::from_millis(*duration_ms));
                self.say(&format!("■ {outcome:<10} {name} ({took}){what}{again}"));
            }
            Event::Machine { machine, kind, words } => {
                self.say(format!("· {kind:<10} {machine}  {words}").trim_end());
            }
            Event::Waiting { builds, reason } => {
                self.say(&format!("… waiting    {}: {reason}", words::plural(*builds as u64, "build")));
            }
            Event::Found { .. }
            | Event::Matrix(_)
            | Event::Planned { .. }
            | Event::Test { .. }
            | Event::Phase { .. }
            | Event::CellEnded(_)
            | Event::Cancelling => {}
        }
    }

    fn tick(&mut self) {
        if self.last.elapsed() > HEARTBEAT {
            let line = self.tally.line();
            self.say(&format!("… {line}"));
        }
    }
}

/// Events as JSON, a line each, on standard output.
pub(super) struct JsonLines;

impl Renderer for JsonLines {
    fn event(&mut self, event: &Event) {
        match serde_json::to_string(event) {
            Ok(line) => out::data(&line),
            Err(error) => out::say(&format!("croft: writing JSON: {error}")),
        }
    }
}
