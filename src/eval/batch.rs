//! Which cells a child still has to describe, and what a child that fails means for them. Pure.
//!
//! A child describes its cells in order, a line for each, so the one without a line ended it. That cell is broken;
//! the others go on in new children. Where the machine's limits ended a child that had done other cells before,
//! the cell first gets a child of its own.

use std::collections::VecDeque;

use super::{CellError, EvalError, EvalSettings, FlakeRef, lock::TRIES, nix::Failure};

/// The most cells of one child.
const MAX_CELLS: usize = 512;
/// Below this a batch is not worth a second child.
const MIN_SPLIT: usize = 16;
/// How many cells may be asked for their message.
const MAX_MESSAGES: usize = 64;
/// Cells of the child that looks at the flake first.
pub(super) const FIRST: usize = 64;

/// Cells for one child, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) cells: Vec<u32>,
    pub(super) style: Style,
    /// How often a child crashed over its first cell.
    tries: u32,
}

/// What a child does about a cell that throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// It finds the names, and describes the first cells quietly.
    First,
    /// It passes over the cell.
    Quiet,
    /// It ends, with the message.
    Loud,
}

impl Batch {
    /// Gives a first look at `total` cells the cells that it describes.
    pub(super) fn set_first(&mut self, total: usize) {
        self.cells = (0..total.min(FIRST)).filter_map(|n| u32::try_from(n).ok()).collect();
    }
}

/// What is left to do.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Batch>,
    messages: usize,
}

/// What a failed child means.
#[derive(Debug)]
pub(super) enum Settled {
    /// The evaluation goes on.
    GoOn,
    /// This cell is broken, and the evaluation goes on.
    Broken(u32, CellError),
    /// Nothing can go on.
    Over(EvalError),
}

impl Queue {
    /// The work of a new evaluation: a first look.
    pub(super) fn new() -> Self {
        let first = Batch { cells: Vec::new(), style: Style::First, tries: 0 };
        Self { waiting: [first].into(), messages: 0 }
    }

    /// The next batch.
    pub(super) fn next(&mut self) -> Option<Batch> {
        self.waiting.pop_front()
    }

    /// Adds what the first look left out of `total` cells, for so many workers.
    pub(super) fn add_rest(&mut self, total: usize, workers: usize) {
        let rest: Vec<u32> = (FIRST..total).filter_map(|n| u32::try_from(n).ok()).collect();
        let size = rest.len().div_ceil(workers).clamp(1, MAX_CELLS);
        self.waiting.extend(rest.chunks(size).map(|cells| quiet(cells.to_vec())));
    }

    /// Asks for the message of a cell that throws; `None` when enough were asked, with how many.
    pub(super) fn ask_message(&mut self, cell: u32) -> Option<usize> {
        if self.messages >= MAX_MESSAGES {
            return Some(self.messages);
        }
        self.messages += 1;
        self.waiting.push_back(Batch { cells: vec![cell], style: Style::Loud, tries: 0 });
        None
    }

    /// What to do about a child that described `done` cells of its batch and then failed; `None` when it
    /// did not get as far as the flake's checks.
    pub(super) fn settle(
        &mut self,
        batch: &Batch,
        done: Option<usize>,
        failure: Failure,
        (flake, settings): (&FlakeRef, &EvalSettings),
    ) -> Settled {
        let left = done.and_then(|done| batch.cells.get(done..));
        let Some((culprit, rest)) = left.and_then(<[u32]>::split_first) else {
            return self.settle_without_culprit(batch, failure, (flake, settings));
        };
        let had_child_alone = done == Some(0);
        let error = match failure {
            Failure::Over(error) => return Settled::Over(error),
            Failure::Nix(message) if message.says(&["allow-import-from-derivation"]) => {
                CellError::ImportFromDerivation { message: message.text, position: message.position }
            }
            Failure::Nix(message) => CellError::Nix { message: message.text, position: message.position },
            Failure::Silent => CellError::Timeout(settings.wall_clock),
            Failure::Memory if had_child_alone => CellError::Memory(settings.memory_limit),
            Failure::TooMuch if had_child_alone => CellError::OutputTooBig(settings.output_cap),
            Failure::Crash(detail) if had_child_alone && batch.tries + 1 >= TRIES => {
                CellError::Crashed(detail)
            }
            Failure::Memory | Failure::TooMuch | Failure::Crash(_) => {
                let tries = if had_child_alone { batch.tries + 1 } else { 0 };
                self.waiting.push_front(Batch {
                    cells: vec![*culprit],
                    style: retry_style(batch.style),
                    tries,
                });
                self.add_split(rest);
                return Settled::GoOn;
            }
        };
        self.add_split(rest);
        Settled::Broken(*culprit, error)
    }

