//! From cells to decisions and jobs: loads the graph, asks the database and the store, decides.
//!
//! Cells come in batches while evaluation still runs; what was learnt of one batch serves the next.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    error::EngineError,
    farm::Farm,
    find::FoundCell,
    hub,
    job::{Job, Way},
};
use crate::{
    cache,
    db::Project,
    graph::{Cause, DrvGraph, Loader, Need, NeedWalk, Needed, NodeId, Presence, causes},
    matrix::{Cell, Resources},
    nix::{DrvKey, DrvPath},
    plan::{Attempts, Decision, KeyHistory, MakeReason, Obstacle, Policy, decide, obstacles, unmet},
    schedule::Work,
    task,
};

/// What a derivation without records is taken to need, for the order of work alone.
const UNKNOWN_DURATION: Duration = Duration::from_secs(5);
/// The most causes that are named for one cell.
const MAX_CAUSES: usize = 4;

/// A cell and what is done about it.
#[derive(Debug, Clone)]
pub struct PlannedCell {
    /// The cell.
    pub cell: Cell,
    /// The key of its derivation.
    pub key: DrvKey,
    /// What is known of that key.
    pub history: KeyHistory,
    /// Whether a recorded result stands, and if not, why not.
    pub decision: Decision,
    /// What a run does; none if a recorded result stands.
    pub way: Option<CellWay>,
    /// Its derivation in the graph; none if that was not needed.
    pub(super) node: Option<NodeId>,
}

/// How a cell without a result that stands gets one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellWay {
    /// Its derivation is built.
    Build,
    /// Its outputs are fetched.
    Substitute,
    /// Its outputs are valid: somebody made them without telling croft.
    Adopt,
    /// Its outputs are valid, and it is built once more beside them.
    Check,
    /// It is not made at all.
    Blocked(Obstacle),
}

/// A derivation to make, and the job that makes it.
#[derive(Debug, Clone)]
pub(super) struct PlannedJob {
    pub(super) work: Work,
    pub(super) job: Job,
}

/// What a batch of cells comes to.
#[derive(Debug, Default)]
pub struct PlannedBatch {
    /// The cells, in the order given.
    pub cells: Vec<PlannedCell>,
    /// What must be made for them that no earlier batch has asked for, inputs first.
    pub(super) jobs: Vec<PlannedJob>,
}

/// The planner of one run.
pub struct Planner {
    farm: Arc<Farm>,
    project: Project,
    policy: Policy,
    graph: DrvGraph,
    loader: Loader,
    walk: NeedWalk,
    scheduled: BTreeSet<NodeId>,
    needed: Vec<Needed>,
    durations: HashMap<NodeId, Duration>,
}

impl Planner {
    /// A planner for the cells of one flake of `project`.
    pub fn new(farm: Arc<Farm>, project: Project, policy: Policy) -> Self {
        Self {
            farm,
            project,
            policy,
            graph: DrvGraph::default(),
            loader: Loader::default(),
            walk: NeedWalk::default(),
            scheduled: BTreeSet::new(),
            needed: Vec::new(),
            durations: HashMap::new(),
        }
    }

    /// All that must be made for the cells so far, inputs first.
    pub fn needed(&self) -> &[Needed] {
        &self.needed
    }

    /// How long a derivation is expected to take, from records.
    pub fn expected(&self, node: NodeId) -> Option<Duration> {
        self.durations.get(&node).copied()
    }

    /// Plans `cells`.
    pub async fn plan(&mut self, cells: Vec<FoundCell>) -> Result<PlannedBatch, EngineError> {
        let mut planned = self.decide(cells).await?;
        self.explain(&mut planned).await?;
        let open: Vec<NodeId> =
            planned.iter().filter(|cell| is_open(cell)).filter_map(|cell| cell.node).collect();
        self.survey(&open).await?;
        let needed = self.walk.needed(&self.graph, open.iter().copied());
        self.learn_durations(&needed, &open).await?;
        let wishes = wishes(&planned);
        let blocked = self.obstacles(&needed, &wishes).await?;
        for cell in planned.iter_mut().filter(|cell| is_open(cell)) {
            cell.way = cell.node.and_then(|node| self.way(node, &blocked));
        }
        let jobs = self.jobs(&planned, needed, &blocked, &wishes);
        Ok(PlannedBatch { cells: planned, jobs })
    }

    /// Loads the closures of `drvs` into the graph.
    async fn load(&mut self, drvs: Vec<DrvPath>) -> Result<Vec<NodeId>, EngineError> {
        let (mut graph, mut loader) = (std::mem::take(&mut self.graph), std::mem::take(&mut self.loader));
        let files = self.farm.files.clone();
        let (graph, loader, nodes) = task::blocking("load graph", move || {
            let mut load = |drv| graph.load(&mut loader, files.store_dir(), drv, |drv| files.read_drv(drv));
            let nodes: Result<Vec<NodeId>, _> = drvs.iter().map(&mut load).collect();
            (graph, loader, nodes)
        })
        .await?;
        (self.graph, self.loader) = (graph, loader);
        Ok(nodes?)
    }

