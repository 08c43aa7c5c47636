//! The evaluator: a pool of children, and what they say put in order.

use std::collections::{BTreeMap, BTreeSet};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    BrokenCell, CellError, EvalError, EvalEvent, EvalSettings, EvalSummary, FlakeRef, Host, LockedFlake,
    Override, SystemSelection, Tree,
    batch::{Queue, Settled},
    cgroup,
    host::host,
    installable::output_paths,
    lock::{Target, lock},
    nix::Nix,
    program::{RawFound, RawName, Said, cell},
    worker::{Heard, Report, Worker},
};
use crate::{
    matrix::{Coordinates, Matrix, MatrixName, RawContract},
    nix::{StorePath, System},
    task::{self, TaskSet},
};

/// Lines that wait for the evaluator; children block beyond that.
const LINES: usize = 256;

/// Evaluates flakes with the machine's `nix`.
#[derive(Debug, Clone)]
pub struct Evaluator {
    settings: EvalSettings,
}

impl Evaluator {
    /// An evaluator with these limits.
    pub fn new(settings: EvalSettings) -> Self {
        cgroup::sweep();
        Self { settings }
    }

    /// Finds the tree that a reference stands for and puts it into the store. Starts one child.
    pub async fn lock(&self, flake: &FlakeRef, overrides: &[Override]) -> Result<LockedFlake, EvalError> {
        let nix = Nix::find(&self.settings)?;
        lock(&nix, &self.settings, flake, overrides, &CancellationToken::new()).await
    }

    /// The tree that a reference stands for as it is now, if croft can name it without a child.
    pub async fn read_tree(
        &self,
        flake: &FlakeRef,
        overrides: &[Override],
    ) -> Result<Option<Tree>, EvalError> {
        if !overrides.is_empty() {
            return Ok(None);
        }
        let nix = Nix::find(&self.settings)?;
        let (settings, flake) = (self.settings.clone(), flake.clone());
        // Whatever goes wrong with it, Nix has the better words for it.
        let read = task::blocking("read tree", move || Tree::read(&nix, &settings, &flake)).await;
        Ok(read.ok().flatten())
    }

    /// What Nix says this machine can build. Starts one child, or two on an old Nix.
    pub async fn host(&self) -> Result<Host, EvalError> {
        host(&self.settings).await
    }

    /// The outputs of an attribute of a flake. They must be valid: nothing is built.
    pub async fn output_paths(
        &self,
        flake: &FlakeRef,
        attribute: &str,
    ) -> Result<BTreeSet<StorePath>, EvalError> {
        output_paths(&self.settings, flake, attribute).await
    }

    /// Describes the checks of a flake. Events go to `tx` while children run; a slow receiver slows them down.
    /// When this returns, all children are gone; so they are soon after the future is dropped. Once the receiver
    /// is gone, the evaluation counts as cancelled.
    pub async fn evaluate(
        &self,
        flake: &LockedFlake,
        systems: &SystemSelection,
        tx: mpsc::Sender<EvalEvent>,
        cancel: CancellationToken,
    ) -> Result<EvalSummary, EvalError> {
        let nix = Nix::find(&self.settings)?;
        let cancel = cancel.child_token();
        let deadline = Instant::now() + self.settings.total;
        let worker = Worker::new(nix, self.settings.clone(), flake.clone(), systems.clone(), deadline);
        let (lines, heard) = mpsc::channel(LINES);
        let mut evaluation = Evaluation {
            worker,
            queue: Queue::new(),
            children: TaskSet::new("evaluate", cancel.clone()),
            lines,
            heard,
            cells: Vec::new(),
            points: BTreeMap::new(),
            matrices: BTreeMap::new(),
            tx,
            summary: EvalSummary::default(),
        };
        let result = evaluation.run().await;
        cancel.cancel();
        evaluation.stop().await;
        result?;
        if let Target::Place(_) = &flake.target {
            self.check_unchanged(flake).await?;
        }
        Ok(evaluation.summary)
    }

    async fn check_unchanged(&self, flake: &LockedFlake) -> Result<(), EvalError> {
        let now = self.lock(&flake.flake, &flake.overrides).await?;
        let is_same = now.fingerprint == flake.fingerprint;
        is_same.then_some(()).ok_or_else(|| EvalError::Changed { flake: flake.flake.to_string() })
    }
}

/// One evaluation under way.
struct Evaluation {
    worker: Worker,
    queue: Queue,
    children: TaskSet<Report>,
    lines: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    /// All cells by number, once the first child found them.
    cells: Vec<RawName>,
    /// Where the cells stand whose product is not known yet.
    points: BTreeMap<u32, Result<Option<RawContract>, CellError>>,
    /// The matrices told so far.
    matrices: BTreeMap<(System, MatrixName), Matrix>,
    tx: mpsc::Sender<EvalEvent>,
    summary: EvalSummary,
}

