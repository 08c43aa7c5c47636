//! Waiting for a machine that is starting.

use std::time::Duration;

use tokio::{io::AsyncReadExt as _, net::TcpStream, time::Instant};

use super::error::SshError;

/// How long one try may take.
const TRY: Duration = Duration::from_secs(5);
/// How long to wait between tries.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until an sshd at `host` says hello, at most for `patience`.
///
/// A port that accepts a connection is not a machine that is up: a hypervisor or a load balancer may accept for it.
pub async fn wait_for_ssh(host: &str, port: u16, patience: Duration) -> Result<(), SshError> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Ok(Ok(())) = tokio::time::timeout(TRY.min(left), greeting(host, port)).await {
            return Ok(());
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(SshError::Silent {
                target: format!("{host}:{port}"),
                doing: "starting up: no ssh greeting came",
                seconds: patience.as_secs(),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn greeting(host: &str, port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let mut start = [0; 4];
    stream.read_exact(&mut start).await?;
    if &start == b"SSH-" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}
