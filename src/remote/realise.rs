//! Making one derivation on one connection, within limits.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    classify::{Evidence, broken, classify, infra},
    connection::Connection,
    pool::Pool,
};
use crate::{
    lifecycle::{AttemptOutcome, InfraCause},
    nix::{
        DrvPath, StorePath,
        daemon::{
            BuildMode, BuildOutcome, BuildResult, ClientError, DerivedPath, LogEvent, LogSink, SuccessStatus,
        },
    },
};

/// How often limits are checked and the log is given a moment.
const TICK: Duration = Duration::from_millis(250);

/// What is asked of a builder.
#[derive(Debug, Clone)]
pub enum Ask {
    /// Build the derivation unless its outputs are valid.
    Build(DrvPath),
    /// Build it again beside its valid outputs, and compare.
    Check(DrvPath),
    /// Fetch these paths.
    Substitute(BTreeSet<StorePath>),
}

/// Bounds on one build, kept by croft itself, so that they hold on any Nix and without its trust.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest it may take.
    pub timeout: Duration,
    /// The longest it may be silent.
    pub max_silent: Duration,
    /// The most bytes of log it may write.
    pub max_log: u64,
}

/// Takes the log of a build.
pub trait BuildLog: Send + 'static {
    /// A line, without its newline.
    fn line(&mut self, line: &[u8]);
    /// The build enters a phase.
    fn phase(&mut self, name: &[u8]);
    /// Comes a few times a second, for flushing. An error ends the attempt as croft's own failure.
    fn tick(&mut self) -> Result<(), String>;
}

/// How a request ended.
#[derive(Debug)]
pub struct Realised<L> {
    /// What it means.
    pub outcome: AttemptOutcome,
    /// Whether a builder ran for it, as opposed to finding or fetching what was there.
    pub built: bool,
    /// The log as it was given.
    pub log: L,
}

/// A log and what the limits need to know of it.
struct Watched<L> {
    log: L,
    last_line: Instant,
    bytes: u64,
    disk_full_said: bool,
}

struct Sink<'a, L>(&'a Mutex<Watched<L>>);

impl<L: BuildLog> LogSink for Sink<'_, L> {
    async fn event(&mut self, event: LogEvent) {
        let mut watched = lock(self.0);
        match event {
            LogEvent::BuildLog { line, .. } => {
                watched.last_line = Instant::now();
                watched.bytes += line.len() as u64 + 1;
                watched.disk_full_said |= says_disk_full(&line);
                watched.log.line(&line);
            }
            LogEvent::Phase { phase, .. } => watched.log.phase(&phase),
            LogEvent::Line { text } => watched.disk_full_said |= says_disk_full(&text),
            LogEvent::Start(_)
            | LogEvent::Stop { .. }
            | LogEvent::Progress { .. }
            | LogEvent::Other { .. } => {}
        }
    }
}

fn says_disk_full(line: &[u8]) -> bool {
    let needle = b"No space left on device";
    line.windows(needle.len()).any(|window| window == needle)
}

/// Carries out `ask` on a connection of `pool`.
pub(super) async fn realise<L: BuildLog>(
    pool: &Pool,
    ask: &Ask,
    limits: Limits,
    log: L,
    disk_is_full: impl Fn() -> bool,
    cancel: &CancellationToken,
) -> Realised<L> {
    let watched = Mutex::new(Watched { log, last_line: Instant::now(), bytes: 0, disk_full_said: false });
    let (outcome, built) = match pool.take().await {
        Err(error) => (infra(InfraCause::ConnectionLost, error.to_string()), false),
        Ok(connection) => {
            let work = perform(pool, connection, ask, Sink(&watched));
            match watch(work, &watched, limits, cancel).await {
                Ok(Ok(result)) => {
                    let said = lock(&watched).disk_full_said || failed_with_disk_full(&result);
                    let evidence =
                        if said && disk_is_full() { Evidence::DiskFull } else { Evidence::Healthy };
                    (classify(&result, evidence), has_built(&result))
                }
                Ok(Err(error)) => (broken(&error), false),
                Err(stopped) => (stopped, true),
            }
        }
    };
    Realised { outcome, built, log: watched.into_inner().unwrap_or_else(PoisonError::into_inner).log }
}

fn lock<L>(watched: &Mutex<Watched<L>>) -> MutexGuard<'_, Watched<L>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed_with_disk_full(result: &BuildResult) -> bool {
    matches!(&result.outcome, BuildOutcome::Failure { message, .. } if says_disk_full(message))
}

fn has_built(result: &BuildResult) -> bool {
    match &result.outcome {
        BuildOutcome::Success { status, .. } => match status {
            SuccessStatus::Built => true,
            SuccessStatus::Substituted
            | SuccessStatus::AlreadyValid
            | SuccessStatus::ResolvesToAlreadyValid => false,
        },
        BuildOutcome::Failure { .. } => true,
        BuildOutcome::NotRun => false,
    }
}

/// Does the work on a connection; dropping the future hangs up, which ends the build.
async fn perform<L: BuildLog>(
    pool: &Pool,
    mut connection: Connection,
    ask: &Ask,
    mut sink: Sink<'_, L>,
) -> Result<BuildResult, ClientError> {
    let (drv, mode) = match ask {
        Ask::Build(drv) => (drv, BuildMode::Normal),
        Ask::Check(drv) => (drv, BuildMode::Check),
        Ask::Substitute(paths) => {
            for path in paths {
                connection.client.ensure_path(path).await?;
            }
            pool.give_back(connection);
            return Ok(substituted());
        }
    };
    let target = DerivedPath::all_of(drv.clone());
    let results = connection.client.build_paths_with_results(&[target], mode, &mut sink).await?;
    pool.give_back(connection);
    results.into_iter().next().ok_or(ClientError::Poisoned)
}

fn substituted() -> BuildResult {
    let outcome = BuildOutcome::Success {
        status: SuccessStatus::Substituted,
        outputs: std::collections::BTreeMap::new(),
    };
    BuildResult { outcome, times: crate::nix::daemon::BuildTimes::default() }
}

/// Waits for the work while its limits hold. Gives the outcome that a broken limit means.
async fn watch<L: BuildLog, T>(
    work: impl Future<Output = T>,
    watched: &Mutex<Watched<L>>,
    limits: Limits,
    cancel: &CancellationToken,
) -> Result<T, AttemptOutcome> {
    let started = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            () = cancel.cancelled() => return Err(AttemptOutcome::Cancelled),
            _ = tick.tick() => check(watched, limits, started)?,
        }
    }
}

fn check<L: BuildLog>(
    watched: &Mutex<Watched<L>>,
    limits: Limits,
    started: Instant,
) -> Result<(), AttemptOutcome> {
    let mut watched = lock(watched);
    if let Err(message) = watched.log.tick() {
        return Err(infra(InfraCause::Internal, message));
    }
    if watched.bytes > limits.max_log {
        return Err(AttemptOutcome::LogLimit);
    }
    if started.elapsed() > limits.timeout {
        let message = format!("it ran longer than {} s", limits.timeout.as_secs());
        return Err(AttemptOutcome::Timeout { message });
    }
    if watched.last_line.elapsed() > limits.max_silent {
        let message = format!("it wrote nothing for {} s", limits.max_silent.as_secs());
        return Err(AttemptOutcome::Timeout { message });
    }
    Ok(())
}
