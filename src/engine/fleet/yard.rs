//! The builders that are up, and what is on them: shared by all runs of this process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use super::{
    record::{Record, fault, sign},
    seat::Seat,
};
use crate::{
    clock::{SharedClock, Timestamp},
    graph::NodeId,
    ids::{MachineId, RunId},
    lifecycle::AttemptOutcome,
    nix::{DrvKey, StorePath},
    plan::Offer,
    remote::Builder,
    schedule::{
        Blame, BuilderView, Closed, Demand, Faults, FleetView, Placement, Probation, Schedule, Sign, SlotId,
        Standing, health::Fitness,
    },
};

/// Builds that end sooner than this are claimed ahead of a free slot, so that a slot never waits for the disk or for
/// inputs.
const SHORT: Duration = Duration::from_secs(2);

/// A builder that is up.
#[derive(Debug)]
struct Post {
    name: Arc<str>,
    builder: Builder,
    /// Real build slots; what is placed beyond them waits here.
    slots: Arc<Semaphore>,
    most: u32,
    /// Places beyond the slots that are taken ahead.
    ahead: u32,
    /// Jobs that still need the machine, those whose outputs travel included.
    visits: u32,
    /// Whether the machine is gone, so that nothing is remembered of it when the last job has left.
    gone: bool,
}

#[derive(Debug, Default)]
struct Inner {
    view: FleetView,
    posts: HashMap<MachineId, Post>,
    records: HashMap<MachineId, Record>,
    fitness: HashMap<MachineId, Fitness>,
    faults: Faults,
    demands: HashMap<RunId, Demand>,
}

/// The builders of this process.
#[derive(Debug)]
pub(in crate::engine) struct Yard {
    clock: SharedClock,
    /// Infrastructure failures in a row after which a builder gets no more work until the keeper has seen to it.
    most_failures: u32,
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
    /// Moves when a build failed for its machine's sake, so that whoever looks after that machine asks it at once.
    suspicions: watch::Sender<u64>,
}

/// A builder that joins.
#[derive(Debug)]
pub(in crate::engine) struct Newcomer {
    pub(in crate::engine) id: MachineId,
    pub(in crate::engine) name: Arc<str>,
    pub(in crate::engine) builder: Builder,
    pub(in crate::engine) offer: Arc<Offer>,
    pub(in crate::engine) slots: u32,
    pub(in crate::engine) speed: f64,
    pub(in crate::engine) pool: Option<crate::config::PoolName>,
}

