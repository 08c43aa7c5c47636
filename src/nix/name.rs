//! Names that Nix gives meaning to: output names, systems and system features.
//!
//! Layer 0, pure. Each is a checked string; the rules are those of Nix, or narrower where Nix has none and the
//! value ends up in a log, a page or a shell.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A rejected name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {shown:?} is not valid: {cause}")]
pub struct NameError {
    kind: &'static str,
    shown: String,
    cause: &'static str,
}

const SHOWN_CHARS: usize = 80;

struct Rule {
    kind: &'static str,
    max_len: usize,
    allowed: fn(u8) -> bool,
    charset: &'static str,
}

impl Rule {
    fn check(&self, text: &str) -> Result<Arc<str>, NameError> {
        let cause = if text.is_empty() {
            "it is empty"
        } else if text.len() > self.max_len {
            "it is too long"
        } else if !text.bytes().all(self.allowed) {
            self.charset
        } else {
            return Ok(Arc::from(text));
        };
        Err(NameError { kind: self.kind, shown: text.chars().take(SHOWN_CHARS).collect(), cause })
    }
}

fn is_store_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte)
}

fn is_feature_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b",\"'\\`$<>".contains(&byte)
}

fn is_system_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $rule:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it over.
            pub fn new(text: &str) -> Result<Self, NameError> {
                const RULE: Rule = $rule;
                RULE.check(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

checked_name! {
    /// The name of one output of a derivation, `out` in most.
    OutputName,
    Rule {
        kind: "output name",
        max_len: 211,
        allowed: is_store_name_byte,
        charset: "only letters, digits and + - . _ ? = may occur",
    }
}

checked_name! {
    /// What a derivation is built for, such as `x86_64-linux`.
    System,
    Rule {
        kind: "system",
        max_len: 64,
        allowed: is_system_byte,
        charset: "only letters, digits and - _ . may occur",
    }
}

checked_name! {
    /// Something a builder has and a derivation can require, such as `kvm`.
    SystemFeature,
    Rule {
        kind: "system feature",
        max_len: 128,
        allowed: is_feature_byte,
        charset: "only printable ASCII without space, comma, quotes and shell characters may occur",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(System::new("x86_64-linux").unwrap().to_string(), "x86_64-linux");
        assert_eq!(OutputName::new("out").unwrap().as_str(), "out");
        assert!(SystemFeature::new("gccarch-x86-64-v3").is_ok());
        for bad in ["", "a b", "a\n", "a/b", "ä"] {
            assert!(System::new(bad).is_err(), "{bad:?}");
            assert!(OutputName::new(bad).is_err(), "{bad:?}");
        }
        assert!(SystemFeature::new("a,b").is_err());
        assert!(SystemFeature::new("$(reboot)").is_err());
        let long = "x".repeat(500);
        let message = System::new(&long).unwrap_err().to_string();
        assert!(message.len() < 200 && message.starts_with("system \"xxx"), "{message}");
    }

    #[test]
    fn serde_checks_too() {
        assert!(serde_json::from_str::<System>("\"a b\"").is_err());
        let system: System = serde_json::from_str("\"aarch64-linux\"").unwrap();
        assert_eq!(serde_json::to_string(&system).unwrap(), "\"aarch64-linux\"");
    }
}
