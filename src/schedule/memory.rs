//! What launches have come to lately: shapes that are not to be had, machines that did not join, pools on pause.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    time::Duration,
};

use crate::{clock::Timestamp, config::PoolName, lifecycle::Shape};

/// How long a shape without capacity is left alone.
const NO_CAPACITY: Duration = Duration::from_secs(180);
/// Boots that fail in a row before a shape is left alone.
const BOOT_FAILURES: u32 = 3;
/// The first and the longest pause of a shape that does not boot.
const BOOT_PAUSE: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3600));
/// The first and the longest pause of a pool whose orders are refused.
const POOL_PAUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1800));
const MINUTE: Duration = Duration::from_secs(60);

/// Why an order did not go through, for those errors that say what to do. After an unclear answer the same order is
/// sent again, and nothing is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaunchFault {
    /// This shape is not to be had now.
    Capacity,
    /// An account limit, in the provider's words.
    Quota(String),
    /// The provider does not accept who asks.
    Credentials(String),
    /// The order itself is wrong.
    Invalid(String),
}

/// Why a pool launches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PauseReason {
    /// An account limit is reached.
    Quota(String),
    /// The credentials are refused.
    Credentials(String),
    /// Its orders are refused.
    Invalid(String),
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota(why) => {
                write!(f, "a limit of the account is reached ({why}); ask the provider to raise it")
            }
            Self::Credentials(why) => {
                write!(f, "the provider refuses the credentials ({why}); renew them")
            }
            Self::Invalid(why) => {
                write!(f, "the provider refuses the order ({why}); correct the pool's settings")
            }
        }
    }
}

/// A pool that launches nothing for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it is tried again.
    pub until: Timestamp,
    /// Why.
    pub why: PauseReason,
    times: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Boots {
    failed_in_a_row: u32,
    pauses: u32,
    paused_until: Option<Timestamp>,
}

/// What launches have come to lately. It is lost with the process, which costs a few launches that fail again; only
/// the orders of the last minute are told again by a process that begins, from the record ([`Self::ordered`]).
#[derive(Debug, Clone, Default)]
pub struct LaunchMemory {
    no_capacity: BTreeMap<(PoolName, Shape), Timestamp>,
    boots: BTreeMap<(PoolName, Shape), Boots>,
    pauses: BTreeMap<PoolName, Pause>,
    launches: VecDeque<Timestamp>,
}

impl LaunchMemory {
    /// An order is about to be sent.
    pub fn ordered(&mut self, now: Timestamp) {
        self.launches.push_back(now);
        while self.launches.front().is_some_and(|at| now.since(*at) > MINUTE) {
            self.launches.pop_front();
        }
    }

    /// The provider has taken an order of the pool.
    pub fn accepted(&mut self, pool: &PoolName) {
        self.pauses.remove(pool);
    }

    /// An order did not go through. `jitter` spreads what many farms do at once.
    pub fn refused(
        &mut self,
        pool: &PoolName,
        shape: &Shape,
        fault: LaunchFault,
        now: Timestamp,
        jitter: &mut fastrand::Rng,
    ) {
        let why = match fault {
            LaunchFault::Capacity => {
                self.no_capacity.insert((pool.clone(), shape.clone()), now.plus(NO_CAPACITY));
                return;
            }
            LaunchFault::Quota(why) => PauseReason::Quota(why),
            LaunchFault::Credentials(why) => PauseReason::Credentials(why),
            LaunchFault::Invalid(why) => PauseReason::Invalid(why),
        };
        let times = self.pauses.get(pool).map_or(0, |pause| pause.times);
        let until = now.plus(growing(POOL_PAUSE, times, jitter));
        self.pauses.insert(pool.clone(), Pause { until, why, times: times.saturating_add(1) });
    }

    /// A machine has joined.
    pub fn joined(&mut self, pool: &PoolName, shape: &Shape) {
        let key = (pool.clone(), shape.clone());
        self.boots.remove(&key);
        self.no_capacity.remove(&key);
    }

    /// A machine was launched and did not join, or joined and was refused.
    pub fn boot_failed(
        &mut self,
        pool: &PoolName,
        shape: &Shape,
        now: Timestamp,
        jitter: &mut fastrand::Rng,
    ) {
        let boots = self.boots.entry((pool.clone(), shape.clone())).or_default();
        boots.failed_in_a_row = boots.failed_in_a_row.saturating_add(1);
        // After a pause one failure is enough for the next.
        if boots.failed_in_a_row >= BOOT_FAILURES || boots.pauses > 0 {
            boots.paused_until = Some(now.plus(growing(BOOT_PAUSE, boots.pauses, jitter)));
            boots.pauses = boots.pauses.saturating_add(1);
        }
    }

    /// The pause of a pool, if it has one.
    pub fn pause(&self, pool: &PoolName, now: Timestamp) -> Option<&Pause> {
        self.pauses.get(pool).filter(|pause| pause.until > now)
    }