impl Yard {
    pub(in crate::engine) fn new(clock: SharedClock, most_failures: u32) -> Arc<Self> {
        Arc::new(Self {
            clock,
            most_failures,
            inner: Mutex::default(),
            changes: watch::Sender::new(0),
            suspicions: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees every change of what can be placed where.
    pub(in crate::engine) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Sees every failure that a machine is to blame for.
    pub(super) fn suspicions(&self) -> watch::Receiver<u64> {
        self.suspicions.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Takes a builder in.
    pub(in crate::engine) fn open(&self, newcomer: Newcomer) {
        let Newcomer { id, name, builder, offer, slots, speed, pool } = newcomer;
        let mut inner = self.lock();
        let (standing, free_disk) = (Standing::Open, None);
        inner.view.put(BuilderView { id, pool, offer, slots, speed, standing, free_disk });
        let fresh = Arc::new(Semaphore::new(slots as usize));
        let now = self.clock.now();
        inner.records.entry(id).or_default().idle_since.get_or_insert(now);
        let visits = inner.posts.remove(&id).map_or(0, |post| post.visits);
        inner
            .posts
            .insert(id, Post { name, builder, slots: fresh, most: slots, ahead: 0, visits, gone: false });
        drop(inner);
        self.changed();
    }

    /// Gives a builder no more work, or work again.
    pub(in crate::engine) fn stand(&self, id: MachineId, standing: Standing) {
        let mut inner = self.lock();
        if inner.view.builder(id).is_some_and(|builder| builder.standing != standing) {
            inner.view.set_standing(id, standing);
            drop(inner);
            self.changed();
        }
    }

    /// Lets a builder go. What still is on it goes on until it ends.
    pub(in crate::engine) fn close(&self, id: MachineId) {
        self.lock().view.remove(id);
        self.changed();
    }

    /// Places the most urgent work that fits a builder, and takes its room.
    ///
    /// `inputs` are the paths that a job reads: a builder that has them is preferred.
    pub(in crate::engine) fn place<'j>(
        self: &Arc<Self>,
        schedule: &mut Schedule,
        inputs: impl Fn(NodeId) -> &'j [StorePath],
    ) -> Option<(NodeId, Seat)> {
        let mut inner = self.lock();
        let Inner { view, posts, .. } = &mut *inner;
        let holds = |machine: MachineId, node: NodeId| {
            let Some(post) = posts.get(&machine) else { return 0 };
            inputs(node).iter().filter(|path| post.builder.holds(path)).count() as u64
        };
        let placed = match schedule.place(view, holds) {
            Some(placed) => placed,
            None => inner.place_ahead(schedule)?,
        };
        let post = inner.posts.get_mut(&placed.machine)?;
        post.visits += 1;
        let (name, builder, slots) = (Arc::clone(&post.name), post.builder.clone(), Arc::clone(&post.slots));
        let seat = Seat::new(Arc::clone(self), placed.machine, name, builder, slots, placed.slot);
        inner.records.entry(placed.machine).or_default().idle_since = None;
        Some((placed.node, seat))
    }

    pub(super) fn vacate(&self, id: MachineId, room: SlotId) {
        let mut inner = self.lock();
        inner.view.vacate(room);
        inner.step_back(id);
        drop(inner);
        self.changed();
    }

    pub(super) fn leave(&self, id: MachineId) {
        let now = self.clock.now();
        let mut inner = self.lock();
        if let Some(post) = inner.posts.get_mut(&id) {
            post.visits = post.visits.saturating_sub(1);
            match (post.visits, post.gone) {
                (0, false) => inner.records.entry(id).or_default().idle_since = Some(now),
                (0, true) => inner.forget(id),
                (1.., _) => {}
            }
        }
        drop(inner);
        self.changed();
    }

    pub(super) fn attempt_ended(
        &self,
        id: MachineId,
        key: DrvKey,
        outcome: &AttemptOutcome,
        took: Duration,
    ) -> Blame {
        let Some(sign) = sign(outcome) else { return Blame::Nobody };
        let now = self.clock.now();
        let mut inner = self.lock();
        let blame = inner.faults.ended(id, key, sign, now);
        let times = inner.faults.in_a_row(id);
        match sign {
            Sign::Verdict => inner.records.entry(id).or_default().built(took),
            // Nobody could let this machine's own builder in again, or replace it.
            Sign::Infra if inner.is_own(id) => {}
            Sign::Infra => {
                inner.note_fault(id, outcome, now);
                self.suspicions.send_modify(|count| *count += 1);
                if times >= self.most_failures {
                    inner.view.set_standing(id, Standing::Closed(Closed::Failing { times }));
                }
            }
        }
        blame
    }

    /// The provider takes the machine back.
    pub(in crate::engine) fn interrupt(&self, id: MachineId) {
        let mut inner = self.lock();
        inner.records.entry(id).or_default().interrupted = true;
        inner.view.set_standing(id, Standing::Closed(Closed::Interrupted));
    }

    pub(super) fn is_interrupted(&self, id: MachineId) -> bool {
        self.lock().records.get(&id).is_some_and(|record| record.interrupted)
    }

    /// What a run needs that no builder has room for.
    pub(in crate::engine) fn demand(&self, run: RunId, demand: Demand) {
        let mut inner = self.lock();
        if demand.is_empty() {
            inner.demands.remove(&run)
        } else {
            inner.demands.insert(run, demand)
        };
    }

    /// What all runs need together.
    pub(in crate::engine) fn demands(&self) -> Demand {
        let mut all = Demand::default();
        self.lock().demands.values().for_each(|demand| all.merge(demand));
        all
    }

    /// How many jobs need a machine now.
    pub(in crate::engine) fn visits(&self, id: MachineId) -> u32 {
        self.lock().posts.get(&id).map_or(0, |post| post.visits)
    }

    /// What is known of a machine's work in this process.
    pub(in crate::engine) fn record(&self, id: MachineId) -> Record {
        self.lock().records.get(&id).cloned().unwrap_or_default()
    }

    /// Looks at the builders. `at` must not ask the yard anything else.
    pub(in crate::engine) fn look<T>(&self, at: impl FnOnce(&FleetView) -> T) -> T {
        at(&self.lock().view)
    }

    /// Infrastructure failures of a machine in a row.
    pub(super) fn in_a_row(&self, id: MachineId) -> u32 {
        self.lock().faults.in_a_row(id)
    }

    /// A machine comes out of quarantine; one more failure sends it back.
    pub(super) fn released(&self, id: MachineId, after: u32) {
        self.lock().faults.released(id, after);
    }

    /// The machines that take work, if most of what was tried lately failed by infrastructure; kept to while it lasts.
    pub(super) fn probation(&self) -> Option<Probation> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let probation = inner.faults.probation(now);
        inner.view.set_probation(probation.clone());
        probation
    }

    /// Whether a machine is up here.
    pub(super) fn is_open(&self, id: MachineId) -> bool {
        self.lock().view.builder(id).is_some()
    }

    /// How fit a machine was when it was last asked.
    pub(super) fn fitness(&self, id: MachineId) -> Fitness {
        self.lock().fitness.get(&id).cloned().unwrap_or_default()
    }

    /// A machine was asked how it is. `free_disk` is what its store has free, in MiB.
    pub(super) fn fit(&self, id: MachineId, fitness: Fitness, free_disk: Option<u64>) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let record = inner.records.entry(id).or_default();
        record.unfit = match &fitness {
            Fitness::Fit => None,
            Fitness::Unfit(_) => {
                let since = record.unfit.as_ref().map_or(now, |(_, since)| *since);
                Some((fitness.to_string(), since))
            }
        };
        inner.fitness.insert(id, fitness);
        if let Some(view) = inner.view.builder(id).cloned().filter(|view| view.free_disk != free_disk) {
            inner.view.put(BuilderView { free_disk, ..view });
        }
        drop(inner);
        self.changed();
    }

    /// A machine is gone.
    pub(super) fn forget(&self, id: MachineId) {
        let mut inner = self.lock();
        inner.view.remove(id);
        match inner.posts.get_mut(&id).filter(|post| post.visits > 0) {
            Some(post) => post.gone = true,
            None => inner.forget(id),
        }
    }
}

impl Inner {
    fn forget(&mut self, id: MachineId) {
        self.posts.remove(&id);
        self.records.remove(&id);
        self.fitness.remove(&id);
        self.faults.forget(id);
    }

