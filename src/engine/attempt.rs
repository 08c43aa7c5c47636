//! One attempt: inputs there, build, outputs back. A build slot is held for the middle one alone.

use std::sync::Arc;

use super::{
    error::EngineError,
    event::Event,
    fleet::Seat,
    job::{Job, Way},
    run_job::Workshop,
    tap::{Tap, Tapped},
};
use crate::{
    clock::Timestamp,
    ids::{AttemptId, BuildId},
    lifecycle::{AttemptOutcome, InfraCause},
    logs::LogSummary,
    remote::{Outputs, Realised, Task, TaskMode},
    report::TestReport,
    task,
};

/// An attempt that is on record and begins.
pub(super) struct Try {
    pub(super) build: BuildId,
    pub(super) attempt: AttemptId,
    pub(super) number: u32,
}

/// An attempt that has come back.
pub(super) struct Tried {
    pub(super) attempt: AttemptId,
    pub(super) number: u32,
    pub(super) started: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) outcome: AttemptOutcome,
    pub(super) report: TestReport,
    pub(super) log: LogSummary,
}

/// Tries `job` once on the builder of `seat`.
pub(super) async fn run(
    workshop: &Workshop,
    job: &Job,
    this: Try,
    seat: &mut Seat,
) -> Result<Tried, EngineError> {
    let farm = &workshop.farm;
    let Try { attempt, number, .. } = this;
    let task = task_of(workshop, job).await?;
    let begun = farm.clock.now();
    let unbuilt = |outcome| Tried {
        attempt,
        number,
        started: begun,
        ended: farm.clock.now(),
        outcome,
        report: TestReport::default(),
        log: LogSummary::default(),
    };
    if let Err(outcome) = seat.builder().send(&task, &workshop.cancel).await {
        return Ok(unbuilt(in_the_light(workshop, seat, outcome).await));
    }
    if !seat.slot(&workshop.cancel).await {
        return Ok(unbuilt(AttemptOutcome::Cancelled));
    }
    let started = farm.clock.now();
    let name = job.drv.name().to_owned();
    let machine = seat.name().to_owned();
    workshop.tell(Event::BuildStarted { attempt, name, key: job.key, number, machine }).await;
    let tap = Tap::new(&farm.logs, attempt, farm.settings.build.keep_log << 20, workshop.events.clone());
    let realised = seat.builder().build(&task, workshop.limits(job), tap, &workshop.cancel).await;
    seat.free();
    let ended = farm.clock.now();
    let Realised { outcome, built, outputs, log } = realised;
    let outcome = bring_home(workshop, &task, seat, outcome, outputs).await;
    let outcome = in_the_light(workshop, seat, outcome).await;
    let Tapped { summary, mut report } =
        task::blocking("finish log", move || log.finish()).await?.map_err(EngineError::Log)?;
    if outcome == AttemptOutcome::Passed && (!built || report.cases.is_empty()) {
        report = farm.stored_report(&job.outputs).await?;
    }
    Ok(Tried { attempt, number, started, ended, outcome, report, log: summary })
}

/// Gets the outputs of a build to the hub; those of one that finished unseen too.
async fn bring_home(
    workshop: &Workshop,
    task: &Task,
    seat: &Seat,
    outcome: AttemptOutcome,
    outputs: Outputs,
) -> AttemptOutcome {
    let outputs = match &outcome {
        AttemptOutcome::Passed => outputs,
        AttemptOutcome::Infra { cause: InfraCause::ConnectionLost, .. } => {
            match seat.builder().adopt(task).await {
                Ok(Some(outputs)) => outputs,
                Ok(None) | Err(_) => return outcome,
            }
        }
        AttemptOutcome::Failed { .. }
        | AttemptOutcome::Timeout { .. }
        | AttemptOutcome::LogLimit
        | AttemptOutcome::NotDeterministic { .. }
        | AttemptOutcome::Infra { .. }
        | AttemptOutcome::Cancelled => return outcome,
    };
    match seat.builder().fetch(task, &outputs, &workshop.cancel).await {
        Ok(()) => {
            if let Some(pusher) = &workshop.pusher {
                pusher.push(outputs.into_values().collect());
            }
            AttemptOutcome::Passed
        }
        Err(outcome) => outcome,
    }
}

/// What an outcome means, with what is known of the machine: one that was taken away is nobody's fault.
async fn in_the_light(workshop: &Workshop, seat: &Seat, outcome: AttemptOutcome) -> AttemptOutcome {
    if let AttemptOutcome::Infra { cause: InfraCause::ConnectionLost, .. } = outcome {
        workshop.farm.fleet.ask_provider(seat.machine(), &workshop.cancel).await;
    }
    seat.in_the_light_of(outcome)
}

async fn task_of(workshop: &Workshop, job: &Job) -> Result<Task, EngineError> {
    let (files, drv) = (workshop.farm.files.clone(), job.drv.clone());
    let derivation = task::blocking("read derivation", move || files.derivation(&drv)).await??;
    let sources = derivation.input_srcs().iter().cloned();
    let inputs = job.inputs.iter().cloned().chain(sources).collect();
    let mode = match job.way {
        Way::Check => TaskMode::Check,
        Way::Build | Way::Adopt | Way::Substitute => TaskMode::Build,
    };
    Ok(Task { drv: job.drv.clone(), derivation: Arc::new(derivation), key: job.key, inputs, mode })
}
