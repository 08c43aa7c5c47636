//! What a builder's store is known to hold.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Weak,
};

use super::connection::Life;
use crate::nix::StorePath;

/// The most paths that are remembered of one builder.
const REMEMBERED: usize = 64 << 10;

/// Why a path is known to be there.
#[derive(Debug, Clone)]
struct Held {
    /// The connection that protects it from the garbage collector, if that still lives.
    by: Weak<Life>,
    origin: Origin,
}

/// How a path came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was sent, or was there.
    Seen,
    /// It was built there for us.
    Built,
}

/// Paths that were sent to a builder, built on it or seen there. Those not asked for in a long time are forgotten.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    recent: HashMap<StorePath, Held>,
    older: HashMap<StorePath, Held>,
}

impl Holdings {
    /// Notes that `paths` are valid there, and protected for as long as a connection lives.
    pub(super) fn note<'p>(
        &mut self,
        paths: impl IntoIterator<Item = &'p StorePath>,
        origin: Origin,
        by: &Weak<Life>,
    ) {
        for path in paths {
            if self.recent.len() >= REMEMBERED / 2 {
                self.older = std::mem::take(&mut self.recent);
            }
            let before = self.get(path).map(|held| held.origin);
            let origin = if before == Some(Origin::Built) { Origin::Built } else { origin };
            self.recent.insert(path.clone(), Held { by: by.clone(), origin });
        }
    }

    fn get(&self, path: &StorePath) -> Option<&Held> {
        self.recent.get(path).or_else(|| self.older.get(path))
    }

    /// Whether the path was there when it was last heard of.
    pub(super) fn knows(&self, path: &StorePath) -> bool {
        self.get(path).is_some()
    }

    /// Whether the path is there for certain: known, and safe from the garbage collector.
    pub(super) fn holds(&self, path: &StorePath) -> bool {
        self.get(path).is_some_and(|held| held.by.strong_count() > 0)
    }

    /// Whether the path was built there for us.
    pub(super) fn has_built(&self, path: &StorePath) -> bool {
        self.get(path).is_some_and(|held| held.origin == Origin::Built)
    }

    /// Those of `paths` that are not there for certain.
    pub(super) fn lacking(&self, paths: &BTreeSet<StorePath>) -> BTreeSet<StorePath> {
        paths.iter().filter(|path| !self.holds(path)).cloned().collect()
    }

    /// Forgets paths that were found missing.
    pub(super) fn forget<'p>(&mut self, paths: impl IntoIterator<Item = &'p StorePath>) {
        for path in paths {
            self.recent.remove(path);
            self.older.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn path(number: u32) -> StorePath {
        let mut digest = [0; 20];
        digest[..4].copy_from_slice(&number.to_le_bytes());
        StorePath::from_parts(digest, "p").unwrap()
    }

    #[test]
    fn a_path_is_certain_only_while_its_connection_lives() {
        let life = Arc::new(Life);
        let mut holdings = Holdings::default();
        holdings.note([&path(1)], Origin::Built, &Arc::downgrade(&life));
        holdings.note([&path(1)], Origin::Seen, &Arc::downgrade(&life));
        assert!(holdings.holds(&path(1)) && holdings.has_built(&path(1)));
        drop(life);
        assert!(!holdings.holds(&path(1)) && holdings.knows(&path(1)));
        holdings.forget([&path(1)]);
        assert!(!holdings.knows(&path(1)));
    }

    #[test]
    fn memory_is_bounded_and_what_is_recent_stays() {
        let life = Arc::new(Life);
        let mut holdings = Holdings::default();
        for number in 0..200_000 {
            holdings.note([&path(number)], Origin::Seen, &Arc::downgrade(&life));
            assert!(holdings.recent.len() + holdings.older.len() <= REMEMBERED);
        }
        assert!(holdings.knows(&path(199_999)) && holdings.knows(&path(180_000)));
        assert!(!holdings.knows(&path(0)));
    }
}
