//! Builds: one derivation made once for all who need it, by one owner at a time.

use super::{
    Db, DbError, OwnerGuard,
    attempt::{AttemptStart, start_attempt},
    column::{self, Row},
    test::insert_cases,
    writer::{Txn, Write},
};
use crate::{
    clock::Timestamp,
    ids::{AttemptId, BuildId, OwnerId},
    nix::{DrvKey, DrvPath, System},
    report::{TestCounts, TestReport},
};

/// A build that somebody wants to run.
#[derive(Debug, Clone)]
pub struct NewBuild {
    /// Its key.
    pub key: DrvKey,
    /// The derivation.
    pub drv: DrvPath,
    /// The derivation's name.
    pub name: String,
    /// The system it is for.
    pub system: System,
}

/// Who got a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The one who asked.
    Won(BuildId),
    /// Somebody else has it already.
    Held {
        /// The open build of that key.
        build: BuildId,
        /// Who has it.
        owner: OwnerId,
    },
}

/// The first attempt on a build that nobody has claimed yet.
#[derive(Debug, Clone)]
pub struct FirstAttempt {
    /// The build.
    pub build: NewBuild,
    /// The id of the attempt.
    pub attempt: AttemptId,
    /// Where it runs.
    pub machine: String,
    /// When it was decided that the build is needed: a verdict on its key that was reached later makes it needless.
    pub planned: Timestamp,
}

/// What came of beginning a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It is claimed, and its first attempt runs.
    Ours(BuildId),
    /// Somebody else has it already.
    Held {
        /// The open build of that key.
        build: BuildId,
        /// Who has it.
        owner: OwnerId,
    },
    /// Somebody else has reached a verdict on its key meanwhile.
    Settled,
}

/// A pass that croft did not see happen: its outputs were found valid, or fetched.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The build it stands for.
    pub build: NewBuild,
    /// The id that the pass gets.
    pub attempt: AttemptId,
    /// The report found below the output.
    pub report: TestReport,
}

impl Db {
    /// Claims each of `builds` for `owner`, unless the same key has an open build.
    pub async fn build_claim(
        &self,
        owner: &OwnerGuard,
        builds: Vec<NewBuild>,
    ) -> Result<Vec<Claim>, DbError> {
        let now = self.clock.now();
        let builds = builds.into_iter().map(|build| (BuildId::new(now), build)).collect();
        self.write(ClaimAll { owner: owner.id(), builds, now }).await
    }

    /// Claims a build and begins its first attempt in one change, unless the same key has an open build or a new
    /// verdict.
    pub async fn build_begin(&self, owner: &OwnerGuard, first: FirstAttempt) -> Result<Begun, DbError> {
        let now = self.clock.now();
        self.write(Begin { owner: owner.id(), id: BuildId::new(now), first, now }).await
    }

    /// Gives up a build that was claimed, without a verdict.
    pub async fn build_release(&self, owner: &OwnerGuard, build: BuildId) -> Result<(), DbError> {
        self.write(Release { owner: owner.id(), build, now: self.clock.now() }).await
    }

    /// Whether a build is still claimed or running.
    pub async fn build_is_open(&self, build: BuildId) -> Result<bool, DbError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM build WHERE id = ? AND state <> 'ended'")
            .bind(build.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.place.failed("reading a build"))?;
        Ok(found.is_some())
    }

    /// The attempt that decided a build; none while it is open, or if it was given up.
    pub async fn build_decision(&self, build: BuildId) -> Result<Option<AttemptId>, DbError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT last_attempt FROM build WHERE id = ? AND ending = 'decided'")
                .bind(build.to_string())
                .fetch_optional(&self.pool)
                .await
                .map_err(self.place.failed("reading what decided a build"))?;
        found.map(|id| Row { table: "build", id: &build }.text("last_attempt", &id)).transpose()
    }

    /// Records a pass that croft did not see happen, unless the key has a pass on record. Returns the pass.
    pub async fn build_adopt(&self, owner: &OwnerGuard, adoption: Adoption) -> Result<AttemptId, DbError> {
        let now = self.clock.now();
        self.write(Adopt { owner: owner.id(), id: BuildId::new(now), adoption, now }).await
    }
}

struct ClaimAll {
    owner: OwnerId,
    builds: Vec<(BuildId, NewBuild)>,
    now: Timestamp,
}

impl Write for ClaimAll {
    type Output = Vec<Claim>;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<Vec<Claim>, DbError> {
        let mut claims = Vec::with_capacity(self.builds.len());
        for (id, build) in &self.builds {
            if let Some((build, owner)) = held(txn, build.key).await? {
                claims.push(Claim::Held { build, owner });
            } else {
                insert(txn, *id, build, self.owner, self.now).await?;
                claims.push(Claim::Won(*id));
            }
        }
        Ok(claims)
    }
}

struct Begin {
    owner: OwnerId,
    id: BuildId,
    first: FirstAttempt,
    now: Timestamp,
}

impl Write for Begin {
    type Output = Begun;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<Begun, DbError> {
        let build = &self.first.build;
        if let Some((build, owner)) = held(txn, build.key).await? {
            return Ok(Begun::Held { build, owner });
        }
        if settled_since(txn, build.key, self.first.planned).await? {
            return Ok(Begun::Settled);
        }
        insert(txn, self.id, build, self.owner, self.now).await?;
        let (attempt, machine) = (self.first.attempt, self.first.machine.clone());
        let start = AttemptStart { build: self.id, attempt, number: 1, machine };
        start_attempt(txn, &start, self.owner, self.now).await?;
        Ok(Begun::Ours(self.id))
    }
}

