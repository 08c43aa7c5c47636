//! The way by croft's own ssh: few connections, many channels.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex as PlainMutex, PoisonError},
    time::Duration,
};

use futures_util::stream;
use russh::{
    ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Preferred, cipher, client,
    keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate},
};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio_util::io::StreamReader;

use super::{
    Channel, Hold as AnyHold, Said,
    error::SshError,
    keys::{HostKey, Identity, KeyPair},
    target::SshTarget,
    wait::greeted,
};
use crate::task;

/// How long a connection may take to come about, and how long a channel.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections to one machine; what does not fit on their channels waits.
const MAX_CONNECTIONS: u32 = 8;
/// Lost connections that one channel tries again after.
const MAX_LOST: u32 = 3;
/// Signs of life that may stay without an answer.
const KEEPALIVES: u32 = 3;

/// The connections to one machine.
#[derive(Debug)]
pub(in crate::remote) struct Link {
    target: SshTarget,
    identity: Identity,
    wires: Mutex<Vec<Arc<Wire>>>,
    channels: Arc<Semaphore>,
}

/// One connection.
struct Wire {
    session: client::Handle<Pinned>,
    channels: Arc<Semaphore>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("channels", &self.channels).finish_non_exhaustive()
    }
}

/// Keeps a channel; the command ends when this is dropped.
pub(in crate::remote) struct Hold {
    channel: Option<ChannelWriteHalf<client::Msg>>,
    wire: Arc<Wire>,
    _of_wire: OwnedSemaphorePermit,
    _of_link: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl Hold {
    pub(super) fn is_alive(&self) -> bool {
        !self.wire.session.is_closed()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(channel) = self.channel.take() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // On a connection that is lost there is nobody to tell.
        task::spawn("close channel", async move { channel.close().await.ok() });
    }
}

/// Accepts the one key that is known.
struct Pinned {
    known: HostKey,
    /// The key that was refused.
    found: Arc<PlainMutex<Option<String>>>,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let found = match key {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.known.is(key) => return Ok(true),
            PublicKeyOrCertificate::PublicKey { key, .. } => key.fingerprint(HashAlg::Sha256).to_string(),
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(false)
    }
}

impl Link {
    pub(super) fn new(target: SshTarget, identity: Identity) -> Self {
        let channels = Semaphore::new((target.channels.max(1) * MAX_CONNECTIONS) as usize);
        Self { target, identity, wires: Mutex::default(), channels: Arc::new(channels) }
    }

    /// Opens a channel on a connection that has room, or on a new one.
    pub(super) async fn open(&self, command: &str) -> Result<Channel, SshError> {
        let of_link = Arc::clone(&self.channels).acquire_owned().await;
        let of_link = of_link.map_err(|error| self.no_channel(&error))?;
        let mut lost = 0;
        loop {
            let (wire, of_wire) = self.wire().await?;
            let opening = wire.session.channel_open_session();
            match within("opening a channel", &self.target, opening).await? {
                Ok(channel) => {
                    channel.exec(false, command).await.map_err(|error| self.no_channel(&error))?;
                    let (reader, writer) = channel.split();
                    let said = Said::default();
                    let hold = Hold { channel: None, wire, _of_wire: of_wire, _of_link: of_link };
                    return Ok(joined(reader, writer, said, hold));
                }
                // sshd allows fewer sessions than we thought: this connection has no room for one more, for good.
                Err(russh::Error::ChannelOpenFailure(_))
                    if wire.channels.available_permits() > 0 || self.has_others(&wire) =>
                {
                    of_wire.forget();
                }
                // The connection was lost a moment ago, and nobody has noticed until now.
                Err(russh::Error::Disconnect | russh::Error::SendError | russh::Error::HUP)
                    if lost < MAX_LOST =>
                {
                    lost += 1;
                    self.wires.lock().await.retain(|known| !Arc::ptr_eq(known, &wire));
                }
                Err(error) => return Err(self.no_channel(&error)),
            }
        }
    }

    fn no_channel(&self, error: &dyn std::fmt::Display) -> SshError {
        SshError::Channel { target: self.target.shown(), reason: error.to_string() }
    }

    /// Whether others have channels on this connection.
    fn has_others(&self, wire: &Wire) -> bool {
        let open = (self.target.channels as usize).saturating_sub(wire.channels.available_permits());
        open > 1
    }

    async fn wire(&self) -> Result<(Arc<Wire>, OwnedSemaphorePermit), SshError> {
        let mut wires = self.wires.lock().await;
        wires.retain(|wire| !wire.session.is_closed());
        for wire in wires.iter() {
            if let Ok(permit) = Arc::clone(&wire.channels).try_acquire_owned() {
                return Ok((Arc::clone(wire), permit));
            }
        }
        let session = self.connect().await?;
        let channels = Arc::new(Semaphore::new(self.target.channels.max(1) as usize));
        let permit = Arc::clone(&channels).acquire_owned().await.map_err(|error| self.no_channel(&error))?;
        let wire = Arc::new(Wire { session, channels });
        wires.push(Arc::clone(&wire));
        Ok((wire, permit))
    }

