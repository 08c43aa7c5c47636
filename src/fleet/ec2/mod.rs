//! Machines on Amazon EC2, or on anything that speaks its wire format. The types of the SDK stay in this folder.
//!
//! The SDK is large, so it is a feature of the build: without it, a pool with this provider is refused in words.

#[cfg(feature = "ec2")]
mod access;
#[cfg(feature = "ec2")]
mod codes;
#[cfg(feature = "ec2")]
mod launch;
#[cfg(feature = "ec2")]
mod provider;
#[cfg(feature = "ec2")]
mod seen;

use std::sync::Arc;

#[cfg(feature = "ec2")]
pub use access::{Caller, Patience};
#[cfg(feature = "ec2")]
pub use provider::Ec2;

use super::{MachineProvider, ProviderError};
use crate::{config::PoolSettings, ids::FarmId};

/// The provider of a pool whose machines are EC2 instances, with the credentials of the AWS configuration.
///
/// # Errors
/// [`Class::Invalid`](super::Class::Invalid) if the pool's settings cannot work, or if this croft is built without EC2.
#[cfg(feature = "ec2")]
pub async fn open_ec2(farm: FarmId, pool: &PoolSettings) -> Result<Arc<dyn MachineProvider>, ProviderError> {
    Ok(Arc::new(Ec2::open(farm, pool, Caller::Configured, Patience::default()).await?))
}

/// Refuses the pool: this croft is built without EC2.
///
/// # Errors
/// Always [`Class::Invalid`](super::Class::Invalid), with the way to build croft.
#[cfg(not(feature = "ec2"))]
pub async fn open_ec2(_: FarmId, pool: &PoolSettings) -> Result<Arc<dyn MachineProvider>, ProviderError> {
    Err(ProviderError::new(
        super::Class::Invalid,
        format!("opening pool {}", pool.name),
        "its provider is ec2, and this croft is built without it; build croft with its default features, or with `--features ec2`",
    ))
}

#[cfg(all(test, not(feature = "ec2")))]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, config::Settings, fleet::Class};

    #[tokio::test]
    async fn a_croft_without_ec2_says_how_to_get_one_with_it() {
        let toml = "[[pool]]\nname = \"cloud\"\nprovider = \"ec2\"\nsystems = [\"x86_64-linux\"]\nmax = 2\n\
                    types = [\"c7i.large\"]\n[pool.ec2]\nami = \"ami-1\"\n";
        let settings: Settings = toml::from_str(toml).unwrap();
        let farm = FarmId::new(Timestamp::from_millis(1));
        let error = open_ec2(farm, &settings.pool[0]).await.unwrap_err();
        assert_eq!(error.class, Class::Invalid);
        assert!(error.to_string().contains("pool cloud"), "{error}");
        assert!(error.to_string().contains("--features ec2"), "{error}");
    }
}
