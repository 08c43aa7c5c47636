//! One job from claim to record.
//!
//! The order is what makes a kill at any moment harmless: the claim and the attempt are on the disk before the build
//! begins, the log before the verdict, and the verdict before anybody is told.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    error::EngineError,
    event::{Event, Events},
    farm::Farm,
    job::{Job, JobEnd, Origin, Way},
    tap::{Tap, Tapped, backoff},
};
use crate::{
    clock::Timestamp,
    db::{Adoption, AttemptEnd, AttemptStart, BuildNext, Claim, LogEnd, NewBuild},
    ids::{AttemptId, BuildId, OwnerId},
    lifecycle::{AttemptOutcome, InfraCause},
    logs::LogSummary,
    remote::{Ask, Limits, Realised},
    report::{TestCase, TestCounts, TestReport, TestStatus},
    task,
};

/// How often a build of another process is looked at.
const JOIN_POLL: Duration = Duration::from_millis(100);
/// The failing tests that a cell carries with it.
const MAX_FAILING: usize = 5;

/// What all jobs of a run share.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) farm: Arc<Farm>,
    pub(super) slots: Arc<Semaphore>,
    pub(super) events: Events,
    pub(super) cancel: CancellationToken,
}

/// One attempt that has come back.
struct Tried {
    attempt: AttemptId,
    number: u32,
    started: Timestamp,
    ended: Timestamp,
    outcome: AttemptOutcome,
    report: TestReport,
    log: LogSummary,
}

impl Workshop {
    /// Carries out `job`. An error is one of croft's own keeping: the database, the state directory.
    pub(super) async fn run(self, job: Job) -> Result<JobEnd, EngineError> {
        match job.way {
            Way::Build | Way::Check => self.build(job).await,
            Way::Substitute => self.substitute(job).await,
            Way::Adopt => self.adopt(job).await,
        }
    }