    /// Whether a machine is the one that croft runs on, as itself.
    fn is_own(&self, id: MachineId) -> bool {
        let is_pooled = self.view.builder(id).is_some_and(|view| view.pool.is_some());
        !is_pooled && self.posts.get(&id).is_some_and(|post| post.builder.is_here())
    }

    /// What a build has found out about its machine keeps work away until the machine is asked the next time.
    fn note_fault(&mut self, id: MachineId, outcome: &AttemptOutcome, now: Timestamp) {
        // Of one that nobody asks how it is, nothing would ever be heard again.
        let asked = fault(outcome).filter(|_| self.fitness.contains_key(&id));
        let Some((why, defect)) = asked else { return };
        if let Some(defect) = defect {
            self.fitness.insert(id, Fitness::Unfit(vec![defect]));
        }
        self.view.set_standing(id, Standing::Closed(Closed::Unfit(why.to_owned())));
        self.records.entry(id).or_default().unfit.get_or_insert((why.to_owned(), now));
    }

    /// Places work beyond the slots of a builder, if that is in order.
    fn place_ahead(&mut self, schedule: &mut Schedule) -> Option<Placement> {
        let machine = self.reach_ahead(schedule)?;
        let placed = schedule.place(&mut self.view, |_, _| 0);
        if placed.is_none() {
            self.step_back(machine);
        }
        placed
    }

    /// Makes room for one job beyond the slots of a builder whose builds are short, while there is plenty of work.
    fn reach_ahead(&mut self, schedule: &Schedule) -> Option<MachineId> {
        let slots: usize = self.posts.values().map(|post| post.most as usize).sum();
        if schedule.progress().ready <= slots {
            return None;
        }
        let records = &self.records;
        let is_short =
            |id: &MachineId| records.get(id).and_then(Record::pace).is_some_and(|pace| pace < SHORT);
        let candidates = self.posts.iter_mut().filter(|(_, post)| post.ahead <= post.most / 2 + 1);
        let (id, post) = candidates.filter(|(id, _)| is_short(id)).min_by_key(|(_, post)| post.ahead)?;
        post.ahead += 1;
        let (id, slots) = (*id, post.most + post.ahead);
        self.set_slots(id, slots);
        Some(id)
    }

    /// Takes back room beyond the slots.
    fn step_back(&mut self, id: MachineId) {
        let Some(post) = self.posts.get_mut(&id).filter(|post| post.ahead > 0) else { return };
        post.ahead -= 1;
        let slots = post.most + post.ahead;
        self.set_slots(id, slots);
    }

    fn set_slots(&mut self, id: MachineId, slots: u32) {
        if let Some(view) = self.view.builder(id).cloned() {
            self.view.put(BuilderView { slots, ..view });
        }
    }
}
