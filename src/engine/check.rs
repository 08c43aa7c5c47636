//! A whole run: lock, find, plan, build, record, and the verdict.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    dispatch::{Calling, Dispatcher, OnFailure, Report},
    error::EngineError,
    event::{Event, Events},
    farm::Farm,
    find::{Document, Found, FoundCell, Request, evaluate, recall, replay},
    lock::lock,
    planner::{PlannedBatch, Planner},
    publish::publish,
    push::{Pusher, Pushing},
    run_job::Workshop,
    verdict,
};
use crate::{
    config::PushScope,
    db::{NewRun, Totals},
    eval::{LockedFlake, SystemSelection},
    ids::RunId,
    lifecycle::{RunState, RunVerdict},
    matrix::{Matrix, Slice},
    nix::System,
    report::{RunReport, Summary, excluded_cells},
};

/// The most cells that are planned at once; a first cell should not wait for the ten-thousandth.
const BATCH: usize = 512;

/// What a check may do beside what the request says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conduct {
    /// What is done when a cell fails.
    pub on_failure: OnFailure,
    /// The most builds at once, if fewer than the builders have slots.
    pub max_jobs: Option<u32>,
}

/// Runs `request` to its end.
///
/// When `cancel` fires, running builds are ended and recorded as cancelled, and so is the run; the report is returned
/// all the same.
pub async fn check(
    farm: Arc<Farm>,
    request: Request,
    conduct: Conduct,
    events: Events,
    cancel: CancellationToken,
) -> Result<RunReport, EngineError> {
    farm.db.recover().await?;
    let locked = lock(&farm, &request).await?;
    let recalled = recall(&farm, &locked).await?;
    let run = RunId::new(farm.clock.now());
    farm.db
        .run_insert(
            &farm.owner,
            NewRun {
                id: run,
                project: Farm::project(&request.flake),
                flake: locked.url.clone(),
                fingerprint: Some(locked.fingerprint.to_string().into()),
                revision: locked.revision.clone(),
                trigger: "command line".to_owned(),
            },
        )
        .await?;
    let started = Event::Started {
        run,
        flake: locked.url.clone(),
        revision: locked.revision.clone(),
        fingerprint: locked.fingerprint.to_string(),
        evaluated_before: recalled.is_some(),
    };
    events.send(started).await.ok();
    // Its own token, so that --fail-fast and faults of croft stop this run and nothing else.
    let stop = cancel.child_token();
    let pipeline = Pipeline { farm: Arc::clone(&farm), run, locked, request, conduct, events, stop };
    let done = pipeline.flow(recalled).await;
    let state = if cancel.is_cancelled() { RunState::Cancelled } else { RunState::Finished };
    match done {
        Ok(report) => {
            let totals = report.cells.iter().map(|cell| cell.state).collect();
            farm.db.run_finish(run, state, report.verdict, totals).await?;
            Ok(report)
        }
        Err(error) => {
            // The run ends as it is; the first error is the one to tell.
            if let Err(second) =
                farm.db.run_finish(run, RunState::Lost, RunVerdict::Undetermined, Totals::default()).await
            {
                tracing::warn!(%second, "the end of the run could not be recorded; the next start will");
            }
            Err(error)
        }
    }
}

struct Pipeline {
    farm: Arc<Farm>,
    run: RunId,
    locked: LockedFlake,
    request: Request,
    conduct: Conduct,
    events: Events,
    stop: CancellationToken,
}

/// What planning saw, for the report and for the next evaluation of the same tree.
#[derive(Default)]
struct Seen {
    matrices: Vec<(System, Matrix)>,
    cells: Vec<FoundCell>,
    broken: usize,
    chosen: usize,
}

impl Pipeline {
    async fn flow(self, recalled: Option<Document>) -> Result<RunReport, EngineError> {
        let wanted = self.farm.systems(self.request.systems.as_ref());
        let was_recalled = recalled.is_some();
        let (found, finds) = mpsc::channel(1024);
        let (batch, batches) = mpsc::channel(4);
        let (report, reports) = mpsc::channel(1024);
        let find = self.find(recalled, &wanted, found);
        let plan = self.plan(finds, batch, report.clone());
        let (pusher, pushing) = self.pusher();
        let calling = if was_recalled { Calling::ForWork } else { Calling::AtOnce };
        let dispatch = self.dispatcher(calling, report, pusher).run(batches);
        let publish = publish(&self.farm, self.run, reports, &self.events);
        // Each stage ends when the one before it has; the first error in this order is the cause of the others.
        let (find, plan, dispatch, publish) = tokio::join!(find, plan, dispatch, publish);
        dispatch?;
        if let Some(pushing) = pushing {
            pushing.finish().await?;
        }
        let cells = publish?;
        find?;
        let seen = plan?;
        if seen.chosen == 0 && !self.stop.is_cancelled() {
            return Err(EngineError::NothingMatches(self.request.slice.to_string()));
        }
        self.remember(&seen, was_recalled).await?;
        let mut cells = cells;
        let verdict = RunVerdict::of(cells.iter().map(|cell| cell.state));
        if self.request.slice.is_whole() {
            cells.extend(seen.matrices.iter().flat_map(|(system, matrix)| excluded_cells(system, matrix)));
        }
        let summary = Summary::of(&cells);
        Ok(RunReport {
            v: 1,
            run: self.run,
            flake: self.locked.url,
            fingerprint: self.locked.fingerprint.to_string(),
            verdict,
            cells,
            summary,
        })
    }

