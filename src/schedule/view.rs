//! The builders as the scheduler sees them, and what runs on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::standing::{Closed, Standing};
use crate::{
    config::PoolName,
    ids::MachineId,
    matrix::Resources,
    plan::{Class, Offer},
};

/// A builder.
#[derive(Debug, Clone)]
pub struct BuilderView {
    /// The machine.
    pub id: MachineId,
    /// Its pool; none for a builder that is always there.
    pub pool: Option<PoolName>,
    /// What it offers.
    pub offer: Arc<Offer>,
    /// How many builds it runs at once.
    pub slots: u32,
    /// How fast it is beside the others; more is faster.
    pub speed: f64,
    /// Whether it takes work.
    pub standing: Standing,
    /// Free disk of its store in MiB when it was last asked; none if that is not known.
    pub free_disk: Option<u64>,
}

/// One build that runs on a builder. Never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u64);

#[derive(Debug)]
struct Builder {
    view: BuilderView,
    running: BTreeMap<SlotId, Resources>,
    /// What the running builds have asked for.
    used: Resources,
}

impl Builder {
    fn free_slots(&self) -> u32 {
        self.view.slots.saturating_sub(u32::try_from(self.running.len()).unwrap_or(u32::MAX))
    }

    /// What a further build may ask for.
    fn left(&self) -> Resources {
        let (has, used) = (&self.view.offer.capacity, &self.used);
        let disk = [has.disk, self.view.free_disk].into_iter().flatten().min();
        Resources {
            cores: has.cores.map(|cores| cores.saturating_sub(used.cores.unwrap_or(0))),
            memory: has.memory.map(|mib| mib.saturating_sub(used.memory.unwrap_or(0))),
            disk: disk.map(|mib| mib.saturating_sub(used.disk.unwrap_or(0))),
        }
    }

    fn has_room(&self, class: &Class) -> bool {
        self.free_slots() > 0 && self.left().covers(&class.resources)
    }

    fn count(&mut self) {
        let add = |sum: &Resources, one: &Resources| Resources {
            cores: Some(sum.cores.unwrap_or(0).saturating_add(one.cores.unwrap_or(0))),
            memory: Some(sum.memory.unwrap_or(0).saturating_add(one.memory.unwrap_or(0))),
            disk: Some(sum.disk.unwrap_or(0).saturating_add(one.disk.unwrap_or(0))),
        };
        self.used = self.running.values().fold(Resources::default(), |sum, one| add(&sum, one));
    }
}

/// Builders by what they offer.
type ByOffer = BTreeMap<Arc<Offer>, BTreeSet<MachineId>>;

/// All builders, and what runs on them.
#[derive(Debug, Default)]
pub struct FleetView {
    builders: BTreeMap<MachineId, Builder>,
    /// Those that take work.
    open: ByOffer,
    /// Those of them with a free slot.
    free: ByOffer,
    places: BTreeMap<SlotId, MachineId>,
    last_slot: u64,
    probation: Option<Probation>,
}

/// Most of what was tried lately failed for reasons of the machines: only those that have proved themselves take
/// work, and one other at a time is tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probation {
    /// Machines that have made something since it began.
    pub proved: BTreeSet<MachineId>,
}

impl FleetView {
    /// Adds a builder, or changes what is known of one; what runs on it is kept.
    pub fn put(&mut self, view: BuilderView) {
        let id = view.id;
        self.unlist(id);
        if let Some(builder) = self.builders.get_mut(&id) {
            builder.view = view;
        } else {
            let used = Resources::default();
            self.builders.insert(id, Builder { view, running: BTreeMap::new(), used });
        }
        self.list(id);
    }

    /// Opens or closes a builder. What runs there goes on.
    pub fn set_standing(&mut self, id: MachineId, standing: Standing) {
        let Some(builder) = self.builders.get_mut(&id) else { return };
        builder.view.standing = standing;
        self.unlist(id);
        self.list(id);
    }

    /// Forgets a builder and what ran on it.
    pub fn remove(&mut self, id: MachineId) {
        self.unlist(id);
        if let Some(builder) = self.builders.remove(&id) {
            for slot in builder.running.keys() {
                self.places.remove(slot);
            }
        }
    }

    /// Puts a build that asks for `asked` on a builder, without a question: the builder may be closed or full, as
    /// when a build is found that an earlier process has started. None if there is no such builder.
    pub fn occupy(&mut self, id: MachineId, asked: Resources) -> Option<SlotId> {
        let builder = self.builders.get_mut(&id)?;
        self.last_slot += 1;
        let slot = SlotId(self.last_slot);
        builder.running.insert(slot, asked);
        builder.count();
        self.places.insert(slot, id);
        self.relist(id);
        Some(slot)
    }

    /// Frees a slot. A slot that is free already, or whose builder is gone, is no error.
    pub fn vacate(&mut self, slot: SlotId) {
        let Some(id) = self.places.remove(&slot) else { return };
        if let Some(builder) = self.builders.get_mut(&id) {
            builder.running.remove(&slot);
            builder.count();
        }
        self.relist(id);
    }

    /// Begins or ends the time in which only proved machines take work.
    pub fn set_probation(&mut self, probation: Option<Probation>) {
        self.probation = probation;
    }

    /// Whether only proved machines take work now.
    pub fn is_on_probation(&self) -> bool {
        self.probation.is_some()
    }

    /// What is known of a builder.
    pub fn builder(&self, id: MachineId) -> Option<&BuilderView> {
        self.builders.get(&id).map(|builder| &builder.view)
    }

