//! Cells on their way to the database, and from there to whoever watches.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::{
    dispatch::Report,
    error::EngineError,
    event::{Event, Events},
    farm::Farm,
};
use crate::{ids::RunId, matrix::CellName, nix::System, report::CellReport};

/// The most cells that are recorded at once.
const AT_ONCE: usize = 512;

/// Records cells as they come and tells of them when they are on the disk. Returns all of them.
///
/// What comes while the disk is busy is recorded together.
pub(super) async fn publish(
    farm: &Farm,
    run: RunId,
    mut reports: mpsc::Receiver<Report>,
    events: &Events,
) -> Result<Vec<CellReport>, EngineError> {
    let mut cells: BTreeMap<(System, CellName), CellReport> = BTreeMap::new();
    let mut batch = Vec::new();
    while reports.recv_many(&mut batch, AT_ONCE).await > 0 {
        let (mut new, mut settled, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for report in &batch {
            match report {
                Report::Known(cells) => known.push(cells.clone()),
                Report::New(cell) => new.push(cell.clone()),
                Report::Settled(cell) => settled.push(cell.clone()),
            }
        }
        for cells in known {
            farm.db.cell_insert_known(run, cells).await?;
        }
        farm.db.cell_insert_many(run, new).await?;
        farm.db.cell_settle_many(run, settled).await?;
        for report in batch.drain(..) {
            let recorded = match report {
                Report::Known(known) => known,
                Report::New(cell) | Report::Settled(cell) => vec![cell],
            };
            for cell in recorded {
                tell(events, &cell).await;
                cells.insert((cell.system.clone(), cell.name.clone()), cell);
            }
        }
    }
    Ok(cells.into_values().collect())
}

async fn tell(events: &Events, cell: &CellReport) {
    let event = if cell.state.is_final() {
        Event::CellEnded(Box::new(cell.clone()))
    } else {
        Event::Planned {
            cell: cell.name.clone(),
            system: cell.system.clone(),
            reason: cell.reason.clone().unwrap_or_default(),
        }
    };
    // A run without a listener goes on.
    events.send(event).await.ok();
}
