//! What must hold, whatever happens. Each check looks at the truth, not at what the hub believes.

use croft::{
    lifecycle::{EndReason, Seen, Wanted},
    schedule::{FleetAction, LaunchReason, MachineState, Stage},
};

use super::{
    cloud::Cloud,
    hub::{Hub, at},
    runs::{Attempt, classes},
    scenario::{HOUR, MINUTE},
};

const DAY: u64 = 24 * HOUR;

impl Hub {
    /// After every turn.
    pub(crate) fn check(&mut self, cloud: &Cloud, now: u64) {
        self.check_instances(cloud, now);
        self.check_queue();
        self.check_rows(now);
    }

    fn check_instances(&mut self, cloud: &Cloud, now: u64) {
        for at in 0..self.pools.len() {
            let (name, max) = (self.pools[at].name.clone(), self.pools[at].max as usize);
            let there =
                cloud.instances.values().filter(|i| i.is_there() && !i.is_stray && i.pool == name).count();
            if there > max {
                self.accuse(|| format!("pool {name} has {there} instances, more than {max}"));
            }
        }
        for instance in cloud.instances.values().filter(|instance| instance.is_there()) {
            let id = instance.machine;
            let gone = match self.rows.get(&id) {
                Some(row) => row.gone,
                None => Some(instance.launched),
            };
            // A lease runs out after ten minutes without a sign, and ten more are allowed.
            if gone.is_some_and(|gone| now > gone + 20 * MINUTE) {
                self.accuse(|| format!("machine {id} is an orphan that lives on"));
            }
        }
    }

    /// Nothing that could go out waits.
    fn check_queue(&mut self) {
        if self.view.builders().count() == 0 {
            return;
        }
        let mut starving = None;
        for run in &self.runs {
            for (node, class, _) in run.schedule.in_order() {
                let tried = run.infra.get(&node);
                let takes =
                    |id| tried.is_none_or(|tried| !tried.contains(&id)) && self.view.room(id, class) > 0;
                let open = self.view.builders().filter(|builder| builder.standing.is_open());
                let mut free = open.filter(|builder| class.fits(&builder.offer) && takes(builder.id));
                if self.rows.is_empty() || self.is_on_probation() {
                    continue;
                }
                if let Some(builder) = free.next() {
                    starving = Some(format!("build {} waits, and {} is free", node.number(), builder.id));
                }
            }
        }
        if let Some(words) = starving {
            self.accuse(|| words);
        }
    }

    fn check_rows(&mut self, now: u64) {
        let mut wrong = None;
        for row in self.rows.values().filter(|row| row.gone.is_none() && row.state.pool.is_some()) {
            let state = &row.state;
            let Some(pool) = self.pools.iter().find(|p| state.pool.as_ref() == Some(&p.name)) else {
                continue;
            };
            let on_way =
                u64::try_from(at(now).since(state.on_its_way_since()).as_millis()).unwrap_or(u64::MAX);
            let most = u64::try_from(pool.boot_deadline.get().as_millis()).unwrap_or(u64::MAX);
            let has_failed = self.faults.in_a_row(state.id) >= self.fleet.quarantine_after;
            if has_failed && (state.wanted, state.seen) == (Wanted::Up, Seen::Ready) {
                wrong = Some(format!("machine {} has failed too often and is kept", state.id));
            }
            if state.is_on_its_way() && on_way > most + 2 * MINUTE {
                wrong = Some(format!("machine {} is on its way for ever", state.id));
            }
            if state.seen == Seen::Unreachable
                && state.wanted == Wanted::Up
                && at(now).since(state.seen_since) > self.fleet.lost_after.get() * 7 / 2
            {
                wrong = Some(format!("machine {} is waited for in vain", state.id));
            }
        }
        if let Some(words) = wrong {
            self.accuse(|| words);
        }
    }

    fn is_on_probation(&self) -> bool {
        self.view.is_on_probation()
    }

    /// Before actions are carried out.
    pub(crate) fn check_actions(&mut self, actions: &[FleetAction], cloud: &Cloud, now: u64) {
        for action in actions {
            match action {
                FleetAction::Launch { pool, .. } => self.check_budget(pool.as_str(), cloud, now),
                FleetAction::End { machine, reason: reason @ EndReason::Idle } => {
                    if self.view.running(*machine) > 0 {
                        self.accuse(|| format!("machine {machine} builds and is ended: {reason}"));
                    }
                }
                FleetAction::Sleep { machine } => {
                    if self.view.running(*machine) > 0 {
                        self.accuse(|| format!("machine {machine} builds and is put to sleep"));
                    }
                }
                FleetAction::Wake { machine } => {
                    let pool = self.rows.get(machine).and_then(|row| row.state.pool.clone());
                    if let Some(pool) = pool {
                        self.check_budget(pool.as_str(), cloud, now);
                    }
                }
                FleetAction::End { .. } | FleetAction::Quarantine { .. } | FleetAction::Release { .. } => {}
            }
        }
        let launches = actions.iter().filter(|action| matches!(action, FleetAction::Launch { .. })).count();
        let minute = self
            .rows
            .values()
            .filter(|row| row.state.pool.is_some() && at(now).since(row.state.requested).as_secs() < 60);
        let recent = minute.count() + launches;
        if launches > 0 && recent > self.fleet.launches_per_minute as usize {
            self.accuse(|| format!("{recent} machines in a minute"));
        }
    }

