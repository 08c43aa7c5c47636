//! One turn of the hub's loops: what is seen, what has ended, what goes out, what is decided, what is done.

use croft::{
    ids::MachineId,
    lifecycle::{EndReason, Hold, Seen, Shape, Wanted},
    schedule::{
        Blame, FleetAction, LaunchReason, Sign, Unfit,
        cost::{Money, UpTime},
        health::{Fitness, HealthReport, Space, Thresholds, judge},
        may_end,
    },
};
use fastrand::Rng;

use super::{
    check::kind,
    cloud::{Answer, Cloud, Fate, Instance, State},
    hub::{Hub, Slip, at, new_row},
    runs::{Attempt, MOST_ATTEMPTS, Result, Verdict},
    scenario::{MINUTE, SECOND, Truth},
};

/// How long an instance may not be listed after its launch without being gone.
const GRACE: u64 = 2 * MINUTE;
/// The most builds that evaluation finds in one turn.
const FOUND: usize = 8;

impl Hub {
    pub(crate) fn turn(&mut self, cloud: &mut Cloud, now: u64, rng: &mut Rng) {
        if cloud.strikes(cloud.trouble.hub_dies, now, rng) {
            self.die(now);
        }
        self.look(cloud, now, rng);
        self.collect(cloud, now);
        self.arrive(now);
        self.show_builders(now);
        self.place(cloud, now);
        let actions = self.decide(now);
        self.check_actions(&actions, cloud, now);
        for action in actions {
            self.act(action, cloud, now, rng);
        }
        self.carry_out(cloud, now, rng);
    }

    /// Reads what the cloud shows, and asks the machines.
    fn look(&mut self, cloud: &mut Cloud, now: u64, rng: &mut Rng) {
        let Some(list) = cloud.list(now, rng) else { return };
        let ids: Vec<MachineId> = self
            .rows
            .iter()
            .filter(|(_, row)| row.gone.is_none() && row.state.pool.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            match list.iter().find(|instance| instance.machine == id) {
                Some(instance) => self.observe(instance, cloud, now),
                None => self.miss(id, cloud, now),
            }
        }
        for instance in &list {
            if self.rows.get(&instance.machine).is_none_or(|row| row.gone.is_some()) {
                let sightings = self.strangers.entry(instance.machine).or_default();
                *sightings += 1;
                self.done.insert("stranger");
                if *sightings >= 2 {
                    cloud.end(instance.machine, now, rng);
                }
            }
        }
    }

    fn observe(&mut self, instance: &Instance, cloud: &mut Cloud, now: u64) {
        let id = instance.machine;
        let Some(row) = self.rows.get_mut(&id) else { return };
        (row.is_known, row.missing) = (true, 0);
        row.state.interrupted = instance.is_interrupted(now);
        let is_wanted = row.state.wanted != Wanted::Gone;
        let seen = row.state.seen;
        match instance.state {
            State::Pending if seen == Seen::Requested || seen == Seen::Dormant => {
                self.see(id, Seen::Booting, now);
            }
            State::Running => {
                if seen == Seen::Requested || seen == Seen::Dormant {
                    self.see(id, Seen::Booting, now);
                }
                if instance.answers(now) {
                    let is_fit = self.probe(instance, now);
                    let seen = self.rows[&id].state.seen;
                    if is_fit && seen != Seen::Ready {
                        self.see(id, Seen::Ready, now);
                    }
                    if is_wanted && let Some(real) = cloud.instances.get_mut(&id) {
                        real.lease = now + cloud.lease;
                    }
                } else if seen == Seen::Ready {
                    self.see(id, Seen::Unreachable, now);
                    self.drop_attempts(id, true, now);
                }
            }
            State::Stopped if seen != Seen::Dormant && seen != Seen::Requested => {
                self.see(id, Seen::Dormant, now);
            }
            State::Pending | State::Stopping | State::Stopped | State::Ending | State::Gone => {
                if instance.state == State::Ending && seen == Seen::Ready {
                    self.see(id, Seen::Unreachable, now);
                    self.drop_attempts(id, false, now);
                }
            }
        }
    }

    /// Asks a machine how it is. A machine that has joined stays joined when it is unfit.
    fn probe(&mut self, instance: &Instance, now: u64) -> bool {
        let free = if instance.fate == Fate::FillsUp {
            6000_u64.saturating_sub(instance.builds * 1500)
        } else {
            9000
        };
        let report =
            HealthReport { store: Some(Space { free, free_inodes: None }), ..HealthReport::default() };
        let Some(row) = self.rows.get_mut(&instance.machine) else { return false };
        match judge(&report, &Thresholds::of(&self.fleet), &Fitness::Fit) {
            Fitness::Fit => row.state.unfit = None,
            unfit @ Fitness::Unfit(_) => {
                let since = row.state.unfit.as_ref().map_or(at(now), |unfit| unfit.since);
                row.state.unfit = Some(Unfit { why: unfit.to_string(), since });
            }
        }
        row.state.unfit.is_none() || row.state.joined.is_some()
    }

