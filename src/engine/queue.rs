//! What a run has running and waiting, told to the database for whoever looks from outside.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::{
    error::EngineError,
    event::{Event, Events},
    farm::Farm,
    fleet::Seat,
    job::Job,
};
use crate::{
    clock::Timestamp,
    db::Waiting,
    graph::NodeId,
    ids::{MachineId, RunId},
    plan::Class,
    report::{Colours, terminal_line},
    schedule::{FleetView, Outlook, Schedule, Situation},
};

/// How often the queue is told.
const EVERY: Duration = Duration::from_secs(1);
/// The longest text about a machine that is passed on, in characters.
const MAX_WORDS: usize = 200;
/// The word for a build that waits for a builder.
const READY: &str = "ready";
/// The most builds that are told one by one.
const MAX_TOLD: usize = 500;

/// What a run has running and waiting.
#[derive(Debug)]
pub(super) struct QueueView {
    run: RunId,
    running: BTreeMap<NodeId, Running>,
    state: Told,
    /// The last event of machines that was passed on.
    news: Option<i64>,
    /// Why builds wait, as it was last said.
    said: Option<String>,
}

#[derive(Debug)]
struct Running {
    machine: MachineId,
    name: String,
    since: Timestamp,
}

/// Whether others know of the queue as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Never,
    Current,
    Stale,
}

impl QueueView {
    pub(super) fn new(run: RunId) -> Self {
        Self { run, running: BTreeMap::new(), state: Told::Never, news: None, said: None }
    }

