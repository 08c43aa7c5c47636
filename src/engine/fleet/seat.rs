//! A place on a builder, for one job.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::yard::Yard;
use crate::{
    ids::MachineId,
    lifecycle::{AttemptOutcome, InfraCause},
    nix::DrvKey,
    remote::Builder,
    schedule::{Blame, SlotId},
};

/// A place on a builder. While it lives the machine is not ended; the room for the build is given back earlier, so
/// that the next one begins while outputs still travel.
#[derive(Debug)]
pub(in crate::engine) struct Seat {
    yard: Arc<Yard>,
    machine: MachineId,
    name: Arc<str>,
    builder: Builder,
    slots: Arc<Semaphore>,
    /// The room it takes, until the build has ended.
    room: Option<SlotId>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Seat {
    pub(super) fn new(
        yard: Arc<Yard>,
        machine: MachineId,
        name: Arc<str>,
        builder: Builder,
        slots: Arc<Semaphore>,
        room: SlotId,
    ) -> Self {
        Self { yard, machine, name, builder, slots, room: Some(room), slot: None }
    }

    /// The machine.
    pub(in crate::engine) fn machine(&self) -> MachineId {
        self.machine
    }

    /// Its name.
    pub(in crate::engine) fn name(&self) -> &str {
        &self.name
    }

    /// Its builder.
    pub(in crate::engine) fn builder(&self) -> &Builder {
        &self.builder
    }

    /// Waits for a build slot. Says whether there is one; there is none when the run is cancelled first.
    pub(in crate::engine) async fn slot(&mut self, cancel: &CancellationToken) -> bool {
        self.slot = tokio::select! {
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
            () = cancel.cancelled() => None,
        };
        self.slot.is_some()
    }

    /// Gives the room back: the build has ended.
    pub(in crate::engine) fn free(&mut self) {
        self.slot = None;
        if let Some(room) = self.room.take() {
            self.yard.vacate(self.machine, room);
        }
    }

    /// What an outcome means, with what is known of the machine: nothing that happens on one that is taken away is
    /// anybody's fault.
    pub(in crate::engine) fn in_the_light_of(&self, outcome: AttemptOutcome) -> AttemptOutcome {
        match outcome {
            AttemptOutcome::Infra { message, .. } if self.yard.is_interrupted(self.machine) => {
                AttemptOutcome::Infra { cause: InfraCause::Interrupted, message }
            }
            outcome => outcome,
        }
    }

    /// Tells how an attempt on this machine ended, and hears whether that is the derivation's own doing.
    pub(in crate::engine) fn tell(&self, key: DrvKey, outcome: &AttemptOutcome, took: Duration) -> Blame {
        self.yard.attempt_ended(self.machine, key, outcome, took)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.free();
        self.yard.leave(self.machine);
    }
}