    async fn build(self, job: Job) -> Result<JobEnd, EngineError> {
        loop {
            if self.cancel.is_cancelled() {
                return Ok(JobEnd::cancelled(&job));
            }
            match self.claim(&job).await? {
                Claim::Won(build) => {
                    // Between plan and claim another process may have built and recorded the same key.
                    if let Some(end) = self.settled_since(&job).await? {
                        self.farm.db.build_release(&self.farm.owner, build).await?;
                        return Ok(end);
                    }
                    return self.attempts(&job, build).await;
                }
                Claim::Held { build, owner } => {
                    self.tell(Event::BuildJoined { name: job.drv.name().to_owned(), key: job.key }).await;
                    self.wait_for(build, owner).await?;
                    if let Some(end) = self.settled_since(&job).await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    async fn claim(&self, job: &Job) -> Result<Claim, EngineError> {
        let claims = self.farm.db.build_claim(&self.farm.owner, vec![new_build(job)]).await?;
        claims.into_iter().next().ok_or(EngineError::Bug("a claim without an answer"))
    }

    /// Waits until somebody else's build has ended, or its owner has died and it was swept.
    async fn wait_for(&self, build: BuildId, owner: OwnerId) -> Result<(), EngineError> {
        while self.farm.db.build_is_open(build).await? && !self.cancel.is_cancelled() {
            if !self.farm.db.owner_is_alive(owner).await? {
                self.farm.db.recover().await?;
                return Ok(());
            }
            self.pause(JOIN_POLL).await;
        }
        Ok(())
    }

    /// The end of the job, if a verdict on its key has been recorded since the run was planned.
    async fn settled_since(&self, job: &Job) -> Result<Option<JobEnd>, EngineError> {
        let Some(latest) = self.farm.history(job.key).await?.latest else { return Ok(None) };
        if latest.ended < job.planned {
            return Ok(None);
        }
        let failing = self.farm.db.test_list_failing(latest.attempt, MAX_FAILING).await?;
        Ok(Some(JobEnd {
            node: job.node,
            outcome: latest.outcome,
            origin: Origin::Joined,
            attempts: 0,
            attempt: Some(latest.attempt),
            duration: Some(latest.duration),
            counts: latest.counts,
            failing: failing.into(),
            refused: None,
        }))
    }

    async fn attempts(&self, job: &Job, build: BuildId) -> Result<JobEnd, EngineError> {
        let most = self.farm.settings.build.attempts;
        let mut number = 1;
        loop {
            let tried = self.attempt(job, build, number).await?;
            let again = tried.outcome.is_retryable() && number < most && !self.cancel.is_cancelled();
            let end = self.record(job, tried, again).await?;
            if !again {
                return Ok(end);
            }
            self.pause(backoff(number)).await;
            number += 1;
        }
    }

    async fn attempt(&self, job: &Job, build: BuildId, number: u32) -> Result<Tried, EngineError> {
        let attempt = AttemptId::new(self.farm.clock.now());
        let start = AttemptStart { build, attempt, number, machine: self.farm.machine.clone() };
        self.farm.db.attempt_start(&self.farm.owner, start).await?;
        let slot = tokio::select! {
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
            () = self.cancel.cancelled() => None,
        };
        let started = self.farm.clock.now();
        let Some(slot) = slot else {
            let (outcome, report, log) =
                (AttemptOutcome::Cancelled, TestReport::default(), LogSummary::default());
            return Ok(Tried { attempt, number, started, ended: started, outcome, report, log });
        };
        let name = job.drv.name().to_owned();
        self.tell(Event::BuildStarted { attempt, name, key: job.key, number }).await;
        let tap =
            Tap::new(&self.farm.logs, attempt, self.farm.settings.build.keep_log << 20, self.events.clone());
        let realised = self.farm.builder.realise(&ask(job), self.limits(job), tap, &self.cancel).await;
        drop(slot);
        let ended = self.farm.clock.now();
        let (outcome, report, log) = self.take_in(job, realised).await?;
        Ok(Tried { attempt, number, started, ended, outcome, report, log })
    }

    fn limits(&self, job: &Job) -> Limits {
        let build = &self.farm.settings.build;
        Limits { timeout: job.timeout, max_silent: build.max_silent.get(), max_log: build.max_log << 20 }
    }

    /// Ends the log and reads the report. A log that cannot be kept makes the attempt croft's own fault.
    async fn take_in(
        &self,
        job: &Job,
        realised: Realised<Tap>,
    ) -> Result<(AttemptOutcome, TestReport, LogSummary), EngineError> {
        let Realised { outcome, built, log } = realised;
        let Tapped { summary, mut report } =
            task::blocking("finish log", move || log.finish()).await?.map_err(EngineError::Log)?;
        if outcome == AttemptOutcome::Passed && !built && report.cases.is_empty() {
            report = self.farm.stored_report(&job.outputs).await?;
        }
        Ok((outcome, report, summary))
    }

    async fn record(&self, job: &Job, tried: Tried, again: bool) -> Result<JobEnd, EngineError> {
        let duration = tried.ended.since(tried.started);
        let end = JobEnd {
            node: job.node,
            outcome: tried.outcome.clone(),
            origin: Origin::Here,
            attempts: tried.number,
            attempt: Some(tried.attempt),
            duration: Some(duration),
            counts: TestCounts::of(&tried.report.cases),
            failing: failing(&tried.report).into(),
            refused: tried.report.refused.clone(),
        };
        let ended = Event::BuildEnded {
            attempt: tried.attempt,
            name: job.drv.name().to_owned(),
            outcome: tried.outcome.word(),
            message: tried.outcome.message().map(str::to_owned),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            retried: again,
        };
        let record = AttemptEnd {
            attempt: tried.attempt,
            outcome: tried.outcome,
            started: tried.started,
            ended: tried.ended,
            log: LogEnd { bytes: tried.log.bytes, lines: tried.log.lines, truncated: tried.log.truncated() },
            report: tried.report,
            next: if again { BuildNext::Retry } else { BuildNext::End },
        };
        self.farm.db.attempt_end(record).await?;
        self.tell(ended).await;
        Ok(end)
    }

    async fn substitute(self, job: Job) -> Result<JobEnd, EngineError> {
        let most = self.farm.settings.build.attempts;
        let mut number = 1;
        loop {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let attempt = AttemptId::new(self.farm.clock.now());
            let tap = Tap::new(&self.farm.logs, attempt, 1 << 20, self.events.clone());
            let ask = Ask::Substitute(job.outputs.clone());
            let realised = self.farm.builder.realise(&ask, self.limits(&job), tap, &self.cancel).await;
            drop(slot);
            if realised.outcome == AttemptOutcome::Passed {
                return self.adopted(&job, Origin::Substituter).await;
            }
            if number >= most || self.cancel.is_cancelled() {
                return Ok(JobEnd { outcome: realised.outcome, attempts: number, ..JobEnd::cancelled(&job) });
            }
            self.pause(backoff(number)).await;
            number += 1;
        }
    }

    async fn adopt(self, job: Job) -> Result<JobEnd, EngineError> {
        self.adopted(&job, Origin::Store).await
    }

    /// Records a pass that croft did not see happen, with the report it left.
    async fn adopted(&self, job: &Job, origin: Origin) -> Result<JobEnd, EngineError> {
        let report = self.farm.stored_report(&job.outputs).await?;
        let (counts, refused) = (TestCounts::of(&report.cases), report.refused.clone());
        let adoption =
            Adoption { build: new_build(job), attempt: AttemptId::new(self.farm.clock.now()), report };
        let attempt = self.farm.db.build_adopt(&self.farm.owner, adoption).await?;
        Ok(JobEnd {
            node: job.node,
            outcome: AttemptOutcome::Passed,
            origin,
            attempts: 0,
            attempt: Some(attempt),
            duration: None,
            counts,
            failing: Arc::default(),
            refused,
        })
    }

    async fn pause(&self, span: Duration) {
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            () = self.cancel.cancelled() => {}
        }
    }

    /// A run without a listener goes on.
    async fn tell(&self, event: Event) {
        self.events.send(event).await.ok();
    }
}

fn new_build(job: &Job) -> NewBuild {
    NewBuild {
        key: job.key,
        drv: job.drv.clone(),
        name: job.drv.name().to_owned(),
        system: job.system.clone(),
    }
}

fn ask(job: &Job) -> Ask {
    match job.way {
        Way::Check => Ask::Check(job.drv.clone()),
        Way::Substitute => Ask::Substitute(job.outputs.clone()),
        Way::Build | Way::Adopt => Ask::Build(job.drv.clone()),
    }
}

fn failing(report: &TestReport) -> Vec<TestCase> {
    let bad = |case: &&TestCase| matches!(case.status, TestStatus::Failed | TestStatus::Error);
    report.cases.iter().filter(bad).take(MAX_FAILING).cloned().collect()
}

impl JobEnd {
    /// The end of a job that never began.
    pub(super) fn cancelled(job: &Job) -> Self {
        Self {
            node: job.node,
            outcome: AttemptOutcome::Cancelled,
            origin: Origin::Here,
            attempts: 0,
            attempt: None,
            duration: None,
            counts: TestCounts::default(),
            failing: Arc::default(),
            refused: None,
        }
    }

    /// The end of a job whose task broke.
    pub(super) fn broken(job: &Job, message: String) -> Self {
        Self {
            outcome: AttemptOutcome::Infra { cause: InfraCause::Internal, message },
            ..Self::cancelled(job)
        }
    }
}