    /// All builders, in the order of their ids.
    pub fn builders(&self) -> impl Iterator<Item = &BuilderView> {
        self.builders.values().map(|builder| &builder.view)
    }

    /// How many builds run on a builder.
    pub fn running(&self, id: MachineId) -> u32 {
        let running = self.builders.get(&id).map_or(0, |builder| builder.running.len());
        u32::try_from(running).unwrap_or(u32::MAX)
    }

    /// The builder a slot belongs to; none once it is free.
    pub fn machine_of(&self, slot: SlotId) -> Option<MachineId> {
        self.places.get(&slot).copied()
    }

    /// How many builds of a class a builder could take now, whether or not it is open.
    pub fn room(&self, id: MachineId, class: &Class) -> u32 {
        let Some(builder) = self.builders.get(&id).filter(|builder| class.suits(&builder.view.offer)) else {
            return 0;
        };
        let times = |left: Option<u64>, asked: Option<u64>| match (left, asked) {
            (Some(left), Some(asked)) if asked > 0 => left / asked,
            _ => u64::MAX,
        };
        let (left, asked) = (builder.left(), &class.resources);
        let most = times(left.cores.map(u64::from), asked.cores.map(u64::from))
            .min(times(left.memory, asked.memory))
            .min(times(left.disk, asked.disk));
        builder.free_slots().min(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// The builder that work of `class` goes to now: one that fits, is open and has room; among those the one with
    /// the most of the inputs (`holds`), then the fastest, then the fullest, so that idle machines can end.
    ///
    /// Machines in `avoid` come into question only if no other open builder fits at all.
    pub(super) fn choose(
        &self,
        class: &Class,
        avoid: &[MachineId],
        holds: impl Fn(MachineId) -> u64,
    ) -> Option<MachineId> {
        let fitting = |by: &'_ ByOffer| -> Vec<MachineId> {
            by.iter().filter(|(offer, _)| class.fits(offer)).flat_map(|(_, ids)| ids).copied().collect()
        };
        let free = fitting(&self.free);
        if free.is_empty() {
            return None;
        }
        let is_elsewhere = |id: &MachineId| avoid.binary_search(id).is_err();
        let must_avoid = !avoid.is_empty() && fitting(&self.open).iter().any(is_elsewhere);
        let admits = self.admission();
        let rank = |id: MachineId| -> Option<(u64, f64, bool, u32)> {
            let builder = self.builders.get(&id)?;
            let may = (!must_avoid || is_elsewhere(&id)) && admits(id) && builder.has_room(class);
            may.then(|| (holds(id), builder.view.speed, !builder.running.is_empty(), builder.free_slots()))
        };
        let better = |a: &(u64, f64, bool, u32), b: &(u64, f64, bool, u32)| {
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)).then(b.3.cmp(&a.3))
        };
        let ranked = free.into_iter().filter_map(|id| Some((rank(id)?, id)));
        ranked.max_by(|(a, x), (b, y)| better(a, b).then(y.cmp(x))).map(|(_, id)| id)
    }

    /// Open builders that fit a class, busy or not.
    pub(super) fn open_for<'a>(&'a self, class: &'a Class) -> impl Iterator<Item = &'a BuilderView> {
        let fitting = self.open.iter().filter(|(offer, _)| class.fits(offer));
        fitting.flat_map(|(_, ids)| ids).filter_map(|id| self.builder(*id))
    }

    /// Builders that fit a class and take no work, and why.
    pub(super) fn closed_for<'a>(
        &'a self,
        class: &'a Class,
    ) -> impl Iterator<Item = (MachineId, &'a Closed)> {
        self.builders().filter(|builder| class.fits(&builder.offer)).filter_map(|builder| {
            match &builder.standing {
                Standing::Open => None,
                Standing::Closed(why) => Some((builder.id, why)),
            }
        })
    }

    /// Builders with a free slot that fit a class.
    pub(super) fn free_for<'a>(&'a self, class: &'a Class) -> impl Iterator<Item = MachineId> + 'a {
        let fitting = self.free.iter().filter(|(offer, _)| class.fits(offer));
        let admits = self.admission();
        fitting.flat_map(|(_, ids)| ids).copied().filter(move |id| admits(*id))
    }

    /// During probation an unproved machine takes work only while no other unproved machine has any.
    fn admission(&self) -> impl Fn(MachineId) -> bool + '_ {
        let proved = self.probation.as_ref().map(|probation| &probation.proved);
        let probe_is_out = proved.is_some_and(|proved| !self.places.values().all(|id| proved.contains(id)));
        move |id| proved.is_none_or(|proved| !probe_is_out || proved.contains(&id))
    }

    fn relist(&mut self, id: MachineId) {
        self.unlist(id);
        self.list(id);
    }

    fn list(&mut self, id: MachineId) {
        let Some(builder) = self.builders.get(&id).filter(|builder| builder.view.standing.is_open()) else {
            return;
        };
        let (offer, is_free) = (Arc::clone(&builder.view.offer), builder.free_slots() > 0);
        if is_free {
            self.free.entry(Arc::clone(&offer)).or_default().insert(id);
        }
        self.open.entry(offer).or_default().insert(id);
    }

    fn unlist(&mut self, id: MachineId) {
        let Some(offer) = self.builders.get(&id).map(|builder| Arc::clone(&builder.view.offer)) else {
            return;
        };
        for by in [&mut self.open, &mut self.free] {
            if let Some(ids) = by.get_mut(&offer) {
                ids.remove(&id);
                if ids.is_empty() {
                    by.remove(&offer);
                }
            }
        }
    }
}
