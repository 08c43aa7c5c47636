//! The summary: a table for people, a document for programs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where the benchmark speaks")]

use std::{collections::BTreeMap, error::Error, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::measure::Samples;

/// Least and most of one side.
type Range = (f64, f64);

/// What a scenario came to. `croft` and `peer` are medians: in seconds, or without a peer in the figure's unit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    value: f64,
    unit: String,
    croft: f64,
    peer: Option<f64>,
    croft_range: Range,
    peer_range: Option<Range>,
    goal: f64,
    aim: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peak_mib: Option<f64>,
    /// How it was measured, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Figure {
    /// Croft's time in parts of the peer's.
    pub(crate) fn ratio(croft: &Samples, peer: &Samples, (goal, aim): (f64, f64)) -> Self {
        let (own, other) = (croft.median(), peer.median());
        Self {
            value: own / other,
            unit: "ratio".to_owned(),
            croft: own,
            peer: Some(other),
            croft_range: croft.range(),
            peer_range: Some(peer.range()),
            goal,
            aim,
            peak_mib: None,
            note: None,
        }
    }

    /// Croft's time alone, and the most memory it took.
    pub(crate) fn alone(croft: &Samples, peak_mib: f64, (goal, aim): (f64, f64)) -> Self {
        Self {
            value: croft.median(),
            unit: "s".to_owned(),
            croft: croft.median(),
            peer: None,
            croft_range: croft.range(),
            peer_range: None,
            goal,
            aim,
            peak_mib: Some(peak_mib),
            note: None,
        }
    }

    /// A quantity of croft's that is no time of a whole program: the median of the rounds.
    pub(crate) fn own(values: &[f64], unit: &str, (goal, aim): (f64, f64)) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let value = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
        let range = (values.first().copied().unwrap_or(value), values.last().copied().unwrap_or(value));
        Self {
            value,
            unit: unit.to_owned(),
            croft: value,
            peer: None,
            croft_range: range,
            peer_range: None,
            goal,
            aim,
            peak_mib: None,
            note: None,
        }
    }

    /// Adds the most memory that croft took, in MiB.
    pub(crate) fn with_peak(self, mib: f64) -> Self {
        Self { peak_mib: Some(mib), ..self }
    }

    /// Adds how it was measured.
    pub(crate) fn with_note(self, note: &str) -> Self {
        Self { note: Some(note.to_owned()), ..self }
    }

    fn grade(&self) -> &'static str {
        if self.value <= self.aim {
            "aim reached"
        } else if self.value <= self.goal {
            "goal reached"
        } else {
            "GOAL MISSED"
        }
    }
}

/// All figures by name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Summary(BTreeMap<String, Figure>);

impl Summary {
    /// What an earlier run has left; nothing if that cannot be read.
    pub(crate) fn read() -> Self {
        let text = fs_err::read(file()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Adds or replaces a figure.
    pub(crate) fn put(&mut self, name: &str, figure: Figure) {
        self.0.insert(name.to_owned(), figure);
    }

    /// Writes the document.
    pub(crate) fn write(&self) -> Result<(), Box<dyn Error>> {
        let file = file();
        if let Some(dir) = file.parent() {
            fs_err::create_dir_all(dir)?;
        }
        fs_err::write(file, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench/summary.json")
}

/// Prints a figure as a row of the table.
pub(crate) fn row(name: &str, figure: &Figure) {
    let unit = if figure.unit == "ratio" && figure.peer.is_some() { "s" } else { &figure.unit };
    let side = |median: f64, (least, most): Range| format!("{median:.2} {unit} ({least:.2}-{most:.2})");
    let peer = figure.peer.zip(figure.peer_range).map_or("-".to_owned(), |(m, r)| side(m, r));
    let peak = figure.peak_mib.map(|peak| format!(", peak {peak:.0} MiB")).unwrap_or_default();
    let note = figure.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    println!(
        "{name:<17} {value:>7.3} {unit:<6} croft {croft:<22} nix {peer:<22} {grade} (goal {goal}, aim {aim}){peak}{note}",
        value = figure.value,
        unit = figure.unit,
        croft = side(figure.croft, figure.croft_range),
        grade = figure.grade(),
        goal = figure.goal,
        aim = figure.aim,
    );
}

/// Says why there is no result.
pub(crate) fn complain(error: &dyn Error) {
    eprintln!("bench: {error}");
}

/// Prints one line for the process that waits for it.
pub(crate) fn answer(line: &str) {
    println!("{line}");
}
