//! What a provider is asked to do with one machine.

use std::time::Duration;

use super::{Fleet, Pool};
use crate::{
    db::MachineChange,
    engine::error::EngineError,
    fleet::{Class, ProviderError},
    ids::MachineId,
    lifecycle::{EndReason, InstanceId, Seen},
};

/// The longest that a provider may take for it; then it is asked again.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest that a console is waited for.
const CONSOLE: Duration = Duration::from_secs(20);
/// The last lines of a console that are kept.
const LINES: usize = 20;

/// What a provider is asked to do with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Start,
    Stop,
    Terminate,
    /// The same, after its console was kept for those who wonder why it did not join.
    TellAndTerminate,
}

/// Asks the provider, and records what came of it.
pub(super) async fn perform(
    fleet: &Fleet,
    pool: &Pool,
    machine: MachineId,
    instance: &InstanceId,
    turn: Turn,
) -> Result<(), EngineError> {
    if turn == Turn::TellAndTerminate {
        keep_console(fleet, pool, machine, instance).await?;
    }
    let answer = async {
        match (turn, pool.provider.dormancy()) {
            (Turn::Terminate | Turn::TellAndTerminate, _) => pool.provider.terminate(instance).await,
            (Turn::Stop, Some(dormancy)) => dormancy.stop(instance).await,
            (Turn::Start, Some(dormancy)) => dormancy.start(instance).await,
            (Turn::Stop | Turn::Start, None) => {
                Err(ProviderError::new(Class::Invalid, "stopping", "the provider keeps no machines stopped"))
            }
        }
    };
    let late = || ProviderError::new(Class::Retry, format!("{turn:?} of {instance}"), "no answer in time");
    match tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(late())) {
        Ok(()) => Ok(()),
        Err(error) if error.class == Class::Gone => {
            let end = EndReason::EndedByProvider("it was gone already".to_owned());
            fleet.db.machine_change(machine, MachineChange::End(end)).await?;
            fleet.db.machine_change(machine, MachineChange::Seen(Seen::Gone)).await?;
            Ok(())
        }
        Err(error) => {
            fleet.db.machine_event_add(machine, "not yet", error.to_string()).await?;
            Ok(())
        }
    }
}

async fn keep_console(
    fleet: &Fleet,
    pool: &Pool,
    machine: MachineId,
    instance: &InstanceId,
) -> Result<(), EngineError> {
    // A provider without one, or a console that does not come, keeps nobody from ending the machine.
    let Ok(Ok(console)) = tokio::time::timeout(CONSOLE, pool.provider.console(instance)).await else {
        return Ok(());
    };
    let words = String::from_utf8_lossy(&console);
    let lines: Vec<&str> = words.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    if !last.is_empty() {
        fleet.db.machine_event_add(machine, "console", last).await?;
    }
    Ok(())
}