/// The open build of a key, and who has it.
async fn held(txn: &mut Txn<'_>, key: DrvKey) -> Result<Option<(BuildId, OwnerId)>, DbError> {
    let found: Option<(String, String)> =
        sqlx::query_as("SELECT id, owner FROM build WHERE key = ? AND state <> 'ended'")
            .bind(key.to_string())
            .fetch_optional(&mut *txn.conn)
            .await
            .map_err(txn.place.failed("looking for an open build"))?;
    let Some((id, owner)) = found else { return Ok(None) };
    let row = Row { table: "build", id: &id };
    Ok(Some((row.text("id", &id)?, row.text("owner", &owner)?)))
}

/// Whether the latest verdict on a key was reached after `planned`.
async fn settled_since(txn: &mut Txn<'_>, key: DrvKey, planned: Timestamp) -> Result<bool, DbError> {
    let latest: Option<i64> = sqlx::query_scalar(
        "SELECT ended FROM attempt WHERE key = ? AND outcome IN ('passed', 'failed', 'timeout', 'log-limit')
         ORDER BY seq DESC LIMIT 1",
    )
    .bind(key.to_string())
    .fetch_optional(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("looking for a new verdict"))?;
    Ok(latest.is_some_and(|ended| column::untime(ended) >= planned))
}

async fn insert(
    txn: &mut Txn<'_>,
    id: BuildId,
    build: &NewBuild,
    owner: OwnerId,
    now: Timestamp,
) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO build (id, key, drv, name, system, origin, owner, state, claimed)
         VALUES (?, ?, ?, ?, ?, 'built', ?, 'claimed', ?)",
    )
    .bind(id.to_string())
    .bind(build.key.to_string())
    .bind(build.drv.to_string())
    .bind(build.name.clone())
    .bind(build.system.to_string())
    .bind(owner.to_string())
    .bind(column::time(now))
    .execute(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("claiming a build"))?;
    Ok(())
}

struct Release {
    owner: OwnerId,
    build: BuildId,
    now: Timestamp,
}

impl Write for Release {
    type Output = ();

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<(), DbError> {
        let done = sqlx::query(
            "UPDATE build SET state = 'ended', ending = 'released', ended = ?
             WHERE id = ? AND owner = ? AND state = 'claimed'",
        )
        .bind(column::time(self.now))
        .bind(self.build.to_string())
        .bind(self.owner.to_string())
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("releasing a build"))?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(DbError::NotHeld { build: self.build }) }
    }
}

struct Adopt {
    owner: OwnerId,
    id: BuildId,
    adoption: Adoption,
    now: Timestamp,
}

impl Write for Adopt {
    type Output = AttemptId;

    async fn apply(&self, txn: &mut Txn<'_>) -> Result<AttemptId, DbError> {
        let (build, report) = (&self.adoption.build, &self.adoption.report);
        if let Some(known) = passed(txn, build.key).await? {
            return Ok(known);
        }
        let attempt = self.adoption.attempt.to_string();
        sqlx::query(
            "INSERT INTO build (id, key, drv, name, system, origin, owner, state, ending, last_attempt, claimed, ended)
             VALUES (?, ?, ?, ?, ?, 'store', ?, 'ended', 'decided', ?, ?, ?)",
        )
        .bind(self.id.to_string())
        .bind(build.key.to_string())
        .bind(build.drv.to_string())
        .bind(build.name.clone())
        .bind(build.system.to_string())
        .bind(self.owner.to_string())
        .bind(attempt.clone())
        .bind(column::time(self.now))
        .bind(column::time(self.now))
        .execute(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("adopting a build"))?;
        let [passed, failed, errors, skipped] =
            column::CountColumns::of(Some(TestCounts::of(&report.cases))).columns();
        let seq: i64 = sqlx::query_scalar(
            "INSERT INTO attempt (id, build, key, name, system, origin, number, machine, started, outcome, ended,
                                  passed, failed, errors, skipped, refused, problems)
             VALUES (?, ?, ?, ?, ?, 'store', 0, 'store', ?, 'passed', ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
        )
        .bind(attempt)
        .bind(self.id.to_string())
        .bind(build.key.to_string())
        .bind(build.name.clone())
        .bind(build.system.to_string())
        .bind(column::time(self.now))
        .bind(column::time(self.now))
        .bind(passed)
        .bind(failed)
        .bind(errors)
        .bind(skipped)
        .bind(report.refused.clone())
        .bind(serde_json::to_string(&report.problems).unwrap_or_default())
        .fetch_one(&mut *txn.conn)
        .await
        .map_err(txn.place.failed("adopting a pass"))?;
        insert_cases(txn, seq, &report.cases).await?;
        Ok(self.adoption.attempt)
    }
}

async fn passed(txn: &mut Txn<'_>, key: DrvKey) -> Result<Option<AttemptId>, DbError> {
    let found: Option<String> = sqlx::query_scalar(
        "SELECT id FROM attempt WHERE key = ? AND outcome = 'passed' ORDER BY seq DESC LIMIT 1",
    )
    .bind(key.to_string())
    .fetch_optional(&mut *txn.conn)
    .await
    .map_err(txn.place.failed("looking for a pass"))?;
    found.map(|id| Row { table: "attempt", id: &id }.text("id", &id)).transpose()
}
