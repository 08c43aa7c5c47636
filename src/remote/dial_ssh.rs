//! Reaching the daemon of another machine.

use std::sync::Arc;

use super::{
    connection::{Behind, Connection},
    dial::{DialError, HANDSHAKE},
    ssh::{Channel, SshError, SshTarget, Transport, says_wrong_host_key},
};
use crate::nix::{
    StoreDir,
    daemon::{BoxedClient, ClientError, ClientSettings},
};

/// A binary cache from which a builder may fetch its inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderCache {
    /// Where it is, as the builder sees it.
    pub url: String,
    /// The key that signs what it has: `NAME:BASE64`.
    pub public_key: String,
}

/// The store of another machine.
#[derive(Debug)]
pub(super) struct SshStore {
    target: SshTarget,
    transport: Arc<Transport>,
    settings: Option<ClientSettings>,
}

impl SshStore {
    pub(super) fn new(target: SshTarget, cache: Option<&BuilderCache>) -> Self {
        let settings = cache.map(|cache| {
            let mut settings = ClientSettings::default();
            let mut set =
                |key: &str, value: &str| settings.overrides.insert(key.to_owned(), value.to_owned());
            set("substituters", &cache.url);
            set("trusted-public-keys", &cache.public_key);
            settings
        });
        Self { transport: Arc::new(Transport::new(target.clone())), target, settings }
    }

    /// The way to the machine, for other channels.
    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// Whether it may fetch its inputs from a cache.
    pub(super) fn has_cache(&self) -> bool {
        self.settings.is_some()
    }

    /// Opens a channel and greets the daemon.
    pub(super) async fn dial(&self) -> Result<Connection, DialError> {
        let Channel { reader, writer, said, hold } = self.transport.open(&self.target.daemon).await?;
        let greeting = BoxedClient::connect(Box::new(reader), Box::new(writer), StoreDir::default());
        let mut client = match tokio::time::timeout(HANDSHAKE, greeting).await {
            Ok(Ok(client)) => client,
            Ok(Err(source)) => {
                // Its last words may still be on their way.
                tokio::task::yield_now().await;
                if says_wrong_host_key(&said) {
                    return Err(self.wrong_host_key().into());
                }
                return Err(self.failed(source, said.last_line()));
            }
            Err(_) => return Err(DialError::Silent { through: self.target.shown() }),
        };
        if let Some(settings) = &self.settings {
            client.set_options(settings).await.map_err(|source| self.failed(source, None))?;
        }
        Ok(Connection::new(client, Behind::Ssh(hold)))
    }

    fn failed(&self, source: ClientError, said: Option<String>) -> DialError {
        DialError::Remote {
            target: self.target.shown(),
            command: self.target.daemon.clone(),
            source: Box::new(source),
            said,
        }
    }

    /// `ssh` does not tell which key it found.
    fn wrong_host_key(&self) -> SshError {
        SshError::HostKey {
            target: self.target.shown(),
            known: self.target.host_key.fingerprint(),
            found: "another one".to_owned(),
        }
    }
}