    async fn connect(&self) -> Result<client::Handle<Pinned>, SshError> {
        let target = &self.target;
        let key = self.key().await?;
        let heard = greeted(&target.host, target.port, PATIENCE).await;
        let stream = heard.ok_or_else(|| SshError::Silent {
            target: target.shown(),
            doing: "being connected to",
            seconds: PATIENCE.as_secs(),
        })?;
        let stream = stream.map_err(|source| SshError::Connect { target: target.shown(), source })?;
        // Requests are small, and each is waited for.
        stream.set_nodelay(true).map_err(|source| SshError::Connect { target: target.shown(), source })?;
        let found = Arc::default();
        let handler = Pinned { known: target.host_key.clone(), found: Arc::clone(&found) };
        let greeting = client::connect_stream(Arc::new(config(target)), stream, handler);
        let mut session = within("greeting", target, greeting).await?.map_err(|error| {
            let refused = found.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.broken(refused, &error)
        })?;
        let shown_key = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let signed = PrivateKeyWithHashAlg::new(key, Some(HashAlg::Sha512));
        let asking = session.authenticate_publickey(target.user.clone(), signed);
        match within("logging in", target, asking).await? {
            Ok(answer) if answer.success() => Ok(session),
            Ok(_) => Err(SshError::Refused { target: target.shown(), key: shown_key }),
            Err(error) => Err(self.broken(None, &error)),
        }
    }

    fn broken(&self, refused: Option<String>, error: &russh::Error) -> SshError {
        let wrong_key = |found| SshError::HostKey {
            target: self.target.shown(),
            known: self.target.host_key.fingerprint(),
            found,
        };
        match (refused, error) {
            (Some(found), _) => wrong_key(found),
            (None, russh::Error::NoCommonAlgo { kind: russh::AlgorithmKind::Key, .. }) => {
                wrong_key("of another kind".to_owned())
            }
            (None, error) => SshError::Broken { target: self.target.shown(), reason: error.to_string() },
        }
    }

    async fn key(&self) -> Result<Arc<PrivateKey>, SshError> {
        match &self.identity {
            Identity::Key(pair) => Ok(pair.private()),
            Identity::File(path) => {
                let failed = |reason| SshError::Key { path: path.clone(), reason };
                let file = path.clone();
                let text = task::blocking("read ssh key", move || fs_err::read_to_string(file)).await;
                let text = text.map_err(|error| failed(error.to_string()))?;
                let text = text.map_err(|error| failed(error.to_string()))?;
                let pair = KeyPair::from_openssh(&text).map_err(|error| failed(error.to_string()))?;
                if pair.private().is_encrypted() {
                    return Err(failed("it has a passphrase".to_owned()));
                }
                Ok(pair.private())
            }
        }
    }
}

fn config(target: &SshTarget) -> client::Config {
    let key = match target.host_key.algorithm() {
        Algorithm::Rsa { .. } => vec![
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ],
        other => vec![other],
    };
    let preferred = Preferred {
        // A machine has several host keys; it is to show the one that is known.
        key: Cow::Owned(key),
        // The fastest where the processor helps, as all that build do.
        cipher: Cow::Borrowed(&[
            cipher::AES_128_GCM,
            cipher::AES_256_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
        ]),
        ..Preferred::DEFAULT
    };
    client::Config {
        preferred,
        nodelay: true,
        keepalive_interval: Some(target.keepalive),
        keepalive_max: KEEPALIVES as usize,
        // Also ends a connection on which not even a sign of life can be written.
        inactivity_timeout: Some(target.keepalive * (KEEPALIVES + 2)),
        ..client::Config::default()
    }
}

fn joined(
    reader: ChannelReadHalf,
    writer: ChannelWriteHalf<client::Msg>,
    said: Said,
    mut hold: Hold,
) -> Channel {
    let listener = said.clone();
    let output = stream::unfold((reader, listener), |(mut reader, listener)| async move {
        loop {
            match reader.wait().await? {
                ChannelMsg::Data { data } => {
                    return Some((Ok::<_, std::io::Error>(data), (reader, listener)));
                }
                ChannelMsg::ExtendedData { data, .. } => listener.add(&data),
                ChannelMsg::Eof | ChannelMsg::Close => return None,
                // Of the many messages that there are no other concerns a command.
                _ => {}
            }
        }
    });
    let input = writer.make_writer();
    hold.channel = Some(writer);
    Channel {
        reader: Box::pin(StreamReader::new(output)),
        writer: Box::pin(input),
        said,
        hold: AnyHold::Native(hold),
    }
}

async fn within<T>(
    doing: &'static str,
    target: &SshTarget,
    work: impl Future<Output = T>,
) -> Result<T, SshError> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| SshError::Silent {
        target: target.shown(),
        doing,
        seconds: PATIENCE.as_secs(),
    })
}
