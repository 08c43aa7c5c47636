//! One builder: inputs go there, a derivation is made, outputs come back.
//!
//! The three are separate, so that only the middle one needs a build slot.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    build::{Ask, BuildLog, Ended, Limits, Order, Realised, Words, carry_out},
    classify::{broken, dial_failed, infra},
    dial::StoreAccess,
    far::{Far, FarSettings},
    health::{Health, HealthError, Monitor},
    holdings::Origin,
    local_disk,
    pool::{Access, Pool},
    ssh::SshTarget,
    transfer::TransferError,
    work::{Outputs, Task},
};
use crate::{
    clock::Clock,
    lifecycle::{AttemptOutcome, InfraCause},
    nix::{Derivation, StorePath, daemon::Trust, derivation::DerivationKind},
};

/// A builder. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Builder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    slots: u32,
    trust: Mutex<Trust>,
}

#[derive(Debug)]
enum Place {
    /// The store of this machine, which is also the hub.
    Here(Pool),
    There(Box<Far>),
}

impl Builder {
    /// The daemon of the local store, and how many builds it runs at once.
    pub fn local(access: StoreAccess, slots: u32) -> Self {
        Self::at(Place::Here(Pool::new(access)), slots)
    }

    /// The daemon of another machine. `hub` is the store that inputs come from and outputs go to. Nothing is sent yet.
    pub fn over_ssh(target: SshTarget, hub: Pool, slots: u32, settings: FarSettings) -> Self {
        Self::at(Place::There(Box::new(Far::new(target, hub, settings))), slots)
    }

    fn at(place: Place, slots: u32) -> Self {
        Self(Arc::new(Inner { place, slots, trust: Mutex::new(Trust::Unknown) }))
    }

    /// How many builds it runs at once.
    pub fn slots(&self) -> u32 {
        self.0.slots
    }

    /// Whether it builds in the store of this machine.
    pub fn is_here(&self) -> bool {
        match &self.0.place {
            Place::Here(_) => true,
            Place::There(_) => false,
        }
    }

    /// Its connections, for asking about paths.
    pub fn pool(&self) -> &Pool {
        match &self.0.place {
            Place::Here(pool) => pool,
            Place::There(far) => &far.pool,
        }
    }

    /// Makes what `task` needs valid there. Nothing to do on this machine.
    ///
    /// A path that several tasks need is sent once. When the future is dropped or `cancel` fires, the transfer ends;
    /// what has arrived stays. An outcome says why the attempt cannot go on.
    pub async fn send(&self, task: &Task, cancel: &CancellationToken) -> Result<(), AttemptOutcome> {
        let Place::There(far) = &self.0.place else { return Ok(()) };
        let mut needs = task.needs();
        if self.words(task) == Words::Drv {
            needs.insert(task.drv.as_store_path().clone());
        }
        unless_cancelled(far, cancel, far.send(&needs)).await
    }

    /// Builds `task`, whose inputs have been sent. When the future is dropped or `cancel` fires, the build is ended.
    pub async fn build<L: BuildLog>(
        &self,
        task: &Task,
        limits: Limits,
        log: L,
        cancel: &CancellationToken,
    ) -> Realised<L> {
        let words = self.words(task);
        let ended = self.carry_out(Order::Build(task, words), limits, log, cancel).await;
        let realised = if ended.not_privileged && words == Words::Content {
            self.distrust();
            // Once in the life of a builder, so the slot may wait for it.
            match self.send(task, cancel).await {
                Ok(()) => {
                    let order = Order::Build(task, Words::Drv);
                    self.carry_out(order, limits, ended.realised.log, cancel).await.realised
                }
                Err(outcome) => Realised { outcome, ..ended.realised },
            }
        } else {
            ended.realised
        };
        self.complete(task, realised)
    }

    /// Carries out `ask` on the local store. When the future is dropped or `cancel` fires, the build is ended.
    pub async fn realise<L: BuildLog>(
        &self,
        ask: &Ask,
        limits: Limits,
        log: L,
        cancel: &CancellationToken,
    ) -> Realised<L> {
        self.carry_out(Order::Ask(ask), limits, log, cancel).await.realised
    }

    /// Makes the outputs of a build valid at the hub. Nothing to do on this machine.
    ///
    /// NARs pass through without being kept, and are checked on the way. When the future is dropped or `cancel` fires,
    /// the transfer ends.
    pub async fn fetch(
        &self,
        task: &Task,
        outputs: &Outputs,
        cancel: &CancellationToken,
    ) -> Result<(), AttemptOutcome> {
        let Place::There(far) = &self.0.place else { return Ok(()) };
        unless_cancelled(far, cancel, far.fetch(task, outputs)).await
    }

