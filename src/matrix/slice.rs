//! A part of a matrix, as a user names it: `python=3.1*`, or the name of a cell.

use std::{fmt, str::FromStr};

use super::Cell;

/// One condition on a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Its value on an axis matches.
    Axis {
        /// The axis.
        axis: String,
        /// The pattern; `*` stands for any text.
        value: String,
    },
    /// Its name matches.
    Name(String),
}

impl FromStr for Condition {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            Some((axis, value)) => Self::Axis { axis: axis.to_owned(), value: value.to_owned() },
            None => Self::Name(text.to_owned()),
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Axis { axis, value } => write!(f, "{axis}={value}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A part of a matrix. Conditions on one axis, and names, are alternatives; different axes must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slice(Vec<Condition>);

impl Slice {
    /// The part where `conditions` hold; the whole matrix if there are none.
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self(conditions)
    }

    /// Whether this is the whole matrix.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the cell is in this part.
    pub fn holds(&self, cell: &Cell) -> bool {
        let kind = |condition: &Condition| match condition {
            Condition::Axis { axis, .. } => Some(axis.clone()),
            Condition::Name(_) => None,
        };
        self.0.iter().all(|condition| {
            let mut alternatives = self.0.iter().filter(|other| kind(other) == kind(condition));
            alternatives.any(|alternative| matches(alternative, cell))
        })
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&parts.join(" "))
    }
}

fn matches(condition: &Condition, cell: &Cell) -> bool {
    match condition {
        Condition::Axis { axis, value } => cell.axes.iter().any(|(name, chosen)| {
            name.as_str() == axis && glob(value.as_bytes(), chosen.as_str().as_bytes())
        }),
        Condition::Name(name) => glob(name.as_bytes(), cell.name.as_str().as_bytes()),
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text. Takes time in the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p) == text.get(t) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("3.1*", "3.13", true),
            ("3.1*", "3.9", false),
            ("*sql*17", "postgresql-17", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "abc", false),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }
}
