//! `croft queue`: what runs and what waits, in order, and why.

use serde::Serialize;

use super::{
    args::{Common, QueueArgs},
    exit::CliError,
    farm, out,
    out::Dress,
    words,
};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    db::Waiting,
    ids::RunId,
    nix::{DrvKey, System},
    report::{Colours, terminal_line},
};

/// The longest reason that a line shows, in characters.
const MAX_REASON: usize = 160;

#[derive(Serialize)]
struct Document {
    v: u32,
    builds: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    run: RunId,
    name: String,
    key: DrvKey,
    system: System,
    state: String,
    reason: String,
    eta: Option<Timestamp>,
}

impl From<Waiting> for Line {
    fn from(w: Waiting) -> Self {
        Self {
            run: w.run,
            name: w.name,
            key: w.key,
            system: w.system,
            state: w.state,
            reason: w.reason,
            eta: w.eta,
        }
    }
}

/// Prints the queue of all croft processes that share the state.
pub(super) async fn run(common: &Common, args: QueueArgs) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    let db = farm::database(&config).await?;
    db.recover().await?;
    let builds: Vec<Line> = db.waiting_list().await?.into_iter().map(Line::from).collect();
    if args.form.json {
        out::json(&Document { v: 1, builds });
        return Ok(0);
    }
    if builds.is_empty() {
        out::say("nothing runs and nothing waits");
    }
    let dress = Dress::stdout(common.color);
    let now = SystemClock.now();
    for build in &builds {
        out::data(&line(dress, build, now));
    }
    Ok(0)
}

fn line(dress: Dress, build: &Line, now: Timestamp) -> String {
    let (glyph, colour) = match build.state.as_str() {
        "running" => ("▶", "1;34"),
        _ => ("…", "2"),
    };
    let mark = dress.paint(colour, &format!("{glyph} {:<8}", build.state));
    let eta = build.eta.map(|eta| format!("  in {}", words::span(eta.since(now)))).unwrap_or_default();
    let reason = terminal_line(build.reason.as_bytes(), Colours::Drop, MAX_REASON);
    format!("{mark} {:<40}  {reason}{eta}", build.name)
}