    /// Whether a pool's next order is a trial after a pause, so that one at a time is enough.
    pub fn is_on_trial(&self, pool: &PoolName) -> bool {
        self.pauses.contains_key(pool)
    }

    /// Until when a shape is left alone, and why; none if it may be asked for.
    pub fn unavailable(&self, pool: &PoolName, shape: &Shape, now: Timestamp) -> Option<Unavailable> {
        let key = (pool.clone(), shape.clone());
        let boots =
            self.boots.get(&key).and_then(|boots| boots.paused_until.zip(Some(boots.failed_in_a_row)));
        if let Some((until, times)) = boots.filter(|(until, _)| *until > now) {
            return Some(Unavailable::DoesNotBoot { until, times });
        }
        let until = self.no_capacity.get(&key).copied().filter(|until| *until > now)?;
        Some(Unavailable::NoCapacity { until })
    }

    /// Whether a shape has stopped booting, so that one at a time is enough.
    pub(super) fn boots_badly(&self, pool: &PoolName, shape: &Shape) -> bool {
        self.boots.get(&(pool.clone(), shape.clone())).is_some_and(|boots| boots.pauses > 0)
    }

    /// Orders in the last minute.
    pub fn recent(&self, now: Timestamp) -> usize {
        self.launches.iter().filter(|at| now.since(**at) < MINUTE).count()
    }
}

/// Why a shape is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The provider has none.
    NoCapacity {
        /// When it is asked again.
        until: Timestamp,
    },
    /// Its machines did not join.
    DoesNotBoot {
        /// When it is tried again.
        until: Timestamp,
        /// How many times in a row.
        times: u32,
    },
}

impl Unavailable {
    /// When the shape is tried again.
    pub fn until(self) -> Timestamp {
        match self {
            Self::NoCapacity { until } | Self::DoesNotBoot { until, .. } => until,
        }
    }
}

/// Twice as long each time, up to a limit, and up to a quarter more or less of it by chance.
fn growing((first, longest): (Duration, Duration), times: u32, jitter: &mut fastrand::Rng) -> Duration {
    let plain = first.saturating_mul(1 << times.min(16)).min(longest);
    plain * (75 + jitter.u32(0..50)) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Market;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn shape() -> Shape {
        Shape { instance_type: None, zone: None, market: Market::Spot }
    }

    #[test]
    fn a_shape_without_capacity_is_left_alone_for_three_minutes() {
        let (mut memory, pool) = (LaunchMemory::default(), "p".parse().unwrap());
        let mut rng = fastrand::Rng::with_seed(1);
        memory.refused(&pool, &shape(), LaunchFault::Capacity, at(0), &mut rng);
        assert_eq!(
            memory.unavailable(&pool, &shape(), at(179)),
            Some(Unavailable::NoCapacity { until: at(180) })
        );
        assert_eq!(memory.unavailable(&pool, &shape(), at(180)), None);
        assert!(memory.pause(&pool, at(1)).is_none());
    }

    #[test]
    fn three_failed_boots_pause_a_shape_and_each_further_one_for_longer() {
        let (mut memory, pool) = (LaunchMemory::default(), "p".parse().unwrap());
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..2 {
            memory.boot_failed(&pool, &shape(), at(0), &mut rng);
        }
        assert_eq!(memory.unavailable(&pool, &shape(), at(0)), None);
        memory.boot_failed(&pool, &shape(), at(0), &mut rng);
        let first = memory.unavailable(&pool, &shape(), at(0)).unwrap().until();
        assert!((at(225)..at(375)).contains(&first));
        memory.boot_failed(&pool, &shape(), first, &mut rng);
        let second = memory.unavailable(&pool, &shape(), first).unwrap().until();
        assert!(second.since(first) >= Duration::from_secs(450));
        memory.joined(&pool, &shape());
        assert_eq!(memory.unavailable(&pool, &shape(), first), None);
    }

    #[test]
    fn refused_credentials_pause_the_pool_with_a_reason_until_an_order_goes_through() {
        let (mut memory, pool) = (LaunchMemory::default(), "p".parse().unwrap());
        let mut rng = fastrand::Rng::with_seed(1);
        memory.refused(&pool, &shape(), LaunchFault::Credentials("expired".into()), at(0), &mut rng);
        let pause = memory.pause(&pool, at(1)).unwrap().clone();
        assert_eq!(pause.why.to_string(), "the provider refuses the credentials (expired); renew them");
        assert!(memory.pause(&pool, pause.until).is_none() && memory.is_on_trial(&pool));
        memory.accepted(&pool);
        assert!(!memory.is_on_trial(&pool));
    }

    #[test]
    fn orders_are_counted_for_a_minute() {
        let mut memory = LaunchMemory::default();
        memory.ordered(at(0));
        memory.ordered(at(30));
        assert_eq!((memory.recent(at(59)), memory.recent(at(60)), memory.recent(at(90))), (2, 1, 0));
    }
}
