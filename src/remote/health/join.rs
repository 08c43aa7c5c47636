//! Whether a machine may join as a builder: asked of the machine, and of a real build on it.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio_util::sync::CancellationToken;

use super::{Health, HealthError, Monitor};
use crate::{
    clock::Clock,
    lifecycle::AttemptOutcome,
    nix::{Derivation, KeyTable, StoreDir, System},
    remote::{
        build::{Limits, Unheard},
        builder::Builder,
        dial::DialError,
        ssh::{Channel, Hold, Reader, SshError, Writer},
        work::{Task, TaskMode},
    },
};

/// The name of the probe's derivation.
const NAME: &str = "croft-join-probe";
/// Makes a file that a sandbox must hide, tells its name, and removes it when its input ends.
const BAIT: &str = "exec sh -c 'bait=$(mktemp /var/tmp/croft-bait.XXXXXXXXXX) && echo \"$bait\" && cat > /dev/null; rm -f -- \"$bait\"'";
/// What the name of such a file looks like.
const BAIT_PREFIX: &str = "/var/tmp/croft-bait.";
/// How long the probe's build may take.
const BUILD: Duration = Duration::from_secs(120);
/// How long the bait may take.
const ANSWER: Duration = Duration::from_secs(30);

/// A version of Nix, as far as it is compared: its leading numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NixVersion(Vec<u64>);

impl FromStr for NixVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = Vec::new();
        for part in text.split('.').take(4) {
            let digits: String = part.chars().take_while(char::is_ascii_digit).take(9).collect();
            numbers.extend(digits.parse::<u64>());
            if digits.len() < part.len() {
                break;
            }
        }
        let shown = || format!("{:?} is no version of Nix", text.chars().take(40).collect::<String>());
        if numbers.is_empty() { Err(shown()) } else { Ok(Self(numbers)) }
    }
}

impl fmt::Display for NixVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

/// What is asked of a machine that wants to join.
#[derive(Debug, Clone)]
pub struct JoinPolicy {
    /// A system that it must build for.
    pub system: System,
    /// The oldest Nix that is accepted.
    pub oldest_nix: NixVersion,
    /// The least room on each of its disks, in bytes.
    pub least_free: u64,
    /// How far its clock may be off.
    pub max_skew: Duration,
}

/// A machine that may join.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Its Nix, in its own words.
    pub nix: String,
    /// How it was when it was asked.
    pub health: Health,
}

/// Why a machine may not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinRefusal {
    /// It is this machine, which does not join.
    #[error("the local builder does not join; `croft doctor` looks at it")]
    Local,
    /// It cannot be reached.
    #[error("the machine cannot join: {0}")]
    Unreachable(#[from] DialError),
    /// It does not tell how it is.
    #[error("the machine cannot join: {0}")]
    Health(#[from] HealthError),
    /// Its Nix is too old.
    #[error(
        "the machine cannot join: its Nix is {found}, and at least {oldest} is asked for. Upgrade its image"
    )]
    OldNix {
        /// What it has.
        found: String,
        /// What is asked for.
        oldest: NixVersion,
    },
    /// A disk has too little room.
    #[error(
        "the machine cannot join: only {free} bytes are free on one of its disks, and {least} are asked for"
    )]
    DiskLow {
        /// What is free, in bytes.
        free: u64,
        /// What is asked for, in bytes.
        least: u64,
    },
    /// Its clock is off.
    #[error(
        "the machine cannot join: its clock is {ahead_ms} ms ahead of ours, and may be off by {most_ms} ms. Check its time service"
    )]
    ClockOff {
        /// How far, in milliseconds; negative if it is behind.
        ahead_ms: i64,
        /// How far it may be, in milliseconds.
        most_ms: u64,
    },
    /// Builds there see the machine's own files.
    #[error(
        "the machine cannot join: its builds can see its files. Set `sandbox = true` and `sandbox-fallback = false` in its nix.conf"
    )]
    SandboxOff,
    /// A small build does not pass there.
    #[error("the machine cannot join: a small build does not pass there ({0})")]
    BuildFails(String),
}

impl From<SshError> for JoinRefusal {
    fn from(error: SshError) -> Self {
        Self::Unreachable(error.into())
    }
}

