//! Opening a connection: versions, features, trust.
//!
//! Layer 0.

use tokio::io::{AsyncRead, AsyncWrite};

use super::client::{Client, drain_log, send};
use super::error::ClientError;
use super::log::Discard;
use super::version::{OUTPUT_PATHS_FEATURE, Protocol, ProtocolVersion, Trust};
use crate::nix::StoreDir;
use crate::nix::wire::{Encoder, Limits, Reader, WireError};

const CLIENT_MAGIC: u64 = 0x6e69_7863;
const DAEMON_MAGIC: u64 = 0x6478_696f;

impl<R, W> Client<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    /// Opens a connection over a pair of streams, with default limits.
    pub async fn connect(reader: R, writer: W, store_dir: StoreDir) -> Result<Self, ClientError> {
        Self::connect_with_limits(reader, writer, store_dir, Limits::default()).await
    }

    /// Opens a connection over a pair of streams.
    pub async fn connect_with_limits(
        reader: R,
        mut writer: W,
        store_dir: StoreDir,
        limits: Limits,
    ) -> Result<Self, ClientError> {
        let mut reader = Reader::new(reader, limits);
        // Old daemons look at our number, not at the lower one: it must always be the same.
        let mut hello = Encoder::new();
        hello.u64(CLIENT_MAGIC).u64(ProtocolVersion::CLAIMED.to_wire());
        send(&mut writer, &hello).await?;
        expect_magic(&mut reader).await?;
        let offered = ProtocolVersion::from_wire(reader.u64("protocol version").await?);
        if offered.major != ProtocolVersion::CLAIMED.major || offered < ProtocolVersion::OLDEST {
            return Err(ClientError::UnsupportedVersion { found: offered, needed: ProtocolVersion::OLDEST });
        }
        let mut protocol = Protocol::plain(offered.min(ProtocolVersion::CLAIMED).minor);
        let mut rest = Encoder::new();
        if protocol.at_least(38) {
            rest.texts([OUTPUT_PATHS_FEATURE]);
        }
        rest.u64(0).u64(0); // obsolete: CPU affinity, reserved space
        send(&mut writer, &rest).await?;
        if protocol.at_least(38) {
            let offered = reader.texts("protocol features").await?;
            protocol.features.extend(offered.into_iter().filter(|feature| feature == OUTPUT_PATHS_FEATURE));
        }
        let daemon_version = reader.bytes("Nix version").await?;
        let daemon_version = daemon_version.escape_ascii().to_string();
        let trust = if protocol.at_least(35) { read_trust(&mut reader).await? } else { Trust::Unknown };
        drain_log(&mut reader, &mut Discard).await?;
        Ok(Self::new(reader, writer, store_dir, protocol, daemon_version, trust))
    }
}

async fn expect_magic<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<(), ClientError> {
    let word: [u8; 8] = match reader.raw("greeting").await {
        Ok(word) => word,
        Err(WireError::Closed { .. }) => {
            return Err(ClientError::NotADaemon { shown: "less than a greeting, and hung up".to_owned() });
        }
        Err(other) => return Err(other.into()),
    };
    if word == DAEMON_MAGIC.to_le_bytes() {
        return Ok(());
    }
    let start = reader.buffered();
    let said = [&word[..], &start[..start.len().min(200)]].concat();
    Err(ClientError::NotADaemon { shown: format!("\"{}\"", said.escape_ascii()) })
}

async fn read_trust<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> Result<Trust, WireError> {
    match reader.u64("trust").await? {
        0 => Ok(Trust::Unknown),
        1 => Ok(Trust::Trusted),
        2 => Ok(Trust::NotTrusted),
        other => Err(WireError::bad_number("trust", other)),
    }
}
