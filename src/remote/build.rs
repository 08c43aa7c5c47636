//! Making one derivation on one connection, within limits.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    classify::{Evidence, broken, classify, dial_failed, infra},
    connection::Connection,
    pool::Pool,
    work::{Outputs, Task},
};
use crate::{
    lifecycle::{AttemptOutcome, InfraCause},
    nix::{
        DrvPath, StorePath,
        daemon::{
            BuildMode, BuildOutcome, BuildResult, BuildTimes, ClientError, DerivedPath, LogEvent, LogSink,
            SuccessStatus,
        },
    },
};

/// How often limits are checked and the log is given a moment.
const TICK: Duration = Duration::from_millis(250);

/// What is asked of the store of this machine.
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

/// Takes a log that nobody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unheard;

impl BuildLog for Unheard {
    fn line(&mut self, _line: &[u8]) {}

    fn phase(&mut self, _name: &[u8]) {}

    fn tick(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// How a request ended.
#[derive(Debug)]
pub struct Realised<L> {
    /// What it means.
    pub outcome: AttemptOutcome,
    /// Whether a builder ran for it, as opposed to finding or fetching what was there.
    pub built: bool,
    /// The outputs, as far as Nix names them.
    pub outputs: Outputs,
    /// The log as it was given.
    pub log: L,
}

/// How a builder is told what to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// By the derivation's content: nothing of it need be in the store, but the client must be trusted.
    Content,
    /// By its `.drv`, which must be valid there with all that it refers to.
    Drv,
}

/// One thing to do on a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order<'o> {
    Ask(&'o Ask),
    Build(&'o Task, Words),
}

/// Whether the machine's disk is full, asked of the machine.
pub(super) type DiskCheck<'d> = &'d (dyn Fn() -> BoxFuture<'d, bool> + Send + Sync);

/// How an order ended.
pub(super) struct Ended<L> {
    pub(super) realised: Realised<L>,
    /// Whether the daemon does not trust us with the words that were used.
    pub(super) not_privileged: bool,
}

/// A log and what the limits need to know of it.
struct Watched<L> {
    log: L,
    last_line: Instant,
    bytes: u64,
    disk_full_said: bool,
}

struct Sink<'a, L> {
    watched: &'a Mutex<Watched<L>>,
    disk_full: &'a Notify,
}

impl<L> Sink<'_, L> {
    /// The disk is looked at while it is full, not when the build has been cleared away.
    fn mind(&self, watched: &mut Watched<L>, line: &[u8]) {
        if says_disk_full(line) {
            watched.disk_full_said = true;
            self.disk_full.notify_one();
        }
    }
}

impl<L: BuildLog> LogSink for Sink<'_, L> {
    async fn event(&mut self, event: LogEvent) {
        let mut watched = lock(self.watched);
        match event {
            LogEvent::BuildLog { line, .. } => {
                watched.last_line = Instant::now();
                watched.bytes += line.len() as u64 + 1;
                self.mind(&mut watched, &line);
                watched.log.line(&line);
            }
            LogEvent::Phase { phase, .. } => watched.log.phase(&phase),
            LogEvent::Line { text } => self.mind(&mut watched, &text),
            LogEvent::Start(_)
            | LogEvent::Stop { .. }
            | LogEvent::Progress { .. }
            | LogEvent::Other { .. } => {}
        }
    }
}

pub(super) fn says_disk_full(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"No space left on device").is_some()
}

/// Carries out `order` on a connection of `pool`.
pub(super) async fn carry_out<L: BuildLog>(
    pool: &Pool,
    order: Order<'_>,
    limits: Limits,
    log: L,
    disk_is_full: DiskCheck<'_>,
    cancel: &CancellationToken,
) -> Ended<L> {
    let watched = Mutex::new(Watched { log, last_line: Instant::now(), bytes: 0, disk_full_said: false });
    let disk_full = Notify::new();
    let mut not_privileged = false;
    let work = async {
        let connection = pool.take().await.map_err(|error| dial_failed(&error))?;
        lock(&watched).last_line = Instant::now();
        let result =
            perform(pool, connection, order, Sink { watched: &watched, disk_full: &disk_full }).await;
        result.map_err(|error| {
            not_privileged = says_not_privileged(&error);
            broken(&error)
        })
    };
    let look = async {
        disk_full.notified().await;
        disk_is_full().await
    };
    let (ended, seen_full) = watch(work, look, &watched, limits, cancel).await;
    let (outcome, built, outputs) = match ended {
        Ok(Ok(result)) => {
            let said = lock(&watched).disk_full_said || failed_with_disk_full(&result);
            let full = said && !result.is_success() && (seen_full || disk_is_full().await);
            let evidence = if full { Evidence::DiskFull } else { Evidence::Healthy };
            (classify(&result, evidence), has_built(&result), outputs(result))
        }
        Ok(Err(outcome)) => (outcome, false, Outputs::new()),
        Err(stopped) => (stopped, true, Outputs::new()),
    };
    let log = watched.into_inner().unwrap_or_else(PoisonError::into_inner).log;
    Ended { realised: Realised { outcome, built, outputs, log }, not_privileged }
}

