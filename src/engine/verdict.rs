//! What a cell's derivation says of the cell: from decisions and job ends to cell reports. Pure.

use super::{
    job::{JobEnd, Origin},
    planner::{CellWay, PlannedCell},
};
use crate::{
    eval::BrokenCell,
    lifecycle::{AttemptOutcome, CellState},
    matrix::{Cell, Expect},
    nix::DrvKey,
    plan::{Decision, Obstacle, PastVerdict, Reuse},
    report::CellReport,
};

/// A derivation that ended, and its name.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) name: String,
    pub(super) end: JobEnd,
}

fn report(cell: &Cell, key: DrvKey, state: CellState, reason: String) -> CellReport {
    let (name, system, axes) = (cell.name.clone(), cell.system.clone(), cell.axes.clone());
    CellReport {
        drv: Some(cell.drv.clone()),
        key: Some(key),
        expect: cell.expect,
        impure: cell.external,
        ..CellReport::bare(name, system, axes, state, reason)
    }
}

/// The state that an outcome gives a cell, apart from what the past says.
pub(super) fn state_of(outcome: &AttemptOutcome) -> CellState {
    match outcome {
        AttemptOutcome::Passed | AttemptOutcome::NotDeterministic { .. } => CellState::Passed,
        AttemptOutcome::Failed { .. } => CellState::Failed,
        AttemptOutcome::Timeout { .. } => CellState::Timeout,
        AttemptOutcome::LogLimit => CellState::LogLimit,
        AttemptOutcome::Infra { .. } => CellState::Infra,
        AttemptOutcome::Cancelled => CellState::Cancelled,
    }
}

/// Whether the outputs of a derivation with this outcome are valid.
pub(super) fn is_made(outcome: &AttemptOutcome) -> bool {
    state_of(outcome) == CellState::Passed
}

/// The report of a cell that needs nothing done: a recorded result stands, or something stands in its way.
pub(super) fn at_once(planned: &PlannedCell) -> Option<CellReport> {
    match (&planned.decision, &planned.way) {
        (Decision::Reuse(reuse), _) => Some(reused(planned, reuse)),
        (Decision::Make(_), Some(CellWay::Blocked(obstacle))) => Some(obstructed(planned, obstacle)),
        (
            Decision::Make(_),
            Some(CellWay::Build | CellWay::Substitute | CellWay::Adopt | CellWay::Check) | None,
        ) => None,
    }
}

fn reused(planned: &PlannedCell, reuse: &Reuse) -> CellReport {
    let (state, verdict, words) = match reuse {
        Reuse::Passed(verdict) => (CellState::Reused, verdict, "passed"),
        Reuse::Failed(verdict) => (state_of(&verdict.outcome), verdict, "known since"),
        Reuse::Flaky(verdict) => (CellState::Flaky, verdict, "the same key has passed and failed, last"),
    };
    let reason = match verdict.outcome.message() {
        Some(message) => format!("{words} {}: {message}", verdict.ended),
        None => format!("{words} {}", verdict.ended),
    };
    with_verdict(report(&planned.cell, planned.key, state, reason), verdict)
}

fn with_verdict(report: CellReport, verdict: &PastVerdict) -> CellReport {
    CellReport {
        duration_ms: u64::try_from(verdict.duration.as_millis()).ok(),
        tests: verdict.counts,
        attempt: Some(verdict.attempt),
        ..report
    }
}

fn obstructed(planned: &PlannedCell, obstacle: &Obstacle) -> CellReport {
    match obstacle {
        Obstacle::Unmet(unmet) => report(&planned.cell, planned.key, CellState::Infra, unmet.to_string()),
        Obstacle::KnownFailure { name, verdict } => {
            let reason = format!("{name} {} since {}", verdict.outcome.word(), verdict.ended);
            let report = report(&planned.cell, planned.key, CellState::Blocked, reason);
            CellReport { attempt: Some(verdict.attempt), ..report }
        }
    }
}

