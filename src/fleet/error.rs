//! What a provider's error means for the farm. Each adapter has one table from its own codes to these classes.

use std::{error::Error, fmt};

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nothing is known of what happened (a time-out, a throttled or broken call): ask or try again later.
    Retry,
    /// This shape is not to be had now: try the next type, zone or market.
    Capacity,
    /// An account limit: waiting helps only if something ends; a person may raise it.
    Quota,
    /// The provider does not accept who asks: no call will go through until a person acts.
    Credentials,
    /// There is no such instance.
    Gone,
    /// The order itself is wrong (an image, a subnet): no repetition helps; a person must change the pool.
    Invalid,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "no clear answer",
            Self::Capacity => "no capacity",
            Self::Quota => "over a limit of the account",
            Self::Credentials => "credentials refused",
            Self::Gone => "no such instance",
            Self::Invalid => "the order is refused",
        })
    }
}

/// A call to a provider that did not go through.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {class}: {message}")]
pub struct ProviderError {
    /// What to do about it.
    pub class: Class,
    /// What was being done, such as `launching spot-3fa2c1 as c7i.large in eu-central-1a`.
    pub doing: String,
    /// The provider's own words, made harmless and short, with the next step where there is one.
    pub message: String,
    /// What lies under it.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl ProviderError {
    /// An error of `class` while `doing` something.
    pub fn new(class: Class, doing: impl Into<String>, message: impl Into<String>) -> Self {
        Self { class, doing: doing.into(), message: message.into(), source: None }
    }

    /// The error, with what lies under it.
    #[must_use]
    pub fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }
}