/// Asks whether the machine behind `builder` may join. Takes a build of its own there.
pub async fn join(
    builder: &Builder,
    policy: &JoinPolicy,
    clock: &dyn Clock,
    cancel: &CancellationToken,
) -> Result<Joined, JoinRefusal> {
    let monitor = builder.monitor().ok_or(JoinRefusal::Local)?;
    // All that has to start over there starts at once.
    let greeting = async {
        let connection = builder.pool().take().await?;
        let nix = connection.client.daemon_version().to_owned();
        builder.pool().give_back(connection);
        Ok::<_, JoinRefusal>(nix)
    };
    let asking = async { Ok(monitor.poll(clock).await?) };
    let others = async { Ok(tokio::try_join!(asking, Bait::lay(monitor))) };
    // What the greeting says of a machine that cannot be reached goes first.
    let (nix, others) = tokio::try_join!(greeting, others)?;
    let (health, bait) = others?;
    let old = || JoinRefusal::OldNix { found: nix.clone(), oldest: policy.oldest_nix.clone() };
    if nix.parse::<NixVersion>().map_err(|_| old())? < policy.oldest_nix {
        return Err(old());
    }
    let free = health.disks.least_free();
    if free < policy.least_free {
        return Err(JoinRefusal::DiskLow { free, least: policy.least_free });
    }
    // What the round trip hides cannot be held against the machine.
    let most_ms = millis(policy.max_skew);
    if health.clock_ahead.unsigned_abs() > most_ms.saturating_add(millis(health.round_trip / 2)) {
        return Err(JoinRefusal::ClockOff { ahead_ms: health.clock_ahead, most_ms });
    }
    canary(builder, bait, policy, clock, cancel).await?;
    Ok(Joined { nix, health })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A file on the machine that a sandbox must hide. It is there as long as this is.
struct Bait {
    path: String,
    _reader: BufReader<Reader>,
    _writer: Writer,
    _hold: Hold,
}

impl Bait {
    async fn lay(monitor: &Monitor) -> Result<Self, JoinRefusal> {
        let Channel { reader, writer, said, hold } = monitor.transport().open(BAIT).await?;
        let mut told = String::new();
        let mut reader = BufReader::new(reader);
        let read = tokio::time::timeout(ANSWER, (&mut reader).take(256).read_line(&mut told)).await;
        let path = told.trim_end();
        let is_bait =
            path.strip_prefix(BAIT_PREFIX).is_some_and(|end| end.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !matches!(read, Ok(Ok(_))) || !is_bait {
            return Err(HealthError::Ended { said: said.last_line() }.into());
        }
        Ok(Self { path: path.to_owned(), _reader: reader, _writer: writer, _hold: hold })
    }
}

/// A build that passes only where it cannot see the machine's files.
async fn canary(
    builder: &Builder,
    bait: Bait,
    policy: &JoinPolicy,
    clock: &dyn Clock,
    cancel: &CancellationToken,
) -> Result<(), JoinRefusal> {
    // A time of its own makes each probe another derivation, so that none is answered from the store.
    let script =
        format!("if test -e {}; then exit {SEEN}; fi; echo {} > $out", bait.path, clock.now().as_millis());
    let task = task(&policy.system, &script)
        .ok_or_else(|| JoinRefusal::BuildFails("the probe is no derivation".to_owned()))?;
    builder.add_drv(&task.derivation).await.map_err(|outcome| failed(&outcome))?;
    let limits = Limits { timeout: BUILD, max_silent: BUILD, max_log: 1 << 20 };
    let realised = builder.build(&task, limits, Unheard, cancel).await;
    // The bait must be there until the build has ended.
    drop(bait);
    match realised.outcome {
        AttemptOutcome::Passed => Ok(()),
        AttemptOutcome::Failed { message } if message.contains(&format!("exit code {SEEN}")) => {
            Err(JoinRefusal::SandboxOff)
        }
        outcome => Err(failed(&outcome)),
    }
}

/// The exit code of a probe that sees the bait.
const SEEN: u8 = 73;

fn failed(outcome: &AttemptOutcome) -> JoinRefusal {
    JoinRefusal::BuildFails(outcome.message().unwrap_or_else(|| outcome.word()).to_owned())
}

fn task(system: &System, script: &str) -> Option<Task> {
    let derivation = Derivation::of_script(&StoreDir::default(), NAME, system, script)?;
    let key = KeyTable::new().key(&derivation).ok()?;
    let drv = derivation.path().clone();
    Some(Task { drv, key, derivation: Arc::new(derivation), inputs: BTreeSet::new(), mode: TaskMode::Build })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        let version = |text: &str| text.parse::<NixVersion>().unwrap();
        assert!(version("2.8.0") < version("2.26.3") && version("2.26.3") < version("2.34.8pre20260101_abc"));
        assert!(version("2.34") <= version("2.34.8") && version("3") > version("2.99"));
        assert_eq!(version("2.34.8pre").to_string(), "2.34.8");
        assert!("Lix".parse::<NixVersion>().is_err() && "".parse::<NixVersion>().is_err());
    }
}