    /// A child that failed before its first cell, or after its last.
    fn settle_without_culprit(
        &mut self,
        batch: &Batch,
        failure: Failure,
        (flake, settings): (&FlakeRef, &EvalSettings),
    ) -> Settled {
        match failure {
            Failure::Crash(_) if batch.tries + 1 < TRIES => {
                self.waiting.push_front(Batch { tries: batch.tries + 1, ..batch.clone() });
                Settled::GoOn
            }
            Failure::Crash(detail) => {
                Settled::Over(EvalError::Crashed { flake: flake.to_string(), tries: TRIES, detail })
            }
            failure => Settled::Over(failure.of_flake(flake, settings)),
        }
    }

    fn add_split(&mut self, cells: &[u32]) {
        let size = if cells.len() > MIN_SPLIT { cells.len().div_ceil(2) } else { MIN_SPLIT };
        self.waiting.extend(cells.chunks(size).map(|part| quiet(part.to_vec())));
    }
}

fn quiet(cells: Vec<u32>) -> Batch {
    Batch { cells, style: Style::Quiet, tries: 0 }
}

fn retry_style(style: Style) -> Style {
    match style {
        Style::First | Style::Quiet => Style::Quiet,
        Style::Loud => Style::Loud,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::eval::message::NixMessage;

    fn settle(queue: &mut Queue, batch: &Batch, done: Option<usize>, failure: Failure) -> Settled {
        let flake = FlakeRef::parse("/x", Path::new("/")).unwrap();
        queue.settle(batch, done, failure, (&flake, &EvalSettings::default()))
    }

    fn waiting(queue: &Queue) -> Vec<Vec<u32>> {
        queue.waiting.iter().map(|batch| batch.cells.clone()).collect()
    }

    fn nix_error() -> Failure {
        Failure::Nix(NixMessage { text: "no".into(), position: None })
    }

    fn empty() -> Queue {
        Queue { waiting: VecDeque::new(), messages: 0 }
    }

    #[test]
    fn the_rest_of_a_first_look_is_spread_over_the_workers() {
        let mut queue = empty();
        queue.add_rest(FIRST, 4);
        assert!(queue.waiting.is_empty());
        queue.add_rest(FIRST + 10, 4);
        assert_eq!(waiting(&queue).iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert_eq!(queue.waiting[0].cells[0], 64);
        let mut queue = empty();
        queue.add_rest(10_000, 2);
        assert!(waiting(&queue).iter().all(|cells| cells.len() <= MAX_CELLS));
        assert_eq!(waiting(&queue).concat(), (64..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_breaks_the_cell_without_a_line_and_no_other() {
        let mut queue = empty();
        let settled = settle(&mut queue, &quiet((0..40).collect()), Some(3), nix_error());
        assert!(matches!(settled, Settled::Broken(3, CellError::Nix { .. })));
        assert_eq!(waiting(&queue), [(4..22).collect::<Vec<_>>(), (22..40).collect()]);
    }

    #[test]
    fn a_limit_met_by_many_cells_is_tried_on_one() {
        let mut queue = empty();
        let settled = settle(&mut queue, &quiet(vec![5, 6, 7]), Some(1), Failure::Memory);
        assert!(matches!(settled, Settled::GoOn));
        assert_eq!(waiting(&queue), [vec![6], vec![7]]);
        let alone = queue.next().unwrap();
        let settled = settle(&mut queue, &alone, Some(0), Failure::Memory);
        assert!(matches!(settled, Settled::Broken(6, CellError::Memory(_))));
    }

    #[test]
    fn a_crash_is_tried_three_times() {
        let mut queue = empty();
        let mut batch = quiet(vec![1]);
        for _ in 1..TRIES {
            assert!(matches!(settle(&mut queue, &batch, Some(0), Failure::Crash("x".into())), Settled::GoOn));
            batch = queue.next().unwrap();
        }
        let last = settle(&mut queue, &batch, Some(0), Failure::Crash("x".into()));
        assert!(matches!(last, Settled::Broken(1, CellError::Crashed(_))));
    }

    #[test]
    fn an_error_before_any_cell_is_one_of_the_flake() {
        let mut queue = empty();
        let settled = settle(&mut queue, &quiet(vec![1, 2]), None, nix_error());
        assert!(matches!(settled, Settled::Over(EvalError::Nix { .. })));
    }

    #[test]
    fn messages_are_asked_for_within_bounds() {
        let mut queue = empty();
        assert!((0..64).all(|cell| queue.ask_message(cell).is_none()));
        assert_eq!(queue.ask_message(64), Some(64));
    }
}
