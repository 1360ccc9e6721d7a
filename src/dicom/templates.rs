//! `dicom-templates/`: what a site may change in the result objects without rebuilding fcdd.
//!
//! Four files: `series.toml` (numbers and descriptions), `concepts.toml` (codes), `report.toml` (SR class, device,
//! sentences) and `card.toml` (words on the card). They are read and checked once, at start-up: unknown keys,
//! missing keys, lengths and characters; every mistake of every file is reported at once. The very same files are
//! compiled in, so that `fcdd analyze` works where no site copy is installed.

mod checker;

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::checker::Checker;
use super::codes::Concept;

/// Name and content of the files that are compiled in.
const BUILT_IN: [(&str, &str); 4] = [
    ("card.toml", include_str!("../../dicom-templates/card.toml")),
    ("concepts.toml", include_str!("../../dicom-templates/concepts.toml")),
    ("report.toml", include_str!("../../dicom-templates/report.toml")),
    ("series.toml", include_str!("../../dicom-templates/series.toml")),
];

/// Every series description ends so.
pub const RESEARCH_SUFFIX: &str = "(RESEARCH ONLY)";

/// A Series Description has 64 characters at most; ` rev 999` must still fit in.
const LONGEST_DESCRIPTION: usize = 56;

/// The SOP class that the structured report is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportClass {
    /// Comprehensive 3D SR, 1.2.840.10008.5.1.4.1.1.88.34.
    Comprehensive3D,
    /// Comprehensive SR, 1.2.840.10008.5.1.4.1.1.88.33.
    Comprehensive,
    /// Enhanced SR, 1.2.840.10008.5.1.4.1.1.88.22.
    Enhanced,
}

impl ReportClass {
    const NAMES: [(&'static str, ReportClass); 3] = [
        ("comprehensive-3d", ReportClass::Comprehensive3D),
        ("comprehensive", ReportClass::Comprehensive),
        ("enhanced", ReportClass::Enhanced),
    ];

    /// All of them, the newest first.
    pub const ALL: [ReportClass; 3] = [ReportClass::Comprehensive3D, ReportClass::Comprehensive, ReportClass::Enhanced];

    /// The SOP Class UID.
    pub fn uid(self) -> &'static str {
        use dicom_dictionary_std::uids;
        match self {
            ReportClass::Comprehensive3D => uids::COMPREHENSIVE3_DSR_STORAGE,
            ReportClass::Comprehensive => uids::COMPREHENSIVE_SR_STORAGE,
            ReportClass::Enhanced => uids::ENHANCED_SR_STORAGE,
        }
    }
}

/// Number and description of one series of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesText {
    /// Series Number (0020,0011).
    pub number: i64,
    /// Series Description (0008,103E), ASCII, at most 56 characters, ending in [`RESEARCH_SUFFIX`].
    pub description: String,
}

impl SeriesText {
    /// The description of a revision's series: its label (`rev 2`) stands before the suffix.
    pub fn description_of(&self, revision: Option<&str>) -> String {
        match (revision, self.description.strip_suffix(RESEARCH_SUFFIX)) {
            (Some(label), Some(words)) => format!("{}{label} {RESEARCH_SUFFIX}", words),
            _ => self.description.clone(),
        }
    }
}

/// How this installation calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Device Observer Name, and Station Name.
    pub name: String,
    /// Device Serial Number (0018,1000).
    pub serial_number: String,
}

/// Sentences inside DICOM objects, ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// First part of Image Comments of every picture.
    pub notice: String,
    /// Said of every result of an untrained model.
    pub untrained: String,
    /// Said of every result of a model that was trained on synthetic data only.
    pub synthetic: String,
    /// Said of a heatmap with one value everywhere.
    pub constant_heatmap: String,
}

/// Concepts that a site may replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concepts {
    /// Focal cortical dysplasia.
    pub finding: Concept,
    /// Where it was looked for.
    pub finding_site: Concept,
    /// Procedure reported.
    pub procedure: Concept,
    /// The prior of a probability.
    pub prevalence: Concept,
    /// Language of the report.
    pub language: Concept,
    /// The finding is suspected.
    pub present: Concept,
    /// The finding is not suspected.
    pub absent: Concept,
    /// No statement.
    pub undetermined: Concept,
}

/// Words on the card; any script that DejaVu Sans has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the phrase that its name says; card.toml shows them")]
pub struct CardTexts {
    pub title: String,
    pub subtitle: String,
    pub notice: String,
    pub not_verified: String,
    pub untrained: String,
    pub untrained_hint: String,
    pub synthetic: String,
    pub synthetic_hint: String,
    pub suspected: String,
    pub not_suspected: String,
    pub unassessable: String,
    pub probability: String,
    pub threshold: String,
    pub prior: String,
    pub prior_training: String,
    pub prior_site: String,
    pub prior_unstated: String,
    pub folds: String,
    pub folds_hint: String,
    pub single_fold: String,
    pub strongest_region: String,
    pub left: String,
    pub right: String,
    pub midline: String,
    pub no_region: String,
    pub reasons: String,
    pub no_picture: String,
    pub constant_heatmap: String,
}