    /// Decides on each cell by its key. Reads only those derivations whose keys are not known.
    async fn decide(&mut self, cells: Vec<FoundCell>) -> Result<Vec<PlannedCell>, EngineError> {
        let unkeyed = cells.iter().filter(|found| found.key.is_none()).map(|found| found.cell.drv.clone());
        self.load(unkeyed.collect()).await?;
        let key = |found: &FoundCell| {
            let node = self.graph.find(&found.cell.drv);
            node.map(|node| self.graph.node(node).key)
                .or(found.key)
                .ok_or(EngineError::Bug("a cell without a key"))
        };
        let keys = cells.iter().map(key).collect::<Result<Vec<DrvKey>, _>>()?;
        let histories = self.farm.db.verdicts_by_key(&keys).await?;
        let new = cells.iter().zip(&keys).filter(|(_, key)| !histories.contains_key(*key));
        let previous = self.farm.previous_keys(&self.project, new.map(|(found, _)| &found.cell)).await?;
        let plan = |(found, key): (FoundCell, DrvKey)| {
            let cell = found.cell;
            let history = histories.get(&key).cloned().unwrap_or_default();
            let before = previous.get(&(cell.name.clone(), cell.system.clone()));
            let decision = decide(&cell, key, &history, before, &self.policy);
            PlannedCell { cell, key, history, decision, way: None, node: None }
        };
        Ok(cells.into_iter().zip(keys).map(plan).collect())
    }

    /// Loads the derivations of the cells that are open, and finds out why their keys changed.
    async fn explain(&mut self, planned: &mut [PlannedCell]) -> Result<(), EngineError> {
        let open = || planned.iter().filter(|cell| is_open(cell)).map(|cell| cell.cell.drv.clone());
        self.load(open().collect()).await?;
        for cell in planned.iter_mut().filter(|cell| is_open(cell)) {
            cell.node = self.graph.find(&cell.cell.drv);
            let Some(node) = cell.node else { continue };
            if let Decision::Make(MakeReason::InputChanged { previous, .. }) = &mut cell.decision {
                let before = previous.drv.clone();
                let found = self.causes(&before, node).await;
                cell.decision = cell.decision.clone().with_causes(found);
            }
        }
        Ok(())
    }

    /// What differs between the derivation a cell had and the one it has. Nothing, if the old one is gone.
    async fn causes(&mut self, before: &DrvPath, after: NodeId) -> Vec<Cause> {
        match self.load(vec![before.clone()]).await {
            Ok(nodes) => {
                nodes.first().map(|old| causes(&self.graph, *old, after, MAX_CAUSES)).unwrap_or_default()
            }
            Err(error) => {
                tracing::debug!(%before, %error, "the earlier derivation cannot be compared");
                Vec::new()
            }
        }
    }

    /// Finds out what of the closures of `open` is there.
    async fn survey(&mut self, open: &[NodeId]) -> Result<(), EngineError> {
        self.walk.want(open.iter().copied());
        let mut frontier = self.walk.frontier();
        if frontier.is_empty() {
            return Ok(());
        }
        let pool = self.farm.builder.pool();
        let mut connection = pool.take().await?;
        while !frontier.is_empty() {
            let answers = cache::probe(&mut connection.client, &self.graph, &frontier).await?;
            self.walk.answer(&self.graph, answers);
            frontier = self.walk.frontier();
        }
        pool.give_back(connection);
        Ok(())
    }

    async fn learn_durations(&mut self, needed: &[Needed], open: &[NodeId]) -> Result<(), EngineError> {
        let all: BTreeSet<NodeId> = needed.iter().map(|item| item.node).chain(open.iter().copied()).collect();
        let unknown: Vec<NodeId> =
            all.into_iter().filter(|node| !self.durations.contains_key(node)).collect();
        let nodes =
            unknown.iter().map(|id| self.graph.node(*id)).map(|node| (node.key, node.name().to_owned()));
        let nodes: Vec<_> = nodes.collect();
        let expected = self.farm.db.durations(&nodes).await?;
        let known = unknown.into_iter().zip(expected).filter_map(|(node, expected)| Some((node, expected?)));
        self.durations.extend(known);
        Ok(())
    }