/// The report of a cell whose derivation is being made.
pub(super) fn waiting(planned: &PlannedCell) -> CellReport {
    let state = match planned.way {
        Some(CellWay::Substitute) => CellState::Substitute,
        Some(CellWay::Build | CellWay::Adopt | CellWay::Check | CellWay::Blocked(_)) | None => {
            CellState::Build
        }
    };
    report(&planned.cell, planned.key, state, why(planned))
}

fn why(planned: &PlannedCell) -> String {
    match &planned.decision {
        Decision::Make(reason) => reason.to_string(),
        Decision::Reuse(_) => String::new(),
    }
}

/// The report of a cell whose derivation has ended.
pub(super) fn after(planned: &PlannedCell, end: &JobEnd) -> CellReport {
    let history = &planned.history;
    let plain = match (state_of(&end.outcome), end.origin) {
        (CellState::Passed, Origin::Substituter | Origin::Store) => CellState::Reused,
        (state, _) => state,
    };
    let (passed, failed) = match plain {
        CellState::Passed | CellState::Reused => (true, history.failures > 0),
        CellState::Failed | CellState::Timeout | CellState::LogLimit => (history.passes > 0, true),
        _ => (false, false),
    };
    let state = if passed && failed { CellState::Flaky } else { plain };
    CellReport {
        attempts: end.attempts,
        duration_ms: end.duration.and_then(|span| u64::try_from(span.as_millis()).ok()),
        tests: end.counts,
        attempt: end.attempt,
        failing: end.failing.to_vec(),
        ..report(&planned.cell, planned.key, state, reason_after(planned, end, state))
    }
}

fn reason_after(planned: &PlannedCell, end: &JobEnd, state: CellState) -> String {
    if state == CellState::Flaky {
        return format!("the same key has passed and failed; now it {}", end.outcome.word());
    }
    match (&end.outcome, end.outcome.message()) {
        // A cell's report holds durations, so this is what one expects of most cells.
        (AttemptOutcome::NotDeterministic { .. }, _) => {
            return format!("{}; its output differs from the earlier one", why(planned));
        }
        (AttemptOutcome::Cancelled, _) => return String::new(),
        (_, Some(message)) => return message.to_owned(),
        (_, None) => {}
    }
    if let (Expect::Refused, Some(words)) = (planned.cell.expect, &end.refused) {
        return format!("refused, as expected: {words}");
    }
    match (end.origin, planned.cell.expect) {
        (Origin::Here, Expect::Pass) => why(planned),
        (Origin::Here, Expect::Fail) => "failed, as expected".to_owned(),
        (Origin::Here, Expect::Refused) => "refused, as expected".to_owned(),
        (Origin::Joined, _) => "built by another run at the same time".to_owned(),
        (Origin::Substituter, _) => "fetched from a binary cache".to_owned(),
        (Origin::Store, _) => "already valid in the store".to_owned(),
    }
}

/// The report of a cell that needs a derivation which has failed.
pub(super) fn blocked(planned: &PlannedCell, by: &Settled) -> CellReport {
    // A dependency that says nothing about itself says nothing about the cell either.
    let state = match state_of(&by.end.outcome) {
        CellState::Infra => CellState::Infra,
        CellState::Cancelled => CellState::Cancelled,
        _ => CellState::Blocked,
    };
    let words = by.end.outcome.message().map(|message| format!(": {message}")).unwrap_or_default();
    let reason = format!("{} {}{words}", by.name, by.end.outcome.word());
    CellReport { attempt: by.end.attempt, ..report(&planned.cell, planned.key, state, reason) }
}

/// The report of a cell that the user gave up.
pub(super) fn cancelled(planned: &PlannedCell) -> CellReport {
    report(&planned.cell, planned.key, CellState::Cancelled, String::new())
}

/// The report of a cell that could not be evaluated.
pub(super) fn broken(cell: &BrokenCell) -> CellReport {
    let (name, system, axes) = (cell.name.clone(), cell.system.clone(), cell.axes.clone());
    CellReport::bare(name, system, axes, CellState::EvalError, cell.error.to_string())
}
