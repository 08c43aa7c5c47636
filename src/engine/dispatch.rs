//! The loop that hands work to builders and cells to the publisher.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::{Semaphore, mpsc};

use super::{
    error::EngineError,
    farm::Farm,
    job::{Job, JobEnd},
    planner::{PlannedBatch, PlannedCell},
    run_job::Workshop,
    verdict::{self, Settled},
};
use crate::{
    graph::NodeId,
    lifecycle::CellState,
    report::CellReport,
    schedule::{Added, End, Schedule},
    task::TaskSet,
};

/// Jobs that are claimed while all slots are taken, so that a slot never waits for the disk.
const LOOK_AHEAD: usize = 3;

/// What is done when a cell fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The other cells go on.
    #[default]
    KeepGoing,
    /// Whatever has not begun is cancelled, and what runs is ended.
    Stop,
}

/// Cells on their way to the database and the renderers.
#[derive(Debug)]
pub(super) enum Report {
    /// A cell that the run has not told yet.
    New(CellReport),
    /// A cell that has come to rest since.
    Settled(CellReport),
}

/// The state of the loop.
pub(super) struct Dispatcher {
    workshop: Workshop,
    on_failure: OnFailure,
    slots: usize,
    schedule: Schedule,
    jobs: HashMap<NodeId, Job>,
    /// Cells that wait for a derivation.
    waiting: BTreeMap<NodeId, Vec<PlannedCell>>,
    ended: HashMap<NodeId, JobEnd>,
    running: TaskSet<(NodeId, Result<JobEnd, EngineError>)>,
    reports: mpsc::Sender<Report>,
}

impl Dispatcher {
    pub(super) fn new(workshop: Workshop, on_failure: OnFailure, reports: mpsc::Sender<Report>) -> Self {
        let slots = workshop.slots.available_permits();
        let running = TaskSet::new("job", workshop.cancel.clone());
        Self {
            workshop,
            on_failure,
            slots,
            schedule: Schedule::default(),
            jobs: HashMap::new(),
            waiting: BTreeMap::new(),
            ended: HashMap::new(),
            running,
            reports,
        }
    }

    /// The slots of a farm's builder, or fewer if the user wants fewer.
    pub(super) fn slots(farm: &Farm, most: Option<u32>) -> Arc<Semaphore> {
        let slots = most.map_or(farm.builder.slots(), |most| most.min(farm.builder.slots()));
        Arc::new(Semaphore::new(slots.max(1) as usize))
    }

    /// Takes batches until there are no more, and works until all is done.
    ///
    /// An error stops new work; what runs is ended and recorded before the error is returned.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<PlannedBatch>) -> Result<(), EngineError> {
        let cancel = self.workshop.cancel.clone();
        let (mut open, mut cancelled, mut failed) = (true, false, None);
        loop {
            if failed.is_none() {
                failed = self.start().await.err();
            }
            if failed.is_some() && !cancelled {
                cancel.cancel();
            }
            if !open && self.running.is_empty() {
                break;
            }
            tokio::select! {
                batch = batches.recv(), if open => match batch {
                    Some(batch) => self.admit(batch).await,
                    None => open = false,
                },
                Some(ended) = self.running.join_next(), if !self.running.is_empty() => {
                    if let Err(error) = self.settle(ended).await {
                        failed.get_or_insert(error);
                        cancel.cancel();
                    }
                }
                () = cancel.cancelled(), if !cancelled => cancelled = true,
            }
            if cancelled {
                self.give_up().await;
            }
        }
        self.give_up().await;
        failed.map_or(Ok(()), Err)
    }

    async fn start(&mut self) -> Result<(), EngineError> {
        while self.schedule.progress().ready > 0 && self.running.len() < self.slots + LOOK_AHEAD {
            let offer = self.workshop.farm.offer().await?;
            let Some(node) = self.schedule.take(offer) else { break };
            let Some(job) = self.jobs.get(&node).cloned() else { break };
            let workshop = self.workshop.clone();
            self.running.spawn(async move { (node, workshop.run(job).await) });
        }
        Ok(())
    }

    async fn admit(&mut self, batch: PlannedBatch) {
        for planned in batch.jobs {
            let node = planned.work.node;
            self.jobs.insert(node, planned.job);
            match self.schedule.add(planned.work) {
                Added::Queued | Added::Blocked => {}
            }
        }
        for cell in batch.cells {
            match (verdict::at_once(&cell), cell.node) {
                (Some(report), _) => self.tell(Report::New(report)).await,
                (None, Some(node)) => self.wait(cell, node).await,
                (None, None) => {}
            }
        }
    }

    /// A cell that needs a derivation waits for it, unless an earlier batch has brought its end.
    async fn wait(&mut self, cell: PlannedCell, node: NodeId) {
        if let Some(end) = self.ended.get(&node).cloned() {
            self.tell(Report::New(verdict::after(&cell, &end))).await;
        } else if let Some(by) = self.schedule.failed_by(node) {
            let report = match self.ended.get(&by) {
                Some(end) => verdict::blocked(&cell, &self.settled(end)),
                None => verdict::cancelled(&cell),
            };
            self.tell(Report::New(report)).await;
        } else {
            self.tell(Report::New(verdict::waiting(&cell))).await;
            self.waiting.entry(node).or_default().push(cell);
        }
    }

    fn settled(&self, end: &JobEnd) -> Settled {
        let name = self.jobs.get(&end.node).map(|job| job.drv.name().to_owned()).unwrap_or_default();
        Settled { name, end: end.clone() }
    }

    async fn settle(
        &mut self,
        ended: Result<(NodeId, Result<JobEnd, EngineError>), crate::task::TaskError>,
    ) -> Result<(), EngineError> {
        let (node, result) = ended?;
        let (end, error) = match (result, self.jobs.get(&node)) {
            (Ok(end), _) => (end, None),
            (Err(error), Some(job)) => (JobEnd::broken(job, error.to_string()), Some(error)),
            (Err(error), None) => return Err(error),
        };
        let made = if verdict::is_made(&end.outcome) { End::Made } else { End::Failed };
        let blocked = self.schedule.finish(node, made);
        self.ended.insert(node, end.clone());
        for cell in self.waiting.remove(&node).unwrap_or_default() {
            let report = verdict::after(&cell, &end);
            self.mind_failure(report.state);
            self.tell(Report::Settled(report)).await;
        }
        let by = self.settled(&end);
        for node in blocked {
            for cell in self.waiting.remove(&node).unwrap_or_default() {
                let report = verdict::blocked(&cell, &by);
                self.mind_failure(report.state);
                self.tell(Report::Settled(report)).await;
            }
        }
        error.map_or(Ok(()), Err)
    }

    fn mind_failure(&self, state: CellState) {
        let is_failure = matches!(
            state,
            CellState::Failed | CellState::Blocked | CellState::Timeout | CellState::LogLimit
        );
        if is_failure && self.on_failure == OnFailure::Stop {
            self.workshop.cancel.cancel();
        }
    }

    /// Whatever has not begun will not; the cells that wait only for that are cancelled.
    async fn give_up(&mut self) {
        for node in self.schedule.give_up() {
            for cell in self.waiting.remove(&node).unwrap_or_default() {
                self.tell(Report::Settled(verdict::cancelled(&cell))).await;
            }
        }
    }

    async fn tell(&self, report: Report) {
        // The publisher ends only after this loop; if it broke, its own error ends the run.
        self.reports.send(report).await.ok();
    }
}
