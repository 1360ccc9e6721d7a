//! The rules that tell T1, FLAIR and everything else apart: `config/sequences.toml`.
//!
//! Rules are tried in order, the first whose conditions all hold decides. A condition on something that the
//! series does not state does not hold. Patterns are regular expressions without regard to case; they see
//! the text in lower case with every character that is no letter, digit, `+` or `*` replaced by a blank.

use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

/// The rules that come with fcdd.
const BUILT_IN: &str = include_str!("../../config/sequences.toml");

/// What a rule makes of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleOutcome {
    /// T1-weighted, usable.
    T1,
    /// FLAIR, usable.
    Flair,
    /// Not for analysis.
    Other,
    /// A scout: not a volume at all.
    Localizer,
    /// Made from another series: not a scan at all.
    Derived,
}

/// How the series was acquired (MR Acquisition Type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AcquisitionType {
    /// Slice by slice.
    #[serde(rename = "2D")]
    TwoD,
    /// A slab at once.
    #[serde(rename = "3D")]
    ThreeD,
}

/// The main plane of the slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// Normal nearest to the head-foot axis.
    Axial,
    /// Normal nearest to the front-back axis.
    Coronal,
    /// Normal nearest to the left-right axis.
    Sagittal,
}

impl std::fmt::Display for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Plane::Axial => "axial",
            Plane::Coronal => "coronal",
            Plane::Sagittal => "sagittal",
        })
    }
}

/// A pattern and how it was written.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// As in the file.
    pub text: String,
    /// Compiled, without regard to case.
    pub regex: Regex,
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let regex = regex::RegexBuilder::new(&text)
            .case_insensitive(true)
            .size_limit(1 << 20)
            .build()
            .map_err(serde::de::Error::custom)?;
        Ok(Pattern { text, regex })
    }
}

/// One rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceRule {
    /// What people read when it decided.
    pub name: String,
    /// What it decides.
    pub result: RuleOutcome,
    /// One of these matches the Series Description (the Protocol Name where there is none).
    #[serde(default)]
    pub description: Vec<Pattern>,
    /// None of these matches it.
    #[serde(default)]
    pub not_description: Vec<Pattern>,
    /// One of these matches the (Pulse) Sequence Name.
    #[serde(default)]
    pub sequence_name: Vec<Pattern>,
    /// One of these is a value of Image Type or Frame Type.
    #[serde(default)]
    pub image_type: Vec<String>,
    /// All of these are values of Scanning Sequence (SE, IR, GR, EP, RM).
    #[serde(default)]
    pub scanning_sequence: Vec<String>,
    /// None of these is.
    #[serde(default)]
    pub not_scanning_sequence: Vec<String>,
    /// MR Acquisition Type.
    #[serde(default)]
    pub acquisition: Option<AcquisitionType>,
    /// Main plane of the slices, one of these.
    #[serde(default)]
    pub plane: Vec<Plane>,
    /// Repetition time from, to (ms).
    #[serde(default)]
    pub tr_ms: Option<[f64; 2]>,
    /// Echo time from, to (ms).
    #[serde(default)]
    pub te_ms: Option<[f64; 2]>,
    /// Inversion time from, to (ms).
    #[serde(default)]
    pub ti_ms: Option<[f64; 2]>,
    /// Flip angle from, to (degrees).
    #[serde(default)]
    pub flip_deg: Option<[f64; 2]>,
    /// Whether a contrast agent was given, by Contrast/Bolus Agent or by the description's words.
    #[serde(default)]
    pub contrast_agent: Option<bool>,
}

/// All rules.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceRules {
    /// Version of the file's format; 1.
    pub version: u32,
    /// Slices that a volume must have to be analyzed.
    pub minimum_slices: usize,
    /// Whether series that were compressed with loss are turned into volumes and analyzed.
    #[serde(default)]
    pub accept_lossy: bool,
    /// Words of a description that mean a contrast agent.
    pub contrast_words: Vec<Pattern>,
    /// Words that deny one, and win.
    pub no_contrast_words: Vec<Pattern>,
    /// The rules, in order.
    #[serde(rename = "rule")]
    pub rules: Vec<SequenceRule>,
}

/// The rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SequenceRulesError {
    /// The file cannot be read.
    #[error("cannot read the sequence rules {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file says something that is not allowed.
    #[error("the sequence rules {path} are wrong: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and what is allowed there.
        message: String,
    },
}

impl SequenceRules {
    /// Reads the rules from a file.
    pub fn load(path: &Path) -> Result<SequenceRules, SequenceRulesError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SequenceRulesError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|message| SequenceRulesError::Parse { path: path.to_owned(), message })
    }

    /// Reads the rules from text; the error says line and column.
    pub fn parse(text: &str) -> Result<SequenceRules, String> {
        let rules: SequenceRules = toml::from_str(text).map_err(|e| e.to_string())?;
        if rules.version != 1 {
            return Err(format!("version is {}, this fcdd knows 1", rules.version));
        }
        let has_condition = |r: &SequenceRule| {
            !(r.description.is_empty()
                && r.sequence_name.is_empty()
                && r.image_type.is_empty()
                && r.scanning_sequence.is_empty()
                && r.plane.is_empty()
                && r.acquisition.is_none()
                && [r.tr_ms, r.te_ms, r.ti_ms, r.flip_deg].iter().all(Option::is_none)
                && r.contrast_agent.is_none())
        };
        match rules.rules.iter().find(|r| !has_condition(r)) {
            Some(rule) => {
                Err(format!("rule {:?} has no condition that must hold, so it would take everything", rule.name))
            }
            None => Ok(rules),
        }
    }

    /// The rules that come with fcdd (`config/sequences.toml` at build time).
    pub fn built_in() -> SequenceRules {
        // The text is part of the program and a test parses it, so the fallback (no rules at all) is not reached.
        Self::parse(BUILT_IN).unwrap_or(SequenceRules {
            version: 1,
            minimum_slices: 16,
            accept_lossy: false,
            contrast_words: Vec::new(),
            no_contrast_words: Vec::new(),
            rules: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_in_the_repository_are_valid() {
        let rules = SequenceRules::parse(BUILT_IN).unwrap();
        assert!(rules.rules.len() > 10);
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let text = "version = 1\nminimum_slices = 16\ncontrast_words = []\nno_contrast_words = []\n[[rule]]\nname = \"x\"\nresult = \"t3\"\n";
        let message = SequenceRules::parse(text).unwrap_err();
        assert!(message.contains("line 7") && message.contains("flair"), "{message}");
    }

    #[test]
    fn a_rule_without_condition_is_refused() {
        let text = "version = 1\nminimum_slices = 16\ncontrast_words = []\nno_contrast_words = []\n[[rule]]\nname = \"all\"\nresult = \"t1\"\n";
        assert!(SequenceRules::parse(text).unwrap_err().contains("no condition"));
    }
}
