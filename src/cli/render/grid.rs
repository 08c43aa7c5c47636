//! Cells as a table: one axis down, another across, the rest beside.

use std::collections::BTreeMap;

use crate::{
    cli::{out::Dress, words},
    lifecycle::CellState,
    matrix::{AxisName, AxisValue, Coordinates, Matrix},
    nix::System,
    report::CellReport,
};

/// The widest that a column's title gets, in characters.
const MAX_TITLE: usize = 16;

/// The cells of `matrix` on `system` as lines of text: the first axis down, the second across, one table for each
/// choice on the others.
pub(in crate::cli) fn grid(
    dress: Dress,
    system: &System,
    matrix: &Matrix,
    cells: &[CellReport],
) -> Vec<String> {
    let cells: Vec<&CellReport> = cells.iter().filter(|cell| cell.system == *system).collect();
    match matrix.axes.as_slice() {
        [] => Vec::new(),
        [rows] => table(dress, rows, None, &cells),
        [rows, columns] => table(dress, rows, Some(columns), &cells),
        [rows, columns, facets @ ..] => {
            let mut lines = Vec::new();
            for facet in product(facets) {
                let inside = |cell: &&&CellReport| {
                    facet.iter().all(|(axis, value)| cell.axes.get(axis) == Some(value))
                };
                let part: Vec<&CellReport> = cells.iter().filter(inside).copied().collect();
                if !part.is_empty() {
                    lines.push(facet.to_string());
                    lines.extend(table(dress, rows, Some(columns), &part));
                    lines.push(String::new());
                }
            }
            lines
        }
    }
}

type Axis = (AxisName, Vec<AxisValue>);

fn product(axes: &[Axis]) -> Vec<Coordinates> {
    let mut points: Vec<Vec<(AxisName, AxisValue)>> = vec![Vec::new()];
    for (axis, values) in axes {
        let extend = |point: &Vec<(AxisName, AxisValue)>| {
            let with =
                |value: &AxisValue| point.iter().cloned().chain([(axis.clone(), value.clone())]).collect();
            values.iter().map(with).collect::<Vec<_>>()
        };
        points = points.iter().flat_map(extend).collect();
    }
    points.into_iter().map(|point| point.into_iter().collect()).collect()
}

fn table(dress: Dress, rows: &Axis, columns: Option<&Axis>, cells: &[&CellReport]) -> Vec<String> {
    let at: BTreeMap<(Option<&AxisValue>, Option<&AxisValue>), &CellReport> = cells
        .iter()
        .map(|cell| ((cell.axes.get(&rows.0), columns.and_then(|axis| cell.axes.get(&axis.0))), *cell))
        .collect();
    let titles: Vec<Option<&AxisValue>> =
        columns.map_or(vec![None], |axis| axis.1.iter().map(Some).collect());
    let left = rows.1.iter().map(|v| v.as_str().len()).chain([rows.0.as_str().len()]).max().unwrap_or(0);
    let title =
        |value: Option<&AxisValue>| value.map_or("", AxisValue::as_str).chars().take(MAX_TITLE).collect();
    let titles_text: Vec<String> = titles.iter().copied().map(title).collect();
    let mut lines = Vec::new();
    if columns.is_some() {
        lines.push(format!("{:left$}  {}", rows.0, titles_text.join("  ")));
    }
    for row in &rows.1 {
        let marks = titles.iter().zip(&titles_text).map(|(column, text)| {
            let width = text.chars().count().max(1);
            mark(dress, at.get(&(Some(row), *column)).map(|cell| cell.state), width)
        });
        lines.push(format!("{row:left$}  {}", marks.collect::<Vec<_>>().join("  ")));
    }
    lines
}

/// The glyph of a state in the middle of `width` columns; blank where the matrix has no cell.
fn mark(dress: Dress, state: Option<CellState>, width: usize) -> String {
    let Some(state) = state else { return " ".repeat(width) };
    let before = (width - 1) / 2;
    let glyph = dress.paint(words::colour(state), state.glyph());
    format!("{}{glyph}{}", " ".repeat(before), " ".repeat(width - 1 - before))
}

/// What the glyphs of `cells` mean.
pub(in crate::cli) fn legend(dress: Dress, cells: &[CellReport]) -> String {
    let mut states: Vec<CellState> = cells.iter().map(|cell| cell.state).collect();
    states.sort();
    states.dedup();
    let entry =
        |state: &CellState| format!("{} {}", dress.paint(words::colour(*state), state.glyph()), state.word());
    states.iter().map(entry).collect::<Vec<_>>().join("   ")
}
