//! The loop that hands work to builders and cells to the publisher.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    error::EngineError,
    fleet::{Stay, Yard},
    hub,
    job::{Job, JobEnd, Step},
    planner::{PlannedBatch, PlannedCell, PlannedJob},
    queue::QueueView,
    run_job::Workshop,
    verdict::{self, Settled},
};
use crate::{
    graph::NodeId,
    ids::{MachineId, RunId},
    lifecycle::CellState,
    plan::Offer,
    report::CellReport,
    schedule::{Added, Demand, End, Schedule},
    task::{TaskError, TaskSet},
};

/// Jobs that need no builder, at once.
const AT_HUB: usize = 4;

/// What is done when a cell fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The other cells go on.
    #[default]
    KeepGoing,
    /// Whatever has not begun is cancelled, and what runs is ended.
    Stop,
}

/// When the machines are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calling {
    /// At once: the flake is evaluated, and most likely there is something to build. Machines join meanwhile.
    AtOnce,
    /// When there is something to build.
    ForWork,
}

/// Cells on their way to the database and the renderers.
#[derive(Debug)]
pub(super) enum Report {
    /// Cells of one batch whose results were known before the run.
    Known(Vec<CellReport>),
    /// A cell that the run has not told yet.
    New(CellReport),
    /// A cell that has come to rest since.
    Settled(CellReport),
}

/// Something that a task of the loop brings back.
enum Back {
    /// From a builder.
    Built(NodeId, Result<Step, EngineError>),
    /// From the hub.
    Hub(NodeId, Result<Step, EngineError>),
    /// The pause before the next attempt is over; it last failed on this machine.
    Rested(NodeId, MachineId),
}

/// The state of the loop.
pub(super) struct Dispatcher {
    run: RunId,
    workshop: Workshop,
    on_failure: OnFailure,
    /// The most builds at once, if the user wants few.
    most: usize,
    yard: Arc<Yard>,
    hub: Offer,
    schedule: Schedule,
    jobs: HashMap<NodeId, Job>,
    /// Cells that wait for a derivation.
    waiting: BTreeMap<NodeId, Vec<PlannedCell>>,
    ended: HashMap<NodeId, JobEnd>,
    running: TaskSet<Back>,
    building: usize,
    at_hub: usize,
    reports: mpsc::Sender<Report>,
    queue: QueueView,
    calling: Calling,
    /// The fleet, if it is kept for this run alone.
    stay: Option<Stay>,
}

impl Dispatcher {
    pub(super) fn new(
        run: RunId,
        workshop: Workshop,
        on_failure: OnFailure,
        most: Option<u32>,
        calling: Calling,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let running = TaskSet::new("job", workshop.cancel.clone());
        Self {
            run,
            on_failure,
            most: most.map_or(usize::MAX, |most| most as usize),
            yard: Arc::clone(workshop.farm.fleet.yard()),
            hub: hub::offer(),
            schedule: Schedule::default(),
            jobs: HashMap::new(),
            waiting: BTreeMap::new(),
            ended: HashMap::new(),
            running,
            building: 0,
            at_hub: 0,
            reports,
            queue: QueueView::new(run),
            calling,
            stay: None,
            workshop,
        }
    }

    /// Takes batches until there are no more, and works until all is done.
    ///
    /// An error stops new work; what runs is ended and recorded before the error is returned.
    pub(super) async fn run(mut self, mut batches: mpsc::Receiver<PlannedBatch>) -> Result<(), EngineError> {
        let cancel = self.workshop.cancel.clone();
        let mut changes = self.yard.changes();
        let mut tick = QueueView::ticks();
        let (mut open, mut cancelled) = (true, false);
        let mut failure = Failure { first: None, cancel: cancel.clone() };
        if self.calling == Calling::AtOnce {
            failure.mind(self.call_machines().await);
        }
        loop {
            if failure.first.is_none() && !cancelled {
                self.start();
            }
            if !open && self.is_done() {
                break;
            }
            let keeper = self.stay.as_ref().map(Stay::ended);
            tokio::select! {
                batch = batches.recv(), if open => match batch {
                    Some(batch) => failure.mind(self.admit(batch).await),
                    None => open = false,
                },
                Some(back) = self.running.join_next(), if !self.running.is_empty() => {
                    failure.mind(self.take_back(back).await);
                }
                () = moved(&mut changes) => {}
                _ = tick.tick() => failure.mind(self.tell_queue().await),
                () = gone(keeper), if !cancelled => {
                    failure.mind(Err(EngineError::Bug("nobody looks after the machines any more")));
                }
                () = cancel.cancelled(), if !cancelled => cancelled = true,
            }
            if cancelled {
                failure.mind(self.give_up().await);
            }
        }
        failure.mind(self.give_up().await);
        self.yard.demand(self.run, Demand::default());
        let left = match self.stay.take() {
            Some(stay) => stay.leave().await,
            None => Ok(()),
        };
        failure.mind(self.queue.clear(&self.workshop.farm, &self.workshop.events).await);
        // Why the keeper has ended says more than that it has.
        left?;
        failure.first.map_or(Ok(()), Err)
    }

    fn is_done(&self) -> bool {
        self.running.is_empty() && self.schedule.is_idle()
    }

