//! Looks after one machine: waits until it answers, lets it join, asks it how it is, and sees when it is lost.
//!
//! A tender observes and records. What follows from that - a quarantine, a replacement - is the keeper's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Fleet, yard::Newcomer};
use crate::{
    config::{FleetSettings, PoolName},
    db::{DbError, MachineChange, MachinePulse},
    ids::MachineId,
    lifecycle::{EndReason, Hold, Seen, Shape},
    plan::Offer,
    remote::{
        Builder, DialError, Disk, Health, HealthError, JoinPolicy, JoinRefusal, Joined, SshError, join,
    },
    schedule::health::{Defect, Fitness, HealthReport, Space, Thresholds, judge},
};

/// How long to wait before a machine that was not let in is asked again,
const AGAIN: Duration = Duration::from_secs(2);
/// and one that starts, and that nobody could speak to.
const AGAIN_STARTING: Duration = Duration::from_millis(250);
/// The same for a builder that is always there, which may be away for long.
const AGAIN_STATIC: Duration = Duration::from_secs(15);

/// A machine to look after.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub(super) id: MachineId,
    pub(super) name: Arc<str>,
    pub(super) builder: Builder,
    pub(super) offer: Arc<Offer>,
    pub(super) speed: f64,
    /// Its pool and how it was had; none for a builder that is always there.
    pub(super) pool: Option<(PoolName, Shape)>,
}

/// How a machine has joined.
enum Arrival {
    /// It was looked at, and has proved its sandbox.
    Probed(Joined),
    /// It builds in the store of this machine, as pretended machines do.
    Local,
}

/// What made a machine stop being watched.
enum Watched {
    Lost(String),
    Told,
}

/// Looks after a machine until it is told to stop.
pub(super) async fn tend(fleet: Arc<Fleet>, charge: Charge, stop: CancellationToken) -> Result<(), DbError> {
    let tender = Tender { fleet, charge, stop, cleaned: AtomicBool::new(false) };
    let done = tender.run().await;
    tender.fleet.yard.close(tender.charge.id);
    done?;
    tender.pulse(None).await
}

struct Tender {
    fleet: Arc<Fleet>,
    charge: Charge,
    stop: CancellationToken,
    /// Whether garbage was collected since the machine was last short of room.
    cleaned: AtomicBool,
}

impl Tender {
    async fn run(&self) -> Result<(), DbError> {
        loop {
            let Some(arrival) = self.join().await? else { return Ok(()) };
            self.welcome(arrival).await?;
            match self.watch().await? {
                Watched::Told => return Ok(()),
                Watched::Lost(why) => {
                    self.fleet.yard.close(self.charge.id);
                    self.change(MachineChange::Seen(Seen::Unreachable)).await?;
                    self.event("lost", why).await?;
                }
            }
        }
    }

    /// Tries until the machine has joined; none when told to stop, or when it is refused for good.
    async fn join(&self) -> Result<Option<Arrival>, DbError> {
        let Some(policy) = policy(&self.fleet.settings, &self.charge.offer) else { return Ok(None) };
        let mut last = String::new();
        loop {
            let clock = &*self.fleet.clock;
            let joining = join(&self.charge.builder, &policy, clock, &self.stop);
            let refusal = tokio::select! {
                joined = joining => match joined {
                    Ok(joined) => return Ok(Some(Arrival::Probed(joined))),
                    Err(JoinRefusal::Local) => return Ok(Some(Arrival::Local)),
                    Err(refusal) => refusal,
                },
                () = self.stop.cancelled() => return Ok(None),
            };
            let words = refusal.to_string();
            if words != last {
                self.event("not yet", words.clone()).await?;
                last.clone_from(&words);
            }
            if is_wrong_host_key(&refusal) && self.charge.pool.is_none() {
                self.event("security", words.clone()).await?;
                let why = "it has another host key than it should".to_owned();
                let hold = Hold::Quarantine { why, until: None };
                self.change(MachineChange::Hold(Some(hold))).await?;
                return Ok(None);
            }
            if let Some((pool, shape)) = self.charge.pool.as_ref().filter(|_| !may_come_right(&refusal)) {
                self.fleet.boot_failed(pool, shape);
                self.change(MachineChange::End(EndReason::Refused(words))).await?;
                return Ok(None);
            }
            let pause = match (&self.charge.pool, &refusal) {
                (None, _) => AGAIN_STATIC,
                (Some(_), JoinRefusal::Unreachable(_)) => AGAIN_STARTING,
                (Some(_), _) => AGAIN,
            };
            if self.rest(pause).await {
                return Ok(None);
            }
        }
    }