    /// A machine is not listed. That is no proof, and a young one may not be shown yet: it is asked for by itself.
    fn miss(&mut self, id: MachineId, cloud: &Cloud, now: u64) {
        let (spares, asks) = (self.slip != Slip::KillsTheYoung, self.slip != Slip::BelievesEveryList);
        let Some(row) = self.rows.get_mut(&id) else { return };
        row.missing += 1;
        let is_young = now < row.ordered + GRACE;
        if row.missing < 2 || (is_young && spares) || (asks && cloud.knows(id, now)) {
            return;
        }
        match (row.is_known, row.state.wanted) {
            // Ordered, never seen, and still wanted: the order is repeated.
            (false, Wanted::Up | Wanted::Dormant) if spares => {}
            (true | false, _) => {
                self.see(id, Seen::Gone, now);
                self.drop_attempts(id, false, now);
            }
        }
    }

    /// What ran on a machine is lost with it, and goes back to the queue.
    fn drop_attempts(&mut self, id: MachineId, is_charged: bool, now: u64) {
        let lost: Vec<Attempt> = self.attempts.extract_if(.., |attempt| attempt.machine == id).collect();
        for attempt in lost {
            self.view.vacate(attempt.slot);
            if self.slip == Slip::LosesWork {
                continue;
            }
            if is_charged {
                self.infra(attempt, now);
            } else {
                self.put_back(attempt);
            }
        }
    }

    fn put_back(&mut self, attempt: Attempt) {
        let run = &mut self.runs[attempt.run];
        if run.is_cancelled {
            run.finish(attempt.node, Verdict::Cancelled);
        } else {
            run.schedule.put_back(attempt.node);
        }
    }

    fn infra(&mut self, attempt: Attempt, now: u64) {
        let key = self.runs[attempt.run].key(attempt.node);
        let blame = self.faults.ended(attempt.machine, key, Sign::Infra, at(now));
        if blame != Blame::Nobody {
            self.done.insert("poison");
        }
        let run = &mut self.runs[attempt.run];
        let tried = run.infra.entry(attempt.node).or_default();
        tried.push(attempt.machine);
        let count = tried.len();
        if run.is_cancelled {
            run.finish(attempt.node, Verdict::Cancelled);
        } else if self.slip == Slip::TakesInfraForAVerdict {
            run.finish(attempt.node, Verdict::Failed);
        } else if count >= MOST_ATTEMPTS || blame != Blame::Nobody {
            run.finish(attempt.node, Verdict::Infra);
        } else {
            run.schedule.retry(attempt.node, attempt.machine);
        }
    }

    /// Takes in what has ended.
    fn collect(&mut self, cloud: &mut Cloud, now: u64) {
        let ended: Vec<Attempt> = self.attempts.extract_if(.., |attempt| attempt.ends <= now).collect();
        for attempt in ended {
            let is_there = match cloud.instances.get(&attempt.machine) {
                Some(instance) => instance.answers(now),
                None => self.broken.contains_key(&attempt.machine),
            };
            if !is_there {
                // The connection is dead; the next look finds out.
                self.attempts.push(attempt);
                continue;
            }
            self.view.vacate(attempt.slot);
            self.tell(|| {
                format!(
                    "{now}: {} of run {} on {}: {:?}",
                    attempt.node.number(),
                    attempt.run,
                    attempt.machine,
                    attempt.result
                )
            });
            if let Some(instance) = cloud.instances.get_mut(&attempt.machine) {
                instance.builds += 1;
            }
            match attempt.result {
                Result::Infra | Result::Verdict(Truth::Poison) => self.infra(attempt, now),
                Result::Verdict(truth @ (Truth::Passes | Truth::Fails)) => {
                    let run = &mut self.runs[attempt.run];
                    let key = run.key(attempt.node);
                    run.finish(
                        attempt.node,
                        if truth == Truth::Passes { Verdict::Made } else { Verdict::Failed },
                    );
                    self.faults.ended(attempt.machine, key, Sign::Verdict, at(now));
                    if let Some(row) = self.rows.get_mut(&attempt.machine) {
                        row.state.builds += 1;
                    }
                }
            }
        }
    }

    fn arrive(&mut self, now: u64) {
        for run in &mut self.runs {
            if run.plan.starts <= now && !run.is_cancelled {
                run.grow(FOUND);
                if run.plan.cancelled.is_some_and(|at| at <= now) {
                    run.cancel();
                }
            }
        }
    }

