//! The channel to the loop on the machine.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    sync::Mutex,
    time::Instant,
};

use super::{
    HealthSettings,
    report::{Answer, Disks, Health},
    script,
};
use crate::{
    clock::Clock,
    remote::ssh::{Channel, Hold, Reader, Said, SshError, Transport, Writer},
};

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 4 << 10;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a machine does not tell how it is.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// It cannot be reached.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The channel ended.
    #[error("the machine's health loop ended{}. It needs sh, coreutils and /proc there", said.as_deref().map(|said| format!(" (it says: {said})")).unwrap_or_default())]
    Ended {
        /// Its last words.
        said: Option<String>,
    },
    /// It does not answer.
    #[error("the machine did not tell how it is within {} s", PATIENCE.as_secs())]
    Silent,
    /// It says something else.
    #[error("the machine tells its health in a way that is not understood: {0}")]
    Odd(String),
}

/// Asks one machine how it is.
#[derive(Debug)]
pub(in crate::remote) struct Monitor {
    transport: Arc<Transport>,
    settings: HealthSettings,
    line: Mutex<Option<Line>>,
}

/// An open channel.
struct Line {
    reader: BufReader<Reader>,
    writer: Writer,
    said: Said,
    asked: u64,
    hold: Hold,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("hold", &self.hold).finish_non_exhaustive()
    }
}

impl Monitor {
    pub(in crate::remote) fn new(transport: Arc<Transport>, settings: HealthSettings) -> Self {
        Self { transport, settings, line: Mutex::default() }
    }

    pub(in crate::remote) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Renews the lease and learns how the machine is.
    pub(in crate::remote) async fn poll(&self, clock: &dyn Clock) -> Result<Health, HealthError> {
        let (answer, asked, round_trip) = self.ask(Some(clock)).await?;
        answer.health(asked, round_trip).map_err(HealthError::Odd)
    }

    /// Learns how full its disks are.
    pub(in crate::remote) async fn disks(&self) -> Result<Disks, HealthError> {
        Ok(self.ask(None).await?.0.disks)
    }

    /// One question. The channel is kept if it is answered; the next question after an error opens a new one.
    async fn ask(
        &self,
        clock: Option<&dyn Clock>,
    ) -> Result<(Answer, crate::clock::Timestamp, Duration), HealthError> {
        let mut kept = self.line.lock().await;
        let mut open = kept.take();
        let is_alive = open.as_mut().is_some_and(|line| line.hold.is_alive());
        let mut line = match open.filter(|_| is_alive) {
            Some(line) => line,
            None => Line::open(self.transport.open(&script::command(&self.settings)).await?).await?,
        };
        let asked = clock.map(Clock::now).unwrap_or_default();
        let begun = Instant::now();
        let answer = line.ask().await?;
        let round_trip = begun.elapsed();
        *kept = Some(line);
        Ok((answer, asked, round_trip))
    }
}

impl Line {
    /// Waits until the loop has started, which is no part of a round trip.
    async fn open(channel: Channel) -> Result<Self, HealthError> {
        let Channel { reader, writer, said, hold } = channel;
        let mut line = Self { reader: BufReader::new(reader), writer, said, asked: 0, hold };
        let first = line.heard("").await?;
        if first.trim_ascii_end() == script::READY.as_bytes() {
            Ok(line)
        } else {
            Err(HealthError::Odd("another first word. Its login shell must print nothing".to_owned()))
        }
    }

    /// The next line, after `question`, which may be empty, was sent.
    async fn heard(&mut self, question: &str) -> Result<Vec<u8>, HealthError> {
        let exchange = async {
            self.writer.write_all(question.as_bytes()).await?;
            self.writer.flush().await?;
            let mut line = Vec::new();
            (&mut self.reader).take(MAX_LINE).read_until(b'\n', &mut line).await?;
            Ok::<_, std::io::Error>(line)
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Err(_) => Err(HealthError::Silent),
            Ok(Ok(line)) if !line.is_empty() => Ok(line),
            Ok(Ok(_) | Err(_)) => Err(HealthError::Ended { said: self.said.last_line() }),
        }
    }

    async fn ask(&mut self) -> Result<Answer, HealthError> {
        self.asked += 1;
        let word = self.asked.to_string();
        let line = self.heard(&format!("{word}\n")).await?;
        if line.last() != Some(&b'\n') {
            return Err(HealthError::Odd(format!("a line of more than {MAX_LINE} bytes, or a part of one")));
        }
        let answer = Answer::parse(&line).map_err(HealthError::Odd)?;
        if answer.word != word {
            return Err(HealthError::Odd("an answer to another question".to_owned()));
        }
        Ok(answer)
    }
}