    /// The moments at which the queue is told; not at once, so that a short run tells nothing.
    pub(super) fn ticks() -> Interval {
        let mut ticks = interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// A build has been given to a builder.
    pub(super) fn placed(&mut self, node: NodeId, seat: &Seat, now: Timestamp) {
        let running = Running { machine: seat.machine(), name: seat.name().to_owned(), since: now };
        self.running.insert(node, running);
    }

    /// A build has come back.
    pub(super) fn left(&mut self, node: NodeId) {
        self.running.remove(&node);
    }

    /// Tells the queue.
    pub(super) async fn tell(
        &mut self,
        farm: &Farm,
        schedule: &Schedule,
        jobs: &HashMap<NodeId, Job>,
        events: &Events,
    ) -> Result<(), EngineError> {
        self.tell_news(farm, events).await?;
        let now = farm.clock.now();
        let mut all: Vec<Waiting> =
            self.running.iter().filter_map(|(node, at)| Some(self.runs(jobs.get(node)?, at))).collect();
        all.extend(farm.fleet.yard().look(|view| self.waits(farm, view, schedule, jobs, now)));
        self.tell_why(&all, events).await;
        self.state = if all.is_empty() { self.state } else { Told::Stale };
        if self.state == Told::Never || (all.is_empty() && self.state == Told::Current) {
            return Ok(());
        }
        self.state = if all.is_empty() { Told::Current } else { Told::Stale };
        Ok(farm.db.waiting_replace(&farm.owner, all).await?)
    }

    /// Begins to listen for what happens to machines.
    pub(super) async fn listen(&mut self, farm: &Farm) -> Result<(), EngineError> {
        if self.news.is_none() && farm.fleet.has_others() {
            self.news = Some(farm.db.machine_event_newest().await?);
        }
        Ok(())
    }

    /// Passes on what happened to machines since.
    async fn tell_news(&mut self, farm: &Farm, events: &Events) -> Result<(), EngineError> {
        let Some(seq) = self.news else { return Ok(()) };
        let (news, last) = farm.db.machine_event_after(seq).await?;
        self.news = Some(last);
        for event in news {
            let words = terminal_line(event.words.as_bytes(), Colours::Drop, MAX_WORDS);
            let event = Event::Machine { machine: event.name, kind: event.kind, words };
            // A run without a listener goes on.
            events.send(event).await.ok();
        }
        Ok(())
    }

    /// Says why builds wait while nothing runs.
    async fn tell_why(&mut self, all: &[Waiting], events: &Events) {
        let first = all.iter().find(|waiting| waiting.state == READY).filter(|_| self.running.is_empty());
        let reason = first.map(|waiting| waiting.reason.clone());
        if reason == self.said {
            return;
        }
        self.said.clone_from(&reason);
        if let Some(reason) = reason {
            events.send(Event::Waiting { builds: all.len(), reason }).await.ok();
        }
    }

    /// Passes on the last news, and takes back what was told.
    pub(super) async fn clear(&mut self, farm: &Farm, events: &Events) -> Result<(), EngineError> {
        self.tell_news(farm, events).await?;
        if self.state == Told::Stale {
            farm.db.waiting_replace(&farm.owner, Vec::new()).await?;
        }
        Ok(())
    }

    fn runs(&self, job: &Job, at: &Running) -> Waiting {
        self.line(
            job,
            "running",
            format!("on {} since {}", at.name, at.since),
            Some(at.since.plus(job.expected)),
        )
    }

    fn waits(
        &self,
        farm: &Farm,
        view: &FleetView,
        schedule: &Schedule,
        jobs: &HashMap<NodeId, Job>,
        now: Timestamp,
    ) -> Vec<Waiting> {
        let seen = farm.fleet.last_seen();
        let names = |id: MachineId| seen.as_ref()?.names.get(&id).cloned();
        let slots: u32 = view.builders().filter(|b| b.standing.is_open()).map(|b| b.slots).sum();
        let mut outlooks: BTreeMap<Class, (Outlook, String)> = BTreeMap::new();
        let mut ahead = Duration::ZERO;
        let mut all = Vec::new();
        for (node, class, _) in schedule.in_order().into_iter().take(MAX_TOLD) {
            let Some(job) = jobs.get(&node) else { continue };
            let (outlook, words) = outlooks.entry(class.clone()).or_insert_with(|| {
                let outlook = self.outlook(farm, view, class, job, jobs, now);
                let words = in_names(&outlook, names);
                (outlook, words)
            });
            ahead += job.expected;
            let queue = (slots > 0).then(|| now.plus(ahead / slots));
            let eta = [outlook.until.map(|at| at.plus(job.expected)), queue].into_iter().flatten().max();
            all.push(self.line(job, READY, words.clone(), eta));
        }
        all
    }

    fn outlook(
        &self,
        farm: &Farm,
        view: &FleetView,
        class: &Class,
        job: &Job,
        jobs: &HashMap<NodeId, Job>,
        now: Timestamp,
    ) -> Outlook {
        let seen = farm.fleet.last_seen();
        let nothing = crate::schedule::FleetState::default();
        let (state, pools) = match &seen {
            Some(seen) => (&seen.state, &seen.pools[..]),
            None => (&nothing, &[][..]),
        };
        let situation = Situation { view, state, pools, fleet: &farm.settings.fleet, now };
        let free_at = |machine: MachineId| {
            let here = self.running.iter().filter(|(_, at)| at.machine == machine);
            here.filter_map(|(node, at)| Some(at.since.plus(jobs.get(node)?.expected))).min()
        };
        situation.outlook(class, job.drv.name(), free_at)
    }

    fn line(&self, job: &Job, state: &str, reason: String, eta: Option<Timestamp>) -> Waiting {
        Waiting {
            run: self.run,
            name: job.drv.name().to_owned(),
            key: job.key,
            system: job.system.clone(),
            state: state.to_owned(),
            reason,
            eta,
        }
    }
}

/// The reason in words, with the names of machines in the place of their ids.
fn in_names(outlook: &Outlook, name: impl Fn(MachineId) -> Option<String>) -> String {
    let words = outlook.reason.to_string();
    match outlook.reason.machine().and_then(|id| Some((id, name(id)?))) {
        Some((id, name)) => words.replace(&id.to_string(), &name),
        None => words,
    }
}
