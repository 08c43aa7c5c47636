//! Compares what providers have with what is on record, both ways.
//!
//! Providers are asked first and the records read after, so that a machine in the middle of being launched is on
//! record when it is looked for. Nothing is concluded from a list that is not whole, from one look alone, or about
//! instances so young that somebody may still be writing them down.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    clock::Timestamp,
    db::MachineRecord,
    fleet::{Instance, InstanceState},
    ids::{MachineId, OwnerId},
    lifecycle::{EndReason, InstanceId, Reach, Seen, Wanted},
};

/// How long a provider may take to show what it has launched.
const VISIBLE: Duration = Duration::from_secs(120);
/// Instances younger than this are spared.
const YOUNG: Duration = Duration::from_secs(30);
/// How many looks a conclusion needs.
const LOOKS: u32 = 2;

/// What it takes to believe that a machine which is not listed is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The provider shows it as gone.
    Word,
    /// The provider shows it as gone, or does not know it.
    Silence,
}

/// What a comparison has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// A machine's launch went through.
    Launched(MachineId, InstanceId),
    /// A machine can be reached so.
    Reachable(MachineId, Reach),
    /// A machine is in another state than was thought.
    Seen(MachineId, Seen),
    /// A machine ends, and nobody here wanted that.
    Ended(MachineId, EndReason),
    /// A machine is not listed where it should be.
    Missing(MachineId, EndReason, Proof),
    /// A machine is taken back by its provider.
    Interrupted(MachineId),
    /// An instance that no record wants.
    Orphan(InstanceId),
}

/// What was missing or superfluous at earlier looks.
#[derive(Debug, Default)]
pub(super) struct Looks {
    missing: HashMap<MachineId, u32>,
    orphans: HashMap<InstanceId, u32>,
    listed: HashSet<MachineId>,
}

/// What is compared.
pub(super) struct View<'a> {
    /// The pool whose provider was asked.
    pub(super) pool: &'a str,
    /// The whole list that it gave, in which other pools' machines may be too.
    pub(super) instances: &'a [Instance],
    /// All records of machines that are not gone, whoever looks after them.
    pub(super) records: &'a [MachineRecord],
    /// The process that looks.
    pub(super) owner: OwnerId,
    /// Launches of this process that have not come back.
    pub(super) launching: &'a HashSet<MachineId>,
    pub(super) now: Timestamp,
}

/// Compares, and remembers what needs a second look. Of machines of other pools and other processes nothing is found:
/// those who keep them look themselves.
pub(super) fn compare(view: &View<'_>, looks: &mut Looks) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for record in view.records {
        let is_it = |instance: &&Instance| {
            Some(&instance.id) == record.instance.as_ref() || instance.machine == Some(record.id)
        };
        let instance = view.instances.iter().find(is_it);
        known.extend(instance.map(|instance| &instance.id));
        if record.pool.as_deref() != Some(view.pool) || record.owner != Some(view.owner) {
            continue;
        }
        match instance {
            Some(instance) => {
                looks.missing.remove(&record.id);
                looks.listed.insert(record.id);
                found.extend(about(record, instance));
            }
            None => found.extend(missing(view, record, looks)),
        }
    }
    let strangers = view.instances.iter().filter(|i| !known.contains(&i.id) && !is_over(i.state));
    for instance in strangers {
        let is_young = instance.launched.is_some_and(|at| view.now.since(at) < YOUNG);
        let looked = looks.orphans.entry(instance.id.clone()).or_default();
        *looked += 1;
        if *looked >= LOOKS && !is_young {
            found.push(Finding::Orphan(instance.id.clone()));
        }
    }
    let there: HashSet<&InstanceId> = view.instances.iter().map(|instance| &instance.id).collect();
    looks.orphans.retain(|id, _| there.contains(id) && !known.contains(id));
    looks.forget_but(view.records);
    found
}

impl Looks {
    /// Whether there are instances that are, or may turn out to be, nobody's.
    pub(super) fn suspects(&self) -> bool {
        !self.orphans.is_empty()
    }

    fn forget_but(&mut self, records: &[MachineRecord]) {
        let open: HashSet<MachineId> = records.iter().map(|record| record.id).collect();
        self.missing.retain(|id, _| open.contains(id));
        self.listed.retain(|id| open.contains(id));
    }
}

fn is_over(state: InstanceState) -> bool {
    match state {
        InstanceState::Gone | InstanceState::Terminating => true,
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped => false,
    }
}

/// What an instance says of its record.
fn about(record: &MachineRecord, instance: &Instance) -> Vec<Finding> {
    let id = record.id;
    let mut found = Vec::new();
    if record.seen == Seen::Requested {
        found.push(Finding::Launched(id, instance.id.clone()));
    }
    if instance.interrupted && !record.interrupted {
        found.push(Finding::Interrupted(id));
    }
    let why = || instance.why.clone().unwrap_or_else(|| "nobody said why".to_owned());
    match instance.state {
        InstanceState::Pending | InstanceState::Running => {
            if record.seen == Seen::Dormant {
                found.push(Finding::Seen(id, Seen::Booting));
            }
            if let Some(reach) = instance.address.clone().filter(|reach| Some(reach) != record.reach.as_ref())
            {
                found.push(Finding::Reachable(id, reach));
            }
        }
        InstanceState::Stopping => {}
        InstanceState::Stopped => {
            if record.seen != Seen::Dormant && record.seen != Seen::Requested {
                found.push(Finding::Seen(id, Seen::Dormant));
            }
        }
        InstanceState::Terminating => {
            if record.wanted != Wanted::Gone {
                found.push(Finding::Ended(id, EndReason::EndedByProvider(why())));
            }
        }
        InstanceState::Gone => {
            if record.wanted != Wanted::Gone {
                found.push(Finding::Ended(id, EndReason::EndedByProvider(why())));
            }
            found.push(Finding::Seen(id, Seen::Gone));
        }
    }
    found
}

/// What it means that a provider does not list a machine.
fn missing(view: &View<'_>, record: &MachineRecord, looks: &mut Looks) -> Option<Finding> {
    if view.launching.contains(&record.id) {
        return None;
    }
    let times = looks.missing.entry(record.id).or_default();
    *times += 1;
    // What was listed once is not merely slow to be shown.
    let since = record.launched.unwrap_or(record.requested);
    let may_be_slow = !looks.listed.contains(&record.id) && view.now.since(since) < VISIBLE;
    let was_ended = record.wanted == Wanted::Gone && record.instance.is_some();
    if !was_ended && (*times < LOOKS || may_be_slow) {
        return None;
    }
    let reason = match record.seen {
        Seen::Requested => EndReason::LaunchFailed("the provider does not know of it".to_owned()),
        Seen::Booting | Seen::Ready | Seen::Unreachable | Seen::Dormant | Seen::Gone => {
            EndReason::EndedByProvider("it is not there any more".to_owned())
        }
    };
    Some(Finding::Missing(record.id, reason, if may_be_slow { Proof::Word } else { Proof::Silence }))
}

#[cfg(test)]
mod tests;