/// Everything that `dicom-templates/` says, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates {
    /// Series of heatmaps over T1.
    pub heatmap_t1: SeriesText,
    /// Series of heatmaps over FLAIR.
    pub heatmap_flair: SeriesText,
    /// Series of the card.
    pub card_series: SeriesText,
    /// Series of the structured report.
    pub report_series: SeriesText,
    /// Class of the structured report.
    pub report_class: ReportClass,
    /// This installation.
    pub device: Device,
    /// Sentences.
    pub texts: Texts,
    /// Coded concepts.
    pub concepts: Concepts,
    /// Words on the card.
    pub card: CardTexts,
    digest: String,
}

/// One mistake in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateMistake {
    /// File name within the directory.
    pub file: String,
    /// `section.key`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl fmt::Display for TemplateMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.file, self.problem),
            key => write!(f, "{}: {key}: {}", self.file, self.problem),
        }
    }
}

/// The templates cannot be used; every reason at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} mistake(s) in the DICOM templates of {}:{}", mistakes.len(), directory.display(), lines(mistakes))]
pub struct TemplateError {
    /// The directory that was read.
    pub directory: PathBuf,
    /// At least one.
    pub mistakes: Vec<TemplateMistake>,
}

fn lines(mistakes: &[TemplateMistake]) -> String {
    mistakes.iter().map(|m| format!("\n  {m}")).collect()
}

impl Templates {
    /// Reads and checks a directory.
    pub fn load(directory: &Path) -> Result<Templates, TemplateError> {
        let mut checker = Checker::default();
        let mut files = Vec::new();
        for (name, _) in BUILT_IN {
            match std::fs::read_to_string(directory.join(name)) {
                Ok(text) => files.push((name, text)),
                Err(error) => checker.mistake(
                    name,
                    "",
                    format!("cannot be read ({error}); copy the one that comes with fcdd and change that"),
                ),
            }
        }
        let templates = checker.templates(&files);
        checker.verdict(directory, templates)
    }

    /// Checks the texts of a directory's files, given by name; for the fuzz target, which has no files.
    pub(crate) fn from_texts(files: &[(&'static str, String)]) -> Result<Templates, TemplateError> {
        let mut checker = Checker::default();
        let templates = checker.templates(files);
        checker.verdict(Path::new(""), templates)
    }

    /// Names and texts of the files that fcdd was built with.
    pub(crate) fn built_in_texts() -> [(&'static str, String); 4] {
        BUILT_IN.map(|(name, text)| (name, text.to_owned()))
    }

    /// The templates that fcdd was built with.
    pub fn built_in() -> Templates {
        let files = Templates::built_in_texts();
        let mut checker = Checker::default();
        let templates = checker.templates(&files);
        // A test loads these very files, so a mistake in them never gets into a build that passed its tests.
        templates
    }

    /// SHA-256 (hexadecimal) over names and contents of all files: part of every result's UIDs.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn digest(files: &[(&'static str, String)]) -> String {
    let mut hasher = Sha256::new();
    for (name, text) in files {
        hasher.update(format!("{name}\0{}\0", text.len()));
        hasher.update(text);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site_copy() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in BUILT_IN {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn a_site_copy_of_the_built_in_files_is_the_built_in() {
        let site = Templates::load(site_copy().path()).unwrap();
        assert_eq!(site, Templates::built_in());
        assert_eq!(site.digest().len(), 64);
    }

    #[test]
    fn every_mistake_is_named_with_file_and_key() {
        let directory = site_copy();
        let path = |name: &str| directory.path().join(name);
        let change = |name: &str, from: &str, to: &str| {
            let text = std::fs::read_to_string(path(name)).unwrap();
            assert!(text.contains(from), "{from}");
            std::fs::write(path(name), text.replacen(from, to, 1)).unwrap();
        };
        change("series.toml", "FCD AI heatmap on T1 (RESEARCH ONLY)", "Heatmap");
        change("series.toml", "number = 9102", "nummer = 9102");
        change("concepts.toml", "scheme = \"99FCDD\"", "scheme = \"99FCDD-with-a-name-too-long\"");
        change("report.toml", "comprehensive-3d\"", "comprehensive-4d\"");
        change("report.toml", "\"FCDD\"", "\"Köln\"");
        std::fs::remove_file(path("card.toml")).unwrap();
        let error = Templates::load(directory.path()).unwrap_err();
        let text = error.to_string();
        for expected in [
            "series.toml: heatmap-t1.description: must end",
            "series.toml: heatmap-flair.number: must be a whole number",
            "series.toml: heatmap-flair.nummer: unknown key; allowed: number, description",
            "concepts.toml: finding.scheme: 27 characters",
            "report.toml: report.sop-class: \"comprehensive-4d\" is unknown; allowed: comprehensive-3d",
            "report.toml: device.name: only ASCII",
            "card.toml: cannot be read",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
        }
        assert_eq!(error.mistakes.len(), 7, "{text}");
    }

    #[test]
    fn a_revision_stands_before_the_suffix() {
        let text = SeriesText { number: 1, description: "FCD AI report (RESEARCH ONLY)".into() };
        assert_eq!(text.description_of(None), "FCD AI report (RESEARCH ONLY)");
        assert_eq!(text.description_of(Some("rev 2")), "FCD AI report rev 2 (RESEARCH ONLY)");
    }

    #[test]
    fn a_changed_word_changes_the_digest() {
        let directory = site_copy();
        let path = directory.path().join("card.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("FCD suspected", "FCD vermutet")).unwrap();
        let site = Templates::load(directory.path()).unwrap();
        assert_ne!(site.digest(), Templates::built_in().digest());
    }
}
