//! Money: what machines cost, have cost, and will cost.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, config::PoolSettings};

/// The window of a daily budget.
pub const DAY: Duration = Duration::from_secs(86_400);
/// The window of a monthly budget.
pub const MONTH: Duration = Duration::from_secs(30 * 86_400);
const HOUR_MILLIS: u128 = 3_600_000;

/// An amount of money in millionths of whatever currency the prices are in. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(u64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of millionths.
    pub const fn micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The amount in millionths.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// An amount as settings write it, to the nearest millionth. Negative amounts and what is no number are nothing.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast to an integer saturates, and this is the one place where a float becomes money"
    )]
    pub fn from_setting(units: f64) -> Self {
        Self((units * 1e6).round() as u64)
    }

    /// What `span` costs at this price per hour, rounded up.
    #[must_use]
    pub fn per_hour(self, span: Duration) -> Self {
        let micros = (u128::from(self.0) * span.as_millis()).div_ceil(HOUR_MILLIS);
        Self(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// This amount without `other`; nothing if that is more.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This amount so many times.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Money {
    /// With two digits, or as many as a smaller amount needs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if micros.is_multiple_of(10_000) {
            return f.pad(&format!("{units}.{:02}", micros / 10_000));
        }
        f.pad(format!("{units}.{micros:06}").trim_end_matches('0'))
    }
}

/// A time in which a machine was up and cost something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpTime {
    /// Its price for one hour.
    pub price: Money,
    /// Since when.
    pub from: Timestamp,
    /// Until when; none while it goes on.
    pub to: Option<Timestamp>,
}

impl UpTime {
    /// What it has cost since `start`.
    pub fn spent_since(&self, start: Timestamp, now: Timestamp) -> Money {
        let end = self.to.unwrap_or(now).min(now);
        self.price.per_hour(end.since(self.from.max(start)))
    }
}

/// What the machines of a pool have cost lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// In the last 24 h.
    pub day: Money,
    /// In the last 30 d.
    pub month: Money,
    /// When the first of it is older than 24 h, and so counts no longer for the day.
    pub day_eases: Option<Timestamp>,
    /// When the first of it is older than 30 d.
    pub month_eases: Option<Timestamp>,
}

/// Adds up what the machines of one pool have cost.
pub fn spent<'a>(lives: impl IntoIterator<Item = &'a UpTime>, now: Timestamp) -> Spent {
    let mut spent = Spent::default();
    for life in lives {
        for (span, sum, eases) in
            [(DAY, &mut spent.day, &mut spent.day_eases), (MONTH, &mut spent.month, &mut spent.month_eases)]
        {
            let start = before(now, span);
            let cost = life.spent_since(start, now);
            if cost > Money::ZERO {
                *sum += cost;
                let leaves = life.from.max(start).plus(span);
                *eases = Some(eases.map_or(leaves, |at| at.min(leaves)));
            }
        }
    }
    spent
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

/// The budget of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// For 24 h.
    pub day: Option<Money>,
    /// For 30 d.
    pub month: Option<Money>,
}

/// Which budget is in the way, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// How long the budget is for.
    pub window: Window,
    /// The budget.
    pub budget: Money,
    /// What has been spent in the window.
    pub spent: Money,
    /// When some of it is free again.
    pub eases: Option<Timestamp>,
}

/// What a budget is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// 24 h.
    Day,
    /// 30 d.
    Month,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = match self.window {
            Window::Day => "24 h",
            Window::Month => "30 d",
        };
        write!(f, "{} of the budget of {} for {window} is spent", self.spent, self.budget)
    }
}

impl Budget {
    /// The budget in a pool's settings.
    pub fn of(pool: &PoolSettings) -> Self {
        Self {
            day: pool.budget_day.map(Money::from_setting),
            month: pool.budget_month.map(Money::from_setting),
        }
    }

    /// Whether `more` may still be spent, and if not, which budget is in the way.
    pub fn allows(&self, spent: &Spent, more: Money) -> Result<(), OverBudget> {
        let windows = [
            (Window::Day, self.day, spent.day, spent.day_eases),
            (Window::Month, self.month, spent.month, spent.month_eases),
        ];
        for (window, budget, spent, eases) in windows {
            if let Some(budget) = budget
                && spent + more > budget
            {
                return Err(OverBudget { window, budget, spent, eases });
            }
        }
        Ok(())
    }
}

/// What work on a pool's machines will cost at least: every second of it has its share of a machine.
pub fn estimate(work: Duration, slots: u32, price: Money) -> Money {
    price.per_hour(work / slots.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn amounts_are_exact_and_readable() {
        assert_eq!(Money::from_setting(0.0425).to_string(), "0.0425");
        assert_eq!(Money::from_setting(3.0).to_string(), "3.00");
        assert_eq!(Money::from_setting(-1.0), Money::ZERO);
        assert_eq!(Money::from_setting(f64::NAN), Money::ZERO);
        assert_eq!(Money::from_setting(0.1).per_hour(Duration::from_secs(1800)).to_string(), "0.05");
        assert_eq!(Money::micros(1).per_hour(Duration::from_millis(1)), Money::micros(1), "rounded up");
    }

    #[test]
    fn only_what_lies_in_the_window_counts() {
        let price = Money::from_setting(1.0);
        let day = DAY.as_secs();
        let now = at(10 * day);
        let lives = [
            UpTime { price, from: at(0), to: Some(at(3600)) },
            UpTime { price, from: at(9 * day - 3600), to: Some(at(9 * day + 3600)) },
            UpTime { price, from: at(10 * day - 1800), to: None },
        ];
        let spent = spent(&lives, now);
        assert_eq!(spent.day, Money::from_setting(1.5));
        assert_eq!(spent.month, Money::from_setting(3.5));
        assert_eq!(spent.day_eases, Some(at(10 * day)));
        let budget = Budget { day: Some(Money::from_setting(2.0)), month: None };
        assert!(budget.allows(&spent, Money::from_setting(0.5)).is_ok());
        let over = budget.allows(&spent, Money::from_setting(0.51)).unwrap_err();
        assert_eq!(over.to_string(), "1.50 of the budget of 2.00 for 24 h is spent");
    }

    #[test]
    fn an_estimate_shares_a_machine_between_its_slots() {
        let hour = Duration::from_secs(3600);
        assert_eq!(estimate(hour, 4, Money::from_setting(1.0)), Money::from_setting(0.25));
    }
}
