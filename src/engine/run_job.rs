//! One job from claim to record.
//!
//! The order is what makes a kill at any moment harmless: the claim and the attempt are on the disk before the build
//! begins, the log before the verdict, and the verdict before anybody is told.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    attempt::{self, Tried, Try},
    error::EngineError,
    event::{Event, Events},
    farm::Farm,
    fleet::Seat,
    job::{Job, JobEnd, Origin, Retry, Step, Way},
    push::Pusher,
    tap::{Tap, backoff},
};
use crate::{
    db::{Adoption, AttemptEnd, AttemptStart, Begun, BuildNext, FirstAttempt, LogEnd, NewBuild},
    ids::{AttemptId, BuildId, OwnerId},
    lifecycle::AttemptOutcome,
    remote::{Ask, Limits},
    report::{TestCase, TestCounts, TestReport, TestStatus},
    schedule::Blame,
};

/// How often a build of another process is looked at.
const JOIN_POLL: Duration = Duration::from_millis(100);
/// The failing tests that a cell carries with it.
const MAX_FAILING: usize = 5;
/// The most attempts that are not charged, because the machine was taken away: no provider is that unlucky.
const MAX_FREE: u32 = 10;

/// What all jobs of a run share.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) farm: Arc<Farm>,
    pub(super) events: Events,
    pub(super) cancel: CancellationToken,
    /// Takes outputs for the binary cache, if there is one.
    pub(super) pusher: Option<Pusher>,
}

/// What beginning a build came to.
enum Beginning {
    Ours(Try),
    /// Somebody else has made it meanwhile.
    Settled(JobEnd),
    /// Somebody else had it and gave it up.
    Open,
    Cancelled,
}

impl Workshop {
    /// Builds `job` on the builder of `seat`. An error is one of croft's own keeping: the database, the state
    /// directory.
    pub(super) async fn build(self, job: Job, mut seat: Seat) -> Result<Step, EngineError> {
        let this = match self.begin(&job, &mut seat).await? {
            Beginning::Ours(this) => this,
            Beginning::Settled(end) => return Ok(Step::Ended(end)),
            Beginning::Open => return Ok(Step::Open),
            Beginning::Cancelled => return Ok(Step::Ended(JobEnd::cancelled(&job))),
        };
        let build = this.build;
        let tried = attempt::run(&self, &job, this, &mut seat).await?;
        let blame = seat.tell(job.key, &tried.outcome, tried.ended.since(tried.started));
        let retry = match blame {
            Blame::Nobody => self.retry(&job, build, &tried, &seat),
            // It has failed wherever it was tried; no machine is to suffer for it any more.
            Blame::Derivation { .. } => None,
        };
        self.record(&job, tried, retry, &seat).await
    }

    /// Does what needs no builder: fetches outputs from a binary cache, or records that they are there.
    pub(super) async fn at_hub(self, job: Job) -> Result<Step, EngineError> {
        let end = match job.way {
            Way::Substitute => self.substitute(job).await?,
            Way::Adopt | Way::Build | Way::Check => self.adopted(&job, Origin::Store).await?,
        };
        Ok(Step::Ended(end))
    }