    async fn welcome(&self, arrival: Arrival) -> Result<(), DbError> {
        let nix: String = match &arrival {
            Arrival::Probed(joined) => joined.nix.chars().take(60).collect(),
            Arrival::Local => "of this machine".to_owned(),
        };
        self.change(MachineChange::Joined { nix }).await?;
        let charge = &self.charge;
        if let Some((pool, shape)) = &charge.pool {
            self.fleet.memory().joined(pool, shape);
        }
        self.fleet.yard.open(Newcomer {
            id: charge.id,
            name: Arc::clone(&charge.name),
            builder: charge.builder.clone(),
            offer: Arc::clone(&charge.offer),
            slots: charge.builder.slots(),
            speed: charge.speed,
            pool: charge.pool.as_ref().map(|(pool, _)| pool.clone()),
        });
        match arrival {
            Arrival::Probed(joined) => self.heard(&joined.health).await,
            Arrival::Local => Ok(()),
        }
    }

    /// Asks the machine how it is until it does not answer.
    async fn watch(&self) -> Result<Watched, DbError> {
        let mut suspicions = self.fleet.yard.suspicions();
        loop {
            tokio::select! {
                told = self.rest(self.fleet.settings.health_interval.get()) => if told { return Ok(Watched::Told) },
                Ok(()) = suspicions.changed() => {}
            }
            let asked = tokio::select! {
                asked = self.ask() => asked,
                () = self.stop.cancelled() => return Ok(Watched::Told),
            };
            match asked {
                Some(Ok(health)) => self.heard(&health).await?,
                // The connection broke, or the loop over there ended: one more try on a new one, then it is lost.
                Some(Err(error)) => match self.ask().await {
                    Some(Ok(health)) => self.heard(&health).await?,
                    Some(Err(_)) => return Ok(Watched::Lost(error.to_string())),
                    None => return Ok(Watched::Told),
                },
                // This machine itself.
                None => self.pulse(None).await?,
            }
        }
    }

    async fn ask(&self) -> Option<Result<Health, HealthError>> {
        self.charge.builder.health(&*self.fleet.clock).await
    }

    /// Draws the conclusions from how the machine is.
    async fn heard(&self, health: &Health) -> Result<(), DbError> {
        let id = self.charge.id;
        if health.notice.is_some() && !self.fleet.yard.record(id).interrupted {
            self.fleet.yard.interrupt(id);
            self.change(MachineChange::Interrupted).await?;
        }
        let report = report(health);
        let before = self.fleet.yard.fitness(id);
        let fitness = judge(&report, &Thresholds::of(&self.fleet.settings), &before);
        if fitness != before {
            match &fitness {
                Fitness::Fit => self.event("fit", String::new()).await?,
                Fitness::Unfit(_) => self.event("unfit", fitness.to_string()).await?,
            }
        }
        let (lacks, cleaned) = (lacks_room(&fitness), self.cleaned.load(Ordering::Relaxed));
        self.cleaned.store(lacks, Ordering::Relaxed);
        self.fleet.yard.fit(id, fitness, report.store.map(|store| store.free));
        if lacks && !cleaned {
            self.make_room().await?;
        }
        self.pulse(shown(health)).await
    }

    /// Collects garbage on a machine that is short of room; what does not help leads to its end.
    async fn make_room(&self) -> Result<(), DbError> {
        let collected = tokio::select! {
            collected = self.charge.builder.collect_garbage() => collected,
            () = self.stop.cancelled() => return Ok(()),
        };
        match collected {
            Ok(()) => self.event("cleaned", "its store's garbage was collected".to_owned()).await,
            Err(error) => self.event("not cleaned", error.to_string()).await,
        }
    }

