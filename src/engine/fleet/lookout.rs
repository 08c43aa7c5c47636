//! When providers are asked what they have, and what is made of their answers. No provider holds up another.

use std::{
    collections::{BTreeMap, HashSet},
    future::Future,
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sweep::{Finding, Looks, View, compare};
use crate::{
    clock::Timestamp,
    config::PoolName,
    db::MachineRecord,
    fleet::{Class, Instance, ProviderError},
    ids::{MachineId, OwnerId},
};

/// The longest that a provider is waited for when it is asked what there is.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Looks that a single sweep takes: one to see, one to be sure, one to see that it is over.
const ENOUGH: u32 = 3;

/// An answer of a provider, or an error when it takes too long or nobody wants to know any more.
pub(super) async fn in_time<T>(
    doing: &str,
    within: Duration,
    answer: impl Future<Output = Result<T, ProviderError>>,
    stop: &CancellationToken,
) -> Result<T, ProviderError> {
    let none = |why: String| Err(ProviderError::new(Class::Retry, doing, why));
    tokio::select! {
        answer = tokio::time::timeout(within, answer) => answer.unwrap_or_else(|_| {
            none(format!("the provider has not answered within {within:?}"))
        }),
        () = stop.cancelled() => none("croft ends".to_owned()),
    }
}

/// What is remembered of one pool's provider.
#[derive(Debug, Default)]
struct Watch {
    looks: Looks,
    is_asked: bool,
    heard_at: Option<Instant>,
    /// Whole lists that it gave.
    lists: u32,
    /// The error that it gave last; none after a list.
    error: Option<ProviderError>,
}

/// All pools' providers as a keeper sees them.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    pools: BTreeMap<PoolName, Watch>,
    answers: Vec<(PoolName, Vec<Instance>)>,
}

impl Lookout {
    /// Whether a provider is to be asked now, which is noted. `every` is the time between two questions.
    pub(super) fn is_due(&mut self, pool: &PoolName, every: Duration) -> bool {
        let watch = self.pools.entry(pool.clone()).or_default();
        let is_due = !watch.is_asked && watch.heard_at.is_none_or(|at| at.elapsed() >= every);
        watch.is_asked |= is_due;
        is_due
    }

    /// All providers are asked again at once.
    pub(super) fn hurry(&mut self) {
        self.pools.values_mut().for_each(|watch| watch.heard_at = None);
    }

    /// A provider has answered. Nothing is concluded from an error.
    pub(super) fn answered(&mut self, pool: PoolName, answer: Result<Vec<Instance>, ProviderError>) {
        let watch = self.pools.entry(pool.clone()).or_default();
        watch.is_asked = false;
        watch.heard_at = Some(Instant::now());
        match answer {
            Ok(instances) => {
                watch.lists = watch.lists.saturating_add(1);
                watch.error = None;
                self.answers.push((pool, instances));
            }
            Err(error) => {
                let words = error.to_string();
                if watch.error.as_ref().map(ToString::to_string) != Some(words.clone()) {
                    tracing::warn!(%pool, %words, "the machines of the pool cannot be listed; nothing is concluded");
                }
                watch.error = Some(error);
            }
        }
    }

    /// Whether there are answers that nothing was concluded from yet.
    pub(super) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// What the answers mean, each for its own pool. `records` were read after they had come.
    pub(super) fn findings(
        &mut self,
        records: &[MachineRecord],
        owner: OwnerId,
        launching: &HashSet<MachineId>,
        now: Timestamp,
    ) -> Vec<(PoolName, Finding)> {
        let mut found = Vec::new();
        for (pool, instances) in std::mem::take(&mut self.answers) {
            let looks = &mut self.pools.entry(pool.clone()).or_default().looks;
            let view = View { pool: pool.as_str(), instances: &instances, records, owner, launching, now };
            found.extend(compare(&view, looks).into_iter().map(|finding| (pool.clone(), finding)));
        }
        found
    }

    /// Whether all providers have shown often enough that nothing of theirs is left over.
    pub(super) fn is_sure(&self) -> bool {
        self.pools.values().all(|watch| watch.lists >= ENOUGH && !watch.looks.suspects())
    }

    /// A pool that cannot be listed, and why.
    pub(super) fn trouble(&self) -> Option<(&PoolName, &ProviderError)> {
        self.pools.iter().find_map(|(name, watch)| Some((name, watch.error.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(class: Class) -> Result<Vec<Instance>, ProviderError> {
        Err(ProviderError::new(class, "listing", "no"))
    }

    #[test]
    fn a_provider_is_asked_one_question_at_a_time_and_none_waits_for_another() {
        let (slow, quick): (PoolName, PoolName) = ("slow".parse().unwrap(), "quick".parse().unwrap());
        let mut lookout = Lookout::default();
        let (soon, never) = (Duration::ZERO, Duration::from_secs(86_400));
        assert!(lookout.is_due(&slow, soon) && lookout.is_due(&quick, soon));
        assert!(!lookout.is_due(&slow, soon));
        lookout.answered(quick.clone(), Ok(Vec::new()));
        assert!(!lookout.is_due(&quick, never));
        assert!(lookout.is_due(&quick, soon) && !lookout.is_due(&slow, soon));
        lookout.answered(quick.clone(), Ok(Vec::new()));
        lookout.hurry();
        assert!(lookout.is_due(&quick, never) && !lookout.is_due(&slow, never));
    }

    #[test]
    fn only_whole_lists_make_sure() {
        let pool: PoolName = "cloud".parse().unwrap();
        let mut lookout = Lookout::default();
        for _ in 0..5 {
            lookout.answered(pool.clone(), failed(Class::Retry));
        }
        assert!(!lookout.is_sure() && !lookout.has_answers());
        assert_eq!(lookout.trouble().map(|(name, _)| name), Some(&pool));
        for _ in 0..ENOUGH {
            assert!(!lookout.is_sure());
            lookout.answered(pool.clone(), Ok(Vec::new()));
        }
        assert!(lookout.is_sure() && lookout.trouble().is_none());
    }

    #[tokio::test]
    async fn a_provider_that_never_answers_is_given_up() {
        let stop = CancellationToken::new();
        let never = std::future::pending::<Result<(), ProviderError>>;
        let answer = in_time("listing", Duration::from_millis(1), never(), &stop).await;
        assert!(answer.unwrap_err().to_string().contains("within 1ms"));
        stop.cancel();
        let answer = in_time("listing", PATIENCE, never(), &stop).await;
        assert_eq!(answer.unwrap_err().class, Class::Retry);
    }
}
