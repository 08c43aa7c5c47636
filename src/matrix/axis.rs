//! Axes, their values, and the points they span.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name or value of an axis, in bytes.
const MAX_LABEL: usize = 128;

/// A name that croft does not take from a flake.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LabelError {
    /// It has no characters.
    #[error("the {kind} is empty; give it a name in the flake")]
    Empty {
        /// What the text was to be.
        kind: &'static str,
    },
    /// It is longer than croft shows.
    #[error("the {kind} {start:?}… has {length} bytes; shorten it to at most {MAX_LABEL}")]
    TooLong {
        /// What the text was to be.
        kind: &'static str,
        /// How it starts.
        start: String,
        /// Its length in bytes.
        length: usize,
    },
    /// It holds a character that could mislead a reader or a terminal.
    #[error("the {kind} {text:?} holds the control character {character:?}; remove it")]
    Control {
        /// What the text was to be.
        kind: &'static str,
        /// The text.
        text: String,
        /// The first such character.
        character: char,
    },
}

pub(super) fn check_label(kind: &'static str, text: &str) -> Result<(), LabelError> {
    if text.is_empty() {
        return Err(LabelError::Empty { kind });
    }
    if text.len() > MAX_LABEL {
        let start = text.chars().take(24).collect();
        return Err(LabelError::TooLong { kind, start, length: text.len() });
    }
    match text.chars().find(|c| c.is_control() || is_bidi_control(*c)) {
        Some(character) => Err(LabelError::Control { kind, text: text.to_owned(), character }),
        None => Ok(()),
    }
}

/// Characters that reorder the text around them, so that a name could read as another.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = LabelError;

            fn from_str(text: &str) -> Result<Self, LabelError> {
                text.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = LabelError;

            fn try_from(text: String) -> Result<Self, LabelError> {
                check_label($kind, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(label: $name) -> String {
                label.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
pub(super) use label;

label!(
    /// The name of an axis, such as `python`.
    AxisName,
    "axis name"
);
label!(
    /// One choice on an axis, such as `3.13`.
    AxisValue,
    "axis value"
);
label!(
    /// The name of a matrix; a flake may have several.
    MatrixName,
    "matrix name"
);

/// A point of a matrix, whole or partial: one value for each axis it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Coordinates(BTreeMap<AxisName, AxisValue>);

impl Coordinates {
    /// The value on `axis`, if this point names one.
    pub fn get(&self, axis: &AxisName) -> Option<&AxisValue> {
        self.0.get(axis)
    }

    /// Axis and value, in the order of the axis names.
    pub fn iter(&self) -> impl Iterator<Item = (&AxisName, &AxisValue)> {
        self.0.iter()
    }

    /// Whether the point names no axis.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(AxisName, AxisValue)> for Coordinates {
    fn from_iter<I: IntoIterator<Item = (AxisName, AxisValue)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (axis, value)) in self.0.iter().enumerate() {
            write!(f, "{}{axis}={value}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// A part of the product that the project leaves out, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The point left out.
    pub axes: Coordinates,
    /// The project's own words.
    pub reason: String,
}

/// The axes of one matrix in the order the project gave, and what it leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// Its name.
    pub name: MatrixName,
    /// Each axis with its values in natural version order.
    pub axes: Vec<(AxisName, Vec<AxisValue>)>,
    /// The points left out.
    pub excluded: Vec<Exclusion>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_labels_are_refused_with_a_reason() {
        let refuse = |text: &str| text.parse::<AxisValue>().unwrap_err().to_string();
        assert_eq!(refuse(""), "the axis value is empty; give it a name in the flake");
        assert!(refuse("a\u{1b}[2J").contains("control character '\\u{1b}'"));
        assert!(refuse("a\u{202e}b").contains("control character"));
        assert!(refuse(&"x".repeat(129)).contains("129 bytes"));
        assert_eq!("3.13".parse::<AxisValue>().unwrap().as_str(), "3.13");
    }
}