    /// What the provider has asked for so far, and an hour of what runs and is launched now.
    fn check_budget(&mut self, pool: &str, cloud: &Cloud, now: u64) {
        let settings = self.pools.iter().find(|settings| settings.name.as_str() == pool);
        let Some(budget) = settings.and_then(|settings| settings.budget_day) else { return };
        let start = now.saturating_sub(DAY);
        let mut hours = 1.0;
        for instance in cloud.instances.values().filter(|i| !i.is_stray && i.pool.as_str() == pool) {
            for (from, to) in &instance.paid {
                hours += to.unwrap_or(now).saturating_sub(start.max(*from)) as f64 / HOUR as f64;
                hours += f64::from(u8::from(to.is_none()));
            }
        }
        if hours > budget + 0.01 {
            self.accuse(|| format!("pool {pool} launches with {hours} projected of {budget}"));
        }
    }

    pub(crate) fn check_placement(&mut self, attempt: &Attempt) {
        let run = &self.runs[attempt.run];
        let class = &classes()[run.plan.builds[attempt.node.number() as usize].class];
        let fits = self.view.builder(attempt.machine).is_some_and(|builder| class.fits(&builder.offer));
        let row = &self.rows[&attempt.machine].state;
        let is_up = (row.wanted, row.seen) == (Wanted::Up, Seen::Ready);
        let twice = self.attempts.iter().any(|a| (a.run, a.node) == (attempt.run, attempt.node));
        let needs = self.attempts.iter().filter(|other| other.machine == attempt.machine);
        let asks = |a: &Attempt| {
            let plan = &self.runs[a.run].plan.builds[a.node.number() as usize];
            classes()[plan.class].resources.memory.unwrap_or(0)
        };
        let memory: u64 = needs.map(asks).sum::<u64>() + asks(attempt);
        let wrong = if !fits {
            "lacks something"
        } else if memory > 8000 {
            "has too little memory"
        } else if !is_up || row.hold.is_some() || row.unfit.is_some() || row.interrupted {
            "is not open"
        } else if self.faults.in_a_row(attempt.machine) >= self.fleet.quarantine_after {
            "has failed too often"
        } else if twice {
            "gets what runs elsewhere"
        } else if run.is_cancelled {
            "gets cancelled work"
        } else if run.schedule.stage(attempt.node) != Some(Stage::Running) {
            "gets work that nobody counts"
        } else {
            return;
        };
        let attempt = *attempt;
        self.accuse(|| format!("machine {} {wrong}: {attempt:?}", attempt.machine));
    }

    /// Before a machine is ended at the cloud.
    pub(crate) fn check_end(&mut self, state: &MachineState, cloud: &Cloud, now: u64) {
        let builds = self.attempts.iter().any(|attempt| attempt.machine == state.id);
        let answers = cloud.instances.get(&state.id).is_some_and(|instance| instance.answers(now));
        if builds && answers && !state.interrupted && state.seen != Seen::Unreachable {
            self.accuse(|| format!("machine {} builds and is ended", state.id));
        }
    }

    /// When all is said to be done.
    pub(crate) fn check_rest(&mut self, cloud: &Cloud) {
        for number in 0..self.runs.len() {
            if let Err(words) = self.runs[number].judge() {
                self.accuse(|| words);
            }
        }
        for instance in cloud.instances.values().filter(|instance| instance.is_there()) {
            let id = instance.machine;
            if self.rows.get(&id).is_none_or(|row| row.gone.is_some() || row.state.wanted == Wanted::Gone) {
                self.accuse(|| format!("machine {id} is left over"));
            }
        }
        if !self.attempts.is_empty() {
            self.accuse(|| "something runs on".to_owned());
        }
    }

    /// Whether everything has come to rest: no work, and no machine but those that are kept.
    pub(crate) fn is_at_rest(&self, cloud: &Cloud) -> bool {
        let kept = |at: usize| {
            let name = &self.pools[at].name;
            let there = cloud.instances.values().filter(|i| i.is_there() && i.pool == *name).count();
            there <= (self.pools[at].min + self.pools[at].warm) as usize
        };
        let is_settled = |row: &super::hub::Row| {
            row.gone.is_some()
                || matches!(
                    (row.state.wanted, row.state.seen),
                    (Wanted::Up, Seen::Ready) | (Wanted::Dormant, Seen::Dormant)
                )
        };
        let is_ours = |instance: &super::cloud::Instance| {
            let row = self.rows.get(&instance.machine);
            row.is_some_and(|row| row.gone.is_none() && row.state.wanted != Wanted::Gone)
        };
        self.runs.iter().all(super::runs::Run::is_over)
            && cloud.instances.values().filter(|instance| instance.is_there()).all(is_ours)
            && (0..self.pools.len()).all(kept)
            && self.rows.values().all(is_settled)
    }
}

/// What an action does, in a word.
pub(crate) fn kind(action: &FleetAction) -> &'static str {
    match action {
        FleetAction::Launch { reason: LaunchReason::Minimum, .. } => "launch: minimum",
        FleetAction::Launch { reason: LaunchReason::Demand { .. }, .. } => "launch: demand",
        FleetAction::Launch { reason: LaunchReason::Replacement { .. }, .. } => "launch: replacement",
        FleetAction::Wake { .. } => "wake",
        FleetAction::Sleep { .. } => "sleep",
        FleetAction::Quarantine { .. } => "quarantine",
        FleetAction::Release { .. } => "release",
        FleetAction::End { reason, .. } => match reason {
            EndReason::Idle => "end: idle",
            EndReason::Age => "end: age",
            EndReason::Builds => "end: builds",
            EndReason::NeverJoined(_) => "end: never joined",
            EndReason::Unhealthy(_) => "end: unhealthy",
            EndReason::Lost(_) => "end: lost",
            EndReason::Interrupted => "end: interrupted",
            EndReason::RunOver
            | EndReason::LaunchFailed(_)
            | EndReason::Refused(_)
            | EndReason::EndedByProvider(_)
            | EndReason::Operator
            | EndReason::Orphan
            | EndReason::PoolRemoved => "end: otherwise",
        },
    }
}