    /// Asks, after a connection was lost, whether the task was finished all the same: its outputs, if all of them are
    /// valid there. Always none for a derivation whose output paths are not known beforehand.
    pub async fn adopt(&self, task: &Task) -> Result<Option<Outputs>, AttemptOutcome> {
        let (Place::There(far), Some(outputs)) = (&self.0.place, task.outputs()) else { return Ok(None) };
        far.pool.hang_up_idle();
        match far.adopt(outputs).await {
            Ok(found) => Ok(found),
            Err(error) => Err(far.outcome(&error).await),
        }
    }

    /// Whether the path was there when it was last heard of. For placing work; asks nobody.
    pub fn holds(&self, path: &StorePath) -> bool {
        match &self.0.place {
            Place::Here(_) => true,
            Place::There(far) => far.holdings().knows(path),
        }
    }

    /// Asks the machine how it is, which also renews its lease. None for this machine.
    pub async fn health(&self, clock: &dyn Clock) -> Option<Result<Health, HealthError>> {
        match &self.0.place {
            Place::Here(_) => None,
            Place::There(far) => Some(far.health(clock).await),
        }
    }

    pub(super) fn monitor(&self) -> Option<&Monitor> {
        match &self.0.place {
            Place::Here(_) => None,
            Place::There(far) => Some(&far.monitor),
        }
    }

    /// Adds a `.drv` of croft's own, which the hub does not have, to the builder's store.
    pub(super) async fn add_drv(&self, drv: &Derivation) -> Result<(), AttemptOutcome> {
        let mut connection = self.pool().take().await.map_err(|error| dial_failed(&error))?;
        let name = format!("{}.drv", drv.name());
        let added = connection.client.add_text_to_store(&name, &drv.to_aterm(), &drv.references()).await;
        let info = added.map_err(|error| broken(&error))?;
        if let Place::There(far) = &self.0.place {
            far.holdings().note([&info.path], Origin::Seen, &connection.life());
        }
        self.pool().give_back(connection);
        Ok(())
    }

    async fn carry_out<L: BuildLog>(
        &self,
        order: Order<'_>,
        limits: Limits,
        log: L,
        cancel: &CancellationToken,
    ) -> Ended<L> {
        let disk_is_full = || match &self.0.place {
            Place::Here(pool) => match pool.access() {
                Access::Store(store) => std::future::ready(local_disk::is_full(store.settings())).boxed(),
                Access::Ssh(_) => std::future::ready(false).boxed(),
            },
            Place::There(far) => far.disk_is_full().boxed(),
        };
        let ended = carry_out(self.pool(), order, limits, log, &disk_is_full, cancel).await;
        hang_up_if_lost(self.pool(), &ended.realised.outcome);
        ended
    }

    /// Gives a success the outputs that Nix did not name, and remembers them.
    fn complete<L>(&self, task: &Task, mut realised: Realised<L>) -> Realised<L> {
        if realised.outcome != AttemptOutcome::Passed {
            return realised;
        }
        for (name, path) in task.known_outputs() {
            realised.outputs.insert(name, path);
        }
        let lacks = |(name, _)| !realised.outputs.contains_key(&name);
        if task.derivation.outputs().any(lacks) {
            let message = "the Nix daemon does not say which outputs it made".to_owned();
            realised.outcome = infra(InfraCause::Daemon, message);
        } else if let Place::There(far) = &self.0.place {
            // Nothing protects them until they are fetched, so they are only known, not certain.
            far.holdings().note(realised.outputs.values(), Origin::Built, &std::sync::Weak::new());
        }
        realised
    }

    /// By which words a task is told. Content is faster, as Nix then starts no build hook.
    fn words(&self, task: &Task) -> Words {
        let trust = *self.0.trust.lock().unwrap_or_else(PoisonError::into_inner);
        match (trust, task.derivation.kind()) {
            _ if !task.stands_alone() => Words::Drv,
            (Trust::NotTrusted, DerivationKind::InputAddressed) => Words::Drv,
            (Trust::NotTrusted | Trust::Unknown | Trust::Trusted, _) => Words::Content,
        }
    }

    /// Remembers that the daemon does not take derivations by their content.
    fn distrust(&self) {
        *self.0.trust.lock().unwrap_or_else(PoisonError::into_inner) = Trust::NotTrusted;
    }
}

async fn unless_cancelled(
    far: &Far,
    cancel: &CancellationToken,
    work: impl Future<Output = Result<(), TransferError>>,
) -> Result<(), AttemptOutcome> {
    let ended = tokio::select! {
        ended = work => ended,
        () = cancel.cancelled() => return Err(AttemptOutcome::Cancelled),
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) => {
            let outcome = far.outcome(&error).await;
            hang_up_if_lost(&far.pool, &outcome);
            Err(outcome)
        }
    }
}

/// What took one connection has often taken the others too, and the next attempt should not find that out again.
fn hang_up_if_lost(pool: &Pool, outcome: &AttemptOutcome) {
    if matches!(outcome, AttemptOutcome::Infra { cause: InfraCause::ConnectionLost, .. }) {
        pool.hang_up_idle();
    }
}
