//! The connection: one request at a time, and its usability.
//!
//! Layer 0.

use std::future::Future;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::error::{ClientError, SENDING};
use super::log::{LogSink, Message};
use super::version::{Protocol, ProtocolVersion, Trust};
use crate::nix::wire::{Encoder, Reader};
use crate::nix::{StoreDir, StorePath};

/// Operation codes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    IsValidPath = 1,
    AddToStore = 7,
    EnsurePath = 10,
    AddTempRoot = 11,
    SetOptions = 19,
    QueryPathInfo = 26,
    QueryPathFromHashPart = 29,
    QueryValidPaths = 31,
    QuerySubstitutablePaths = 32,
    BuildDerivation = 36,
    AddSignatures = 37,
    NarFromPath = 38,
    AddToStoreNar = 39,
    QueryMissing = 40,
    QueryDerivationOutputMap = 41,
    RegisterDrvOutput = 42,
    AddMultipleToStore = 44,
    BuildPathsWithResults = 46,
}

/// Whether the position in both streams is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// An operation is under way, or was left in the middle.
    Busy,
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client<R, W> {
    pub(super) reader: Reader<R>,
    pub(super) writer: W,
    pub(super) store_dir: StoreDir,
    pub(super) protocol: Protocol,
    pub(super) daemon_version: String,
    pub(super) trust: Trust,
    state: State,
}

/// A client whose streams can be anything.
pub type BoxedClient = Client<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>;

impl<R, W> Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    pub(super) fn new(
        reader: Reader<R>,
        writer: W,
        store_dir: StoreDir,
        protocol: Protocol,
        daemon_version: String,
        trust: Trust,
    ) -> Self {
        Self { reader, writer, store_dir, protocol, daemon_version, trust, state: State::Ready }
    }

    /// The Nix version that the daemon gives, such as `2.8.0`.
    pub fn daemon_version(&self) -> &str {
        &self.daemon_version
    }

    /// What both sides agreed on.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// The agreed version.
    pub fn protocol_version(&self) -> ProtocolVersion {
        self.protocol.version
    }

    /// Whether the daemon trusts this client.
    pub fn trusted(&self) -> Trust {
        self.trust
    }

    /// The store directory that paths are in.
    pub fn store_dir(&self) -> &StoreDir {
        &self.store_dir
    }

    /// Whether another operation can be begun.
    pub fn is_usable(&self) -> bool {
        self.state == State::Ready
    }

    /// Begins an operation: from here to [`Client::done`] the connection is not usable.
    pub(super) fn begin(&mut self, op: Op) -> Result<Encoder, ClientError> {
        if !self.is_usable() {
            return Err(ClientError::Poisoned);
        }
        self.state = State::Busy;
        let mut request = Encoder::new();
        request.u64(op as u64);
        Ok(request)
    }

    /// Ends an operation that went through.
    pub(super) fn done<T>(&mut self, reply: T) -> T {
        self.state = State::Ready;
        reply
    }

    /// Sends a request and reads the log up to the reply.
    pub(super) async fn exchange(
        &mut self,
        request: Encoder,
        sink: &mut impl LogSink,
    ) -> Result<(), ClientError> {
        let Self { reader, writer, .. } = self;
        duplex(send(writer, &request), drain_log(reader, sink)).await
    }

    /// One request per path without waiting for replies in between; `reader` is then positioned by `receive`.
    pub(super) fn path_requests<'p>(
        &self,
        op: Op,
        paths: impl IntoIterator<Item = &'p StorePath>,
    ) -> Encoder {
        let mut requests = Encoder::new();
        for path in paths {
            requests.u64(op as u64).path(&self.store_dir, path);
        }
        requests
    }
}

/// Sends a message.
pub(super) async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    message: &Encoder,
) -> Result<(), ClientError> {
    writer.write_all(message.as_bytes()).await.map_err(ClientError::sending)?;
    writer.flush().await.map_err(ClientError::sending)
}

/// Reads what the daemon says until the reply follows.
pub(super) async fn drain_log<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    sink: &mut impl LogSink,
) -> Result<(), ClientError> {
    loop {
        match Message::decode(reader).await? {
            Message::Log(event) => sink.event(event).await,
            Message::Error(error) => return Err(ClientError::Daemon(error)),
            Message::Last => {
                reader.start_message();
                return Ok(());
            }
        }
    }
}

/// Sends and receives at once: a daemon that talks while it is being written to would block both sides otherwise.
///
/// An error from the daemon ends the sending at once. When sending fails, what the daemon still has to say explains
/// it better than a broken pipe.
pub(super) async fn duplex<T>(
    send: impl Future<Output = Result<(), ClientError>>,
    receive: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let mut outgoing = pin!(send);
    let mut incoming = pin!(receive);
    tokio::select! {
        biased;
        received = &mut incoming => {
            let reply = received?;
            outgoing.await?;
            Ok(reply)
        }
        written = &mut outgoing => match written {
            Ok(()) => incoming.await,
            Err(error @ ClientError::Io { doing: SENDING, .. }) => match incoming.await {
                Err(explained @ (ClientError::Daemon(_) | ClientError::NotADaemon { .. })) => Err(explained),
                Ok(_) | Err(_) => Err(error),
            },
            Err(error) => Err(error),
        },
    }
}
