//! `croft fleet`: the machines, what happened to them, and a hand on them.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    args::{Common, FleetArgs, FleetVerb, Form},
    exit::CliError,
    farm, out,
    out::Dress,
    words,
};
use crate::{
    clock::{Clock, SystemClock, Timestamp},
    db::{Db, MachineChange, MachineEvent, MachineRecord},
    lifecycle::{EndReason, Hold, Phase, Seen},
    report::{Colours, terminal_line},
};

/// How long machines that are gone are still listed with `--all`.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// The most of them.
const MAX_GONE: u32 = 200;
/// The longest text of a machine that a line shows, in characters.
const MAX_WORDS: usize = 200;
/// Millionths in a unit of money.
const MICROS: f64 = 1e6;

#[derive(Serialize)]
struct Document {
    v: u32,
    machines: Vec<Line>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    name: String,
    phase: Phase,
    pool: Option<String>,
    provider: String,
    shape: Option<String>,
    why: String,
    hold: Option<String>,
    ending: Option<String>,
    instance: Option<String>,
    reach: Option<String>,
    nix: Option<String>,
    slots: u32,
    running: u32,
    builds: u64,
    requested: Timestamp,
    joined: Option<Timestamp>,
    idle_since: Option<Timestamp>,
    ended: Option<Timestamp>,
    age_ms: u64,
    /// In the unit that prices are given in.
    cost: f64,
    health: Option<Box<RawValue>>,
    health_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Event {
    at: Timestamp,
    machine: String,
    kind: String,
    words: String,
}

/// Lists machines or their events, or changes what is wanted of one.
pub(super) async fn run(common: &Common, args: FleetArgs) -> Result<u8, CliError> {
    let config = farm::configuration(common)?;
    if let Some(FleetVerb::Sweep) = args.verb {
        return sweep(&config).await;
    }
    let db = farm::database(&config).await?;
    match &args.verb {
        None => list(common, &db, &args).await,
        Some(FleetVerb::Events { name, limit, form }) => events(&db, *form, name.as_deref(), *limit).await,
        Some(FleetVerb::Drain { name }) => {
            hold(&db, name, Some(Hold::Drain), "takes no new work; what runs goes on").await
        }
        Some(FleetVerb::Quarantine { name, why }) => {
            let hold_it = Hold::Quarantine { why: why.clone(), until: None };
            hold(&db, name, Some(hold_it), "is in quarantine until it is released").await
        }
        Some(FleetVerb::Release { name }) => hold(&db, name, None, "takes work again").await,
        Some(FleetVerb::Terminate { name }) => terminate(&db, name).await,
        Some(FleetVerb::Sweep) => Ok(0),
    }
}

/// Takes over what dead processes left, and ends the machines that nobody looks after.
async fn sweep(config: &crate::config::Config) -> Result<u8, CliError> {
    let farm = farm::open(config).await?;
    let ended = farm.sweep().await?;
    let words = words::plural(ended, "machine");
    out::say(&if ended == 0 {
        "no machine was left behind".to_owned()
    } else {
        format!("ended {words} that nobody looked after")
    });
    Ok(0)
}

async fn hold(db: &Db, name: &str, hold: Option<Hold>, words: &str) -> Result<u8, CliError> {
    let machine = db.machine_by_name(name).await?;
    still_there(&machine)?;
    let changed = db.machine_change(machine.id, MachineChange::Hold(hold)).await?;
    out::say(&if changed { format!("{name} {words}") } else { format!("{name}: nothing to change") });
    Ok(0)
}

async fn terminate(db: &Db, name: &str) -> Result<u8, CliError> {
    let machine = db.machine_by_name(name).await?;
    still_there(&machine)?;
    if machine.pool.is_none() {
        return Err(CliError::Usage(format!(
            "{name} is a builder that is always there; remove it from the configuration, or `croft fleet drain {name}`"
        )));
    }
    db.machine_change(machine.id, MachineChange::End(EndReason::Operator)).await?;
    out::say(&format!("{name} will be ended; what runs on it is built elsewhere"));
    Ok(0)
}

fn still_there(machine: &MachineRecord) -> Result<(), CliError> {
    match machine.seen {
        Seen::Gone => {
            Err(CliError::Usage(format!("{} is gone; `croft fleet` lists what is there", machine.name)))
        }
        Seen::Requested | Seen::Booting | Seen::Ready | Seen::Unreachable | Seen::Dormant => Ok(()),
    }
}

async fn list(common: &Common, db: &Db, args: &FleetArgs) -> Result<u8, CliError> {
    let now = SystemClock.now();
    let mut machines = db.machine_list().await?;
    if args.all {
        let since = Timestamp::from_millis(now.as_millis().saturating_sub(millis(REMEMBERED)));
        machines.extend(db.machine_list_gone(since, MAX_GONE).await?);
    }
    let lines: Vec<Line> = machines.into_iter().map(|machine| Line::of(machine, now)).collect();
    if args.form.json {
        out::json(&Document { v: 1, machines: lines });
        return Ok(0);
    }
    if lines.is_empty() {
        out::say(
            "no machines yet; `croft check` asks for them when there is work, `[[pool]]` and `[[builder]]` say which",
        );
    }
    let dress = Dress::stdout(common.color);
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    for line in &lines {
        out::data(&line.text(dress, width));
    }
    Ok(0)
}

async fn events(db: &Db, form: Form, name: Option<&str>, limit: u32) -> Result<u8, CliError> {
    let machine = match name {
        Some(name) => Some(db.machine_by_name(name).await?.id),
        None => None,
    };
    let events = db.machine_event_list(machine, limit).await?;
    if form.json {
        let line = |e: MachineEvent| Event { at: e.at, machine: e.name, kind: e.kind, words: e.words };
        out::json(&events.into_iter().map(line).collect::<Vec<_>>());
        return Ok(0);
    }
    for event in events {
        let line = format!("{}  {:<16} {:<12} {}", event.at, event.name, event.kind, harmless(&event.words));
        out::data(line.trim_end());
    }
    Ok(0)
}

fn harmless(text: &str) -> String {
    terminal_line(text.as_bytes(), Colours::Drop, MAX_WORDS)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Line {
    fn of(machine: MachineRecord, now: Timestamp) -> Self {
        let until = machine.ended.unwrap_or(now);
        let up = machine.launched.map(|launched| until.since(launched)).unwrap_or_default();
        Self {
            phase: Phase::of(machine.wanted, machine.seen, machine.running as usize),
            shape: machine.shape.as_ref().map(ToString::to_string),
            hold: machine.hold.as_ref().map(ToString::to_string),
            ending: machine.ending.as_ref().map(ToString::to_string),
            instance: machine.instance.as_ref().map(ToString::to_string),
            reach: machine.reach.as_ref().map(ToString::to_string),
            age_ms: millis(until.since(machine.requested)),
            cost: machine.price as f64 / MICROS * up.as_secs_f64() / 3600.0,
            health: machine.health.and_then(|text| RawValue::from_string(text).ok()),
            health_at: machine.health_at,
            name: machine.name,
            pool: machine.pool,
            provider: machine.provider,
            why: machine.why,
            nix: machine.nix,
            slots: machine.slots,
            running: machine.running,
            builds: machine.builds,
            requested: machine.requested,
            joined: machine.joined,
            idle_since: machine.idle_since,
            ended: machine.ended,
        }
    }

    fn text(&self, dress: Dress, width: usize) -> String {
        let (glyph, colour) = look(self.phase);
        let mark = dress.paint(colour, &format!("{glyph} {:<11}", self.phase.word()));
        let kind = self.pool.as_deref().unwrap_or(&self.provider);
        let builds = words::plural(self.builds, "build");
        let cost = if self.cost > 0.0 { format!("  cost {:.4}", self.cost) } else { String::new() };
        let age = words::span(Duration::from_millis(self.age_ms));
        let load = self.load().map(|load| format!("  load {load:.2}")).unwrap_or_default();
        let head = format!(
            "{mark} {:<width$}  {kind:<10}  {}/{} slots  {builds:>10}  {age:>9}{load}{cost}",
            self.name, self.running, self.slots
        );
        let more = [
            self.hold.clone(),
            self.ending.clone().map(|ending| format!("ends: {ending}")),
            Some(self.why.clone()).filter(|why| !why.is_empty()),
        ];
        let more: Vec<String> = more.into_iter().flatten().map(|text| harmless(&text)).collect();
        let place: Vec<&str> =
            [&self.shape, &self.instance, &self.reach].into_iter().flatten().map(String::as_str).collect();
        let second = [more.join("; "), harmless(&place.join(", "))];
        let second: Vec<String> = second.into_iter().filter(|text| !text.is_empty()).collect();
        if second.is_empty() {
            head
        } else {
            format!("{head}\n    {}", dress.paint("2", &second.join("  ·  ")))
        }
    }

    fn load(&self) -> Option<f64> {
        let health: serde_json::Value = serde_json::from_str(self.health.as_ref()?.get()).ok()?;
        health.get("load")?.as_f64()
    }
}

/// The glyph and the colour of a phase; the word stands beside them.
fn look(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Launching => ("…", "34"),
        Phase::Booting => ("↑", "34"),
        Phase::Busy => ("▶", "1;34"),
        Phase::Idle => ("●", "32"),
        Phase::Unreachable => ("⚠", "33"),
        Phase::Draining => ("↘", "33"),
        Phase::Dormant => ("○", "2"),
        Phase::Stopping | Phase::Terminating => ("↓", "33"),
        Phase::Gone => ("–", "2"),
    }
}
