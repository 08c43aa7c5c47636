//! The Nix program that describes checks, and the lines in which it does. Pure.

use std::fmt::Write;

use serde::Deserialize;

use super::{CellError, SystemSelection};
use crate::{
    matrix::{Cell, CellName, LabelError, Matrix, RawCell, RawContract, RawMatrix},
    nix::{DrvPath, System},
};

const PROGRAM: &str = include_str!("program.nix");

/// What one child is asked.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    /// The secret its lines start with.
    pub(super) tag: &'a str,
    pub(super) wanted: &'a SystemSelection,
    /// The most cells.
    pub(super) limit: usize,
    pub(super) cells: Which<'a>,
}

/// Which cells a child describes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    /// All names, and the first so many cells.
    First(usize),
    /// These numbers; a cell that throws is passed over.
    Quiet(&'a [u32]),
    /// These numbers; a cell that throws ends the child.
    Loud(&'a [u32]),
}

impl Ask<'_> {
    /// The function for `nix eval --apply`.
    pub(super) fn apply(&self) -> String {
        let wanted = match self.wanted {
            SystemSelection::All => "null".to_owned(),
            SystemSelection::These(systems) => list(systems.iter().map(|s| quoted(s.as_str()))),
        };
        let (only, first, loud) = match self.cells {
            Which::First(first) => ("null".to_owned(), first, false),
            Which::Quiet(cells) => (list(cells.iter().map(u32::to_string)), 0, false),
            Which::Loud(cells) => (list(cells.iter().map(u32::to_string)), 0, true),
        };
        let (tag, limit) = (quoted(self.tag), self.limit);
        format!(
            "({PROGRAM}) {{ tag = {tag}; wanted = {wanted}; limit = {limit}; only = {only}; first = {first}; loud = {loud}; }}"
        )
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let mut text = "[ ".to_owned();
    for item in items {
        let _ = write!(text, "{item} ");
    }
    text + "]"
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$"))
}

/// A line of a child.
#[derive(Debug)]
pub(super) enum Said {
    /// The first line: the flake's checks are there. The names come with a first look only.
    Found(Option<RawFound>),
    /// The matrix of a cell.
    Matrix(Result<(System, Matrix), CellError>),
    /// Where a cell stands in its matrix.
    Point(u32, Result<Option<RawContract>, CellError>),
    /// What a cell is.
    Cell(u32, Result<(DrvPath, System), CellError>),
    /// A cell that throws.
    Broken(u32),
}

/// The names of a flake's checks.
#[derive(Debug, Deserialize)]
pub(super) struct RawFound {
    /// All systems with checks.
    pub(super) known: Vec<String>,
    /// How many cells the wanted ones have.
    pub(super) total: usize,
    /// The cells by number; none when there are too many.
    pub(super) cells: Vec<RawName>,
}

/// A cell before anything of it was evaluated.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RawName {
    pub(super) system: System,
    name: String,
}

#[derive(Deserialize)]
struct RawSystemMatrix {
    system: System,
    matrix: RawMatrix,
}

/// A derivation, or the type of what stands in its place.
#[derive(Deserialize)]
struct RawProduct {
    drv: Option<DrvPath>,
    system: Option<System>,
    wrong: Option<String>,
}

impl Said {
    /// Reads a line without its tag; `None` when it is no whole line of the program.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        if kind == "found" {
            return serde_json::from_str(rest).ok().map(Self::Found);
        }
        let (number, json) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = number.parse().ok()?;
        match kind {
            "matrix" => Some(Self::Matrix(matrix(json))),
            "point" => Some(Self::Point(number, serde_json::from_str(json).map_err(contract))),
            "cell" => Some(Self::Cell(number, product(json))),
            "broken" => Some(Self::Broken(number)),
            _ => None,
        }
    }
}

fn contract(error: impl std::fmt::Display) -> CellError {
    CellError::Contract(format!(
        "passthru.croft is unusable: {error}; make it with croft.lib.matrix or croft.lib.annotate"
    ))
}

fn matrix(json: &str) -> Result<(System, Matrix), CellError> {
    let raw: RawSystemMatrix = serde_json::from_str(json).map_err(contract)?;
    Ok((raw.system, raw.matrix.into_matrix()?))
}

fn product(json: &str) -> Result<(DrvPath, System), CellError> {
    let unusable = |error: &dyn std::fmt::Display| {
        CellError::Contract(format!("the check has a drvPath or system that Nix did not make: {error}"))
    };
    let raw: RawProduct = serde_json::from_str(json).map_err(|error| unusable(&error))?;
    match (raw.drv, raw.system, raw.wrong) {
        (Some(drv), Some(system), _) => Ok((drv, system)),
        (_, _, Some(kind)) => Err(CellError::NotADerivation(kind)),
        (_, _, None) => Err(unusable(&"one of them is missing")),
    }
}

impl RawName {
    /// The name, or a harmless form of it and why it is refused.
    pub(super) fn checked(&self) -> (CellName, Option<LabelError>) {
        match self.name.parse() {
            Ok(name) => (name, None),
            Err(error) => (CellName::harmless(&self.name), Some(error)),
        }
    }
}

/// The cell that a point and a product make.
pub(super) fn cell(
    name: CellName,
    contract: Option<RawContract>,
    (drv, system): (DrvPath, System),
) -> Result<Cell, CellError> {
    Ok(RawCell { drv, system, croft: contract }.into_cell(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_cannot_leave_their_string() {
        assert_eq!(quoted(r#"a"b\${c}"#), r#""a\"b\\\${c}""#);
    }

    #[test]
    fn lines_are_read_and_others_are_not() {
        assert!(matches!(Said::parse("found null"), Some(Said::Found(None))));
        assert!(matches!(Said::parse("broken 7"), Some(Said::Broken(7))));
        assert!(matches!(Said::parse("point 7 null"), Some(Said::Point(7, Ok(None)))));
        let wrong = Said::parse(r#"cell 3 {"wrong":"set"}"#);
        assert!(matches!(wrong, Some(Said::Cell(3, Err(CellError::NotADerivation(_))))));
        assert!(Said::parse("cell x {}").is_none() && Said::parse("").is_none());
        assert!(Said::parse(r#"found {"known":["#).is_none());
    }

    #[test]
    fn a_hostile_name_gets_a_harmless_form() {
        let checked = |name: &str| RawName { system: "s".parse().unwrap(), name: name.to_owned() }.checked();
        assert!(checked("py313").1.is_none());
        let (name, error) = checked("a\u{1b}[2Jb");
        assert_eq!(name.as_str(), "a[2Jb…");
        assert!(error.is_some());
        assert!(checked("").1.is_some() && checked(&"\u{1b}".repeat(500)).1.is_some());
    }
}