impl Evaluation {
    async fn run(&mut self) -> Result<(), EvalError> {
        loop {
            self.start_children();
            if self.children.is_empty() {
                return Ok(());
            }
            // A child sends its lines before it reports, so reading them first keeps the order.
            tokio::select! {
                biased;
                Some(Heard(said)) = self.heard.recv() => self.hear(said).await?,
                Some(report) = self.children.join_next() => self.settle(report?).await?,
            }
        }
    }

    /// Waits until every child is gone.
    async fn stop(&mut self) {
        self.heard.close();
        while self.children.join_next().await.is_some() {}
    }

    fn start_children(&mut self) {
        while self.children.len() < self.worker.settings().workers.get() {
            let Some(batch) = self.queue.next() else { return };
            self.summary.children += 1;
            let cancel = self.children.cancel_token().clone();
            self.children.spawn(self.worker.clone().work(batch, self.lines.clone(), cancel));
        }
    }

    async fn hear(&mut self, said: Said) -> Result<(), EvalError> {
        match said {
            Said::Found(Some(found)) => self.found(found).await,
            Said::Found(None) => Ok(()),
            Said::Matrix(matrix) => self.matrix(matrix).await,
            Said::Point(number, point) => {
                self.points.insert(number, point);
                Ok(())
            }
            Said::Cell(number, product) => {
                let point = self.points.remove(&number).unwrap_or(Ok(None));
                self.described(number, point, product).await
            }
            Said::Broken(number) => match self.queue.ask_message(number) {
                Some(asked) => self.broken(number, CellError::Unread(asked)).await,
                None => Ok(()),
            },
        }
    }

    async fn found(&mut self, found: RawFound) -> Result<(), EvalError> {
        let (flake, limit) = (self.worker.flake().to_string(), self.worker.settings().max_cells);
        if found.total > limit {
            return Err(EvalError::TooManyCells { flake, count: found.total, limit });
        }
        if found.total == 0 {
            let wants_all = *self.worker.systems() == SystemSelection::All;
            return Err(EvalError::NoChecks { flake, systems: if wants_all { vec![] } else { found.known } });
        }
        let systems: BTreeSet<System> = found.cells.iter().map(|cell| cell.system.clone()).collect();
        self.cells = found.cells;
        self.queue.add_rest(found.total, self.worker.settings().workers.get());
        self.tell(EvalEvent::Found { systems, cells: found.total }).await
    }

    async fn matrix(&mut self, matrix: Result<(System, Matrix), CellError>) -> Result<(), EvalError> {
        // The cells of an unusable matrix are shown all the same, without the order of its axes.
        let Ok((system, matrix)) = matrix.inspect_err(|error| tracing::warn!(%error, "unusable matrix"))
        else {
            return Ok(());
        };
        let key = (system.clone(), matrix.name.clone());
        if self.matrices.get(&key) == Some(&matrix) {
            return Ok(());
        }
        self.matrices.insert(key, matrix.clone());
        self.tell(EvalEvent::Matrix { system, matrix }).await
    }

    async fn described(
        &mut self,
        number: u32,
        point: Result<Option<RawContract>, CellError>,
        product: Result<(crate::nix::DrvPath, System), CellError>,
    ) -> Result<(), EvalError> {
        let Some(name) = self.cells.get(number as usize).cloned() else { return Ok(()) };
        let made = match (name.checked(), point, product) {
            ((_, Some(error)), _, _) => Err(error.into()),
            ((name, None), Ok(contract), Ok(product)) => cell(name, contract, product),
            ((_, None), Err(error), _) => Err(error),
            ((_, None), Ok(contract), Err(error)) => {
                self.points.insert(number, Ok(contract));
                Err(error)
            }
        };
        match made {
            Ok(cell) => {
                self.summary.cells += 1;
                self.tell(EvalEvent::Cell(cell)).await
            }
            Err(error) => self.broken(number, error).await,
        }
    }

    async fn broken(&mut self, number: u32, error: CellError) -> Result<(), EvalError> {
        let point = self.points.remove(&number).and_then(Result::ok).flatten();
        let Some(raw) = self.cells.get(number as usize) else { return Ok(()) };
        let (matrix, axes) = point.map_or_else(|| (None, Coordinates::default()), RawContract::into_point);
        let broken = BrokenCell { name: raw.checked().0, system: raw.system.clone(), matrix, axes, error };
        self.summary.broken += 1;
        self.tell(EvalEvent::Broken(broken)).await
    }

    async fn settle(&mut self, report: Report) -> Result<(), EvalError> {
        let Report { batch, ending } = report;
        let Err((done, failure)) = ending else { return Ok(()) };
        let of = (&self.worker.flake().clone(), &self.worker.settings().clone());
        match self.queue.settle(&batch, done, failure, of) {
            Settled::GoOn => Ok(()),
            Settled::Broken(number, error) => self.broken(number, error).await,
            Settled::Over(error) => Err(error),
        }
    }

    async fn tell(&self, event: EvalEvent) -> Result<(), EvalError> {
        tokio::select! {
            biased;
            () = self.children.cancel_token().cancelled() => Err(EvalError::Cancelled),
            sent = self.tx.send(event) => sent.map_err(|_| EvalError::Cancelled),
        }
    }
}