    /// Puts on the disk that the build is ours and that an attempt begins, unless somebody else is at it.
    async fn begin(&self, job: &Job, seat: &mut Seat) -> Result<Beginning, EngineError> {
        let (attempt, machine) = (AttemptId::new(self.farm.clock.now()), seat.name().to_owned());
        if let Some(Retry { build, number, .. }) = job.retry {
            let start = AttemptStart { build, attempt, number, machine };
            self.farm.db.attempt_start(&self.farm.owner, start).await?;
            return Ok(Beginning::Ours(Try { build, attempt, number }));
        }
        if self.cancel.is_cancelled() {
            return Ok(Beginning::Cancelled);
        }
        let first = FirstAttempt { build: new_build(job), attempt, machine, planned: job.planned };
        let decided = match self.farm.db.build_begin(&self.farm.owner, first).await? {
            Begun::Ours(build) => return Ok(Beginning::Ours(Try { build, attempt, number: 1 })),
            Begun::Settled => None,
            Begun::Held { build, owner } => {
                seat.free();
                self.tell(Event::BuildJoined { name: job.drv.name().to_owned(), key: job.key }).await;
                self.wait_for(build, owner).await?;
                self.farm.db.build_decision(build).await?
            }
        };
        Ok(match self.settled_since(job, decided).await? {
            Some(end) => Beginning::Settled(end),
            None if self.cancel.is_cancelled() => Beginning::Cancelled,
            None => Beginning::Open,
        })
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

    /// The end of the job, if a verdict on its key has been reached since the run was planned, or is the one that the
    /// run has waited for: outputs may have been on their way home when it was planned.
    async fn settled_since(
        &self,
        job: &Job,
        awaited: Option<AttemptId>,
    ) -> Result<Option<JobEnd>, EngineError> {
        let Some(latest) = self.farm.history(job.key).await?.latest else { return Ok(None) };
        if latest.ended < job.planned && awaited != Some(latest.attempt) {
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

    pub(super) fn limits(&self, job: &Job) -> Limits {
        let build = &self.farm.settings.build;
        Limits { timeout: job.timeout, max_silent: build.max_silent.get(), max_log: build.max_log << 20 }
    }

    /// Whether the job is tried again after `outcome`, and if so, how.
    fn retry(&self, job: &Job, build: BuildId, tried: &Tried, seat: &Seat) -> Option<Retry> {
        let before = job.retry.as_ref().map_or((0, 0), |retry| (retry.charged, retry.free));
        let is_free = tried.outcome.is_free();
        let (charged, free) = (before.0 + u32::from(!is_free), before.1 + u32::from(is_free));
        let may = charged < self.farm.settings.build.attempts && free <= MAX_FREE;
        if !tried.outcome.is_retryable() || !may || self.cancel.is_cancelled() {
            return None;
        }
        let pause = if is_free { Duration::ZERO } else { backoff(charged) };
        Some(Retry { build, number: tried.number + 1, charged, free, failed_on: seat.machine(), pause })
    }

    async fn record(
        &self,
        job: &Job,
        tried: Tried,
        retry: Option<Retry>,
        seat: &Seat,
    ) -> Result<Step, EngineError> {
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
            machine: seat.name().to_owned(),
            outcome: tried.outcome.word(),
            message: tried.outcome.message().map(str::to_owned),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            retried: retry.is_some(),
        };
        let record = AttemptEnd {
            attempt: tried.attempt,
            outcome: tried.outcome,
            started: tried.started,
            ended: tried.ended,
            log: LogEnd { bytes: tried.log.bytes, lines: tried.log.lines, truncated: tried.log.truncated() },
            report: tried.report,
            next: if retry.is_some() { BuildNext::Retry } else { BuildNext::End },
        };
        self.farm.db.attempt_end(record).await?;
        self.tell(ended).await;
        Ok(retry.map_or(Step::Ended(end), Step::Again))
    }

    async fn substitute(self, job: Job) -> Result<JobEnd, EngineError> {
        let most = self.farm.settings.build.attempts;
        let mut number = 1;
        loop {
            let attempt = AttemptId::new(self.farm.clock.now());
            let tap = Tap::new(&self.farm.logs, attempt, 1 << 20, self.events.clone());
            let ask = Ask::Substitute(job.outputs.clone());
            let realised = self.farm.builder.realise(&ask, self.limits(&job), tap, &self.cancel).await;
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

    pub(super) async fn pause(&self, span: Duration) {
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            () = self.cancel.cancelled() => {}
        }
    }

    /// A run without a listener goes on.
    pub(super) async fn tell(&self, event: Event) {
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

fn failing(report: &TestReport) -> Vec<TestCase> {
    let bad = |case: &&TestCase| matches!(case.status, TestStatus::Failed | TestStatus::Error);
    report.cases.iter().filter(bad).take(MAX_FAILING).cloned().collect()
}