    /// Keeps how the machine is doing for those who look from outside.
    async fn pulse(&self, health: Option<String>) -> Result<(), DbError> {
        let record = self.fleet.yard.record(self.charge.id);
        let pulse = MachinePulse {
            running: self.fleet.yard.visits(self.charge.id),
            builds: record.builds,
            infra: self.fleet.yard.in_a_row(self.charge.id),
            idle_since: record.idle_since,
            health,
        };
        self.fleet.db.machine_pulse_many(vec![(self.charge.id, pulse)]).await
    }

    async fn change(&self, change: MachineChange) -> Result<bool, DbError> {
        self.fleet.db.machine_change(self.charge.id, change).await
    }

    async fn event(&self, kind: &'static str, words: String) -> Result<(), DbError> {
        self.fleet.db.machine_event_add(self.charge.id, kind, words).await
    }

    /// Waits. Says whether the tender was told to stop meanwhile.
    async fn rest(&self, span: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(span) => false,
            () = self.stop.cancelled() => true,
        }
    }
}

/// What a machine must come up to before it may join. What can change later is judged by its health.
fn policy(settings: &FleetSettings, offer: &Offer) -> Option<JoinPolicy> {
    Some(JoinPolicy {
        system: offer.systems.iter().next()?.clone(),
        oldest_nix: settings.min_nix.parse().ok()?,
        least_free: settings.min_free_tmp << 20,
        max_skew: settings.max_clock_skew.get(),
    })
}

/// Whether a machine that is not let in now may be let in later without being changed.
fn may_come_right(refusal: &JoinRefusal) -> bool {
    match refusal {
        // A stock image answers with a key of its own until it is set up; croft waits for the right one.
        JoinRefusal::Unreachable(_)
        | JoinRefusal::Health(_)
        | JoinRefusal::DiskLow { .. }
        | JoinRefusal::ClockOff { .. }
        | JoinRefusal::BuildFails(_) => true,
        JoinRefusal::Local | JoinRefusal::OldNix { .. } | JoinRefusal::SandboxOff => false,
    }
}

/// Whether a machine is short of room.
fn lacks_room(fitness: &Fitness) -> bool {
    match fitness {
        Fitness::Fit => false,
        Fitness::Unfit(defects) => {
            defects.iter().any(|defect| matches!(defect, Defect::Space { .. } | Defect::Inodes { .. }))
        }
    }
}

/// Whether a machine did not prove to have the key that it should have: it may be another machine.
fn is_wrong_host_key(refusal: &JoinRefusal) -> bool {
    matches!(refusal, JoinRefusal::Unreachable(DialError::Ssh(SshError::HostKey { .. })))
}

/// A machine's health as the policy judges it.
fn report(health: &Health) -> HealthReport {
    HealthReport {
        store: space(health.disks.store),
        build_dir: space(health.disks.build),
        tmp: space(health.disks.tmp),
        clock_skew: Some(Duration::from_millis(
            health.clock_ahead.unsigned_abs().saturating_sub(millis(health.round_trip / 2)),
        )),
        nix: None,
        sandbox: None,
    }
}

/// A file system; none where the machine could not tell.
fn space(disk: Disk) -> Option<Space> {
    let free_inodes = (disk.inodes > 0)
        .then(|| u8::try_from(u128::from(disk.free_inodes) * 100 / u128::from(disk.inodes)).unwrap_or(100));
    (disk.bytes > 0).then_some(Space { free: disk.free_bytes >> 20, free_inodes })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A machine's health for people and programs that look from outside.
fn shown(health: &Health) -> Option<String> {
    let disk = |disk: Disk| serde_json::json!({ "bytes": disk.bytes, "freeBytes": disk.free_bytes, "inodes": disk.inodes, "freeInodes": disk.free_inodes });
    let document = serde_json::json!({
        "load": health.load,
        "memory": health.memory,
        "memoryAvailable": health.memory_available,
        "clockAheadMs": health.clock_ahead,
        "roundTripMs": millis(health.round_trip),
        "store": disk(health.disks.store),
        "build": disk(health.disks.build),
        "tmp": disk(health.disks.tmp),
    });
    serde_json::to_string(&document).ok()
}