    fn place(&mut self, cloud: &Cloud, now: u64) {
        for number in 0..self.runs.len() {
            while let Some(placed) = self.runs[number].schedule.place(&mut self.view, |_, _| 0) {
                let plan = &self.runs[number].plan.builds[placed.node.number() as usize];
                let is_broken = match cloud.instances.get(&placed.machine) {
                    Some(instance) => {
                        instance.fate == Fate::Bad || (instance.fate == Fate::FillsUp && instance.builds >= 4)
                    }
                    None => {
                        self.broken.get(&placed.machine).copied().unwrap_or(true) && now < cloud.trouble.until
                    }
                };
                let (ends, result) = if is_broken {
                    (now + 10, Result::Infra)
                } else {
                    (now + plan.millis, Result::Verdict(plan.truth))
                };
                let attempt = Attempt {
                    run: number,
                    node: placed.node,
                    machine: placed.machine,
                    slot: placed.slot,
                    ends,
                    result,
                };
                self.check_placement(&attempt);
                self.tell(|| {
                    format!("{now}: {} of run {number} goes to {}", placed.node.number(), placed.machine)
                });
                self.attempts.push(attempt);
            }
        }
    }

    fn act(&mut self, action: FleetAction, cloud: &mut Cloud, now: u64, rng: &mut Rng) {
        self.tell(|| format!("{now}: {action:?}"));
        self.done.insert(kind(&action));
        match action {
            FleetAction::Launch { pool, shape, reason } => {
                let id = self.new_id();
                let price = self.pools.iter().find(|p| p.name == pool).and_then(|p| p.price).unwrap_or(0.0);
                let mut row = new_row(id, Some(pool), Some(shape), now, Money::from_setting(price));
                if let LaunchReason::Replacement { of } = reason {
                    row.state.replaces = Some(of);
                }
                self.rows.insert(id, row);
                self.order(id, cloud, now, rng);
            }
            FleetAction::Wake { machine } => {
                self.want(machine, Wanted::Up, now);
                if let Some(row) = self.rows.get_mut(&machine) {
                    row.up.push(UpTime { price: row.state.price, from: at(now), to: None });
                }
            }
            FleetAction::Sleep { machine } => self.want(machine, Wanted::Dormant, now),
            FleetAction::End { machine, reason } => {
                self.want(machine, Wanted::Gone, now);
                let row = &self.rows[&machine];
                if let (EndReason::NeverJoined(_) | EndReason::Refused(_), Some(pool), Some(shape)) =
                    (&reason, &row.state.pool, &row.state.shape)
                {
                    self.memory.boot_failed(pool, shape, at(now), rng);
                }
            }
            FleetAction::Quarantine { machine, until, why } => {
                self.hold(machine, Some(Hold::Quarantine { until: Some(until), why }));
            }
            FleetAction::Release { machine } => {
                self.hold(machine, None);
                self.faults.released(machine, self.fleet.quarantine_after);
            }
        }
    }

    /// Sends an order, or sends it again.
    fn order(&mut self, id: MachineId, cloud: &mut Cloud, now: u64, rng: &mut Rng) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let (Some(pool), Some(shape)): (Option<_>, Option<Shape>) =
            (row.state.pool.clone(), row.state.shape.clone())
        else {
            return;
        };
        row.ordered = now;
        self.memory.ordered(at(now));
        let ordered = if self.slip == Slip::TwoIds { self.new_id() } else { id };
        match cloud.launch(ordered, (&pool, &shape), now, rng) {
            Answer::Launched => {
                self.memory.accepted(&pool);
                if let Some(row) = self.rows.get_mut(&id) {
                    row.is_known = true;
                }
            }
            Answer::Unclear => {}
            Answer::Refused(fault) => {
                self.tell(|| format!("{now}: {id} is refused: {fault:?}"));
                self.memory.refused(&pool, &shape, fault, at(now), rng);
                self.want(id, Wanted::Gone, now);
                self.see(id, Seen::Gone, now);
            }
        }
    }

    /// Brings the cloud nearer to what is wanted; every step is repeated until it is seen done.
    fn carry_out(&mut self, cloud: &mut Cloud, now: u64, rng: &mut Rng) {
        let ids: Vec<MachineId> = self
            .rows
            .iter()
            .filter(|(_, row)| row.gone.is_none() && row.state.pool.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(row) = self.rows.get_mut(&id) else { continue };
            row.state.running = self.view.running(id);
            let state = row.state.clone();
            let may = may_end(&state) || (self.slip == Slip::EndsWhatBuilds && state.wanted != Wanted::Up);
            match (state.wanted, state.seen) {
                (Wanted::Up, Seen::Requested) if !row.is_known && row.ordered + 20 * SECOND <= now => {
                    self.order(id, cloud, now, rng);
                }
                (Wanted::Up, Seen::Dormant) => cloud.start(id, now),
                (Wanted::Dormant, _) if may => cloud.stop(id, now),
                (Wanted::Gone, _) if may => {
                    self.check_end(&state, cloud, now);
                    cloud.end(id, now, rng);
                }
                (Wanted::Up | Wanted::Dormant | Wanted::Gone, _) => {}
            }
        }
    }
}