/// What a daemon says that does not trust us with the content of a derivation. It has no status for it.
fn says_not_privileged(error: &ClientError) -> bool {
    match error {
        ClientError::NotTrusted(_) => true,
        ClientError::Daemon(error) => {
            memchr::memmem::find(&error.message, b"not privileged to build").is_some()
        }
        ClientError::Io { .. }
        | ClientError::Protocol(_)
        | ClientError::NotADaemon { .. }
        | ClientError::UnsupportedVersion { .. }
        | ClientError::Poisoned
        | ClientError::NotValid(_)
        | ClientError::Corrupt { .. } => false,
    }
}

fn outputs(result: BuildResult) -> Outputs {
    match result.outcome {
        BuildOutcome::Success { outputs, .. } => outputs,
        BuildOutcome::Failure { .. } | BuildOutcome::NotRun => Outputs::new(),
    }
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
    order: Order<'_>,
    mut sink: Sink<'_, L>,
) -> Result<BuildResult, ClientError> {
    let client = &mut connection.client;
    let result = match order {
        Order::Build(task, Words::Content) => {
            let drv = task.derivation.to_basic(task.inputs.iter().cloned());
            client.build_derivation(&task.drv, &drv, task.build_mode(), &mut sink).await?
        }
        Order::Build(task, Words::Drv) => {
            build_drv(&mut connection, &task.drv, task.build_mode(), &mut sink).await?
        }
        Order::Ask(Ask::Build(drv)) => build_drv(&mut connection, drv, BuildMode::Normal, &mut sink).await?,
        Order::Ask(Ask::Check(drv)) => build_drv(&mut connection, drv, BuildMode::Check, &mut sink).await?,
        Order::Ask(Ask::Substitute(paths)) => {
            for path in paths {
                client.ensure_path(path).await?;
            }
            substituted()
        }
    };
    pool.give_back(connection);
    Ok(result)
}

async fn build_drv<L: BuildLog>(
    connection: &mut Connection,
    drv: &DrvPath,
    mode: BuildMode,
    sink: &mut Sink<'_, L>,
) -> Result<BuildResult, ClientError> {
    let target = DerivedPath::all_of(drv.clone());
    let results = connection.client.build_paths_with_results(&[target], mode, sink).await?;
    results.into_iter().next().ok_or(ClientError::Poisoned)
}

fn substituted() -> BuildResult {
    let outcome = BuildOutcome::Success { status: SuccessStatus::Substituted, outputs: Outputs::new() };
    BuildResult { outcome, times: BuildTimes::default() }
}

/// Waits for the work while its limits hold, and looks at the disk when something complains of it. Gives the outcome
/// that a broken limit means, and whether the disk was seen full.
async fn watch<L: BuildLog, T>(
    work: impl Future<Output = T>,
    look: impl Future<Output = bool>,
    watched: &Mutex<Watched<L>>,
    limits: Limits,
    cancel: &CancellationToken,
) -> (Result<T, AttemptOutcome>, bool) {
    let started = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut work, mut look) = (std::pin::pin!(work), std::pin::pin!(look));
    let mut seen_full = None;
    loop {
        tokio::select! {
            biased;
            full = &mut look, if seen_full.is_none() => seen_full = Some(full),
            done = &mut work => return (Ok(done), seen_full == Some(true)),
            () = cancel.cancelled() => return (Err(AttemptOutcome::Cancelled), false),
            _ = tick.tick() => if let Err(stopped) = check(watched, limits, started) {
                return (Err(stopped), false);
            },
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
