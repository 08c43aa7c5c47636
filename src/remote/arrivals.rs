//! Transfers under way, so that nothing is sent twice at once to one machine.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::nix::StorePath;

/// Paths on their way to one builder.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrivals(Arc<Mutex<HashMap<StorePath, watch::Receiver<()>>>>);

/// The right, and the duty, to bring some paths. Whoever waits for them goes on when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    arrivals: Arrivals,
    /// What is to be brought.
    pub(super) mine: BTreeSet<StorePath>,
    others: Vec<watch::Receiver<()>>,
    _done: watch::Sender<()>,
}

impl Arrivals {
    /// Claims those of `paths` that nobody is bringing.
    ///
    /// All at once, so that claims wait only for earlier ones and never in a circle.
    pub(super) fn claim(&self, paths: BTreeSet<StorePath>) -> Claim {
        let (done, waiting) = watch::channel(());
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut mine, mut others) = (BTreeSet::new(), Vec::<watch::Receiver<()>>::new());
        for path in paths {
            match under_way.get(&path) {
                Some(other) if others.iter().any(|known| known.same_channel(other)) => {}
                Some(other) => others.push(other.clone()),
                None => {
                    under_way.insert(path.clone(), waiting.clone());
                    mine.insert(path);
                }
            }
        }
        drop(under_way);
        Claim { arrivals: self.clone(), mine, others, _done: done }
    }
}

impl Claim {
    /// Waits until what others are bringing has arrived, or has not.
    pub(super) async fn others_done(&mut self) {
        for mut other in self.others.drain(..) {
            // It ends by its sender's end.
            while other.changed().await.is_ok() {}
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut under_way = self.arrivals.0.lock().unwrap_or_else(PoisonError::into_inner);
        for path in &self.mine {
            under_way.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(numbers: &[u8]) -> BTreeSet<StorePath> {
        numbers.iter().map(|number| StorePath::from_parts([*number; 20], "p").unwrap()).collect()
    }

    #[tokio::test]
    async fn a_path_is_claimed_once_and_waited_for_by_the_others() {
        let arrivals = Arrivals::default();
        let first = arrivals.claim(paths(&[1, 2]));
        let mut second = arrivals.claim(paths(&[2, 3]));
        assert_eq!((&first.mine, &second.mine), (&paths(&[1, 2]), &paths(&[3])));
        assert!(first.others.is_empty() && second.others.len() == 1);
        let mut waiting = std::pin::pin!(second.others_done());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        waiting.await;
        assert_eq!(arrivals.claim(paths(&[2, 3])).mine, paths(&[2]));
    }
}