    /// What stands in the way of `needed`: failures on record, and needs that no builder meets.
    async fn obstacles(
        &self,
        needed: &[Needed],
        wishes: &Wishes,
    ) -> Result<HashMap<NodeId, Obstacle>, EngineError> {
        let keys: Vec<DrvKey> = needed.iter().map(|item| self.graph.node(item.node).key).collect();
        let histories = match self.policy.attempts {
            Attempts::Reuse => self.farm.db.verdicts_by_key(&keys).await?,
            Attempts::RetryFailed | Attempts::Rebuild => HashMap::new(),
        };
        let offers = if needed.is_empty() { Vec::new() } else { self.farm.offers().await? };
        Ok(obstacles(needed, |id| {
            let node = self.graph.node(id);
            let class = hub::build_class(node, wishes.get(&id).copied().unwrap_or_default().resources);
            let unmet = unmet(&offers, &class, node.name()).map(Obstacle::Unmet);
            unmet.or_else(|| {
                let verdict = histories.get(&node.key)?.standing_failure(&self.policy)?;
                Some(Obstacle::KnownFailure {
                    name: node.name().to_owned(),
                    verdict: Box::new(verdict.clone()),
                })
            })
        }))
    }

    fn way(&self, node: NodeId, blocked: &HashMap<NodeId, Obstacle>) -> Option<CellWay> {
        Some(match (blocked.get(&node), self.walk.presence(node)?, self.policy.attempts) {
            (Some(obstacle), _, _) => CellWay::Blocked(obstacle.clone()),
            (None, Presence::Valid, Attempts::Rebuild) => CellWay::Check,
            (None, Presence::Valid, Attempts::Reuse | Attempts::RetryFailed) => CellWay::Adopt,
            (None, Presence::Substitutable, _) => CellWay::Substitute,
            (None, Presence::Absent, _) => CellWay::Build,
        })
    }

    /// The jobs that nobody has been given yet.
    fn jobs(
        &mut self,
        planned: &[PlannedCell],
        needed: Vec<Needed>,
        blocked: &HashMap<NodeId, Obstacle>,
        wishes: &Wishes,
    ) -> Vec<PlannedJob> {
        let mut jobs = Vec::new();
        for item in needed {
            if !blocked.contains_key(&item.node) && self.scheduled.insert(item.node) {
                jobs.push(self.job(item.node, item.need.into(), item.after.clone(), wishes));
                self.needed.push(item);
            }
        }
        for cell in planned {
            let way = match &cell.way {
                Some(CellWay::Adopt) => Way::Adopt,
                Some(CellWay::Check) => Way::Check,
                Some(CellWay::Build | CellWay::Substitute | CellWay::Blocked(_)) | None => continue,
            };
            if let Some(node) = cell.node.filter(|node| self.scheduled.insert(*node)) {
                if way == Way::Check {
                    self.needed.push(Needed { node, need: Need::Build, after: Vec::new() });
                }
                jobs.push(self.job(node, way, Vec::new(), wishes));
            }
        }
        jobs
    }

    fn job(&self, id: NodeId, way: Way, after: Vec<NodeId>, wishes: &Wishes) -> PlannedJob {
        let (node, wish) = (self.graph.node(id), wishes.get(&id).copied().unwrap_or_default());
        let class = hub::class(node, way, wish.resources);
        let inputs = node.inputs.iter().flat_map(|input| {
            let outputs = &self.graph.node(input.node).outputs;
            outputs
                .iter()
                .filter(|output| input.outputs.contains(&output.name))
                .filter_map(|o| o.path.clone())
        });
        let expected = self.expected(id).unwrap_or(UNKNOWN_DURATION);
        let job = Job {
            node: id,
            drv: node.drv.clone(),
            key: node.key,
            system: node.system.clone(),
            outputs: node.outputs.iter().filter_map(|output| output.path.clone()).collect(),
            inputs: inputs.collect(),
            way,
            expected,
            timeout: wish.timeout.unwrap_or(self.farm.settings.build.timeout.get()),
            planned: self.policy.now,
            retry: None,
        };
        PlannedJob { work: Work { node: id, after, expected, class }, job }
    }
}

/// What a cell wishes for its derivation.
#[derive(Debug, Clone, Copy, Default)]
struct Wish {
    timeout: Option<Duration>,
    resources: Resources,
}

/// Wishes by derivation. What no cell is gets the usual share.
type Wishes = HashMap<NodeId, Wish>;

fn wishes(planned: &[PlannedCell]) -> Wishes {
    let wish = |cell: &Cell| Wish { timeout: cell.timeout, resources: cell.resources };
    planned.iter().filter_map(|planned| Some((planned.node?, wish(&planned.cell)))).collect()
}

/// Whether no recorded result stands for the cell.
fn is_open(cell: &PlannedCell) -> bool {
    match cell.decision {
        Decision::Make(_) => true,
        Decision::Reuse(_) => false,
    }
}