    async fn find(
        &self,
        recalled: Option<Document>,
        wanted: &SystemSelection,
        found: mpsc::Sender<Found>,
    ) -> Result<(), EngineError> {
        let Some(document) = recalled else {
            let evaluated = evaluate(&self.farm, &self.locked, wanted, &found, self.stop.clone()).await;
            return evaluated.inspect_err(|_| self.stop.cancel());
        };
        replay(document, wanted, &found).await;
        Ok(())
    }

    /// What writes to the binary cache, if there is one.
    fn pusher(&self) -> (Option<Pusher>, Option<Pushing>) {
        let cache = self.farm.cache.clone().filter(|cache| cache.scope() != PushScope::None);
        cache.map(|cache| Pusher::start(cache, self.farm.builder.pool().clone())).unzip()
    }

    fn dispatcher(
        &self,
        calling: Calling,
        reports: mpsc::Sender<Report>,
        pusher: Option<Pusher>,
    ) -> Dispatcher {
        let workshop = Workshop {
            farm: Arc::clone(&self.farm),
            events: self.events.clone(),
            cancel: self.stop.clone(),
            pusher,
        };
        Dispatcher::new(self.run, workshop, self.conduct.on_failure, self.conduct.max_jobs, calling, reports)
    }

    /// Plans cells as they are found.
    async fn plan(
        &self,
        mut finds: mpsc::Receiver<Found>,
        batches: mpsc::Sender<PlannedBatch>,
        reports: mpsc::Sender<Report>,
    ) -> Result<Seen, EngineError> {
        let project = Farm::project(&self.request.flake);
        let mut planner =
            Planner::new(Arc::clone(&self.farm), project, self.farm.policy(self.request.attempts));
        let mut seen = Seen::default();
        let mut received = Vec::new();
        while finds.recv_many(&mut received, BATCH).await > 0 {
            let (mut cells, mut parts) = (Vec::new(), Vec::new());
            for found in received.drain(..) {
                match found {
                    Found::Count { cells, systems } => {
                        // How many of them are wanted shows only when they are known.
                        let cells = self.request.slice.is_whole().then_some(cells);
                        self.events.send(Event::Found { cells, systems }).await.ok();
                    }
                    Found::Matrix { system, matrix } => {
                        self.events.send(Event::Matrix(matrix.clone())).await.ok();
                        seen.matrices.push((system, matrix));
                    }
                    Found::Cell(found) => cells.push(found),
                    Found::Part(part) => parts.push(part),
                    Found::Broken(cell) => {
                        seen.broken += 1;
                        seen.chosen += 1;
                        reports.send(Report::New(verdict::broken(&cell))).await.ok();
                    }
                }
            }
            // A part is planned by itself, so that what is known of it is recorded as it was the last time.
            for cells in parts.into_iter().chain([cells]).filter(|cells| !cells.is_empty()) {
                let (chosen, others) = part(&self.request.slice, cells);
                seen.chosen += chosen.len();
                seen.cells.extend(others);
                let planned = planner.plan(chosen).await.inspect_err(|_| self.stop.cancel())?;
                let keyed =
                    planned.cells.iter().map(|c| FoundCell { cell: c.cell.clone(), key: Some(c.key) });
                seen.cells.extend(keyed);
                batches.send(planned).await.ok();
            }
        }
        Ok(seen)
    }

    /// Keeps what was evaluated, so that the same tree is not evaluated again.
    async fn remember(&self, seen: &Seen, was_recalled: bool) -> Result<(), EngineError> {
        let is_whole = seen.broken == 0 && self.request.systems.is_none() && !self.stop.is_cancelled();
        if was_recalled || !is_whole {
            return Ok(());
        }
        let document = Document::new(seen.matrices.clone(), seen.cells.clone());
        self.farm.eval_put(&self.locked.fingerprint, &document).await
    }
}

/// The cells that are wanted, and the others.
fn part(slice: &Slice, cells: Vec<FoundCell>) -> (Vec<FoundCell>, Vec<FoundCell>) {
    cells.into_iter().partition(|found| slice.holds(&found.cell))
}