    /// Starts what can be started, and tells the fleet what cannot.
    fn start(&mut self) {
        while self.at_hub < AT_HUB
            && let Some(node) = self.schedule.take(&self.hub)
        {
            let Some(job) = self.jobs.get(&node).cloned() else { continue };
            let workshop = self.workshop.clone();
            self.at_hub += 1;
            self.running.spawn(async move { Back::Hub(node, workshop.at_hub(job).await) });
        }
        while self.building < self.most {
            let jobs = &self.jobs;
            let inputs = |node: NodeId| jobs.get(&node).map_or(&[][..], |job| &job.inputs[..]);
            let Some((node, seat)) = self.yard.place(&mut self.schedule, inputs) else { break };
            let Some(job) = self.jobs.get(&node).cloned() else { continue };
            self.queue.placed(node, &seat, self.workshop.farm.clock.now());
            let workshop = self.workshop.clone();
            self.building += 1;
            self.running.spawn(async move { Back::Built(node, workshop.build(job, seat).await) });
        }
        self.yard.demand(self.run, self.yard.look(|fleet| self.schedule.demand(fleet)));
    }

    async fn tell_queue(&mut self) -> Result<(), EngineError> {
        let Self { queue, workshop, schedule, jobs, .. } = self;
        queue.tell(&workshop.farm, schedule, jobs, &workshop.events).await
    }

    /// Opens the fleet, if this run has not done so.
    async fn call_machines(&mut self) -> Result<(), EngineError> {
        if self.stay.is_none() {
            let farm = &self.workshop.farm;
            self.queue.listen(farm).await?;
            self.stay = farm.fleet.begin(&farm.local_offer().await?).await?;
        }
        Ok(())
    }

    async fn admit(&mut self, batch: PlannedBatch) -> Result<(), EngineError> {
        if !batch.jobs.is_empty() {
            self.call_machines().await?;
        }
        for PlannedJob { work, job } in batch.jobs {
            self.jobs.insert(work.node, job);
            match self.schedule.add(work) {
                Added::Queued | Added::Blocked => {}
            }
        }
        let (mut known, mut open) = (Vec::new(), Vec::new());
        for cell in batch.cells {
            match (verdict::at_once(&cell), cell.node) {
                (Some(report), _) => known.push(report),
                (None, Some(node)) => open.push((cell, node)),
                (None, None) => {}
            }
        }
        self.tell(Report::Known(known)).await;
        for (cell, node) in open {
            self.wait(cell, node).await;
        }
        Ok(())
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

    async fn take_back(&mut self, back: Result<Back, TaskError>) -> Result<(), EngineError> {
        let (node, result) = match back? {
            Back::Rested(node, machine) => {
                self.schedule.retry(node, machine);
                return Ok(());
            }
            Back::Built(node, result) => {
                self.building -= 1;
                (node, result)
            }
            Back::Hub(node, result) => {
                self.at_hub -= 1;
                (node, result)
            }
        };
        self.queue.left(node);
        match result {
            Ok(Step::Ended(end)) => self.settle(node, end, None).await,
            Ok(Step::Open) => {
                self.schedule.put_back(node);
                Ok(())
            }
            Ok(Step::Again(retry)) => {
                let (pause, machine) = (retry.pause, retry.failed_on);
                if let Some(job) = self.jobs.get_mut(&node) {
                    job.retry = Some(retry);
                }
                let workshop = self.workshop.clone();
                self.running.spawn(async move {
                    workshop.pause(pause).await;
                    Back::Rested(node, machine)
                });
                Ok(())
            }
            Err(error) => match self.jobs.get(&node) {
                Some(job) => self.settle(node, JobEnd::broken(job, error.to_string()), Some(error)).await,
                None => Err(error),
            },
        }
    }

    async fn settle(
        &mut self,
        node: NodeId,
        end: JobEnd,
        error: Option<EngineError>,
    ) -> Result<(), EngineError> {
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
    async fn give_up(&mut self) -> Result<(), EngineError> {
        for node in self.schedule.give_up() {
            if let Some(retry) = self.jobs.get(&node).and_then(|job| job.retry.as_ref()) {
                self.workshop.farm.db.build_release(&self.workshop.farm.owner, retry.build).await?;
            }
            for cell in self.waiting.remove(&node).unwrap_or_default() {
                self.tell(Report::Settled(verdict::cancelled(&cell))).await;
            }
        }
        Ok(())
    }

    async fn tell(&self, report: Report) {
        // The publisher ends only after this loop; if it broke, its own error ends the run.
        self.reports.send(report).await.ok();
    }
}

/// The first error of the loop. It stops new work; what runs is ended and recorded, and machines are let go.
struct Failure {
    first: Option<EngineError>,
    cancel: CancellationToken,
}

impl Failure {
    fn mind(&mut self, result: Result<(), EngineError>) {
        if let Err(error) = result {
            self.first.get_or_insert(error);
            self.cancel.cancel();
        }
    }
}

/// Waits until nobody looks after the machines. Where nobody need do that, it never comes.
async fn gone(keeper: Option<CancellationToken>) {
    match keeper {
        Some(keeper) => keeper.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Waits for the next change. A fleet that is gone never changes again.
async fn moved(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
