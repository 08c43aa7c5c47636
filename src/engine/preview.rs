//! What a run would do: the same finding and planning, and then nothing.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    error::EngineError,
    farm::Farm,
    find::{Found, FoundCell, Request, evaluate, recall, replay},
    lock::lock,
    planner::{CellWay, PlannedCell, Planner},
    verdict,
};
use crate::{
    graph::Need,
    lifecycle::CellState,
    matrix::Matrix,
    nix::System,
    plan::{Estimate, estimate},
    report::{CellReport, Summary, excluded_cells},
    schedule::cost::Money,
};

/// A plan, as `croft plan` shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The version of this document: 1.
    pub v: u32,
    /// The flake, locked.
    pub flake: String,
    /// What was evaluated, as one hash.
    pub fingerprint: String,
    /// The cells, and then the points that the project leaves out.
    pub cells: Vec<CellReport>,
    /// The cells counted.
    pub summary: Summary,
    /// How many derivations would be built, cells included.
    pub derivations: usize,
    /// How many derivations would be fetched.
    pub substitutions: usize,
    /// How long it would take.
    pub estimate: Estimate,
    /// What machines on demand would cost for that at least; none where no machine has a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// The matrices, with the order of their axes.
    #[serde(skip)]
    pub matrices: Vec<(System, Matrix)>,
}

impl Preview {
    /// Whether a run would build or fetch anything.
    pub fn has_work(&self) -> bool {
        let works = |cell: &CellReport| matches!(cell.state, CellState::Build | CellState::Substitute);
        self.cells.iter().any(works)
    }
}

/// Finds and plans the cells of `request`. Builds nothing and records nothing but the evaluation itself.
pub async fn preview(
    farm: Arc<Farm>,
    request: Request,
    cancel: CancellationToken,
) -> Result<Preview, EngineError> {
    let locked = lock(&farm, &request).await?;
    let recalled = recall(&farm, &locked).await?;
    let wanted = farm.systems(request.systems.as_ref());
    let (tell, mut finds) = mpsc::channel(1024);
    let (evaluator, flake) = (&farm, &locked);
    // Moves its end of the channel in, so that the other end sees when all is found.
    let find = async move {
        match recalled {
            Some(document) => {
                replay(document, &wanted, &tell).await;
                Ok(())
            }
            None => evaluate(evaluator, flake, &wanted, &tell, cancel).await,
        }
    };
    let collect = async {
        let mut all = Vec::new();
        while let Some(found) = finds.recv().await {
            all.push(found);
        }
        all
    };
    let (found, all) = tokio::join!(find, collect);
    found?;
    let mut planner =
        Planner::new(Arc::clone(&farm), Farm::project(&request.flake), farm.policy(request.attempts));
    let (mut cells, mut broken, mut matrices) = (Vec::new(), Vec::new(), Vec::new());
    for found in all {
        match found {
            Found::Count { .. } => {}
            Found::Matrix { system, matrix } => matrices.push((system, matrix)),
            Found::Cell(found) => cells.push(found),
            Found::Part(part) => cells.extend(part),
            Found::Broken(cell) => broken.push(verdict::broken(&cell)),
        }
    }
    cells.retain(|found: &FoundCell| request.slice.holds(&found.cell));
    if cells.is_empty() && broken.is_empty() {
        return Err(EngineError::NothingMatches(request.slice.to_string()));
    }
    let planned = planner.plan(cells).await?;
    let mut reports: Vec<CellReport> = planned.cells.iter().map(in_plan).chain(broken).collect();
    reports.sort_by(|a, b| (&a.system, &a.name).cmp(&(&b.system, &b.name)));
    if request.slice.is_whole() {
        reports.extend(matrices.iter().flat_map(|(system, matrix)| excluded_cells(system, matrix)));
    }
    let estimate = estimate(planner.needed(), |node| planner.expected(node), farm.fleet.most_slots());
    let count = |need| planner.needed().iter().filter(|item| item.need == need).count();
    Ok(Preview {
        v: 1,
        flake: locked.url,
        fingerprint: locked.fingerprint.to_string(),
        summary: Summary::of(&reports),
        cells: reports,
        derivations: count(Need::Build),
        substitutions: count(Need::Substitute),
        estimate,
        cost: farm.fleet.cost_of(estimate.work),
        matrices,
    })
}

/// A cell as a plan shows it.
fn in_plan(planned: &PlannedCell) -> CellReport {
    let report = verdict::at_once(planned).unwrap_or_else(|| verdict::waiting(planned));
    match &planned.way {
        // Nothing is built for it, only recorded.
        Some(CellWay::Adopt) => CellReport {
            state: CellState::Reused,
            reason: Some("already valid in the store".to_owned()),
            ..report
        },
        Some(CellWay::Build | CellWay::Substitute | CellWay::Check | CellWay::Blocked(_)) | None => report,
    }
}
