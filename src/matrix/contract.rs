//! The matrix contract, version 1: what `passthru.croft` of a check says.
//!
//! Source of the format: `nix/lib/matrix.nix`. It comes from a flake and is hostile until it has been through here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Deserialize;

use super::{
    AxisName, AxisValue, Cell, CellName, Coordinates, Exclusion, Expect, LabelError, Matrix, MatrixName,
    Resources,
};
use crate::nix::{DrvPath, System, SystemFeature};

/// The longest reason of an exclusion that is kept, in characters.
const MAX_REASON: usize = 500;
/// The most axes of one matrix.
const MAX_AXES: usize = 16;

/// A `passthru.croft` that croft cannot use.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The library that made it is newer than this croft.
    #[error(
        "passthru.croft has version {0}; this croft knows version 1: update croft, or pin an older croft input in the flake"
    )]
    Version(u64),
    /// A name or value is unusable.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A feature name is unusable.
    #[error("requiredSystemFeatures holds {name:?}, which is no feature name: {cause}")]
    Feature {
        /// The name as given.
        name: String,
        /// Why it is refused.
        cause: String,
    },
    /// More axes than croft handles.
    #[error("the matrix has {0} axes; croft handles at most {MAX_AXES}")]
    TooManyAxes(usize),
}

/// A check as the evaluator prints it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCell {
    /// The derivation.
    pub drv: DrvPath,
    /// The derivation's own `system`.
    pub system: System,
    /// Its `passthru.croft`, if it has one.
    pub croft: Option<RawContract>,
}

/// `passthru.croft` of one cell.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawContract {
    v: u64,
    #[serde(default)]
    axes: BTreeMap<AxisName, AxisValue>,
    #[serde(default)]
    expect: Expect,
    #[serde(default)]
    timeout: Option<u64>,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    external: bool,
    #[serde(default)]
    required_system_features: Vec<String>,
    /// The name of the matrix it belongs to.
    #[serde(default)]
    pub matrix_name: Option<MatrixName>,
}

/// The part of `passthru.croft` that all cells of a matrix share.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawMatrix {
    name: MatrixName,
    axes: BTreeMap<AxisName, Vec<AxisValue>>,
    #[serde(default)]
    axis_order: Vec<AxisName>,
    #[serde(default)]
    excluded: Vec<Exclusion>,
}

impl RawContract {
    /// Where the cell stands, for one that has no derivation to be a [`Cell`] of.
    pub fn into_point(self) -> (Option<MatrixName>, Coordinates) {
        (self.matrix_name, self.axes.into_iter().collect())
    }
}

impl RawCell {
    /// The cell this states, under the attribute name `name`.
    pub fn into_cell(self, name: CellName) -> Result<Cell, ContractError> {
        let Some(raw) = self.croft else { return Ok(plain_cell(name, self.system, self.drv)) };
        if raw.v != 1 {
            return Err(ContractError::Version(raw.v));
        }
        if raw.axes.len() > MAX_AXES {
            return Err(ContractError::TooManyAxes(raw.axes.len()));
        }
        Ok(Cell {
            name,
            system: self.system,
            matrix: raw.matrix_name,
            axes: raw.axes.into_iter().collect(),
            drv: self.drv,
            expect: raw.expect,
            timeout: raw.timeout.map(Duration::from_secs),
            resources: raw.resources,
            features: features(raw.required_system_features)?,
            external: raw.external,
        })
    }
}

fn plain_cell(name: CellName, system: System, drv: DrvPath) -> Cell {
    Cell {
        name,
        system,
        matrix: None,
        axes: Coordinates::default(),
        drv,
        expect: Expect::Pass,
        timeout: None,
        resources: Resources::default(),
        features: BTreeSet::new(),
        external: false,
    }
}

fn features(names: Vec<String>) -> Result<BTreeSet<SystemFeature>, ContractError> {
    let parse = |name: String| {
        name.parse().map_err(|cause| ContractError::Feature { name, cause: format!("{cause}") })
    };
    names.into_iter().map(parse).collect()
}

impl RawMatrix {
    /// The matrix this states.
    pub fn into_matrix(mut self) -> Result<Matrix, ContractError> {
        if self.axes.len() > MAX_AXES {
            return Err(ContractError::TooManyAxes(self.axes.len()));
        }
        let mut axes: Vec<_> =
            self.axis_order.iter().filter_map(|name| self.axes.remove_entry(name)).collect();
        axes.extend(self.axes);
        let shorten = |e: Exclusion| Exclusion { reason: e.reason.chars().take(MAX_REASON).collect(), ..e };
        Ok(Matrix { name: self.name, axes, excluded: self.excluded.into_iter().map(shorten).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRV: &str = "/nix/store/00000000000000000000000000000000-x.drv";

    fn cell(json: &str) -> Result<Cell, String> {
        let raw: RawCell = serde_json::from_str(&json.replace("DRV", DRV)).map_err(|e| e.to_string())?;
        raw.into_cell("x".parse().unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_plain_check_is_a_cell_without_coordinates() {
        let cell = cell(r#"{"drv":"DRV","system":"x86_64-linux","croft":null}"#).unwrap();
        assert!(cell.axes.is_empty() && cell.matrix.is_none());
    }

    #[test]
    fn a_contract_cell_keeps_its_point_and_needs() {
        let cell = cell(
            r#"{"drv":"DRV","system":"x86_64-linux","croft":{"v":1,"axes":{"python":"3.13"},"expect":"refused",
                "timeout":60,"resources":{"cores":2,"memory":512,"disk":null},"requiredSystemFeatures":["kvm"],
                "matrixName":"checks","later":"fields are ignored"}}"#,
        )
        .unwrap();
        assert_eq!(cell.axes.to_string(), "python=3.13");
        assert_eq!(cell.expect, Expect::Refused);
        assert_eq!(cell.timeout, Some(Duration::from_mins(1)));
        assert_eq!(cell.features.len(), 1);
    }

    #[test]
    fn a_newer_contract_and_a_hostile_value_are_refused() {
        let newer = cell(r#"{"drv":"DRV","system":"s","croft":{"v":2}}"#).unwrap_err();
        assert!(newer.contains("version 2") && newer.contains("update croft"), "{newer}");
        let hostile =
            cell(r#"{"drv":"DRV","system":"s","croft":{"v":1,"axes":{"a":"\u001b[2J"}}}"#).unwrap_err();
        assert!(hostile.contains("control character"), "{hostile}");
    }

    #[test]
    fn a_matrix_keeps_the_projects_axis_order() {
        let raw: RawMatrix = serde_json::from_str(
            r#"{"name":"m","axes":{"a":["1"],"b":["2"]},"axisOrder":["b","a"],
                "excluded":[{"axes":{"a":"1"},"reason":"old"}]}"#,
        )
        .unwrap();
        let matrix = raw.into_matrix().unwrap();
        assert_eq!(matrix.axes[0].0.as_str(), "b");
        assert_eq!(matrix.excluded[0].reason, "old");
    }
}
