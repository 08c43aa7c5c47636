//! The way to EC2: who asks, where, and for how long.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, timeout::TimeoutConfig};
use aws_sdk_ec2::{
    Client,
    config::{Credentials, Region, retry::RetryConfig},
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

use crate::{
    config::Ec2Settings,
    fleet::{Class, ProviderError, Secret},
};

/// Who asks.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Whoever the AWS configuration says: environment, profile, container or instance role.
    Configured,
    /// The owner of an access key.
    Keys {
        /// Its public half.
        id: String,
        /// Its secret half.
        secret: Secret,
    },
}

/// How long EC2 is waited for. A call that takes longer ends without an answer, and is repeated by whoever wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For one try of a call.
    pub attempt: Duration,
    /// For a call with all its tries.
    pub call: Duration,
    /// Tries of one call, the first one included. Throttled ones are spaced out.
    pub attempts: u32,
    /// The longest pause before the second try; it doubles with each one.
    pub backoff: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(30),
            call: Duration::from_secs(75),
            attempts: 3,
            backoff: Duration::from_secs(1),
        }
    }
}

/// A client for the region and endpoint of a pool.
pub(super) async fn client(
    settings: &Ec2Settings,
    caller: Caller,
    patience: Patience,
) -> Result<Client, ProviderError> {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(patience.connect)
        .operation_attempt_timeout(patience.attempt)
        .operation_timeout(patience.call);
    let retries = RetryConfig::adaptive()
        .with_max_attempts(patience.attempts)
        .with_initial_backoff(patience.backoff)
        .with_max_backoff(patience.attempt);
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().tls_provider(tls).build_https())
        .timeout_config(timeouts.build())
        .retry_config(retries);
    let loader = at(loader, settings);
    let loader = match caller {
        Caller::Configured => loader,
        Caller::Keys { id, secret } => {
            loader.credentials_provider(Credentials::new(id, secret.reveal(), None, None, "croft"))
        }
    };
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(ProviderError::new(
            Class::Invalid,
            "connecting to EC2",
            "no region is known; set region in [pool.ec2], or AWS_REGION",
        ));
    }
    Ok(Client::new(&config))
}

fn at(loader: ConfigLoader, settings: &Ec2Settings) -> ConfigLoader {
    let loader = match &settings.region {
        Some(region) => loader.region(Region::new(region.clone())),
        None => loader,
    };
    match &settings.endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint),
        None => loader,
    }
}
