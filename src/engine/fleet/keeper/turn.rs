//! Bringing single machines nearer to what is wanted of them.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Done, Keeper};
use crate::{
    db::{MachineChange, MachineRecord},
    engine::{
        error::EngineError,
        fleet::{
            Fleet, Pool,
            tend::{Charge, tend},
        },
    },
    fleet::{Class, ProviderError},
    ids::MachineId,
    lifecycle::{EndReason, Hold, InstanceId, Seen, Wanted},
    schedule::{FleetState, MachineState, may_end},
};

/// The first and the longest pause between two tries to end, stop or start a machine.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Keeper {
    /// Brings one machine nearer to what is wanted of it.
    pub(super) fn look_after(&mut self, record: &MachineRecord, machine: &MachineState, state: &FleetState) {
        let budget = self.fleet.budget_until(record, state);
        self.fleet.yard.stand(record.id, machine.standing(&self.fleet.settings, budget));
        match (record.wanted, record.seen) {
            (Wanted::Up, Seen::Booting | Seen::Ready | Seen::Unreachable) => self.tend(record),
            (Wanted::Up, Seen::Dormant) => self.turn(record, Turn::Start),
            (Wanted::Dormant, _) if may_end(machine) => self.turn(record, Turn::Stop),
            (Wanted::Gone, _) if may_end(machine) => self.turn(record, Turn::Terminate),
            // A person who ends a machine means now: what runs there is built elsewhere, and that is nobody's fault.
            (Wanted::Gone, seen) if seen != Seen::Gone && record.ending == Some(EndReason::Operator) => {
                self.fleet.yard.interrupt(record.id);
                self.turn(record, Turn::Terminate);
            }
            (Wanted::Up, Seen::Requested | Seen::Gone) | (Wanted::Dormant | Wanted::Gone, _) => {}
        }
    }

    /// Sees to it that somebody tends a machine.
    fn tend(&mut self, record: &MachineRecord) {
        // One that a person must release is not even spoken to.
        let is_barred = matches!(record.hold, Some(Hold::Quarantine { until: None, .. }));
        if is_barred || self.tended.contains_key(&record.id) {
            return;
        }
        let Some(charge) = self.fleet.charge(record) else { return };
        let stop = self.stop.child_token();
        self.tended.insert(record.id, stop.clone());
        self.spawn_tender(charge, stop);
    }

    fn spawn_tender(&mut self, charge: Charge, stop: CancellationToken) {
        let (fleet, id) = (Arc::clone(&self.fleet), charge.id);
        self.tasks
            .spawn(async move { Done::Tended(id, tend(fleet, charge, stop).await.map_err(Into::into)) });
    }

    /// Asks the provider to start, stop or end a machine, unless that is under way or was tried a moment ago.
    fn turn(&mut self, record: &MachineRecord, turn: Turn) {
        if let Some(tender) = self.tended.get(&record.id) {
            tender.cancel();
        }
        let is_resting = self.pauses.get(&record.id).is_some_and(|(until, _)| *until > Instant::now());
        let (Some(pool), Some(instance)) = (self.pool_of(record), record.instance.clone()) else { return };
        if is_resting || self.launching.contains(&record.id) || !self.acting.insert(record.id) {
            return;
        }
        let pause = self.pauses.get(&record.id).map_or(RETRY.0, |(_, pause)| (*pause * 2).min(RETRY.1));
        self.pauses.insert(record.id, (Instant::now() + pause, pause));
        let (fleet, id) = (Arc::clone(&self.fleet), record.id);
        self.tasks.spawn(async move { Done::Acted(id, perform(&fleet, &pool, id, &instance, turn).await) });
    }
}

/// What a provider is asked to do with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Start,
    Stop,
    Terminate,
}

async fn perform(
    fleet: &Fleet,
    pool: &Pool,
    machine: MachineId,
    instance: &InstanceId,
    turn: Turn,
) -> Result<(), EngineError> {
    let done = match (turn, pool.provider.dormancy()) {
        (Turn::Terminate, _) => pool.provider.terminate(instance).await,
        (Turn::Stop, Some(dormancy)) => dormancy.stop(instance).await,
        (Turn::Start, Some(dormancy)) => dormancy.start(instance).await,
        (Turn::Stop | Turn::Start, None) => {
            Err(ProviderError::new(Class::Invalid, "stopping", "the provider keeps no machines stopped"))
        }
    };
    match done {
        Ok(()) => Ok(()),
        Err(error) if error.class == Class::Gone => {
            let end = EndReason::EndedByProvider("it was gone already".to_owned());
            fleet.db.machine_change(machine, MachineChange::End(end)).await?;
            fleet.db.machine_change(machine, MachineChange::Seen(Seen::Gone)).await?;
            Ok(())
        }
        Err(error) => {
            fleet.db.machine_event_add(machine, "not yet", error.to_string()).await?;
            Ok(())
        }
    }
}
