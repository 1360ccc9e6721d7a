//! Patient or control: the label of a research subject, in the words of ds004199.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Patient or control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// A patient with a focal cortical dysplasia.
    Fcd,
    /// A healthy control.
    Hc,
}

/// A word that names no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no group: write `fcd` (patient) or `hc` (healthy control)")]
pub struct UnknownGroup {
    /// The word as it was found.
    pub found: String,
}

impl Group {
    /// `fcd` or `hc`.
    pub fn name(self) -> &'static str {
        match self {
            Group::Fcd => "fcd",
            Group::Hc => "hc",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Group {
    type Err = UnknownGroup;

    /// Takes the name in any case and with blanks around it, nothing else.
    fn from_str(word: &str) -> Result<Self, UnknownGroup> {
        match word.trim().to_ascii_lowercase().as_str() {
            "fcd" => Ok(Group::Fcd),
            "hc" => Ok(Group::Hc),
            _ => Err(UnknownGroup { found: word.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        for group in [Group::Fcd, Group::Hc] {
            assert_eq!(group.name().parse(), Ok(group));
        }
        assert_eq!(" FCD ".parse(), Ok(Group::Fcd));
        for word in ["", "n/a", "patient", "fc"] {
            let error = word.parse::<Group>().unwrap_err();
            assert!(error.to_string().contains("`fcd`"), "{error}");
        }
    }
}
