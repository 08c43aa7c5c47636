//! Making room on a builder.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::{builder::Builder, health::HealthError, ssh::Channel};

/// How long a collection may take.
const PATIENCE: Duration = Duration::from_secs(600);

impl Builder {
    /// Collects garbage in the builder's store. What builds and transfers hold is kept. Nothing to do on this machine.
    pub async fn collect_garbage(&self) -> Result<(), HealthError> {
        let Some(monitor) = self.monitor() else { return Ok(()) };
        let Channel { mut reader, writer, said, hold } =
            monitor.transport().open("exec nix-store --gc").await?;
        drop(writer);
        let read_all = async {
            let mut buffer = [0; 8192];
            while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        };
        let done = tokio::time::timeout(PATIENCE, read_all).await;
        drop(hold);
        done.map_err(|_| HealthError::Ended { said: said.last_line() })
    }
}
